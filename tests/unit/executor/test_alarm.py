"""Alarms: one absolute instant, on virtual time to the nanosecond and on the wall clock without a thread."""

from __future__ import annotations

import threading
import time

import pytest

from taktora.executor import Alarm, Context, Executor, item_with_triggers
from taktora.runtime import Runtime
from taktora_sim.world import World

MS = 1_000_000


def _ringing(world: World, alarm: Alarm) -> tuple[Executor, list[tuple[int, bool]]]:
    """An executor with one item on the alarm; what it saw: when, and whether the alarm had rung."""
    seen: list[tuple[int, bool]] = []
    executor = world.runtime.executor_builder("app").build()

    def note(_context: Context) -> None:
        seen.append((world.now_ns(), alarm.take()))

    executor.add(item_with_triggers(lambda declarer: declarer.alarm(alarm), note))
    return executor, seen


@pytest.mark.verifies("REQ_0232")
def test_it_rings_once_at_its_instant() -> None:
    alarm = Alarm("line")
    with World() as world:
        executor, seen = _ringing(world, alarm)
        alarm.set(5 * MS)

        executor.run_for(20 * MS)

    assert seen == [(5 * MS, True)]
    assert (alarm.due_ns, alarm.take()) == (None, False)


@pytest.mark.verifies("REQ_0232")
def test_only_the_last_instant_counts_and_a_cancelled_one_is_silent() -> None:
    alarm = Alarm("line")
    with World() as world:
        executor, seen = _ringing(world, alarm)
        for at_ns in (5 * MS, 9 * MS, 7 * MS):
            alarm.set(at_ns)
        executor.run_for(20 * MS)
        alarm.set(25 * MS)
        alarm.cancel()
        executor.run_for(20 * MS)

    assert seen == [(7 * MS, True)]


@pytest.mark.verifies("REQ_0232")
def test_an_item_sets_the_alarm_of_another_and_a_past_instant_rings_now() -> None:
    alarm = Alarm("line")
    with World() as world:
        executor, seen = _ringing(world, alarm)

        def set_alarm(context: Context) -> None:
            alarm.set(context.now_ns() + (2 * MS if context.cycle_index == 0 else -MS))

        executor.add(item_with_triggers(lambda declarer: declarer.interval(10 * MS), set_alarm), "setter")
        executor.run_for(25 * MS)

    assert seen == [(12 * MS, True), (20 * MS, True)]


@pytest.mark.verifies("REQ_0232")
def test_it_rings_on_the_wall_clock_and_needs_no_thread() -> None:
    runtime = Runtime.system("inprocess")
    alarm, rung = Alarm("line"), []
    executor = runtime.executor_builder("app").build()
    threads = threading.active_count()

    def ring(context: Context) -> None:
        rung.append((time.monotonic_ns(), threading.active_count()))
        context.stop_executor()

    executor.add(item_with_triggers(lambda declarer: declarer.alarm(alarm), ring))
    due_ns = time.monotonic_ns() + 20 * MS
    alarm.set(due_ns)
    executor.run()
    executor.close()
    runtime.close()

    assert rung[0][0] >= due_ns
    assert rung[0][1] == threads


@pytest.mark.verifies("REQ_0002")
def test_a_cyclic_task_has_no_alarm_beside_its_interval() -> None:
    with World() as world:
        executor = world.runtime.executor_builder("app").build()
        mixed = item_with_triggers(lambda declarer: declarer.interval(MS).alarm(Alarm("a")), lambda _: None)

        with pytest.raises(ValueError, match="mixes interval of 1000000 ns and alarm 'a'"):
            executor.add(mixed)
