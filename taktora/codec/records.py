"""What the positional codecs know about record types: field names, annotations, construction; no bytes here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, NamedTuple, get_type_hints

import msgspec

__all__ = ["RecordField", "construct", "is_record", "record_fields", "takes_positions"]


class RecordField(NamedTuple):
    """One field of a record in order of declaration."""

    name: str
    annotation: Any


def is_record(candidate: Any) -> bool:
    """Return whether ``candidate`` is a Struct type, a dataclass or a NamedTuple type."""
    return isinstance(candidate, type) and (
        issubclass(candidate, msgspec.Struct)
        or dataclasses.is_dataclass(candidate)
        or (issubclass(candidate, tuple) and hasattr(candidate, "_fields"))
    )


def record_fields(record: type) -> tuple[RecordField, ...]:
    """Return the fields that the constructor takes, with ``Annotated`` kept."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(RecordField(name, hints.get(name, Any)) for name in _names(record))


def _names(record: Any) -> Sequence[str]:
    if issubclass(record, msgspec.Struct):
        names: Sequence[str] = record.__struct_fields__
        return names
    if dataclasses.is_dataclass(record):
        return [field.name for field in dataclasses.fields(record) if field.init]
    positional: Sequence[str] = record._fields
    return positional


def construct(record: Any) -> Callable[[Sequence[Any]], Any]:
    """Return a function that builds a ``record`` from its field values in order."""
    if not takes_positions(record):
        names = tuple(_names(record))
        return lambda values: record(**dict(zip(names, values, strict=True)))
    return lambda values: record(*values)


def takes_positions(record: Any) -> bool:
    """Return whether ``record(*values)`` builds one: no field is keyword-only."""
    if issubclass(record, msgspec.Struct):
        # msgspec keeps no flag per field: the order of the signature tells which are keyword-only.
        return not any(field.kind is field.KEYWORD_ONLY for field in signature(record).parameters.values())
    if dataclasses.is_dataclass(record):
        return not any(field.kw_only for field in dataclasses.fields(record))
    return True
