"""The sequence, decision by decision; no bus, no clock, a drive that does at once what it is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from drive import DriveState, Mode, Power
from images import AxisIn, Sensors
from sequence import LIMITS_S, PICK_MM, PLACE_MM, Coil, Orders, Sequence, Step

from taktora.app.machine import load_machine

PERIOD_S = 0.002
HOMED = 0x1400


class Bench:
    """A sequence, and a machine of perfect obedience around it."""

    def __init__(self) -> None:
        self.sequence = Sequence()
        self.axis = AxisIn(statusword=DriveState.SWITCH_ON_DISABLED, mode_display=Mode.CYCLIC_POSITION, position=300.0)
        self.sensors = Sensors(stop_ok=True, estop_ok=True, gripper_open=True, air_ok=True)
        self.orders = Orders(Power.OFF, Mode.HOMING, 0.0)
        self.obeys = True

    def cycle(self, fresh: bool = True) -> Orders:
        self.orders = self.sequence.advance(self.axis, self.sensors, PERIOD_S, fresh)
        if self.obeys:
            self._obey()
        return self.orders

    def until(self, step: Step, cycles: int = 2000) -> None:
        for _ in range(cycles):
            if self.sequence.step is step:
                return
            self.cycle()
        raise AssertionError(f"{step.name} not reached, in {self.sequence.step.name} ({self.sequence.trouble})")

    def press(self, button: str) -> None:
        for state in (True, False):
            setattr(self.sensors, button, state)
            self.cycle()

    def at_work(self, step: Step = Step.WAITING) -> Bench:
        self.cycle()
        self.press("start")
        self.sensors.part_there = step not in (Step.HOMING, Step.WAITING)
        self.until(step)
        return self

    def _obey(self) -> None:
        orders, axis = self.orders, self.axis
        states = {Power.ON: DriveState.ENABLED, Power.OFF: DriveState.SWITCH_ON_DISABLED}
        if orders.reset or not axis.statusword & 0x08 or axis.statusword & 0x07:
            axis.statusword = states.get(orders.power, DriveState.QUICK_STOP)
        axis.mode_display = orders.mode
        if orders.search:
            axis.position, axis.statusword = 0.0, axis.statusword | HOMED
        elif orders.mode is Mode.CYCLIC_POSITION and orders.power is Power.ON:
            axis.position = orders.target
        if orders.coil is not Coil.NONE:
            self.sensors.gripper_open = orders.coil is Coil.OPEN
            self.sensors.part_held = orders.coil is Coil.CLOSE


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.verifies("PICK_0001")
def test_what_is_shown_here_is_shown_with_the_period_of_the_machine_file() -> None:
    machine = load_machine(Path(__file__).parent.parent / "machine.yaml")

    assert machine.ethercat["cell"].cycle_time_ms == PERIOD_S * 1000


@pytest.mark.verifies("PICK_0002")
def test_nothing_happens_before_start(bench: Bench) -> None:
    orders = [bench.cycle() for _ in range(1000)]

    assert {order.power for order in orders} == {Power.OFF}
    assert {order.coil for order in orders} == {Coil.NONE}


@pytest.mark.verifies("PICK_0002")
@pytest.mark.parametrize("contact", ["stop_ok", "estop_ok"])
def test_start_counts_for_nothing_while_stop_or_emergency_stop_is_pressed(bench: Bench, contact: str) -> None:
    setattr(bench.sensors, contact, False)

    bench.press("start")
    bench.press("start")

    assert bench.orders.power is not Power.ON
    assert bench.sequence.step in (Step.OFF, Step.EMERGENCY)


@pytest.mark.verifies("PICK_0002")
def test_a_start_button_that_is_stuck_when_the_machine_comes_up_starts_nothing(bench: Bench) -> None:
    bench.sensors.start = True

    for _ in range(100):
        bench.cycle()

    assert bench.sequence.step is Step.OFF


@pytest.mark.verifies("PICK_0002")
def test_the_reference_is_found_before_the_first_way_and_not_again_after_a_stop(bench: Bench) -> None:
    bench.at_work()
    first = bench.sequence.is_homed
    bench.sensors.stop_ok = False
    bench.until(Step.OFF)
    bench.sensors.stop_ok = True
    bench.cycle()
    bench.press("start")

    searches = []
    while bench.sequence.step is not Step.WAITING:
        searches.append(bench.cycle().search)
    assert first
    assert not any(searches)


@pytest.mark.verifies("PICK_0001")
def test_a_part_goes_from_pick_to_place(bench: Bench) -> None:
    bench.at_work(Step.GRIPPING)
    gripped_at = bench.axis.position
    bench.until(Step.RELEASING)
    released_at, closed = bench.axis.position, bench.orders.coil
    bench.until(Step.WAITING)

    assert (gripped_at, released_at) == (PICK_MM, PLACE_MM)
    assert closed is Coil.CLOSE
    assert bench.sequence.parts == 1


@pytest.mark.verifies("PICK_0003")
def test_stop_slows_down_on_the_ramp_and_switches_off_then(bench: Bench) -> None:
    bench.at_work(Step.CARRYING)
    for _ in range(200):
        bench.cycle()
    speed = bench.sequence.setpoint.speed

    bench.sensors.stop_ok = False
    targets = [bench.axis.position]
    while bench.sequence.step is not Step.OFF:
        targets.append(bench.cycle().target)

    steps = [after - before for before, after in pairwise(targets)]
    assert speed == 800.0
    assert steps == sorted(steps, reverse=True)
    assert len(steps) * PERIOD_S < 0.3
    assert bench.sensors.part_held


@pytest.mark.verifies("PICK_0003")
def test_a_part_that_is_held_is_delivered_first(bench: Bench) -> None:
    bench.at_work(Step.CARRYING)
    bench.sensors.stop_ok = False
    bench.until(Step.OFF)
    bench.sensors.stop_ok = True

    bench.press("start")
    bench.until(Step.RELEASING)

    assert bench.axis.position == PLACE_MM


@pytest.mark.verifies("PICK_0004")
@pytest.mark.parametrize("step", [Step.HOMING, Step.WAITING, Step.GRIPPING, Step.CARRYING, Step.RELEASING])
def test_the_emergency_stop_is_obeyed_in_the_same_cycle_whatever_goes_on(bench: Bench, step: Step) -> None:
    bench.at_work(step)
    bench.sensors.estop_ok = False

    orders = bench.cycle()

    assert (orders.power, orders.coil) == (Power.QUICK_STOP, Coil.NONE)
    assert bench.sequence.step is Step.EMERGENCY


@pytest.mark.verifies("PICK_0004")
def test_after_an_emergency_stop_reset_and_start_are_needed_in_this_order(bench: Bench) -> None:
    bench.at_work()
    bench.sensors.estop_ok = False
    bench.cycle()
    bench.press("reset")
    held = bench.sequence.step
    bench.sensors.estop_ok = True
    bench.press("start")
    without_reset = bench.sequence.step
    bench.press("reset")
    bench.until(Step.OFF)
    bench.press("start")

    assert (held, without_reset) == (Step.EMERGENCY, Step.EMERGENCY)
    assert bench.sequence.step is not Step.OFF


@pytest.mark.verifies("PICK_0005")
@pytest.mark.parametrize(
    ("step", "changes", "code"),
    [
        (Step.WAITING, {"statusword": DriveState.FAULT, "error_code": 0x8611}, "DRIVE_FAULT"),
        (Step.CARRYING, {"statusword": DriveState.SWITCH_ON_DISABLED}, "DRIVE_OFF"),
        (Step.WAITING, {"air_ok": False}, "NO_AIR"),
        (Step.CARRYING, {"part_held": False}, "PART_LOST"),
    ],
)
def test_trouble_is_named_and_stops_the_machine(bench: Bench, step: Step, changes: dict[str, int], code: str) -> None:
    bench.at_work(step)
    bench.obeys = False
    for name, value in changes.items():
        setattr(bench.axis if hasattr(bench.axis, name) else bench.sensors, name, value)

    orders = bench.cycle()

    assert bench.sequence.trouble.startswith(f"{code}: ")
    assert (orders.power, orders.coil) == (Power.QUICK_STOP, Coil.NONE)
    assert bench.sequence.lamps(bench.sensors).red


@pytest.mark.verifies("PICK_0005")
@pytest.mark.parametrize("step", [Step.ENABLING, Step.GRIPPING, Step.RELEASING])
def test_a_step_that_takes_too_long_is_trouble(bench: Bench, step: Step) -> None:
    if step is Step.ENABLING:
        bench.cycle()
        bench.obeys = False
        bench.press("start")
    else:
        bench.at_work(step)
        bench.obeys = False
        bench.sensors.part_held = bench.sensors.gripper_open = False
    limit_s, words = LIMITS_S[step]

    cycles = 0
    while bench.sequence.step is step:
        bench.cycle()
        cycles += 1

    assert abs(cycles * PERIOD_S - limit_s) < 0.01
    assert bench.sequence.trouble == f"{step.name}_TIMEOUT: {words}"


@pytest.mark.verifies("PICK_0005", "PICK_0002")
def test_missing_inputs_stop_the_machine_and_cost_the_reference(bench: Bench) -> None:
    bench.at_work()

    bench.cycle(fresh=False)

    assert bench.sequence.trouble.startswith("NO_INPUTS")
    assert not bench.sequence.is_homed


@pytest.mark.verifies("PICK_0005")
def test_a_fault_that_remains_cannot_be_acknowledged(bench: Bench) -> None:
    bench.at_work()
    bench.obeys = False
    bench.axis.statusword = DriveState.FAULT
    bench.cycle()

    bench.press("reset")
    resets = [bench.cycle().reset for _ in range(400)]

    assert sum(resets) > 100
    assert bench.sequence.step is Step.FAULT
    assert bench.sequence.trouble.startswith("RESETTING_TIMEOUT")


@pytest.mark.verifies("PICK_0005")
def test_the_stack_light_says_who_is_to_do_something(bench: Bench) -> None:
    bench.cycle()
    off = bench.sequence.lamps(bench.sensors)
    bench.at_work()
    works = bench.sequence.lamps(bench.sensors)

    assert (off.red, off.yellow, off.green, off.white) == (False, True, False, False)
    assert (works.red, works.yellow, works.green, works.white) == (False, False, True, True)
