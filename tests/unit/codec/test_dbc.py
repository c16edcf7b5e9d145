"""DBC messages as typed values: against cantools, against bad files and against bad frames."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import cantools
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec import JsonCodec
from taktora.codec.dbc import Dbc, DbcCodec, load_dbc
from taktora.errors import CodecError, ConfigurationError, PayloadOverflow
from taktora.testing.check_codec import check_codec

_TEXT = """VERSION ""

BU_: Engine Body Gauge

BO_ 256 EngineData: 8 Engine
 SG_ Rpm : 0|16@1+ (0.25,0) [0|16000] "rpm" Gauge
 SG_ CoolantTemp : 16|8@1+ (1,-40) [-40|215] "degC" Gauge
 SG_ Gear : 24|4@1+ (1,0) [0|0] "" Gauge
 SG_ Ready : 28|1@1+ (1,0) [0|1] "" Gauge
 SG_ Torque : 32|32@1- (1,0) [0|0] "Nm" Gauge

BO_ 512 BodyControl: 2 Body
 SG_ Mux M : 0|8@1+ (1,0) [0|0] "" Gauge
 SG_ DoorState m0 : 8|4@1+ (1,0) [0|0] "" Gauge
 SG_ Window m1 : 8|8@1- (0.5,0) [0|0] "%" Gauge

BO_ 2566844672 Motorola: 8 Engine
 SG_ First : 7|16@0- (1,0) [0|0] "" Gauge
 SG_ Odd : 19|13@0+ (0.1,-5) [0|0] "" Gauge
 SG_ Last : 38|15@0- (2,3) [0|0] "" Gauge

BO_ 768 Wide: 8 Gauge
 SG_ Counter : 0|64@1+ (1,0) [0|0] "" Body

BO_ 769 Words: 1 Gauge
 SG_ class : 0|8@1+ (1,0) [0|0] "" Body

BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 256 100;
VAL_ 256 Gear 0 "Neutral" 1 "First" 2 "Second" ;
SIG_VALTYPE_ 256 Torque : 1;
"""


class Gear(IntEnum):
    NEUTRAL = 0
    FIRST = 1
    SECOND = 2


@dataclass(frozen=True)
class EngineData:
    Rpm: float
    CoolantTemp: int
    Gear: Gear
    Ready: bool
    Torque: float


def _load(folder: Path, text: str = _TEXT) -> Dbc:
    path = folder / "vehicle.dbc"
    path.write_text(text)
    return load_dbc(path)


@pytest.fixture(scope="module")
def dbc(tmp_path_factory: pytest.TempPathFactory) -> Dbc:
    return _load(tmp_path_factory.mktemp("dbc"))


@pytest.fixture(scope="module")
def oracle(dbc: Dbc) -> Any:
    return cantools.database.load_file(dbc.source)


def _encode(codec: DbcCodec, value: Any, room: int = 8) -> bytes:
    view = memoryview(bytearray(room))
    return bytes(view[: codec.encode_into(value, view)])


_NAMES = ["EngineData", "BodyControl", "Motorola", "Wide"]


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("name", _NAMES)
@given(payload=st.binary(min_size=8, max_size=8))
def test_decoding_any_frame_agrees_with_cantools(dbc: Dbc, oracle: Any, name: str, payload: bytes) -> None:
    message = dbc.message(name)
    frame = payload[: message.length_bytes]
    if name == "BodyControl":  # cantools refuses a multiplexer value that selects nothing
        frame = bytes((frame[0] % 2, frame[1]))

    value = DbcCodec(dbc).decode(message.type, memoryview(frame))
    expected = oracle.decode_message(name, frame, decode_choices=False)

    for signal in message.signals:
        found, wanted = getattr(value, signal.field), expected.get(signal.name)
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))


@pytest.mark.verifies("REQ_0210")
@given(
    rpm=st.floats(0, 16000),
    temperature=st.integers(-40, 215),
    gear=st.integers(0, 15),
    ready=st.booleans(),
    torque=st.floats(width=32, allow_nan=False),
)
def test_encoding_agrees_with_cantools(
    dbc: Dbc, oracle: Any, rpm: float, temperature: int, gear: int, ready: bool, torque: float
) -> None:
    value = dbc.EngineData(Rpm=rpm, CoolantTemp=temperature, Gear=gear, Ready=int(ready), Torque=torque)

    expected = oracle.encode_message(
        "EngineData", {"Rpm": rpm, "CoolantTemp": temperature, "Gear": gear, "Ready": int(ready), "Torque": torque}
    )

    assert _encode(DbcCodec(dbc), value) == expected


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("name", ["Motorola", "Wide"])
@given(payload=st.binary(min_size=8, max_size=8))
def test_a_decoded_value_encodes_to_the_same_signal_bits(dbc: Dbc, name: str, payload: bytes) -> None:
    codec, cls = DbcCodec(dbc), dbc.message(name).type

    value = codec.decode(cls, memoryview(payload))

    assert codec.decode(cls, memoryview(_encode(codec, value))) == value


@pytest.mark.verifies("REQ_0210")
def test_a_dataclass_of_ones_own_carries_enums_flags_and_floats(dbc: Dbc) -> None:
    codec = DbcCodec(dbc)
    value = EngineData(Rpm=812.25, CoolantTemp=-12, Gear=Gear.SECOND, Ready=True, Torque=-3.5)

    back = codec.decode(EngineData, memoryview(_encode(codec, value)))

    assert back == value
    assert isinstance(back.Gear, Gear)
    assert back.Ready is True


@pytest.mark.verifies("REQ_0210", "REQ_0213", "REQ_0214")
def test_the_codec_keeps_the_contract_of_all_codecs(dbc: Dbc) -> None:
    check_codec(
        DbcCodec(dbc),
        [
            EngineData(Rpm=812.25, CoolantTemp=-12, Gear=Gear.SECOND, Ready=True, Torque=-3.5),
            dbc.BodyControl(Mux=1, Window=-3.5),
            dbc.Wide(Counter=2**63 + 1),
        ],
    )


@pytest.mark.verifies("REQ_0210")
def test_a_multiplexed_message_carries_only_what_its_multiplexer_selects(dbc: Dbc) -> None:
    codec, cls = DbcCodec(dbc), dbc.BodyControl

    payload = _encode(codec, cls(Mux=1, Window=-3.5))

    assert payload == b"\x01\xf9"
    assert codec.decode(cls, memoryview(payload)) == cls(Mux=1, DoorState=None, Window=-3.5)
    with pytest.raises(CodecError, match=r"Window is None but Mux = 1"):
        codec.encode_into(cls(Mux=1), memoryview(bytearray(8)))
    with pytest.raises(CodecError, match=r"DoorState is 2 but only sent when Mux is one of \[0\]"):
        codec.encode_into(cls(Mux=1, Window=1.0, DoorState=2), memoryview(bytearray(8)))


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_frame_of_another_length_is_refused_with_both_lengths(dbc: Dbc, length: int) -> None:
    backing = memoryview(bytearray(16))[:length]

    with pytest.raises(CodecError, match=rf"EngineData \(100, 8 bytes\): the frame has {length} bytes, expected 8"):
        DbcCodec(dbc).decode(dbc.EngineData, backing)


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        pytest.param("Rpm", 16000.25, r"Rpm: 16000.25 is outside 0.0..16000 rpm", id="declared range"),
        pytest.param("Gear", 16, r"Gear: 16 is outside 0..15", id="bits"),
        pytest.param("CoolantTemp", math.nan, r"CoolantTemp: nan is outside -40..215 degC", id="not a number"),
        pytest.param("Torque", 1e39, r"Torque: 1e\+39 does not fit a float of 32 bits", id="float overflow"),
        pytest.param("Gear", None, r"field Gear is None, expected a number", id="nothing"),
    ],
)
def test_a_value_out_of_range_is_refused_with_signal_value_and_range(
    dbc: Dbc, field: str, value: Any, text: str
) -> None:
    good = dbc.EngineData(Rpm=0.0, CoolantTemp=0, Gear=0, Ready=0, Torque=0.0)
    bad = msgspec.structs.replace(good, **{field: value})

    with pytest.raises(CodecError, match=text):
        DbcCodec(dbc).encode_into(bad, memoryview(bytearray(8)))


@pytest.mark.verifies("REQ_0213")
def test_a_message_that_does_not_fit_the_channel_is_an_overflow(dbc: Dbc) -> None:
    value = dbc.Wide(Counter=2**64 - 1)

    with pytest.raises(PayloadOverflow) as caught:
        DbcCodec(dbc).encode_into(value, memoryview(bytearray(4)))

    assert (caught.value.actual, caught.value.max) == (8, 4)


@pytest.mark.verifies("REQ_0210")
def test_64_bit_counters_are_exact(dbc: Dbc) -> None:
    codec = DbcCodec(dbc)

    assert codec.decode(dbc.Wide, memoryview(_encode(codec, dbc.Wide(Counter=2**64 - 1)))).Counter == 2**64 - 1


@pytest.mark.verifies("REQ_0210")
def test_a_class_that_does_not_fit_lists_unknown_and_missing_fields(dbc: Dbc) -> None:
    @dataclass
    class BodyControl:
        Mux: int
        Dor: int

    with pytest.raises(ConfigurationError, match=r"no signals: Dor; signals without a field: DoorState, Window"):
        DbcCodec(dbc).bind(BodyControl)


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        pytest.param(int, "factor is 0.25, annotate it as float", id="int for a fraction"),
        pytest.param(str, "use float, int", id="str"),
        pytest.param(bool, "use float, int", id="bool for 16 bits"),
    ],
)
def test_an_annotation_that_cannot_hold_its_signal_is_refused(dbc: Dbc, annotation: type, text: str) -> None:
    cls = msgspec.defstruct(
        "EngineData",
        [("Rpm", annotation), ("CoolantTemp", int), ("Gear", int), ("Ready", bool), ("Torque", float)],
    )

    with pytest.raises(ConfigurationError, match=rf"EngineData.Rpm: {annotation.__name__} cannot hold.*{text}"):
        DbcCodec(dbc).bind(cls)


@pytest.mark.verifies("REQ_0210")
def test_a_class_may_be_bound_to_a_message_of_another_name(dbc: Dbc) -> None:
    @dataclass
    class Lifetime:
        Counter: int

    codec = DbcCodec(dbc)
    message = codec.bind(Lifetime, "Wide")

    assert (message.can_id, message.length_bytes) == (768, 8)
    assert codec.decode(Lifetime, memoryview(b"\x01" + bytes(7))) == Lifetime(1)


@pytest.mark.verifies("REQ_0210")
def test_other_types_go_to_the_fallback_or_are_refused(dbc: Dbc) -> None:
    with_json = DbcCodec(dbc, JsonCodec())

    assert with_json.decode(int, memoryview(_encode(with_json, 42))) == 42
    with pytest.raises(
        CodecError,
        match=r"int is no message of .*; give a value of a class named like a message, as load_dbc\(\) makes them",
    ):
        DbcCodec(dbc).encode_into(42, memoryview(bytearray(8)))


@pytest.mark.verifies("REQ_0210")
def test_messages_tell_identifier_cycle_time_senders_and_values(dbc: Dbc) -> None:
    engine, motorola = dbc.message("EngineData"), dbc.message("Motorola")

    assert (engine.can_id, engine.is_extended, engine.cycle_time_ms) == (0x100, False, 100)
    assert (motorola.can_id, motorola.is_extended) == (0x18FEF100, True)
    assert dbc.senders()["Gauge"] == ((768, False), (769, False))
    assert dbc.find(0x18FEF100, is_extended=True) is motorola
    assert dbc.find(0x100, is_extended=True) is None
    assert engine.signals[2].choices[1] == "First"
    assert dbc.message("Words").signals[0].field == "class_"


@pytest.mark.verifies("REQ_0210")
def test_places_of_signals_are_those_written_in_the_file(dbc: Dbc) -> None:
    places = dbc.places()

    assert places["EngineData.Gear"] == (0x100, False, 24, 4, False)
    assert places["Motorola.First"] == (0x18FEF100, True, 7, 16, True)
    assert places["Motorola.Odd"] == (0x18FEF100, True, 19, 13, True)
    assert places["Motorola.Last"] == (0x18FEF100, True, 38, 15, True)
    assert len(places) == sum(len(message.signals) for message in dbc.messages)


@pytest.mark.verifies("REQ_0210")
def test_an_unknown_message_lists_the_known_ones(dbc: Dbc) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no message 'Engine'; did you mean EngineData\? it has BodyControl, EngineD"
    ):
        dbc.message("Engine")
    with pytest.raises(ConfigurationError, match=r"no message 'Xyz'; it has BodyControl, EngineData"):
        dbc.message("Xyz")
    with pytest.raises(AttributeError, match="no message 'Engine'"):
        _ = dbc.Engine


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        pytest.param("SG_ Gear :", "SG_ Gear ;", r"line 8: Invalid syntax", id="syntax"),
        pytest.param('VERSION ""', "Version <AUTOSAR>", r"line 1: Invalid syntax", id="words"),
        pytest.param("BO_ 512 Body", "BO_ 256 Body", r"lines 5 and 12.*one identifier", id="one id twice"),
        pytest.param("BodyControl:", "EngineData:", r"lines 5 and 12: two messages EngineData", id="one name twice"),
        pytest.param("0|16@1+", "0|20@1+", r"line 5: The signals.*overlapping", id="overlap"),
        pytest.param("Wide: 8", "Wide: 4", r"line 22: The signal Counter does not fit", id="outside the message"),
        pytest.param("BO_ 512 ", "BO_ 4096 ", r"more than 11 bits", id="identifier too large"),
        pytest.param("32|32@1-", "40|24@1-", r"Torque", id="float of 24 bits"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in _TEXT

    with pytest.raises(ConfigurationError, match=rf"(?s)vehicle\.dbc.*{text}"):
        _load(tmp_path, _TEXT.replace(old, new, 1))


def _zip_of(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, _TEXT)
    return packed.getvalue()


_GIVE = "give the path of a .dbc file"
_CONVERT = "'python -m cantools convert FILE vehicle.dbc' makes one of it"
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_KCD = b'<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">'


@pytest.mark.verifies("REQ_0210", "REQ_8510")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", f"the file is empty; {_GIVE}", id="no byte"),
        pytest.param(b" \r\n\t\n", f"the file is empty; {_GIVE}", id="blanks"),
        pytest.param(b"\xef\xbb\xbf\n", f"the file is empty; {_GIVE}", id="mark of UTF-8"),
        pytest.param(_zip_of("vehicle.dbc"), "this is a zip archive, expected a DBC; unpack it", id="zip"),
        pytest.param(
            _zip_of("[Content_Types].xml"),
            f"this is an Office document such as .xlsx, expected a DBC; {_GIVE}",
            id="Office",
        ),
        pytest.param(gzip.compress(_TEXT.encode()), "this is a gzip archive, expected a DBC; unpack it", id="gzip"),
        pytest.param(
            _TEXT.encode("utf-16"),
            "this is text in UTF-16, expected a DBC; save it as Windows-1252 (ANSI) or ASCII",
            id="UTF-16",
        ),
        pytest.param(b"\x7fELF\x02\x01\x01\0\0", f"this is binary, expected a DBC; {_GIVE}", id="binary"),
        pytest.param(_XML + _KCD, f"this is KCD, expected a DBC; {_CONVERT}", id="KCD"),
        pytest.param(_XML + b"<!-- made -->\n<AUTOSAR>", f"this is ARXML, expected a DBC; {_CONVERT}", id="ARXML"),
        pytest.param(
            b"\xd0\xcf\x11\xe0", f"this is an Office document such as .xls, expected a DBC; {_GIVE}", id="xls"
        ),
        pytest.param(_XML + b"<plugin/>", f"this is XML, expected a DBC; {_GIVE}", id="XML"),
        pytest.param(
            b"\n<!DOCTYPE html>", "this is a page of the web, expected a DBC; download the file itself", id="HTML"
        ),
        pytest.param(
            b'FormatVersion=6.0 // Do not edit this line!\nTitle="a"',
            f"this is SYM, expected a DBC; {_CONVERT}",
            id="SYM",
        ),
    ],
)
def test_an_empty_file_and_one_of_another_kind_is_named_as_such(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "vehicle.dbc"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        load_dbc(path)

    assert str(refused.value) == f"DBC {path}: {text}"


@pytest.mark.verifies("REQ_0210", "REQ_8510")
def test_an_identifier_used_twice_is_named_though_the_texts_of_its_values_have_no_message_then(tmp_path: Path) -> None:
    text = _TEXT + '\nVAL_ 512 Gear 0 "off" 1 "on" ;\n'

    with pytest.raises(
        ConfigurationError, match=r"lines 5 and 12: EngineData and BodyControl have one identifier, 256"
    ):
        _load(tmp_path, text.replace("BO_ 512 Body", "BO_ 256 Body", 1))


@pytest.mark.verifies("REQ_0210")
def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.dbc: No such file"):
        load_dbc(tmp_path / "none.dbc")


_FD_TEXT = """VERSION ""

BU_: Radar Fusion

BO_ 1024 Track: 22 Radar
 SG_ Range : 0|16@1+ (0.1,0) [0|6000] "m" Fusion
 SG_ Far : 167|16@0+ (1,0) [0|65535] "" Fusion

BO_ 1025 Short: 4 Radar
 SG_ Level : 0|8@1+ (1,0) [0|255] "" Fusion

BO_ 1026 Old: 4 Radar
 SG_ Level : 0|8@1+ (1,0) [0|255] "" Fusion

BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG","StandardCAN_FD","ExtendedCAN_FD";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 1025 4;
"""


@pytest.fixture
def radar(tmp_path: Path) -> Dbc:
    path = tmp_path / "radar.dbc"
    path.write_text(_FD_TEXT, encoding="cp1252")
    return load_dbc(path)


@pytest.mark.verifies("REQ_0611")
def test_messages_of_can_fd_are_known_by_length_or_frame_format(radar: Dbc) -> None:
    facts = {message.name: (message.is_fd, message.frame_bytes) for message in radar.messages}

    assert facts == {"Track": (True, 24), "Short": (True, 4), "Old": (False, 4)}


@pytest.mark.verifies("REQ_0613", "REQ_0610")
@pytest.mark.parametrize(("found_bytes", "is_taken"), [(21, False), (22, True), (23, False), (24, True), (32, False)])
def test_the_padding_of_an_fd_frame_is_passed_over_and_no_other_length_is(
    radar: Dbc, found_bytes: int, is_taken: bool
) -> None:
    codec, track = DbcCodec(radar), radar.Track(Range=123.4, Far=513)
    frame = bytearray(64)
    assert codec.encode_into(track, memoryview(frame)) == 22

    view = memoryview(frame)[:found_bytes]
    if is_taken:
        assert codec.decode(radar.Track, view) == track
    else:
        with pytest.raises(CodecError, match=rf"Track .*: the frame has {found_bytes} bytes, expected 22; it is"):
            codec.decode(radar.Track, view)


@pytest.mark.verifies("REQ_0612")
def test_a_message_longer_than_any_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.dbc"
    path.write_text(_FD_TEXT.replace("Track: 22", "Track: 65"), encoding="cp1252")

    with pytest.raises(
        ConfigurationError, match=r"\.dbc, line \d+: message Track has 65 bytes; a CAN FD frame carries 64 at most"
    ):
        load_dbc(path)


_ATTRIBUTES_TEXT = """VERSION "1"

BU_: BMS VCU

BO_ 384 Pack: 8 BMS
 SG_ Voltage : 0|16@1+ (0.1,0) [0|1000] "V" VCU
 SG_ Current : 16|8@1- (1,-40) [0|0] "A" VCU
 SG_ Energy : 32|32@1- (1,0) [0|0] "J" VCU

BO_ 385 Track: 12 VCU
 SG_ Range : 0|16@1+ (1,0) [0|0] "m" BMS

BA_DEF_ BO_ "GenMsgSendType" ENUM "cyclic","spontaneous";
BA_DEF_ BO_ "CANFD_BRS" ENUM "0","1";
BA_DEF_ SG_ "GenSigStartValue" FLOAT -1000000 100000000;
BA_DEF_DEF_ "GenMsgSendType" "cyclic";
BA_DEF_DEF_ "CANFD_BRS" "1";
BA_DEF_DEF_ "GenSigStartValue" 0;
BA_ "GenMsgSendType" BO_ 385 1;
BA_ "CANFD_BRS" BO_ 385 0;
BA_ "GenSigStartValue" SG_ 384 Voltage 4000;
BA_ "GenSigStartValue" SG_ 384 Current -5;
BA_ "GenSigStartValue" SG_ 384 Energy 1.5;
SIG_VALTYPE_ 384 Energy : 1;
"""


@pytest.mark.verifies("REQ_8208")
def test_what_a_rest_bus_needs_is_read_from_the_attributes(tmp_path: Path) -> None:
    path = tmp_path / "rest.dbc"
    path.write_text(_ATTRIBUTES_TEXT, encoding="cp1252")

    pack, track = load_dbc(path).messages

    assert [(message.send_type, message.is_brs) for message in (pack, track)] == [
        ("cyclic", True),
        ("spontaneous", False),
    ]
    assert [signal.start_raw for signal in (*pack.signals, *track.signals)] == [4000, -5, 1.5, None]
