"""The World: virtual time, total order of events, stepping and pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.testing import check_clock
from taktora_sim.world import EPOCH_UNIX_NS, NORMAL, URGENT, World


@pytest.mark.verifies("REQ_8000")
def test_time_is_integer_and_moves_only_with_events() -> None:
    with World() as world:
        seen: list[int] = []
        world.call_at(1_500, lambda: seen.append(world.now_ns()))

        world.run_for(10_000)

        assert seen == [1_500]
        assert world.now_ns() == 10_000
        assert type(world.now_ns()) is int


@pytest.mark.verifies("REQ_8000")
def test_civil_time_is_the_epoch_plus_virtual_time() -> None:
    with World() as world, World(epoch_unix_ns=5) as other:
        world.run_for(7)

        assert world.unix_ns() == EPOCH_UNIX_NS + 7
        assert other.unix_ns() == 5


@pytest.mark.verifies("REQ_8000")
def test_the_world_keeps_the_contract_of_a_clock() -> None:
    check_clock(World, lambda world, duration_ns: world.run_for(duration_ns), exact=True)  # type: ignore[attr-defined]


@pytest.mark.verifies("REQ_8001")
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([URGENT, NORMAL])), max_size=30))
def test_events_run_by_time_then_priority_then_order_of_the_call(calls: list[tuple[int, Any]]) -> None:
    with World() as world:
        seen: list[int] = []
        for index, (time_ns, priority) in enumerate(calls):
            world.call_at(time_ns, lambda index=index: seen.append(index), priority)  # type: ignore[misc]

        world.run_for(5)

        assert seen == [index for index, _ in sorted(enumerate(calls), key=lambda call: call[1])]


@pytest.mark.verifies("REQ_8000")
def test_the_past_is_refused() -> None:
    with World() as world:
        world.run_for(10)

        with pytest.raises(ValueError, match=r"call_at\(9\): virtual time is already 10 ns"):
            world.call_at(9, lambda: None)


@pytest.mark.parametrize(
    "call",
    [
        lambda world: world.run_for(1e9),
        lambda world: world.run_until(lambda: False, 1e9),
        lambda world: world.call_at(1e9, lambda: None),
        lambda world: world.call_after(1e9, lambda: None),
        lambda world: world.env.timeout(1.5),
        lambda world: world.run_for(-1),
    ],
    ids=["run_for", "run_until", "call_at", "call_after", "timeout", "backwards"],
)
@pytest.mark.verifies("REQ_8000")
def test_time_that_is_no_integer_or_runs_backwards_is_refused(call: Callable[[World], object]) -> None:
    world = World()

    with pytest.raises(ValueError, match=r"integers|backwards"):
        call(world)

    assert (world.now_ns(), world.step()) == (0, False)


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        pytest.param("1s", "int: 1_000_000_000", id="text"),
        pytest.param("soon", "int, for example 1_000_000_000 for one second", id="no-duration"),
        pytest.param(timedelta(milliseconds=1.5), "int: 1_500_000", id="timedelta"),
        pytest.param(2e6, "int: 2_000_000", id="whole-float"),
        pytest.param(0.5, "int, for example 1_000_000_000 for one second", id="float"),
        pytest.param(None, "int, for example 1_000_000_000 for one second", id="nothing"),
    ],
)
@pytest.mark.verifies("REQ_8510")
def test_a_time_that_is_no_integer_is_answered_with_the_one_to_write(value: object, way_out: str) -> None:
    world = World()

    with pytest.raises(ValueError, match=r"^run_for\(.*\): virtual time is counted in integers; ") as ran:
        world.run_for(value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^call_at\(.*\): virtual time is counted in integers; ") as called:
        world.call_at(value, lambda: None)  # type: ignore[arg-type]

    assert [str(caught.value).partition("; give nanoseconds as an ")[2] for caught in (ran, called)] == [way_out] * 2


@pytest.mark.verifies("REQ_8000")
def test_a_cancelled_call_does_nothing() -> None:
    with World() as world:
        seen: list[int] = []
        timer = world.call_after(5, lambda: seen.append(1))

        timer.cancel()
        world.run_for(10)

        assert seen == []


@pytest.mark.verifies("REQ_8019")
def test_step_runs_one_event_and_says_when_nothing_is_left() -> None:
    with World() as world:
        seen: list[int] = []
        world.call_at(3, lambda: seen.append(3))
        world.call_at(4, lambda: seen.append(4))

        outcome = [world.step(), world.step(), world.step()]

        assert outcome == [True, True, False]
        assert seen == [3, 4]


@pytest.mark.verifies("REQ_8019")
def test_run_until_stops_at_the_predicate_or_at_the_timeout() -> None:
    with World() as world:
        ticks: list[int] = []

        def tick() -> None:
            ticks.append(world.now_ns())
            world.call_after(10, tick)

        world.call_soon(tick)

        assert world.run_until(lambda: len(ticks) == 3)
        assert world.now_ns() == 20
        assert not world.run_until(lambda: False, timeout_ns=100)
        assert world.now_ns() == 120


@pytest.mark.verifies("REQ_8019")
def test_a_rate_holds_the_run_back_and_leaves_the_trace_alone() -> None:
    def run(rate: float | None) -> tuple[float, str]:
        with World(seed=3) as world:
            record = world.trace.channel("tick", "tick")
            for index in range(5):
                world.call_at(index * 10_000_000, record)
            world.rate = rate
            started = time.monotonic()
            world.run_for(50_000_000)
            return time.monotonic() - started, world.trace.sha256()

    paced_s, paced = run(1.0)
    _, free = run(None)

    assert paced_s >= 0.05
    assert paced == free


@pytest.mark.verifies("REQ_8019")
def test_a_rate_that_is_not_positive_is_refused() -> None:
    with World() as world:
        world.rate = 0

        with pytest.raises(ValueError, match="rate 0 is not above 0"):
            world.run_for(1)


@pytest.mark.verifies("REQ_8019")
def test_stepping_from_inside_an_event_is_refused() -> None:
    with World() as world:
        world.call_soon(lambda: world.run_for(1))

        with pytest.raises(RuntimeError, match="already stepping"):
            world.run_for(1)


@pytest.mark.verifies("REQ_8002")
def test_a_failure_ends_the_stepping_call() -> None:
    with World() as world:
        world.call_soon(lambda: world.fail(KeyError("lost")))
        world.call_after(1, lambda: None)

        with pytest.raises(KeyError, match="lost"):
            world.run_for(10)

        assert world.now_ns() == 0


@pytest.mark.verifies("REQ_8000")
def test_simpy_processes_are_plants() -> None:
    with World() as world:
        seen: list[int] = []

        def plant() -> Generator[Any, Any, None]:
            for _ in range(3):
                yield world.env.timeout(7)
                seen.append(world.now_ns())

        world.process(plant())
        world.run_for(100)

        assert seen == [7, 14, 21]


@pytest.mark.verifies("REQ_8000")
def test_close_runs_the_closers_backwards_and_once() -> None:
    world = World()
    seen: list[int] = []
    world.on_close(lambda: seen.append(1))
    world.on_close(lambda: seen.append(2))

    world.close()
    world.close()

    assert seen == [2, 1]


@pytest.mark.verifies("REQ_8000")
def test_a_closer_that_fails_keeps_nothing_else_open() -> None:
    closed: list[str] = []

    def broken() -> None:
        raise OSError("cannot close")

    world = World()
    world.on_close(lambda: closed.append("first opened"))
    world.on_close(broken)
    world.on_close(lambda: closed.append("last opened"))

    with pytest.raises(OSError, match="cannot close"):
        world.close()

    assert closed == ["last opened", "first opened"]


@pytest.mark.verifies("REQ_8006")
def test_a_failure_between_two_stepping_calls_ends_the_next_one_even_with_nothing_due() -> None:
    world = World()
    world.run_for(10)

    world.fail(ValueError("swallowed"))

    with pytest.raises(ValueError, match="swallowed"):
        world.run_for(10)
    world.run_for(10)  # once
    world.fail(ValueError("again"))
    with pytest.raises(ValueError, match="again"):
        world.step()


@pytest.mark.verifies("REQ_8001")
def test_posted_calls_timers_and_simpy_events_share_one_order() -> None:
    with World() as world:
        seen: list[str] = []

        def process() -> Any:
            yield world.env.timeout(5)
            seen.append("process")

        world.post_at(5, lambda: seen.append("posted"))
        world.process(process())
        world.call_at(5, lambda: seen.append("timer"))
        world.call_at(1, lambda: world.post(lambda: seen.append("at once")))

        world.run_for(5)

        assert seen == ["at once", "posted", "timer", "process"]
        with pytest.raises(ValueError, match="virtual time is already 5 ns"):
            world.post_at(4, lambda: None)


@pytest.mark.verifies("REQ_8001")
def test_a_simpy_process_that_fails_unwatched_ends_the_stepping_call() -> None:
    with World() as world:

        def fail() -> Any:
            yield world.env.timeout(5)
            raise KeyError("plant")

        world.process(fail())

        with pytest.raises(KeyError, match="plant") as caught:
            world.run_for(10)

        assert isinstance(caught.value.__cause__, KeyError)
        assert world.now_ns() == 5


@pytest.mark.verifies("REQ_8001")
def test_simpy_itself_can_step_the_environment_of_a_world() -> None:
    with World() as world:
        seen: list[int] = []
        world.call_at(3, lambda: seen.append(world.now_ns()))

        world.env.run(until=7)

        assert seen == [3]
        assert world.now_ns() == 7
