"""MessagePack on msgspec with records as positional arrays: compact, and both ends need the same type.

Records are ``msgspec.Struct`` types (with or without ``array_like``), dataclasses and NamedTuples, nested in lists,
tuples, sets, dicts and optionals. Field names never go on the wire. A union of several record types cannot be told
apart by position and is refused, unless the types are ``array_like`` and tagged, which msgspec then handles itself.
Encoding fills a reused scratch buffer and copies it once into the slot. Sets are written in the order of their items'
encodings, so that one value has one encoding in every process; dicts keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import attrgetter, or_
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from taktora.codec.records import construct, is_record, record_fields
from taktora.codec.sets import SetOrder, may_hold_sets
from taktora.errors import CodecError, PayloadOverflow

__all__ = ["MsgPackCodec"]

T = TypeVar("T")

_Converter = Callable[[Any], Any]
_SCALARS: frozenset[type] = frozenset({int, float, bool, str, bytes, bytearray, type(None)})


# req: REQ_0989
class MsgPackCodec:
    """Values as MessagePack. One instance may serve several threads."""

    __slots__ = ("_decoders", "_encode_into", "_flatteners", "_scratches", "_sets")

    format_name = "msgpack"

    def __init__(self) -> None:
        encoder = msgspec.msgpack.Encoder()
        self._encode_into = encoder.encode_into
        self._sets = SetOrder(encoder.encode)
        self._flatteners: dict[type, _Converter | None] = dict.fromkeys(_SCALARS)
        self._decoders: dict[Any, tuple[Callable[[memoryview], Any], _Converter | None]] = {}
        self._scratches = [bytearray()]

    def encode_into(self, value: Any, view: memoryview) -> int:
        scratch = self._scratches.pop() if self._scratches else bytearray()
        try:
            self._encode_into(self._flat(value), scratch)
            length = len(scratch)
            if length > len(view):
                raise PayloadOverflow(length, len(view))
            view[:length] = scratch
        except PayloadOverflow:
            raise
        except Exception as cause:
            raise CodecError(self.format_name, f"cannot encode {type(value).__name__}: {cause}") from cause
        finally:
            self._scratches.append(scratch)
        return length

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        try:
            entry = self._decoders.get(type)
            if entry is None:
                wire, rebuild = _wire_type(type, ())
                entry = self._decoders[type] = (msgspec.msgpack.Decoder(wire).decode, rebuild)
            raw = entry[0](view)
            return raw if entry[1] is None else entry[1](raw)  # type: ignore[no-any-return]
        except Exception as cause:
            name = getattr(type, "__name__", repr(type))
            raise CodecError(self.format_name, f"cannot decode {len(view)} bytes as {name}: {cause}") from cause

    def _flat(self, value: Any) -> Any:
        """Return ``value`` with each record replaced by the tuple of its fields."""
        kind = type(value)
        try:
            flatten = self._flatteners[kind]
        except KeyError:
            flatten = self._flatteners[kind] = self._flattener(kind)
        return value if flatten is None else flatten(value)

    def _flattener(self, kind: type) -> _Converter | None:
        if _native_array(kind):
            return self._sets.arranged if any(map(may_hold_sets, _annotations(kind))) else None
        if is_record(kind):
            return self._record_flattener(kind)
        if issubclass(kind, set | frozenset):
            return lambda items: self._sets.in_order([self._flat(item) for item in items])
        if issubclass(kind, list | tuple):
            return lambda items: [self._flat(item) for item in items]
        if issubclass(kind, dict):
            return lambda items: {self._sets.arranged(key): self._flat(item) for key, item in items.items()}
        return None

    def _record_flattener(self, record: type) -> _Converter:
        fields = record_fields(record)
        if not fields:
            return lambda _value: ()
        get = attrgetter(*(field.name for field in fields))
        many = get if len(fields) > 1 else lambda value: (get(value),)
        if any(map(_may_hold_records, _annotations(record))):
            return lambda value: [self._flat(item) for item in many(value)]
        if any(map(may_hold_sets, _annotations(record))):
            return lambda value: [self._sets.arranged(item) for item in many(value)]
        return many


def _annotations(record: type) -> list[Any]:
    return [field.annotation for field in record_fields(record)]


def _native_array(kind: Any) -> bool:
    """Return whether msgspec itself writes ``kind`` and everything in it positionally."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.array_like):
        return False
    return kind.__struct_config__.tag is not None or not any(
        _may_hold_records(field.annotation) for field in record_fields(kind)
    )


def _may_hold_records(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _may_hold_records(get_args(annotation)[0])
    if origin is not None:
        return any(_may_hold_records(part) for part in get_args(annotation) if part is not Ellipsis)
    return is_record(annotation) or annotation in (Any, object, list, dict, tuple, set, frozenset)


def _wire_type(annotation: Any, outer: tuple[Any, ...]) -> tuple[Any, _Converter | None]:
    """Return what msgspec is to decode for ``annotation`` and how the result becomes the annotated value."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        wire, rebuild = _wire_type(parts[0], outer)
        return Annotated[(wire, *parts[1:])], rebuild
    if _native_array(annotation):
        return annotation, None
    if is_record(annotation):
        return _wire_record(annotation, outer)
    if origin in (Union, UnionType):
        return _wire_union(parts, outer)
    if origin is None or not any(_may_hold_records(part) for part in parts if part is not Ellipsis):
        return annotation, None
    return _wire_container(annotation, outer)


def _wire_record(record: Any, outer: tuple[Any, ...]) -> tuple[Any, _Converter | None]:
    if record in outer:
        raise TypeError(f"{record.__name__} contains itself; declare it array_like=True")
    wires, converters = _wire_parts([field.annotation for field in record_fields(record)], (*outer, record))
    build = construct(record)
    wire = tuple[tuple(wires)] if wires else tuple[()]  # type: ignore[misc]
    if not any(converters):
        return wire, build
    return wire, lambda values: build(_convert_each(converters, values))


def _wire_parts(annotations: Sequence[Any], outer: tuple[Any, ...]) -> tuple[list[Any], list[_Converter | None]]:
    pairs = [_wire_type(annotation, outer) for annotation in annotations]
    return [wire for wire, _ in pairs], [rebuild for _, rebuild in pairs]


def _convert_each(converters: Sequence[_Converter | None], values: Sequence[Any]) -> list[Any]:
    return [value if convert is None else convert(value) for convert, value in zip(converters, values, strict=True)]


def _wire_union(parts: Sequence[Any], outer: tuple[Any, ...]) -> tuple[Any, _Converter | None]:
    wires, converters = _wire_parts(parts, outer)
    union = reduce(or_, wires)
    if not any(converters):
        return union, None
    present = [convert for part, convert in zip(parts, converters, strict=True) if part is not type(None)]
    if len(present) != 1:
        raise TypeError(f"a union of {len(present)} types with records among them; make them array_like and tagged")
    convert = present[0]
    assert convert is not None
    return union, lambda value: None if value is None else convert(value)


def _wire_container(annotation: Any, outer: tuple[Any, ...]) -> tuple[Any, _Converter | None]:
    origin: Any = get_origin(annotation)
    parts = get_args(annotation)
    if origin is tuple and Ellipsis not in parts:
        wires, converters = _wire_parts(parts, outer)
        return tuple[tuple(wires)], lambda values: tuple(_convert_each(converters, values))  # type: ignore[misc]
    wire, convert = _wire_type(parts[-1] if parts[-1] is not Ellipsis else parts[0], outer)
    if convert is None:  # its items are records that msgspec reads itself
        return annotation, None
    if issubclass(origin, dict):
        return dict[parts[0], wire], lambda items: {key: convert(item) for key, item in items.items()}  # type: ignore[valid-type]
    kind = origin if origin in (list, tuple, set, frozenset) else list
    return list[wire], lambda items: kind(convert(item) for item in items)  # type: ignore[valid-type]
