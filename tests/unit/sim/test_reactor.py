"""The executor on virtual time: the same runs as in real time, to the nanosecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taktora.codec import JsonCodec
from taktora.connector import ConnectorHost
from taktora.errors import ConfigurationError, RunnerJoinError
from taktora.executor import Context, Executor, ItemFlow, TriggerDeclarer, item, item_with_triggers
from taktora.testing import EchoConnector
from taktora_sim.world import World, WorldAborted

MS = 1_000_000


def _every(period_ns: int) -> Callable[[TriggerDeclarer], object]:
    return lambda declarer: declarer.interval(period_ns)


def _note(world: World, seen: list[tuple[str, int]], name: str) -> Callable[[Context], ItemFlow | None]:
    def note(_context: Context) -> None:
        seen.append((name, world.now_ns()))

    return note


def _executor(world: World, name: str = "app") -> Executor:
    return world.runtime.executor_builder(name).build()


@pytest.mark.verifies("REQ_8010")
def test_run_for_steps_the_world_and_hits_the_grid_exactly() -> None:
    with World() as world:
        seen: list[tuple[str, int]] = []
        executor = _executor(world)
        executor.add(item_with_triggers(_every(10 * MS), _note(world, seen, "a")), "a")

        executor.run_for(35 * MS)

        assert [at_ns for _, at_ns in seen] == [10 * MS, 20 * MS, 30 * MS]
        assert world.now_ns() == 35 * MS


@pytest.mark.verifies("REQ_8010")
def test_run_n_and_run_until_end_where_real_runs_do() -> None:
    with World() as world:
        seen: list[tuple[str, int]] = []
        executor = _executor(world)
        executor.add(item_with_triggers(_every(MS), _note(world, seen, "a")), "a")

        executor.run_n(3)
        executor.run_until(lambda: len(seen) == 5)

        assert len(seen) == 5
        assert world.now_ns() == 5 * MS


@pytest.mark.verifies("REQ_8010")
def test_stop_from_an_item_ends_the_run() -> None:
    with World() as world:
        executor = _executor(world)
        executor.add(item_with_triggers(_every(MS), lambda context: context.stop_executor()), "once")

        executor.run()

        assert world.now_ns() == MS


@pytest.mark.verifies("REQ_8010")
def test_stop_wakes_an_idle_executor_in_the_same_instant() -> None:
    with World() as world:
        executor = _executor(world)
        executor.add(item_with_triggers(_every(60_000 * MS), lambda _context: None), "rare")
        handle = world.runtime.start(executor)
        world.call_at(50 * MS, handle.stop)

        world.run_for(50 * MS)
        handle.join(0.0)

        assert world.now_ns() == 50 * MS


@pytest.mark.verifies("REQ_8010")
def test_several_executors_share_one_world_in_a_fixed_order() -> None:
    def run() -> tuple[list[tuple[str, int]], str]:
        with World(seed=5) as world:
            seen: list[tuple[str, int]] = []
            for name in ("first", "second"):
                executor = _executor(world, name)
                executor.add(item_with_triggers(_every(MS), _note(world, seen, name)), "tick")
                world.runtime.start(executor)
            world.run_for(3 * MS)
            return seen, world.trace.sha256()

    seen, trace = run()

    assert seen == [(name, at * MS) for at in (1, 2, 3) for name in ("first", "second")]
    assert run() == (seen, trace)


@pytest.mark.verifies("REQ_8010")
def test_run_from_inside_an_item_is_refused() -> None:
    with World() as world:
        inner, outer = _executor(world, "inner"), _executor(world, "outer")
        inner.add(item_with_triggers(_every(MS), lambda _context: None), "tick")
        errors: list[str] = []

        def nest(context: Context) -> None:
            try:
                inner.run_n(1)
            except RuntimeError as error:
                errors.append(str(error))
            context.stop_executor()

        outer.add(item_with_triggers(_every(MS), nest), "nest")
        outer.run()

        assert len(errors) == 1
        assert "already stepping" in errors[0]


@pytest.mark.verifies("REQ_8010")
def test_a_file_descriptor_is_no_trigger_of_virtual_time() -> None:
    with World() as world:
        executor = _executor(world)
        executor.add(item_with_triggers(lambda declarer: declarer.raw_fd(0), lambda _context: None), "fd")

        with pytest.raises(ConfigurationError, match="file descriptor 0, and virtual time cannot wait"):
            executor.run_for(MS)


@pytest.mark.verifies("REQ_8010")
def test_an_error_that_ends_an_executor_ends_the_run_of_the_world() -> None:
    with World() as world:
        executor = world.runtime.executor_builder("app").on_item_error("stop").build()

        def fail(_context: Context) -> None:
            msg = "out of paper"
            raise OSError(msg)

        executor.add(item_with_triggers(_every(MS), fail), "printer")
        world.runtime.start(executor)

        with pytest.raises(Exception, match="out of paper"):
            world.run_for(10 * MS)

        assert world.now_ns() == MS


@pytest.mark.verifies("REQ_8010")
def test_join_of_an_executor_that_goes_on_has_an_end() -> None:
    with World() as world:
        executor = _executor(world)
        executor.add(item_with_triggers(_every(MS), lambda _context: None), "tick")
        handle = world.runtime.start(executor)

        with pytest.raises(RunnerJoinError, match=r"executor 'app' still runs 0\.01 virtual s"):
            handle.join(0.01)


@pytest.mark.verifies("REQ_8010")
def test_a_world_that_runs_dry_says_who_waits() -> None:
    with World() as world:
        executor = _executor(world)
        listener = world.transport.listener("never.evt")
        executor.add(item_with_triggers(lambda declarer: declarer.raw_listener(listener), lambda _context: None), "w")

        with pytest.raises(RuntimeError, match="executor 'app' waits for something that never comes"):
            executor.run()


@pytest.mark.verifies("REQ_8011")
def test_modelled_time_overruns_the_period_and_skips_slots() -> None:
    with World() as world:
        starts: list[tuple[str, int]] = []
        executor = _executor(world)
        executor.add(item_with_triggers(_every(10 * MS), _note(world, starts, "slow")), "slow")
        world.executions.set("slow", 25 * MS)

        executor.run_for(100 * MS)

        assert [at_ns // MS for _, at_ns in starts] == [10, 35, 60, 85]
        snapshot = executor.stats_snapshot()[0]
        assert snapshot.max_ns == 25 * MS
        assert snapshot.max_lateness_ns == 20 * MS


@pytest.mark.verifies("REQ_8011")
def test_modelled_time_breaks_a_budget() -> None:
    with World() as world:
        world.recorder.tolerates_item_errors = True
        executor = _executor(world)
        item = item_with_triggers(lambda declarer: declarer.interval(10 * MS).budget(MS), lambda _context: None)
        executor.add(item, "heavy")
        world.executions.set("app/heavy", 2 * MS)

        executor.run_for(50 * MS)

        assert executor.overrun_count("heavy") == 1


@pytest.mark.verifies("REQ_8011", "REQ_8003")
def test_a_distribution_draws_from_the_stream_of_its_item() -> None:
    def run(seed: int, others: int) -> list[int]:
        with World(seed) as world:
            starts: list[tuple[str, int]] = []
            executor = _executor(world)
            for index in range(others):
                executor.add(item_with_triggers(_every(100 * MS), lambda _context: None), f"other{index}")
                world.executions.set(f"other{index}", lambda stream: stream.integer(1, 9))
            executor.add(item_with_triggers(_every(10 * MS), _note(world, starts, "slow")), "slow")
            world.executions.set("slow", lambda stream: stream.integer(5 * MS, 25 * MS))
            executor.run_for(90 * MS)
            return [at_ns for _, at_ns in starts]

    assert run(1, 0) == run(1, 2)
    assert run(1, 0) != run(2, 0)


@pytest.mark.verifies("REQ_8011")
def test_a_negative_duration_is_refused() -> None:
    with World() as world, pytest.raises(ValueError, match="execution time of 'x' is -1 ns"):
        world.executions.set("x", -1)


@pytest.mark.parametrize("drawn", [1.5e6, -1])
@pytest.mark.verifies("REQ_8011")
def test_a_drawn_duration_that_is_no_time_names_the_item(drawn: Any) -> None:
    world = World()
    world.executions.set("guesses", lambda _stream: drawn)
    executor = _executor(world)
    executor.add(item_with_triggers(_every(MS), lambda _context: None), "guesses")

    with pytest.raises(WorldAborted) as aborted:
        executor.run_n(1)

    assert "execution time of 'guesses' was drawn as" in str(aborted.value.__context__)


@pytest.mark.verifies("REQ_8012")
def test_ready_order_is_that_of_registration_unless_a_seeded_one_is_asked_for() -> None:
    def run(seed: int, *, seeded: bool) -> tuple[str, str]:
        with World(seed) as world:
            world.executions.seeded_order = seeded
            seen: list[tuple[str, int]] = []
            executor = _executor(world)
            for name in "abcdef":
                executor.add(item_with_triggers(_every(MS), _note(world, seen, name)), name)
            executor.run_n(1)
            return "".join(name for name, _ in seen), world.trace.component_hashes().get("executor/app", "")

    plain, _ = run(1, seeded=False)
    first, traced = run(1, seeded=True)

    assert plain == "abcdef"
    assert run(1, seeded=True) == (first, traced)
    assert {run(seed, seeded=True)[0] for seed in range(5)} != {"abcdef"}
    assert traced


@pytest.mark.verifies("REQ_8014")
def test_health_of_a_connector_that_is_wired_by_hand_is_on_record() -> None:
    with World() as world:
        host = ConnectorHost.builder(world.runtime).build()
        host.register(EchoConnector(world.runtime, JsonCodec()))
        host.run_for(0.01)
        host.close()

        assert [(change.state, change.reason) for change in world.recorder.health][:2] == [
            ("Connecting", ""),
            ("Up", ""),
        ]


@pytest.mark.verifies("REQ_8010")
def test_executors_of_one_name_are_waited_for_each_by_its_own_reactor() -> None:
    world, seen = World(), list[tuple[str, int]]()
    first, second = _executor(world, "twin"), _executor(world, "twin")
    first.add(item_with_triggers(_every(MS), _note(world, seen, "first")))
    second.add(item_with_triggers(_every(MS), _note(world, seen, "second")))

    world.runtime.start(first)
    world.runtime.start(second)
    world.run_for(MS)

    assert seen == [("first", MS), ("second", MS)]


@pytest.mark.verifies("REQ_8010")
def test_the_error_of_another_component_ends_the_run_which_can_begin_again() -> None:
    world, seen = World(), list[tuple[str, int]]()
    executor = _executor(world)
    executor.add(item_with_triggers(_every(2 * MS), _note(world, seen, "item")), "slow")
    world.executions.set("slow", MS)

    def broken() -> None:
        raise OSError("a model is broken")

    world.call_at(5 * MS // 2, broken)  # while the item takes its time
    with pytest.raises(OSError, match="a model is broken"):
        executor.run_for(10 * MS)
    is_running = executor.is_running
    executor.run_n(1)

    assert not is_running
    assert seen == [("item", 2 * MS), ("item", 9 * MS // 2)]
    assert world.now_ns() == 11 * MS // 2


@pytest.mark.verifies("REQ_8010")
def test_a_run_refused_inside_an_item_does_not_begin_all_the_same() -> None:
    world, seen = World(), list[tuple[str, int]]()
    other, outer = _executor(world, "other"), _executor(world, "outer")
    other.add(item_with_triggers(_every(MS), _note(world, seen, "other")))

    def nest(_context: Context) -> None:
        with pytest.raises(RuntimeError, match="already stepping"):
            other.run_n(1)

    outer.add(item_with_triggers(_every(MS), nest))
    outer.run_n(1)
    world.run_for(5 * MS)

    assert seen == []
    assert not other.is_running


@pytest.mark.verifies("REQ_8010")
def test_a_closed_executor_has_ended_for_whoever_joins_it() -> None:
    world = World()
    executor = _executor(world)
    executor.add(item_with_triggers(_every(MS), lambda _context: None))
    handle = world.runtime.start(executor)
    world.run_for(MS)

    executor.close()
    handle.join()

    assert world.now_ns() == MS


def _hash_of_a_run(durations_ns: dict[str, int]) -> str:
    """Return the trace hash of three tasks whose starts coincide; one of them fails, one stops its chain."""

    def fail(_context: Context) -> None:
        raise ValueError

    with World() as world:
        world.recorder.tolerates_item_errors = True
        for name, duration_ns in durations_ns.items():
            world.executions.set(name, duration_ns)
        executor = _executor(world)
        executor.add(item_with_triggers(_every(2 * MS), lambda _: ItemFlow.STOP_CHAIN), "slow")
        executor.add(item_with_triggers(_every(MS), lambda _: None), "fast")
        executor.add(item_with_triggers(_every(MS), fail), "failing")
        executor.run_for(10 * MS)
        return world.trace.sha256()


@pytest.mark.verifies("REQ_8011")
def test_items_that_take_no_time_leave_the_trace_that_nobody_modelled() -> None:
    unmodelled = _hash_of_a_run({})

    instantaneous = _hash_of_a_run({"fast": 0})
    lasting = _hash_of_a_run({"fast": 1})

    assert instantaneous == unmodelled
    assert lasting != unmodelled


@pytest.mark.verifies("REQ_8011")
def test_an_execution_time_of_a_task_that_is_not_there_is_told_with_the_nearest_name() -> None:
    with World() as world:
        executor = _executor(world)
        executor.add(item_with_triggers(_every(MS), lambda _: None), "control")
        executor.add_chain([item_with_triggers(_every(MS), lambda _: None), item(lambda _: None)], "chain")
        for name in ("control", "app/control", "chain/1", "app/chain", "contrl"):
            world.executions.set(name, 1)

        world.runtime.start(executor)
        world.run_for(2 * MS)

    (event,) = world.recorder.events
    assert event.severity == "warning"
    assert event.text.startswith(
        "an execution time is set for 'contrl', and no task is called that; did you mean 'cont"
    )
