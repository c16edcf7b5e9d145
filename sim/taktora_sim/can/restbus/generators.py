"""Values of a rest-bus: what a signal is at each sending, as numbers alone; it sends nothing and knows no clock.

A generator says what it is (``Sine(380, 420, period_ms=1000)``); bound to a signal it becomes a function of the moment
of sending. Everything is plain arithmetic on integers and on floats that are rounded to the signal's raw steps: no
function of the maths library, whose last digit differs between platforms, comes near a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from taktora.errors import ConfigurationError

if TYPE_CHECKING:
    from taktora.codec.dbc import DbcSignal

__all__ = [
    "ALGORITHMS",
    "Checksum",
    "Constant",
    "Counter",
    "Function",
    "Generator",
    "Moment",
    "Ramp",
    "Sine",
    "Table",
    "crc8_j1850",
    "sine_of",
]

_NS_PER_MS: Final = 1_000_000
_LONGEST_MS: Final = 1e12


class Moment(NamedTuple):
    """When a message is sent: ns since the rest-bus was made, and how many times it was sent before."""

    elapsed_ns: int
    number: int


Function: TypeAlias = Callable[[Moment], float]
"""What a bound generator is, and what you may give yourself: the physical value of a signal at a moment."""


@runtime_checkable
class Generator(Protocol):
    """What gives the values of a signal."""

    def bind(self, signal: DbcSignal) -> Function:
        """Return the physical values of ``signal``.

        Raises:
            ValueError: they would leave the signal's range, or the generator is no use for such a signal.
        """
        ...


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Constant:
    """Always ``value`` (physical)."""

    value: float

    def bind(self, signal: DbcSignal) -> Function:
        _check_within(signal, self.value)
        value = self.value
        return lambda _moment: value


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Ramp:
    """From ``low`` to ``high`` within each period, then from ``low`` again; with ``is_triangle`` there and back.

    ``low`` may be above ``high``: the ramp falls then.
    """

    low: float
    high: float
    period_ms: float
    is_triangle: bool = False

    def bind(self, signal: DbcSignal) -> Function:
        _check_within(signal, self.low, self.high)
        low, span, period_ns, is_triangle = self.low, self.high - self.low, _period_ns(self.period_ms), self.is_triangle

        def value(moment: Moment) -> float:
            part_ns = moment.elapsed_ns % period_ns
            if is_triangle:
                part_ns = min(2 * part_ns, 2 * (period_ns - part_ns))
            return low + span * part_ns / period_ns

        return value


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Sine:
    """Between ``low`` and ``high``, from the middle upwards at ``phase`` 0; ``phase`` counts whole turns, 0 to 1."""

    low: float
    high: float
    period_ms: float
    phase: float = 0.0

    def bind(self, signal: DbcSignal) -> Function:
        _check_within(signal, self.low, self.high)
        if not 0 <= self.phase <= 1:
            raise ValueError(f"phase {self.phase} is outside 0..1 turns")
        low, high, middle, amplitude = self.low, self.high, (self.low + self.high) / 2, (self.high - self.low) / 2
        period_ns = _period_ns(self.period_ms)
        shift_ns = int(self.phase * period_ns)

        def value(moment: Moment) -> float:
            wave = middle + amplitude * sine_of((moment.elapsed_ns + shift_ns) % period_ns, period_ns)
            return min(max(wave, low), high)  # the last digit of the middle may leave the range

        return value


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Counter:
    """An alive counter: ``step`` more (raw) at each sending, from the signal's smallest value to its largest and over.

    Args:
        step: Raw steps at each sending, not 0.
        wrap: How many values there are, where that is less than the signal has room for: 15 counts 0 to 14.
        start: Raw value of the first sending, counted from the smallest.
    """

    step: int = 1
    wrap: int | None = None
    start: int = 0

    def bind(self, signal: DbcSignal) -> Function:
        if signal.is_float:
            raise ValueError("a counter needs a signal of whole raw steps, not a float")
        low, high = signal.limits
        first = signal.steps(low)
        room = abs(signal.steps(high) - first) + 1
        count = room if self.wrap is None else self.wrap
        if not 2 <= count <= room:
            raise ValueError(f"counter wraps after {count} values, 2 to {room} are possible")
        if self.step == 0 or not 0 <= self.start < count:
            raise ValueError(f"counter starts at {self.start} with step {self.step}; 0..{count - 1} and not 0 expected")
        lowest, step, start, factor, offset = min(first, signal.steps(high)), self.step, self.start, *_scale(signal)
        return lambda moment: (lowest + (start + moment.number * step) % count) * factor + offset


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Table:
    """The values of a list one after the other, then from the start again or the last one for ever.

    Args:
        values: Physical values, at least one.
        every_ms: How long each lasts; None: one sending each.
        then: ``loop`` or ``hold``.
    """

    values: Sequence[float]
    every_ms: float | None = None
    then: Literal["loop", "hold"] = "loop"

    def bind(self, signal: DbcSignal) -> Function:
        values = tuple(self.values)
        if not values:
            raise ValueError("the table has no values; give one at least")
        if self.then not in {"loop", "hold"}:
            raise ValueError(f"a table can 'loop' or 'hold' at its end, not {self.then!r}")
        _check_within(signal, *values)
        every_ns = None if self.every_ms is None else _period_ns(self.every_ms)
        count, is_loop = len(values), self.then == "loop"

        def value(moment: Moment) -> float:
            index = moment.number if every_ns is None else moment.elapsed_ns // every_ns
            return values[index % count if is_loop else min(index, count - 1)]

        return value


def crc8_j1850(data: bytes, start: int = 0xFF, final: int = 0xFF) -> int:
    """Return the CRC-8 of SAE J1850: polynomial 0x1D, first bit highest; of ``123456789`` it is 0x4B."""
    register = start
    for byte in data:
        register = _CRC8_ROWS[register ^ byte]
    return register ^ final


def _crc8_row(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ 0x11D) if value & 0x80 else value << 1
    return value


_CRC8_ROWS: Final = tuple(_crc8_row(value) for value in range(256))


def _e2e_p01(data: bytes) -> int:
    return crc8_j1850(data, 0, 0)


ALGORITHMS: Final[Mapping[str, Callable[[bytes], int]]] = MappingProxyType(
    {
        "xor": lambda data: reduce(xor, data, 0),
        "sum": sum,
        "crc8_j1850": crc8_j1850,
        "e2e_p01": _e2e_p01,
    }
)
"""Checksums by name. ``e2e_p01`` is that of AUTOSAR E2E profile 1: polynomial 0x1D, start and final value 0, over the
data identifier (low byte, high byte) and the data."""
_EIGHT_BITS: Final = {"xor", "crc8_j1850", "e2e_p01"}


# req: REQ_8208
@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum over the other bytes of the frame, written when all its other signals stand.

    Bytes that belong to the checksum signal alone are left out; in a byte that it shares its bits count as 0.

    Args:
        algorithm: A name of :data:`ALGORITHMS`, or a function of the bytes. ``sum`` keeps the bits that the signal
            has room for; the other names need 8 bits.
        data_id: Data identifier, 0 to 0xFFFF: its low and its high byte are put before the data. ``e2e_p01`` needs it.
        first_byte: First byte of the frame that counts.
        last_byte: Last one that counts; None is the last of the message.
    """

    algorithm: str | Callable[[bytes], int] = "crc8_j1850"
    data_id: int | None = None
    first_byte: int = 0
    last_byte: int | None = None

    def over(self, signal: DbcSignal, length_bytes: int) -> Callable[[bytes], int]:
        """Return the raw checksum of a frame whose checksum bits are 0.

        Raises:
            ValueError: it does not fit the signal, or an argument is out of range.
        """
        self._check(signal, length_bytes)
        function = ALGORITHMS[self.algorithm] if isinstance(self.algorithm, str) else self.algorithm
        last = length_bytes - 1 if self.last_byte is None else self.last_byte
        own = _own_bytes(signal, length_bytes)
        places = tuple(place for place in range(self.first_byte, last + 1) if place not in own)
        head = b"" if self.data_id is None else self.data_id.to_bytes(2, "little")
        limit = 1 << signal.bits
        is_sum = self.algorithm == "sum"

        def compute(frame: bytes) -> int:
            found = function(head + bytes([frame[place] for place in places]))
            if is_sum:
                return found % limit
            if not 0 <= found < limit:
                raise ConfigurationError(
                    f"checksum {found:#x} of signal {signal.name} does not fit its {signal.bits} bits; mask it"
                )
            return found

        return compute

    def _check(self, signal: DbcSignal, length_bytes: int) -> None:
        if signal.is_float:
            raise ValueError("a checksum needs a signal of whole raw steps, not a float")
        if isinstance(self.algorithm, str):
            if self.algorithm not in ALGORITHMS:
                raise ValueError(f"there is no checksum {self.algorithm!r}; there are {', '.join(ALGORITHMS)}")
            if self.algorithm in _EIGHT_BITS and signal.bits != 8:
                raise ValueError(f"checksum {self.algorithm} needs 8 bits, the signal has {signal.bits}")
            if self.algorithm == "e2e_p01" and self.data_id is None:
                raise ValueError("checksum e2e_p01 needs the data_id that sender and receiver agreed on")
        if self.data_id is not None and not 0 <= self.data_id <= 0xFFFF:
            raise ValueError(f"data_id {self.data_id:#x} is outside 0..0xffff")
        last = length_bytes - 1 if self.last_byte is None else self.last_byte
        if not 0 <= self.first_byte <= last < length_bytes:
            raise ValueError(
                f"checksum over bytes {self.first_byte} to {last}; the message has 0 to {length_bytes - 1}"
            )


def _own_bytes(signal: DbcSignal, length_bytes: int) -> frozenset[int]:
    """Return the bytes that all belong to the signal."""
    mask = (1 << signal.bits) - 1 << signal.shift
    image = mask.to_bytes(length_bytes, "big" if signal.is_motorola else "little")
    return frozenset(place for place, byte in enumerate(image) if byte == 0xFF)


_SINE_BITS: Final = 62
_HALF_PI: Final = 0x6487ED5110B4611A
"""pi / 2 with 62 binary places."""


def sine_of(part: int, whole: int) -> float:
    """Return the sine of ``part / whole`` turns, 0 <= part < whole; equal on every platform, within 1e-15."""
    quarter, rest = divmod(4 * part, whole)
    if quarter & 1:
        rest = whole - rest
    angle = _HALF_PI * rest // whole
    square = angle * angle >> _SINE_BITS
    term = total = angle
    for factor in range(2, 20, 2):
        term = -(term * square >> _SINE_BITS) // (factor * (factor + 1))
        total += term
    value = total / (1 << _SINE_BITS)
    return -value if quarter & 2 else value


def _scale(signal: DbcSignal) -> tuple[float, float]:
    return signal.factor, signal.offset


def _check_within(signal: DbcSignal, *values: float) -> None:
    for value in values:
        signal.physical_to_raw(value)


def _period_ns(period_ms: float) -> int:
    if not 0 < period_ms <= _LONGEST_MS:
        raise ValueError(f"a time of {period_ms} ms; give one above 0")
    return max(1, round(period_ms * _NS_PER_MS))
