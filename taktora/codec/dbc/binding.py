"""The compiled way between one class and one message.

Bits are packed and unpacked here, because that is several times faster than going through dictionaries of names.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from taktora.codec.dbc.classes import check_names, converter, field_names, maker
from taktora.codec.dbc.model import DbcMessage, DbcSignal

__all__ = ["Binding"]

N = TypeVar("N", bound=tuple[Any, ...])


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


class Binding:
    """The compiled way between one class and one message."""

    __slots__ = ("_has_motorola", "_is_multiplexed", "_length", "_make", "_names", "_received", "_sent", "message")

    def __init__(self, message: DbcMessage, cls: type[Any]) -> None:
        names = field_names(cls)
        check_names(message, cls, names)
        hints = typing.get_type_hints(cls)
        self.message = message
        self._received = _bare(
            _Received(
                signal,
                names.index(signal.field),
                converter(message, signal, cls, hints[signal.field]),
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
        self._make = maker(cls, names)
        self._names = tuple(names)

    def decode(self, payload: bytes) -> Any:
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
        return self._make(*values)

    def fault_of(self, value: Any) -> str:
        """Return which field of ``value`` is no number."""
        for name in self._names:
            if not isinstance(held := getattr(value, name, None), int | float):
                return f"field {name} is {held!r}, expected a number"
        return "a field is no number"

    def encode(self, value: Any) -> bytes:
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
