"""What faults are made of: the choice of frames, signals in bits, and what a receiver makes of one wrong bit."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import cantools
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora.codec.dbc import load_dbc
from taktora_sim.can.errors import WireErrorKind
from taktora_sim.can.faults.choice import CHOICE, Choice, parse_ids
from taktora_sim.can.faults.signals import BitRange, CanDatabases, disturbance
from taktora_sim.can.faults.wire import receiver_error
from taktora_sim.can.timing import field_position, wire_image
from taktora_sim.faults import FaultKind
from taktora_sim.streams import Stream
from taktora_sim.world import World
from tests.sim.can.wire_reference import classical_frames, fd_frames, frames, reference

_DBC = """VERSION ""

BS_:

BU_: ECU

BO_ 291 Engine: 8 ECU
 SG_ Counter : 4|4@1+ (1,0) [0|15] "" ECU
 SG_ Speed : 15|12@0+ (0.5,0) [0|2047] "" ECU
 SG_ Torque : 30|10@1- (1,0) [-512|511] "" ECU

BO_ 2147484212 Body: 5 ECU
 SG_ Checksum : 39|8@0+ (1,0) [0|255] "" ECU
"""


def _hits(parameters: dict[str, bool | int | float | str], numbers: range) -> list[int]:
    choice = Choice(FaultKind(print, params=CHOICE).complete(parameters), "test")
    return [number for number in numbers if choice.hits(CanFrame(number % 3, b""))]


@pytest.mark.verifies("REQ_8204")
def test_a_choice_takes_every_nth_of_its_identifiers_and_no_more_than_so_many() -> None:
    assert _hits({}, range(4)) == [0, 1, 2, 3]
    assert _hits({"ids": "1"}, range(9)) == [1, 4, 7]
    assert _hits({"ids": "1, 2", "every": 2}, range(9)) == [2, 5, 8]
    assert _hits({"every": 2, "times": 3}, range(20)) == [1, 3, 5]


@pytest.mark.verifies("REQ_8204")
def test_a_share_is_drawn_from_the_salt() -> None:
    first, again = (_hits({"percent": 25, "salt": 7}, range(1000)) for _ in range(2))

    assert first == again != _hits({"percent": 25, "salt": 8}, range(1000))
    assert 180 < len(first) < 320
    assert _hits({"percent": 0}, range(100)) == []


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize("text", ["12Z", "800", "20000000x", "1,,2", "-1", "x", "1x2", "1_2", "123456789x"])
def test_what_is_no_identifier_is_refused_with_the_range(text: str) -> None:
    kind = FaultKind(print, params=CHOICE)

    with pytest.raises(ValueError, match=r"parameter 'ids' is .*expected an identifier in hexadecimal, 0 to 7FF or"):
        kind.complete({"ids": text})


@pytest.mark.verifies("REQ_8204")
def test_identifiers_of_both_lengths_are_told_apart() -> None:
    assert parse_ids("123, 123x,18FEF100X") == frozenset({(0x123, False), (0x123, True), (0x18FEF100, True)})
    assert parse_ids(" ") is None


@pytest.mark.verifies("REQ_8204")
def test_a_bit_range_changes_its_bits_and_no_others() -> None:
    assert BitRange.parse("4|4@1").change(bytes(2), lambda _: 0xA) == b"\xa0\x00"
    assert BitRange.parse("0|16@1").change(bytes(2), lambda _: 0x1234) == b"\x34\x12"
    assert BitRange.parse("7|16@0").change(b"\xff" * 3, lambda _: 0x1234) == b"\x12\x34\xff"
    assert BitRange.parse("6|1@1").change(b"\xff", lambda raw: raw + 1) == b"\xbf"
    assert BitRange.parse("8|8@1").change(b"\x01", lambda _: 0xFF) == b"\x01"
    assert BitRange.parse("15|8@0").change(b"\x01", lambda _: 0xFF) == b"\x01"


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize("text", ["", "512|1@1", "0|0@1", "0|65@1", "8|4", "8|4@2", "-1|4@1"])
def test_what_is_no_bit_range_is_refused_with_the_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="start 0 to 511, length 1 to 64, order 1"):
        BitRange.parse(text)


@pytest.mark.verifies("REQ_8204")
@given(st.binary(min_size=8, max_size=8), st.sampled_from(["Counter", "Speed", "Torque"]), st.data())
def test_a_signal_by_name_is_where_cantools_finds_it(data: bytes, name: str, draw: st.DataObject) -> None:
    database = cantools.database.load_string(_DBC)
    assert isinstance(database, cantools.database.can.Database)
    message = database.get_message_by_name("Engine")
    signal = next(signal for signal in message.signals if signal.name == name)
    raw = draw.draw(st.integers(0, 2**signal.length - 1))
    before = message.decode(data, scaling=False)

    where = BitRange(signal.start, signal.length, signal.byte_order == "big_endian")
    after = message.decode(where.change(data, lambda _: raw), scaling=False)

    assert int(after[name]) % 2**signal.length == raw  # type: ignore[call-overload,arg-type]
    assert {**after, name: 0} == {**before, name: 0}  # type: ignore[dict-item]


@pytest.mark.verifies("REQ_8204")
def test_signals_of_a_dbc_are_found_by_name_with_their_identifier(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_text(_DBC, encoding="ascii")
    databases = CanDatabases(World(1))
    databases.add("vehicle", load_dbc(path).places())

    assert databases.signal("vehicle", "Engine.Counter") == ((0x123, False), BitRange(4, 4))
    assert databases.signal("vehicle", "Engine.Speed") == ((0x123, False), BitRange(15, 12, True))
    assert databases.signal("vehicle", "Body.Checksum") == ((0x234, True), BitRange(39, 8, True))
    with pytest.raises(ValueError, match=r"Message.Signal of a DBC of bus 'vehicle' such as Engine.Counter"):
        databases.signal("vehicle", "Engine.Countre")
    with pytest.raises(ValueError, match="bus 'other' has no DBC; or give bits"):
        databases.signal("other", "Engine.Counter")


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("freeze", 0, [5, 5, 5, 5]), ("offset", 3, [8, 9, 10, 11]), ("offset", -6, [255, 0, 1, 2]), ("value", 9, [9] * 4)],
)
def test_a_disturbed_signal_stands_still_is_off_or_constant(mode: str, value: int, expected: list[int]) -> None:
    alter = disturbance(BitRange(8, 8), mode, value, Stream(0, "test"))

    changed = [alter(CanFrame(1, bytes((0xAA, number)))) for number in range(5, 9)]

    assert [frame.data[1] for frame in changed] == expected
    assert {frame.data[0] for frame in changed} == {0xAA}


@pytest.mark.verifies("REQ_8204")
def test_a_random_signal_is_the_draws_choice_and_a_frozen_one_is_kept_by_identifier() -> None:
    frame = CanFrame(1, bytes(2))
    first, again = (disturbance(BitRange(0, 8), "random", 0, Stream(3, "test")) for _ in range(2))
    frozen = disturbance(BitRange(0, 8), "freeze", 0, Stream(3, "test"))

    values = [first(frame).data[0] for _ in range(50)]

    assert values == [again(frame).data[0] for _ in range(50)]
    assert len(set(values)) > 20
    assert [frozen(CanFrame(number % 2, bytes((number,)))).data[0] for number in range(4)] == [0, 1, 0, 1]


def _flipped(bits: list[int], position: int) -> list[int]:
    return [bit ^ (number == position) for number, bit in enumerate(bits)]


def _first_run_of_six(bits: list[int]) -> int | None:
    first = 0
    for _, run in groupby(bits):
        length = len(list(run))
        if length >= 6:
            return first + 5
        first += length
    return None


@pytest.mark.verifies("REQ_8204")
@given(classical_frames, st.integers(0, 160))
def test_a_receivers_wrong_bit_is_a_stuff_error_at_the_sixth_equal_bit_and_else_a_wrong_crc(
    frame: CanFrame, bit: int
) -> None:
    end = field_position(frame, "crc_delimiter")
    assume(bit < end)
    sixth = _first_run_of_six(_flipped(reference(frame).bits, bit)[:end])

    found = receiver_error(frame, bit)

    assert found is not None
    assert (found.kind, found.bit) == ((WireErrorKind.CRC, bit) if sixth is None else (WireErrorKind.STUFF, sixth))


@pytest.mark.verifies("REQ_8204")
@given(fd_frames, st.integers(0, 700))
def test_a_fixed_stuff_bit_of_can_fd_that_fits_not_is_a_form_error(frame: CanFrame, bit: int) -> None:
    first, end = field_position(frame, "stuff_count") - 1, field_position(frame, "crc_delimiter")
    assume(bit < end)
    seen = _flipped(reference(frame).bits, bit)
    wrong = [place for place in range(first, end, 5) if seen[place] == seen[place - 1]]
    sixth = _first_run_of_six(seen[:first])

    found = receiver_error(frame, bit)

    assert found is not None
    if sixth is not None:
        assert (found.kind, found.bit) == (WireErrorKind.STUFF, sixth)
    elif wrong:
        assert (found.kind, found.bit) == (WireErrorKind.FORM, wrong[0])
    else:
        assert (found.kind, found.bit) == (WireErrorKind.CRC, bit)


@pytest.mark.verifies("REQ_8204")
@given(frames)
def test_behind_the_crc_a_receivers_wrong_bit_is_an_error_of_form_but_for_the_last(frame: CanFrame) -> None:
    starts = wire_image(frame).starts

    kinds = {bit: receiver_error(frame, bit) for bit in range(starts["crc_delimiter"], starts["intermission"] + 3)}

    last = starts["intermission"] - 1
    assert [kinds[bit] for bit in range(last, last + 4)] == [None] * 4
    assert {bit: error.kind for bit, error in kinds.items() if error} == {
        **dict.fromkeys(range(starts["crc_delimiter"], last), WireErrorKind.FORM),
        starts["ack"]: WireErrorKind.BIT,
    }
