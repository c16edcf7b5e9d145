"""Which frames a fault of a simulated CAN bus hits: identifiers, every n-th, a share, the first n; applies nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from taktora.can.interface import CanFrame
from taktora_sim.faults import Param, Parameters
from taktora_sim.streams import Stream

__all__ = ["CHOICE", "Choice", "Identifier", "parse_id", "parse_ids"]

Identifier = tuple[int, bool]
"""Value of an identifier, and whether it has 29 bits."""
_ID_PATTERN = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})([xX]?)")


def parse_id(text: str) -> Identifier:
    """Return the identifier that ``text`` names: hexadecimal, of 29 bits with an ``x`` behind.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    match = _ID_PATTERN.fullmatch(text.strip())
    if match is not None:
        value, is_extended = int(match[1], 16), bool(match[2])
        if value <= (0x1FFF_FFFF if is_extended else 0x7FF):
            return value, is_extended
    expected = "an identifier in hexadecimal, 0 to 7FF or with an x behind 0x to 1FFFFFFFx"
    raise ValueError(expected)


def parse_ids(text: str) -> frozenset[Identifier] | None:
    """Return the identifiers that ``text`` lists with commas between; None (all) of an empty text.

    Raises:
        ValueError: a part is no identifier; the message says what is expected.
    """
    if not text.strip():
        return None
    try:
        return frozenset(parse_id(part) for part in text.split(","))
    except ValueError as error:
        expected = f"{error}; several with commas between, for example '123,18FEF100x'"
        raise ValueError(expected) from error


CHOICE: Mapping[str, Param] = {
    "ids": Param(str, default="", check=parse_ids),
    "every": Param(int, default=1, low=1, high=1_000_000, drawn=(1, 4)),
    "percent": Param(int, default=100, low=0, high=100, drawn=(10, 100)),
    "times": Param(int, default=0, low=0, high=1_000_000, drawn=(0, 20)),
    "salt": Param(int, default=0, low=0, high=2**32 - 1),
}
"""Parameters of every fault that picks frames."""


class Choice:
    """What one active fault picks of the frames that pass.

    Args:
        parameters: Those of the fault, among them :data:`CHOICE`.
        path: Names the stream that ``percent`` draws from, together with ``salt``: the World's seed has no part in it.
        ids: Identifiers to use where the parameters name none; None is all.
    """

    def __init__(self, parameters: Parameters, path: str, ids: frozenset[Identifier] | None = None) -> None:
        self.draws = Stream(int(parameters["salt"]), path)
        """For ``percent``, and for what the fault itself draws."""
        self._ids = parse_ids(str(parameters["ids"])) or ids
        self._every = int(parameters["every"])
        self._percent = int(parameters["percent"])
        self._times = int(parameters["times"])
        self.matched = 0
        """Frames that were meant, as far as their identifier goes."""
        self.hit = 0
        """Frames that the fault has happened to."""

    @property
    def is_used_up(self) -> bool:
        """Whether it picks no further frame."""
        return 0 < self._times <= self.hit

    def misses(self, seen: int, place: str) -> str:
        """Return in words why none of ``seen`` frames was hit; ``place``: what a frame must have besides, or empty."""
        if not seen:
            return "it sent none meanwhile"
        if self.matched:
            return f"every {self._every} and percent {self._percent} picked none of {self.matched} frames"
        ids = self._ids or ()
        listed = ", ".join(sorted(f"{can_id:X}{'x' if extended else ''}" for can_id, extended in ids))
        wanted = [place, f"an identifier of {listed}" if listed else ""]
        return f"none of its {seen} frames has {' and '.join(filter(None, wanted))}"

    def hits(self, frame: CanFrame) -> bool:
        """Count ``frame`` if it is meant, and return whether the fault happens to it."""
        if self._ids is not None and (frame.can_id, frame.extended) not in self._ids:
            return False
        self.matched += 1
        if self.matched % self._every or (self._times and self.hit >= self._times):
            return False
        if self._percent < 100 and self.draws.integer(0, 99) >= self._percent:
            return False
        self.hit += 1
        return True
