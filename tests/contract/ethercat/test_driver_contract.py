"""What every MainDevice does on a segment of all kinds of devices: SOEM on the rig, ours in virtual time, one text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.driver import AlState, Emergency
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.pdo import ExpectedIdentity
from taktora_sim.ethercat.devices.terminals import coupler, digital_outputs, generic
from tests.contract.ethercat.bench import SegmentBench, open_bench
from tests.system.ethercat.cell import LONG_OBJECT, PARAMETER, STEPPED_FTTI_MS, WATCHED, address, cell

pytestmark = pytest.mark.world("sim", "rig")


@pytest.fixture
def bench(world_name: str, tmp_path: Path) -> Iterator[SegmentBench]:
    with open_bench(world_name, cell(tmp_path, ftti_ms=STEPPED_FTTI_MS), tmp_path) as opened:
        yield opened


def altered(bench: SegmentBench, label: str, **more: Any) -> Any:
    """The plan with another expectation of one SubDevice."""
    subs = tuple(replace(sub, **more) if sub.label == label else sub for sub in bench.plan.subdevices)
    return replace(bench.plan, subdevices=subs)


@contextmanager
def held(bench: SegmentBench, label: str, kind: str, **parameters: Any) -> Iterator[None]:
    """Hold a fault for the duration of a ``with`` block."""
    fault = bench.inject(label, kind, **parameters)
    try:
        yield
    finally:
        bench.end(fault)


@pytest.mark.verifies("REQ_8500", "REQ_0313", "REQ_0329")
def test_everybody_reaches_op_with_the_expected_working_counter(bench: SegmentBench) -> None:
    driver = bench.driver()

    assert bench.run(driver.bring_up()) == (28, 16)
    assert {bench.run(driver.exchange()).working_counter for _ in range(20)} == {28}
    assert {device["state"] for device in bench.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_0326", "REQ_0327", "REQ_8105")
def test_each_bit_reaches_its_place_and_comes_back(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    wanted = {"do4": b"\x0a", "do2": b"\x01", "do2b": b"\x02", "do16": b"\x34\x12", "axis1": bytes(range(1, 8))}
    for label, data in wanted.items():
        view = driver.outputs(address(bench.spec, label))
        assert view is not None
        view[:] = data
    bench.inject("di4", "force-input", entry="in4", value=1.0)
    bench.inject("di2b", "force-input", entry="in2", value=1.0)

    for _ in range(3):
        bench.run(driver.exchange())

    snapshot = bench.snapshot()
    assert {label: bytes.fromhex(snapshot[label]["outputs"]) for label in wanted} == wanted
    inputs = [driver.inputs(address(bench.spec, label)) for label in ("di4", "di2", "di2b", "axis1")]
    assert [bytes(view or b"") for view in inputs] == [b"\x08", b"\0", b"\x02", wanted["axis1"][:6]]


@pytest.mark.verifies("REQ_0846")
def test_a_watchdog_that_is_not_accepted_ends_the_bring_up(tmp_path: Path, world_name: str) -> None:
    stubborn = digital_outputs("do8", 8, options={"watchdog_fixed": True}, **WATCHED)
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), stubborn))
    with open_bench(world_name, spec, tmp_path) as bench:
        driver = bench.driver()

        with pytest.raises(
            StackError, match=r"watchdog register 0x0420 of 'do8' \(0x1001\): expected 20000 .* found 1000"
        ):
            bench.run(driver.bring_up())

        assert bench.snapshot()["do8"]["state"] == "INIT"


@pytest.mark.verifies("REQ_0838", "REQ_8510")
def test_a_wrong_identity_is_named_by_position_before_any_sdo(bench: SegmentBench) -> None:
    driver = bench.driver(altered(bench, "di4", identity=ExpectedIdentity(0x0BADCAFE, 0x1008)))

    with pytest.raises(StackError) as caught:
        bench.run(driver.bring_up())

    assert str(caught.value) == (
        "position 2 ('di4'): found vendor 0x0BADCAFE, product 0x00001004, revision 0x00010000, expected "
        "vendor 0x0BADCAFE, product 0x00001008; put the right device there, or correct the machine file"
    )
    assert driver.outputs(0x1005) is None
    assert bench.snapshot()["axis1"]["state"] == "INIT"


@pytest.mark.verifies("REQ_0838")
def test_swapped_devices_are_seen_as_such(bench: SegmentBench) -> None:
    subs = list(bench.plan.subdevices)
    swapped = [replace(subs[1], identity=subs[2].identity), replace(subs[2], identity=subs[1].identity)]
    driver = bench.driver(replace(bench.plan, subdevices=(subs[0], *swapped, *subs[3:])))

    with pytest.raises(StackError, match=r"position 1 \('di8'\): .*it looks like 'di4': check the order"):
        bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0838")
def test_a_wrong_alias_is_named(bench: SegmentBench) -> None:
    driver = bench.driver(altered(bench, "do16", station_alias=9))

    with pytest.raises(StackError, match=r"position 8 \('do16'\): found station alias 0, expected 9; check the order"):
        bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0838", "REQ_8510")
def test_missing_devices_are_named(bench: SegmentBench) -> None:
    driver = bench.driver()
    with (
        held(bench, "fixed", "cut-cable"),
        pytest.raises(StackError, match="14 SubDevices answer, expected 16; nobody at 'fixed', 'large'"),
    ):
        bench.run(driver.bring_up())

    assert bench.run(driver.recover()) == (28, 16)  # a failed attempt leaves the driver recoverable


@pytest.mark.verifies("REQ_0329")
def test_a_device_beyond_the_plan_adds_nothing(bench: SegmentBench) -> None:
    driver = bench.driver(replace(bench.plan, subdevices=bench.plan.subdevices[:6]))

    found = bench.run(driver.bring_up())

    assert found == (6, 16)
    assert bench.run(driver.exchange()).working_counter >= found.expected_wkc


@pytest.mark.verifies("REQ_8510")
def test_another_size_of_process_data_is_named(bench: SegmentBench) -> None:
    large = next(sub for sub in bench.plan.subdevices if sub.label == "fixed")
    driver = bench.driver(altered(bench, "fixed", rx_pdos=(), output_bits=large.output_bits + 16))

    with pytest.raises(StackError, match=r"position 14 \('fixed'\): the device maps 6 bytes of outputs, expected 8"):
        bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0331", "REQ_0312")
def test_a_second_bring_up_and_a_recovery_before_the_first_are_refused(bench: SegmentBench) -> None:
    driver = bench.driver()
    with pytest.raises(ConfigurationError, match="recover was called before a bring-up"):
        bench.run(driver.recover())
    bench.run(driver.bring_up())

    with pytest.raises(ConfigurationError, match="bring_up was called before"):
        bench.run(driver.bring_up())


@pytest.mark.realizes("TEST_0869")
def test_startup_sdos_are_in_the_device(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())

    assert bench.run(driver.sdo_read(address(bench.spec, "axis1"), PARAMETER, 0)) == (-5).to_bytes(
        4, "little", signed=True
    )


@pytest.mark.verifies("REQ_8104", "REQ_8110")
def test_objects_longer_than_the_mailbox_go_both_ways_in_segments(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    place, recipe = address(bench.spec, "axis1"), bytes(number % 251 for number in range(400))

    bench.run(driver.sdo_write(place, LONG_OBJECT, 0, recipe))

    assert bench.run(driver.sdo_read(place, LONG_OBJECT, 0)) == recipe


@pytest.mark.verifies("REQ_8104", "REQ_8510")
def test_an_abort_has_its_text_and_the_driver_goes_on(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    place = address(bench.spec, "axis2")

    with pytest.raises(
        StackError, match=r"SDO read of 0x5555:01 of 'axis2' \(0x100d\): abort 0x06020000 \(object does"
    ):
        bench.run(driver.sdo_read(place, 0x5555, 1))
    with pytest.raises(StackError, match=r"SDO read of 0x1018:01 of 'do4' \(0x1005\): it has no CoE mailbox"):
        bench.run(driver.sdo_read(address(bench.spec, "do4"), 0x1018, 1))

    assert bench.run(driver.sdo_read(place, 0x1018, 1)) == bytes.fromhex("fecaad0b")


@pytest.mark.verifies("REQ_8104")
def test_an_emergency_is_told(bench: SegmentBench) -> None:
    driver = bench.driver()
    told: list[Emergency] = []
    driver.on_emergency = told.append
    bench.run(driver.bring_up())

    bench.inject("axis2", "send-emergency", code=0x8611, register=0x21)
    for _ in range(20_000):
        bench.run(driver.exchange())
        if told:
            break

    assert [(each.position, each.error_code, each.error_register) for each in told] == [(13, 0x8611, 0x21)]


@pytest.mark.verifies("REQ_0319")
def test_the_survey_says_who_is_missing_and_who_fell_back(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    bench.inject("ao2", "retreat-to-safe-op", code=0x002C)
    with held(bench, "fixed", "cut-cable"):
        states = bench.run(driver.survey())

    assert [state.state for state in states[14:]] == [AlState.NONE, AlState.NONE]
    assert states[11] == (11, AlState.SAFE_OP, True, 0x002C)
    assert {state.state for place, state in enumerate(states) if place < 14 and place != 11} == {AlState.OP}


@pytest.mark.verifies("REQ_8150")
def test_one_subdevice_goes_to_safe_op_and_back(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    place = address(bench.spec, "do16")

    went = bench.run(driver.request_state(place, AlState.SAFE_OP))
    state = bench.snapshot()["do16"]["state"]
    bench.run(driver.exchange())
    returned = bench.run(driver.request_state(place, AlState.OP))

    assert (went, state, returned) == (True, "SAFE-OP", True)
    assert {device["state"] for device in bench.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_0331")
def test_a_cut_behind_the_first_device_is_a_low_counter_and_heals(bench: SegmentBench) -> None:
    driver = bench.driver()
    expected = bench.run(driver.bring_up()).expected_wkc

    with held(bench, "do4", "cut-cable"):
        low = bench.run(driver.exchange()).working_counter

    assert low == 4  # four terminals with inputs stand in front of it
    assert bench.run(driver.exchange()).working_counter >= 4
    assert bench.run(driver.recover()).expected_wkc == expected == bench.run(driver.exchange()).working_counter


@pytest.mark.verifies("REQ_0331", "REQ_8510")
def test_no_frame_at_all_is_a_failed_cycle(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())

    with held(bench, "coupler", "cut-cable"):
        with pytest.raises(StackError, match="no frame came back"):
            bench.run(driver.exchange())
        with pytest.raises(StackError, match="no SubDevice answers"):
            bench.run(driver.recover())

    assert bench.run(driver.recover()) == (28, 16)


@pytest.mark.verifies("REQ_0331")
def test_a_device_that_lost_its_power_comes_back_by_recovery(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    with held(bench, "large", "power-cycle"):
        assert bench.run(driver.exchange()).working_counter == 25

    assert bench.run(driver.recover()) == (28, 16)
    assert bench.snapshot()["large"]["state"] == "OP"


@pytest.mark.verifies("REQ_0315", "REQ_8510")
def test_a_refused_startup_sdo_ends_the_bring_up_with_its_abort(bench: SegmentBench) -> None:
    first = next(sub for sub in bench.plan.subdevices if sub.label == "axis1")
    bad = replace(first.startup_sdos[0], index=0x8FFF)
    driver = bench.driver(altered(bench, "axis1", startup_sdos=(bad,)))

    with pytest.raises(StackError, match=r"SDO write of 0x8FFF:00 of 'axis1' \(0x100c\): abort 0x06020000"):
        bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0841")
def test_a_refused_safe_op_names_the_al_status(tmp_path: Path, world_name: str) -> None:
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), generic("drive", 2, 2, **WATCHED)))
    with open_bench(world_name, spec, tmp_path) as bench:
        bench.inject("drive", "refuse-transition", state="SAFE-OP", code=0x001E)
        driver = bench.driver()

        with pytest.raises(StackError, match=r"SAFE-OP not reached .*'drive'\) is in PRE-OP with AL status 0x001E"):
            bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0841", "REQ_0313")
def test_a_latched_error_is_acknowledged_while_op_is_waited_for(tmp_path: Path, world_name: str) -> None:
    spec = EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, devices=(coupler("coupler"), generic("drive", 2, 2, **WATCHED)))
    with open_bench(world_name, spec, tmp_path) as bench:
        bench.inject("drive", "refuse-transition", 300_000_000, state="OP", code=0x001B)
        driver = bench.driver()

        assert bench.run(driver.bring_up()).subdevice_count == 2
        assert bench.snapshot()["drive"]["state"] == "OP"


@pytest.mark.verifies("REQ_0318", "REQ_8510")
def test_clocks_that_nobody_has_are_refused(bench: SegmentBench) -> None:
    driver = bench.driver(replace(bench.plan, distributed_clocks=True))

    with pytest.raises(StackError, match="distributed_clocks is on and no SubDevice has a DC unit"):
        bench.run(driver.bring_up())


@pytest.mark.verifies("REQ_0312")
def test_close_takes_everybody_to_init_and_is_idempotent(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())

    driver.close()
    driver.close()

    assert {device["state"] for device in bench.snapshot().values()} == {"INIT"}
    assert bench.snapshot()["do16"]["outputs_are_safe"]
    assert bench.snapshot()["do16"]["outputs_in_effect"] == "0000"
