"""Any message that a DBC can describe: the compiled way, the exact way and cantools give one answer."""

from __future__ import annotations

import dataclasses
import math
import struct
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import cantools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taktora.codec.dbc import DbcCodec, DbcMessage, load_dbc
from taktora.codec.dbc.classes import fields_of
from taktora.codec.dbc.exact import ExactWay
from taktora.codec.dbc.layout import lay_out
from taktora.errors import CodecError, PayloadOverflow

_LENGTHS = [1, 2, 3, 5, 7, 8, 8, 12, 20, 22, 64]
_WIDTHS = [8, 16, 32, 64, 8, 16, 1, 3, 4, 7, 12, 13, 20, 24, 33]
_FACTORS = ["1", "1", "1", "2", "0.1", "0.25", "-0.5", "10", "1e-3", "-1"]
_OFFSETS = ["0", "0", "0", "-40", "0.5", "1000", "-273.15"]


class _Signal(NamedTuple):
    at: int
    bits: int
    is_motorola: bool
    is_signed: bool
    is_float: bool
    factor: str
    offset: str
    range_share: float | None
    """How much of the range of its bits is declared; None for no declaration."""

    @property
    def cells(self) -> set[tuple[int, int]]:
        """The bits it takes, by byte and weight."""
        numbers = range(self.at, self.at + self.bits)
        if self.is_motorola:
            return {(number // 8, 7 - number % 8) for number in numbers}
        return {(number // 8, number % 8) for number in numbers}

    @property
    def range_text(self) -> str:
        if self.range_share is None:
            return "0|0"
        first = -(1 << self.bits - 1) if self.is_signed else 0
        last = first + round(((1 << self.bits) - 1) * self.range_share)
        if self.is_float:
            first, last = -100, 100
        ends = sorted(raw * float(self.factor) + float(self.offset) for raw in (first, last))
        return f"{ends[0]!r}|{ends[1]!r}"

    def line(self, number: int) -> str:
        start = self.at if not self.is_motorola else 8 * (self.at // 8) + 7 - self.at % 8
        marks = f"{0 if self.is_motorola else 1}{'-' if self.is_signed or self.is_float else '+'}"
        return (
            f' SG_ S{number} : {start}|{self.bits}@{marks} ({self.factor},{self.offset}) [{self.range_text}] "" Other\n'
        )


class _Drawn(NamedTuple):
    length: int
    signals: tuple[_Signal, ...]

    @property
    def text(self) -> str:
        lines = "".join(signal.line(number) for number, signal in enumerate(self.signals))
        kinds = "".join(
            f"SIG_VALTYPE_ 256 S{number} : {2 if signal.bits == 64 else 1};\n"
            for number, signal in enumerate(self.signals)
            if signal.is_float
        )
        return f'VERSION ""\nBU_: Node Other\nBO_ 256 Any: {self.length} Node\n{lines}\n{kinds}'


@st.composite
def _signals(draw: st.DrawFn, length: int) -> _Signal:
    bits = draw(st.sampled_from([width for width in _WIDTHS if width <= 8 * length]))
    step = 8 if bits % 8 == 0 and draw(st.booleans()) else 1
    at = draw(st.integers(0, (8 * length - bits) // step)) * step
    return _Signal(
        at,
        bits,
        draw(st.booleans()),
        draw(st.booleans()),
        bits in (32, 64) and draw(st.booleans()),
        draw(st.sampled_from(_FACTORS)),
        draw(st.sampled_from(_OFFSETS)),
        draw(st.none() | st.sampled_from([1.0, 0.5, 0.01])),
    )


@st.composite
def _drawn(draw: st.DrawFn) -> _Drawn:
    length = draw(st.sampled_from(_LENGTHS))
    taken: set[tuple[int, int]] = set()
    signals = []
    for signal in draw(st.lists(_signals(length), min_size=1, max_size=8)):
        if not taken & signal.cells:
            taken |= signal.cells
            signals.append(signal)
    return _Drawn(length, tuple(signals))


class _Ways(NamedTuple):
    message: DbcMessage
    cls: type[Any]
    codec: DbcCodec
    exact: ExactWay
    oracle: Any


def _ways(text: str, shuffled: Any = None) -> _Ways:
    """Load ``text``, and bind the DBC's class or, with a source of randomness, one of another order and other types."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.dbc"
        path.write_text(text)
        dbc = load_dbc(path)
    message = dbc.messages[0]
    cls = message.type if shuffled is None else _own_class(message, shuffled)
    codec = DbcCodec(dbc)
    codec.bind(cls, message.name)
    oracle: Any = cantools.database.load_string(text, database_format="dbc")
    return _Ways(message, cls, codec, ExactWay(message, fields_of(message, cls)), oracle.messages[0])


def _own_class(message: DbcMessage, shuffled: Any) -> type[Any]:
    def kind(signal: Any) -> type:
        if not signal.is_integer or shuffled.random() < 0.3:
            return float
        return bool if signal.bits == 1 else int

    # Types, not their names, since the module of this class knows no names that are made here.
    kinds = [(signal.field, kind(signal)) for signal in message.signals]
    shuffled.shuffle(kinds)
    return dataclasses.make_dataclass("Own", kinds)


def _same(first: Any, second: Any) -> bool:
    """Whether two values are of one type and equal, NaN and the sign of 0 included."""
    if isinstance(first, float) and isinstance(second, float):
        return struct.pack("d", first) == struct.pack("d", second) or (math.isnan(first) and math.isnan(second))
    return type(first) is type(second) and bool(first == second)


def _outcome(encode: Any, value: Any, room: int = 64) -> bytes | tuple[type, str]:
    """Return the bytes, or the error."""
    view = memoryview(bytearray(b"\xff" * room))
    try:
        return bytes(view[: encode(value, view)])
    except (CodecError, PayloadOverflow) as error:
        return type(error), str(error)


@pytest.mark.verifies("REQ_0210")
@settings(max_examples=150, deadline=None)
@given(drawn=_drawn(), shuffled=st.none() | st.randoms(use_true_random=False), data=st.binary(min_size=64, max_size=64))
def test_any_frame_of_any_message_is_decoded_as_by_the_exact_way_and_by_cantools(
    drawn: _Drawn, shuffled: Any, data: bytes
) -> None:
    ways = _ways(drawn.text, shuffled)
    frame = data[: drawn.length]

    value = ways.codec.decode(ways.cls, memoryview(frame))

    by_exact, by_cantools = ways.exact.decode(memoryview(frame)), ways.oracle.decode(frame, decode_choices=False)
    for signal in ways.message.signals:
        found, wanted = getattr(value, signal.field), by_cantools[signal.name]
        assert _same(found, getattr(by_exact, signal.field)), signal
        assert found == type(found)(wanted) or (math.isnan(found) and math.isnan(wanted)), signal


@pytest.mark.verifies("REQ_0210")
@settings(max_examples=150, deadline=None)
@given(drawn=_drawn(), shuffled=st.none() | st.randoms(use_true_random=False), data=st.data())
def test_any_value_of_any_message_is_encoded_or_refused_as_by_the_exact_way(
    drawn: _Drawn, shuffled: Any, data: st.DataObject
) -> None:
    ways = _ways(drawn.text, shuffled)
    values = {signal.field: data.draw(_physical(signal)) for signal in ways.message.signals}
    value = ways.cls(**values)

    room = data.draw(st.sampled_from([64, drawn.length, drawn.length - 1]))
    found = _outcome(ways.codec.encode_into, value, room)

    assert found == _outcome(ways.exact.encode, value, room)
    if isinstance(found, bytes) and all(not math.isnan(each) for each in values.values()):
        named = {signal.name: values[signal.field] for signal in ways.message.signals}
        try:
            by_cantools = ways.oracle.encode(named, strict=False)
        except OverflowError:  # scaled, of 64 bits, and at its end: the nearest float is past it
            assert any(signal.bits == 64 and not signal.is_integer for signal in ways.message.signals)
        else:
            assert found == by_cantools


def _physical(signal: Any) -> st.SearchStrategy[Any]:
    """Values within the range, at its ends, just outside and of the other type."""
    low, high = (max(min(limit, 1e30), -1e30) for limit in signal.limits)
    within = st.floats(low, high, allow_nan=False) if low < high else st.just(low)
    if signal.is_integer:
        within = st.integers(math.ceil(low), math.floor(high)) if math.ceil(low) <= math.floor(high) else st.just(low)
    ends = st.sampled_from([low, high, (low + high) / 2])
    odd = st.sampled_from([low - 1, high + 1, math.nextafter(high, math.inf), math.nan, math.inf, 0, 0.5, -0.0, True])
    return st.one_of(within, within, within, within, within, ends, odd)


@pytest.mark.verifies("REQ_0210")
@settings(max_examples=100, deadline=None)
@given(drawn=_drawn(), data=st.binary(min_size=64, max_size=64))
def test_what_was_decoded_is_encoded_to_the_bytes_of_cantools(drawn: _Drawn, data: bytes) -> None:
    ways = _ways(drawn.text)
    frame = data[: drawn.length]
    value = ways.codec.decode(ways.cls, memoryview(frame))
    decoded = ways.oracle.decode(frame, decode_choices=False)

    found = _outcome(ways.codec.encode_into, value)

    assert found == _outcome(ways.exact.encode, value)
    if isinstance(found, bytes) and not any(math.isnan(each) for each in decoded.values()):
        assert found == ways.oracle.encode(decoded, strict=False)


_CASES = {
    "five": """ SG_ Rpm : 0|16@1+ (0.25,0) [0|16000] "" B
 SG_ Temperature : 16|8@1+ (1,-40) [-40|215] "" B
 SG_ Gear : 24|4@1- (1,0) [0|0] "" B
 SG_ Torque : 39|16@0- (0.1,0) [-3000|3000] "" B
 SG_ Counter : 60|4@1+ (1,0) [0|15] "" B
""",
    "one": ' SG_ Opening : 0|16@1+ (0.1,0) [0|6553.5] "" B\n',
    "nibbles": "".join(f' SG_ N{i} : {4 * i}|4@1{"+-"[i % 2]} (1,0) [0|0] "" B\n' for i in range(16)),
    "odd widths": ' SG_ A : 4|20@1- (1,0) [0|0] "" B\n SG_ C : 39|24@0+ (0.5,1) [0|0] "" B\n',
}


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("name", _CASES)
@given(data=st.binary(min_size=8, max_size=8))
@example(bytes(8))
@example(b"\xff" * 8)
def test_messages_of_usual_shapes_are_compiled_and_come_back_as_they_were(name: str, data: bytes) -> None:
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 8 A\n{_CASES[name]}')
    assert lay_out(ways.message) is not None

    value = ways.codec.decode(ways.cls, memoryview(data))

    assert value == ways.exact.decode(memoryview(data))
    assert _outcome(ways.codec.encode_into, value) == _outcome(ways.exact.encode, value)


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("lines", "value_types"),
    [
        pytest.param(' SG_ M M : 0|8@1+ (1,0) [0|0] "" B\n SG_ P m0 : 8|8@1+ (1,0) [0|0] "" B\n', "", id="multiplexed"),
        pytest.param(' SG_ F : 4|32@1- (1,0) [0|0] "" B\n', "SIG_VALTYPE_ 256 F : 1;\n", id="float across bytes"),
        pytest.param(
            ' SG_ L : 4|8@1+ (1,0) [0|0] "" B\n SG_ G : 3|8@0+ (1,0) [0|0] "" B\n', "", id="two orders in one byte"
        ),
    ],
)
def test_a_message_without_a_layout_goes_the_exact_way(lines: str, value_types: str) -> None:
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 8 A\n{lines}\n{value_types}')
    frame = bytes([0, 1, 2, 3, 4, 0, 0, 0])

    value = ways.codec.decode(ways.cls, memoryview(frame))

    assert lay_out(ways.message) is None
    assert value == ways.exact.decode(memoryview(frame))
    assert _outcome(ways.codec.encode_into, value) == ways.oracle.encode(
        {key: held for key, held in ways.oracle.decode(frame).items() if held is not None}
    )


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(("line", "text"), [("0|32@1- (1,0)", "too large"), ("0|32@1- (0.5,0)", "too large")])
def test_a_number_beyond_all_floats_is_refused_by_name(line: str, text: str) -> None:
    lines = f'BO_ 256 Any: 8 A\n SG_ F : {line} [0|0] "" B\n\nSIG_VALTYPE_ 256 F : 1;\n'
    ways = _ways(f'VERSION ""\nBU_: A B\n{lines}')

    with pytest.raises(CodecError, match=rf"message Any: .*{text}"):
        ways.codec.encode_into(ways.cls(10**400), memoryview(bytearray(8)))


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("sign", "value", "payload"), [("+", 2.0**64, b"\xff" * 8), ("-", 2.0**63, b"\xff" * 7 + b"\x7f")]
)
def test_the_largest_float_of_64_bits_is_the_last_step_though_it_is_past_it(
    sign: str, value: float, payload: bytes
) -> None:
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 8 A\n SG_ S : 0|64@1{sign} (1,0.5) [0|0] "" B\n')

    assert _outcome(ways.codec.encode_into, ways.cls(value)) == payload


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(("bits", "factor"), [(63, "1E-009"), (52, "8.5E-008")])
def test_the_largest_float_is_the_last_step_where_its_quotient_is_past_that_and_bytes_are_shared(
    bits: int, factor: str
) -> None:
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 8 A\n SG_ S : 0|{bits}@1+ ({factor},0) [0|0] "" B\n')
    value = ways.cls(ways.message.signals[0].limits[1])

    assert _outcome(ways.codec.encode_into, value) == ((1 << bits) - 1).to_bytes(8, "little")
    assert _outcome(ways.exact.encode, value) == ((1 << bits) - 1).to_bytes(8, "little")


class _Octet:
    """An integer of 8 bits as array libraries have them: no ``int``, and what it is shifted by is lost."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number

    def __le__(self, other: int) -> bool:
        return self._number <= other

    def __ge__(self, other: int) -> bool:
        return self._number >= other

    def __and__(self, other: int) -> _Octet:
        return _Octet(self._number & other & 0xFF)

    def __lshift__(self, bits: int) -> _Octet:
        return _Octet(self._number << bits & 0xFF)

    def __or__(self, other: _Octet) -> _Octet:
        return _Octet(self._number | other._number)

    def __sub__(self, other: int) -> _Octet:
        return _Octet(self._number - other & 0xFF)


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("order", ["@1+", "@0+"])
def test_an_integer_of_few_bits_that_is_no_int_loses_none_where_signals_share_bytes(order: str) -> None:
    starts = (0, 6) if order == "@1+" else (7, 1)
    signals = "".join(
        f' SG_ S{n} : {at}|{bits}{order} (1,0) [0|0] "" B\n'
        for n, (at, bits) in enumerate(zip(starts, (6, 8), strict=True))
    )
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 2 A\n{signals}')

    found = _outcome(ways.codec.encode_into, ways.cls(_Octet(5), _Octet(0xA5)))

    assert found == _outcome(ways.codec.encode_into, ways.cls(5, 0xA5))


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("bits", [16, 24])
def test_an_integer_of_few_bits_that_is_no_int_loses_none_to_an_offset(bits: int) -> None:
    ways = _ways(f'VERSION ""\nBU_: A B\nBO_ 256 Any: 3 A\n SG_ S : 0|{bits}@1+ (1,-300) [0|0] "" B\n')

    for encode in (ways.codec.encode_into, ways.exact.encode):
        assert _outcome(encode, ways.cls(_Octet(250))) == (550).to_bytes(3, "little")


class _Mode(IntEnum):
    OFF = 0
    ON = 1


@dataclasses.dataclass
class _Pump:
    Mode: _Mode
    Level: float


@pytest.mark.verifies("REQ_0210")
def test_a_value_that_an_enum_has_not_is_refused_with_the_message() -> None:
    lines = ' SG_ Level : 0|16@1+ (1,0) [0|0] "" B\n SG_ Mode : 16|2@1+ (1,0) [0|0] "" B\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pump.dbc"
        path.write_text(f'VERSION ""\nBU_: A B\nBO_ 256 Pump: 3 A\n{lines}')
        codec = DbcCodec(load_dbc(path))
    codec.bind(_Pump, "Pump")

    assert codec.decode(_Pump, memoryview(b"\x05\x00\x01")) == _Pump(_Mode.ON, 5.0)
    assert isinstance(codec.decode(_Pump, memoryview(b"\x05\x00\x01")).Level, float)
    with pytest.raises(CodecError, match="message Pump: 2 is not a valid _Mode"):
        codec.decode(_Pump, memoryview(b"\x05\x00\x02"))
