"""SOEM on the rig, step by step in this process: bring-up, images, mailbox, states, errors, end."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taktora.errors import ConfigurationError, LinkDown, StackError
from taktora.ethercat.driver import AlState, Emergency
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.pdo import ExpectedIdentity
from taktora.ethercat.resolve import resolve
from taktora.ethercat.watchdog import SmWatchdog
from taktora.traceability.measure import Measure
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, digital_outputs, generic
from tests.system.ethercat.cell import (
    LONG_OBJECT,
    PARAMETER,
    WATCHED,
    address,
    axis,
    plan_of,
    run,
    wait_for,
)
from tests.system.ethercat.conftest import Cell, MakeDriver

pytestmark = pytest.mark.world("rig")


def altered(cell: Cell, label: str, **more: Any) -> Any:
    """The plan with another expectation of one SubDevice."""
    subs = tuple(replace(sub, **more) if sub.label == label else sub for sub in cell.plan.subdevices)
    return replace(cell.plan, subdevices=subs)


@pytest.mark.verifies("REQ_8110", "REQ_0313", "REQ_0329")
@pytest.mark.parametrize("mapping", ["overlap", "sequential"])
def test_sixteen_subdevices_of_all_kinds_reach_op(cell: Cell, make_driver: MakeDriver, mapping: str) -> None:
    driver = make_driver(cell.plan, mapping=mapping)

    found = run(driver.bring_up())

    assert found == (28, 16)
    assert run(driver.exchange()).working_counter == 28
    assert {device["state"] for device in cell.rig.control.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_8110", "REQ_8105", "REQ_0326", "REQ_0327")
@pytest.mark.parametrize("mapping", ["overlap", "sequential"])
def test_both_mappings_bring_each_bit_to_its_place(cell: Cell, make_driver: MakeDriver, mapping: str) -> None:
    driver = make_driver(cell.plan, mapping=mapping)
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
        view = driver.outputs(address(cell.spec, label))
        assert view is not None
        view[:] = data
    for label, (entry, _value) in forced.items():
        cell.rig.control.inject(f"ethercat/cell/{label}", "force-input", entry=entry, value=1.0)

    for _ in range(3):
        run(driver.exchange())

    snapshot = cell.rig.control.snapshot()
    assert {label: bytes.fromhex(snapshot[label]["outputs"]) for label in wanted} == wanted
    inputs = {label: driver.inputs(address(cell.spec, label)) for label in (*forced, "axis1", "axis2", "fixed")}
    assert {label: bytes(view or b"") for label, view in inputs.items()} == {
        **{label: bytes([value]) for label, (_entry, value) in forced.items()},
        "axis1": wanted["axis1"][:6],
        "axis2": wanted["axis2"][:6],
        "fixed": wanted["fixed"],
    }


@pytest.mark.verifies("REQ_0330", "REQ_0329")
def test_a_device_that_forbids_lrw_is_served_by_two_datagrams(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(
        devices=(
            coupler("coupler"),
            digital_outputs("do8", 8, **WATCHED),
            digital_inputs("di8", 8, options={"no_lrw": True}),
        )
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


@pytest.mark.verifies("REQ_8110")
def test_safe_values_are_on_the_bus_from_the_first_output_on(cell: Cell, make_driver: MakeDriver) -> None:
    run(make_driver(cell.plan).bring_up())

    assert cell.rig.control.output_changes("fixed")[0].data == b"\xaa\0\0\0\0\0"


@pytest.mark.realizes("TEST_0862")
def test_the_watchdog_set_by_the_bring_up_makes_outputs_safe_when_the_driver_stops(
    cell: Cell, make_driver: MakeDriver, measure: Measure
) -> None:
    driver = make_driver(altered(cell, "do16", sm_watchdog=SmWatchdog.from_timeout_us(80_000)))
    run(driver.bring_up())
    last_ns = time.monotonic_ns()
    run(driver.exchange())

    wait_for(lambda: cell.rig.control.output_changes("do16")[-1].safe_because)

    change = cell.rig.control.output_changes("do16")[-1]
    assert change.safe_because == "SyncManager watchdog expired"
    # Not before its time: that is what the registers say, 80 ms here and 50 ms or 100 ms elsewhere.
    measure("watchdog_expiry", (change.at_ns - last_ns) / 1e6, "ms", low=79.9)


@pytest.mark.verifies("REQ_0846")
def test_a_watchdog_that_is_not_accepted_ends_the_bring_up(tmp_path: Path, make_driver: MakeDriver) -> None:
    stubborn = digital_outputs("do8", 8, options={"watchdog_fixed": True}, **WATCHED)
    spec = EthercatBusSpec(devices=(coupler("coupler"), stubborn))
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))

        with pytest.raises(
            StackError, match=r"watchdog register 0x0420 of 'do8' \(0x1001\): expected 500 .* found 1000"
        ):
            run(driver.bring_up())

        assert rig.control.snapshot()["do8"]["state"] == "INIT"


@pytest.mark.verifies("REQ_0838", "REQ_8510")
def test_a_wrong_identity_is_named_by_position_before_any_sdo(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(altered(cell, "di4", identity=ExpectedIdentity(0x0BADCAFE, 0x1008)))

    with pytest.raises(StackError) as caught:
        run(driver.bring_up())

    assert str(caught.value) == (
        "position 2 ('di4'): found vendor 0xbadcafe, product 0x1004, revision 0x10000, expected vendor 0xbadcafe, "
        "product 0x1008; put the right device there, or correct the machine file"
    )
    assert driver.outputs(0x1005) is None
    assert cell.rig.control.snapshot()["axis1"]["state"] == "INIT"


@pytest.mark.verifies("REQ_0838")
def test_swapped_devices_are_seen_as_such(cell: Cell, make_driver: MakeDriver) -> None:
    subs = list(cell.plan.subdevices)
    swapped = [replace(subs[1], identity=subs[2].identity), replace(subs[2], identity=subs[1].identity)]
    driver = make_driver(replace(cell.plan, subdevices=(subs[0], *swapped, *subs[3:])))

    with pytest.raises(StackError, match=r"position 1 \('di8'\): .*it looks like 'di4': check the order"):
        run(driver.bring_up())


@pytest.mark.verifies("REQ_0838")
def test_a_wrong_alias_is_named(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(altered(cell, "do16", station_alias=9))

    with pytest.raises(StackError, match=r"position 8 \('do16'\): found station alias 0, expected 9; check the order"):
        run(driver.bring_up())


@pytest.mark.verifies("REQ_0838", "REQ_8510")
def test_missing_devices_are_named(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    with (
        cell.rig.control.fault("ethercat/cell/fixed", "cut-cable"),
        pytest.raises(StackError, match="14 SubDevices answer, expected 16; nobody at 'fixed', 'large'"),
    ):
        run(driver.bring_up())

    assert run(driver.recover()) == (28, 16)  # a failed attempt leaves the driver recoverable


@pytest.mark.verifies("REQ_0329")
def test_a_device_beyond_the_plan_adds_nothing(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(replace(cell.plan, subdevices=cell.plan.subdevices[:6]))

    found = run(driver.bring_up())

    assert found == (6, 16)
    assert run(driver.exchange()).working_counter >= found.expected_wkc


@pytest.mark.verifies("REQ_8510")
def test_another_size_of_process_data_is_named(cell: Cell, make_driver: MakeDriver) -> None:
    large = next(sub for sub in cell.plan.subdevices if sub.label == "fixed")
    driver = make_driver(altered(cell, "fixed", rx_pdos=(), output_bits=large.output_bits + 16))

    with pytest.raises(StackError, match=r"position 14 \('fixed'\): the device maps 6 bytes of outputs, expected 8"):
        run(driver.bring_up())


@pytest.mark.verifies("REQ_0331", "REQ_0312")
def test_a_second_bring_up_and_a_recovery_before_the_first_are_refused(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    with pytest.raises(ConfigurationError, match="recover was called before a bring-up"):
        run(driver.recover())
    run(driver.bring_up())

    with pytest.raises(ConfigurationError, match="bring_up was called before"):
        run(driver.bring_up())


@pytest.mark.realizes("TEST_0869")
def test_startup_sdos_are_in_the_device(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())

    assert run(driver.sdo_read(address(cell.spec, "axis1"), PARAMETER, 0)) == (-5).to_bytes(4, "little", signed=True)


@pytest.mark.verifies("REQ_8104", "REQ_8110")
def test_objects_longer_than_the_mailbox_go_both_ways_in_segments(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())
    place, recipe = address(cell.spec, "axis1"), bytes(number % 251 for number in range(400))

    run(driver.sdo_write(place, LONG_OBJECT, 0, recipe))

    assert run(driver.sdo_read(place, LONG_OBJECT, 0)) == recipe


@pytest.mark.verifies("REQ_8104", "REQ_8510")
def test_an_abort_has_its_text_and_the_driver_goes_on(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())
    place = address(cell.spec, "axis2")

    with pytest.raises(
        StackError, match=r"SDO read of 0x5555:01 of 'axis2' \(0x100d\): abort 0x06020000 \(object does"
    ):
        run(driver.sdo_read(place, 0x5555, 1))
    with pytest.raises(StackError, match=r"'do4' \(0x1005\) has no CoE mailbox"):
        run(driver.sdo_read(address(cell.spec, "do4"), 0x1018, 1))

    assert run(driver.sdo_read(place, 0x1018, 1)) == bytes.fromhex("fecaad0b")


@pytest.mark.verifies("REQ_8104")
def test_an_emergency_is_told(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan, emergency_poll_cycles=1)
    told: list[Emergency] = []
    driver.on_emergency = told.append
    run(driver.bring_up())

    cell.rig.control.inject("ethercat/cell/axis2", "send-emergency", code=0x8611, register=0x21)
    for _ in range(20):
        run(driver.exchange())

    assert [(each.position, each.error_code, each.error_register) for each in told] == [(13, 0x8611, 0x21)]


@pytest.mark.verifies("REQ_0319")
def test_the_survey_says_who_is_missing_and_who_fell_back(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())
    cell.rig.control.inject("ethercat/cell/ao2", "retreat-to-safe-op", code=0x002C)
    with cell.rig.control.fault("ethercat/cell/fixed", "cut-cable"):
        states = run(driver.survey())

    assert [state.state for state in states[14:]] == [AlState.NONE, AlState.NONE]
    assert states[11] == (11, AlState.SAFE_OP, True, 0x002C)
    assert {state.state for place, state in enumerate(states) if place < 14 and place != 11} == {AlState.OP}


@pytest.mark.verifies("REQ_8150")
def test_one_subdevice_goes_to_safe_op_and_back(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())
    place = address(cell.spec, "do16")

    went = run(driver.request_state(place, AlState.SAFE_OP))
    state = cell.rig.control.snapshot()["do16"]["state"]
    run(driver.exchange())
    returned = run(driver.request_state(place, AlState.OP))

    assert (went, state, returned) == (True, "SAFE-OP", True)
    assert {device["state"] for device in cell.rig.control.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_0331")
def test_a_cut_behind_the_first_device_is_a_low_counter_and_heals(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    expected = run(driver.bring_up()).expected_wkc

    with cell.rig.control.fault("ethercat/cell/do4", "cut-cable"):
        low = run(driver.exchange()).working_counter

    assert low == 4  # four terminals with inputs stand in front of it
    assert run(driver.exchange()).working_counter >= 4
    assert run(driver.recover()).expected_wkc == expected == run(driver.exchange()).working_counter


@pytest.mark.verifies("REQ_0331", "REQ_8510")
def test_no_frame_at_all_is_a_failed_cycle(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())

    with cell.rig.control.fault("ethercat/cell/coupler", "cut-cable"):
        with pytest.raises(StackError, match="no frame came back within 45 ms"):
            run(driver.exchange())
        with pytest.raises(StackError, match="no SubDevice answers"):
            run(driver.recover())

    assert run(driver.recover()) == (28, 16)


@pytest.mark.verifies("REQ_0331")
def test_a_device_that_lost_its_power_comes_back_by_recovery(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())
    with cell.rig.control.fault("ethercat/cell/large", "power-cycle"):
        assert run(driver.exchange()).working_counter == 25

    assert run(driver.recover()) == (28, 16)
    assert cell.rig.control.snapshot()["large"]["state"] == "OP"


@pytest.mark.verifies("REQ_0331")
def test_an_interface_that_was_removed_is_the_end(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(devices=(coupler("coupler"), digital_inputs("di8", 8)))
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))
        run(driver.bring_up())

    with pytest.raises(LinkDown, match="it has been removed; start again once it is back"):
        run(driver.recover())


@pytest.mark.verifies("REQ_0315", "REQ_8510")
def test_a_refused_startup_sdo_ends_the_bring_up_with_its_abort(cell: Cell, make_driver: MakeDriver) -> None:
    first = next(sub for sub in cell.plan.subdevices if sub.label == "axis1")
    bad = replace(first.startup_sdos[0], index=0x8FFF)
    driver = make_driver(altered(cell, "axis1", startup_sdos=(bad,)))

    with pytest.raises(StackError, match=r"SDO write of 0x8FFF:00 of 'axis1' \(0x100c\): abort 0x06020000"):
        run(driver.bring_up())


@pytest.mark.verifies("REQ_0841")
def test_a_refused_safe_op_names_the_al_status(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(devices=(coupler("coupler"), generic("drive", 2, 2, **WATCHED)))
    with EthercatRig(spec, folder=tmp_path) as rig:
        rig.control.inject("ethercat/cell/drive", "refuse-transition", state="SAFE-OP", code=0x001E)
        driver = make_driver(plan_of(rig, spec))

        with pytest.raises(StackError, match=r"SAFE-OP not reached .*'drive'\) is in PRE-OP with AL status 0x001E"):
            run(driver.bring_up())


@pytest.mark.verifies("REQ_0841", "REQ_0313")
def test_a_latched_error_is_acknowledged_while_op_is_waited_for(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = EthercatBusSpec(devices=(coupler("coupler"), generic("drive", 2, 2, **WATCHED)))
    with EthercatRig(spec, folder=tmp_path) as rig:
        rig.control.inject("ethercat/cell/drive", "refuse-transition", 300_000_000, state="OP", code=0x001B)
        driver = make_driver(plan_of(rig, spec))

        assert run(driver.bring_up()).subdevice_count == 2
        assert rig.control.snapshot()["drive"]["state"] == "OP"


@pytest.mark.verifies("REQ_0318", "REQ_0330")
def test_clocks_are_left_alone_unless_asked_for(tmp_path: Path, make_driver: MakeDriver) -> None:
    recording = tmp_path / "bus.pcapng"
    spec = EthercatBusSpec(devices=(coupler("coupler"), axis("drive", distributed_clock=True)))
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


@pytest.mark.verifies("REQ_0318", "REQ_8510")
def test_clocks_that_nobody_has_are_refused(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(replace(cell.plan, distributed_clocks=True))

    with pytest.raises(StackError, match="distributed_clocks is on and no SubDevice has a DC unit"):
        run(driver.bring_up())


@pytest.mark.verifies("REQ_0312")
def test_close_takes_everybody_to_init_and_is_idempotent(cell: Cell, make_driver: MakeDriver) -> None:
    driver = make_driver(cell.plan)
    run(driver.bring_up())

    driver.close()
    driver.close()

    assert {device["state"] for device in cell.rig.control.snapshot().values()} == {"INIT"}
    assert cell.rig.control.output_changes("do16")[-1].safe_because == "left OP for SAFE-OP"


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_an_interface_that_is_down_is_named_with_the_command(
    tmp_path: Path, make_driver: MakeDriver, down_interface: str
) -> None:
    plan = replace(resolve(EthercatBusSpec(devices=(coupler("coupler"),))), network_interface=down_interface)

    with pytest.raises(StackError, match=f"'{down_interface}': the interface is down; 'ip link set {down_interface}"):
        run(make_driver(plan).bring_up())


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_an_interface_without_a_link_is_named(tmp_path: Path, make_driver: MakeDriver, down_interface: str) -> None:
    plan = replace(resolve(EthercatBusSpec(devices=(coupler("coupler"),))), network_interface=down_interface)
    subprocess.run(["ip", "link", "set", down_interface, "up"], check=True)

    with pytest.raises(StackError, match=f"interface '{down_interface}': no link; check the cable"):
        run(make_driver(plan).bring_up())
