"""The way between a class and its message that knows every message and every fault; what is compiled falls back on it.

Packing and unpacking is done on integers: several times faster than going through dictionaries of names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from taktora.codec.dbc.classes import Fields
from taktora.codec.dbc.model import DbcMessage, DbcSignal
from taktora.errors import CodecError, PayloadOverflow

__all__ = ["FORMAT_NAME", "ExactWay"]

N = TypeVar("N", bound=tuple[Any, ...])

FORMAT_NAME: Final = "dbc"


class _Received(NamedTuple):
    """One signal bound to a place in a class, as decoding wants it; ``plain`` is neither signed nor a float."""

    signal: DbcSignal
    place: int
    convert: Callable[[float], Any] | None
    is_motorola: bool
    shift: int
    mask: int
    plain: bool
    factor: float
    offset: float


class _Sent(NamedTuple):
    """One signal bound to a field of a class, as encoding wants it."""

    signal: DbcSignal
    field: str
    is_motorola: bool
    shift: int
    mask: int
    has_steps: bool
    low: float
    high: float


def _bare(entries: Iterable[N]) -> tuple[N, ...]:
    """Return NamedTuples as tuples without names: a loop takes those apart in a tenth of the time."""
    return cast("tuple[N, ...]", tuple(tuple(entry) for entry in entries))


class ExactWay:
    """Packs and unpacks one class of any message, and says what is wrong with a value or frame."""

    __slots__ = ("_fields", "_has_motorola", "_is_multiplexed", "_length", "_message", "_received", "_sent")

    def __init__(self, message: DbcMessage, fields: Fields) -> None:
        self._message, self._fields = message, fields
        self._received = _bare(
            _Received(
                signal,
                fields.names.index(signal.field),
                fields.converters[signal.field],
                signal.is_motorola,
                signal.shift,
                (1 << signal.bits) - 1,
                not signal.is_float and not signal.is_signed,
                signal.factor,
                signal.offset,
            )
            for signal in message.signals
        )
        self._sent = _bare(
            _Sent(
                signal,
                signal.field,
                signal.is_motorola,
                signal.shift,
                (1 << signal.bits) - 1,
                not signal.is_float,
                *signal.limits,
            )
            for signal in message.signals
        )
        self._length = message.length_bytes
        self._has_motorola = any(signal.is_motorola for signal in message.signals)
        self._is_multiplexed = any(signal.multiplexer for signal in message.signals)

    def encode(self, value: Any, view: memoryview) -> int:
        """Write the frame data of ``value``: as many bytes as the DBC states, unused bits 0."""
        message = self._message
        try:
            payload = self._pack(value)
        except (ValueError, ArithmeticError) as error:
            raise CodecError(FORMAT_NAME, f"message {message.name}: {error}") from error
        except TypeError as error:
            raise CodecError(FORMAT_NAME, f"message {message.name}: {self._fault_of(value)}") from error
        if len(payload) > len(view):
            raise PayloadOverflow(len(payload), len(view), f"the channel of message {message}")
        view[: len(payload)] = payload
        return len(payload)

    def decode(self, view: memoryview) -> Any:
        """Build a value from exactly the bytes the DBC states; what pads a frame of CAN FD is passed over."""
        message = self._message
        if len(view) != message.length_bytes:
            if len(view) != message.frame_bytes:
                raise CodecError(FORMAT_NAME, _length_text(message, len(view)))
            view = view[: message.length_bytes]
        try:
            return self._unpack(view.tobytes())
        except (ValueError, TypeError) as error:
            raise CodecError(FORMAT_NAME, f"message {message.name}: {error}") from error

    def _unpack(self, payload: bytes) -> Any:
        little = int.from_bytes(payload, "little")
        big = int.from_bytes(payload, "big") if self._has_motorola else 0
        values: list[Any] = [None] * len(self._received)
        raws: dict[str, int] = {}
        is_multiplexed = self._is_multiplexed
        for signal, place, convert, is_motorola, shift, mask, plain, factor, offset in self._received:
            raw = (big if is_motorola else little) >> shift & mask
            if is_multiplexed:
                if signal.multiplexer is not None and raws.get(signal.multiplexer, -1) not in signal.present_at:
                    continue
                raws[signal.name] = raw
            value = raw * factor + offset if plain else signal.raw_to_physical(raw)
            values[place] = value if convert is None else convert(value)
        return self._fields.make(*values)

    def _fault_of(self, value: Any) -> str:
        """Return which field of ``value`` is no number."""
        for name in self._fields.names:
            if not isinstance(held := getattr(value, name, None), int | float):
                return f"field {name} is {held!r}, expected a number"
        return "a field is no number"

    def _pack(self, value: Any) -> bytes:
        little = big = 0
        raws: dict[str, int] = {}
        is_multiplexed = self._is_multiplexed
        for signal, field, is_motorola, shift, mask, has_steps, low, high in self._sent:
            physical = getattr(value, field)
            if is_multiplexed and not self._is_present(signal, raws, physical):
                continue
            if has_steps and low <= physical <= high:
                raw = signal.steps(physical) & mask
            else:
                raw = signal.physical_to_raw(physical)
            if is_multiplexed:
                raws[signal.name] = raw
            if is_motorola:
                big |= raw << shift
            else:
                little |= raw << shift
        length = self._length
        if not self._has_motorola:
            return little.to_bytes(length, "little")
        return (little | int.from_bytes(big.to_bytes(length, "big"), "little")).to_bytes(length, "little")

    @staticmethod
    def _is_present(signal: DbcSignal, raws: Mapping[str, int], physical: object) -> bool:
        if signal.multiplexer is None:
            return True
        selected = raws.get(signal.multiplexer)
        present = selected in signal.present_at
        if present and physical is None:
            raise ValueError(f"signal {signal.name} is None but {signal.multiplexer} = {selected} selects it")
        if not present and physical is not None:
            raise ValueError(
                f"signal {signal.name} is {physical} but only sent when {signal.multiplexer} is one of "
                f"{sorted(signal.present_at)}, found {selected}; set it to None"
            )
        return present


def _length_text(message: DbcMessage, found: int) -> str:
    relation = "shorter" if found < message.length_bytes else "longer"
    return (
        f"message {message}: the frame has {found} bytes, expected {message.length_bytes}; it is {relation} than its "
        "DBC message, check that sender and DBC are of one version"
    )
