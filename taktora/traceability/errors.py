"""What can be wrong with a catalogue, a marker, a result file or a setting; never an error of the running application.

ValueError
  TraceError            base of this package
    CatalogueError      one or more problems in requirement files, each with file, line and id
    UnknownId           an id that the catalogue does not have, with the nearest known ones
    ConfigError         a setting, threshold or file on the command line that cannot be used
    ResultError         a result file that cannot be read
    LimitBroken         a measured value outside its limits (an AssertionError too: it fails the test)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CatalogueError", "ConfigError", "LimitBroken", "Problem", "ResultError", "TraceError", "UnknownId"]


class TraceError(ValueError):
    """Base of everything that this package refuses."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a catalogue, at a place that an editor can jump to."""

    file: str
    line: int
    id: str
    message: str

    def __str__(self) -> str:
        """Return `file:line: id: message`, the form that editors and CI logs link."""
        named = f"{self.id}: " if self.id else ""
        return f"{self.file}:{self.line}: {named}{self.message}"


class CatalogueError(TraceError):
    """The catalogue cannot be trusted; `problems` lists every reason, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the requirement catalogue:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class UnknownId(TraceError):
    """An id that is in no catalogue; `near` holds the most similar known ids, best first."""

    def __init__(self, unknown: str, near: Sequence[str], place: str = "") -> None:
        self.unknown = unknown
        self.near = tuple(near)
        self.place = place
        super().__init__(f"{place}: {self._sentence()}" if place else self._sentence())

    def _sentence(self) -> str:
        hint = f"did you mean {', '.join(self.near)}?" if self.near else "and no known id is similar"
        joint = "; " if self.near else ", "
        return f"unknown id {self.unknown}{joint}{hint}"


class ConfigError(TraceError):
    """A setting or an argument that cannot be used; the message says which, why and what to write instead."""


class ResultError(TraceError):
    """A result file that is not one, or one of a format this version does not read."""


class LimitBroken(TraceError, AssertionError):
    """A measured value lies outside its limits, so the test that measured it fails."""
