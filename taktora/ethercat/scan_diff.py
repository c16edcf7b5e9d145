"""How a machine file and a segment that was found differ, position by position, in words; it changes neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from taktora.ethercat.bringup_errors import identity_text
from taktora.ethercat.dictionary import DictionaryObject, ObjectDictionary, load_dictionary
from taktora.ethercat.entries import Direction, placed
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec, IdentitySpec
from taktora.ethercat.pdo import ExpectedIdentity
from taktora.ethercat.scan import FoundDevice, describe_segment
from taktora.ethercat.sii import parse_sii

__all__ = ["differences"]

_WAYS: Final[tuple[tuple[Direction, str], ...]] = (("rx", "outputs"), ("tx", "inputs"))
_MOST_OBJECTS: Final = 5


# req: REQ_8153
def differences(spec: EthercatBusSpec, found: Sequence[FoundDevice], folder: Path = Path()) -> tuple[str, ...]:
    """Return one sentence for each difference, in bus order; nothing when an equal segment was found.

    Identity, alias, mailbox, process data and topology are compared, and SII image and object dictionary where the
    machine file names files of them. What is left open in the machine file fits whatever is found; process data and
    objects of a device with CoE are not compared if its dictionary was not read.

    Args:
        spec: The bus of the machine file.
        found: What a scan has read.
        folder: Where the machine file is.

    Raises:
        ConfigurationError: a file that the machine file names cannot be used, or an SII image makes no sense.
    """
    actual = describe_segment(found)
    said: list[str] = []
    if len(spec.devices) != len(found):
        said.append(f"the segment has {len(found)} SubDevices, the machine file {len(spec.devices)}")
    for position, (wanted, there, device) in enumerate(zip(spec.devices, actual.devices, found, strict=False)):
        place = f"position {position} ({wanted.label!r}): "
        said += [place + text for text in _of_device(wanted, there, device, folder)]
    for position, wanted in enumerate(spec.devices[len(found) :], len(found)):
        said.append(f"position {position} ({wanted.label!r}): nobody there")
    for position, there in enumerate(actual.devices[len(spec.devices) :], len(spec.devices)):
        said.append(f"position {position}: {_who(there.identity)} is not in the machine file")
    return (*said, *_of_topology(spec, actual))


def _of_device(wanted: DeviceSpec, there: DeviceSpec, device: FoundDevice, folder: Path) -> Iterator[str]:
    found = parse_sii(device.sii).identity
    if wanted.identity is not None and not _fits(wanted.identity, found):
        yield f"found {_who(found)}, machine file {_who(wanted.identity)}"
        return  # another device: everything else differs too
    if wanted.station_alias is not None and wanted.station_alias != device.alias:
        yield f"found station alias {device.alias}, machine file {wanted.station_alias}"
    if wanted.mailbox != there.mailbox:
        yield f"found {_mailbox(there)}, machine file {_mailbox(wanted)}"
    if wanted.distributed_clock and not there.distributed_clock:
        yield "found no DC unit, machine file distributed_clock: true"
    was_read = there.mailbox is None or device.dictionary is not None
    for direction, name in _WAYS if was_read else ():
        yield from _of_pdos(wanted, there, direction, name)
    if wanted.sii is not None and (folder / wanted.sii).read_bytes() != device.sii:
        yield f"its SII differs from {wanted.sii}"
    if wanted.dictionary is not None and was_read:
        yield from _of_objects(load_dictionary(folder / wanted.dictionary), device.dictionary, wanted.dictionary)


def _fits(wanted: IdentitySpec, found: IdentitySpec) -> bool:
    return (
        (wanted.vendor_id, wanted.product_code) == (found.vendor_id, found.product_code)
        and wanted.revision in (0, found.revision)
        and wanted.serial in (0, found.serial)
    )


def _who(identity: IdentitySpec | None) -> str:
    if identity is None:
        return "any device"
    return identity_text(
        ExpectedIdentity(identity.vendor_id, identity.product_code, identity.revision, identity.serial)
    )


def _mailbox(device: DeviceSpec) -> str:
    box = device.mailbox
    if box is None:
        return "no CoE mailbox"
    can = (
        ("complete_access", box.complete_access),
        ("sdo_info", box.sdo_info),
        ("pdo_assign", box.pdo_assign),
        ("pdo_config", box.pdo_config),
    )
    abilities = ", ".join(name for name, is_set in can if is_set) or "SDO only"
    places = f"{box.out_bytes} bytes at 0x{box.out_address:04X}, {box.in_bytes} bytes at 0x{box.in_address:04X}"
    return f"a CoE mailbox of {places} ({abilities})"


def _of_pdos(wanted: DeviceSpec, there: DeviceSpec, direction: Direction, name: str) -> Iterator[str]:
    expected, found = placed(wanted, direction), placed(there, direction)
    if [(pdo.index, pdo.bit_length) for pdo in expected] != [(pdo.index, pdo.bit_length) for pdo in found]:
        shown = [
            ", ".join(f"0x{pdo.index:04X} ({pdo.bit_length} bits)" for pdo in pdos) or "none"
            for pdos in (found, expected)
        ]
        yield f"found {name} {shown[0]}, machine file {shown[1]}"
        return
    for pdo, other in zip(expected, found, strict=True):
        objects = {entry.bit_offset: entry for entry in other.entries}
        for entry in pdo.entries:
            same = objects.get(entry.bit_offset)
            if entry.index and same is not None and (same.index, same.subindex) != (entry.index, entry.subindex):
                yield (
                    f"PDO 0x{pdo.index:04X} maps 0x{same.index:04X}:{same.subindex:02X} at bit {entry.bit_offset}, "
                    f"machine file 0x{entry.index:04X}:{entry.subindex:02X} ({entry.name})"
                )


def _of_objects(wanted: ObjectDictionary, found: ObjectDictionary | None, file: str) -> Iterator[str]:
    if found is None:
        yield f"found no object dictionary, machine file {file}"
        return
    indices = sorted({*wanted.objects, *found.objects})
    differing = [index for index in indices if not _same_object(wanted.objects.get(index), found.objects.get(index))]
    if differing:
        shown = ", ".join(f"0x{index:04X}" for index in differing[:_MOST_OBJECTS])
        more = f" and {len(differing) - _MOST_OBJECTS} more" if len(differing) > _MOST_OBJECTS else ""
        yield f"its objects {shown}{more} differ from {file}"


def _same_object(one: DictionaryObject | None, other: DictionaryObject | None) -> bool:
    """Compare what SDO information tells and what is written; values of inputs change by themselves."""
    if one is None or other is None:
        return False
    heads = [(each.name, each.code, each.data_type, sorted(each.entries)) for each in (one, other)]
    if heads[0] != heads[1]:
        return False
    for subindex, entry in one.entries.items():
        twin = other.entries[subindex]
        facts = [(each.name, each.data_type, each.bits, each.access) for each in (entry, twin)]
        if facts[0] != facts[1] or (entry.is_writable and entry.value != twin.value):
            return False
    return True


def _of_topology(spec: EthercatBusSpec, actual: EthercatBusSpec) -> Iterator[str]:
    labels, names = ([device.label for device in each.devices] for each in (spec, actual))
    for position, (wanted, there) in enumerate(zip(spec.devices, actual.devices, strict=False)):
        places = [_parent(each.parent, position, known) for each, known in ((wanted, labels), (there, names))]
        if position and places[0] != places[1]:
            yield (
                f"position {position} ({wanted.label!r}): hangs on position {places[1]}, "
                f"machine file position {places[0]}"
            )


def _parent(label: str | None, position: int, labels: Sequence[str]) -> int:
    return position - 1 if label is None else labels.index(label)
