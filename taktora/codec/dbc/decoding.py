"""Functions that build a value from the data of a frame, compiled once for a class and the layout of its message.

Each does only what its message needs, and that only while all is well. What they cannot do they give to the exact way,
which does it or says what is wrong. Their loops go over bare tuples: those are taken apart in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import Any, Final, NamedTuple

from taktora.codec.dbc.classes import Fields
from taktora.codec.dbc.layout import ByteOrder, Layout, Slot

__all__ = ["Decoder", "compile_decoder"]

Decoder = Callable[[memoryview], Any]

_FAULTS: Final = (StructError, ValueError, TypeError)


class _Steps(NamedTuple):
    """What is done to the numbers that ``struct`` has read, in this order; each entry begins with the place."""

    looked_up: tuple[tuple[int, int, tuple[float, ...]], ...]
    """The place of its byte, and what it is for each value of that: the fastest way for what is within one byte."""
    swapped: tuple[tuple[int, Callable[[bytes], tuple[float]]], ...]
    wide: tuple[tuple[int, ByteOrder], ...]
    parts: tuple[tuple[int, int, int, int], ...]
    """Where it is cut from, by how many bits it is shifted, and its mask."""
    signed_parts: tuple[tuple[int, int], ...]
    moved: tuple[tuple[int, float], ...]
    scaled: tuple[tuple[int, float, float], ...]
    converted: tuple[tuple[int, Callable[[float], Any]], ...]


def compile_decoder(layout: Layout, size_bytes: int, fields: Fields, exact: Decoder) -> Decoder:
    """Return what builds a value from ``size_bytes`` bytes of data.

    Args:
        layout: Where the signals are.
        size_bytes: Length of the frames that it is made for.
        fields: The class.
        exact: Is given frames of other lengths and values that the class refuses.
    """
    unpack = Struct(layout.codes(size_bytes)).unpack
    held_in = [slot.signal.field for slot in layout.slots]
    places = [held_in.index(name) for name in fields.names]
    in_order = None if places == sorted(places) else itemgetter(*places)
    steps = _steps(layout, [fields.converters[name] for name in held_in])
    if in_order is not None or steps._replace(scaled=()) != _NO_STEPS:
        return _decoder(unpack, steps, in_order, fields.make, exact)
    if len(steps.scaled) == len(layout.slots) == 1:
        return _scaled_decoder(unpack, steps.scaled[0], fields.make, exact)
    return _decoder(unpack, steps, None, fields.make, exact) if steps.scaled else _plain(unpack, fields.make, exact)


_NO_STEPS: Final = _Steps((), (), (), (), (), (), (), ())


def _steps(layout: Layout, converters: Sequence[Callable[[float], Any] | None]) -> _Steps:
    slots = list(enumerate(layout.slots))
    rest = [(place, slot) for place, slot in slots if not _is_looked_up(slot)]
    looked_up = [
        (place, slot.part.into if slot.part else place, _table(slot)) for place, slot in slots if _is_looked_up(slot)
    ]
    parts = [(place, slot.part.into, slot) for place, slot in rest if slot.part]
    # The first part of its bytes comes last, for it takes their place.
    looked_up.sort(key=lambda entry: entry[0] == entry[1])
    parts.sort(key=lambda entry: entry[0] == entry[1])
    return _Steps(
        looked_up=tuple(looked_up),
        swapped=tuple((place, Struct(codes).unpack) for place, codes in layout.swapped),
        wide=tuple((place, order) for place, _size, order in layout.wide),
        parts=tuple((place, into, slot.part.shift, slot.mask) for place, into, slot in parts if slot.part),
        signed_parts=tuple((place, 1 << slot.signal.bits - 1) for place, _, slot in parts if slot.signal.is_signed),
        moved=tuple((place, slot.signal.offset) for place, slot in rest if slot.is_moved),
        scaled=tuple((place, *_scale(slot)) for place, slot in rest if slot.is_scaled),
        converted=tuple((place, convert) for place, convert in enumerate(converters) if convert is not None),
    )


def _is_looked_up(slot: Slot) -> bool:
    return slot.is_in_byte and (
        slot.part is not None or (not slot.signal.is_signed and (slot.is_moved or slot.is_scaled))
    )


def _table(slot: Slot) -> tuple[float, ...]:
    shift = slot.part.shift if slot.part else 0
    return tuple(slot.signal.raw_to_physical(byte >> shift & slot.mask) for byte in range(256))


def _scale(slot: Slot) -> tuple[float, float]:
    factor, offset = slot.signal.factor, slot.signal.offset
    # The sum of two floats costs half of the sum of a float and a whole number, and is the same.
    return factor, offset if isinstance(factor, int) else float(offset)


def _plain(unpack: Callable[[memoryview], Any], make: Callable[..., Any], exact: Decoder) -> Decoder:
    def decode(view: memoryview) -> Any:
        try:
            return make(*unpack(view))
        except _FAULTS:
            pass
        return exact(view)

    return decode


def _scaled_decoder(
    unpack: Callable[[memoryview], Any], scaled: tuple[int, float, float], make: Callable[..., Any], exact: Decoder
) -> Decoder:
    """A message of one signal needs neither list nor loop."""
    _place, factor, offset = scaled

    def decode(view: memoryview) -> Any:
        try:
            (raw,) = unpack(view)
            return make(raw * factor + offset)
        except _FAULTS:
            pass
        return exact(view)

    return decode


def _decoder(
    unpack: Callable[[memoryview], Any],
    steps: _Steps,
    in_order: Callable[[Any], Any] | None,
    make: Callable[..., Any],
    exact: Decoder,
) -> Decoder:
    looked_up, swapped, wide, parts, signed_parts, moved, scaled, converted = steps
    from_bytes = int.from_bytes

    def decode(view: memoryview) -> Any:
        try:
            values = [*unpack(view)]
            if looked_up:
                for place, into, table in looked_up:
                    values[place] = table[values[into]]
            if swapped:
                for place, unpack_one in swapped:
                    (values[place],) = unpack_one(values[place])
            if parts:
                for place, order in wide:
                    values[place] = from_bytes(values[place], order)
                for place, into, shift, mask in parts:
                    values[place] = values[into] >> shift & mask
                for place, sign in signed_parts:
                    values[place] = (values[place] ^ sign) - sign
            if moved:
                for place, offset in moved:
                    values[place] += offset
            if scaled:
                for place, factor, offset in scaled:
                    values[place] = values[place] * factor + offset
            if converted:
                for place, convert in converted:
                    values[place] = convert(values[place])
            return make(*values) if in_order is None else make(*in_order(values))
        except _FAULTS:
            pass
        return exact(view)

    return decode
