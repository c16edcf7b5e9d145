"""Stepping, rate and breakpoints: however a run is driven, its trace is the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taktora_sim.world import World
from tests.sim.fresh import ROOT, hash_of, run_fresh
from tests.sim.scenarios.busy import MS, Tank, build

BUSY = str(ROOT / "tests" / "sim" / "scenarios" / "busy.py")
END_NS = 50 * MS


def drive_at_once(world: World) -> None:
    world.run_for(END_NS)


def drive_in_pieces(world: World) -> None:
    while world.now_ns() < END_NS:
        world.run_for(min(700_001, END_NS - world.now_ns()))


def drive_step_by_step(world: World) -> None:
    while world.env.peek() <= END_NS:
        world.step()
    world.run_for(END_NS - world.now_ns())


def drive_until(world: World) -> None:
    while world.now_ns() < END_NS:
        goal_ns = world.now_ns() + 3 * MS
        world.run_until(lambda goal_ns=goal_ns: world.now_ns() >= goal_ns, END_NS - world.now_ns())  # type: ignore[misc]


def drive_at_a_rate(world: World) -> None:
    world.rate = 2.0
    world.run_for(END_NS)


def drive_with_a_person_at_a_breakpoint(world: World) -> None:
    world.call_at(20 * MS, lambda: time.sleep(0.05))
    world.run_for(END_NS)


WAYS: list[Callable[[World], None]] = [
    drive_in_pieces,
    drive_step_by_step,
    drive_until,
    drive_at_a_rate,
    drive_with_a_person_at_a_breakpoint,
]


def digest(drive: Callable[[World], None]) -> str:
    with World(3) as world:
        tank = Tank(world)
        with build(tank).bind(world.runtime) as bound:
            bound.start()
            drive(world)
        assert world.now_ns() == END_NS
        return world.trace.sha256()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.verifies("REQ_8019")
def test_the_way_a_run_is_driven_does_not_change_its_trace(way: Callable[[World], None]) -> None:
    assert digest(way) == digest(drive_at_once)


@pytest.mark.verifies("REQ_8019")
def test_rate_holds_a_run_back() -> None:
    started_s = time.monotonic()

    digest(drive_at_a_rate)

    assert time.monotonic() - started_s >= 0.5 * END_NS / 1e9


@pytest.mark.verifies("REQ_8019")
def test_a_debugger_stopped_inside_an_item_changes_nothing(tmp_path: Path) -> None:
    """A pdb session stops in ``sense``, looks at a variable, waits in the shell, and goes on."""
    script = tmp_path / "commands"
    lines = Path(BUSY).read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if "readings.send" in line)
    script.write_text(f"b {BUSY}:{number}\nc\np tank.level\n!import time; time.sleep(0.05)\ncl 1\nc\nq\n")

    debugged = run_fresh(
        command=(
            "import pdb, sys\n"
            f"commands = open({str(script)!r})\n"
            "debugger = pdb.Pdb(stdin=commands, stdout=sys.stderr, nosigint=True, readrc=False)\n"
            "debugger.use_rawinput = False\n"
            "from taktora_sim.play import PlayOptions, play\n"
            "from taktora_sim.scenario import load_scenario\n"
            f"scenario = load_scenario({BUSY!r})\n"
            "summary = debugger.runcall(play, scenario, PlayOptions(guard='off'))\n"
            "print('trace sha256:' + summary.sha256)"
        )
    )

    assert "-> readings.send" in debugged.stderr
    assert hash_of(debugged) == hash_of(run_fresh("run", BUSY))
