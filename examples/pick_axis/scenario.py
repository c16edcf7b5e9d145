"""The main job: a minute of work in which nearly everything goes wrong once, and what the pick axis makes of it.

    taktora sim run examples/pick_axis/scenario.py --report reports/pick_axis

Prints what became of the parts and of each fault; the command that runs it tells the rest: alarms, checks, hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from cell import MS, Cell, Outcome, S
from sequence import AT_WORK, PICK_MM, PLACE_MM, Step

from taktora_sim.plan import FaultPlan
from taktora_sim.world import World

__all__ = ["scenario"]

RUN_NS = 58 * S
HALF_WAY_MM = (PICK_MM + PLACE_MM) / 2


def scenario(world: World) -> None:
    """Work for a minute, with an operator, under the fault plan beside this file unless another one was given."""
    world.faults.propose(FaultPlan.load(Path(__file__).parent / "plan.toml"))
    cell = Cell(world, patience_s=1.0)
    announce_parts(world, cell)
    try:
        world.run_for(RUN_NS)
    finally:  # also when --for ends the run earlier
        outcomes = [cell.outcome(fault) for fault in world.faults.fired]
        print("\n".join(story(cell, outcomes)))
    check(world, cell, outcomes)


def announce_parts(world: World, cell: Cell) -> None:
    """Announce each part when it is half way between chute and belt: the milestones of plan.toml."""
    announced: set[int] = set()

    def look(position_mm: float) -> None:
        part = len(cell.plant.gripper.put_down) + 1
        if part not in announced and cell.plant.gripper.holds_part and position_mm > HALF_WAY_MM:
            announced.add(part)
            world.call_soon(lambda: world.milestone(f"part {part} is half way"))

    cell.plant.axis.on_move(look)


def story(cell: Cell, outcomes: list[Outcome]) -> Iterator[str]:
    """Tell what became of the parts and of each fault, in lines."""
    parts = [part.at_ns for part in cell.plant.gripper.put_down]
    best_ns = min((after - before for before, after in pairwise(parts)), default=0)
    yield f"{len(parts)} parts put down, the quickest {best_ns / S:.2f} s after the one before it"
    yield ""
    yield f"{'fault':<38} {'named as':<18} {'after':>9} {'at rest after':>14} {'at work again':>14}"
    for each in outcomes:
        named_ms = "-" if each.named_ns is None else f"{each.named_ns / MS:.1f} ms"
        again_s = "-" if each.again_ns is None else f"{each.again_ns / S:.1f} s"
        stopping = f"{each.stopping_ns / MS:.0f} ms"
        yield f"{each.fault:<38} {each.code or '-':<18} {named_ms:>9} {stopping:>14} {again_s:>14}"
    yield ""


def check(world: World, cell: Cell, outcomes: list[Outcome]) -> None:
    """State what the requirements ask of this run; what does not hold fails it."""
    gripper, steps = cell.plant.gripper, [stay.step for stay in cell.stays]
    placed = [abs(part.position_mm - PLACE_MM) for part in gripper.put_down]
    gripped = [abs(position_mm - PICK_MM) for position_mm in gripper.closed_at_mm]
    world.check(
        "PICK_0001, parts are gripped and put down in their places",
        len(placed) > 10 and max(placed) < 0.5 and max(gripped) < 0.5,
        f"{len(placed)} parts, off by at most {max(placed, default=0):.3f} mm",
    )
    enabled_from = {steps[at - 1] for at, step in enumerate(steps) if step is Step.ENABLING}
    cut_off = [each for each in outcomes if each.code == "NO_INPUTS" and each.again_ns is not None]
    world.check(
        "PICK_0002, start alone enables the drive, which finds its reference before the work and after it was cut off",
        enabled_from <= {Step.OFF} and all(each.homed for each in cut_off) and Step.HOMING in steps,
        f"enabled {steps.count(Step.ENABLING)} times, homed {steps.count(Step.HOMING)} times",
    )
    stops = [each for each in outcomes if each.code == "EMERGENCY_STOP"]
    world.check(
        "PICK_0004, the emergency stop is obeyed within 10 ms and the axis at rest within 200 ms",
        all((each.named_ns or 0) <= 10 * MS and each.stopping_ns <= 200 * MS for each in stops),
        ", ".join(f"{(each.named_ns or 0) / MS:.1f} ms and {each.stopping_ns / MS:.0f} ms" for each in stops)
        or "unused",
    )
    world.check(
        "PICK_0005, each trouble is named, and the machine works again after reset and start",
        all(each.code and each.again_ns for each in outcomes) and cell.step in AT_WORK,
        ", ".join(each.code or f"nothing said of {each.fault}" for each in outcomes),
    )
    hangs = [each for each in outcomes if each.fault.startswith("app/")]
    world.check(
        "PICK_0006, an application that hangs leaves an axis at rest within 200 ms",
        all(each.stopping_ns <= 200 * MS for each in hangs),
        ", ".join(f"{each.stopping_ns / MS:.0f} ms" for each in hangs) or "it did not",
    )
