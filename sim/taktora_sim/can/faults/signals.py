"""Signals in CAN frames as faults change them: bits by place or by name of a DBC; it knows no bus and draws nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from taktora.can.interface import CanFrame
from taktora_sim.can.faults.choice import Identifier
from taktora_sim.faults import Param
from taktora_sim.streams import Stream

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["SIGNAL_PARAMETERS", "BitRange", "CanDatabases", "NamedSignal", "disturbance"]

_BITS_PATTERN = re.compile(r"(\d{1,3})\|(\d{1,2})@([01])")
_EXPECTED_BITS = "start|length@order as in a DBC: start 0 to 511, length 1 to 64, order 1 (Intel) or 0 (Motorola)"


class BitRange(NamedTuple):
    """Where a signal's bits are, numbered as in a DBC: bit p is bit ``p % 8`` (0 is the lowest) of byte ``p // 8``.

    Args:
        start: The least significant bit; of a Motorola signal the most significant one.
        length: Number of bits.
        is_motorola: The most significant byte comes first.
    """

    start: int
    length: int
    is_motorola: bool = False

    @classmethod
    def parse(cls, text: str) -> BitRange:
        """Return the range that ``text`` names, for example ``8|4@1``.

        Raises:
            ValueError: it names none; the message says what is expected.
        """
        match = _BITS_PATTERN.fullmatch(text.strip())
        if match is None:
            raise ValueError(_EXPECTED_BITS)
        start, length, order = (int(part) for part in match.groups())
        if start > 511 or not 1 <= length <= 64:
            raise ValueError(_EXPECTED_BITS)
        return cls(start, length, order == 0)

    def change(self, data: bytes, new_raw: Callable[[int], int]) -> bytes:
        """Return ``data`` with ``new_raw`` of the raw value in its place, cut to length; unchanged if too short."""
        shift = self._shift(len(data))
        if shift < 0 or shift + self.length > 8 * len(data):
            return data
        mask = (1 << self.length) - 1
        number = int.from_bytes(data, "big" if self.is_motorola else "little")
        raw = number >> shift & mask
        number ^= (raw ^ new_raw(raw) & mask) << shift
        return number.to_bytes(len(data), "big" if self.is_motorola else "little")

    def _shift(self, count: int) -> int:
        """Return how far the least significant bit is from the right end of ``count`` bytes read as one number."""
        if not self.is_motorola:
            return self.start
        from_left = self.start // 8 * 8 + 7 - self.start % 8
        return 8 * count - from_left - self.length


class NamedSignal(NamedTuple):
    """A signal of a DBC: the identifier of its message, and its bits."""

    identifier: Identifier
    bits: BitRange


class CanDatabases:
    """The DBC files known for the buses of one World; ``world.part(CanDatabases)`` is that World's own."""

    def __init__(self, _world: World) -> None:
        self._signals: dict[str, dict[str, NamedSignal]] = {}

    def add(self, bus: str, places: Mapping[str, tuple[int, bool, int, int, bool]]) -> None:
        """Let faults on the bus ``bus`` name signals.

        Args:
            bus: Name of the bus.
            places: By ``Message.Signal``, as ``Dbc.places`` gives them: identifier, is it extended, start bit, length,
                is it Motorola.
        """
        known = self._signals.setdefault(bus, {})
        for name, (can_id, is_extended, start, length, is_motorola) in places.items():
            known[name] = NamedSignal((can_id, is_extended), BitRange(start, length, is_motorola))

    def signal(self, bus: str, name: str) -> NamedSignal:
        """Return the signal ``name`` (``Message.Signal``) of a DBC of ``bus``.

        Raises:
            ValueError: there is none; the message says what is expected.
        """
        known = self._signals.get(bus, {})
        found = known.get(name)
        if found is None:
            close = get_close_matches(name, known, n=3)
            near = f" such as {', '.join(close)}" if close else ""
            expected = f"Message.Signal of a DBC of bus {bus!r}{near}" if known else f"no name: bus {bus!r} has no DBC"
            raise ValueError(f"{expected}; or give bits")
        return found


SIGNAL_PARAMETERS: dict[str, Param] = {
    "bits": Param(str, default="0|8@1", check=BitRange.parse),
    "mode": Param(str, default="freeze", choices=("freeze", "offset", "random", "value")),
    "value": Param(int, default=1, low=-(2**63), high=2**64 - 1, drawn=(1, 255)),
}
"""Parameters that say which bits change and how; ``value`` is raw, what is added or what is sent."""


def disturbance(bits: BitRange, mode: str, value: int, draws: Stream) -> Callable[[CanFrame], CanFrame]:
    """Return what changes the signal ``bits`` of one frame after the other; a frozen one is kept by identifier."""
    frozen: dict[Identifier, int] = {}

    def alter(frame: CanFrame) -> CanFrame:
        def new_raw(raw: int) -> int:
            if mode == "freeze":
                return frozen.setdefault((frame.can_id, frame.extended), raw)
            if mode == "offset":
                return raw + value
            return value if mode == "value" else draws.getrandbits(bits.length)

        return frame._replace(data=bits.change(frame.data, new_raw))

    return alter
