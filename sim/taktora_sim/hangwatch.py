"""Ends a run in which an item does not return, and names the item; it watches by processor time and starts no thread.

Virtual time stands still while an item loops for ever, so nothing inside the World could ever notice. A timer of the
operating system looks every few seconds which call of an item is under way; one that is found again and again is ended
by an exception out of the midst of it. The timer counts processor time: a breakpoint inside an item, a slow disk and a
busy machine change nothing. Nothing of it reaches the trace.

Simplified: it needs ``signal.setitimer`` and the main thread; elsewhere (Windows, a World stepped by another thread)
nothing is watched. An item that sleeps for ever uses no processor time and is not found.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final

from taktora.executor.conduct import Conduct
from taktora_sim.reactor import SimReactor
from taktora_sim.world import WorldAborted

__all__ = ["HangWatch", "ItemNeverEnds"]

_LOOKS: Final = 4
_OTHERS: Final = frozenset({"taktora", "taktora_sim", *sys.stdlib_module_names})
_CONDUCT: Final = Conduct.invoke.__code__.co_filename
_ADVANCE: Final = SimReactor._advance.__code__  # noqa: SLF001 - the frame that knows the executor's name


class ItemNeverEnds(WorldAborted):
    """An item ran longer than any item should; no ``except Exception`` of its own stops it."""


# req: REQ_8150
class HangWatch:
    """Watches the items of one World while it is stepped; a context manager.

    Args:
        limit_s: Processor time in s that one call of one item may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: FrameType | None = None
        self._looks = 0
        self._before: object = None
        self._is_on = False

    def __enter__(self) -> None:
        if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
            self._is_on = True
            self._before = signal.signal(signal.SIGVTALRM, self._look)
            interval_s = self._limit_s / _LOOKS
            signal.setitimer(signal.ITIMER_VIRTUAL, interval_s, interval_s)

    def __exit__(self, *_exc: object) -> None:
        if self._is_on:
            self._is_on = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, self._before or signal.SIG_DFL)  # type: ignore[arg-type]
            self._seen = None

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        call = _item_call(frame)
        if call is None or call is not self._seen:
            self._seen, self._looks = call, 0
            return
        self._looks += 1
        if self._looks >= _LOOKS:
            self._looks = 0
            raise ItemNeverEnds(_in_words(call, frame, self._limit_s))


def _in_words(call: FrameType, frame: FrameType | None, limit_s: float) -> str:
    unit = call.f_back.f_locals["unit"] if call.f_back is not None else None
    loop: FrameType | None = call
    while loop is not None and loop.f_code is not _ADVANCE:
        loop = loop.f_back
    executor = "" if loop is None else f"{loop.f_locals['self'].name}/"
    return (
        f"item {executor}{getattr(unit, 'item_id', '?')} has used {limit_s:g} s of processor time in one call and "
        f"does not return{_place(frame, call)}; correct the loop, or raise World.item_limit_s"
    )


def _place(frame: FrameType | None, call: FrameType) -> str:
    """Return the innermost line of the item that is neither taktora's nor the standard library's."""
    while frame is not None and frame is not call.f_back:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _OTHERS:
            return f" ({Path(frame.f_code.co_filename).name}:{frame.f_lineno}, in {frame.f_code.co_name})"
        frame = frame.f_back
    return ""


def _item_call(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the item's ``execute``: the innermost one that the executor's conduct has called."""
    while frame is not None:
        caller = frame.f_back
        if caller is not None and caller.f_code.co_filename == _CONDUCT and "unit" in caller.f_code.co_varnames:
            return frame
        frame = caller
    return None
