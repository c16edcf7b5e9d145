"""A rest-bus as a table of a file: names, cycle times and generators, checked before anything is sent.

In TOML::

    only = ["BMS"]                                # nodes and messages
    exclude = ["PackTemperatures"]

    [cycle_times_ms]
    PackStatus = 20                               # 0: sent by trigger only

    [phases_ms]
    PackStatus = 0

    [signals]
    "PackStatus.StateOfCharge" = 80.5
    "VehicleMotion.DriveMode" = "Drive"           # a name of its value table
    "PackStatus.PackVoltage" = { kind = "sine", low = 380, high = 420, period_ms = 1000 }
    "PackStatus.AliveCounter" = { kind = "counter" }
    "PackStatus.Checksum" = { kind = "checksum", algorithm = "crc8_j1850" }
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from taktora.errors import ConfigurationError
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.generators import Checksum, Constant, Counter, Ramp, Sine, Table
from taktora_sim.can.restbus.signals import Source, nearest

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus

__all__ = ["GENERATOR_KINDS", "restbus_from_settings"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: object, check: Callable[[object], bool]) -> bool:
    return isinstance(value, list | tuple) and all(check(item) for item in value)


_NUMBER = ("a number", _is_number)
_WHOLE = ("a whole number", _is_whole)
_FLAG = ("true or false", lambda value: isinstance(value, bool))
_TEXT = ("a text", lambda value: isinstance(value, str))
_NUMBERS = ("a list of numbers", lambda value: _is_list(value, _is_number))
_NAMES = ("a list of names", lambda value: _is_list(value, lambda item: isinstance(item, str)))
_TABLE = ("a table", lambda value: isinstance(value, Mapping))

GENERATOR_KINDS: Final[Mapping[str, tuple[type[Any], Mapping[str, tuple[str, Callable[[Any], bool]]]]]] = {
    "constant": (Constant, {"value": _NUMBER}),
    "ramp": (Ramp, {"low": _NUMBER, "high": _NUMBER, "period_ms": _NUMBER, "is_triangle": _FLAG}),
    "sine": (Sine, {"low": _NUMBER, "high": _NUMBER, "period_ms": _NUMBER, "phase": _NUMBER}),
    "counter": (Counter, {"step": _WHOLE, "wrap": _WHOLE, "start": _WHOLE}),
    "table": (Table, {"values": _NUMBERS, "every_ms": _NUMBER, "then": _TEXT}),
    "checksum": (Checksum, {"algorithm": _TEXT, "data_id": _WHOLE, "first_byte": _WHOLE, "last_byte": _WHOLE}),
}
"""Generators by their name in a file: what makes them, and the keys of each with what they hold."""

_KEYS: Final = {
    "only": _NAMES,
    "exclude": _NAMES,
    "cycle_times_ms": _TABLE,
    "phases_ms": _TABLE,
    "signals": _TABLE,
}


# req: REQ_8208
def restbus_from_settings(
    bus: SimulatedCanBus,
    dbc_path: Path | str,
    settings: Mapping[str, Any],
    *,
    exclude_ids: Collection[int | tuple[int, bool]] = (),
    where: str = "rest-bus settings",
) -> RestBus:
    """Return a rest-bus as a table describes it; it sends at once.

    Args:
        bus: The bus to send on.
        dbc_path: The DBC file.
        settings: Keys ``only``, ``exclude``, ``cycle_times_ms``, ``phases_ms``, ``signals``; all may be missing.
        exclude_ids: Identifiers to leave out besides, as :class:`RestBus` has it.
        where: File and table, for messages.

    Raises:
        ConfigurationError: an unknown key or name (the nearest is named), a value of the wrong type or out of range,
            or the DBC cannot be read.
    """
    from taktora.codec.dbc import load_dbc

    for key, value in settings.items():
        if key not in _KEYS:
            _refuse(where, f"there is no key {key!r}; {nearest(key, _KEYS)}")
        _check(f"{where}: {key}", _KEYS[key], value)
    cycle_times_ms = _numbers(settings, "cycle_times_ms", where)
    sources = {
        path: _source(f"{where}: signals.{path!r}", entry) for path, entry in _flat(settings.get("signals", {})).items()
    }
    dbc = load_dbc(dbc_path)
    try:
        return RestBus(
            bus,
            dbc,
            only=settings.get("only"),
            exclude=settings.get("exclude", ()),
            exclude_ids=exclude_ids,
            cycle_times_ms={name: time_ms or None for name, time_ms in cycle_times_ms.items()},
            phases_ms=_numbers(settings, "phases_ms", where),
            signals=sources,
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _numbers(settings: Mapping[str, Any], key: str, where: str) -> Mapping[str, float]:
    table: Mapping[str, float] = settings.get(key, {})
    for name, value in table.items():
        _check(f"{where}: {key}.{name}", _NUMBER, value)
    return table


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries by ``Message.Signal``, also where the dot is one of TOML's own."""
    found: dict[str, Any] = {}
    for name, entry in table.items():
        if "." not in name and isinstance(entry, Mapping) and "kind" not in entry:
            found |= {f"{name}.{signal}": value for signal, value in entry.items()}
        else:
            found[name] = entry
    return found


def _source(where: str, entry: object) -> Source:
    if isinstance(entry, int | float | str) and not isinstance(entry, bool):
        return entry
    if not isinstance(entry, Mapping):
        _refuse(where, f"{entry!r} is no number, no name of a value and no table such as {{ kind = 'counter' }}")
    kind = str(entry.get("kind"))
    if kind not in GENERATOR_KINDS:
        _refuse(where, f"there is no generator of kind {kind!r}; {nearest(kind, GENERATOR_KINDS)}")
    make, keys = GENERATOR_KINDS[kind]
    given = {key: value for key, value in entry.items() if key != "kind"}
    for key, value in given.items():
        if key not in keys:
            _refuse(where, f"a {kind} has no key {key!r}; {nearest(key, keys)}")
        _check(f"{where}: {key}", keys[key], value)
    needed = [field.name for field in dataclasses.fields(make) if field.default is dataclasses.MISSING]
    if missing := [key for key in needed if key not in given]:
        _refuse(where, f"a {kind} needs {', '.join(missing)}")
    source: Source = make(**given)
    return source


def _check(where: str, expected: tuple[str, Callable[[Any], bool]], value: object) -> None:
    text, holds = expected
    if not holds(value):
        _refuse(where, f"{value!r} is not {text}")


def _refuse(where: str, text: str) -> NoReturn:
    raise ConfigurationError(f"{where}: {text}")
