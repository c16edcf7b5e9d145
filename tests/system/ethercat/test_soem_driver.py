"""SOEM on the rig, step by step in this process: bring-up, images, mailbox, states, errors, end."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from taktora.errors import LinkDown, StackError
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec, MailboxSpec, PdoSpec, PdosSpec
from taktora.ethercat.resolve import resolve
from taktora.ethercat.watchdog import SmWatchdog
from taktora.traceability.measure import Measure
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, digital_outputs
from tests.system.ethercat.cell import (
    STEPPED_FTTI_MS,
    WATCHED,
    address,
    axis,
    plan_of,
    replace_spec,
    run,
    wait_for,
)
from tests.system.ethercat.conftest import Cell, MakeDriver

pytestmark = pytest.mark.world("rig")


def altered(stepped_cell: Cell, label: str, **more: Any) -> Any:
    """The plan with another expectation of one SubDevice."""
    subs = tuple(replace(sub, **more) if sub.label == label else sub for sub in stepped_cell.plan.subdevices)
    return replace(stepped_cell.plan, subdevices=subs)


@pytest.mark.verifies("REQ_8110", "REQ_0313", "REQ_0329")
@pytest.mark.parametrize("mapping", ["overlap", "sequential"])
def test_sixteen_subdevices_of_all_kinds_reach_op(stepped_cell: Cell, make_driver: MakeDriver, mapping: str) -> None:
    driver = make_driver(stepped_cell.plan, mapping=mapping)

    found = run(driver.bring_up())

    assert found == (28, 16)
    assert run(driver.exchange()).working_counter == 28
    assert {device["state"] for device in stepped_cell.rig.control.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_8110", "REQ_8105", "REQ_0326", "REQ_0327")
@pytest.mark.parametrize("mapping", ["overlap", "sequential"])
def test_both_mappings_bring_each_bit_to_its_place(stepped_cell: Cell, make_driver: MakeDriver, mapping: str) -> None:
    driver = make_driver(stepped_cell.plan, mapping=mapping)
    run(driver.bring_up())
    wanted = {
        "do4": b"\x0a",
        "do2": b"\x01",
        "do2b": b"\x02",
        "do16": b"\x34\x12",
        "ao2": b"\x01\x02\x03\x04",
        "axis1": bytes(range(1, 8)),
        "axis2": bytes(range(11, 18)),
        "fixed": bytes(range(21, 27)),
        "large": bytes(range(40)),
    }
    forced = {"di8": ("in2", 0x02), "di4": ("in4", 0x08), "di2": ("in1", 0x01), "di2b": ("in2", 0x02)}
    for label, data in wanted.items():
        view = driver.outputs(address(stepped_cell.spec, label))
        assert view is not None
        view[:] = data
    for label, (entry, _value) in forced.items():
        stepped_cell.rig.control.inject(f"ethercat/cell/{label}", "force-input", entry=entry, value=1.0)

    for _ in range(3):
        run(driver.exchange())

    snapshot = stepped_cell.rig.control.snapshot()
    assert {label: bytes.fromhex(snapshot[label]["outputs"]) for label in wanted} == wanted
    inputs = {label: driver.inputs(address(stepped_cell.spec, label)) for label in (*forced, "axis1", "axis2", "fixed")}
    assert {label: bytes(view or b"") for label, view in inputs.items()} == {
        **{label: bytes([value]) for label, (_entry, value) in forced.items()},
        "axis1": wanted["axis1"][:6],
        "axis2": wanted["axis2"][:6],
        "fixed": wanted["fixed"],
    }


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_devices_of_one_identity_with_other_pdos_are_told_the_limit(tmp_path: Path, make_driver: MakeDriver) -> None:
    small, large = digital_outputs("small", 8, **WATCHED), digital_outputs("large", 24, **WATCHED)
    assert small.identity is not None
    twin = replace_spec(large, identity=small.identity)
    revised = replace_spec(large, identity=structs.replace(small.identity, revision=small.identity.revision + 1))
    first, second = (EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(small, each)) for each in (twin, revised))

    with (
        EthercatRig(first, folder=tmp_path) as rig,
        pytest.raises(
            StackError, match=r"maps 1 bytes of outputs, expected 3; .* earlier one, here 'small' \(0x1000\);"
        ),
    ):
        run(make_driver(plan_of(rig, first)).bring_up())
    with EthercatRig(second, folder=tmp_path) as rig:  # what the text says helps
        assert run(make_driver(plan_of(rig, second)).bring_up()).subdevice_count == 2


@pytest.mark.verifies("REQ_0330", "REQ_0329")
def test_a_device_that_forbids_lrw_is_served_by_two_datagrams(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(
        ftti_ms=STEPPED_FTTI_MS,
        devices=(
            coupler("coupler"),
            digital_outputs("do8", 8, **WATCHED),
            digital_inputs("di8", 8, options={"no_lrw": True}),
        ),
    )
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))

        assert run(driver.bring_up()).expected_wkc == 3
        assert run(driver.exchange()).working_counter == 3
        view = driver.outputs(0x1001)
        assert view is not None
        view[:] = b"\x5a"
        run(driver.exchange())
        assert rig.control.snapshot()["do8"]["outputs"] == "5a"


@pytest.mark.realizes("TEST_0862")
def test_the_watchdog_set_by_the_bring_up_makes_outputs_safe_when_the_driver_stops(
    stepped_cell: Cell, make_driver: MakeDriver, measure: Measure
) -> None:
    driver = make_driver(altered(stepped_cell, "do16", sm_watchdog=SmWatchdog.from_timeout_us(80_000)))
    run(driver.bring_up())
    last_ns = time.monotonic_ns()
    run(driver.exchange())

    wait_for(lambda: stepped_cell.rig.control.output_changes("do16")[-1].safe_because)

    change = stepped_cell.rig.control.output_changes("do16")[-1]
    assert change.safe_because == "SyncManager watchdog expired"
    # Not before its time: that is what the registers say, 80 ms here and 50 ms or 100 ms elsewhere.
    measure("watchdog_expiry", (change.at_ns - last_ns) / 1e6, "ms", low=79.9)


@pytest.mark.verifies("REQ_0331")
def test_an_interface_that_was_removed_is_the_end(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), digital_inputs("di8", 8)))
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))
        run(driver.bring_up())

    with pytest.raises(LinkDown, match="it has been removed; start again once it is back"):
        run(driver.recover())


@pytest.mark.verifies("REQ_0318", "REQ_0330")
def test_clocks_are_left_alone_unless_asked_for(tmp_path: Path, make_driver: MakeDriver) -> None:
    recording = tmp_path / "bus.pcapng"
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), axis("drive", distributed_clock=True)))
    with EthercatRig(spec, folder=tmp_path, record=recording) as rig:
        driver = make_driver(plan_of(rig, spec))
        assert run(driver.bring_up()) == (3, 2)
        for _ in range(10):
            run(driver.exchange())
        driver.close()

    frames = recording.read_bytes()
    assert commands(frames, b"\x0c", 0) > 10  # LRW
    assert commands(frames, b"\x08", 0x0900) == commands(frames, b"\x0e", 0x0910) == 0  # BWR latch, FRMW


def commands(capture: bytes, command: bytes, register: int) -> int:
    """Count datagrams by their first bytes: command, index, address, register."""
    count, place, offset = 0, 0, register.to_bytes(2, "little")
    while (place := capture.find(command, place)) >= 0:
        count += capture[place + 4 : place + 6] == offset
        place += 1
    return count


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_an_interface_that_is_down_is_named_with_the_command(
    tmp_path: Path, make_driver: MakeDriver, down_interface: str
) -> None:
    plan = replace(
        resolve(EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"),))),
        network_interface=down_interface,
    )

    with pytest.raises(StackError, match=f"'{down_interface}': the interface is down; 'ip link set {down_interface}"):
        run(make_driver(plan).bring_up())


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_an_interface_without_a_link_is_named(tmp_path: Path, make_driver: MakeDriver, down_interface: str) -> None:
    plan = replace(
        resolve(EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"),))),
        network_interface=down_interface,
    )
    subprocess.run(["ip", "link", "set", down_interface, "up"], check=True)

    with pytest.raises(StackError, match=f"interface '{down_interface}': no link; check the cable"):
        run(make_driver(plan).bring_up())


@pytest.mark.verifies("REQ_8110")
def test_safe_values_are_on_the_bus_from_the_first_output_on(stepped_cell: Cell, make_driver: MakeDriver) -> None:
    run(make_driver(stepped_cell.plan).bring_up())

    assert stepped_cell.rig.control.output_changes("fixed")[0].data == b"\xaa\0\0\0\0\0"


@pytest.mark.verifies("REQ_0331", "REQ_8510")
def test_an_interface_that_was_down_for_a_while_is_recovered(stepped_cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(stepped_cell.plan)
    run(driver.bring_up())
    subprocess.run(["ip", "link", "set", stepped_cell.rig.interface, "down"], check=True)
    with pytest.raises(StackError, match="no frame came back"):
        run(driver.exchange())
    with pytest.raises(StackError, match=f"'{stepped_cell.rig.interface}': the interface is down; 'ip link set"):
        run(driver.recover())
    subprocess.run(["ip", "link", "set", stepped_cell.rig.interface, "up"], check=True)

    assert run(driver.recover()) == (28, 16)
    assert run(driver.exchange()).working_counter == 28


def block(label: str, size: int) -> DeviceSpec:
    """A device with ``size`` bytes each way that gives back what it got."""
    pdos = PdosSpec(rx=(PdoSpec(index=0x1600, bit_length=8 * size),), tx=(PdoSpec(index=0x1A00, bit_length=8 * size),))
    return DeviceSpec(
        label=label, pdos=pdos, mailbox=MailboxSpec(), options={"loopback": True}, sm_watchdog_enabled=True
    )


@pytest.mark.verifies("REQ_8110", "REQ_8105")
@pytest.mark.parametrize("mapping", ["overlap", "sequential"])
def test_an_image_of_several_frames_arrives_whole(tmp_path: Path, make_driver: MakeDriver, mapping: str) -> None:
    spec = EthercatBusSpec(
        ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), *(block(f"d{number}", 200) for number in range(9)))
    )
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec), mapping=mapping)
        assert run(driver.bring_up()).expected_wkc == 27
        wanted = {0x1001 + number: bytes((number + place) & 0xFF for place in range(200)) for number in range(9)}
        for place, data in wanted.items():
            view = driver.outputs(place)
            assert view is not None
            view[:] = data
        counters = {run(driver.exchange()).working_counter for _ in range(3)}

        assert counters == {27}
        assert {place: bytes(driver.inputs(place) or b"") for place in wanted} == wanted


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("mapping", "said"),
    [("overlap", "takes 4400 bytes of pysoem's 4096; use mapping sequential or"), ("sequential", "4400 .*; use two")],
)
def test_an_image_that_pysoem_cannot_hold_is_refused(
    tmp_path: Path, make_driver: MakeDriver, mapping: str, said: str
) -> None:
    blocks = (block(f"d{number}", 200) for number in range(11))
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), *blocks), max_pdi_bytes=10_000)
    with EthercatRig(spec, folder=tmp_path) as rig, pytest.raises(StackError, match=said):
        run(make_driver(plan_of(rig, spec), mapping=mapping).bring_up())
