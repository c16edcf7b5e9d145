"""SIGINT and SIGTERM as a stop request, for the composition root; it installs handlers in the main thread only."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from taktora.errors import BuilderError
from taktora.executor.context import Stoppable

__all__ = ["stop_on_signals"]

_FORCED_EXIT_BASE = 128


# req: REQ_0050
# req: REQ_0050
@contextmanager
def stop_on_signals(stoppables: Iterable[Stoppable]) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop all of ``stoppables`` while the block runs; a second SIGINT ends the process.

    The handler only sets flags and wakes the loops, so an item is never torn apart half-way. Handlers that were there
    before come back at the end. The forced exit (status 130) runs no cleanup.

    Raises:
        BuilderError: not called from the main thread, the only one that may own signals.
    """
    if threading.current_thread() is not threading.main_thread():
        thread = threading.current_thread().name
        msg = f"stop_on_signals called in thread {thread!r}; only the main thread may own signals"
        raise BuilderError(msg)
    handles = tuple(stoppables)
    interrupts = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            os._exit(_FORCED_EXIT_BASE + number)
        for handle in handles:
            handle.stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
