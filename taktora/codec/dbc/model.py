"""What a DBC file says: messages, their signals and the classes made for them; it reads no file."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from taktora.errors import ConfigurationError

__all__ = [
    "CLASSICAL_MAX_BYTES",
    "EXACT_END",
    "FD_STEPS_BYTES",
    "FLOATS",
    "Dbc",
    "DbcMessage",
    "DbcSignal",
    "SignalPlace",
]

CLASSICAL_MAX_BYTES: Final = 8
FD_STEPS_BYTES: Final = (8, 12, 16, 20, 24, 32, 48, 64)
"""From 8 bytes on a frame of CAN FD has one of these lengths; a message between two is padded to the next."""
EXACT_END: Final = 1 << 53
"""Whole numbers below it are exact as floats."""
_SURE_END: Final = 1 << 50
"""Below it a quotient of floats is nearer to its step than to the next one, whatever the factor."""
FLOATS: Final = {16: ("<e", "<H"), 32: ("<f", "<I"), 64: ("<d", "<Q")}


class DbcSignal(NamedTuple):
    """One signal: where its bits are and how raw becomes physical (``raw * factor + offset``).

    ``shift`` counts from the least significant bit of the payload read as one number, little-endian for Intel
    signals and big-endian for Motorola ones. ``minimum`` and ``maximum`` are physical, None where the DBC has none.
    ``present_at`` says for which raw values of ``multiplexer`` (a signal's name) the signal is in the frame at all.
    """

    name: str
    field: str
    shift: int
    bits: int
    is_motorola: bool
    is_signed: bool
    is_float: bool
    factor: float
    offset: float
    minimum: float | None
    maximum: float | None
    unit: str
    choices: Mapping[int, str]
    multiplexer: str | None
    present_at: frozenset[int]
    start_raw: float | None = None
    """GenSigStartValue, raw and unchecked; None where the DBC has none."""

    @property
    def is_integer(self) -> bool:
        """Whether every physical value is a whole number."""
        return not self.is_float and isinstance(self.factor, int) and isinstance(self.offset, int)

    def raw_to_physical(self, raw: int) -> float:
        """Return the physical value of the unsigned bit pattern ``raw``."""
        if self.is_float:
            float_code, int_code = FLOATS[self.bits]
            number: float = struct.unpack(float_code, struct.pack(int_code, raw))[0]
            if self.factor == 1 and self.offset == 0:
                return number  # a sum with 0 would lose the sign of -0.0
            return number * self.factor + self.offset
        if self.is_signed and raw >> self.bits - 1:
            raw -= 1 << self.bits
        return raw * self.factor + self.offset

    def physical_to_raw(self, value: float) -> int:
        """Return the bit pattern of ``value``, rounded to the nearest step.

        Raises:
            ValueError: the value is outside the declared range or does not fit the bits; the text says all three.
        """
        low, high = self.limits
        if not low <= value <= high and not (self.is_float and math.isnan(value)):
            raise ValueError(f"signal {self.name}: {value} is outside {low}..{high}{_unit_text(self.unit)}")
        if self.is_float:
            return self._float_pattern((value - self.offset) / self.factor)
        return self.steps(value) & (1 << self.bits) - 1

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest physical value: the declared range within what the bits can hold."""
        if self.is_float:
            low, high = -math.inf, math.inf
        else:
            first = self._first_step
            ends = (first * self.factor + self.offset, (first + (1 << self.bits) - 1) * self.factor + self.offset)
            low, high = min(ends), max(ends)
        return (
            low if self.minimum is None else max(low, self.minimum),
            high if self.maximum is None else min(high, self.maximum),
        )

    def _float_pattern(self, number: float) -> int:
        float_code, int_code = FLOATS[self.bits]
        try:
            pattern: int = struct.unpack(int_code, struct.pack(float_code, number))[0]
        except OverflowError as error:
            raise ValueError(f"signal {self.name}: {number} does not fit a float of {self.bits} bits") from error
        return pattern

    def steps(self, value: Any) -> int:
        """Return how many steps ``value``, a number, is from the offset, signed; it must be within the limits."""
        if not isinstance(value, int | float) and hasattr(value, "__index__"):
            value = index(value)  # a NumPy integer wraps
        shifted = value - self.offset
        if isinstance(shifted, int) and shifted % self.factor == 0:
            return int(shifted // self.factor)  # exact beyond the 53 bits of a float
        steps: int = round(shifted / self.factor)
        if -_SURE_END < steps < _SURE_END:
            return steps
        first = self._first_step
        return min(max(steps, first), first + (1 << self.bits) - 1)  # a float this large may be past the last step

    @property
    def _first_step(self) -> int:
        return -(1 << self.bits - 1) if self.is_signed else 0


class SignalPlace(NamedTuple):
    """Where a signal is on the bus, numbered as in the DBC: a Motorola signal starts at its most significant bit."""

    can_id: int
    is_extended: bool
    start: int
    bits: int
    is_motorola: bool


@dataclass(frozen=True, eq=False)
class DbcMessage:
    """One message of a DBC: its identifier, its length and its signals."""

    name: str
    can_id: int
    is_extended: bool
    length_bytes: int
    cycle_time_ms: int | None
    senders: tuple[str, ...]
    signals: tuple[DbcSignal, ...]
    source: str
    is_fd: bool = False
    """A message of CAN FD: its VFrameFormat says so, or it is longer than 8 bytes."""
    is_brs: bool = True
    """CANFD_BRS: the data of a CAN FD frame go at the data bit rate; without the attribute they do."""
    send_type: str = ""
    """GenMsgSendType as the DBC spells it, for example ``cyclic``; empty where it has none."""

    @cached_property
    def frame_bytes(self) -> int:
        """Data bytes of the frame that carries it: its own, in CAN FD the next length that there is."""
        if not self.is_fd or self.length_bytes <= CLASSICAL_MAX_BYTES:
            return self.length_bytes
        return next(step for step in FD_STEPS_BYTES if step >= self.length_bytes)

    @cached_property
    def type(self) -> type[Any]:
        """A frozen ``msgspec.Struct`` made for this message: one field a signal, optional where multiplexed.

        A signal whose name is a Python keyword gets a trailing underscore.
        """
        fields: list[Any] = []
        for signal in sorted(self.signals, key=lambda signal: signal.multiplexer is not None):
            kind = int if signal.is_integer else float
            fields.append((signal.field, kind | None, None) if signal.multiplexer else (signal.field, kind))
        return msgspec.defstruct(self.name, fields, frozen=True, gc=False, module=f"dbc.{Path(self.source).stem}")

    def __str__(self) -> str:
        identifier = f"{self.can_id:08X}x" if self.is_extended else f"{self.can_id:03X}"
        return f"{self.name} ({identifier}, {self.length_bytes} bytes)"


class Dbc:
    """A loaded DBC file: messages by name, and their classes as attributes (``dbc.BatteryStatus``)."""

    def __init__(self, source: str, messages: Iterable[DbcMessage]) -> None:
        self.source = source
        self.messages: tuple[DbcMessage, ...] = tuple(messages)
        self._by_name = {message.name: message for message in self.messages}

    def message(self, name: str) -> DbcMessage:
        """Return a message.

        Raises:
            ConfigurationError: the DBC has none of that name; similar names are listed.
        """
        try:
            return self._by_name[name]
        except KeyError:
            close = get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {close[0]}? it has" if close else "it has"
            raise ConfigurationError(f"{self.source}: no message {name!r}; {hint} {_some(self._by_name)}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getattr__(self, name: str) -> type[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.message(name).type
        except ConfigurationError as error:
            raise AttributeError(str(error)) from None

    def senders(self) -> dict[str, tuple[tuple[int, bool], ...]]:
        """Return, by sending node, the identifiers it sends as ``(can_id, is_extended)``."""
        by_sender: dict[str, list[tuple[int, bool]]] = {}
        for message in self.messages:
            for sender in message.senders:
                by_sender.setdefault(sender, []).append((message.can_id, message.is_extended))
        return {sender: tuple(ids) for sender, ids in by_sender.items()}

    def places(self) -> dict[str, SignalPlace]:
        """Return where each signal is, by ``Message.Signal``."""
        return {
            f"{message.name}.{signal.name}": _place_of(message, signal)
            for message in self.messages
            for signal in message.signals
        }

    def find(self, can_id: int, is_extended: bool = False) -> DbcMessage | None:
        """Return the message with this identifier, or None."""
        for message in self.messages:
            if message.can_id == can_id and message.is_extended == is_extended:
                return message
        return None


def _place_of(message: DbcMessage, signal: DbcSignal) -> SignalPlace:
    start = signal.shift
    if signal.is_motorola:
        from_left = 8 * message.length_bytes - signal.shift - signal.bits
        start = from_left // 8 * 8 + 7 - from_left % 8
    return SignalPlace(message.can_id, message.is_extended, start, signal.bits, signal.is_motorola)


def _unit_text(unit: str) -> str:
    return f" {unit}" if unit else ""


def _some(names: Iterable[str], limit: int = 12) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more or "no messages"
