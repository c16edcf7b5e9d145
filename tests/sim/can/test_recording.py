"""Recordings of the simulated bus: to the byte what candump writes, and what python-can, can-utils and tshark read."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora.can.dlc import FD_LENGTHS
from taktora.errors import ConfigurationError
from taktora_sim.can import BusFrame, CanLog, CanRecording, CanReplay, SimulatedCanBus
from taktora_sim.can.errors import Attempt, BusError, WireError, WireErrorKind
from taktora_sim.world import EPOCH_UNIX_NS, World
from tests.patience import PATIENCE_S
from tests.sim.can.support import S, bus, socket

_FRAMES = [
    CanFrame(0x123, bytes.fromhex("11223344")),
    CanFrame(0x18FEF100, b"", True),
    CanFrame(5, b"", remote=True, dlc=3),
    CanFrame(0x321, bytes(range(12)), fd=True, brs=True),
    CanFrame(0x18FEF100, bytes(20), True, fd=True, brs=True, esi=True),
    CanFrame(0x7FF, b"", fd=True),
]


def fd_bus() -> SimulatedCanBus:
    segment = SimulatedCanBus(World(1), "vehicle", data_bitrate=2_000_000)
    segment.node("b")
    return segment


def frames_of(events: list[BusFrame]) -> list[CanFrame]:
    return [event.frame._replace(timestamp_ns=0) for event in events]


def record(path: Path, frames: list[CanFrame], *, errors: bool = False) -> tuple[list[BusFrame], list[BusError]]:
    """Record frames that node ``a`` sends; with ``errors`` each of the first five is destroyed once."""
    segment = fd_bus()
    seen: list[BusFrame] = []
    destroyed: list[BusError] = []
    segment.observe(seen.append)
    segment.observe_errors(destroyed.append)
    CanRecording(segment, path, channel="can0", local_node="a")
    kinds = iter(WireErrorKind)

    def spoil(attempt: Attempt) -> WireError | None:
        kind = next(kinds, None) if attempt.number == 1 else None
        return None if kind is None else WireError(kind, 30)

    if errors:
        segment.wire_faults.append(spoil)
    node = segment.node("a", queue_length=1000)
    for frame in frames:
        node.transmit(frame)
    segment.world.run_for(S)
    segment.world.close()
    return seen, destroyed


_GOLDEN_LOG = """\
(1767225600.000096) can0 20000088#0000100A00000000
(1767225600.000256) can0 123#11223344
(1767225600.000364) can0 20000088#0000040E00000000
(1767225600.000508) can0 18FEF100#
(1767225600.000616) can0 20000088#0000020800000000
(1767225600.000712) can0 005#R3
(1767225600.000854) can0 200000A8#0000001900000000
(1767225600.000982) can0 321##1000102030405060708090A0B
(1767225600.001210) can0 200000A8#0000001900000000
(1767225600.001425) can0 18FEF100##30000000000000000000000000000000000000000
(1767225600.001555) can0 7FF##0
"""


@pytest.mark.verifies("REQ_8205")
def test_a_candump_log_is_what_candump_writes_with_error_frames(tmp_path: Path) -> None:
    record(tmp_path / "a.log", _FRAMES, errors=True)

    assert (tmp_path / "a.log").read_text() == _GOLDEN_LOG


@pytest.mark.verifies("REQ_8205")
def test_an_asc_file_is_what_vectors_tools_write(tmp_path: Path) -> None:
    record(tmp_path / "a.asc", _FRAMES, errors=True)

    lines = (tmp_path / "a.asc").read_text().splitlines()

    assert lines[:2] == ["date Thu Jan 01 00:00:00.000 2026", "base hex  timestamps absolute"]
    assert lines[5:9] == [
        "   0.000096 1  ErrorFrame",
        "   0.000256 1  123             Tx   d 4 11 22 33 44",
        "   0.000364 1  ErrorFrame",
        "   0.000508 1  18FEF100x       Tx   d 0",
    ]
    words = next(line for line in lines if "CANFD" in line).split()
    assert words[1:8] == ["CANFD", "1", "Tx", "321", "1", "0", "9"]
    assert words[8:] == ["12", *(f"{byte:02X}" for byte in range(12)), "122000", "169", "3000", *"00000"]
    assert lines[-1] == "End TriggerBlock"


def _message_of(event: BusFrame, time_s: float) -> tuple[object, ...]:
    frame = event.frame
    length = frame.dlc if frame.remote else len(frame.data)
    marks = (frame.extended, frame.remote, frame.fd, frame.brs, frame.esi)
    return (round(time_s, 5), frame.can_id, *marks, length, bytes(frame.data))


def _read(path: Path) -> list[tuple[object, ...]]:
    """Return the messages that python-can's own reader finds, and None for error frames."""
    found: list[tuple[object, ...]] = []
    with can.LogReader(path) as reader:
        for message in reader:
            marks = (message.is_extended_id, message.is_remote_frame, message.is_fd)
            flags = (message.bitrate_switch, message.error_state_indicator)
            content = (*marks, *flags, message.dlc, bytes(message.data))
            when = round(message.timestamp, 5)
            found.append((when, "error") if message.is_error_frame else (when, message.arbitration_id, *content))
    return found


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(("suffix", "origin_s"), [(".log", EPOCH_UNIX_NS // S), (".asc", 0)])
def test_python_can_reads_what_was_on_the_bus(tmp_path: Path, suffix: str, origin_s: int) -> None:
    path = tmp_path / f"a{suffix}"
    # python-can takes a frame of CAN FD without data in an ASC file for a remote one.
    seen, destroyed = record(path, _FRAMES[:-1], errors=True)

    expected = [(event.end_ns, _message_of(event, origin_s + event.end_ns // 1000 / 1e6)) for event in seen]
    expected += [(error.end_ns, (round(origin_s + error.end_ns // 1000 / 1e6, 5), "error")) for error in destroyed]

    assert len(destroyed) == 5
    assert _read(path) == [message for _, message in sorted(expected)]


_any_frame = st.one_of(
    st.builds(lambda i, data: CanFrame(i, data), st.integers(0, 0x7FF), st.binary(max_size=8)),
    st.builds(lambda i, data: CanFrame(i, data, True), st.integers(0, 2**29 - 1), st.binary(max_size=8)),
    st.builds(lambda i, n: CanFrame(i, b"", False, True, n), st.integers(0, 0x7FF), st.integers(0, 15)),
    st.builds(
        lambda i, n, brs, esi: CanFrame(i, bytes(range(n)), i > 0x7FF, fd=True, brs=brs, esi=esi),
        st.integers(0, 2**29 - 1),
        st.sampled_from(FD_LENGTHS),
        st.booleans(),
        st.booleans(),
    ),
)


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", [".log", ".asc"])
@settings(max_examples=30, deadline=None)
@given(frames=st.lists(_any_frame, min_size=1, max_size=12))
def test_what_was_recorded_replays_with_the_same_frames_order_and_spacing(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, frames: list[CanFrame]
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    first, second = folder / f"first{suffix}", folder / f"second{suffix}"
    record(first, frames)

    segment = fd_bus()
    CanRecording(segment, second, channel="can0", local_node="replay")
    replay = CanReplay(segment, first)
    segment.world.run_for(S)
    segment.world.close()

    original, repeated = list(CanLog(first)), list(CanLog(second))
    assert [record.frame for record in original] == frames
    assert [record.frame for record in repeated] == frames
    shifts = [now.time_ns - then.time_ns for now, then in zip(repeated, original, strict=True)]
    assert max(shifts) - min(shifts) <= 2000  # both cut to 1 us, and a frame may wait 1 us for the one before it
    assert (replay.frames, replay.lost) == (len(frames), 0)


@pytest.mark.verifies("REQ_8205")
def test_a_log_of_a_run_with_errors_replays_its_frames_and_tells_the_errors_once(tmp_path: Path) -> None:
    record(tmp_path / "a.log", _FRAMES, errors=True)
    segment = fd_bus()
    seen: list[BusFrame] = []
    segment.observe(seen.append)

    replay = CanReplay(segment, tmp_path / "a.log")
    segment.world.run_for(S)
    segment.world.close()

    assert frames_of(seen) == _FRAMES
    assert replay.log.counts == {"error frame": 5}
    texts = [event.text for event in segment.world.recorder.events]
    assert [text.partition(" '")[0] for text in texts[:1]] == ["CAN log a.log, line 1: error frame:"]
    assert texts[1:] == ["CAN log a.log: 6 frames; problems: 5 x error frame"]


@pytest.mark.verifies("REQ_8205")
def test_on_a_classical_bus_frames_of_can_fd_are_left_out_told_once_and_counted(tmp_path: Path) -> None:
    record(tmp_path / "a.log", _FRAMES)
    segment = bus()
    seen: list[BusFrame] = []
    segment.observe(seen.append)
    socket(segment.node("b"))

    replay = CanReplay(segment, tmp_path / "a.log")
    segment.world.run_for(S)
    segment.world.close()

    assert frames_of(seen) == _FRAMES[:3]
    assert replay.log.counts == {"CAN FD frame": 3}
    texts = [event.text for event in segment.world.recorder.events]
    assert texts == [
        (
            "CAN log a.log, line 4: CAN FD frame: id 0x321 and others like it are left out, since can/vehicle is "
            "classical; give the bus a data_bitrate"
        ),
        "CAN log a.log: 6 frames; problems: 3 x CAN FD frame",
    ]


@pytest.mark.verifies("REQ_8205", "REQ_8510")
def test_a_log_of_can_fd_alone_is_refused_on_a_classical_bus(tmp_path: Path) -> None:
    record(tmp_path / "a.log", _FRAMES[3:])

    with pytest.raises(
        ConfigurationError, match=r"a\.log: it holds frames of CAN FD alone, .* give the bus a data_bit"
    ):
        CanReplay(bus(), tmp_path / "a.log")


@pytest.mark.verifies("REQ_8205")
def test_errors_can_be_left_out(tmp_path: Path) -> None:
    segment = fd_bus()
    recording = CanRecording(segment, tmp_path / "a.log", errors=False)
    segment.wire_faults.append(lambda attempt: WireError(WireErrorKind.ACK, 0) if attempt.number == 1 else None)
    segment.node("a").transmit(_FRAMES[0])
    segment.world.run_for(S)
    segment.world.close()

    assert (recording.frames, recording.errors) == (1, 0)
    assert len((tmp_path / "a.log").read_text().splitlines()) == 1


@pytest.mark.verifies("REQ_8205")
def test_asc2log_of_can_utils_reads_the_asc_file(tmp_path: Path) -> None:
    asc2log = shutil.which("asc2log")
    if asc2log is None:
        pytest.skip("asc2log of can-utils is not installed")
    record(tmp_path / "a.asc", _FRAMES)
    record(tmp_path / "a.log", _FRAMES)

    done = subprocess.run(
        [asc2log, "-I", str(tmp_path / "a.asc")], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )

    ours = [line.split()[1:] for line in (tmp_path / "a.log").read_text().splitlines()]
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == ours


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("options", [(), ("-f",)], ids=["both kinds of lines", "CANFD lines only"])
def test_what_log2asc_of_can_utils_makes_of_the_candump_log_is_read_alike(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    log2asc = shutil.which("log2asc")
    if log2asc is None:
        pytest.skip("log2asc of can-utils is not installed")
    record(tmp_path / "a.log", _FRAMES)

    command = [log2asc, *options, "-I", str(tmp_path / "a.log"), "-O", str(tmp_path / "a.asc"), "can0"]
    subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)

    assert [entry.frame for entry in CanLog(tmp_path / "a.asc", on_bad="raise")] == _FRAMES


def _packets(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        if kind == 6:
            length = struct.unpack_from("<I", data, at + 20)[0]
            found.append(data[at + 28 : at + 28 + length])
        at += total
    return found


@pytest.mark.verifies("REQ_8205")
def test_pcapng_holds_the_frames_as_socketcan_lays_them_out(tmp_path: Path) -> None:
    record(tmp_path / "a.pcapng", _FRAMES, errors=True)

    packets = _packets((tmp_path / "a.pcapng").read_bytes())

    assert [packet.hex() for packet in packets[:4]] == [
        "20000088080000000000100a00000000",
        "000001230400000011223344",
        "20000088080000000000040e00000000",
        "98fef10000000000",
    ]
    assert [packet.hex() for packet in packets if packet[5] & 4] == [
        "000003210c050000" + bytes(range(12)).hex(),
        "98fef10014070000" + "00" * 20,
        "000007ff00040000",
    ]


@pytest.mark.verifies("REQ_8205")
def test_tshark_dissects_the_pcapng_without_a_malformed_packet(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "a.pcapng"
    seen, destroyed = record(path, _FRAMES * 20, errors=True)

    fields = ("_ws.malformed", "can.id", "can.len", "can.flags.err", "canfd.flags.brs", "frame.time_epoch")
    command = [tshark, "-n", "-r", str(path), "-T", "fields", *(part for name in fields for part in ("-e", name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)

    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(seen) + len(destroyed) == 125
    assert {row[0] for row in rows} == {""}
    frames = [row for row in rows if row[3] not in {"1", "True"}]
    expected = [(event.frame.can_id, event.frame.dlc or len(event.frame.data)) for event in seen]
    assert [(int(row[1]), int(row[2])) for row in frames] == expected
    assert [row[5] for row in frames[:1]] == [f"{EPOCH_UNIX_NS // S}.{seen[0].end_ns:09d}"]
    assert len(rows) - len(frames) == 5
