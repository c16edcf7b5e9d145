"""Where in the application an exception came from, for messages; it never reads a source file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Final

__all__ = ["line_of", "place_of"]

_OWN: Final = frozenset({"taktora", "taktora_sim", "taktora_hil"})


# req: REQ_8510
def place_of(error: BaseException) -> str:
    """Return ``app.py:69``: the last line of the application on the way to ``error``, "" for one never raised.

    The application is what is neither taktora nor the standard library; without any such line it is the last one.
    """
    found = line_of(error) or _last_line(walk_tb(error.__traceback__))
    return "" if found is None else f"{Path(found[0]).name}:{found[1]}"


def line_of(error: BaseException) -> tuple[str, int] | None:
    """Return file and number of the application's last line on the way to ``error``, None without such a line."""
    return _last_line(step for step in walk_tb(error.__traceback__) if _is_application(step[0]))


def _last_line(steps: Iterable[tuple[FrameType, int]]) -> tuple[str, int] | None:
    last = [(frame.f_code.co_filename, number) for frame, number in steps][-1:]
    return last[0] if last else None


def _is_application(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    is_generated = frame.f_code.co_filename.startswith("<")  # the __init__ of a dataclass, code given to exec
    return not is_generated and package not in _OWN and package not in sys.stdlib_module_names
