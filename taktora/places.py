"""Where in the application an exception came from, for messages; it never reads a source file."""

from __future__ import annotations

import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Final

__all__ = ["place_of"]

_OWN: Final = frozenset({"taktora", "taktora_sim", "taktora_hil"})


# req: REQ_8510
def place_of(error: BaseException) -> str:
    """Return ``app.py:69``: the last line of the application on the way to ``error``, "" for one never raised.

    The application is what is neither taktora nor the standard library; without any such line it is the last one.
    """
    frames = list(walk_tb(error.__traceback__))
    own = [frame for frame in frames if _is_application(frame[0])]
    return "".join(f"{Path(frame.f_code.co_filename).name}:{line}" for frame, line in (own or frames)[-1:])


def _is_application(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    is_generated = frame.f_code.co_filename.startswith("<")  # the __init__ of a dataclass, code given to exec
    return not is_generated and package not in _OWN and package not in sys.stdlib_module_names
