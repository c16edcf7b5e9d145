"""What candump logs on one node's interface: its host's view, with the error frames of its controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from taktora.can import CanFilter, CanFrame
from taktora.errors import StackError
from taktora_sim.can import CanLog, SimulatedCanBus, WireError, WireErrorKind
from taktora_sim.can.logs.socketlog import CanSocketRecording
from taktora_sim.world import World
from tests.sim.can.support import MS, S


def fd_bus() -> SimulatedCanBus:
    return SimulatedCanBus(World(1), "vehicle", data_bitrate=2_000_000)


@pytest.mark.verifies("REQ_8205", "REQ_8202")
def test_a_host_logs_what_it_receives_and_the_states_of_its_controller(tmp_path: Path) -> None:
    bus = fd_bus()
    sender, receiver = bus.node("a"), bus.node("b")
    recordings = [CanSocketRecording(node, tmp_path / f"{node.name}.log") for node in (sender, receiver)]
    bus.wire_faults.append(
        lambda attempt: (
            WireError(WireErrorKind.STUFF, 20) if attempt.frame.can_id == 1 and attempt.number <= 16 else None
        )
    )

    for frame in (CanFrame(1, b"\x01"), CanFrame(0x18FEF100, bytes(12), True, fd=True, brs=True)):
        sender.transmit(frame)
    bus.world.run_for(S)
    bus.world.close()

    texts = [[line.split()[1:] for line in (tmp_path / name).read_text().splitlines()] for name in ("a.log", "b.log")]
    frames = [["001#01"], ["18FEF100##1" + "00" * 12]]
    assert [line[1:] for line in texts[1] if not line[1].startswith("2000")] == frames
    errors = [line[1] for line in texts[0] if line[1].startswith("2000")]
    assert [(text[:8], text[9 + 2 : 9 + 4]) for text in errors[:2]] == [("20000204", "08"), ("20000204", "20")]
    log = CanLog(tmp_path / "b.log", on_bad="raise")
    assert [record.frame.can_id for record in log] == [1, 0x18FEF100]
    assert recordings[1].frames == 2
    assert log.counts.get("error frame", 0) == recordings[1].errors


@pytest.mark.verifies("REQ_8205")
def test_filters_choose_what_is_logged_and_an_interface_that_goes_down_ends_it(tmp_path: Path) -> None:
    bus = fd_bus()
    sender, receiver = bus.node("a"), bus.node("b")
    recording = CanSocketRecording(receiver, tmp_path / "b.log", channel="can0", filters=[CanFilter(0x100, 0x7F0)])

    for can_id in (0x100, 0x200, 0x10F):
        sender.transmit(CanFrame(can_id, b""))
    bus.world.run_for(10 * MS)
    receiver.set_up(False)
    receiver.set_up(True)
    sender.transmit(CanFrame(0x100, b""))
    bus.world.run_for(10 * MS)

    lines = [line.split()[1:] for line in (tmp_path / "b.log").read_text().splitlines()]
    assert lines == [["can0", "100#"], ["can0", "10F#"]]
    assert (recording.frames, recording.errors) == (2, 0)
    receiver.set_up(False)
    with pytest.raises(StackError, match="down"):
        CanSocketRecording(receiver, tmp_path / "c.log")
