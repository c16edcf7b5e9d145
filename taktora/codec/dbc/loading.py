"""Reads a DBC file with cantools, which only this file imports, on the first :func:`load_dbc`."""

from __future__ import annotations

import keyword
import logging
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taktora.codec.dbc.foreign import what_else
from taktora.codec.dbc.model import CLASSICAL_MAX_BYTES, FD_STEPS_BYTES, FLOATS, Dbc, DbcMessage, DbcSignal
from taktora.errors import ConfigurationError
from taktora.extras import missing_text

__all__ = ["load_dbc"]


def load_dbc(path: Path | str) -> Dbc:
    """Read a DBC file.

    Raises:
        ConfigurationError: names the file, the line where it is known, what is wrong and the way out: no such file,
            an empty file or one of another kind, syntax, signals that overlap or leave their message, an identifier or
            name used twice, a container.
    """
    source = Path(path)
    try:
        database = _parse(source)
    except OSError as error:
        raise ConfigurationError(f"DBC {source}: {error.strerror or error}; give the path of a .dbc file") from error
    messages = [_message(message, str(source)) for message in database.messages]
    _refuse_twins(source, messages)
    return Dbc(str(source), messages)


def _parse(source: Path) -> Any:
    try:
        import cantools
    except ImportError as error:
        raise ConfigurationError(f"reading a DBC {missing_text(['cantools'])}") from error
    text = source.read_text(encoding="cp1252", errors="replace")
    # cantools warns of twins on its logger and goes on; they are refused below with their lines.
    logger = logging.getLogger("cantools.database.can.database")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return cantools.database.load_string(text, database_format="dbc")
    except (cantools.Error, ValueError, KeyError, ArithmeticError) as error:
        if what := what_else(source.read_bytes()):
            raise ConfigurationError(f"DBC {source}: {what}") from error
        cause = getattr(error, "e_dbc", None) or error
        _refuse_doubled_ids(source, text)
        raise ConfigurationError(f"DBC {source}{_line_text(source, str(cause))}: {cause}; correct the file") from error
    finally:
        logger.setLevel(level)


def _refuse_doubled_ids(source: Path, text: str) -> None:
    """Refuse an identifier used twice, which may be the cause of whatever else cantools found."""
    first: dict[str, str] = {}
    for number, name in re.findall(r"^\s*BO_\s+(\d+)\s+(\w+)\s*:", text, re.MULTILINE):
        if number in first:
            _refuse_twin_id(source, number, first[number], name)
        first[number] = name


def _refuse_twin_id(source: Path, number: str | int, first: object, second: str) -> typing.NoReturn:
    lines = " and ".join(map(str, _lines_of(source, re.compile(rf"BO_\s+{number}\s"))))
    raise ConfigurationError(
        f"DBC {source}, lines {lines}: {first} and {second} have one identifier, {number}; give one another id"
    )


def _line_text(source: Path, cause: str) -> str:
    if found := re.search(r"line (\d+)", cause):
        return f", line {found[1]}"
    if found := re.search(r"message (\w+)", cause):
        lines = _lines_of(source, re.compile(rf"BO_\s+\d+\s+{found[1]}\s*:"))
        return f", line {lines[0]}" if lines else ""
    return ""


def _lines_of(source: Path, pattern: re.Pattern[str]) -> list[int]:
    text = source.read_text(encoding="cp1252", errors="replace")
    return [number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line.strip())]


def _refuse_twins(source: Path, messages: Sequence[DbcMessage]) -> None:
    by_id: dict[tuple[int, bool], DbcMessage] = {}
    by_name: dict[str, DbcMessage] = {}
    for message in messages:
        twin = by_id.setdefault((message.can_id, message.is_extended), message)
        if twin is not message:
            number = message.can_id | (0x8000_0000 if message.is_extended else 0)
            _refuse_twin_id(source, number, twin, message.name)
        if by_name.setdefault(message.name, message) is not message:
            lines = " and ".join(map(str, _lines_of(source, re.compile(rf"BO_\s+\d+\s+{message.name}\s*:"))))
            raise ConfigurationError(f"DBC {source}, lines {lines}: two messages {message.name}; rename one")


def _message(message: Any, source: str) -> DbcMessage:
    if message.is_container:
        raise ConfigurationError(f"DBC {source}: message {message.name} is a container; they are not supported")
    if message.length > FD_STEPS_BYTES[-1]:
        line = _line_text(Path(source), f"message {message.name}")
        raise ConfigurationError(
            f"DBC {source}{line}: message {message.name} has {message.length} bytes; a CAN FD frame carries 64 at most"
        )
    ordered = _multiplexers_first(message.signals)
    return DbcMessage(
        name=message.name,
        can_id=message.frame_id,
        is_extended=message.is_extended_frame,
        length_bytes=message.length,
        cycle_time_ms=message.cycle_time or None,
        senders=tuple(message.senders),
        signals=tuple(_signal(signal, message, source) for signal in ordered),
        source=source,
        is_fd=message.is_fd or message.length > CLASSICAL_MAX_BYTES,
        is_brs=str(_attribute(message, "CANFD_BRS", "1")) != "0",
        send_type=message.send_type or "",
    )


def _attribute(message: Any, name: str, default: object) -> object:
    """Return an attribute of a message: its own, or the one all messages have unless they say otherwise."""
    if message.dbc is None:
        return default
    if name in message.dbc.attributes:
        return message.dbc.attributes[name].value
    definition = message.dbc.attribute_definitions.get(name)
    return default if definition is None or definition.default_value is None else definition.default_value


def _multiplexers_first(signals: Sequence[Any]) -> list[Any]:
    by_name = {signal.name: signal for signal in signals}

    def depth(signal: Any) -> int:
        parent = by_name.get(signal.multiplexer_signal)
        return 0 if parent is None else 1 + depth(parent)

    return sorted(signals, key=depth)


def _signal(signal: Any, message: Any, source: str) -> DbcSignal:
    if signal.is_float and signal.length not in FLOATS:
        raise ConfigurationError(
            f"DBC {source}: signal {signal.name} of {message.name} is a float of {signal.length} bits; "
            "16, 32 or 64 are possible"
        )
    is_motorola = signal.byte_order == "big_endian"
    return DbcSignal(
        name=signal.name,
        field=signal.name + "_" if keyword.iskeyword(signal.name) else signal.name,
        shift=_motorola_shift(signal, message.length) if is_motorola else signal.start,
        bits=signal.length,
        is_motorola=is_motorola,
        is_signed=signal.is_signed,
        is_float=signal.is_float,
        factor=_whole(signal.scale),
        offset=_whole(signal.offset),
        minimum=signal.minimum,
        maximum=signal.maximum,
        unit=signal.unit or "",
        choices={int(raw): str(text) for raw, text in (signal.choices or {}).items()},
        multiplexer=signal.multiplexer_signal,
        present_at=frozenset(signal.multiplexer_ids or ()),
        start_raw=signal.raw_initial,
    )


def _motorola_shift(signal: Any, length_bytes: int) -> int:
    # Start is the most significant bit, counted in the sawtooth way; from there the signal runs to the right.
    from_left = 8 * (signal.start // 8) + 7 - signal.start % 8
    return int(8 * length_bytes - from_left - signal.length)


def _whole(number: float) -> float:
    return int(number) if isinstance(number, int) or float(number).is_integer() else number
