"""The MainDevice of the simulation on simulated segments: bring-up, cycle, faults, recovery, close."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.coe import decode_coe, decode_mail
from taktora.ethercat.driver import AlState, BringUp, Emergency
from taktora.ethercat.network import EthercatBusSpec
from taktora_sim.ethercat.frame import Command
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.ethercat.pcapng import SegmentRecording
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World

from .cell import MIXED, MS, Cell, S, bus, coupler, drive, inputs, outputs


def _up(spec: EthercatBusSpec = MIXED, **more: Any) -> Cell:
    cell = Cell(spec, **more)
    cell.run(cell.main.bring_up())
    return cell


@pytest.mark.verifies("REQ_0313", "REQ_0329", "REQ_0841", "REQ_8102")
def test_a_mixed_segment_comes_up_and_gives_the_expected_working_counter() -> None:
    cell = Cell(MIXED)

    found = cell.run(cell.main.bring_up())

    assert found == BringUp(expected_wkc=3 * 1 + 3 * 2 + 4 * 3, subdevice_count=11)
    assert all(device.state is AlState.OP for device in cell.segment.subdevices)
    assert cell.cycles(20) == [found.expected_wkc] * 20


@pytest.mark.realizes("TEST_0837")
@pytest.mark.verifies("REQ_8105")
def test_each_subdevice_has_its_own_bits_also_where_they_share_a_byte() -> None:
    cell = _up()
    for label, value in (("di4", 0b1001), ("di6", 0b101010), ("di12", 0xABC)):
        cell.devices[label].set("value", value)
    cell.devices["axis1"].set("position", -123456)
    cell.devices["simple"].set("status", 0x1234)
    cell.output("do4")[0] = 0b0110
    cell.output("do6")[0] = 0b111001
    cell.output("do2")[0] = 0b10
    cell.output("axis2")[2:6] = (-5).to_bytes(4, "little", signed=True)
    cell.output("fixed")[6] = 8

    cell.cycles(2)

    assert (cell.input("di4"), cell.input("di6"), cell.input("di12")) == (b"\x09", b"\x2a", b"\xbc\x0a")
    assert cell.input("axis1")[2:] == (-123456).to_bytes(4, "little", signed=True)
    assert cell.input("simple")[:2] == b"\x34\x12"
    assert [cell.devices[label].output("value") for label in ("do4", "do6", "do2")] == [0b0110, 0b111001, 0b10]
    assert (cell.devices["axis2"].output("target"), cell.devices["fixed"].output("mode")) == (-5, 8)


@pytest.mark.verifies("REQ_0326", "REQ_0327")
def test_the_images_in_one_piece_are_those_of_each_subdevice() -> None:
    cell = Cell(MIXED)
    assert cell.main.images() is None
    cell.run(cell.main.bring_up())
    images = cell.main.images()
    assert images is not None
    subdevices = cell.plan.layout().subdevices
    for place in subdevices:
        for own, mark in ((cell.main.outputs(place.address), 0x40), (cell.main.inputs(place.address), 0x80)):
            assert own is not None
            own[:] = bytes([mark + place.position]) * len(own)

    assert bytes(images[0]) == b"".join(bytes([0x40 + each.position]) * each.output_bytes for each in subdevices)
    assert bytes(images[1]) == b"".join(bytes([0x80 + each.position]) * each.input_bytes for each in subdevices)


@pytest.mark.verifies("REQ_8105")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=1, max_size=12), st.booleans(), st.data())
def test_any_mixture_of_sizes_is_mapped_exactly(
    sizes: list[tuple[bool, int]], no_lrw: bool, data: st.DataObject
) -> None:
    options = {"options": {"no_lrw": True}} if no_lrw else {}
    spec = bus(
        *((outputs if is_output else inputs)(f"d{i}", bits, **options) for i, (is_output, bits) in enumerate(sizes))
    )
    cell = _up(spec)
    values = [data.draw(st.integers(0, (1 << bits) - 1)) for _is_output, bits in sizes]
    for number, ((is_output, bits), value) in enumerate(zip(sizes, values, strict=True)):
        if is_output:
            cell.output(f"d{number}")[:] = value.to_bytes((bits + 7) // 8, "little")
        else:
            cell.devices[f"d{number}"].set("value", value)

    counters = cell.cycles(2)

    assert counters == [sum(2 if is_output else 1 for is_output, _bits in sizes)] * 2
    found = [
        cell.devices[f"d{number}"].output("value") if is_output else int.from_bytes(cell.input(f"d{number}"), "little")
        for number, (is_output, _bits) in enumerate(sizes)
    ]
    assert found == values
    assert {each.command for each in cell.sent if each.command >= Command.LRD} <= (
        {Command.LRD, Command.LWR} if no_lrw else {Command.LRW}
    )


@pytest.mark.verifies("REQ_8105")
def test_an_image_larger_than_a_frame_takes_several_and_counts_once() -> None:
    wide = [
        {
            **drive(f"d{number}"),
            "pdos": {
                "rx": [{"index": 0x1600, "bit_length": 8 * 260}],
                "tx": [{"index": 0x1A00, "bit_length": 8 * 250}],
            },
            "mailbox": None,
        }
        for number in range(7)
    ]
    cell = _up(bus(*wide))
    cell.sent.clear()

    assert cell.cycles(1) == [21]

    assert [each.command for each in cell.sent] == [Command.LRW] * 3


@pytest.mark.realizes("TEST_0205", "TEST_0869")
@pytest.mark.verifies("REQ_0315", "REQ_0853")
def test_startup_sdos_and_then_the_pdo_assignment_are_written_in_order_before_safe_op() -> None:
    sdos = [{"index": 0x6060, "type": "i8", "value": -1}, {"index": 0x607A, "type": "i32", "value": -100000}]
    cell = _up(bus(coupler(), drive("axis", startup_sdos=sdos), drive("other", mailbox=None)))
    out_mailbox = 0x1000

    written = []
    for each in cell.sent:
        if each.command == Command.FPWR and each.ado == 0x0120 and each.data[0] == AlState.SAFE_OP:
            break
        if each.command == Command.FPWR and each.ado == out_mailbox:
            service, body = decode_coe(decode_mail(each.data).data)
            if service == 2 and body[0] & 0xE0 == 0x20:
                size = 4 - (body[0] >> 2 & 3)
                written.append((int.from_bytes(body[1:3], "little"), body[3], body[4 : 4 + size]))

    assert written == [
        (0x6060, 0, b"\xff"),
        (0x607A, 0, (-100000).to_bytes(4, "little", signed=True)),
        (0x1C12, 0, b"\0"),
        (0x1C12, 1, b"\x00\x16"),
        (0x1C12, 2, b"\x01\x16"),
        (0x1C12, 0, b"\x02"),
        (0x1C13, 0, b"\0"),
        (0x1C13, 1, b"\x00\x1a"),
        (0x1C13, 0, b"\x01"),
    ]


@pytest.mark.realizes("TEST_0208")
@pytest.mark.verifies("REQ_0318")
def test_without_distributed_clocks_nothing_of_them_is_on_the_wire() -> None:
    cell = _up()
    cell.cycles(3)

    assert not cell.writes(0x0900)
    assert not cell.writes(0x0920)
    assert not cell.writes(0x0910)


@pytest.mark.verifies("REQ_0318")
def test_distributed_clocks_without_a_clock_are_refused() -> None:
    clocked = bus(coupler(distributed_clock=True), inputs("di", 4), distributed_clocks=True)
    cell = Cell(bus(coupler(), inputs("di", 4)), clocked)

    with pytest.raises(StackError, match="distributed_clocks is on and no SubDevice has a DC unit"):
        cell.run(cell.main.bring_up())


@pytest.mark.realizes("TEST_0862")
@pytest.mark.verifies("REQ_0846")
def test_watchdog_registers_are_written_and_read_back() -> None:
    cell = _up(bus(coupler(), outputs("do", 4, sm_watchdog_timeout_ms=20), inputs("di", 4)))
    assert [(each.address & 0xFFFF, each.data) for each in cell.writes(0x0420)] == [(0x1001, b"\xc8\x00")]
    assert [each.data for each in cell.writes(0x0400)] == [b"\xc2\x09"]
    cell.output("do")[0] = 5
    cell.cycles(1)
    assert cell.devices["do"].output("value") == 5
    cell.world.run_for(18 * MS)
    assert cell.devices["do"].output("value") == 5
    cell.world.run_for(2 * MS)
    assert cell.devices["do"].output("value") == 0


def _changed(spec: EthercatBusSpec, label: str, **more: Any) -> EthercatBusSpec:
    plain = msgspec.to_builtins(spec)
    plain["devices"] = [{**each, **more} if each["label"] == label else each for each in plain["devices"]]
    return msgspec.convert(plain, EthercatBusSpec)


def _swapped() -> EthercatBusSpec:
    a, b, *rest = MIXED.devices[1:]
    return msgspec.structs.replace(MIXED, devices=(MIXED.devices[0], b, a, *rest))


_BIG = {"rx": [{"index": 0x1600, "bit_length": 16}]}


@pytest.mark.verifies("REQ_0838", "REQ_0846", "REQ_0853", "REQ_8510")
@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        (
            MIXED,
            _changed(MIXED, "axis1", identity={"vendor_id": 2, "product_code": 3}),
            r"'axis1'\): found vendor 0x00007E57, product 0x00000400, revision 0x00000001, expected vendor 0x0{7}2",
        ),
        (MIXED, _swapped(), r"position 1 \('di6'\): .*it looks like 'di4': check the order"),
        (
            MIXED,
            _changed(MIXED, "axis1", identity={"vendor_id": 0x7E57, "product_code": 0x400, "revision": 2}),
            "found .*revision 0x00000001, expected .*revision 0x00000002",
        ),
        (
            _changed(MIXED, "axis1", station_alias=7),
            _changed(MIXED, "axis1", station_alias=8),
            "'axis1'.*: found station alias 7, expected 8",
        ),
        (
            _changed(MIXED, "do4", options={"watchdog_fixed": True}),
            MIXED,
            r"watchdog register 0x0420 of 'do4' \(0x1003\): expected 500 .*, found 1000",
        ),
        (
            MIXED,
            _changed(MIXED, "axis1", startup_sdos=[{"index": 0x1018, "subindex": 1, "type": "u32", "value": 1}]),
            r"SDO write of 0x1018:01 of 'axis1' \(0x1005\): abort 0x06010002 \(object is read-only\)",
        ),
        (
            MIXED,
            _changed(MIXED, "simple", mailbox={}, startup_sdos=[{"index": 0x6060, "type": "i8", "value": 1}]),
            r"'simple' \(0x1008\) has startup_sdos and no CoE mailbox",
        ),
        (
            MIXED,
            _changed(MIXED, "do2", pdos=_BIG),
            r"position 10 \('do2'\): the device maps 1 bytes of outputs, expected 2",
        ),
        (
            MIXED,
            msgspec.structs.replace(MIXED, devices=(*MIXED.devices, *bus(inputs("behind", 8)).devices)),
            "segment 'cell': 11 SubDevices answer, expected 12; nobody at 'behind'",
        ),
    ],
)
def test_what_is_not_as_expected_is_told_with_position_found_and_expected(
    found: EthercatBusSpec, expected: EthercatBusSpec, message: str
) -> None:
    cell = Cell(found, expected)

    with pytest.raises(StackError, match=message):
        cell.run(cell.main.bring_up())

    assert all(device.state is AlState.INIT for device in cell.segment.subdevices)


@pytest.mark.realizes("TEST_0847")
@pytest.mark.verifies("REQ_0838")
def test_nothing_is_configured_before_the_identities_are_known_to_be_right() -> None:
    cell = Cell(MIXED, _changed(MIXED, "do2", identity={"vendor_id": 1, "product_code": 1}))

    with pytest.raises(StackError, match="position 10"):
        cell.run(cell.main.bring_up())

    registers = {each.ado for each in cell.sent if each.command == Command.FPWR}
    assert registers <= {0x0100, 0x0502}, "more than DL control and EEPROM commands"


@pytest.mark.verifies("REQ_0313", "REQ_8510")
@pytest.mark.parametrize(
    ("target", "kind", "parameters", "message"),
    [
        ("ethercat/cell/coupler", "cut-cable", {}, "segment 'cell': no SubDevice answers"),
        ("ethercat/cell/do4", "cut-cable", {}, "3 SubDevices answer, expected 11; nobody at 'do4', 'do6', 'axis1'"),
        ("ethercat/cell/di6", "wrong-identity", {"vendor_id": 9}, r"position 2 \('di6'\): found vendor 0x00000009"),
        (
            "ethercat/cell/axis1",
            "refuse-transition",
            {"state": "SAFE-OP", "code": 0x1E},
            r"SAFE-OP not reached within 10 s: position 5 \('axis1'\) is in PRE-OP with AL status 0x001E \(invalid in",
        ),
        (
            "ethercat/cell/axis1",
            "refuse-transition",
            {"state": "PRE-OP", "silent": True},
            r"PRE-OP not reached within 3 s: position 5 \('axis1'\) is in INIT",
        ),
        (
            "ethercat/cell/axis2",
            "refuse-transition",
            {"state": "OP", "code": 0x2C},
            r"OP not reached within 1\d s: position 6 \('axis2'\) is in SAFE-OP with AL status 0x002C",
        ),
        ("ethercat/cell/axis2", "refuse-sii", {}, r"SII of 'axis2' \(0x1006\) cannot be read at word 0x0008"),
        ("ethercat/cell/axis2", "busy-sii", {"by_ns": 100 * MS}, r"SII of 'axis2' \(0x1006\) stays busy for 20 ms"),
    ],
)
def test_a_fault_during_bring_up_is_told_and_recover_succeeds_once_it_is_over(
    target: str, kind: str, parameters: dict[str, Any], message: str
) -> None:
    cell = Cell(MIXED)
    end = cell.world.faults.inject(target, kind, parameters=parameters)
    with pytest.raises(StackError, match=message):
        cell.run(cell.main.bring_up())

    end()
    cell.world.run_for(200 * MS)

    assert cell.run(cell.main.recover()) == BringUp(21, 11)
    assert cell.cycles(2) == [21, 21]


@pytest.mark.verifies("REQ_8109")
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("lose-frames", {"percent": 10}),
        ("lose-frames", {"percent": 10, "way": "back"}),
        ("delay-frames", {"percent": 10, "by_ns": 5 * MS}),
        ("duplicate-frames", {}),
        ("truncate-frames", {"percent": 10}),
    ],
)
def test_frames_that_get_lost_during_bring_up_are_repeated(kind: str, parameters: dict[str, Any]) -> None:
    cell = Cell(MIXED)
    end = cell.world.faults.inject(
        "ethercat/cell", kind, parameters={**parameters, "commands": "APWR,BWR,BRD,FPRD,FPWR"}
    )

    found = cell.run(cell.main.bring_up())

    end()
    assert found == BringUp(21, 11)
    assert cell.cycles(3) == [21] * 3


@pytest.mark.verifies("REQ_0331")
def test_an_exchange_without_an_answer_fails_and_takes_as_long_as_its_time_out() -> None:
    cell = _up()
    end = cell.world.faults.inject("ethercat/cell", "lose-frames")
    begin_ns = cell.world.now_ns()

    with pytest.raises(StackError, match="segment 'cell': no frame came back within 2 ms"):
        cell.run(cell.main.exchange())

    assert cell.world.now_ns() - begin_ns == 2 * MS
    end()
    assert cell.cycles(1) == [21]


@pytest.mark.verifies("REQ_0331", "REQ_8107")
def test_a_cut_cable_shows_in_counter_and_survey_and_recover_brings_all_back() -> None:
    cell = _up()
    cell.devices["di12"].set("value", 0x123)
    cell.cycles(1)
    end = cell.world.faults.inject("ethercat/cell/fixed", "cut-cable")

    assert cell.cycles(1) == [21 - 3 - 3 - 1 - 2]
    assert cell.input("di12") == b"\x23\x01", "the last inputs of who is away stay"
    states = cell.run(cell.main.survey())
    assert [each.state for each in states] == [AlState.OP] * 7 + [AlState.NONE] * 4

    cell.cycles(100)
    end()
    cell.cycles(1)
    states = cell.run(cell.main.survey())
    assert (states[7].state, states[7].has_error, states[7].al_status_code) == (AlState.SAFE_OP, True, 0x001B)
    assert cell.run(cell.main.recover()) == BringUp(21, 11)
    assert cell.cycles(3) == [21] * 3


@pytest.mark.verifies("REQ_0331", "REQ_8107")
def test_after_a_power_cycle_recover_gives_the_address_again() -> None:
    cell = _up()
    cell.world.faults.inject("ethercat/cell/di12", "power-cycle")()

    assert cell.cycles(1) == [20]
    assert cell.run(cell.main.survey())[9].state is AlState.NONE
    assert cell.run(cell.main.recover()) == BringUp(21, 11)
    assert cell.cycles(2) == [21] * 2


def _state(cell: Cell, label: str) -> int:
    return int(cell.segment[label].state)


@pytest.mark.verifies("REQ_8150", "REQ_0841")
def test_one_subdevice_is_taken_to_safe_op_and_back_and_a_latched_error_is_acknowledged() -> None:
    cell = _up()
    address = cell.address("axis1")

    assert cell.run(cell.main.request_state(address, AlState.SAFE_OP))
    assert _state(cell, "axis1") == AlState.SAFE_OP
    assert cell.run(cell.main.request_state(address, AlState.OP))
    assert _state(cell, "axis1") == AlState.OP

    cell.world.faults.inject("ethercat/cell/axis1", "retreat-to-safe-op", parameters={"code": 0x1A})()
    assert cell.run(cell.main.survey())[5].al_status_code == 0x1A
    assert cell.run(cell.main.request_state(address, AlState.OP))
    assert not cell.run(cell.main.survey())[5].has_error

    end = cell.world.faults.inject("ethercat/cell/axis1", "cut-cable")
    assert not cell.run(cell.main.request_state(address, AlState.SAFE_OP))
    end()


@pytest.mark.realizes("TEST_0857")
@pytest.mark.verifies("REQ_0841")
def test_a_subdevice_that_is_slow_or_must_be_acknowledged_reaches_op_under_cyclic_exchange() -> None:
    cell = Cell(_changed(MIXED, "axis1", options={"transition_delay_ms": 300}))
    cell.world.faults.inject("ethercat/cell/axis2", "refuse-transition", 2 * S, {"state": "OP", "code": 0x1B})

    assert cell.run(cell.main.bring_up()) == BringUp(21, 11)

    acknowledged = [each for each in cell.writes(0x0120) if each.data == b"\x18\0"]
    assert acknowledged
    assert {each.address & 0xFFFF for each in acknowledged} == {cell.address("axis2")}


@pytest.mark.verifies("REQ_0312", "REQ_0331")
def test_calls_out_of_order_are_refused() -> None:
    cell = Cell(bus(coupler(), inputs("di", 4)))
    with pytest.raises(ConfigurationError, match="recover was called before a bring-up"):
        cell.run(cell.main.recover())
    assert cell.main.inputs(0x1001) is None

    cell.run(cell.main.bring_up())

    with pytest.raises(ConfigurationError, match="bring_up was called before"):
        cell.run(cell.main.bring_up())
    with pytest.raises(ConfigurationError, match=r"no SubDevice 0x2000; there is 'coupler' \(0x1000\)"):
        cell.run(cell.main.sdo_read(0x2000, 0x1000, 0))
    assert cell.main.inputs(0x2000) is None
    with pytest.raises(StackError, match=r"SDO read of 0x1000:00 of 'di' \(0x1001\): it has no CoE mailbox"):
        cell.run(cell.main.sdo_read(0x1001, 0x1000, 0))


@pytest.mark.verifies("REQ_0331")
def test_an_exchange_after_a_failed_recovery_is_refused_until_one_succeeds() -> None:
    cell = _up(bus(coupler(), inputs("di", 4)))
    end = cell.world.faults.inject("ethercat/cell/coupler", "cut-cable")
    with pytest.raises(StackError, match="no SubDevice answers"):
        cell.run(cell.main.recover())

    with pytest.raises(StackError, match="the segment is not configured; recover it first"):
        cell.run(cell.main.exchange())

    end()
    cell.run(cell.main.recover())
    assert cell.cycles(1) == [1]


@pytest.mark.verifies("REQ_0853", "REQ_8104")
def test_objects_are_read_and_written_at_run_time_also_while_answers_get_lost() -> None:
    cell = _up(_changed(MIXED, "axis2", options={"hold_outputs": True}))
    address = cell.address("axis2")

    assert cell.run(cell.main.sdo_read(address, 0x1018, 2)) == b"\x00\x04\0\0"
    assert cell.run(cell.main.sdo_read(address, 0x1008, 0)) == b"axis2"
    end = cell.world.faults.inject("ethercat/cell", "lose-frames", parameters={"percent": 20, "way": "back"})
    for value in range(10):
        cell.run(cell.main.sdo_write(address, 0x6060, 0, bytes((value,))))
        assert cell.run(cell.main.sdo_read(address, 0x6060, 0)) == bytes((value,))
    end()
    with pytest.raises(StackError, match=r"SDO read of 0x5FFF:00 of 'axis2' .*0x06020000 \(object does not exist\)"):
        cell.run(cell.main.sdo_read(address, 0x5FFF, 0))


@pytest.mark.verifies("REQ_8104")
def test_an_emergency_is_told_with_its_position_within_the_next_cycles() -> None:
    cell = _up()
    told: list[Emergency] = []
    cell.main.on_emergency = told.append
    cell.cycles(20)

    cell.devices["axis2"].emergency(0x8130, 0x11, b"\x01\x02\x03\x04\x05")
    cell.cycles(20)
    cell.devices["axis1"].emergency(0x2310)
    assert cell.run(cell.main.sdo_read(cell.address("axis1"), 0x1018, 1)) == b"\x57\x7e\0\0"

    assert told == [Emergency(6, 0x8130, 0x11, b"\x01\x02\x03\x04\x05"), Emergency(5, 0x2310, 1, bytes(5))]


@pytest.mark.verifies("REQ_0838")
def test_a_device_that_was_exchanged_is_read_anew_by_recover() -> None:
    cell = _up()
    first = len([each for each in cell.sent if each.command == Command.FPWR and each.ado == 0x0502])
    cell.sent.clear()
    cell.run(cell.main.recover())
    again = len([each for each in cell.sent if each.command == Command.FPWR and each.ado == 0x0502])

    assert again < first / 4, "identities only"
    cell.world.faults.inject("ethercat/cell/di4", "wrong-identity", parameters={"product_code": 5})
    with pytest.raises(StackError, match=r"position 1 .*product 0x00000005"):
        cell.run(cell.main.recover())


@pytest.mark.verifies("REQ_0329")
def test_a_subdevice_that_the_plan_does_not_know_stays_in_init_and_adds_nothing() -> None:
    cell = _up(expected=msgspec.structs.replace(MIXED, devices=MIXED.devices[:5]))

    assert cell.segment["axis1"].state is AlState.INIT
    assert cell.cycles(2) == [6, 6]


@pytest.mark.verifies("REQ_8150")
def test_outputs_are_safe_after_every_bring_up_and_close_leaves_all_in_init() -> None:
    cell = _up(_changed(MIXED, "do4", safe={"value": 3}))
    assert cell.output("do4")[0] == 3
    cell.output("do4")[0] = 12
    cell.cycles(1)
    assert cell.devices["do4"].output("value") == 12

    cell.run(cell.main.recover())
    assert cell.devices["do4"].output("value") == 3
    cell.output("do4")[0] = 12
    cell.cycles(1)
    cell.main.close()
    cell.main.close()

    assert all(device.state is AlState.INIT for device in cell.segment.subdevices)
    taken = [each.data for each in cell.sent if each.command == Command.LRW]
    assert taken[-1][0] & 0x0F == 3, "the safe outputs went out last"


@pytest.mark.verifies("REQ_0312")
def test_close_before_a_bring_up_sends_nothing() -> None:
    cell = Cell(MIXED)

    cell.main.close()

    assert not cell.sent


@pytest.mark.verifies("REQ_8000", "REQ_8005")
def test_a_run_with_faults_repeats_itself() -> None:
    plan = FaultPlan.of(
        FaultEntry(target="ethercat/cell", kind="lose-frames", frame=40, duration_ns=3 * MS),
        FaultEntry(target="ethercat/cell/axis1", kind="cut-cable", at_ns=500 * MS, duration_ns=100 * MS),
        FaultEntry(target="ethercat/cell/di4", kind="power-cycle", at_ns=900 * MS, duration_ns=10 * MS),
    )

    def hash_of(seed: int) -> str:
        world = World(seed, plan=plan)
        cell = _up(MIXED, world=world)
        bad = 0
        while world.now_ns() < 2 * S:
            try:
                bad += cell.cycles(1) != [21]
            except StackError:
                bad += 1
            if bad % 50 == 49:
                bad += 1
                with suppress(StackError):
                    cell.run(cell.main.recover())
        assert bad > 50
        assert cell.cycles(1) == [21]
        return world.trace.sha256()

    assert hash_of(3) == hash_of(3)


@pytest.mark.verifies("REQ_8111")
def test_tshark_dissects_bring_up_mail_and_cycles_without_a_malformed_packet(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    with World(1) as world:
        cell = Cell(MIXED, world=world)
        recording = SegmentRecording(cell.segment, tmp_path / "cell.pcapng")
        cell.run(cell.main.bring_up())
        cell.devices["axis1"].emergency(0x8130)
        cell.cycles(1000)
        with pytest.raises(StackError, match="0x06020000"):
            cell.run(cell.main.sdo_read(cell.address("axis1"), 0x5FFF, 0))
        cell.main.close()

    fields = ("frame.protocols", "_ws.malformed", "ecat.cmd")
    command = [
        tshark,
        "-n",
        "-r",
        str(recording.path),
        "-T",
        "fields",
        *(part for each in fields for part in ("-e", each)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    packets = [line.split("\t") for line in done.stdout.splitlines()]

    assert len(packets) == recording.frames
    assert {malformed for _protocols, malformed, _commands in packets} == {""}
    assert any(protocols.endswith("ecat:ecat_mailbox") for protocols, *_ in packets)
    assert sum(commands == "0x0c" for *_, commands in packets) >= 2000


@pytest.mark.verifies("REQ_8108")
def test_the_module_says_that_it_is_for_the_simulation_only() -> None:
    import taktora_sim.ethercat.maindevice as module

    assert "for the simulation only" in (module.__doc__ or "")
    assert "Simplified:" in (module.__doc__ or "")
    assert SimulatedMainDevice.__module__ == module.__name__
