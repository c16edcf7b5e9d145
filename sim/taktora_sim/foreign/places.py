"""Where threads are: their stacks in words, without the frames of the baton itself."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taktora_sim.foreign.member import Member

__all__ = ["caller", "frame_of", "place_of", "report_of", "stack_of"]

_OWN: Final = str(Path(__file__).parent)
_HIDDEN: Final = (_OWN, threading.__file__)
_OWN_PACKAGES: Final = frozenset({"taktora", "taktora_sim", "taktora_hil"})
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_DEPTH: Final = 12


def frame_of(ident: int) -> FrameType | None:
    """Return the innermost frame of a thread; None for one that has ended."""
    return sys._current_frames().get(ident)  # noqa: SLF001 - the only way to another thread's frame


def stack_of(ident: int) -> str:
    """Return the innermost lines of a thread, the most recent call last."""
    frame = frame_of(ident)
    lines = [] if frame is None else traceback.StackSummary.extract(traceback.walk_stack(frame))
    shown = [line for line in lines if not line.filename.startswith(_HIDDEN)][:_DEPTH]
    return "".join(f"    {line.filename}:{line.lineno}: {line.line} (in {line.name})\n" for line in reversed(shown))


def place_of(ident: int) -> str:
    """Return file, line and function of a thread's innermost line that is not the baton's."""
    return _place(_first(frame_of(ident), _is_shown))


def caller() -> str:
    """Return the same for the user's line that led to this call: no line of taktora, nor of what was installed.

    Where there is none, it is the innermost line that is not the baton's.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - no public way as cheap
    return _place(_first(frame, _is_users) or _first(frame, _is_shown))


def _first(frame: FrameType | None, fits: Callable[[FrameType], bool]) -> FrameType | None:
    while frame is not None and not fits(frame):
        frame = frame.f_back
    return frame


def _is_shown(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith(_HIDDEN)


def _is_users(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package in _OWN_PACKAGES or package in sys.stdlib_module_names:
        return False
    return _INSTALLED.isdisjoint(Path(frame.f_code.co_filename).parts)


def _place(frame: FrameType | None) -> str:
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"


def report_of(members: Iterable[Member]) -> str:
    """Return for each thread what it waits for and its stack."""
    return "\n".join(f"  thread {member.name!r}{_reason(member)}:\n{stack_of(member.ident)}" for member in members)


def _reason(member: Member) -> str:
    wait = member.wait
    if wait is None or wait.lock is None or not wait.lock.is_mutex:
        return " waits"
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return f" waits for a lock that thread {names.get(wait.lock.owner, '?')!r} holds"
