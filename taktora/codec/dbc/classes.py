"""Whether a class holds the signals of a message, and how it is built from them; it packs no bits."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from taktora.codec.dbc.model import DbcMessage, DbcSignal
from taktora.errors import ConfigurationError

__all__ = ["Fields", "fields_of"]


class Fields(NamedTuple):
    """A class that holds the signals of a message."""

    cls: type[Any]
    names: tuple[str, ...]
    """Its fields in order, one a signal."""
    converters: Mapping[str, Callable[[float], Any] | None]
    """By field: what a physical value goes through, None for nothing."""
    make: Callable[..., Any]
    """Builds a value from the values of all fields in order."""


def fields_of(message: DbcMessage, cls: type[Any]) -> Fields:
    """Return how ``cls`` holds the signals of ``message``.

    Raises:
        ConfigurationError: it does not; all fields are listed that are unknown or missing, or the one whose annotation
            cannot hold its signal.
    """
    names = _field_names(cls)
    _check_names(message, cls, names)
    hints = typing.get_type_hints(cls)
    converters = {signal.field: _converter(message, signal, cls, hints[signal.field]) for signal in message.signals}
    return Fields(cls, tuple(names), converters, _maker(cls, names))


def _field_names(cls: type[Any]) -> list[str]:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init]
    if issubclass(cls, msgspec.Struct):
        return list(cls.__struct_fields__)
    raise ConfigurationError(
        f"{cls.__name__} is neither a dataclass nor a msgspec.Struct; a DBC message needs one of them"
    )


def _check_names(message: DbcMessage, cls: type[Any], names: Sequence[str]) -> None:
    expected = [signal.field for signal in message.signals]
    faults = []
    if unknown := [name for name in names if name not in expected]:
        faults.append(f"fields that are no signals: {', '.join(unknown)}")
    if missing := [name for name in expected if name not in names]:
        faults.append(f"signals without a field: {', '.join(missing)}")
    if faults:
        raise ConfigurationError(
            f"{cls.__name__} does not fit message {message.name} of {message.source}: {'; '.join(faults)}"
        )


def _converter(message: DbcMessage, signal: DbcSignal, cls: type[Any], hint: Any) -> Callable[[float], Any] | None:
    members = [member for member in typing.get_args(hint) if member is not type(None)] or [hint]
    kind = members[0]
    is_optional = type(None) in typing.get_args(hint)
    if signal.multiplexer is not None and not is_optional:
        _refuse_hint(message, signal, cls, hint, "it is multiplexed, annotate it with '| None'")
    if kind is float:
        return None if not signal.is_integer else float
    if kind is bool and signal.bits == 1 and signal.is_integer:
        return bool
    if kind is int or (isinstance(kind, type) and issubclass(kind, enum.IntEnum)):
        if not signal.is_integer:
            _refuse_hint(message, signal, cls, hint, f"its factor is {signal.factor}, annotate it as float")
        return None if kind is int else kind
    return _refuse_hint(message, signal, cls, hint, "use float, int, bool (one bit) or an IntEnum")


def _refuse_hint(message: DbcMessage, signal: DbcSignal, cls: type[Any], hint: Any, way_out: str) -> typing.NoReturn:
    shown = getattr(hint, "__name__", str(hint))
    raise ConfigurationError(
        f"{cls.__name__}.{signal.field}: {shown} cannot hold signal {signal.name} of message {message.name}: {way_out}"
    )


def _maker(cls: type[Any], names: Sequence[str]) -> Callable[..., Any]:
    """Return what builds a ``cls`` from its field values in order: the class itself where it can."""
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
        return lambda *values: cls(**dict(zip(names, values, strict=True)))
    return cls
