"""Values of a rest-bus: each generator gives what it says, within the signal's range, equal on every platform."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec.dbc import DbcSignal
from taktora.errors import ConfigurationError
from taktora_sim.can.restbus.disturbances import Disturbance, Freeze, Offset, RandomValue, WrongValue
from taktora_sim.can.restbus.generators import (
    ALGORITHMS,
    Checksum,
    Constant,
    Counter,
    Generator,
    Moment,
    Ramp,
    Sine,
    Table,
    crc8_j1850,
    sine_of,
)

MS = 1_000_000


def signal(
    bits: int = 16,
    factor: float = 1,
    offset: float = 0,
    *,
    shift: int = 0,
    low: float | None = None,
    high: float | None = None,
    is_signed: bool = False,
    is_float: bool = False,
    is_motorola: bool = False,
) -> DbcSignal:
    return DbcSignal(
        "Level", "Level", shift, bits, is_motorola, is_signed, is_float, factor, offset, low, high, "", {}, None,
        frozenset(),
    )  # fmt: skip


def values(generator: Generator, of: DbcSignal, times_ms: Sequence[float]) -> list[float]:
    function = generator.bind(of)
    return [function(Moment(int(time_ms * MS), number)) for number, time_ms in enumerate(times_ms)]


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize(
    ("generator", "times_ms", "expected"),
    [
        pytest.param(Constant(7), [0, 10], [7, 7], id="constant"),
        pytest.param(Ramp(0, 100, 100), [0, 25, 99, 100, 150], [0, 25, 99, 0, 50], id="ramp"),
        pytest.param(Ramp(100, 0, 100), [0, 25, 100], [100, 75, 100], id="falling ramp"),
        pytest.param(Ramp(0, 100, 100, is_triangle=True), [0, 25, 50, 75, 100], [0, 50, 100, 50, 0], id="triangle"),
        pytest.param(Sine(0, 100, 100), [0, 25, 50, 75, 100], [50, 100, 50, 0, 50], id="sine"),
        pytest.param(Sine(0, 100, 100, phase=0.25), [0, 25, 50], [100, 50, 0], id="sine from its top"),
        pytest.param(Table([1, 5, 3]), [0, 0, 0, 0], [1, 5, 3, 1], id="table"),
        pytest.param(Table([1, 5, 3], then="hold"), [0, 0, 0, 0, 0], [1, 5, 3, 3, 3], id="table held"),
        pytest.param(Table([1, 5], every_ms=20), [0, 19, 20, 39, 40], [1, 1, 5, 5, 1], id="table in time"),
        pytest.param(Table([1, 5], every_ms=20, then="hold"), [0, 20, 400], [1, 5, 5], id="table in time, held"),
    ],
)
def test_a_generator_gives_what_it_says(generator: Generator, times_ms: list[float], expected: list[float]) -> None:
    assert values(generator, signal(), times_ms) == pytest.approx(expected, abs=1e-9)


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize(
    ("counter", "of", "expected"),
    [
        pytest.param(Counter(), signal(2), [0, 1, 2, 3, 0, 1], id="width"),
        pytest.param(Counter(wrap=3), signal(4), [0, 1, 2, 0, 1, 2], id="wrap"),
        pytest.param(Counter(), signal(4, low=1, high=3), [1, 2, 3, 1, 2, 3], id="declared range"),
        pytest.param(Counter(step=2), signal(2), [0, 2, 0, 2, 0, 2], id="step"),
        pytest.param(Counter(step=-1), signal(2), [0, 3, 2, 1, 0, 3], id="down"),
        pytest.param(Counter(start=2), signal(2), [2, 3, 0, 1, 2, 3], id="start"),
        pytest.param(Counter(), signal(2, is_signed=True), [-2, -1, 0, 1, -2, -1], id="signed"),
        pytest.param(Counter(), signal(2, 0.5, 10), [10, 10.5, 11, 11.5, 10, 10.5], id="scaled"),
    ],
)
def test_a_counter_counts_the_raw_values_of_its_signal_and_wraps(
    counter: Counter, of: DbcSignal, expected: list[float]
) -> None:
    assert values(counter, of, [0] * 6) == expected


@pytest.mark.verifies("REQ_8208")
@given(part=st.integers(0, 2**40), whole=st.integers(1, 2**40))
def test_the_sine_is_that_of_mathematics(part: int, whole: int) -> None:
    part %= whole

    assert abs(sine_of(part, whole) - math.sin(2 * math.pi * (part / whole))) < 4e-15


_SINE_BITS = [
    "698f0da49681793f",
    "c087790feba9e23f",
    "4cdc6c75fdffef3f",
    "b92ad620e9ffef3f",
    "09c7ae0699ede1bf",
    "698f0da4968179bf",
]


@pytest.mark.verifies("REQ_8208", "REQ_8001")
def test_the_sine_is_the_same_number_everywhere() -> None:
    found = [struct.pack("<d", sine_of(part, 1009)).hex() for part in (1, 100, 252, 253, 600, 1008)]

    assert found == _SINE_BITS


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize(
    ("generator", "of", "text"),
    [
        pytest.param(Constant(300), signal(8), "300 is outside 0..255", id="constant"),
        pytest.param(Ramp(0, 300, 10), signal(8), "300 is outside 0..255", id="ramp"),
        pytest.param(Sine(-1, 3, 10), signal(8), "-1 is outside 0..255", id="sine"),
        pytest.param(Table([1, 2, 300]), signal(8), "300 is outside 0..255", id="table"),
        pytest.param(Constant(11), signal(8, low=0, high=10), "11 is outside 0..10", id="declared range"),
        pytest.param(Ramp(0, 3, 0), signal(), "a time of 0 ms", id="no period"),
        pytest.param(Sine(0, 3, 10, phase=2), signal(), "phase 2 is outside 0..1", id="phase"),
        pytest.param(Table([]), signal(), "no values", id="empty table"),
        pytest.param(Table([1], then="stop"), signal(), "'loop' or 'hold'.*'stop'", id="end of a table"),  # type: ignore[arg-type]
        pytest.param(Counter(wrap=17), signal(4), "wraps after 17 values, 2 to 16", id="wrap"),
        pytest.param(Counter(step=0), signal(4), "step 0", id="step"),
        pytest.param(Counter(start=16), signal(4), "starts at 16", id="start"),
        pytest.param(Counter(), signal(32, is_float=True), "not a float", id="counter of a float"),
    ],
)
def test_what_does_not_fit_the_signal_is_refused(generator: Generator, of: DbcSignal, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        generator.bind(of)


@pytest.mark.verifies("REQ_8208")
def test_the_checksums_give_the_published_values() -> None:
    digits = b"123456789"

    assert crc8_j1850(digits) == 0x4B
    assert ALGORITHMS["xor"](digits) == 0x31
    assert ALGORITHMS["sum"](digits) == 0x1DD


@pytest.mark.verifies("REQ_8208")
def test_a_checksum_covers_the_other_bytes_and_the_data_identifier() -> None:
    first_byte = signal(8)
    of_profile_1 = Checksum("e2e_p01", data_id=0x123).over(first_byte, 8)

    assert of_profile_1(bytes(8)) == 0xCC  # the example of AUTOSAR's protocol specification
    assert Checksum("xor").over(first_byte, 4)(bytes([0, 1, 2, 4])) == 7
    assert Checksum("xor", first_byte=2).over(first_byte, 4)(bytes([0, 1, 2, 4])) == 6
    assert Checksum("xor", last_byte=1).over(first_byte, 4)(bytes([0, 1, 2, 4])) == 1
    assert Checksum("sum").over(signal(4, shift=4), 2)(bytes([0x0F, 0x03])) == (0x0F + 0x03) % 16
    assert Checksum(len).over(signal(16, shift=0, is_motorola=True), 8)(bytes(8)) == 6


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize(
    ("checksum", "of", "text"),
    [
        pytest.param(Checksum("crc16"), signal(8), "no checksum 'crc16'; there are xor, sum", id="name"),
        pytest.param(Checksum("xor"), signal(4), "needs 8 bits, the signal has 4", id="width"),
        pytest.param(Checksum("e2e_p01"), signal(8), "needs the data_id", id="data identifier"),
        pytest.param(
            Checksum("xor", data_id=0x10000), signal(8), "data_id 0x10000 is outside", id="data identifier size"
        ),
        pytest.param(Checksum("xor", last_byte=8), signal(8), "bytes 0 to 8; the message has 0 to 7", id="bytes"),
        pytest.param(Checksum("xor"), signal(32, is_float=True), "not a float", id="float"),
    ],
)
def test_a_checksum_that_does_not_fit_is_refused(checksum: Checksum, of: DbcSignal, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        checksum.over(of, 8)


@pytest.mark.verifies("REQ_8208")
def test_a_function_whose_checksum_is_too_wide_is_refused_when_it_is_computed() -> None:
    compute = Checksum(lambda _data: 256).over(signal(8), 8)

    with pytest.raises(ConfigurationError, match="0x100 of signal Level does not fit its 8 bits"):
        compute(bytes(8))


def changed(disturbance: Disturbance, of: DbcSignal, *due: int, before: int | None = None) -> list[int]:
    change, sent = disturbance.bind(of), list[int]()
    for raw in due:
        before = change(raw, before)
        sent.append(before)
    return sent


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_disturbances_change_the_bits_that_are_due() -> None:
    of = signal(8, 0.5, low=0, high=100)

    assert changed(WrongValue(120), of, 1, 2) == [240, 240]
    assert changed(Freeze(), of, 5, 6, before=4) == [4, 4]
    assert changed(Freeze(), of, 5, 6) == [5, 5]
    assert changed(Offset(1), of, 1, 2, 255) == [3, 4, 1]
    assert changed(Offset(-1), signal(4), 0, 1) == [15, 0]
    assert changed(Offset(0.5), signal(32, is_float=True), *_floats(1.0, 2.0)) == _floats(1.5, 2.5)


def _floats(*numbers: float) -> list[int]:
    return [struct.unpack("<I", struct.pack("<f", number))[0] for number in numbers]


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_random_values_come_from_the_salt_alone() -> None:
    of = signal(8)
    first, again, other = (changed(RandomValue(salt), of, *range(20)) for salt in (1, 1, 2))

    assert first == again != other
    assert len(set(first)) > 10


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize(
    ("disturbance", "text"),
    [
        pytest.param(WrongValue(300), r"300 is outside 0\.0\.\.127\.5", id="value beyond the bits"),
        pytest.param(Offset(0.1), "0.1 changes nothing: one step is 0.5", id="less than half a step"),
        pytest.param(Offset(128), "wrap after 256 steps", id="once around"),
    ],
)
def test_a_disturbance_that_the_bits_cannot_show_is_refused(disturbance: Disturbance, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        disturbance.bind(signal(8, 0.5, low=0, high=100))
