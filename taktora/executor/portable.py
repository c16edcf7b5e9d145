"""The reactor that runs anywhere: waits on a lock with a timeout; it knows no file descriptors (in-process only)."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from taktora.clock import Clock, SystemClock
from taktora.errors import ConfigurationError
from taktora.executor.reactor import ExecutionModel, Loop, Wait
from taktora.executor.tuning import timer_slack
from taktora.transport.base import ListenerPort

__all__ = ["PortableReactor"]

_LONGEST_WAIT_S = 0.2 if sys.platform == "win32" else 3600.0  # Windows runs no signal handler during a lock wait
_NS_PER_S = 1_000_000_000


class PortableReactor:
    """Waits on a lock that whoever fires or wakes releases: legal in any thread and in signal handlers.

    Neither ``Condition`` (a handler may notify between its check and its wait) nor ``SimpleQueue.get`` (CPython 3.11
    waits for ever when a signal arrives as its time-out ends) is safe against signals; a bare lock is.

    Args:
        clock: Time line of deadlines.
    """

    model: ExecutionModel | None = None

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._queue: deque[int] = deque()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._listeners: dict[int, ListenerPort] = {}

    def attach(self, key: int, source: ListenerPort | int) -> None:
        if isinstance(source, int):
            msg = f"trigger {key} is file descriptor {source}, which this reactor cannot wait for; use WaitSetReactor"
            raise ConfigurationError(msg)
        self._listeners[key] = source
        source.set_waker(self.waker(key))

    def detach(self, key: int) -> None:
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.set_waker(None)

    def waker(self, key: int) -> Callable[[], None]:
        return partial(self._fire, key)

    def _fire(self, key: int) -> None:
        self._queue.append(key)
        self.wake()

    def wake(self) -> None:
        try:
            self._gate.release()
        except RuntimeError:
            return  # open already: the coming wait ends at once

    def drive(self, loop: Loop) -> None:
        try:
            with timer_slack():
                request = next(loop)
                while isinstance(request, Wait):
                    request = loop.send(self._wait(request.deadline_ns))
        except StopIteration:
            return
        finally:
            loop.close()

    def close(self) -> None:
        for key in list(self._listeners):
            self.detach(key)

    def _wait(self, deadline_ns: int | None) -> list[int]:
        self._gate.acquire(timeout=self._timeout_s(deadline_ns))
        queue = self._queue
        if not queue:
            return []
        fired: set[int] = set()
        while queue:
            fired.add(queue.popleft())
        return sorted(fired)

    def _timeout_s(self, deadline_ns: int | None) -> float:
        if deadline_ns is None:
            return _LONGEST_WAIT_S
        return min(max(0, deadline_ns - self.clock.now_ns()) / _NS_PER_S, _LONGEST_WAIT_S)
