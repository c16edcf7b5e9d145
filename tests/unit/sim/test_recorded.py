"""What a run leaves in its trace: each run of a task when it ends, the fault plan, and the milestones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from taktora.executor import item_with_triggers
from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan
from taktora_sim.trace import TraceRecord, read_trace
from taktora_sim.world import World

MS = 1_000_000


def _of(file: Path, path: str, kind: str) -> list[TraceRecord]:
    return [record for record in read_trace(file) if (record.path, record.kind) == (path, kind)]


@pytest.mark.verifies("REQ_8004", "REQ_8010")
@pytest.mark.parametrize("took_ms", [0, 3])
def test_each_run_of_a_task_is_recorded_at_its_end(took_ms: int, tmp_path: Path) -> None:
    with World(trace_file=tmp_path / "trace") as world:
        world.executions.set("t", took_ms * MS)
        executor = world.runtime.executor_builder("app").build()
        executor.add(item_with_triggers(lambda d: d.interval(10 * MS), lambda _context: None), "t")
        executor.run_n(3)

    records = _of(tmp_path / "trace", "executor/app/t", "run")

    assert [record.t_ns for record in records] == [(at_ms + took_ms) * MS for at_ms in (10, 20, 30)]
    assert len({bytes(record.payload) for record in records}) == 1


@pytest.mark.verifies("REQ_8004")
def test_a_run_that_fails_or_takes_longer_differs_in_the_trace(tmp_path: Path) -> None:
    took_ms = iter((0, 5, 0))
    fails = iter((False, False, True))

    def body(_context: object) -> None:
        if next(fails):
            raise ValueError

    with World(trace_file=tmp_path / "trace") as world:
        world.recorder.tolerates_item_errors = True
        world.executions.set("t", lambda _stream: next(took_ms) * MS)
        executor = world.runtime.executor_builder("app").build()
        executor.add(item_with_triggers(lambda d: d.interval(10 * MS), body), "t")
        executor.run_n(3)

    payloads = [bytes(record.payload) for record in _of(tmp_path / "trace", "executor/app/t", "run")]

    assert len(set(payloads)) == len(payloads) == 3
    assert struct.pack("<q", 5 * MS).rstrip(b"\0") in payloads[1]


@pytest.mark.verifies("REQ_8004", "REQ_8007")
def test_the_fault_plan_and_the_milestones_are_in_the_trace(tmp_path: Path) -> None:
    plan = FaultPlan((FaultEntry(target="bus", kind="silence", at_ns=5 * MS),))
    with World(trace_file=tmp_path / "trace", plan=plan) as world:
        world.faults.target("bus", kinds={"silence": FaultKind(lambda _parameters: None, describe="silent")})
        world.call_at(MS, lambda: world.milestone("begun"))
        world.run_for(10 * MS)

    (told,) = _of(tmp_path / "trace", "world", "plan")
    (reached,) = _of(tmp_path / "trace", "world", "milestone")

    assert bytes(told.payload) == plan.to_json().encode()
    assert (reached.t_ns, bytes(reached.payload)) == (MS, b"begun")
    assert [record.t_ns for record in _of(tmp_path / "trace", "bus", "fault")] == [5 * MS]
