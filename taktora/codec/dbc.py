"""A codec that carries DBC messages: the type of a value chooses the message; it does no I/O and knows no bus.

cantools reads the file, once; packing and unpacking is done here on integers, because that is several times faster
than going through dictionaries of names. Only this file imports cantools, on the first :func:`load_dbc`.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import keyword
import logging
import math
import re
import struct
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec

from taktora.codec.base import Codec
from taktora.errors import CodecError, ConfigurationError, PayloadOverflow
from taktora.extras import missing_text

__all__ = ["Dbc", "DbcCodec", "DbcMessage", "DbcSignal", "SignalPlace", "load_dbc"]

T = TypeVar("T")
N = TypeVar("N", bound=tuple[Any, ...])

_CLASSICAL_MAX_BYTES: Final = 8
_FD_STEPS_BYTES: Final = (8, 12, 16, 20, 24, 32, 48, 64)
"""From 8 bytes on a frame of CAN FD has one of these lengths; a message between two is padded to the next."""
_FLOATS: Final = {16: ("<e", "<H"), 32: ("<f", "<I"), 64: ("<d", "<Q")}


class DbcSignal(NamedTuple):
    """One signal: where its bits are and how raw becomes physical (``raw * factor + offset``).

    ``shift`` counts from the least significant bit of the payload read as one number, little-endian for Intel
    signals and big-endian for Motorola ones. ``minimum`` and ``maximum`` are physical, None where the DBC has none.
    ``present_at`` says for which raw values of ``multiplexer`` (a signal's name) the signal is in the frame at all.
    """

    name: str
    field: str
    shift: int
    bits: int
    is_motorola: bool
    is_signed: bool
    is_float: bool
    factor: float
    offset: float
    minimum: float | None
    maximum: float | None
    unit: str
    choices: Mapping[int, str]
    multiplexer: str | None
    present_at: frozenset[int]
    start_raw: float | None = None
    """GenSigStartValue, raw and unchecked; None where the DBC has none."""

    @property
    def is_integer(self) -> bool:
        """Whether every physical value is a whole number."""
        return not self.is_float and isinstance(self.factor, int) and isinstance(self.offset, int)

    def raw_to_physical(self, raw: int) -> float:
        """Return the physical value of the unsigned bit pattern ``raw``."""
        if self.is_float:
            float_code, int_code = _FLOATS[self.bits]
            number: float = struct.unpack(float_code, struct.pack(int_code, raw))[0]
            return number * self.factor + self.offset
        if self.is_signed and raw >> self.bits - 1:
            raw -= 1 << self.bits
        return raw * self.factor + self.offset

    def physical_to_raw(self, value: float) -> int:
        """Return the bit pattern of ``value``, rounded to the nearest step.

        Raises:
            ValueError: the value is outside the declared range or does not fit the bits; the text says all three.
        """
        low, high = self.limits
        if not low <= value <= high and not (self.is_float and math.isnan(value)):
            raise ValueError(f"signal {self.name}: {value} is outside {low}..{high}{_unit_text(self.unit)}")
        if self.is_float:
            return self._float_pattern((value - self.offset) / self.factor)
        return self.steps(value) & (1 << self.bits) - 1

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest physical value: the declared range within what the bits can hold."""
        if self.is_float:
            low, high = -math.inf, math.inf
        else:
            first = -(1 << self.bits - 1) if self.is_signed else 0
            ends = (first * self.factor + self.offset, (first + (1 << self.bits) - 1) * self.factor + self.offset)
            low, high = min(ends), max(ends)
        return (
            low if self.minimum is None else max(low, self.minimum),
            high if self.maximum is None else min(high, self.maximum),
        )

    def _float_pattern(self, number: float) -> int:
        float_code, int_code = _FLOATS[self.bits]
        try:
            pattern: int = struct.unpack(int_code, struct.pack(float_code, number))[0]
        except OverflowError as error:
            raise ValueError(f"signal {self.name}: {number} does not fit a float of {self.bits} bits") from error
        return pattern

    def steps(self, value: float) -> int:
        """Return how many steps ``value`` is from the offset, signed; it must be within the limits."""
        shifted = value - self.offset
        if isinstance(shifted, int) and shifted % self.factor == 0:
            return int(shifted // self.factor)  # exact beyond the 53 bits of a float
        return round(shifted / self.factor)


class SignalPlace(NamedTuple):
    """Where a signal is on the bus, numbered as in the DBC: a Motorola signal starts at its most significant bit."""

    can_id: int
    is_extended: bool
    start: int
    bits: int
    is_motorola: bool


@dataclass(frozen=True, eq=False)
class DbcMessage:
    """One message of a DBC: its identifier, its length and its signals."""

    name: str
    can_id: int
    is_extended: bool
    length_bytes: int
    cycle_time_ms: int | None
    senders: tuple[str, ...]
    signals: tuple[DbcSignal, ...]
    source: str
    is_fd: bool = False
    """A message of CAN FD: its VFrameFormat says so, or it is longer than 8 bytes."""
    is_brs: bool = True
    """CANFD_BRS: the data of a CAN FD frame go at the data bit rate; without the attribute they do."""
    send_type: str = ""
    """GenMsgSendType as the DBC spells it, for example ``cyclic``; empty where it has none."""

    @cached_property
    def frame_bytes(self) -> int:
        """Data bytes of the frame that carries it: its own, in CAN FD the next length that there is."""
        if not self.is_fd or self.length_bytes <= _CLASSICAL_MAX_BYTES:
            return self.length_bytes
        return next(step for step in _FD_STEPS_BYTES if step >= self.length_bytes)

    @cached_property
    def type(self) -> type[Any]:
        """A frozen ``msgspec.Struct`` made for this message: one field a signal, optional where multiplexed.

        A signal whose name is a Python keyword gets a trailing underscore.
        """
        fields: list[Any] = []
        for signal in sorted(self.signals, key=lambda signal: signal.multiplexer is not None):
            kind = int if signal.is_integer else float
            fields.append((signal.field, kind | None, None) if signal.multiplexer else (signal.field, kind))
        return msgspec.defstruct(self.name, fields, frozen=True, module=f"dbc.{Path(self.source).stem}")

    def __str__(self) -> str:
        identifier = f"{self.can_id:08X}x" if self.is_extended else f"{self.can_id:03X}"
        return f"{self.name} ({identifier}, {self.length_bytes} bytes)"


class Dbc:
    """A loaded DBC file: messages by name, and their classes as attributes (``dbc.BatteryStatus``)."""

    def __init__(self, source: str, messages: Iterable[DbcMessage]) -> None:
        self.source = source
        self.messages: tuple[DbcMessage, ...] = tuple(messages)
        self._by_name = {message.name: message for message in self.messages}

    def message(self, name: str) -> DbcMessage:
        """Return a message.

        Raises:
            ConfigurationError: the DBC has none of that name; similar names are listed.
        """
        try:
            return self._by_name[name]
        except KeyError:
            close = get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {close[0]}? it has" if close else "it has"
            raise ConfigurationError(f"{self.source}: no message {name!r}; {hint} {_some(self._by_name)}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getattr__(self, name: str) -> type[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.message(name).type
        except ConfigurationError as error:
            raise AttributeError(str(error)) from None

    def senders(self) -> dict[str, tuple[tuple[int, bool], ...]]:
        """Return, by sending node, the identifiers it sends as ``(can_id, is_extended)``."""
        by_sender: dict[str, list[tuple[int, bool]]] = {}
        for message in self.messages:
            for sender in message.senders:
                by_sender.setdefault(sender, []).append((message.can_id, message.is_extended))
        return {sender: tuple(ids) for sender, ids in by_sender.items()}

    def places(self) -> dict[str, SignalPlace]:
        """Return where each signal is, by ``Message.Signal``."""
        return {
            f"{message.name}.{signal.name}": _place_of(message, signal)
            for message in self.messages
            for signal in message.signals
        }

    def find(self, can_id: int, is_extended: bool = False) -> DbcMessage | None:
        """Return the message with this identifier, or None."""
        for message in self.messages:
            if message.can_id == can_id and message.is_extended == is_extended:
                return message
        return None


def _place_of(message: DbcMessage, signal: DbcSignal) -> SignalPlace:
    start = signal.shift
    if signal.is_motorola:
        from_left = 8 * message.length_bytes - signal.shift - signal.bits
        start = from_left // 8 * 8 + 7 - from_left % 8
    return SignalPlace(message.can_id, message.is_extended, start, signal.bits, signal.is_motorola)


class _Received(NamedTuple):
    """One signal bound to a place in a class, as decoding wants it; ``plain`` is neither signed nor a float."""

    signal: DbcSignal
    place: int
    convert: Callable[[float], Any] | None
    is_motorola: bool
    shift: int
    mask: int
    plain: bool
    factor: float
    offset: float


class _Sent(NamedTuple):
    """One signal bound to a field of a class, as encoding wants it."""

    signal: DbcSignal
    field: str
    is_motorola: bool
    shift: int
    mask: int
    has_steps: bool
    low: float
    high: float


def _bare(entries: Iterable[N]) -> tuple[N, ...]:
    """Return NamedTuples as tuples without names: a loop takes those apart in a tenth of the time."""
    return cast("tuple[N, ...]", tuple(tuple(entry) for entry in entries))


class _Binding:
    """The compiled way between one class and one message."""

    __slots__ = ("_has_motorola", "_is_multiplexed", "_length", "_make", "_names", "_received", "_sent", "message")

    def __init__(self, message: DbcMessage, cls: type[Any]) -> None:
        names = _field_names(cls)
        _check_names(message, cls, names)
        hints = typing.get_type_hints(cls)
        self.message = message
        self._received = _bare(
            _Received(
                signal,
                names.index(signal.field),
                _converter(message, signal, cls, hints[signal.field]),
                signal.is_motorola,
                signal.shift,
                (1 << signal.bits) - 1,
                not signal.is_float and not signal.is_signed,
                signal.factor,
                signal.offset,
            )
            for signal in message.signals
        )
        self._sent = _bare(
            _Sent(
                signal,
                signal.field,
                signal.is_motorola,
                signal.shift,
                (1 << signal.bits) - 1,
                not signal.is_float,
                *signal.limits,
            )
            for signal in message.signals
        )
        self._length = message.length_bytes
        self._has_motorola = any(signal.is_motorola for signal in message.signals)
        self._is_multiplexed = any(signal.multiplexer for signal in message.signals)
        self._make = _maker(cls, names)
        self._names = tuple(names)

    def decode(self, payload: bytes) -> Any:
        little = int.from_bytes(payload, "little")
        big = int.from_bytes(payload, "big") if self._has_motorola else 0
        values: list[Any] = [None] * len(self._received)
        raws: dict[str, int] = {}
        is_multiplexed = self._is_multiplexed
        for signal, place, convert, is_motorola, shift, mask, plain, factor, offset in self._received:
            raw = (big if is_motorola else little) >> shift & mask
            if is_multiplexed:
                if signal.multiplexer is not None and raws.get(signal.multiplexer, -1) not in signal.present_at:
                    continue
                raws[signal.name] = raw
            value = raw * factor + offset if plain else signal.raw_to_physical(raw)
            values[place] = value if convert is None else convert(value)
        return self._make(*values)

    def fault_of(self, value: Any) -> str:
        """Return which field of ``value`` is no number."""
        for name in self._names:
            if not isinstance(held := getattr(value, name, None), int | float):
                return f"field {name} is {held!r}, expected a number"
        return "a field is no number"

    def encode(self, value: Any) -> bytes:
        little = big = 0
        raws: dict[str, int] = {}
        is_multiplexed = self._is_multiplexed
        for signal, field, is_motorola, shift, mask, has_steps, low, high in self._sent:
            physical = getattr(value, field)
            if is_multiplexed and not self._is_present(signal, raws, physical):
                continue
            if has_steps and low <= physical <= high:
                raw = signal.steps(physical) & mask
            else:
                raw = signal.physical_to_raw(physical)
            if is_multiplexed:
                raws[signal.name] = raw
            if is_motorola:
                big |= raw << shift
            else:
                little |= raw << shift
        length = self._length
        if not self._has_motorola:
            return little.to_bytes(length, "little")
        return (little | int.from_bytes(big.to_bytes(length, "big"), "little")).to_bytes(length, "little")

    @staticmethod
    def _is_present(signal: DbcSignal, raws: Mapping[str, int], physical: object) -> bool:
        if signal.multiplexer is None:
            return True
        selected = raws.get(signal.multiplexer)
        present = selected in signal.present_at
        if present and physical is None:
            raise ValueError(f"signal {signal.name} is None but {signal.multiplexer} = {selected} selects it")
        if not present and physical is not None:
            raise ValueError(
                f"signal {signal.name} is {physical} but only sent when {signal.multiplexer} is one of "
                f"{sorted(signal.present_at)}, found {selected}; set it to None"
            )
        return present


class DbcCodec:
    """Carries messages of one DBC, and other values through ``fallback``.

    A class belongs to the message of its name: the DBC's own class (``dbc.EngineData``), or your dataclass or
    ``msgspec.Struct`` with a field for each signal, no more and no less. Annotations: ``float``, ``int`` (whole
    signals only), ``bool`` (one bit), an ``IntEnum``; with ``| None`` for multiplexed signals. :meth:`bind` checks
    that; the first use binds too.

    Args:
        dbc: The loaded file.
        fallback: Codec for types that are no message of the DBC; None refuses them.
    """

    format_name = "dbc"

    def __init__(self, dbc: Dbc, fallback: Codec | None = None) -> None:
        self.dbc = dbc
        self._fallback = fallback
        self._bindings: dict[type[Any], _Binding] = {}

    def bind(self, cls: type[Any], message: str | None = None) -> DbcMessage:
        """Bind a class to its message (default: the one of the class's name) and return the message.

        Raises:
            ConfigurationError: no such message, unknown or missing fields, or an annotation that cannot hold the
                signal; all of them are listed.
        """
        bound = self.dbc.message(cls.__name__ if message is None else message)
        self._bindings[cls] = _Binding(bound, cls)
        return bound

    def encode_into(self, value: Any, view: memoryview) -> int:
        """Write the frame data of ``value``: as many bytes as the DBC states, unused bits 0."""
        binding = self._bindings.get(type(value)) or self._bound(type(value))
        if binding is None:
            return self._other(type(value)).encode_into(value, view)
        try:
            payload = binding.encode(value)
        except ValueError as error:
            raise CodecError(self.format_name, f"message {binding.message.name}: {error}") from error
        except TypeError as error:
            raise CodecError(self.format_name, f"message {binding.message.name}: {binding.fault_of(value)}") from error
        if len(payload) > len(view):
            raise PayloadOverflow(len(payload), len(view), f"the channel of message {binding.message}")
        view[: len(payload)] = payload
        return len(payload)

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        """Build a ``type`` from exactly the bytes the DBC states; what pads a frame of CAN FD is passed over."""
        binding = self._bindings.get(type) or self._bound(type)
        if binding is None:
            return self._other(type).decode(type, view)
        message = binding.message
        if len(view) != message.length_bytes:
            if len(view) != message.frame_bytes:
                raise CodecError(self.format_name, _length_text(message, len(view)))
            view = view[: message.length_bytes]
        try:
            value: T = binding.decode(view.tobytes())
        except (ValueError, TypeError) as error:
            raise CodecError(self.format_name, f"message {message.name}: {error}") from error
        return value

    def _bound(self, cls: type[Any]) -> _Binding | None:
        if cls.__name__ not in self.dbc:
            return None
        self.bind(cls)
        return self._bindings[cls]

    def _other(self, cls: type[Any]) -> Codec:
        if self._fallback is None:
            raise CodecError(
                self.format_name,
                f"{cls.__name__} is no message of {self.dbc.source}; give a value of a class named like a message, as "
                "load_dbc() makes them, bind() yours to one, or give the codec a fallback",
            )
        return self._fallback


def load_dbc(path: Path | str) -> Dbc:
    """Read a DBC file.

    Raises:
        ConfigurationError: names the file, the line where it is known, what is wrong and the way out: no such file,
            syntax, signals that overlap or leave their message, an identifier or name used twice, a container.
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
    if message.length > _FD_STEPS_BYTES[-1]:
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
        is_fd=message.is_fd or message.length > _CLASSICAL_MAX_BYTES,
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
    if signal.is_float and signal.length not in _FLOATS:
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


def _length_text(message: DbcMessage, found: int) -> str:
    relation = "shorter" if found < message.length_bytes else "longer"
    return (
        f"message {message}: the frame has {found} bytes, expected {message.length_bytes}; it is {relation} than its "
        "DBC message, check that sender and DBC are of one version"
    )


def _unit_text(unit: str) -> str:
    return f" {unit}" if unit else ""


def _some(names: Iterable[str], limit: int = 12) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more or "no messages"
