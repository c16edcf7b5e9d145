"""The current World, and the one wait of foreign programs without threads."""

from __future__ import annotations

import threading

import pytest

from taktora_sim.foreign import POLLS, ForeignDeadlock, ForeignError, ForeignStuck
from taktora_sim.world import World

MS = 1_000_000


@pytest.mark.verifies("REQ_8203")
def test_the_innermost_world_is_current() -> None:
    assert World.current() is None
    with World(name="outer") as outer, World(name="inner") as inner, outer.as_current() as entered:
        assert World.current() is outer is entered
        with inner.as_current():
            assert World.current() is inner
        assert World.current() is outer
    assert World.current() is None


@pytest.mark.verifies("REQ_8203")
def test_a_closed_world_cannot_become_current() -> None:
    world = World(name="gone")
    world.close()

    with pytest.raises(ForeignError, match="'gone' is closed"), world.as_current():
        pass

    assert World.current() is None


@pytest.mark.verifies("REQ_8203")
def test_an_item_cannot_make_a_world_current() -> None:
    with World() as world:
        world.call_soon(lambda: world.as_current().__enter__())

        with pytest.raises(ForeignError, match="is stepping"):
            world.run_for(MS)


@pytest.mark.verifies("REQ_8203")
def test_blocks_that_end_out_of_order_are_refused() -> None:
    with World(name="first") as first, World(name="second") as second:
        early, late = first.as_current(), second.as_current()
        early.__enter__()
        late.__enter__()

        with pytest.raises(ForeignError, match="'first' stops being current before"):
            early.__exit__(None, None, None)

        late.__exit__(None, None, None)
    assert World.current() is None


@pytest.mark.verifies("REQ_8203")
def test_another_thread_cannot_make_its_world_current_meanwhile() -> None:
    errors: list[BaseException] = []

    def intrude() -> None:
        try:
            with World(name="late") as late, late.as_current():
                pass
        except ForeignError as error:
            errors.append(error)

    with World(name="early") as early, early.as_current():
        thread = threading.Thread(target=intrude, name="intruder")
        thread.start()
        thread.join()

    assert "'early' was made current by another thread" in str(errors[0])
    assert "'intruder'" in str(errors[0])


@pytest.mark.verifies("REQ_8203")
def test_a_wait_steps_the_world_until_it_is_over() -> None:
    arrived: list[int] = []
    with World() as world:
        world.call_at(7 * MS, lambda: arrived.append(1))

        assert world.foreign.block(lambda: bool(arrived), None)
        assert world.now_ns() == 7 * MS


@pytest.mark.verifies("REQ_8203")
def test_a_wait_ends_at_its_timeout() -> None:
    with World() as world:
        assert not world.foreign.block(lambda: False, 3 * MS)
        assert world.now_ns() == 3 * MS


@pytest.mark.verifies("REQ_8203")
def test_a_wait_that_is_over_before_it_begins_takes_no_time_even_in_an_item() -> None:
    answers: list[bool] = []
    with World() as world:
        world.call_at(MS, lambda: answers.append(world.foreign.block(lambda: True, None)))
        world.call_at(MS, lambda: answers.append(world.foreign.block(lambda: False, 0)))
        world.run_for(MS)

    assert answers == [True, False]


@pytest.mark.verifies("REQ_8203")
def test_a_wait_inside_an_item_is_refused() -> None:
    with World() as world:
        world.call_soon(lambda: world.foreign.block(lambda: False, MS))

        with pytest.raises(ForeignError, match="waits inside an item"):
            world.run_for(MS)


@pytest.mark.verifies("REQ_8203")
def test_a_wait_for_ever_where_nothing_is_left_to_do_is_told() -> None:
    with World(name="empty") as world, pytest.raises(ForeignDeadlock, match=r"World 'empty'.*give the wait a timeout"):
        world.foreign.block(lambda: False, None)


def _tick_for_ever(world: World) -> None:
    world.call_after(MS, lambda: _tick_for_ever(world))


@pytest.mark.verifies("REQ_8203")
def test_a_wait_for_ever_where_something_always_happens_ends_with_the_patience() -> None:
    with World(name="busy") as world:
        _tick_for_ever(world)
        world.foreign.patience_s = 0.01

        with pytest.raises(ForeignStuck, match=r"for a miracle since 0 ns.*'busy'.*0\.01 s.*; pray, give the wait"):
            world.foreign.block(lambda: False, None, "a miracle", "pray")

        assert not world.is_stepping


@pytest.mark.verifies("REQ_8203")
@pytest.mark.parametrize(("patience_s", "timeout_ns"), [(None, None), (0.0, 10_000 * MS)])
def test_a_wait_has_all_the_time_that_it_is_given(patience_s: float | None, timeout_ns: int | None) -> None:
    with World() as world:
        _tick_for_ever(world)
        world.foreign.patience_s = patience_s

        assert world.foreign.block(lambda: world.now_ns() >= 5_000 * MS, timeout_ns)
        assert world.now_ns() == 5_000 * MS


@pytest.mark.verifies("REQ_8203")
def test_a_loop_that_only_looks_is_given_time() -> None:
    looks = 0
    with World() as world:
        while world.now_ns() < 10 * MS:
            world.foreign.block(lambda: False, 0)
            looks += 1

    assert looks == POLLS + 100


@pytest.mark.verifies("REQ_8203")
def test_a_second_thread_without_a_baton_is_refused() -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            world.foreign.block(lambda: False, MS)
        except ForeignError as error:
            errors.append(error)

    with World(name="alone") as world, world.as_current():
        thread = threading.Thread(target=wait, name="reader")
        thread.start()
        thread.join()

    assert "thread 'reader' waits in World 'alone'" in str(errors[0])
    assert "world.foreign_threads()" in str(errors[0])
