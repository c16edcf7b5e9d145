"""Recordings: what a stranger finds in them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from taktora_sim.ethercat.frame import Command, Datagram, encode_frame, position_address
from taktora_sim.ethercat.pcapng import SegmentRecording
from taktora_sim.world import EPOCH_UNIX_NS, World
from tests.sim.ethercat.segments import MS, S, bring_to_op, line


def _record(path: Path, cycles: int, seed: int = 1) -> SegmentRecording:
    """Record a bring-up and process data, a millisecond a cycle, one lost frame among them."""
    with World(seed) as world:
        bus = line(4, world)
        recording = SegmentRecording(bus, path)
        bring_to_op(bus)
        for cycle in range(cycles):
            frame = [
                Datagram(Command.LRW, 0, cycle.to_bytes(2, "little") * 8, index=cycle & 0xFF),
                Datagram(Command.BRD, 0x0130 << 16, b"\0\0"),
                Datagram(Command.APRD, position_address(2, 0x0300), bytes(8)),
            ]
            if cycle == 5:
                world.faults.inject(bus.path, "lose-frames", 1)
            bus.frame(encode_frame(frame))
            world.run_for(MS)
    return recording


def _blocks(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert data[at + total - 4 : at + total] == struct.pack("<I", total)
        found.append((kind, data[at + 8 : at + total - 4]))
        at += total
    return found


@pytest.mark.verifies("REQ_8111")
def test_a_recording_has_both_directions_on_virtual_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "cell.pcapng"

    recording = _record(path, cycles=10)

    blocks = _blocks(path.read_bytes())
    assert [kind for kind, _ in blocks[:2]] == [0x0A0D0D0A, 1]
    packets = [body for kind, body in blocks[2:] if kind == 6]
    assert len(packets) == len(blocks) - 2 == recording.frames
    times = [high << 32 | low for _, high, low in (struct.unpack_from("<III", body) for body in packets)]
    assert times[0] == EPOCH_UNIX_NS
    assert EPOCH_UNIX_NS + 9 * MS < times[-1] < EPOCH_UNIX_NS + S
    flags = [struct.unpack_from("<I", body, len(body) - 8)[0] for body in packets]
    assert flags.count(2) == flags.count(1) + 1


@pytest.mark.verifies("REQ_8111", "REQ_8002")
def test_two_runs_give_the_same_file(tmp_path: Path) -> None:
    _record(tmp_path / "a.pcapng", cycles=20)
    _record(tmp_path / "b.pcapng", cycles=20)

    assert (tmp_path / "a.pcapng").read_bytes() == (tmp_path / "b.pcapng").read_bytes()


@pytest.mark.verifies("REQ_8111")
def test_tshark_dissects_a_bring_up_and_1000_cycles_without_a_malformed_packet(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "cell.pcapng"
    recording = _record(path, cycles=1000)

    fields = ("frame.number", "frame.protocols", "_ws.malformed", "frame.p2p_dir", "ecat.cmd", "ecat.cnt")
    command = [tshark, "-n", "-r", str(path), "-T", "fields", *(part for name in fields for part in ("-e", name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    packets = [line.split("\t") for line in done.stdout.splitlines()]

    assert len(packets) == recording.frames
    assert {protocols for _, protocols, *_ in packets} == {"eth:ethertype:ecatf:ecat"}
    assert {malformed for _, _, malformed, *_ in packets} == {""}
    back = [counters for *_, direction, commands, counters in packets if direction == "1" and "0x0c" in commands]
    assert len(back) == 1000  # 999 of the 1000 cycles come back, and the one of the bring-up
    assert set(back[1:]) == {"12,4,1"}
