"""Fixed-width binary: each field at its declared width, big-endian unless asked, no padding, no framing, no lengths.

Widths come from annotations: ``U8`` to ``U64``, ``I8`` to ``I64``, ``F32``, ``F64`` and ``Bool`` (one byte, 0 or 1); a
bare ``float`` counts as F64 and a bare ``bool`` as Bool. Records (``msgspec.Struct``, dataclass, NamedTuple) and
fixed-length tuples are laid out in order, nested ones in place. An ``IntEnum`` takes a width too:
``Annotated[Mode, Width("B")]``. What has no constant length is refused with CodecError: strings, bytes, lists, sets,
dicts, optionals, bare ``int``. Use JSON or MessagePack for those.

Each type is compiled once into one ``struct.Struct``; encoding packs straight into the slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import attrgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - the class has no CapWords name of its own
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args, get_origin

from taktora.codec.records import construct, is_record, record_fields
from taktora.errors import CodecError, PayloadOverflow

__all__ = ["F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BinaryCodec", "Bool", "Width"]

T = TypeVar("T")


class Width(NamedTuple):
    """Marks an annotation with its ``struct`` format character: one of ``BHIQbhiqfd`` or ``?``."""

    code: str


U8: TypeAlias = Annotated[int, Width("B")]
U16: TypeAlias = Annotated[int, Width("H")]
U32: TypeAlias = Annotated[int, Width("I")]
U64: TypeAlias = Annotated[int, Width("Q")]
I8: TypeAlias = Annotated[int, Width("b")]
I16: TypeAlias = Annotated[int, Width("h")]
I32: TypeAlias = Annotated[int, Width("i")]
I64: TypeAlias = Annotated[int, Width("q")]
F32: TypeAlias = Annotated[float, Width("f")]
F64: TypeAlias = Annotated[float, Width("d")]
Bool: TypeAlias = Annotated[bool, Width("?")]

_CODES = "BHIQbhiqfd?"
_NAMES = dict(zip(_CODES, ("U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64", "F32", "F64", "Bool"), strict=True))
_BARE = {float: Width("d"), bool: Width("?")}


class _Place(NamedTuple):
    """A step into a tuple: which of how many."""

    position: int
    length: int

    def __str__(self) -> str:
        return str(self.position)


_Step: TypeAlias = str | _Place


class _Leaf(NamedTuple):
    """One packed field: where it sits in the value, its format, its Python type."""

    path: tuple[_Step, ...]
    code: str
    kind: type


class _Layout(NamedTuple):
    """A compiled type."""

    packing: Struct
    leaves: tuple[_Leaf, ...]
    values_of: Callable[[Any], Sequence[Any]]
    build: Callable[[Sequence[Any]], Any]
    guarded: tuple[int, ...]


# req: REQ_0215
class BinaryCodec:
    """Values as fixed-width fields.

    Args:
        byteorder: ``"big"`` (the default) or ``"little"``.
    """

    __slots__ = ("_layouts", "_order", "byteorder")

    format_name = "binary"

    def __init__(self, byteorder: Literal["big", "little"] = "big") -> None:
        self.byteorder = byteorder
        self._order = {"big": ">", "little": "<"}[byteorder]
        self._layouts: dict[Any, _Layout] = {}

    def size_of(self, type: Any) -> int:  # noqa: A002 - the seam's word
        """Return the constant encoded length of ``type`` in bytes; CodecError if it has none."""
        return self._layout(type).packing.size

    def encode_into(self, value: Any, view: memoryview) -> int:
        layout = self._layouts.get(type(value)) or self._layout(type(value))
        size_bytes = layout.packing.size
        try:
            values = layout.values_of(value)
            for index in layout.guarded:
                _refuse_foreign(layout.leaves[index], values[index])
            if size_bytes > len(view):
                layout.packing.pack(*values)
                raise PayloadOverflow(size_bytes, len(view))
            layout.packing.pack_into(view, 0, *values)
        except PayloadOverflow:
            raise
        except Exception as cause:
            raise CodecError(self.format_name, _encode_fault(layout, value, cause)) from cause
        return size_bytes

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        layout = self._layouts.get(type) or self._layout(type)
        if len(view) != layout.packing.size:
            raise CodecError(
                self.format_name, f"{_name(type)} takes {layout.packing.size} bytes, the payload has {len(view)}"
            )
        try:
            values: Any = layout.packing.unpack_from(view)
            if layout.guarded:
                values = _restored(layout, values)
            return layout.build(values)  # type: ignore[no-any-return]
        except Exception as cause:
            raise CodecError(self.format_name, f"cannot decode {_name(type)}: {cause}") from cause

    def _layout(self, type: Any) -> _Layout:  # noqa: A002 - the seam's word
        found = self._layouts.get(type)
        if found is None:
            try:
                found = self._layouts[type] = _compile(type, self._order)
            except Exception as cause:
                raise CodecError(self.format_name, str(cause)) from cause
        return found


def _name(annotation: Any) -> str:
    marked = _width(annotation)
    if marked is not None and marked[0].code in _NAMES:
        return _NAMES[marked[0].code]
    return getattr(annotation, "__name__", None) or repr(annotation)


def _width(annotation: Any) -> tuple[Width, type] | None:
    if annotation in _BARE:
        return _BARE[annotation], annotation
    if get_origin(annotation) is not Annotated:
        return None
    kind, *marks = get_args(annotation)
    return next(((mark, kind) for mark in marks if isinstance(mark, Width)), None)


def _compile(annotation: Any, order: str) -> _Layout:
    leaves: list[_Leaf] = []
    from_iterator = _lay_out(annotation, (), leaves, ())
    return _Layout(
        packing=Struct(order + "".join("B" if leaf.code == "?" else leaf.code for leaf in leaves)),
        leaves=tuple(leaves),
        values_of=_reader(leaves),
        build=construct(annotation) if _flat(annotation) else lambda values: from_iterator(iter(values)),
        guarded=tuple(i for i, leaf in enumerate(leaves) if leaf.code == "?" or issubclass(leaf.kind, Enum)),
    )


def _flat(annotation: Any) -> bool:
    """Return whether the record's fields are all single leaves, so that it is built without recursion."""
    return is_record(annotation) and all(_width(field.annotation) for field in record_fields(annotation))


def _lay_out(
    annotation: Any, path: tuple[_Step, ...], leaves: list[_Leaf], outer: tuple[Any, ...]
) -> Callable[[Any], Any]:
    """Append the leaves of ``annotation`` and return what builds its value from an iterator over leaf values."""
    marked = _width(annotation)
    if marked is not None:
        return _lay_out_leaf(marked[0], marked[1], path, leaves)
    if annotation in outer:
        raise TypeError(f"{_name(annotation)} contains itself and has no fixed width")
    parts = _parts(annotation, path)
    builders = [_lay_out(part, (*path, step), leaves, (*outer, annotation)) for step, part in parts]
    make = construct(annotation) if is_record(annotation) else tuple
    return lambda values: make([build(values) for build in builders])


def _parts(annotation: Any, path: tuple[_Step, ...]) -> list[tuple[_Step, Any]]:
    if is_record(annotation):
        return [(field.name, field.annotation) for field in record_fields(annotation)]
    if get_origin(annotation) is tuple and Ellipsis not in get_args(annotation):
        length = len(get_args(annotation))
        return [(_Place(index, length), part) for index, part in enumerate(get_args(annotation))]
    place = ".".join(map(str, path)) or "the value"
    raise TypeError(
        f"{place} is annotated {_name(annotation)}, which has no fixed width; "
        "use U8 to U64, I8 to I64, F32, F64, Bool, or another codec"
    )


def _lay_out_leaf(width: Width, kind: type, path: tuple[_Step, ...], leaves: list[_Leaf]) -> Callable[[Any], Any]:
    if len(width.code) != 1 or width.code not in _CODES:
        raise TypeError(f"{'.'.join(map(str, path))} has width {width.code!r}, expected one of {_CODES}")
    leaves.append(_Leaf(path, width.code, kind))
    return next


def _reader(leaves: Sequence[_Leaf]) -> Callable[[Any], Sequence[Any]]:
    """Return the fastest way to read all leaves out of a value."""
    if leaves and all(leaf.path and all(isinstance(step, str) for step in leaf.path) for leaf in leaves):
        get = attrgetter(*(".".join(map(str, leaf.path)) for leaf in leaves))
        return get if len(leaves) > 1 else lambda value: (get(value),)
    return lambda value: [_read(value, leaf.path) for leaf in leaves]


def _read(value: Any, path: tuple[_Step, ...]) -> Any:
    for step in path:
        if isinstance(step, str):
            value = getattr(value, step)
        elif isinstance(value, tuple) and len(value) == step.length:
            value = value[step.position]
        else:
            raise TypeError(f"expected a tuple of {step.length}")
    return value


def _refuse_foreign(leaf: _Leaf, value: Any) -> None:
    """Refuse values that would pack but not come back: a non-bool in a Bool, a foreign number in an enum."""
    if not isinstance(value, leaf.kind):
        raise TypeError(f"expected {leaf.kind.__name__}, got {type(value).__name__}")


def _restored(layout: _Layout, values: Sequence[Any]) -> list[Any]:
    restored = list(values)
    for index in layout.guarded:
        leaf, raw = layout.leaves[index], restored[index]
        if leaf.code == "?" and raw > 1:
            raise ValueError(f"{'.'.join(map(str, leaf.path))} is {raw:#04x}, expected 0 or 1")
        restored[index] = leaf.kind(raw)
    return restored


def _encode_fault(layout: _Layout, value: Any, cause: Exception) -> str:
    """Return which field cannot be packed and why; the slow path of a failed encode."""
    for leaf in layout.leaves:
        place = ".".join(map(str, leaf.path))
        try:
            found = _read(value, leaf.path)
        except (AttributeError, TypeError):
            return f"{place} of {type(value).__name__} is missing or not a tuple of the declared length"
        try:
            if leaf.code == "?" or issubclass(leaf.kind, Enum):
                _refuse_foreign(leaf, found)
            Struct("<" + leaf.code).pack(found)
        except (StructError, OverflowError, TypeError) as fault:
            return f"{place} of {type(value).__name__} is {found!r}, expected {_NAMES[leaf.code]}: {fault}"
    return f"cannot encode {type(value).__name__}: {cause}"
