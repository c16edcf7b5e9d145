"""Locks that foreign threads wait for in virtual time; what else ``threading`` and ``queue`` offer is built on them.

A lock holds a real one, so it stays a lock for threads that are not under a baton, and after the block. It goes to who
has waited longest, as soon as it is released.
"""

from __future__ import annotations

import _thread
from collections import deque
from typing import Any, Self

from taktora_sim.foreign import ForeignError
from taktora_sim.foreign.baton import Baton
from taktora_sim.foreign.member import Wait, to_ns

__all__ = ["BatonLock", "BatonRLock", "SignalLock", "active", "set_active"]

_active: list[Baton] = []


def active() -> Baton | None:
    """Return the baton of the block under way in this process."""
    return _active[0] if _active else None


def set_active(baton: Baton | None) -> None:
    """Say whose block is under way."""
    _active[:] = [] if baton is None else [baton]


class BatonLock:
    """Stands for ``threading.Lock``."""

    __slots__ = ("__weakref__", "_real", "_waits", "owner")
    is_mutex = True
    """Whether its holder is the one to release it."""

    def __init__(self) -> None:
        self._real = _thread.allocate_lock()
        self._waits: deque[Wait] = deque()
        self.owner = 0
        """Identifier of the thread that has acquired it; 0 for none."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock, as ``threading.Lock`` does, in virtual time."""
        _check(blocking, timeout)
        if self._real.acquire(False):
            self.owner = _thread.get_ident()
            return True
        baton = _active[0] if _active else None
        if baton is None or not baton.is_here() or self._is_held_outside(baton):
            return self._acquire_really(blocking, timeout)
        if not blocking or timeout == 0:
            baton.poll()
            return False
        return self._wait(baton, None if timeout < 0 else baton.world.now_ns() + to_ns(timeout))

    def release(self) -> None:
        """Release the lock; who has waited longest has it then."""
        while self._waits:
            wait = self._waits.popleft()
            baton = active()
            if baton is not None and not wait.is_over:
                self.owner = wait.member.ident
                if not baton.is_here():
                    baton.tell_main(_stranger(baton))
                baton.wake(wait)
                return
        self.owner = 0
        self._real.release()

    def locked(self) -> bool:
        """Return whether it is acquired."""
        return self._real.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_exc: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._real = _thread.allocate_lock()
        self._waits.clear()
        self.owner = 0

    def _is_held_outside(self, baton: Baton) -> bool:
        """Return whether a thread that is not under the baton has it; such a one lets it go in real time."""
        return self.owner not in baton.members and self.owner not in baton.ended

    def _acquire_really(self, blocking: bool, timeout: float) -> bool:
        acquired = self._real.acquire(blocking, timeout)
        if acquired:
            self.owner = _thread.get_ident()
        return acquired

    def _wait(self, baton: Baton, deadline_ns: int | None) -> bool:
        wait = Wait(baton.holder, None, deadline_ns, lock=self)
        self._waits.append(wait)
        try:
            acquired = baton.wait(wait)
        except BaseException:
            if wait.outcome:
                self.release()
            raise
        finally:
            if wait in self._waits:
                self._waits.remove(wait)
        return acquired


class SignalLock(BatonLock):
    """A lock that others release than those who acquire it: how a ``threading.Condition`` wakes who waits."""

    __slots__ = ()
    is_mutex = False


class BatonRLock:
    """Stands for ``threading.RLock``."""

    __slots__ = ("__weakref__", "_block", "_count")

    def __init__(self) -> None:
        self._block = BatonLock()
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock, once more if the calling thread has it."""
        if self._is_owned():
            _check(blocking, timeout)
            self._count += 1
            return True
        acquired = self._block.acquire(blocking, timeout)
        if acquired:
            self._count = 1
        return acquired

    def release(self) -> None:
        """Release the lock once."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._block.release()

    def locked(self) -> bool:
        """Return whether it is acquired."""
        return self._block.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_exc: object) -> None:
        self.release()

    # What threading.Condition asks of an RLock:

    def _is_owned(self) -> bool:
        return self._block.owner == _thread.get_ident() and self._count > 0

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _release_save(self) -> int:
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        count, self._count = self._count, 0
        self._block.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self._block.acquire()
        self._count = count

    def _at_fork_reinit(self) -> None:
        self._block._at_fork_reinit()  # noqa: SLF001 - its own part
        self._count = 0

    def __new__(cls, *_arguments: Any) -> Self:
        return super().__new__(cls)


def _check(blocking: bool, timeout: float) -> None:
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")


def _stranger(baton: Baton) -> ForeignError:
    import threading

    return ForeignError(
        f"thread {threading.current_thread().name!r} was started outside world.foreign_threads() and wakes one inside "
        f"World {baton.world.name!r}: when, is up to the operating system; start it inside that block"
    )
