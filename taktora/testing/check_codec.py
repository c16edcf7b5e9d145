"""The codec contract in executable form: run it against any codec; it needs no test framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from taktora.codec.base import Codec
from taktora.codec.binary import F64, I32, U16, Bool
from taktora.errors import CodecError, PayloadOverflow

__all__ = ["Probe", "check_codec"]

_ROOM_BYTES = 4096


@dataclass(frozen=True)
class Probe:
    """The record that ``check_codec`` uses unless it is given others; every codec of taktora can carry it."""

    count: U16
    offset: I32
    level: F64
    on: Bool


_PROBES = (Probe(0, 0, 0.0, False), Probe(65535, -(2**31), -1.5e300, True), Probe(513, 77, 0.1, True))


def check_codec(codec: Codec, values: Iterable[Any] = _PROBES) -> None:
    """Run every check on every value.

    Args:
        codec: The codec to check.
        values: Values whose type is what ``decode`` is asked for and whose equality tells a round trip.

    Raises:
        AssertionError: the contract is broken; the message names the check, the value and what was seen.
    """
    _named(codec)
    for value in values:
        for check in _CHECKS:
            try:
                check(codec, value)
            except Exception as cause:
                name = check.__name__.strip("_")
                raise AssertionError(f"check_codec, {name}, {value!r}: {type(cause).__name__}: {cause}") from cause
    _foreign_values_are_refused(codec)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _encoded(codec: Codec, value: Any) -> bytes:
    room = bytearray(_ROOM_BYTES)
    length = codec.encode_into(value, memoryview(room))
    _require(0 <= length <= _ROOM_BYTES, f"encode_into returned {length} for {_ROOM_BYTES} bytes of room")
    return bytes(room[:length])


def _named(codec: Codec) -> None:
    name = codec.format_name
    _require(name and name == name.lower(), f"format_name is {name!r}")


def _round_trips(codec: Codec, value: Any) -> None:
    decoded = codec.decode(type(value), memoryview(_encoded(codec, value)))
    _require(decoded == value and type(decoded) is type(value), f"decoded {decoded!r}")


def _is_deterministic(codec: Codec, value: Any) -> None:
    _require(_encoded(codec, value) == _encoded(codec, value), "two encodings differ")


def _writes_only_what_it_reports(codec: Codec, value: Any) -> None:
    length = len(_encoded(codec, value))
    room = bytearray(b"\xa5" * (length + 16))
    codec.encode_into(value, memoryview(room)[8:])
    _require(bytes(room[:8]) == b"\xa5" * 8, "bytes before the view were written")
    _require(bytes(room[8 + length :]) == b"\xa5" * 8, "bytes beyond the reported length were written")


def _fits_exactly(codec: Codec, value: Any) -> None:
    length = len(_encoded(codec, value))
    _require(codec.encode_into(value, memoryview(bytearray(length))) == length, "an exact buffer was not filled")


def _reports_overflow(codec: Codec, value: Any) -> None:
    length = len(_encoded(codec, value))
    for room in {0, length // 2, length - 1} - {length, -1}:
        try:
            codec.encode_into(value, memoryview(bytearray(room)))
        except PayloadOverflow as overflow:
            found = (overflow.actual, overflow.max)
            _require(found == (length, room), f"overflow carries {found}, expected {(length, room)}")
        else:
            raise AssertionError(f"{length} bytes went into {room}")
    _round_trips(codec, value)


def _reads_read_only_views(codec: Codec, value: Any) -> None:
    view = memoryview(_encoded(codec, value)).toreadonly()
    _require(codec.decode(type(value), view) == value, "a read-only view was not decoded")


def _reads_only_the_payload(codec: Codec, value: Any) -> None:
    encoded = _encoded(codec, value)
    for tail in (b"\x00" * 8, b"\xff" * 8, b"}]9\xc0"):
        view = memoryview(tail + encoded + tail)[len(tail) : len(tail) + len(encoded)]
        _require(codec.decode(type(value), view) == value, "bytes around the payload changed the value")


def _refuses_every_truncation(codec: Codec, value: Any) -> None:
    encoded = memoryview(_encoded(codec, value))
    for length in range(len(encoded)):
        _refuses(codec, lambda length=length: codec.decode(type(value), encoded[:length]), f"{length} bytes")  # type: ignore[misc]


def _refuses_trailing_bytes(codec: Codec, value: Any) -> None:
    view = memoryview(_encoded(codec, value) + b"\x01")
    _refuses(codec, lambda: codec.decode(type(value), view), "one byte too many")


def _foreign_values_are_refused(codec: Codec) -> None:
    room = memoryview(bytearray(_ROOM_BYTES))
    _refuses(codec, lambda: codec.encode_into(object(), room), "an object without fields")


def _refuses(codec: Codec, act: Callable[[], object], what: str) -> None:
    try:
        act()
    except CodecError as error:
        _require(error.format_name == codec.format_name, f"{what}: error names {error.format_name!r}")
        _require(error.cause, f"{what}: error names no cause")
    else:
        raise AssertionError(f"{what} was accepted, expected CodecError")


_CHECKS: tuple[Callable[[Codec, Any], None], ...] = (
    _round_trips,
    _is_deterministic,
    _writes_only_what_it_reports,
    _fits_exactly,
    _reports_overflow,
    _reads_read_only_views,
    _reads_only_the_payload,
    _refuses_every_truncation,
    _refuses_trailing_bytes,
)
