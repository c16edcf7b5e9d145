"""Recorded logs replayed onto the simulated bus, and recordings of it."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from taktora.can import CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can import CanLog, CanLogError, CanRecording, CanReplay, SimulatedCanBus
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, bus, socket, write


def _record_traffic(path: Path, frames: int = 300) -> None:
    segment = bus()
    CanRecording(segment, path, channel="can0")
    draws = segment.world.stream("traffic")
    sender = socket(segment.node("a", queue_length=100))
    segment.node("listener")
    for number in range(frames):
        is_extended = draws.chance(0.3)
        frame = CanFrame(
            draws.getrandbits(29 if is_extended else 11),
            bytes(draws.getrandbits(8) for _ in range(draws.integer(0, 8))),
            is_extended,
        )
        if number % 20 == 0:
            frame = CanFrame(number, b"", remote=True, dlc=3)
        segment.world.call_at(number * 300_000, partial(sender.send, frame))
    segment.world.run_for(S)
    segment.world.close()


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", ["log", "asc"])
def test_a_recorded_run_replays_with_the_same_order_and_spacing(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    _record_traffic(first)

    segment = bus()
    segment.node("listener")
    CanRecording(segment, second, channel="can0")
    replay = CanReplay(segment, first)
    segment.world.run_for(S)
    segment.world.close()

    original, repeated = list(CanLog(first)), list(CanLog(second))
    assert [record.frame for record in repeated] == [record.frame for record in original]
    shifts = {now.time_ns - then.time_ns for now, then in zip(repeated, original, strict=True)}
    assert len(shifts) == 1
    assert (replay.frames, replay.lost, replay.latest_ns, replay.finished) == (300, 0, 0, True)


@pytest.mark.verifies("REQ_8205")
def test_speed_start_and_channels_choose_what_is_replayed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "two.log",
        "(7.000000) can0 100#",
        "(7.010000) can1 101#",
        "(7.020000) can0 102#",
        "(7.040000) can0 103#",
    )
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    CanReplay(segment, path, channels=["can0"], exclude_ids=[0x103], speed=2.0, start_at_ns=50 * MS)
    segment.world.run_for(S)

    assert log.ids == [0x100, 0x102]
    assert log.times[1] - log.times[0] == 10 * MS
    assert 50 * MS < log.times[0] < 51 * MS


@pytest.mark.verifies("REQ_8205")
def test_identifiers_excluded_later_are_left_out_from_then_on_and_the_rest_keeps_its_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", *(f"(7.0{n}0000) can0 10{n}#" for n in range(5)))
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    replay = CanReplay(segment, path)
    replay.exclude([0x100])
    segment.world.run_for(5 * MS)
    replay.exclude([(0x102, False), (0x103, True)])
    segment.world.run_for(S)

    assert log.ids == [0x101, 0x103, 0x104]
    assert log.times[0] < MS
    assert [time - log.times[0] for time in log.times] == [0, 20 * MS, 30 * MS]
    assert replay.finished


@pytest.mark.verifies("REQ_8205")
def test_a_frame_that_waits_for_its_time_is_left_out_too_when_it_is_excluded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", "(7.000000) can0 100#", "(7.010000) can0 101#", "(7.020000) can0 102#")
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    replay = CanReplay(segment, path)
    segment.world.run_for(5 * MS)
    replay.exclude([0x101])
    segment.world.run_for(S)
    replay.exclude([0x102])

    assert log.ids == [0x100, 0x102]
    assert log.times[1] - log.times[0] == 20 * MS
    assert replay.finished


@pytest.mark.verifies("REQ_8205")
def test_a_loop_begins_again_after_the_last_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "short.log", "(7.000000) can0 100#", "(7.005000) can0 101#")
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    replay = CanReplay(segment, path, loop=True)
    segment.world.run_for(50 * MS)

    assert log.ids[:6] == [0x100, 0x101] * 3
    assert replay.passes >= 3
    assert not replay.finished


@pytest.mark.verifies("REQ_8205", "REQ_8200")
def test_a_frame_that_finds_the_bus_busy_comes_later_and_its_successor_at_its_own_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", "(1.000000) can0 400#", "(1.010000) can0 401#")
    segment, log = bus(), Log()
    rival = socket(segment.node("rival"))
    socket(segment.node("b"), log)

    replay = CanReplay(segment, path, start_at_ns=MS)
    segment.world.call_at(MS - 1000, lambda: rival.send(CanFrame(0x7FF, bytes(8))))
    segment.world.run_for(S)

    assert log.ids == [0x7FF, 0x400, 0x401]
    assert replay.latest_ns > 0
    assert log.times[2] == _first_end(path) + 10 * MS


def _first_end(path: Path) -> int:
    segment, log = bus(), Log()
    socket(segment.node("b"), log)
    CanReplay(segment, path, start_at_ns=MS)
    segment.world.run_for(S)
    return log.times[0]


@pytest.mark.verifies("REQ_8205")
def test_a_time_that_goes_backwards_keeps_the_frame_and_the_order(tmp_path: Path) -> None:
    path = write(tmp_path / "back.log", "(2.000000) can0 100#", "(1.000000) can0 101#", "(2.010000) can0 102#")
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    replay = CanReplay(segment, path)
    segment.world.run_for(S)

    assert log.ids == [0x100, 0x101, 0x102]
    assert replay.log.counts == {"time goes backwards": 1}
    assert all(earlier < later for earlier, later in pairwise(log.times))


@pytest.mark.verifies("REQ_8205")
def test_a_log_without_any_frame_is_refused_with_its_first_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.log", "this is not a log")

    with pytest.raises(CanLogError, match=r"notes\.log.*not one frame.*line 1"):
        CanReplay(bus(), path)


@pytest.mark.verifies("REQ_8205")
def test_a_channel_that_the_log_has_not_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "two.log", "(7.0) can1 100#", "(7.1) can0 101#")

    with pytest.raises(CanLogError, match=r"two\.log: it has no frame of channel 'can3'; its channels are can0, can1$"):
        CanReplay(bus(), path, channels=["can3"])

    CanReplay(bus(), path, channels=["can0"], exclude_ids=[0x101])  # it is there, and nothing of it is wanted


@pytest.mark.verifies("REQ_8205")
def test_a_speed_that_is_not_above_zero_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", "(1.0) can0 100#")

    with pytest.raises(ConfigurationError, match="speed 0"):
        CanReplay(bus(), path, speed=0)


@pytest.mark.verifies("REQ_8205")
def test_a_recording_of_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.txt"):
        CanRecording(bus(), tmp_path / "a.txt")


@pytest.mark.verifies("REQ_8205", "REQ_8000")
def test_recordings_carry_virtual_civil_time_to_the_bit(tmp_path: Path) -> None:
    segment = SimulatedCanBus(World(1, epoch_unix_ns=1_700_000_000 * S), "vehicle")
    CanRecording(segment, tmp_path / "a.log", channel="can0")
    CanRecording(segment, tmp_path / "a.asc", local_node="a")
    sender = socket(segment.node("a"))
    segment.node("listener")

    sender.send(CanFrame(0x123, bytes.fromhex("11223344")))
    sender.send(CanFrame(0x18FEF100, b"", extended=True))
    segment.world.run_for(S)
    segment.world.close()

    lines = (tmp_path / "a.log").read_text().splitlines()
    assert lines == ["(1700000000.000154) can0 123#11223344", "(1700000000.000298) can0 18FEF100#"]
    assert "0.000154 1  123             Tx   d 4 11 22 33 44" in (tmp_path / "a.asc").read_text()


@pytest.mark.verifies("REQ_8205")
def test_problems_of_the_log_are_warnings_of_the_run_and_counted_at_the_end(tmp_path: Path) -> None:
    good = [f"({number}.000000) can0 100#" for number in range(3)]
    path = write(tmp_path / "odd.log", *good, "garbage", "(60.000000) can0 101#", "(3.000000) can0 102#", *["x"] * 30)
    segment, log = bus(), Log()
    socket(segment.node("b"), log)

    CanReplay(segment, path)
    segment.world.run_for(61 * S)
    segment.world.close()

    events = segment.world.recorder.events
    starts = [event.text.split(";")[0][:50] for event in events]
    assert {event.severity for event in events} == {"warning"}
    assert len(events) == 21
    assert starts[0].startswith("CAN log odd.log, line 4: bad line: 'garbage'")
    assert starts[1] == "CAN log odd.log, line 5: gap: 58.000 s without a f"
    assert starts[2].startswith("CAN log odd.log, line 6: time goes backwards")
    assert events[-1].text == "CAN log odd.log: 5 frames; problems: 31 x bad line, 1 x gap, 1 x time goes backwards"
    assert log.ids == [0x100] * 3 + [0x101, 0x102]


@pytest.mark.verifies("REQ_8205")
def test_a_gap_is_no_bad_record(tmp_path: Path) -> None:
    path = write(tmp_path / "gap.log", "(1.000000) can0 100#", "(12.000000) can0 101#", "(22.000000) can0 102#")

    log = CanLog(path, on_bad="raise")

    assert [record.number for record in log] == [1, 2, 3]
    assert log.counts == {"gap": 1}


@pytest.mark.verifies("REQ_8205")
def test_a_time_stamp_of_another_age_is_a_bad_record_and_costs_only_itself(tmp_path: Path) -> None:
    lines = ("(1.000000) can0 100#", "(99999999999.000000) can0 101#", "(1.500000) can0 102#")
    path = write(tmp_path / "age.log", *lines)

    log = CanLog(path)

    assert [record.frame.can_id for record in log] == [0x100, 0x102]
    assert log.counts == {"bad record": 1}
    assert "more than a century after the first one" in log.problems[0].text
