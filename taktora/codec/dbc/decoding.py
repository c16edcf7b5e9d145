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


_NO_STEPS: Final = _Steps((), (), (), (), (), ())


def _steps(layout: Layout, converters: Sequence[Callable[[float], Any] | None]) -> _Steps:
    slots = list(enumerate(layout.slots))
    # The first part of its bytes comes last, for it takes their place.
    parts = [(place, slot, slot.part) for place, slot in slots if slot.part]
    parts.sort(key=lambda entry: entry[0] == entry[2].into)
    return _Steps(
        wide=tuple((place, order) for place, _size, order in layout.wide),
        parts=tuple((place, part.into, part.shift, (1 << slot.signal.bits) - 1) for place, slot, part in parts),
        signed_parts=tuple((place, 1 << slot.signal.bits - 1) for place, slot, _ in parts if slot.signal.is_signed),
        moved=tuple((place, slot.signal.offset) for place, slot in slots if slot.is_moved),
        scaled=tuple((place, *_scale(slot)) for place, slot in slots if slot.is_scaled),
        converted=tuple((place, convert) for place, convert in enumerate(converters) if convert is not None),
    )


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
    wide, parts, signed_parts, moved, scaled, converted = steps
    from_bytes = int.from_bytes

    def decode(view: memoryview) -> Any:
        try:
            values = [*unpack(view)]
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
