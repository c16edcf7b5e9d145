"""Functions that write a value as the data of a frame, compiled once for a class and the layout of its message.

Each does only what its message needs, and that only while all is well. What they cannot do they give to the exact way,
which does it or says what is wrong. Their loops go over bare tuples: those are taken apart in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, index
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import Any, Final, NamedTuple

import msgspec

from taktora.codec.dbc.classes import Fields
from taktora.codec.dbc.layout import ByteOrder, Layout, Slot
from taktora.codec.dbc.model import EXACT_END

__all__ = ["Encoder", "compile_encoder"]

Encoder = Callable[[Any, memoryview], int]

_FAULTS: Final = (StructError, LookupError, ValueError, TypeError, AttributeError, OverflowError)


class _Steps(NamedTuple):
    """What is done to the values before ``struct`` writes them, in this order; each entry begins with the place."""

    looked_up: tuple[tuple[int, Mapping[float, int]], ...]
    """What its byte is for each of its values: the fastest way for whole numbers within one byte."""
    checked: tuple[tuple[int, float, float], ...]
    moved: tuple[tuple[int, float], ...]
    scaled: tuple[tuple[int, float, float, float, float], ...]
    swapped: tuple[tuple[int, Callable[[float], bytes]], ...]
    first_parts: tuple[tuple[int, int, int], ...]
    """Its mask, and by how many bits it is shifted within its bytes."""
    more_looked_up: tuple[tuple[int, int, Mapping[float, int]], ...]
    """The place of its byte, and what it adds to that for each of its values."""
    more_parts: tuple[tuple[int, int, int, int], ...]
    """The place of its bytes, its mask and its shift."""
    wide: tuple[tuple[int, int, ByteOrder], ...]


def compile_encoder(layout: Layout, size_bytes: int, fields: Fields, exact: Encoder) -> Encoder | None:
    """Return what writes a value into a view, or None where only the exact way is exact.

    Args:
        layout: Where the signals are.
        size_bytes: Length of the message.
        fields: The class.
        exact: Is given values out of range or of other types, and views that are too short.
    """
    if not all(map(_is_exact, layout.slots)):
        return None
    pack_into = Struct(layout.codes(size_bytes)).pack_into
    steps = _steps(layout)
    if len(steps.scaled) == len(layout.slots) == 1 and not steps.first_parts:
        return _scaled_encoder(pack_into, layout.slots[0].signal.field, steps.scaled[0], size_bytes, exact)
    return _encoder(pack_into, steps, _fields_of(layout, fields), size_bytes, exact)


def _is_exact(slot: Slot) -> bool:
    signal = slot.signal
    if not slot.is_scaled:
        return True
    if signal.is_float or max(map(abs, signal.limits)) + abs(signal.offset) >= EXACT_END:
        return False
    # Of a signal that shares bytes the mask would hide that the quotient of the largest float is past the last step.
    return slot.part is None or all(
        round((limit - signal.offset) / signal.factor) == signal.steps(limit) for limit in signal.limits
    )


def _steps(layout: Layout) -> _Steps:
    slots = list(enumerate(layout.slots, 2))  # two arguments of pack_into are before the first value
    looked_up = [(place, _into(place, slot), _table(slot)) for place, slot in slots if _is_looked_up(slot)]
    rest = [(place, slot) for place, slot in slots if not _is_looked_up(slot)]
    parts = [(place, _into(place, slot), slot.mask, slot.part.shift) for place, slot in rest if slot.part]
    return _Steps(
        looked_up=tuple((place, table) for place, into, table in looked_up if place == into),
        checked=tuple((place, *slot.signal.limits) for place, slot in rest if _is_checked(slot)),
        moved=tuple((place, slot.signal.offset) for place, slot in rest if slot.is_moved),
        scaled=tuple((place, *_scale(slot)) for place, slot in rest if slot.is_scaled),
        swapped=tuple((place + 2, Struct(codes).pack) for place, codes in layout.swapped),
        first_parts=tuple((place, mask, shift) for place, into, mask, shift in parts if place == into),
        more_looked_up=tuple(entry for entry in looked_up if entry[0] != entry[1]),
        more_parts=tuple(part for part in parts if part[0] != part[1]),
        wide=tuple((place + 2, size, order) for place, size, order in layout.wide),
    )


def _into(place: int, slot: Slot) -> int:
    return place if slot.part is None else slot.part.into + 2


def _is_looked_up(slot: Slot) -> bool:
    return slot.is_in_byte and slot.signal.is_integer and (slot.part is not None or slot.is_moved or _is_checked(slot))


def _table(slot: Slot) -> dict[float, int]:
    """Return, for each value in range, its bits where they are in the byte, or the number itself where it is alone."""
    signal = slot.signal
    low, high = signal.limits
    values = [value for raw in range(1 << signal.bits) if low <= (value := signal.raw_to_physical(raw)) <= high]
    if slot.part is None:
        return {value: signal.steps(value) for value in values}
    return {value: (signal.steps(value) & slot.mask) << slot.part.shift for value in values}


def _is_checked(slot: Slot) -> bool:
    """Whether a value can be out of range and yet fit: ``struct`` only refuses what does not fit."""
    signal = slot.signal
    return not slot.is_scaled and (
        slot.part is not None or signal.limits != signal._replace(minimum=None, maximum=None).limits
    )


def _scale(slot: Slot) -> tuple[float, float, float, float]:
    """Return range, offset and factor; floats are compared and subtracted faster, and these are exact."""
    low, high = (_as_float(limit) for limit in slot.signal.limits)
    return low, high, float(slot.signal.offset), slot.signal.factor


def _as_float(number: float) -> float:
    return float(number) if float(number) == number else number


def _fields_of(layout: Layout, fields: Fields) -> Callable[[Any], Iterable[Any]]:
    """Return what reads all fields of a value, in the order of the slots."""
    held_in = [slot.signal.field for slot in layout.slots]
    if issubclass(fields.cls, msgspec.Struct) and held_in == list(fields.names):
        return msgspec.structs.astuple
    get = attrgetter(*held_in)
    return get if len(held_in) > 1 else lambda value: (get(value),)


def _scaled_encoder(
    pack_into: Callable[..., None],
    field: str,
    scaled: tuple[int, float, float, float, float],
    size_bytes: int,
    exact: Encoder,
) -> Encoder:
    """A message of one signal needs neither list nor loop."""
    _place, low, high, offset, factor = scaled

    def encode(value: Any, view: memoryview) -> int:
        try:
            physical = getattr(value, field)
            if low <= physical <= high:
                pack_into(view, 0, ((physical - offset) / factor).__round__())  # as round(), which looks it up first
                return size_bytes
        except _FAULTS:
            pass
        return exact(value, view)

    return encode


def _encoder(
    pack_into: Callable[..., None],
    steps: _Steps,
    fields_of: Callable[[Any], Iterable[Any]],
    size_bytes: int,
    exact: Encoder,
) -> Encoder:
    looked_up, checked, moved, scaled, swapped, first_parts, more_looked_up, more_parts, wide = steps
    in_parts = more_looked_up or first_parts or more_parts or wide

    def encode(value: Any, view: memoryview) -> int:
        try:
            values = [view, 0, *fields_of(value)]  # what pack_into is called with
            if looked_up:
                for place, table in looked_up:
                    values[place] = table[values[place]]
            if checked:
                for place, low, high in checked:
                    if not low <= values[place] <= high:
                        raise ValueError
            if moved:
                for place, offset in moved:
                    values[place] = index(values[place]) - offset  # a NumPy integer would wrap
            if scaled:
                for place, low, high, offset, factor in scaled:
                    physical = values[place]
                    if not low <= physical <= high:
                        raise ValueError
                    values[place] = ((physical - offset) / factor).__round__()  # as round(), which looks it up first
            if swapped:
                for place, pack_one in swapped:
                    values[place] = pack_one(values[place])
            if in_parts:
                for place, mask, shift in first_parts:
                    values[place] = (index(values[place]) & mask) << shift  # likewise
                for place, into, table in more_looked_up:
                    values[into] |= table[values[place]]
                    values[place] = b""
                for place, into, mask, shift in more_parts:
                    values[into] |= (index(values[place]) & mask) << shift
                    values[place] = b""
                for place, size, order in wide:
                    values[place] = values[place].to_bytes(size, order)
            pack_into(*values)
            return size_bytes
        except _FAULTS:
            pass
        return exact(value, view)

    return encode
