"""An item that loops for ever is ended and named; one that merely works for long is not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from time import process_time

import pytest

from taktora.app import App, Context
from taktora_sim.hangwatch import ItemNeverEnds
from taktora_sim.world import World

MS = 1_000_000
POSIX = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")


def run(work: Callable[[], object], limit_s: float | None = 0.2) -> World:
    app = App("press")

    @app.cyclic(every_ms=1)
    def stamp(_: Context) -> None:
        work()

    with World(1) as world, app.bind(world.runtime) as bound:
        world.item_limit_s = limit_s
        bound.start()
        world.run_for(5 * MS)
    return world


def loop_for_ever() -> None:
    while True:
        try:
            sum(range(1_000))
        except Exception:
            pass


def compute(seconds: float) -> None:
    end_s = process_time() + seconds
    while process_time() < end_s:
        sum(range(1_000))


@POSIX
@pytest.mark.verifies("REQ_8150")
def test_an_item_that_loops_for_ever_is_ended_and_named() -> None:
    with pytest.raises(ItemNeverEnds, match=r"item press/stamp has used 0.2 s .*\(test_hangwatch.py:\d+, in loop_for"):
        run(loop_for_ever)

    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


@POSIX
@pytest.mark.verifies("REQ_8150")
def test_items_that_work_for_long_one_after_the_other_are_left_alone() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        compute(0.3)

    run(work, limit_s=2.0)

    assert len(calls) == 5


@pytest.mark.verifies("REQ_8150", "REQ_8019")
def test_without_a_limit_and_in_another_thread_nothing_is_watched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    worlds = [run(lambda: compute(0.01), limit_s=None)]
    thread = threading.Thread(target=lambda: worlds.append(run(lambda: compute(0.01))))
    thread.start()
    thread.join(60)

    assert len(worlds) == 2
    assert worlds[0].trace.sha256() == worlds[1].trace.sha256()
    assert signal.getsignal(signal.SIGTERM) is before
