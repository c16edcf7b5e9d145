"""Cylinder, sensors, buttons, light barrier and emergency-stop chain: signals, times and faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
from taktora_sim.ethercat.backend import PLANT_KINDS
from taktora_sim.ethercat.devices import Cia402Drive, DigitalInputs, DigitalOutputs, build_segment, device_of
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, digital_outputs, drive
from taktora_sim.ethercat.plants import make_axis, make_cylinder, make_light_barrier
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.plants import Axis, Cylinder, LightBarrier, PushButton, Sensor, StopChain
from taktora_sim.world import World
from tests.sim.ethercat.cell import Cell

pytestmark = pytest.mark.verifies("REQ_8108")

MS = 1_000_000


def _inject(world: World, path: str, kind: str, **parameters: bool) -> Callable[[], None]:
    return world.faults.inject(path, kind, None, parameters)


class Cabinet:
    """Keeps each signal with the time of its change."""

    def __init__(self) -> None:
        self.world = World(1)
        self.signals: dict[str, bool] = {}
        self.log: list[tuple[int, str, bool]] = []

    def input(self, name: str) -> Callable[[bool], None]:
        def give(is_on: bool) -> None:
            if self.signals.get(name) is not is_on:
                self.signals[name] = is_on
                self.log.append((self.world.now_ns() // MS, name, is_on))

        return give


# --- cylinder ----------------------------------------------------------------------------------------------------


def _cylinder(cabinet: Cabinet, *, is_bistable: bool = False) -> Cylinder:
    return Cylinder(
        cabinet.world,
        "lift",
        cabinet.input("back"),
        cabinet.input("out"),
        stroke_ns=400 * MS,
        return_ns=200 * MS,
        is_bistable=is_bistable,
    )


def test_a_cylinder_takes_its_stroke_time_between_the_end_switches() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)
    cabinet.world.run_for(10 * MS)
    cabinet.log.clear()

    cylinder.extend()
    cabinet.world.run_for(100 * MS)
    quarter = cylinder.position
    cabinet.world.run_for(900 * MS)
    cylinder.extend(False)
    cabinet.world.run_for(1000 * MS)

    assert quarter == 0.25
    assert cabinet.log == [(10, "back", False), (410, "out", True), (1010, "out", False), (1210, "back", True)]


def test_a_cylinder_turns_round_on_its_way() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)
    cylinder.extend()
    cabinet.world.run_for(100 * MS)
    cabinet.log.clear()

    cylinder.extend(False)
    cabinet.world.run_for(1000 * MS)

    assert cabinet.log == [(150, "back", True)], "a quarter of the way takes a quarter of the 200 ms"


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=30))
def test_a_cylinder_is_at_one_end_at_most_and_always_between_0_and_1(moves: list[tuple[int, bool]]) -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)

    for pause_ms, is_on in moves:
        cylinder.extend(is_on)
        cabinet.world.run_for(pause_ms * MS)
        assert 0.0 <= cylinder.position <= 1.0
        assert not (cylinder.is_extended and cylinder.is_retracted)
        assert not cylinder.is_extended or cylinder.position == 1.0
        assert not cylinder.is_retracted or cylinder.position == 0.0


def test_a_bistable_valve_stays_where_it_was() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet, is_bistable=True)
    ends = []

    for coil, is_on in (("out", True), ("out", False), ("back", True), ("out", True)):
        (cylinder.extend if coil == "out" else cylinder.retract)(is_on)
        cabinet.world.run_for(1000 * MS)
        ends.append(cylinder.is_extended)

    assert ends == [True, True, False, False], "both coils at once change nothing"


@pytest.mark.verifies("REQ_8109")
def test_a_jam_holds_a_cylinder_where_it_is() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)
    cylinder.extend()
    cabinet.world.run_for(100 * MS)
    end = _inject(cabinet.world, "plants/lift", "jam-cylinder")

    cabinet.world.run_for(1000 * MS)
    jammed = cylinder.position
    end()
    cabinet.world.run_for(300 * MS)

    assert jammed == 0.25
    assert cylinder.is_extended


@pytest.mark.verifies("REQ_8109")
def test_a_stuck_valve_follows_its_coil_later() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)
    end = _inject(cabinet.world, "plants/lift", "stick-valve")
    cylinder.extend()
    cabinet.world.run_for(1000 * MS)
    stuck = cylinder.is_retracted

    end()
    cabinet.world.run_for(400 * MS)

    assert stuck
    assert cylinder.is_extended


@pytest.mark.verifies("REQ_8109")
def test_a_stuck_end_switch_says_the_same_whatever_the_cylinder_does() -> None:
    cabinet = Cabinet()
    cylinder = _cylinder(cabinet)
    end = _inject(cabinet.world, "plants/lift/extended", "stick-sensor", value=False)
    cylinder.extend()
    cabinet.world.run_for(1000 * MS)
    stuck = cabinet.signals["out"]

    end()

    assert (stuck, cylinder.is_extended, cabinet.signals["out"]) == (False, True, True)


def test_a_stroke_without_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="plants/lift: stroke of 0 ns"):
        Cylinder(World(1), "lift", stroke_ns=0)


# --- sensors, buttons, chain -------------------------------------------------------------------------------------


def test_a_normally_closed_contact_is_inverted() -> None:
    cabinet = Cabinet()
    sensor = Sensor(cabinet.world, "guard", cabinet.input("guard"), is_inverted=True)

    sensor.actuate(True)

    assert cabinet.log == [(0, "guard", True), (0, "guard", False)]


def test_a_button_is_let_go_after_its_time_and_a_second_press_counts_anew() -> None:
    cabinet = Cabinet()
    button = PushButton(cabinet.world, "start", cabinet.input("start"))
    cabinet.log.clear()

    button.press(100 * MS)
    cabinet.world.run_for(50 * MS)
    button.press(100 * MS)
    cabinet.world.run_for(200 * MS)

    assert cabinet.log == [(0, "start", True), (50, "start", False), (50, "start", True), (150, "start", False)]
    assert not button.is_pressed


def _chain(cabinet: Cabinet) -> StopChain:
    power = cabinet.input("power")
    return StopChain(
        cabinet.world, "stop", cabinet.input("ch1"), cabinet.input("ch2"), cabinet.input("feedback"), power
    )


def test_a_stop_takes_the_power_and_gives_it_back_on_reset_only() -> None:
    cabinet = Cabinet()
    chain = _chain(cabinet)
    seen = []

    for act in (chain.reset, chain.open, chain.reset, chain.close, chain.reset):
        act()
        seen.append((cabinet.signals["ch1"], cabinet.signals["feedback"], chain.has_power))

    assert seen == [
        (True, False, True),
        (False, True, False),
        (False, True, False),
        (True, True, False),
        (True, False, True),
    ]
    assert cabinet.signals["power"] is True


def test_one_of_two_open_guards_keeps_the_chain_open() -> None:
    chain = _chain(Cabinet())
    chain.open("guard")
    chain.open("button")

    chain.close("button")

    assert not chain.is_closed


@pytest.mark.verifies("REQ_8109")
def test_a_stuck_contactor_keeps_the_power_and_refuses_the_next_reset() -> None:
    cabinet = Cabinet()
    chain = _chain(cabinet)
    chain.reset()
    end = _inject(cabinet.world, "plants/stop", "stick-contactor")

    chain.open()
    stuck = chain.has_power, cabinet.signals["feedback"]
    chain.close()
    end()

    assert stuck == (True, False)
    assert not chain.has_power
    assert chain.reset()


@pytest.mark.verifies("REQ_8109")
def test_an_interrupted_channel_shows_as_a_discrepancy_and_takes_the_power() -> None:
    cabinet = Cabinet()
    chain = _chain(cabinet)
    chain.reset()

    _inject(cabinet.world, "plants/stop", "open-channel")

    assert (cabinet.signals["ch1"], cabinet.signals["ch2"]) == (True, False)
    assert not chain.has_power


# --- at a segment ------------------------------------------------------------------------------------------------


_DEVICES: tuple[DeviceSpec, ...] = (coupler("k"), digital_outputs("do", 4), digital_inputs("di", 8), drive("axis"))


def _segment() -> SimulatedSegment:
    return build_segment(World(1), "cell", EthercatBusSpec(devices=_DEVICES))


@pytest.mark.verifies("REQ_8152")
def test_a_bench_file_puts_plants_behind_the_devices_and_they_work_together() -> None:
    cell = Cell(EthercatBusSpec(cycle_time_ms=1, devices=_DEVICES))
    segment = cell.segment
    axis = make_axis(segment, "axis", {"inertia": 0.01, "high": 100.0})
    make_cylinder(segment, "do", {"output": "out2", "retracted": "di.in1", "extended": "di.in2", "stroke_ms": 20})
    make_light_barrier(segment, "di", {"input": "in8", "axis": "axis", "begin": 10.0, "end": 20.0})
    servo, lights = device_of(segment, "axis", Cia402Drive), device_of(segment, "di", DigitalInputs)
    cell.run(cell.main.bring_up())
    cell.cycles(100)

    cell.output("do")[0] = 0b0010
    outputs = cell.output("axis")
    interrupted: list[bool] = []
    for word in (0x06, 0x07, 0x0F, 0x1F):
        outputs[:] = word.to_bytes(2, "little") + (30_000).to_bytes(4, "little") + b"\x01"
        cell.cycles(3)
    for _ in range(1000):
        cell.cycles(1)
        if bool(lights.input("in8")) is not (interrupted[-1:] == [True]):
            interrupted.append(bool(lights.input("in8")))

    assert servo.axis is axis
    assert axis.position == pytest.approx(30.0, abs=0.01)
    assert interrupted == [True, False]
    assert (lights.input("in1"), lights.input("in2")) == (False, True)


def test_what_a_bench_file_may_name() -> None:
    assert set(PLANT_KINDS) == {"axis", "cylinder", "light-barrier", "python"}


@pytest.mark.parametrize(
    ("kind", "label", "given", "expected"),
    [
        ("axis", "do", {}, "is a DigitalOutputs, not a Cia402Drive"),
        ("axis", "axis", {"inertia": "much"}, r"\[ethercat\.cell\.plant\.axis\]: Expected `float`"),
        ("axis", "axis", {"inertai": 1.0}, "no setting 'inertai'; did you mean 'inertia'"),
        ("axis", "axis", {"inertia": -1.0}, "inertia is -1.0"),
        ("cylinder", "do", {"output": "out9"}, "has no output 'out9'"),
        ("cylinder", "do", {"output": "out1", "extended": "in1"}, "input 'in1' is not device.entry"),
        ("cylinder", "do", {"output": "out1", "strike_ms": 3}, "contains unknown field `strike_ms`"),
        ("light-barrier", "di", {"input": "in1", "axis": "axis", "begin": 2.0, "end": 1.0}, "begin 2 is not below"),
    ],
    ids=["device", "type", "name", "value", "output", "input", "field", "barrier"],
)
def test_settings_that_make_no_sense_are_named(
    kind: str, label: str, given: dict[str, object], expected: str, tmp_path: object
) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        PLANT_KINDS[kind](_segment(), label, given, tmp_path)  # type: ignore[arg-type]


def test_a_light_barrier_sees_a_part_that_is_put_there() -> None:
    segment = _segment()
    axis: Axis = device_of(segment, "axis", Cia402Drive).axis
    seen: list[bool] = []
    barrier = LightBarrier(segment.world, "gate", seen.append, axis, 5.0, 6.0)

    axis.place(5.5)
    segment.world.run_for(2 * MS)

    assert barrier.is_interrupted
    assert seen == [False, True]


def test_a_digital_output_drives_a_cylinder_both_ways() -> None:
    segment = _segment()
    valves = device_of(segment, "do", DigitalOutputs)
    cylinder = make_cylinder(segment, "do", {"output": "out1", "retract_output": "out2", "stroke_ms": 100})
    ends = []

    for image in (0b01, 0b00, 0b10):
        valves.outputs(memoryview(bytes([image])))
        segment.world.run_for(100 * MS)
        ends.append(cylinder.is_extended)

    assert ends == [True, True, False]
    assert valves.esc.state is AlState.INIT
