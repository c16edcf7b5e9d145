"""Guards of the baton against the real world: a thread that is stuck for real, and signals that come in the midst."""

from __future__ import annotations

import _thread
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

from taktora_sim.foreign import ForeignStuck
from taktora_sim.foreign.baton import Baton
from taktora_sim.foreign.member import Ended, Member, Nudge
from taktora_sim.foreign.places import frame_of, place_of, report_of
from taktora_sim.pace import Pace

__all__ = ["DeferredSignals", "StuckWatch"]

_LOOKS: Final = 8
_GRACE_LOOKS: Final = 10
_GRACE_LOOK_S: Final = 0.1
_DEBUGGERS: Final = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle", "ipdb", "pudb"})
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGALRM")


# req: REQ_8203
class StuckWatch:
    """Watches, by real time, that whoever holds the baton gets on; a context manager.

    Virtual time stands still while the holder waits for something real: a lock from before the block, a socket, a
    loop without an end. One that neither waits nor ends nor looks at the clock for ``patience_s`` loses the baton, and
    the main thread raises :class:`ForeignStuck`. A debugger that stands in the holder's way is no reason.

    Args:
        baton: What is watched.
        patience_s: Real time in s; None watches nothing.
    """

    def __init__(self, baton: Baton, patience_s: float | None) -> None:
        self._baton = baton
        self._patience_s = patience_s
        self._stop = _thread.allocate_lock()
        self._done = _thread.allocate_lock()

    def __enter__(self) -> Self:
        if self._patience_s is not None:
            self._stop.acquire()
            self._done.acquire()
            # Not a threading.Thread: a foreign program that counts its threads does not see it.
            _thread.start_new_thread(self._watch, (self._patience_s / _LOOKS,))
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._patience_s is not None:
            self._stop.release()
            self._done.acquire()

    def _watch(self, look_s: float) -> None:
        try:
            # Nothing here makes objects that the garbage collector counts: when it runs is up to the program alone.
            switches = progress = looks = 0
            while not self._stop.acquire(timeout=look_s):
                baton = self._baton
                if switches != baton.switches or progress != baton.progress or _is_held_up(baton.holder):
                    switches, progress, looks = baton.switches, baton.progress, 0
                    continue
                looks += 1
                if looks >= _LOOKS:
                    self._release(self._baton.holder)
                    return
        finally:
            self._done.release()

    def _release(self, stuck: Member) -> None:
        others = [member for member in self._baton.members.values() if member is not stuck]
        text = (
            f"thread {stuck.name!r} holds up all others: for {self._patience_s:g} s of real time it has neither waited "
            f"nor ended nor looked at the clock, at {place_of(stuck.ident)}; it waits for something real (a lock from "
            "before the block that another thread holds, a socket) or loops for ever; make what it waits for inside "
            f"the block, or give foreign_threads(patience_s=...) more\n{report_of([stuck, *others])}"
        )
        takes_one = _takes_exceptions(stuck.ident)  # asked while it is sure to be alive
        if stuck is not self._baton.main:
            self._baton.revoke(ForeignStuck(text))
            if takes_one:
                _raise_in(stuck.ident, Ended)
            return
        if takes_one:
            _raise_in(stuck.ident, type("ForeignStuck", (ForeignStuck,), {"text": text}))
        before = _position(stuck.ident)
        for _ in range(_GRACE_LOOKS):
            if self._stop.acquire(timeout=_GRACE_LOOK_S):
                self._stop.release()
                return
            if _position(stuck.ident) != before:
                return
        self._baton.tell_main(ForeignStuck(text))
        self._baton.end_beside_main()


def _position(ident: int) -> tuple[int, int]:
    frame = frame_of(ident)
    return (0, 0) if frame is None else (id(frame), frame.f_lasti)


def _is_held_up(member: Member) -> bool:
    """Return whether a thread stands in a debugger, or holds the run back to its rate."""
    frame = frame_of(member.ident)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in _DEBUGGERS or frame.f_code is Pace.wait_for.__code__:
            return True
        frame = frame.f_back
    return False


def _takes_exceptions(ident: int) -> bool:
    """Return whether an exception may be raised in a living thread.

    Python 3.11 loops for ever in a traced thread while such an exception waits for another one, inside C code.
    """
    return sys.version_info >= (3, 12) or threading.gettrace() is None or _is_running(ident)


def _is_running(ident: int) -> bool:
    """Return whether a thread uses the processor, as far as the system tells."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return True
    clock = clock_of(ident)
    before = time.clock_gettime_ns(clock)
    looks = _thread.allocate_lock()
    looks.acquire()
    for _ in range(_GRACE_LOOKS):
        looks.acquire(timeout=_GRACE_LOOK_S)
        if time.clock_gettime_ns(clock) > before:
            return True
    return False


def _raise_in(ident: int, error: type[BaseException]) -> None:
    """Raise ``error`` in a thread before its next bytecode instruction; not while it is inside C code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


class DeferredSignals:
    """Has handlers of signals called where the main thread waits, or at once while it runs foreign code.

    A handler that raises (Ctrl-C) would else do so in the midst of passing the baton, with another thread running. A
    second signal of a kind, while the first is still waiting, ends the thread that keeps the main thread waiting.
    """

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._pending: list[int] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                number = getattr(signal, name, None)
                handler = None if number is None else signal.getsignal(number)
                if number is not None and callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._handle)
        self._baton.has_signals = lambda: bool(self._pending)
        self._baton.run_signals = self._run
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        self._run()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._baton.is_critical:
            self._before[number](number, frame)
            return
        if number not in self._pending:
            self._pending.append(number)
        elif self._baton.holder is not self._baton.main and _takes_exceptions(self._baton.holder.ident):
            _raise_in(self._baton.holder.ident, Ended)
        if self._baton.world.is_stepping:
            self._baton.world.fail(Nudge())

    def _run(self) -> None:
        while self._pending:
            number = self._pending.pop(0)
            self._before[number](number, None)
