"""One absolute timer on CLOCK_MONOTONIC as a Linux file descriptor; it never rounds.

Setting a timer is the dearest call of a cycle. Hence deadlines that lie on a grid are left to the timer's own interval,
which the kernel counts from the first of them, so that nothing drifts: the next one then costs a read. Whatever else is
found than the one expiry that was due makes it be set again.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

__all__ = ["AbsoluteTimer"]

_TFD_NONBLOCK = os.O_NONBLOCK if sys.platform == "linux" else 0
_TFD_CLOEXEC = os.O_CLOEXEC if sys.platform == "linux" else 0
_TFD_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000
_ONE_EXPIRY = (1).to_bytes(8, sys.byteorder)


class _TimerSpec(ctypes.Structure):
    """struct itimerspec of a 64-bit Linux: interval, then value, in s and ns each."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class AbsoluteTimer:
    """Readable from an instant on, until set anew.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _TimerSpec()
        self._spec_pointer = ctypes.byref(self._spec)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.fd < 0:
            raise _last_error("timerfd_create")

    _set_ns: int | None = None
    _step_ns = 0
    _interval_ns = 0

    def set(self, deadline_ns: int | None) -> None:
        """Become readable at ``deadline_ns`` (time.monotonic_ns), at once if it has passed; None: never."""
        last_ns = self._set_ns
        if deadline_ns == last_ns:
            return
        self._set_ns = deadline_ns
        step_ns = 0 if deadline_ns is None or last_ns is None else deadline_ns - last_ns
        if step_ns and step_ns == self._interval_ns and self._goes_on():
            return
        # A step forward, twice in a row: it looks like a grid.
        self._interval_ns = step_ns if step_ns > 0 and step_ns == self._step_ns else 0
        self._step_ns = step_ns
        # All zero disarms; an instant before the epoch of the clock is as good as 1 ns after it.
        self._arm(0 if deadline_ns is None else max(1, deadline_ns), self._interval_ns)

    def _goes_on(self) -> bool:
        """Take the expiry of the last deadline; return whether that was all, so that the kernel has the next one."""
        try:
            return os.read(self.fd, 8) == _ONE_EXPIRY
        except BlockingIOError:
            return False  # the clock has reached the last deadline and the timer has not

    def _arm(self, due_ns: int, interval_ns: int) -> None:
        spec = self._spec
        spec.value_s, spec.value_ns = divmod(due_ns, _NS_PER_S)
        spec.interval_s, spec.interval_ns = divmod(interval_ns, _NS_PER_S)
        if self._settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None) != 0:
            raise _last_error("timerfd_settime")

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


if sys.version_info >= (3, 13):

    class _StandardTimer(AbsoluteTimer):
        """The same on the standard library's calls."""

        def __init__(self) -> None:
            self.fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def _arm(self, due_ns: int, interval_ns: int) -> None:
            os.timerfd_settime_ns(self.fd, flags=os.TFD_TIMER_ABSTIME, initial=due_ns, interval=interval_ns)


def make_timer() -> AbsoluteTimer:
    """Return a timer, on ``os.timerfd_create`` where Python has it (3.13)."""
    if sys.version_info >= (3, 13):
        return _StandardTimer()
    return AbsoluteTimer()


def _last_error(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")
