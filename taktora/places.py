"""Where in the application something was declared, set or went wrong, for messages; it never reads a source file."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Any, Final

from taktora.errors import ConfigurationError

__all__ = ["declared_at", "here", "line_of", "place_of", "setting_place"]

_OWN: Final = frozenset({"taktora", "taktora_sim", "taktora_hil"})


# req: REQ_8510
def place_of(error: BaseException) -> str:
    """Return ``app.py:69``: the last line of the application on the way to ``error``, "" for one never raised.

    The application is what is neither taktora nor the standard library; without any such line it is the last one.
    """
    found = line_of(error) or _last_line(walk_tb(error.__traceback__))
    return "" if found is None else f"{Path(found[0]).name}:{found[1]}"


# req: REQ_8510
def here() -> str:
    """Return ``app.py:12``: the line of the application that led to this call, "" without one."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - no public way as cheap
    while frame is not None and not _is_application(frame):
        frame = frame.f_back
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


# req: REQ_8510
@contextmanager
def declared_at(place: str) -> Iterator[None]:
    """Have a :class:`ConfigurationError` of what is done inside begin with ``place``, where that is known."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}" if place else str(error)) from error


# req: REQ_8510
def setting_place(functions: Iterable[Callable[..., Any]], attribute: str) -> str:
    """Return ``control (app.py:31)``: who of ``functions`` sets ``attribute``, or makes a record with it; "" if nobody.

    It looks at the compiled functions themselves, not at what they call.
    """
    found = []
    for function in functions:
        code = getattr(function, "__code__", None)
        if code is not None:
            file = Path(code.co_filename).name
            found += [f"{function.__name__} ({file}:{line})" for line in _setting_lines(code, attribute)]
    return ", ".join(found)


def _setting_lines(code: CodeType, attribute: str) -> list[int]:
    """Return where ``attribute`` is stored, or among the names of a call's keyword arguments."""
    lines: set[int] = set()
    for step in dis.get_instructions(code):
        is_stored = step.opname == "STORE_ATTR" and step.argval == attribute
        if step.opname.startswith(("KW_NAMES", "LOAD_CONST")) and step.arg is not None:  # 3.11 leaves it open
            names = code.co_consts[step.arg]
            is_stored = isinstance(names, tuple) and attribute in names
        if is_stored and step.positions is not None and step.positions.lineno:
            lines.add(step.positions.lineno)
    return sorted(lines)


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
