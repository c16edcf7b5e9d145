"""What a scan found as a machine file, and how a machine file and a segment differ; no device is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taktora.app.machine import load_machine
from taktora.errors import ConfigurationError
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.mapping import map_pdos
from taktora.ethercat.network import (
    DeviceSpec,
    EntrySpec,
    EthercatBusSpec,
    IdentitySpec,
    MailboxSpec,
    PdoSpec,
    PdosSpec,
)
from taktora.ethercat.resolve import resolve
from taktora.ethercat.scan import FoundDevice, describe_segment, unwatched, write_scan
from taktora.ethercat.scan_diff import differences
from taktora.ethercat.sii import SiiPdo, build_sii, describe_sii, encode_sii

WHO = IdentitySpec(vendor_id=0x7E57, product_code=0x400, revision=0x10, serial=77)
SHOWN = "vendor 0x00007E57, product 0x00000400, revision 0x00000010, serial 77"
FOUND_BOX = "a CoE mailbox of 256 bytes at 0x1000, 128 bytes at 0x1100 (sdo_info, pdo_assign, pdo_config)"
USUAL_BOX = "a CoE mailbox of 128 bytes at 0x1000, 128 bytes at 0x1080 (complete_access, sdo_info, pdo_assign)"
TWO_BITS = "0x1600 (1 bits), 0x1601 (1 bits)"


def bit(name: str, index: int) -> PdoSpec:
    return PdoSpec(
        index=0x1600 + index, entries=(EntrySpec(name=name, index=0x7000 + 16 * index, subindex=1, type="bool"),)
    )


def outputs(**more: Any) -> DeviceSpec:
    fields = {
        "label": "valves",
        "order": "TK-2002",
        "identity": WHO,
        "pdos": PdosSpec(rx=(bit("open", 0), bit("close", 1))),
        "sm_watchdog_enabled": True,
    }
    return DeviceSpec(**{**fields, **more})


def axis(**more: Any) -> DeviceSpec:
    rx = PdoSpec(
        index=0x1600,
        name="Command",
        entries=(
            EntrySpec(name="control_word", index=0x6040, type="u16"),
            EntrySpec(bit_length=8),
            EntrySpec(name="mode", index=0x6060, type="i8"),
            EntrySpec(index=0x2000, subindex=1, bit_length=96),
        ),
    )
    tx = PdoSpec(
        index=0x1A00,
        entries=(
            EntrySpec(name="value1", index=0x6000, subindex=0x11, type="f32"),
            EntrySpec(name="value2", index=0x6010, subindex=0x11, type="i16"),
            EntrySpec(name="three", index=0x6020, subindex=1, bit_length=3),
            EntrySpec(bit_length=5),
        ),
    )
    fields = {
        "label": "axis",
        "order": "Servo 7",
        "identity": WHO,
        "pdos": PdosSpec(rx=(rx,), tx=(tx,)),
        "mailbox": MailboxSpec(
            out_address=0x1000, out_bytes=256, in_address=0x1100, complete_access=False, pdo_config=True
        ),
        "sm_watchdog_enabled": True,
        "station_alias": 5,
    }
    return DeviceSpec(**{**fields, **more})


def found(spec: DeviceSpec, position: int = 0, **more: Any) -> FoundDevice:
    """What a scan would read of the device that ``spec`` describes."""
    return FoundDevice(
        position=position,
        sii=build_sii(spec),
        alias=spec.station_alias or 0,
        dictionary=build_dictionary(spec) if spec.mailbox else None,
        **{"ports": (0,), **more},
    )


def line(*specs: DeviceSpec) -> list[FoundDevice]:
    last = len(specs) - 1
    return [found(spec, at, ports=(0,) if at == last else (0, 1)) for at, spec in enumerate(specs)]


def _renamed(pdo: SiiPdo, names: dict[str, str]) -> SiiPdo:
    return replace(pdo, entries=tuple(replace(each, name=names.get(each.name, each.name)) for each in pdo.entries))


@pytest.mark.verifies("REQ_8153")
def test_a_device_keeps_identity_alias_mailbox_and_process_data() -> None:
    head = DeviceSpec(label="head", order="TK-1100", identity=WHO)
    spec = describe_segment(line(head, outputs(), axis()))

    assert [device.label for device in spec.devices] == ["tk_1100_0", "tk_2002_1", "servo_7_2"]
    assert [device.profile for device in spec.devices] == [None, "digital-outputs", None]
    drive = spec.devices[2]
    assert drive.identity == IdentitySpec(vendor_id=0x7E57, product_code=0x400, revision=0x10)  # any serial number
    assert (drive.station_alias, drive.sm_watchdog_enabled) == (5, True)
    assert drive.mailbox == axis().mailbox
    assert (drive.sii, drive.dictionary) == ("sii/servo_7_2.bin", "objects/servo_7_2.json")
    for way in ("rx", "tx"):
        mapped = [map_pdos(getattr(each.pdos, way), way) for each in (drive, axis())]
        words = [[(pdo.index, [entry.word for entry in pdo.entries]) for pdo in pdos] for pdos in mapped]
        assert words[0] == words[1]


@pytest.mark.verifies("REQ_8153")
def test_entries_get_types_and_names_that_fields_of_a_class_can_have() -> None:
    said = {"control_word": "Control word", "mode": "class", "value1": "Value", "value2": "value", "three": "3 bits"}
    sii = describe_sii(axis())
    pdos: dict[str, Any] = {
        way: tuple(_renamed(pdo, said) for pdo in getattr(sii, way)) for way in ("rx_pdos", "tx_pdos")
    }
    device = replace(found(axis()), sii=encode_sii(replace(sii, **pdos)))

    (device_spec,) = describe_segment([device]).devices

    shown = [
        (entry.name, entry.type, entry.bit_length)
        for pdo in (*device_spec.pdos.rx, *device_spec.pdos.tx)
        for entry in pdo.entries
    ]
    assert shown == [
        ("control_word", "u16", None),
        (None, "bits", 8),
        ("class_", "i8", None),
        (None, "bits", 96),
        ("value", "f32", None),
        ("value_2", "i16", None),
        ("_3_bits", "bits", 3),
        (None, "bits", 5),
    ]
    assert device_spec.pdos.rx[0].name == "Command"


@pytest.mark.verifies("REQ_8153")
def test_branches_are_seen_by_the_ports_in_use() -> None:
    coupler = DeviceSpec(label="c", order="c", identity=WHO)
    leaf = DeviceSpec(label="l", order="l", identity=WHO)
    found_ports = [(0, 1, 3), (0, 1), (0,), (0,)]
    devices = [found(coupler if at == 0 else leaf, at, ports=ports) for at, ports in enumerate(found_ports)]

    spec = describe_segment(devices)

    assert [(device.parent, device.port) for device in spec.devices] == [
        (None, None),
        ("c_0", 3),
        (None, None),
        ("c_0", 1),
    ]


@pytest.mark.verifies("REQ_8153")
def test_what_is_written_can_be_loaded_and_resolved(tmp_path: Path) -> None:
    devices = line(outputs(), axis())

    path = write_scan(tmp_path / "scan", devices, machine="press", bus="cell")

    machine = load_machine(path)
    assert machine.machine == "press"
    assert machine.ethercat["cell"] == describe_segment(devices)
    assert resolve(machine.ethercat["cell"]).expected_wkc(2) == 2 + 3
    assert (path.parent / "sii/tk_2002_0.bin").read_bytes() == devices[0].sii
    assert "index: 0x1600" in path.read_text()
    assert differences(machine.ethercat["cell"], devices, path.parent) == ()


@pytest.mark.verifies("REQ_8153", "REQ_8510")
def test_a_machine_file_is_not_overwritten(tmp_path: Path) -> None:
    path = write_scan(tmp_path, [], machine="m", bus="cell")

    with pytest.raises(ConfigurationError) as caught:
        write_scan(tmp_path, [], machine="m", bus="cell")

    assert str(caught.value) == f"{path}: is there already and is not overwritten; give another folder, or --diff"


@pytest.mark.verifies("REQ_8153", "REQ_0845")
def test_outputs_without_a_watchdog_are_told() -> None:
    spec = describe_segment(line(outputs(sm_watchdog_enabled=False), axis()))

    assert unwatched(spec) == ("tk_2002_0",)


@pytest.mark.verifies("REQ_8153", "REQ_8510")
def test_a_damaged_sii_names_the_position() -> None:
    with pytest.raises(ConfigurationError, match=r"^position 3: SII word 0x0010: .*; its EEPROM is damaged$"):
        describe_segment([FoundDevice(position=3, sii=bytes(32))])


def _bus(*devices: DeviceSpec) -> EthercatBusSpec:
    return EthercatBusSpec(devices=devices)


# req: REQ_8510
@pytest.mark.verifies("REQ_8153", "REQ_8510")
@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        (
            axis(identity=msgspec.structs.replace(WHO, product_code=0x401)),
            axis(),
            f"found {SHOWN}, machine file {SHOWN.replace('0x00000400', '0x00000401')}",
        ),
        (axis(station_alias=6), axis(), "found station alias 5, machine file 6"),
        (
            axis(mailbox=MailboxSpec()),
            axis(),
            f"found {FOUND_BOX}, machine file {USUAL_BOX}",
        ),
        (axis(distributed_clock=True), axis(), "found no DC unit, machine file distributed_clock: true"),
        (
            axis(pdos=PdosSpec(rx=axis().pdos.rx, tx=(bit("open", 0),))),
            axis(),
            "found inputs 0x1A00 (56 bits), machine file 0x1600 (1 bits)",
        ),
        (
            outputs(pdos=PdosSpec(rx=(bit("open", 0), bit("close", 1), bit("more", 2)))),
            outputs(),
            f"found outputs {TWO_BITS}, machine file {TWO_BITS}, 0x1602 (1 bits)",
        ),
    ],
    ids=["identity", "alias", "mailbox", "clock", "inputs", "outputs"],
)
def test_differences_are_told_in_words(wanted: DeviceSpec, there: DeviceSpec, said: str) -> None:
    assert differences(_bus(wanted), [found(there)]) == (f"position 0 ({wanted.label!r}): {said}",)


@pytest.mark.verifies("REQ_8153")
def test_missing_and_unknown_devices_are_told() -> None:
    who = "vendor 0x00007E57, product 0x00000400, revision 0x00000010"

    assert differences(_bus(outputs(), axis()), line(outputs())) == (
        "the segment has 1 SubDevices, the machine file 2",
        "position 1 ('axis'): nobody there",
    )
    assert differences(_bus(outputs()), line(outputs(), axis())) == (
        "the segment has 2 SubDevices, the machine file 1",
        f"position 1: {who} is not in the machine file",
    )


@pytest.mark.verifies("REQ_8153")
def test_changed_objects_sii_and_cables_are_told(tmp_path: Path) -> None:
    devices = line(outputs(), axis(), outputs())
    path = write_scan(tmp_path, devices, machine="m", bus="cell")
    spec = load_machine(path).ethercat["cell"]
    changed = build_dictionary(axis())
    changed.entry(0x1C12, 0).number = 0
    devices[1] = replace(devices[1], dictionary=changed, sii=devices[1].sii + bytes(128))
    devices[0] = replace(devices[0], ports=(0, 1, 3))
    devices[1] = replace(devices[1], ports=(0,))

    said = differences(spec, devices, tmp_path)

    assert "position 1 ('servo_7_1'): its SII differs from sii/servo_7_1.bin" in said
    assert "position 1 ('servo_7_1'): its objects 0x1C12 differ from objects/servo_7_1.json" in said
    assert "position 2 ('tk_2002_2'): hangs on position 0, machine file position 1" in said
