"""What a scan found, as the EtherCAT part of a machine file; it asks no device and opens no interface.

``soem_scan`` reads :class:`FoundDevice` from the wire. From what is written here an equal segment can be simulated:
each device keeps its SII image and its object dictionary, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from taktora.errors import ConfigurationError
from taktora.ethercat.datatypes import DataType, entry_type_of
from taktora.ethercat.device_objects import RX_ASSIGNMENT, TX_ASSIGNMENT
from taktora.ethercat.dictionary import ObjectDictionary
from taktora.ethercat.entries import Direction
from taktora.ethercat.network import (
    DeviceSpec,
    EntrySpec,
    EthercatBusSpec,
    MailboxSpec,
    PdoSpec,
    PdosSpec,
    Profile,
)
from taktora.ethercat.sii import CoeDetails, MailboxProtocol, Sii, SiiPdo, SmType, parse_sii

__all__ = ["FoundDevice", "describe_device", "describe_segment", "machine_text", "unwatched", "write_scan"]

_ESC_OPTIONS: Final = (("fmmus", 16, 16), ("sync_managers", 16, 16), ("ram_kb", 8, 60))
"""Name, default and most of what an ESC says that it has, as options of the simulated device."""
_LEAST_MAILBOX: Final = 24
_LONGEST_VALUE_BITS: Final = 64
_WATCHDOG_TRIGGER: Final = 0x40
_PDO_FIXED: Final = 0x0010
_PORT_ORDER: Final = (3, 1, 2)
"""The order in which a frame leaves an ESC by its ports (Beckhoff ESC datasheet, section I)."""

_PORT_IN_LINE: Final = 1
"""Where the next device in line hangs unless the machine file says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """One SubDevice as it was found on the wire.

    Args:
        position: Position on the bus, from 0.
        sii: Its SII image; what lies behind the end mark reads 0xFF.
        ports: Ports with a link, by DL status; port 0 looks towards the MainDevice.
        has_clock: It has a DC unit (register 0x0008, bit 2).
        alias: Station alias, register 0x0012; 0 is none.
        esc: FMMUs, SyncManagers and RAM in KB that the ESC has (registers 0x0004 to 0x0006).
        dictionary: Its objects; None for a device without CoE.
    """

    position: int
    sii: bytes
    ports: tuple[int, ...] = (0,)
    has_clock: bool = False
    alias: int = 0
    esc: tuple[int, int, int] = (16, 16, 8)
    dictionary: ObjectDictionary | None = None


class _Parent(NamedTuple):
    position: int
    port: int


# req: REQ_8153
def describe_segment(found: Sequence[FoundDevice]) -> EthercatBusSpec:
    """Return what was found as a bus of the machine file, with the files that :func:`write_scan` writes named in it.

    Raises:
        ConfigurationError: an SII image that makes no sense; the position is named.
    """
    labels = [_label(device) for device in found]
    devices = [describe_device(device, label) for device, label in zip(found, labels, strict=True)]
    for position, parent in enumerate(_parents(found)):
        if parent is not None and parent != _Parent(position - 1, _PORT_IN_LINE):
            where = {"parent": labels[parent.position], "port": parent.port}
            devices[position] = msgspec.structs.replace(devices[position], **where)
    return EthercatBusSpec(devices=tuple(devices))


def describe_device(found: FoundDevice, label: str) -> DeviceSpec:
    """Return one SubDevice as the machine file has it."""
    sii = _sii_of(found)
    pdos = PdosSpec(rx=_pdos(found, sii, "rx"), tx=_pdos(found, sii, "tx"))
    return DeviceSpec(
        label=label,
        profile=_profile(sii, pdos),
        identity=msgspec.structs.replace(sii.identity, serial=0),
        order=_order(sii),
        pdos=pdos,
        station_alias=found.alias or None,
        mailbox=_mailbox(sii),
        distributed_clock=found.has_clock,
        sm_watchdog_enabled=_is_watched(sii) if pdos.rx else None,
        dictionary=None if found.dictionary is None else f"objects/{label}.json",
        sii=f"sii/{label}.bin",
        options={
            name: value
            for (name, default, most), value in zip(_ESC_OPTIONS, found.esc, strict=True)
            if value != default and 1 <= value <= most
        },
    )


def unwatched(spec: EthercatBusSpec) -> tuple[str, ...]:
    """Return the labels of devices with outputs that no watchdog makes safe: somebody must decide about them."""
    return tuple(device.label for device in spec.devices if device.pdos.rx and not device.sm_watchdog_enabled)


# req: REQ_8153
def write_scan(folder: Path, found: Sequence[FoundDevice], *, machine: str, bus: str) -> Path:
    """Write ``machine.yaml``, ``sii/<label>.bin`` and ``objects/<label>.json`` into ``folder``; return the first.

    Raises:
        ConfigurationError: a machine file is there already, or the folder cannot be written.
    """
    path = folder / "machine.yaml"
    spec = describe_segment(found)
    if path.exists():
        raise ConfigurationError(f"{path}: is there already and is not overwritten; give another folder, or --diff")
    try:
        for name in ("sii", "objects"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for device, each in zip(spec.devices, found, strict=True):
            (folder / str(device.sii)).write_bytes(each.sii)
            if each.dictionary is not None:
                each.dictionary.save(folder / str(device.dictionary))
        path.write_text(machine_text(spec, machine=machine, bus=bus), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be written ({error.strerror}); give --output") from error
    return path


class _Hex(int):
    """A number that people read in hexadecimal."""


class _LongHex(int):
    """One of 32 bits, as lists and messages show it too."""


class _Dumper(yaml.SafeDumper):
    """YAML with hexadecimal numbers where the field means bits or an object."""


_Dumper.add_representer(_Hex, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:int", f"0x{value:04X}"))
_Dumper.add_representer(
    _LongHex, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:int", f"0x{value:08X}")
)
_IN_HEX: Final = frozenset(("index", "out_address", "in_address"))
_IN_LONG_HEX: Final = frozenset(("vendor_id", "product_code", "revision"))


def machine_text(spec: EthercatBusSpec, *, machine: str, bus: str) -> str:
    """Return the machine file that has ``spec`` as its only bus."""
    document = {"machine": machine, "ethercat": {bus: _for_people(msgspec.to_builtins(spec))}}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _for_people(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _for_people(value, name) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_for_people(each) for each in node]
    if key in _IN_LONG_HEX:
        return _LongHex(node)
    return _Hex(node) if key in _IN_HEX else node


# --- one device --------------------------------------------------------------------------------------------------


def _sii_of(found: FoundDevice) -> Sii:
    try:
        return parse_sii(found.sii)
    except ConfigurationError as error:
        raise ConfigurationError(f"position {found.position}: {error}; its EEPROM is damaged") from error


def _order(sii: Sii) -> str:
    return (sii.general.order or sii.general.name) if sii.general is not None else ""


def _label(found: FoundDevice) -> str:
    """Return a label that is unique, because it ends with the position, and says what stands there."""
    words = re.sub("[^A-Za-z0-9]+", "_", _order(_sii_of(found))).strip("_").lower() or "device"
    return f"{'d_' if words[0].isdigit() else ''}{words}_{found.position}"


def _profile(sii: Sii, pdos: PdosSpec) -> Profile | None:
    """Return what a simple terminal without a mailbox behaves like; None where the default says it."""
    if MailboxProtocol.COE in sii.protocols or bool(pdos.rx) == bool(pdos.tx):
        return None
    entries = [entry for pdo in (*pdos.rx, *pdos.tx) for entry in pdo.entries]
    if not entries or any(entry.index and entry.type != "bool" for entry in entries):
        return None
    return "digital-outputs" if pdos.rx else "digital-inputs"


def _mailbox(sii: Sii) -> MailboxSpec | None:
    box = sii.mailbox
    if MailboxProtocol.COE not in sii.protocols or min(box.out_bytes, box.in_bytes) < _LEAST_MAILBOX:
        return None
    coe = sii.general.coe if sii.general is not None else CoeDetails(0)
    return MailboxSpec(
        out_address=box.out_address,
        out_bytes=box.out_bytes,
        in_address=box.in_address,
        in_bytes=box.in_bytes,
        complete_access=CoeDetails.COMPLETE_ACCESS in coe,
        sdo_info=CoeDetails.SDO_INFO in coe,
        pdo_assign=CoeDetails.PDO_ASSIGN in coe,
        pdo_config=CoeDetails.PDO_CONFIG in coe,
    )


def _is_watched(sii: Sii) -> bool:
    outputs = [manager for manager in sii.sync_managers if manager.type == SmType.OUTPUTS]
    return bool(outputs) and all(manager.control & _WATCHDOG_TRIGGER for manager in outputs)


def _pdos(found: FoundDevice, sii: Sii, direction: Direction) -> tuple[PdoSpec, ...]:
    """Return the assigned PDOs: what the objects say, else what the SII says."""
    listed = sii.rx_pdos if direction == "rx" else sii.tx_pdos
    names = _Names()
    dictionary = found.dictionary
    assignment = RX_ASSIGNMENT if direction == "rx" else TX_ASSIGNMENT
    if dictionary is None or assignment not in dictionary:
        return tuple(_pdo_of_sii(pdo, names) for pdo in listed if pdo.sync_manager is not None and pdo.entries)
    known = {pdo.index: pdo for pdo in listed}
    assigned = (index for index in _values(dictionary, assignment) if index)
    pdos = (_pdo_of_objects(dictionary, index, known.get(index), names) for index in assigned)
    return tuple(pdo for pdo in pdos if pdo.entries)


def _pdo_of_sii(pdo: SiiPdo, names: _Names) -> PdoSpec:
    entries = tuple(
        _entry(names, each.index, each.subindex, each.bits, each.data_type, each.name) for each in pdo.entries
    )
    return PdoSpec(index=pdo.index, name=pdo.name, entries=entries, fixed=bool(pdo.flags & _PDO_FIXED))


def _pdo_of_objects(dictionary: ObjectDictionary, index: int, listed: SiiPdo | None, names: _Names) -> PdoSpec:
    known = {} if listed is None else {(each.index, each.subindex): each for each in listed.entries}
    entries = []
    for word in _values(dictionary, index):
        target, subindex, bits = word >> 16, word >> 8 & 0xFF, word & 0xFF
        if not bits:
            continue
        said, there = known.get((target, subindex)), dictionary.get(target, subindex)
        name = said.name if said is not None and said.name else there.name if there is not None else ""
        data_type = there.data_type if there is not None else said.data_type if said is not None else 0
        entries.append(_entry(names, target, subindex, bits, data_type, name))
    found = dictionary.objects.get(index)
    name = listed.name if listed is not None and listed.name else found.name if found is not None else ""
    is_fixed = listed is not None and bool(listed.flags & _PDO_FIXED)
    return PdoSpec(index=index, name=name, entries=tuple(entries), fixed=is_fixed)


def _values(dictionary: ObjectDictionary, index: int) -> Iterator[int]:
    found = dictionary.objects.get(index)
    if found is not None:
        yield from (found.entries[sub].number for sub in range(1, found.count + 1) if sub in found.entries)


def _entry(names: _Names, index: int, subindex: int, bits: int, data_type: int, name: str) -> EntrySpec:
    if not index:
        return EntrySpec(bit_length=bits)
    kind = "bool" if bits == 1 and data_type == DataType.BIT1 else entry_type_of(data_type, bits)
    length = bits if kind == "bits" else None
    shown = names.take(name or f"o{index:04x}_{subindex:02x}") if bits <= _LONGEST_VALUE_BITS else None
    return EntrySpec(name=shown, index=index, subindex=subindex, type=kind, bit_length=length)


class _Names:
    """Names that fields of a class can have, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, text: str) -> str:
        stem = re.sub("[^A-Za-z0-9]+", "_", text).strip("_").lower() or "entry"
        stem = f"_{stem}" if stem[0].isdigit() else f"{stem}_" if iskeyword(stem) else stem
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


# --- topology ----------------------------------------------------------------------------------------------------


def _parents(found: Sequence[FoundDevice]) -> list[_Parent | None]:
    """Return where each SubDevice hangs: a frame visits them depth first, by ports 3, 1, 2."""
    parents: list[_Parent | None] = []
    open_ends: list[tuple[int, list[int]]] = []
    for device in found:
        while open_ends and not open_ends[-1][1]:
            open_ends.pop()
        parents.append(_Parent(open_ends[-1][0], open_ends[-1][1].pop(0)) if open_ends else None)
        open_ends.append((device.position, _ends(device)))
    return parents


def _ends(device: FoundDevice) -> list[int]:
    return [port for port in _PORT_ORDER if port in device.ports]
