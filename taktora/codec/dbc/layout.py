"""Where the signals of a message are for ``struct``: which bytes are taken together, and what is cut out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from taktora.codec.dbc.model import DbcMessage, DbcSignal

__all__ = ["Layout", "Part", "Slot", "lay_out"]

_WORDS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FLOATS: Final = {2: "e", 4: "f", 8: "d"}

ByteOrder = Literal["little", "big"]

_MARKS: Final[dict[ByteOrder, str]] = {"little": "<", "big": ">"}


class Part(NamedTuple):
    """Where a signal is within the bytes that it shares; ``into`` is the slot that holds them."""

    into: int
    shift: int
    is_byte: bool
    """Whether they are one byte only."""


class Slot(NamedTuple):
    """The place of one signal among what ``struct`` reads and writes; without a ``part`` it is the signal alone."""

    signal: DbcSignal
    part: Part | None

    @property
    def mask(self) -> int:
        return (1 << self.signal.bits) - 1

    @property
    def is_in_byte(self) -> bool:
        """Whether there are 256 cases of it at most."""
        return self.signal.bits == 8 if self.part is None else self.part.is_byte

    @property
    def is_moved(self) -> bool:
        """Whether raw and physical are whole and only the offset is between them."""
        return self.signal.is_integer and self.signal.factor == 1 and self.signal.offset != 0

    @property
    def is_scaled(self) -> bool:
        """Whether raw and physical differ by a factor, or by an offset that is not whole."""
        factor, offset = self.signal.factor, self.signal.offset
        return factor != 1 or (offset != 0 and not self.signal.is_integer)


class Swapped(NamedTuple):
    """A slot of bytes that are one number in the order that the rest has not; ``codes`` are its own."""

    place: int
    codes: str


class Bytes(NamedTuple):
    """A slot of as many bytes as ``struct`` has no number for, or of the order that the rest has not."""

    place: int
    size: int
    order: ByteOrder


class Layout(NamedTuple):
    """A message as ``struct`` sees it: byte order and codes up to the last byte in use, and one slot a signal."""

    codes_in_use: str
    size_in_use: int
    slots: tuple[Slot, ...]
    swapped: tuple[Swapped, ...]
    wide: tuple[Bytes, ...]

    def codes(self, size_bytes: int) -> str:
        """Return the codes for ``size_bytes`` bytes."""
        return f"{self.codes_in_use}{size_bytes - self.size_in_use}x"


class _Group(NamedTuple):
    """Bytes ``first`` to ``end``, without ``end``, and the signals that share them."""

    first: int
    end: int
    signals: list[DbcSignal]

    @property
    def size(self) -> int:
        return self.end - self.first


def lay_out(message: DbcMessage) -> Layout | None:
    """Return the layout of a message, or None where it has none.

    Multiplexed signals are now here, now not; a float across bytes, and two byte orders within the same bytes have no
    code.
    """
    if not message.signals or any(signal.multiplexer is not None for signal in message.signals):
        return None
    groups = _groups(message)
    order = _order_of([signal for signal in message.signals if _spans_bytes(signal)])
    codes, end = [_MARKS[order]], 0
    slots: list[Slot] = []
    swapped: list[Swapped] = []
    wide: list[Bytes] = []
    for group in groups:
        codes.append(f"{group.first - end}x")
        end = group.end
        crossing = [signal for signal in group.signals if _spans_bytes(signal)]
        own_order = _order_of(crossing) if crossing else order
        if (code := _code_alone(group)) is not None:
            if own_order != order:
                swapped.append(Swapped(len(slots), _MARKS[own_order] + code))
                code = f"{group.size}s"
            codes.append(code)
            slots.append(Slot(group.signals[0], None))
            continue
        if any(signal.is_float for signal in group.signals) or len({signal.is_motorola for signal in crossing}) > 1:
            return None
        is_word = group.size in _WORDS and (group.size == 1 or own_order == order)
        if not is_word:
            wide.append(Bytes(len(slots), group.size, own_order))
        # Where several signals share bytes, all but the first have a slot of no bytes.
        codes.append((_WORDS[group.size] if is_word else f"{group.size}s") + "0s" * (len(group.signals) - 1))
        into = len(slots)
        slots += [
            Slot(signal, Part(into, _shift(message, signal, group, own_order), group.size == 1))
            for signal in group.signals
        ]
    return Layout("".join(codes), end, tuple(slots), tuple(swapped), tuple(wide))


def _groups(message: DbcMessage) -> list[_Group]:
    groups: list[_Group] = []
    for signal in sorted(message.signals, key=lambda signal: _span(message, signal)):
        first, end = _span(message, signal)
        if groups and first < groups[-1].end:
            last = groups.pop()
            groups.append(_Group(last.first, max(last.end, end), [*last.signals, signal]))
        else:
            groups.append(_Group(first, end, [signal]))
    return groups


def _span(message: DbcMessage, signal: DbcSignal) -> tuple[int, int]:
    """Return the first byte of a signal and the one after its last."""
    least, most = signal.shift // 8, (signal.shift + signal.bits - 1) // 8
    if signal.is_motorola:
        return message.length_bytes - 1 - most, message.length_bytes - least
    return least, most + 1


def _spans_bytes(signal: DbcSignal) -> bool:
    return signal.shift % 8 + signal.bits > 8


def _order_of(signals: Sequence[DbcSignal]) -> ByteOrder:
    """Return the byte order that most have."""
    return "big" if 2 * sum(signal.is_motorola for signal in signals) > len(signals) else "little"


def _code_alone(group: _Group) -> str | None:
    """Return the code of a signal that fills its bytes."""
    signal = group.signals[0]
    if len(group.signals) > 1 or signal.bits != 8 * group.size or group.size not in _WORDS:
        return None
    if signal.is_float:
        return _FLOATS[group.size]
    return _WORDS[group.size].lower() if signal.is_signed else _WORDS[group.size]


def _shift(message: DbcMessage, signal: DbcSignal, group: _Group, order: ByteOrder) -> int:
    """Return how far a signal is from the least significant bit of its group."""
    least = signal.shift // 8
    if signal.is_motorola:
        least = message.length_bytes - 1 - least
    return 8 * (least - group.first if order == "little" else group.end - 1 - least) + signal.shift % 8
