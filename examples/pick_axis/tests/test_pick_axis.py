"""The unchanged application on the simulated cell, in virtual time: with faults, with seeds, with an operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cell import MS, Cell, S
from sequence import AT_WORK, PICK_MM, PLACE_MM, Step

from taktora.traceability import Measure
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.ethercat.devices.cia402 import PowerState
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from taktora_sim.world import World

SCENARIO = Path(__file__).parent.parent / "scenario.py"
PRESS_NS = 200 * MS


@pytest.fixture
def world() -> Iterator[World]:
    with World(seed=1) as world:
        yield world


@pytest.fixture
def cell(world: World) -> Cell:
    """The cell, at work, waiting for its first part."""
    cell = Cell(world)
    cell.begin_work()
    return cell


def carrying(cell: Cell) -> Cell:
    """Let it be in full motion with a part."""
    cell.until(Step.CARRYING)
    cell.world.run_for(350 * MS)
    assert abs(cell.plant.axis.velocity) > 790
    return cell


def restart(cell: Cell) -> None:
    """Press reset, then start."""
    cell.plant.panel.reset.press(PRESS_NS)
    cell.until(Step.OFF)
    cell.plant.panel.start.press(PRESS_NS)
    cell.until(Step.ENABLING)


@pytest.mark.verifies("PICK_0001")
@pytest.mark.parametrize("seed", range(2))
def test_parts_are_gripped_and_put_down_where_they_belong(seed: int, measure: Measure) -> None:
    with World(seed) as world:
        cell = Cell(world)
        cell.begin_work()

        world.run_for(12 * S)

        gripper = cell.plant.gripper
        placed = max(abs(part.position_mm - PLACE_MM) for part in gripper.put_down)
        gripped = max(abs(position_mm - PICK_MM) for position_mm in gripper.closed_at_mm)
        measure("placing error", placed, "mm", high=0.5)
        measure("gripping error", gripped, "mm", high=0.5)
        assert len(gripper.put_down) >= 3
        assert cell.alarms == []


@pytest.mark.verifies("PICK_0002")
def test_without_start_nothing_moves_and_no_coil_has_current(world: World) -> None:
    cell = Cell(world)

    world.run_for(10 * S)

    assert cell.stopping_ns(0) == 0
    assert cell.plant.drive.state is PowerState.SWITCH_ON_DISABLED
    assert cell.plant.gripper.closed_at_mm == []


@pytest.mark.verifies("PICK_0002")
def test_the_reference_is_where_the_switch_is(cell: Cell) -> None:
    assert abs(cell.plant.axis.position - PICK_MM) < 0.2
    assert Step.HOMING in [stay.step for stay in cell.stays]


@pytest.mark.verifies("PICK_0003")
def test_stop_ends_in_a_standstill_and_start_delivers_the_part(cell: Cell, measure: Measure) -> None:
    carrying(cell)
    pressed_ns = cell.world.now_ns()

    cell.plant.panel.stop.press(PRESS_NS)
    cell.until(Step.OFF)
    cell.world.run_for(S)
    stopping_ms, held = cell.stopping_ns(pressed_ns) / MS, cell.plant.gripper.holds_part
    cell.plant.panel.start.press(PRESS_NS)
    cell.until(Step.RETURNING)

    measure("stopping time", stopping_ms, "ms", high=300)
    assert held
    assert len(cell.plant.gripper.put_down) == 1
    assert abs(cell.plant.gripper.put_down[0].position_mm - PLACE_MM) < 0.5


@pytest.mark.verifies("PICK_0004")
@pytest.mark.parametrize("cause", ["button", "wire"])
def test_the_emergency_stop_stands_the_axis_and_keeps_the_part(cell: Cell, cause: str, measure: Measure) -> None:
    carrying(cell)
    pressed_ns = cell.world.now_ns()

    if cause == "button":
        cell.plant.panel.emergency_stop.press()
    else:
        cell.world.faults.inject("plants/estop", "stick-sensor", None, {"value": False})
    obeyed = cell.world.run_until(lambda: cell.plant.drive.state is PowerState.QUICK_STOP, 10 * MS)
    cell.world.run_for(2 * S)

    measure("stopping time", cell.stopping_ns(pressed_ns) / MS, "ms", high=200)
    assert obeyed
    assert cell.plant.gripper.holds_part
    assert cell.plant.drive.state is PowerState.SWITCH_ON_DISABLED
    assert cell.alarms == ["EMERGENCY_STOP"]


@pytest.mark.verifies("PICK_0004")
def test_after_an_emergency_stop_the_part_is_delivered(cell: Cell) -> None:
    carrying(cell)
    cell.plant.panel.emergency_stop.press(S)
    cell.world.run_for(2 * S)

    restart(cell)
    cell.until(Step.WAITING)

    assert len(cell.plant.gripper.put_down) == 1


@pytest.mark.verifies("PICK_0005")
@pytest.mark.parametrize(
    ("target", "kind", "code"),
    [
        ("ethercat/cell/axis", "trip-drive", "DRIVE_FAULT"),
        ("ethercat/cell/axis", "block-axis", "DRIVE_FAULT"),
        ("ethercat/cell/axis", "cut-cable", "NO_INPUTS"),
        ("ethercat/cell/axis", "power-cycle", "NO_INPUTS"),
        ("ethercat/cell/axis", "retreat-to-safe-op", "DRIVE_OFF"),
        ("ethercat/cell/sensors", "cut-cable", "NO_INPUTS"),
        ("ethercat/cell", "lose-frames", "NO_INPUTS"),
        ("plants/gripper/held", "stick-sensor", "PART_LOST"),
    ],
)
def test_trouble_stops_the_machine_until_it_is_acknowledged(cell: Cell, target: str, kind: str, code: str) -> None:
    carrying(cell)
    begin_ns = cell.world.now_ns()
    duration_ns = None if kind == "retreat-to-safe-op" else S

    cell.world.faults.inject(target, kind, duration_ns, {})
    cell.world.run_for(5 * S)
    first, at_rest_ns, waits = cell.alarms[0], cell.stopping_ns(begin_ns), cell.step
    parts = len(cell.plant.gripper.put_down)
    restart(cell)
    cell.until(Step.RETURNING)

    assert (first, waits) == (code, Step.FAULT)
    assert at_rest_ns < 300 * MS
    assert len(cell.plant.gripper.put_down) == parts + 1


@pytest.mark.verifies("PICK_0005")
def test_a_barrier_that_sees_parts_which_are_not_there_is_found(cell: Cell) -> None:
    cell.until(Step.RETURNING)
    cell.world.faults.inject("plants/barrier", "stick-sensor", None, {"value": True})

    cell.until(Step.FAULT)

    assert cell.alarms == ["GRIPPING_TIMEOUT"]
    assert not cell.plant.gripper.holds_part


@pytest.mark.verifies("PICK_0005")
def test_a_gripper_that_does_not_open_is_found(cell: Cell) -> None:
    carrying(cell)
    cell.world.faults.inject("plants/gripper", "jam-cylinder", None, {})

    cell.until(Step.FAULT)

    assert cell.alarms == ["RELEASING_TIMEOUT"]


@pytest.mark.verifies("PICK_0006")
@pytest.mark.parametrize("kind", ["hang", "stop", "kill"])
def test_an_application_that_no_longer_runs_leaves_everything_safe(cell: Cell, kind: str, measure: Measure) -> None:
    carrying(cell)
    begin_ns = cell.world.now_ns()
    lamps, valves = cell.outputs("lamps"), cell.outputs("valves")

    cell.world.faults.inject("app/pick-axis", kind, None, {})
    safe = cell.world.run_until(
        lambda: cell.plant.drive.state is not PowerState.ENABLED and lamps() == (True, False, False, False), 50 * MS
    )
    cell.world.run_for(S)

    measure("stopping time", cell.stopping_ns(begin_ns) / MS, "ms", high=200)
    assert safe
    assert valves() == (False, False)
    assert cell.plant.gripper.holds_part
    assert cell.plant.drive.state is PowerState.SWITCH_ON_DISABLED


@pytest.mark.verifies("PICK_0006", "PICK_0005")
def test_an_application_that_goes_on_after_a_pause_does_not_work_again_by_itself(cell: Cell) -> None:
    carrying(cell)
    cell.world.faults.inject("app/pick-axis", "stop", 300 * MS, {})

    cell.world.run_for(5 * S)

    assert (cell.step, cell.alarms) == (Step.FAULT, ["DRIVE_OFF"])


@pytest.mark.verifies("PICK_0001", "PICK_0004", "PICK_0005")
@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_wrong_no_part_falls_beside_its_place(seed: int) -> None:
    campaign = Campaign(
        enabled=(
            "ethercat/cell/axis:trip-drive",
            "ethercat/cell/axis:cut-cable",
            "ethercat/cell/axis:power-cycle",
            "ethercat/cell/axis:refuse-enable",
            "ethercat/cell:lose-frames",
            "plants/barrier:stick-sensor",
            "plants/estop:stick-sensor",
            "plants/stop:stick-sensor",
            "app/pick-axis:stop",
        ),
        begin_ns=(4 * S, 14 * S),
        duration_ns=(50 * MS, 2 * S),
        faults=(2, 5),
    )
    with World(seed) as world:
        cell = Cell(world, patience_s=0.7)
        plan = world.faults.propose(draw_plan(world, campaign))

        world.run_for(30 * S)

        gripper, why = cell.plant.gripper, plan.to_toml()
        assert all(abs(part.position_mm - PLACE_MM) < 0.5 for part in gripper.put_down), why
        assert all(abs(position_mm - PICK_MM) < 0.5 for position_mm in gripper.closed_at_mm), why
        assert cell.step in AT_WORK, why


@pytest.mark.verifies("PICK_0001", "PICK_0002", "PICK_0004", "PICK_0005", "PICK_0006")
def test_the_main_job_says_that_its_requirements_hold() -> None:
    job = load_scenario(str(SCENARIO))

    summary = play(job, PlayOptions(seed=3))

    named = {event.text.partition(":")[0] for event in summary.recorder.events if event.severity == "alarm"}
    assert summary.error == ""
    assert named >= {"DRIVE_FAULT", "NO_INPUTS", "GRIPPING_TIMEOUT", "DRIVE_OFF", "EMERGENCY_STOP"}
    assert [(check.name[:9], check.ok) for check in summary.recorder.checks] == [
        ("PICK_0001", True),
        ("PICK_0002", True),
        ("PICK_0004", True),
        ("PICK_0005", True),
        ("PICK_0006", True),
    ]
