"""Scenarios with a planted escape each; what escapes goes to the trace of the component ``planted``, or of an App."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from taktora import App, Context
from taktora_sim.world import World


def _every_millisecond(world: World, draw: Callable[[], bytes]) -> None:
    record = world.trace.channel("planted", "value")

    def tick() -> None:
        record(draw())
        world.call_after(1_000_000, tick)

    world.call_soon(tick)
    world.run_for(10_000_000)


def wall_clock(world: World) -> None:
    """Read the wall clock."""
    _every_millisecond(world, lambda: str(time.time()).encode())


def identifier(world: World) -> None:
    """Draw an identifier."""
    _every_millisecond(world, lambda: uuid.uuid4().bytes)


def set_order(world: World) -> None:
    """Walk a set of texts."""
    names = {f"sensor {number}" for number in range(20)}
    _every_millisecond(world, lambda: " ".join(name for name in names).encode())


def signal_of_set_order() -> App:
    """Walk a set of texts, and show what comes first by a signal alone."""
    app = App("planted")
    first = app.signal("first")
    names = {f"sensor {number}" for number in range(20)}

    @app.cyclic(every_ms=1)
    def show(ctx: Context) -> None:
        first.set(int(next(iter(names)).split()[1]))

    return app


def signal_of_hash() -> App:
    """Show the hash of a text by a signal alone."""
    app = App("planted")
    bucket = app.signal("bucket")
    app.cyclic(every_ms=1)(lambda _ctx: bucket.set(hash("sensor") % 1_000_003))
    return app


def event_of_set_order() -> App:
    """Walk a set of texts, and show what comes first by an event alone."""
    app = App("planted")
    names = {f"sensor {number}" for number in range(20)}
    app.cyclic(every_ms=1)(lambda ctx: ctx.event(f"{next(iter(names))} is first"))
    return app


def thread(world: World) -> None:
    """Let a thread race with the run."""
    count = [0]
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            count[0] += 1

    worker = threading.Thread(target=spin)
    worker.start()
    try:
        _every_millisecond(world, lambda: _after_a_while(count))
    finally:
        stop.set()
        worker.join()


def beside_threads(world: World) -> None:
    """Read the clock in an item while a foreign program runs, which may read it."""
    world.call_at(1_000_000, lambda: time.time())
    with world.foreign_threads():
        worker = threading.Thread(target=lambda: time.sleep(time.time() - time.time() + 0.005))
        worker.start()
        worker.join()


def _after_a_while(count: list[int]) -> bytes:
    stop_at = time.monotonic() + 0.002
    while time.monotonic() < stop_at:
        pass
    return count[0].to_bytes(8, "little")
