"""What the baton knows of a thread and of its wait."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taktora_sim.foreign.locks import BatonLock

__all__ = ["Ended", "Instant", "Member", "Nudge", "Started", "Wait", "closed_lock", "to_ns"]


class Ended(BaseException):
    """Ends a foreign thread where it waits; not an error."""


class Nudge(BaseException):
    """Ends the stepping of the World for a moment, because the main thread has something to do."""


class Wait:
    """One wait of one thread.

    Args:
        member: Who waits.
        ready: Asked whether the wait is over; None where somebody calls :meth:`Baton.wake`.
        deadline_ns: When it is over in any case; None is never.
        lock: The lock waited for.
        may_fail: Give up, in place of an error, once nothing is left to do.
    """

    __slots__ = ("deadline_ns", "error", "is_over", "lock", "may_fail", "member", "outcome", "ready", "serial")

    def __init__(
        self,
        member: Member,
        ready: Callable[[], bool] | None = None,
        deadline_ns: int | None = None,
        *,
        lock: BatonLock | None = None,
        may_fail: bool = False,
    ) -> None:
        self.member = member
        self.ready = ready
        self.deadline_ns = deadline_ns
        self.lock = lock
        self.may_fail = may_fail
        self.serial = 0
        self.is_over = False
        self.outcome = False
        self.error: BaseException | None = None


class Member:
    """One thread under the baton."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.name = thread.name
        self.started_at = ""
        """Line of the program that started it."""
        self.ident = 0
        self.gate = closed_lock()
        self.arrived = closed_lock()
        self.left = closed_lock()
        self.wait: Wait | None = None
        self.error: BaseException | None = None
        self.polls = 0
        self.refusals = 0
        self.is_ending = False
        self.is_done = False
        self.is_revoked = False


def closed_lock() -> _thread.LockType:
    """Return a real lock that is acquired."""
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


class Instant:
    """An instant in ns: what is left of a timeout, as a difference of floats, would be off by a nanosecond at times."""

    __slots__ = ("_ns",)

    def __init__(self, ns: int) -> None:
        self._ns = ns

    def __add__(self, seconds: float) -> Instant:
        return Instant(self._ns + to_ns(seconds))

    def __sub__(self, other: Instant) -> float:
        return (self._ns - other._ns) / 1e9


class Started:
    """What a thread tells its starter by, in the few real instructions before it comes to the baton."""

    def __init__(self) -> None:
        self._lock = closed_lock()
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether the thread has told."""
        return self._is_set

    def set(self) -> None:
        """Tell, once."""
        if not self._is_set:
            self._is_set = True
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it in real time."""
        if self._lock.acquire(timeout=-1 if timeout is None else timeout):
            self._lock.release()
        return self._is_set

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]  # what threading.Event does in a forked process


def to_ns(seconds: float) -> int:
    """Return a timeout in ns; what is above 0 stays so, or a loop that waits for the rest would never end."""
    return max(1, round(seconds * 1e9)) if seconds > 0 else 0
