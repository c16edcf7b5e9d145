"""Sets in the order of their items' encodings: a set has no order of its own, and Python's is another in each process.

Only sets are touched; dicts keep the order in which they were filled. What cannot hold a set is told by its type, once.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from operator import is_
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

__all__ = ["SetOrder", "may_hold_sets"]

_Arrange: TypeAlias = Callable[[Any], Any]
_SCALARS: frozenset[type] = frozenset({int, float, bool, str, bytes, bytearray, type(None)})
_LEAVES = (int, float, str, bytes, bytearray, type(None), Enum, Decimal, UUID)
_TIMES = (dt.date, dt.time, dt.timedelta)


class SetOrder:
    """Replaces the sets in a value by tuples in one order. One instance may serve several threads.

    Args:
        encode: Gives the bytes by which the items of a set are ordered: first by length, then by value.
    """

    __slots__ = ("_arrangers", "_encode")

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode
        self._arrangers: dict[type, _Arrange | None] = dict.fromkeys(_SCALARS)

    def arranged(self, value: Any) -> Any:
        """Return ``value`` itself if there is no set in it, else a copy of it with tuples in their place."""
        arrange = self._arranger_of(type(value))
        return value if arrange is None else arrange(value)

    def in_order(self, items: Iterable[Any]) -> tuple[Any, ...]:
        """Return ``items``, which hold no sets, in the order of their encodings."""
        return tuple(sorted(items, key=self._place))

    def _place(self, item: Any) -> tuple[int, bytes]:
        encoded = self._encode(item)
        return len(encoded), encoded

    def _arranger_of(self, kind: type) -> _Arrange | None:
        try:
            return self._arrangers[kind]
        except KeyError:
            arrange = self._arrangers[kind] = self._arranger(kind)
            return arrange

    def _arranger(self, kind: type) -> _Arrange | None:
        if issubclass(kind, set | frozenset):
            return lambda items: self.in_order(map(self.arranged, items))
        if issubclass(kind, dict):
            return self._arranged_dict
        if issubclass(kind, list | tuple):  # a NamedTuple is written as the tuple that it is
            return self._arranged_items
        names = _names_that_may_hold_sets(kind)
        if not names:
            return None
        put = msgspec.structs.force_setattr if issubclass(kind, msgspec.Struct) else object.__setattr__
        return lambda value: self._arranged_record(value, names, put)

    def _arranged_items(self, items: list[Any] | tuple[Any, ...]) -> Any:
        if not any(map(self._arranger_of, set(map(type, items)))):
            return items
        arranged = tuple(map(self.arranged, items))
        return items if all(map(is_, arranged, items)) else arranged

    def _arranged_dict(self, items: dict[Any, Any]) -> dict[Any, Any]:
        keys, values = self._arranged_items(tuple(items)), self._arranged_items(tuple(items.values()))
        if all(map(is_, keys, items)) and all(map(is_, values, items.values())):
            return items
        return dict(zip(keys, values, strict=True))

    def _arranged_record(self, record: Any, names: tuple[str, ...], put: Callable[[Any, str, Any], None]) -> Any:
        made = record
        for name in names:
            found = getattr(record, name, None)
            arranged = self.arranged(found)
            if arranged is not found:
                if made is record:
                    made = copy.copy(record)  # runs no __post_init__, which may expect a set
                put(made, name, arranged)
        return made


def may_hold_sets(annotation: Any) -> bool:
    """Return whether a value of this annotation can be a set or have one in it; True where that is not known."""
    if annotation is None or (isinstance(annotation, type) and issubclass(annotation, _LEAVES + _TIMES)):
        return False
    if isinstance(annotation, NewType):
        return may_hold_sets(annotation.__supertype__)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return False
    if origin is Annotated:
        return may_hold_sets(parts[0])
    if origin in (list, tuple, dict, Union, UnionType):
        return any(may_hold_sets(part) for part in parts if part is not Ellipsis)
    return True


def _names_that_may_hold_sets(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, msgspec.Struct):
        names: tuple[str, ...] = kind.__struct_fields__
    elif dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    else:
        return ()
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # a name that cannot be found from here: then every field may
        return names
    return tuple(name for name in names if may_hold_sets(hints.get(name, Any)))
