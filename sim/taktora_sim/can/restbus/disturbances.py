"""What can be wrong with one signal of a rest-bus: another, a frozen, a random or a shifted value; it sends nothing.

Disturbances work on raw bit patterns after the generators, so counters and checksums are disturbed like any other
signal. What is disturbed need not lie in the declared range of the signal, only in its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from taktora_sim.streams import Stream

if TYPE_CHECKING:
    from taktora.codec.dbc import DbcSignal

__all__ = ["Change", "Disturbance", "Freeze", "Offset", "RandomValue", "WrongValue"]

Change: TypeAlias = Callable[[int, int | None], int]
"""Gives the bit pattern to send instead of the one that is due (first); the one sent before (second) may be None."""


class Disturbance(Protocol):
    """One way in which a signal can be wrong."""

    def bind(self, signal: DbcSignal) -> Change:
        """Return what it does to the bit patterns of ``signal``.

        Raises:
            ValueError: it cannot be done with the bits of this signal.
        """
        ...


# req: REQ_8204, REQ_8208
@dataclass(frozen=True, slots=True)
class WrongValue:
    """``value`` (physical) instead, which may lie outside the declared range."""

    value: float

    def bind(self, signal: DbcSignal) -> Change:
        raw = _unbounded(signal).physical_to_raw(self.value)
        return lambda _due, _before: raw


# req: REQ_8204, REQ_8208
@dataclass(frozen=True, slots=True)
class Freeze:
    """The value sent last, for as long as it lasts; that of the first sending if there was none."""

    def bind(self, _signal: DbcSignal) -> Change:
        frozen: int | None = None

        def change(due: int, before: int | None) -> int:
            nonlocal frozen
            if frozen is None:
                frozen = due if before is None else before
            return frozen

        return change


# req: REQ_8204, REQ_8208
@dataclass(frozen=True, slots=True)
class RandomValue:
    """Any bit pattern, drawn from ``salt`` alone: a saved plan repeats itself under any seed."""

    salt: int = 0

    def bind(self, signal: DbcSignal) -> Change:
        draw, bits = Stream(self.salt, f"can/random/{signal.name}").getrandbits, signal.bits
        return lambda _due, _before: draw(bits)


# req: REQ_8204, REQ_8208
@dataclass(frozen=True, slots=True)
class Offset:
    """``by`` (physical) more than is due; whole raw steps wrap at the ends of the signal's bits, as a counter does."""

    by: float

    def bind(self, signal: DbcSignal) -> Change:
        if signal.is_float:
            unbounded, by = _unbounded(signal), self.by
            return lambda due, _before: unbounded.physical_to_raw(signal.raw_to_physical(due) + by)
        steps = round(self.by / signal.factor)
        limit = 1 << signal.bits
        if steps % limit == 0:
            raise ValueError(
                f"an offset of {self.by} changes nothing: one step is {signal.factor} {signal.unit}".rstrip()
                + f" and {signal.bits} bits wrap after {limit} steps"
            )
        return lambda due, _before: (due + steps) % limit


def _unbounded(signal: DbcSignal) -> DbcSignal:
    return signal._replace(minimum=None, maximum=None)
