"""The fail-fast boundary: what happens when an invariant of the framework is broken; it never resumes (REQ_0123).

First the user's handler, once, guarded and limited in time; then the terminal action, which is ``os.abort`` unless a
world injects its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

__all__ = ["FailFast", "FatalContext", "FatalSite"]

_LOG = logging.getLogger("taktora.executor")


class FatalSite(Enum):
    """Where the failure was caught."""

    POOL_WORKER = "pool_worker"
    INLINE_SUBMIT = "inline_submit"
    EXECUTOR_RUN_LOOP = "executor_run_loop"


@dataclass(frozen=True, slots=True)
class FatalContext:
    """What the fatal handler is told.

    Args:
        cause: The exception in words, type first.
        site: The guard that caught it.
        error: The exception itself.
    """

    cause: str
    site: FatalSite
    error: BaseException


# req: REQ_0123
# req: REQ_0123, REQ_0125
class FailFast:
    """The boundary of one executor; the first failure wins.

    Args:
        handler: Called with a FatalContext right before the end; must not touch the executor.
        terminal: Ends the process; where it returns (a test's recorder), the failure is raised on.
        limit_s: The handler's time limit, enforced by a watchdog thread; None enforces none and starts no thread.
    """

    def __init__(
        self, handler: Callable[[FatalContext], object] | None, terminal: Callable[[], object], limit_s: float | None
    ) -> None:
        self._handler = handler
        self._terminal = terminal
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self.tripped = False

    def trip(self, error: BaseException, site: FatalSite) -> NoReturn:
        """Call the handler, then the terminal action; raises ``error`` only where that returns."""
        with self._lock:
            first, self.tripped = not self.tripped, True
        if first:
            _LOG.critical("broken invariant in %s", site.value, exc_info=error)
            watchdog = self._watch()
            self._tell(FatalContext(f"{type(error).__name__}: {error}", site, error))
            if watchdog is not None:
                watchdog.cancel()
            self._terminal()
        raise error

    # req: REQ_0125
    def _tell(self, context: FatalContext) -> None:
        if self._handler is None:
            return
        try:
            self._handler(context)
        except BaseException:
            _LOG.critical("the fatal handler failed too", exc_info=True)

    def _watch(self) -> threading.Timer | None:
        if self._limit_s is None or self._handler is None:
            return None
        watchdog = threading.Timer(self._limit_s, self._terminal)
        watchdog.daemon = True
        watchdog.start()
        return watchdog


def abort() -> None:
    """End the process with SIGABRT: no atexit, no finally."""
    os.abort()
