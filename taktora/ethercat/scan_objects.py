"""Reads the object dictionary of a device through dialogues of CoE mails; who carries them out, and how, is not known.

SDO information is used where the device has it. Else the objects are read whose structure the standards fix: names and
identity, SyncManager types, PDO assignment and mapping.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

from taktora.ethercat.coe import SdoAbort
from taktora.ethercat.datatypes import DataType
from taktora.ethercat.device_objects import RX_ASSIGNMENT, TX_ASSIGNMENT
from taktora.ethercat.dictionary import READ_ONLY, Access, DictionaryObject, ObjectCode, ObjectDictionary, ObjectEntry
from taktora.ethercat.driver import AlState
from taktora.ethercat.sdo import Dialogue, ObjectDescription, describe_entry, describe_object, list_objects, upload
from taktora.ethercat.sii_model import CoeDetails

__all__ = ["RunDialogue", "read_dictionary"]

T = TypeVar("T")

_FIRST_OBJECT: Final = 0x1000
_ACCESS_BITS: Final = 0x03FF
_ASSIGNMENTS: Final = (RX_ASSIGNMENT, TX_ASSIGNMENT)
_ASSIGNABLE: Final = READ_ONLY | Access.WRITE_PRE_OP
_TEXTS: Final = {0x1008: "Device name", 0x1009: "Hardware version", 0x100A: "Software version"}
_ARRAYS: Final = {
    0x1018: ("Identity", DataType.UNSIGNED32, 32),
    0x1C00: ("Sync manager types", DataType.UNSIGNED8, 8),
    0x1C12: ("RxPDO assignment", DataType.UNSIGNED16, 16),
    0x1C13: ("TxPDO assignment", DataType.UNSIGNED16, 16),
}


class RunDialogue(Protocol):
    """Carries out one dialogue with one device.

    Raises ``StackError`` when it does not answer, ``SdoAbort`` when it refuses.
    """

    def __call__(self, dialogue: Dialogue[T], /) -> T: ...


# req: REQ_8153
def read_dictionary(run: RunDialogue, coe: CoeDetails) -> ObjectDictionary:
    """Return the objects of a device in PRE-OP, with their present values.

    Args:
        run: Carries out dialogues with it.
        coe: What its CoE can do, by the general category of the SII.

    Raises:
        StackError: it does not answer.
    """
    if CoeDetails.SDO_INFO not in coe:
        return _read_known(run, coe)
    dictionary = ObjectDictionary()
    for index in run(list_objects()):
        if index < _FIRST_OBJECT:  # descriptions of data types
            continue
        found = _read_object(run, run(describe_object(index)))
        if found is not None:
            dictionary.objects[index] = found
    return dictionary


def _read_object(run: RunDialogue, said: ObjectDescription) -> DictionaryObject | None:
    if said.code not in set(ObjectCode):
        return None
    code, index = ObjectCode(said.code), said.object_index
    last = 0 if code is ObjectCode.VAR else said.max_subindex
    entries = {}
    for subindex in range(last + 1):
        try:
            described = run(describe_entry(index, subindex))
        except SdoAbort:
            continue  # subindices may have gaps
        access = Access(described.access & _ACCESS_BITS)
        value = _value(run, index, subindex) if access.can_read(AlState.PRE_OP) else b""
        entries[subindex] = ObjectEntry(described.name, described.data_type, described.bits, access, value)
    return DictionaryObject(index, said.name, code, said.data_type, entries)


def _value(run: RunDialogue, index: int, subindex: int) -> bytes:
    """Return a value, or nothing where the device says that it is there and will not show it."""
    try:
        return run(upload(index, subindex))
    except SdoAbort:
        return b""


def _read_known(run: RunDialogue, coe: CoeDetails) -> ObjectDictionary:
    dictionary = ObjectDictionary()
    device_type = _value(run, 0x1000, 0)
    if device_type:
        entry = ObjectEntry("Device type", DataType.UNSIGNED32, 32, READ_ONLY, device_type)
        dictionary.add_variable(0x1000, "Device type", entry)
    for index, name in _TEXTS.items():
        text = _value(run, index, 0)
        if text:
            entry = ObjectEntry(name, DataType.VISIBLE_STRING, 8 * len(text), READ_ONLY, text)
            dictionary.add_variable(index, name, entry)
    for index, (name, data_type, bits) in _ARRAYS.items():
        is_writable = index in _ASSIGNMENTS and CoeDetails.PDO_ASSIGN in coe
        _read_array(run, dictionary, index, name, data_type, bits, _ASSIGNABLE if is_writable else READ_ONLY)
    for assignment in _ASSIGNMENTS:
        for subindex, entry in dictionary.objects[assignment].entries.items() if assignment in dictionary else ():
            if subindex and entry.number:
                name = f"PDO mapping 0x{entry.number:04X}"
                _read_array(run, dictionary, entry.number, name, DataType.UNSIGNED32, 32)
    return dictionary


def _read_array(
    run: RunDialogue,
    dictionary: ObjectDictionary,
    index: int,
    name: str,
    data_type: int,
    bits: int,
    access: Access = READ_ONLY,
) -> None:
    """Add an object of equal entries, if the device has it."""
    head = _value(run, index, 0)
    if not head:
        return
    values = ((sub, _value(run, index, sub)) for sub in range(1, head[0] + 1))
    entries = {sub: ObjectEntry(f"{name} {sub}", data_type, bits, access, value) for sub, value in values}
    is_identity = index == 0x1018
    dictionary.add_record(
        index,
        name,
        entries,
        data_type=DataType.IDENTITY if is_identity else data_type,
        code=ObjectCode.RECORD if is_identity else ObjectCode.ARRAY,
        count_access=access,
        count=head[0],
    )
