"""The object dictionary of a device as its description in the machine file has it; it reads no file.

Objects made: device type, names and identity (0x1000, 0x1008 to 0x100A, 0x1018), SyncManager types and assignment
(0x1C00, 0x1C12, 0x1C13), PDO mappings, what they map, and what the startup list writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taktora.ethercat.datatypes import DataType
from taktora.ethercat.dictionary import READ_ONLY, READ_WRITE, Access, ObjectCode, ObjectDictionary, ObjectEntry
from taktora.ethercat.mapping import MappedEntry, MappedPdo, map_pdos
from taktora.ethercat.network import DeviceSpec, IdentitySpec, SdoSpec

__all__ = ["DEVICE_TYPES", "RX_ASSIGNMENT", "TX_ASSIGNMENT", "build_dictionary"]

RX_ASSIGNMENT: Final = 0x1C12
TX_ASSIGNMENT: Final = 0x1C13
DEVICE_TYPES: Final = {"cia402": 0x0002_0192}
"""Object 0x1000 by profile: CiA 402 drive; all others say the modular device profile 5001."""

_MODULAR_DEVICE: Final = 0x0000_1389
_LEAST_ASSIGNABLE: Final = 4
_LEAST_MAPPABLE: Final = 16
_SDO_TYPES: Final = {
    "u8": (DataType.UNSIGNED8, 8),
    "u16": (DataType.UNSIGNED16, 16),
    "u32": (DataType.UNSIGNED32, 32),
    "i8": (DataType.INTEGER8, 8),
    "i16": (DataType.INTEGER16, 16),
    "i32": (DataType.INTEGER32, 32),
}


def build_dictionary(spec: DeviceSpec) -> ObjectDictionary:
    """Return the dictionary of the device that ``spec`` describes, with the PDOs of the description assigned.

    Raises:
        ConfigurationError: the PDOs of the description make no sense.
    """
    dictionary = ObjectDictionary()
    _add_identity(dictionary, spec)
    rx, tx = map_pdos(spec.pdos.rx, "rx"), map_pdos(spec.pdos.tx, "tx")
    kinds = (1, 2, 3, 4) if spec.mailbox else (3,) * bool(rx) + (4,) * bool(tx)
    _add_array(dictionary, 0x1C00, "Sync manager types", DataType.UNSIGNED8, 8, kinds, READ_ONLY)
    assign = READ_ONLY | Access.WRITE_PRE_OP if spec.mailbox and spec.mailbox.pdo_assign else READ_ONLY
    config = READ_ONLY | Access.WRITE_PRE_OP if spec.mailbox and spec.mailbox.pdo_config else READ_ONLY
    for index, name, pdos in ((RX_ASSIGNMENT, "RxPDO assignment", rx), (TX_ASSIGNMENT, "TxPDO assignment", tx)):
        indices = tuple(pdo.index for pdo in pdos)
        _add_array(dictionary, index, name, DataType.UNSIGNED16, 16, indices, assign, room=_LEAST_ASSIGNABLE)
    for pdo in (*rx, *tx):
        access = READ_ONLY if pdo.fixed else config
        room = 0 if access == READ_ONLY else _LEAST_MAPPABLE
        words = tuple(entry.word for entry in pdo.entries)
        name = pdo.name or f"PDO mapping 0x{pdo.index:04X}"
        _add_array(dictionary, pdo.index, name, DataType.UNSIGNED32, 32, words, access, room)
    _add_mapped(dictionary, rx, READ_WRITE | Access.RX_MAPPABLE, "Outputs")
    _add_mapped(dictionary, tx, READ_ONLY | Access.TX_MAPPABLE, "Inputs")
    _add_startup(dictionary, spec.startup_sdos)
    return dictionary


def _add_identity(dictionary: ObjectDictionary, spec: DeviceSpec) -> None:
    kind = DEVICE_TYPES.get(spec.profile or "", _MODULAR_DEVICE)
    dictionary.add_variable(0x1000, "Device type", _number("Device type", DataType.UNSIGNED32, 32, kind))
    for index, name, text in (
        (0x1008, "Device name", spec.order or spec.label),
        (0x1009, "Hardware version", "simulated"),
        (0x100A, "Software version", "1"),
    ):
        value = text.encode("latin-1", "replace")
        dictionary.add_variable(
            index, name, ObjectEntry(name, DataType.VISIBLE_STRING, 8 * len(value), READ_ONLY, value)
        )
    identity = spec.identity or IdentitySpec(vendor_id=0, product_code=0)
    named = (
        ("Vendor id", identity.vendor_id),
        ("Product code", identity.product_code),
        ("Revision", identity.revision),
        ("Serial number", identity.serial),
    )
    entries = {sub: _number(name, DataType.UNSIGNED32, 32, value) for sub, (name, value) in enumerate(named, 1)}
    dictionary.add_record(0x1018, "Identity", entries, data_type=DataType.IDENTITY)


def _add_array(
    dictionary: ObjectDictionary,
    index: int,
    name: str,
    data_type: int,
    bits: int,
    values: Sequence[int],
    access: Access,
    room: int = 0,
) -> None:
    """Add an array with ``values``, and entries for at least ``room`` of them."""
    padded = (*values, *(0,) * (room - len(values)))
    entries = {sub: _number(f"{name} {sub}", data_type, bits, value, access) for sub, value in enumerate(padded, 1)}
    dictionary.add_record(
        index, name, entries, data_type=data_type, code=ObjectCode.ARRAY, count_access=access, count=len(values)
    )


def _add_mapped(dictionary: ObjectDictionary, pdos: Sequence[MappedPdo], access: Access, group: str) -> None:
    for pdo in pdos:
        for entry in pdo.entries:
            if entry.index:
                name = entry.name or f"{group} {entry.subindex}"
                made = ObjectEntry(name, entry.data_type, entry.bits, access)
                dictionary.ensure(entry.index, entry.subindex, _object_name(pdo, entry, group), made)


def _object_name(pdo: MappedPdo, entry: MappedEntry, group: str) -> str:
    return entry.name if entry.subindex == 0 and entry.name else pdo.name or group


def _add_startup(dictionary: ObjectDictionary, startup: Sequence[SdoSpec]) -> None:
    for sdo in startup:
        data_type, bits = _SDO_TYPES[sdo.type]
        name = f"Setting 0x{sdo.index:04X}"
        dictionary.ensure(
            sdo.index, sdo.subindex, name, ObjectEntry(name, data_type, bits, READ_WRITE | Access.SETTINGS)
        )


def _number(name: str, data_type: int, bits: int, value: int, access: Access = READ_ONLY) -> ObjectEntry:
    return ObjectEntry(name, data_type, bits, access, value.to_bytes(bits // 8, "little"))
