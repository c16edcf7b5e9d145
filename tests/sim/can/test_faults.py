"""Fault kinds of the simulated nodes, driven through the World's fault board."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from taktora.can import CanFrame, CanIfaceState
from taktora_sim.can import CanReplay, SimulatedCanBus
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, socket, write

_NODE = "can/vehicle/a"
_NEEDED: dict[str, dict[str, bool | int | float | str]] = {"delay": {"by_ns": 1}, "wrong_bitrate": {"bitrate": 250_000}}
"""Parameters without a default."""


def _run(entry: FaultEntry, frames: int = 10, seed: int = 1) -> Log:
    """Send frames 0x100, 0x101, 0x100 ... one a millisecond with a counter as data, and return what arrived."""
    segment = SimulatedCanBus(World(seed, plan=FaultPlan.of(entry)), "vehicle")
    log = Log()
    sender = socket(segment.node("a"))
    socket(segment.node("b"), log)
    for number in range(frames):
        frame = CanFrame(0x100 + number % 2, bytes((number % 256, 0)))
        segment.world.call_at(number * MS, partial(sender.send, frame))
    segment.world.run_for(S)
    return log


def _numbers(log: Log) -> list[int]:
    return [frame.data[0] for frame in log.frames]


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_silence_swallows_frames_and_ends() -> None:
    log = _run(FaultEntry(target=_NODE, kind="silence", at_ns=3 * MS, duration_ns=4 * MS))

    assert _numbers(log) == [0, 1, 2, 7, 8, 9]


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_silence_of_chosen_identifiers_leaves_the_others_alone() -> None:
    log = _run(FaultEntry(target=_NODE, kind="silence", at_ns=0, duration_ns=S, parameters={"ids": "101, 18FEF100x"}))

    assert set(log.ids) == {0x100}


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_a_fault_at_the_nth_frame_already_holds_for_that_frame() -> None:
    log = _run(FaultEntry(target=_NODE, kind="silence", frame=4, duration_ns=1 * MS))

    assert _numbers(log) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_dropped_frames_take_their_time_on_the_bus() -> None:
    log = _run(FaultEntry(target=_NODE, kind="drop", at_ns=0, duration_ns=S, parameters={"every": 3}))

    assert _numbers(log) == [0, 1, 3, 4, 6, 7, 9]


@pytest.mark.verifies("REQ_8007", "REQ_8008", "REQ_8204")
def test_a_share_of_lost_frames_is_the_plans_choice_and_not_the_seeds() -> None:
    entry = FaultEntry(target=_NODE, kind="drop", at_ns=0, duration_ns=S, parameters={"percent": 30})
    other = FaultEntry(target=_NODE, kind="drop", at_ns=0, duration_ns=S, parameters={"percent": 30, "salt": 1})

    first, again, salted = _run(entry, 300), _run(entry, 300, seed=2), _run(other, 300)

    assert _numbers(first) == _numbers(again)
    assert _numbers(first) != _numbers(salted)
    assert 180 < len(first.frames) < 240


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_delayed_frames_come_later_and_none_is_lost() -> None:
    plain = _run(FaultEntry(target=_NODE, kind="delay", at_ns=S, parameters={"by_ns": 1}))
    late = _run(FaultEntry(target=_NODE, kind="delay", at_ns=0, duration_ns=S, parameters={"by_ns": "2500us"}))

    assert [after - before for before, after in zip(plain.times, late.times, strict=True)] == [2_500_000] * 10


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_corrupted_data_changes_one_byte() -> None:
    parameters: dict[str, bool | int | float | str] = {"byte": 1, "mask": 0x81, "ids": "100"}
    log = _run(FaultEntry(target=_NODE, kind="corrupt_data", at_ns=0, duration_ns=S, parameters=parameters))

    assert [frame.data[1] for frame in log.frames[:4]] == [0x81, 0, 0x81, 0]


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_an_interface_that_is_down_comes_up_again_and_two_faults_may_overlap() -> None:
    entries = (
        FaultEntry(target=_NODE, kind="interface_down", at_ns=1 * MS, duration_ns=4 * MS),
        FaultEntry(target=_NODE, kind="interface_down", at_ns=3 * MS, duration_ns=4 * MS),
    )
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(*entries)), "vehicle")
    node, log = segment.node("a"), Log()
    socket(node, log)

    segment.world.run_for(6 * MS)
    was_up = node.is_up
    segment.world.run_for(2 * MS)

    assert (was_up, node.is_up) == (False, True)
    assert [state for state, _ in log.states] == [CanIfaceState.DOWN]


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_a_replayed_sender_can_go_silent_and_come_back(tmp_path: Path) -> None:
    log_file = write(
        tmp_path / "drive.log",
        *(f"(100.{number:03d}000) can0 {'120' if number % 2 else '200'}#{number:02X}" for number in range(20)),
    )
    entry = FaultEntry(target="can/vehicle/replay/gauge", kind="silence", at_ns=5 * MS, duration_ns=10 * MS)
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(entry)), "vehicle")
    log = Log()
    socket(segment.node("listener"), log)

    CanReplay(segment, log_file, senders={"gauge": [0x120]})
    segment.world.run_for(S)

    gauge = [frame.data[0] for frame in log.frames if frame.can_id == 0x120]
    others = [frame.data[0] for frame in log.frames if frame.can_id == 0x200]
    assert gauge == [1, 3, 15, 17, 19]
    assert others == list(range(0, 20, 2))


@pytest.mark.verifies("REQ_8007", "REQ_8204")
def test_every_kind_describes_itself_and_its_effects_are_in_the_trace() -> None:
    entry = FaultEntry(target=_NODE, kind="delay", at_ns=0, duration_ns=S, parameters={"by_ns": 20 * MS})
    quiet, noisy = World(1), World(1, plan=FaultPlan.of(entry))
    hashes = []
    for world in (quiet, noisy):
        segment = SimulatedCanBus(world, "vehicle")
        socket(segment.node("a")).send(CanFrame(1, b""))
        world.run_for(S)
        hashes.append(world.trace.component_hashes()[_NODE])

    kinds = noisy.faults.catalogue()[_NODE]
    assert set(kinds) == {
        *("silence", "drop", "delay", "corrupt_data", "corrupt_signal"),
        *("bit_error", "error_rate", "no_ack", "duplicate"),
        *("interface_down", "babble", "reader_pause", "wrong_bitrate", "open_wire", "stuck_dominant"),
        *("warning", "passive", "set_counters", "bus_off", "restart", "rx_overflow"),
    }
    assert all(kind.sentence(kind.complete(_NEEDED.get(name, {}))) for name, kind in kinds.items())
    assert "20ms late" in noisy.faults.sentence(entry)
    assert hashes[0] != hashes[1]
