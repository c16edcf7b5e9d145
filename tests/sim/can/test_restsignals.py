"""Frames of a rest-bus message: equal to what cantools makes of them, checksums and disturbances in their order."""

from __future__ import annotations

import struct
from pathlib import Path

import cantools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec.dbc import Dbc, load_dbc
from taktora.errors import ConfigurationError
from taktora_sim.can.restbus.disturbances import Freeze, Offset, WrongValue
from taktora_sim.can.restbus.generators import Checksum, Counter, Moment, Sine, Table, crc8_j1850
from taktora_sim.can.restbus.signals import RestFrame
from tests.sim.can.restbus_dbc import VEHICLE, write_dbc


@pytest.fixture(scope="module")
def dbc(tmp_path_factory: pytest.TempPathFactory) -> Dbc:
    return load_dbc(write_dbc(tmp_path_factory.mktemp("dbc")))


@pytest.fixture(scope="module")
def oracle() -> cantools.database.can.Database:
    database = cantools.database.load_string(VEHICLE, "dbc")
    assert isinstance(database, cantools.database.can.Database)
    return database


def frame(dbc: Dbc, name: str) -> RestFrame:
    return RestFrame(dbc.message(name))


def sent(of: RestFrame, times: int) -> list[bytes]:
    return [of.build(Moment(number * 10_000_000, number)) for number in range(times)]


@pytest.mark.verifies("REQ_8208")
def test_without_generators_a_message_has_its_start_values(dbc: Dbc, oracle: cantools.database.can.Database) -> None:
    data = frame(dbc, "PackStatus").build(Moment(0, 0))

    assert oracle.decode_message("PackStatus", data, decode_choices=False) == {
        "Voltage": 400.0,
        "Current": -5,
        "Mode": 1,  # nearest to 0 within its declared range, for want of a start value
        "Alive": 0,
        "Check": 0,
    }


@pytest.mark.verifies("REQ_8208")
@given(
    voltage=st.integers(0, 10_000),
    current=st.integers(-128, 127),
    mode=st.integers(1, 3),
    power=st.floats(width=32, allow_nan=False, allow_infinity=False),
    position=st.integers(-32768, 32767),
)
def test_every_value_in_range_is_what_cantools_decodes(
    dbc: Dbc,
    oracle: cantools.database.can.Database,
    voltage: int,
    current: int,
    mode: int,
    power: float,
    position: int,
) -> None:
    pack, motion = frame(dbc, "PackStatus"), frame(dbc, "Motion")
    pack.signal("Voltage").set(voltage / 10)
    pack.signal("Current").set(lambda _moment: current)
    pack.signal("Mode").set(mode)
    motion.signal("Power").set(power)
    motion.signal("Position").set(position * 0.5)

    first = oracle.decode_message("PackStatus", pack.build(Moment(0, 0)), decode_choices=False)
    second = oracle.decode_message("Motion", motion.build(Moment(0, 0)), decode_choices=False)

    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["Voltage"] == pytest.approx(voltage / 10)
    assert (first["Current"], first["Mode"]) == (current, mode)
    assert second == {"Power": struct.unpack("<f", struct.pack("<f", power))[0], "Position": position * 0.5}
    assert pack.signal("Voltage").value == pytest.approx(voltage / 10)


@pytest.mark.verifies("REQ_8208")
def test_a_multiplexer_goes_round_what_is_behind_it(dbc: Dbc, oracle: cantools.database.can.Database) -> None:
    modules = frame(dbc, "Modules")
    modules.signal("Temp2").set(Counter())

    found = [oracle.decode_message("Modules", data) for data in sent(modules, 7)]

    assert found == [
        {"Module": 0, "Volt0": 0},
        {"Module": 2, "Temp2": 1},
        {"Module": 5, "Inner": 1, "Deep1": 0},
        {"Module": 0, "Volt0": 0},
        {"Module": 2, "Temp2": 4},
        {"Module": 5, "Inner": 3, "Deep3": 0},
        {"Module": 0, "Volt0": 0},
    ]


@pytest.mark.verifies("REQ_8208")
def test_a_multiplexer_keeps_the_value_it_is_given(dbc: Dbc, oracle: cantools.database.can.Database) -> None:
    modules = frame(dbc, "Modules")
    modules.signal("Module").set(2)

    assert [oracle.decode_message("Modules", data) for data in sent(modules, 2)] == [{"Module": 2, "Temp2": 0}] * 2


@pytest.mark.verifies("REQ_8208")
def test_a_frame_of_can_fd_is_padded_to_a_length_that_there_is(
    dbc: Dbc, oracle: cantools.database.can.Database
) -> None:
    track = frame(dbc, "Track")
    track.signal("Range").set(Sine(0, 200, 1000))
    track.signal("Far").set(513)

    data = sent(track, 26)[25]

    assert (len(data), data[10:]) == (12, bytes(2))
    assert oracle.decode_message("Track", data[:10]) == {"Range": 200, "Far": 513}


@pytest.mark.verifies("REQ_8208")
def test_a_value_can_be_given_by_its_name(dbc: Dbc, oracle: cantools.database.can.Database) -> None:
    pack = frame(dbc, "PackStatus")
    pack.signal("Mode").set("Drive")

    decoded = oracle.decode_message("PackStatus", pack.build(Moment(0, 0)))

    assert isinstance(decoded, dict)
    assert str(decoded["Mode"]) == "Drive"


def secured(dbc: Dbc) -> RestFrame:
    pack = frame(dbc, "PackStatus")
    pack.signal("Alive").set(Counter())
    pack.signal("Check").set(Checksum("crc8_j1850"))
    return pack


def is_right(data: bytes) -> bool:
    return data[7] == crc8_j1850(data[:7])


@pytest.mark.verifies("REQ_8208")
def test_a_checksum_fits_the_frame_it_is_in(dbc: Dbc) -> None:
    frames = sent(secured(dbc), 20)

    assert all(is_right(data) for data in frames)
    assert len({data[7] for data in frames}) == 16
    assert [data[3] >> 4 for data in frames[14:18]] == [14, 15, 0, 1]


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_a_wrong_checksum_stays_wrong_as_often_as_asked(dbc: Dbc) -> None:
    pack = secured(dbc)
    pack.signal("Check").disturb(Offset(1), times=2)

    assert [is_right(data) for data in sent(pack, 4)] == [False, False, True, True]


@pytest.mark.verifies("REQ_8204", "REQ_8208")
@pytest.mark.parametrize("keep_checksum", [True, False])
def test_a_disturbed_signal_has_a_checksum_that_fits_or_not_as_asked(dbc: Dbc, keep_checksum: bool) -> None:
    pack = secured(dbc)
    pack.signal("Alive").disturb(Freeze(), times=3, keep_checksum=keep_checksum)
    pack.signal("Voltage").disturb(WrongValue(6553.5), times=1)

    frames = sent(pack, 5)

    assert [data[3] >> 4 for data in frames] == [0, 0, 0, 3, 4]
    assert [data[:2] == b"\xff\xff" for data in frames] == [True, False, False, False, False]
    assert [is_right(data) for data in frames] == [True, keep_checksum, keep_checksum, True, True]


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_a_disturbance_ends_when_it_is_ended_and_others_go_on(dbc: Dbc) -> None:
    pack = frame(dbc, "PackStatus")
    voltage = pack.signal("Voltage")
    end = voltage.disturb(Offset(1))
    voltage.disturb(Offset(2))

    first = volts_of(pack)
    end()
    end()

    assert [first, volts_of(pack)] == pytest.approx([403, 402])


def volts_of(pack: RestFrame) -> float | None:
    pack.build(Moment(0, 0))
    return pack.signal("Voltage").value


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_a_frozen_signal_keeps_what_was_sent_last(dbc: Dbc) -> None:
    pack = frame(dbc, "PackStatus")
    pack.signal("Voltage").set(Table([1, 2, 3, 4, 5]))
    sent(pack, 2)
    pack.signal("Voltage").disturb(Freeze(), times=2, keep_checksum=False)

    volts = []
    for number in range(2, 5):
        pack.build(Moment(0, number))
        volts.append(pack.signal("Voltage").value)

    assert volts == pytest.approx([2, 2, 5])


@pytest.mark.verifies("REQ_8208")
def test_a_disturbed_multiplexer_changes_no_more_than_itself(dbc: Dbc) -> None:
    modules = frame(dbc, "Modules")
    modules.signal("Module").set(0)
    modules.signal("Volt0").set(7)
    modules.signal("Module").disturb(WrongValue(9))

    assert modules.build(Moment(0, 0)).hex() == "0907000000000000"


@pytest.mark.verifies("REQ_8208")
def test_what_is_not_there_or_out_of_range_is_refused_with_the_nearest_name(dbc: Dbc) -> None:
    pack = frame(dbc, "PackStatus")

    with pytest.raises(ConfigurationError, match=r"PackStatus has no signal 'Voltag'; did you mean 'Voltage'\? there"):
        pack.signal("Voltag")
    with pytest.raises(ConfigurationError, match=r"rest-bus signal PackStatus\.Voltage: 1001 is outside 0\..*1000.* V"):
        pack.signal("Voltage").set(1001)
    with pytest.raises(ConfigurationError, match=r"PackStatus\.Voltage: \[1\] is no number, no generator"):
        pack.signal("Voltage").set([1])  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"PackStatus\.Mode: it has no value named 'Driv'; did you mean 'Drive'"
    ):
        pack.signal("Mode").set("Driv")
    with pytest.raises(ConfigurationError, match=r"PackStatus\.Alive: a disturbance of 0 sendings"):
        pack.signal("Alive").disturb(Freeze(), times=0)


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(1001, r"PackStatus\.Voltage: 1001 is outside .* at sending 1", id="range"),
        pytest.param("much", r"PackStatus\.Voltage: 'much' is no number at sending 1", id="text"),
        pytest.param(float("nan"), r"PackStatus\.Voltage: nan is outside", id="nan"),
        pytest.param(None, r"PackStatus\.Voltage: None is no number", id="nothing"),
    ],
)
def test_a_function_that_gives_no_value_of_the_signal_is_refused_when_it_is_sent(
    dbc: Dbc, value: object, text: str
) -> None:
    pack = frame(dbc, "PackStatus")
    pack.signal("Voltage").set(lambda _moment: value)  # type: ignore[arg-type,return-value]

    with pytest.raises(ConfigurationError, match=text):
        pack.build(Moment(0, 0))


@pytest.mark.verifies("REQ_8208")
@pytest.mark.parametrize("start", ["65536", "-32769"])
def test_a_start_value_that_does_not_fit_its_signal_is_refused(tmp_path: Path, start: str) -> None:
    dbc = load_dbc(write_dbc(tmp_path, VEHICLE.replace("Voltage 4000", f"Voltage {start}")))

    with pytest.raises(ConfigurationError, match=rf"PackStatus\.Voltage: GenSigStartValue {start}.* its 16 bits"):
        frame(dbc, "PackStatus")


@pytest.mark.verifies("REQ_8208")
def test_a_signal_of_factor_0_is_refused(tmp_path: Path) -> None:
    dbc = load_dbc(write_dbc(tmp_path, VEHICLE.replace("(0.1,0)", "(0,0)")))

    with pytest.raises(ConfigurationError, match=r"PackStatus\.Voltage: its factor is 0"):
        frame(dbc, "PackStatus")


@pytest.mark.verifies("REQ_8208")
def test_a_declared_range_beyond_the_bits_counts_as_the_bits(tmp_path: Path) -> None:
    dbc = load_dbc(write_dbc(tmp_path, VEHICLE.replace("[1|3]", "[-5|300]")))
    mode = frame(dbc, "PackStatus").signal("Mode")

    mode.set(15)
    with pytest.raises(ConfigurationError, match=r"16 is outside 0\.*15"):
        mode.set(16)


@pytest.mark.verifies("REQ_8208")
def test_a_range_that_the_bits_cannot_reach_leaves_the_start_at_raw_0_and_takes_no_value(tmp_path: Path) -> None:
    dbc = load_dbc(write_dbc(tmp_path, VEHICLE.replace("[1|3]", "[20|30]")))
    pack = frame(dbc, "PackStatus")

    pack.build(Moment(0, 0))

    assert pack.signal("Mode").value == 0
    with pytest.raises(ConfigurationError, match=r"PackStatus\.Mode: 15 is outside 20\.\.15"):
        pack.signal("Mode").set(15)
