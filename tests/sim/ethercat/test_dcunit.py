"""The distributed clock of a SubDevice: registers, control loop, pulses, faults, alone and on a segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.ethercat.driver import AlState
from taktora.ethercat.network import EthercatBusSpec
from taktora_sim.ethercat.clocks import EPOCH_2000_NS
from taktora_sim.ethercat.dcunit import DistributedClock
from taktora_sim.ethercat.frame import Command
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.world import World

from .cell import Cell, bus, coupler, drive, inputs
from .segments import ask, read_at, write_at

pytestmark = pytest.mark.verifies("REQ_8106")

US, MS, S = 1_000, 1_000_000, 1_000_000_000


def _clock(drift_ppm: float = 0.0, seed: int = 1) -> tuple[World, DistributedClock]:
    world = World(seed)
    return world, DistributedClock(world, "ethercat/cell/a", drift_ppm)


def _number(clock: DistributedClock, offset: int, length: int, at_ns: int) -> int:
    return int.from_bytes(clock.read(offset, length, at_ns), "little")


def _follow(
    clock: DistributedClock, world: World, period_ns: int, rounds: int, reference: Callable[[int], int]
) -> list[int]:
    """Bring the clock the system time every ``period_ns``; return how far it was off before each time."""
    errors = []
    for _ in range(rounds):
        world.run_for(period_ns)
        now_ns = world.now_ns()
        errors.append(clock.system_ns(now_ns) - reference(now_ns))
        clock.write(0x10, reference(now_ns).to_bytes(8, "little"), now_ns)
    return errors


# --- registers ---------------------------------------------------------------------------------------------------


def test_reset_values_are_those_of_the_datasheet() -> None:
    _world, clock = _clock()

    content = clock.read(0x20, 0x90, 0)

    assert content[0x10:0x16] == b"\x00\x10\x00\x00\x04\x0c"
    assert not any(content[:0x10])
    assert not any(content[0x16:])


def test_system_time_is_local_time_plus_offset() -> None:
    _world, clock = _clock()
    local_ns = clock.local_ns(7 * MS)

    clock.write(0x20, (-5 * MS & (1 << 64) - 1).to_bytes(8, "little"), 7 * MS)

    assert _number(clock, 0x10, 8, 7 * MS) == local_ns - 5 * MS & (1 << 64) - 1
    assert _number(clock, 0x10, 4, 7 * MS) == local_ns - 5 * MS & 0xFFFF_FFFF


def test_receive_times_are_local_time_and_ports_without_a_frame_keep_theirs() -> None:
    _world, clock = _clock()
    clock.latch((0, 1, 2, 3))

    clock.latch((5 * S, 5 * S + 900, None, None))

    content = clock.read(0x00, 0x20, 6 * S)
    times = [int.from_bytes(content[at : at + 4], "little") for at in range(0, 16, 4)]
    assert times == [clock.local_ns(at_ns) & 0xFFFF_FFFF for at_ns in (5 * S, 5 * S + 900, 2, 3)]
    assert int.from_bytes(content[0x18:0x20], "little") == clock.local_ns(5 * S)


@pytest.mark.parametrize("offset", [0x00, 0x18, 0x2C, 0x32, 0x82, 0x84, 0x8E])
def test_what_is_read_only_stays(offset: int) -> None:
    _world, clock = _clock()
    before = clock.read(offset, 2, 0)

    clock.write(offset, b"\xa5\x5a", 0)

    assert clock.read(offset, 2, 0) == before


@given(st.floats(-1000.0, 1000.0), st.lists(st.integers(0, 10**10), min_size=1, max_size=20))
def test_a_drift_adds_up_exactly_however_often_the_clock_is_read(drift_ppm: float, pauses_ns: list[int]) -> None:
    world, clock = _clock(drift_ppm)
    begin_ns = clock.local_ns(0)

    for pause_ns in pauses_ns:
        world.run_for(pause_ns)
        clock.write(0x30, b"\x00\x10", world.now_ns())  # counts from here on

    passed = world.now_ns()
    assert clock.local_ns(passed) - begin_ns == passed + passed * round(drift_ppm * 10**6) // 10**12


def test_clocks_do_not_begin_alike_and_a_power_cycle_begins_at_zero() -> None:
    world = World(1)
    clocks = [DistributedClock(world, f"ethercat/cell/{name}") for name in "ab"]
    world.run_for(S)

    clocks[0].reset()

    assert clocks[1].local_ns(S) != clocks[0].local_ns(S) == 0
    assert clocks[1].local_ns(S) == DistributedClock(World(1), "ethercat/cell/b").local_ns(S)


# --- control loop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drift_ppm", [-350.0, -20.0, 0.0, 100.0, 350.0], ids=str)
@pytest.mark.parametrize("period_ns", [50 * US, MS, 4 * MS], ids=["50 us", "1 ms", "4 ms"])
def test_the_loop_converges_under_drift(drift_ppm: float, period_ns: int) -> None:
    world, clock = _clock(drift_ppm)
    begin = clock.local_ns(0) - 20 * US

    errors = _follow(clock, world, period_ns, 600, lambda now_ns: begin + now_ns)

    assert errors[0] == pytest.approx(20 * US + drift_ppm * period_ns / 1e6, abs=2)
    assert max(abs(error) for error in errors[400:]) <= 5
    difference = _number(clock, 0x2C, 4, world.now_ns())
    assert difference & 0x7FFF_FFFF <= 5
    counts = int.from_bytes(clock.read(0x32, 2, world.now_ns()), "little", signed=True)
    assert counts == pytest.approx(-drift_ppm * 5 * 4098**2 / 1e6, abs=100)


def test_the_difference_says_how_far_and_in_which_direction() -> None:
    shown = []
    for ahead_ns in (300, -300):
        _world, clock = _clock()
        clock.write(0x10, (clock.local_ns(0) - ahead_ns).to_bytes(8, "little"), 0)
        shown.append(_number(clock, 0x2C, 4, 0))

    assert shown == [300, 0x8000_0000 | 300]


def test_the_delay_is_taken_into_account() -> None:
    _world, clock = _clock()
    clock.write(0x28, (1200).to_bytes(4, "little"), 0)

    clock.write(0x10, (clock.local_ns(0) - 1200).to_bytes(8, "little"), 0)

    assert _number(clock, 0x2C, 4, 0) == 0


def test_a_loop_that_gets_no_more_frames_goes_on_with_the_speed_it_has_learnt() -> None:
    world, clock = _clock(200.0)
    begin = clock.local_ns(0)
    _follow(clock, world, MS, 600, lambda now_ns: begin + now_ns)

    world.run_for(S)

    assert abs(clock.local_ns(world.now_ns()) - begin - world.now_ns()) < 2 * US, "without the loop it were 200 us"


def test_a_difference_is_made_up_for_once_whatever_happens_on_the_way() -> None:
    def at_last(pauses_ns: tuple[int, ...]) -> int:
        world, clock = _clock()
        begin = clock.local_ns(0)
        clock.write(0x10, begin.to_bytes(8, "little"), 0)
        world.run_for(MS)
        clock.write(0x10, (begin + MS - 16 * US).to_bytes(8, "little"), MS)
        for pause_ns in pauses_ns:
            world.run_for(pause_ns)
            clock.fault_kinds()["drift-clock"].start({"ppm": 0.0})
        return clock.local_ns(S) - begin - S

    undisturbed = at_last(())

    assert undisturbed == pytest.approx(-US - 16 * US / 1024 * 999, abs=2)
    assert abs(at_last((MS // 2, MS // 4, MS, 5 * MS)) - undisturbed) <= 1


def test_writing_the_speed_counter_forgets_what_was_learnt() -> None:
    world, clock = _clock(200.0)
    begin = clock.local_ns(0)
    _follow(clock, world, MS, 300, lambda now_ns: begin + now_ns)
    before_ns = world.now_ns()
    at_reset = clock.local_ns(before_ns)

    clock.write(0x30, b"\x00\x10", before_ns)
    world.run_for(S)

    assert _number(clock, 0x32, 2, before_ns) == 0
    assert clock.local_ns(world.now_ns()) - at_reset == pytest.approx(S + 200 * US, abs=2)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 5 * MS), st.integers(0, (1 << 64) - 1)), max_size=40))
def test_no_frames_make_the_local_clock_run_backwards(frames: list[tuple[int, int]]) -> None:
    world, clock = _clock(50.0)
    last_ns = clock.local_ns(0)

    for pause_ns, brought in frames:
        world.run_for(pause_ns)
        clock.write(0x10, brought.to_bytes(8, "little"), world.now_ns())
        assert clock.local_ns(world.now_ns()) >= last_ns
        last_ns = clock.local_ns(world.now_ns())


# --- pulses ------------------------------------------------------------------------------------------------------


def _start(clock: DistributedClock, world: World, start_ns: int, cycle_ns: int, activation: int = 3) -> int:
    """Set up pulses ``start_ns`` from now; return the system time of the first."""
    now_ns = world.now_ns()
    first_ns = clock.system_ns(now_ns) + start_ns
    clock.write(0x90, first_ns.to_bytes(8, "little"), now_ns)
    clock.write(0xA0, cycle_ns.to_bytes(4, "little"), now_ns)
    clock.write(0x81, bytes((activation,)), now_ns)
    return first_ns


def test_sync0_comes_at_the_start_and_in_every_cycle() -> None:
    world, clock = _clock()
    seen: list[tuple[int, int]] = []
    clock.on_sync0(lambda due_ns: seen.append((world.now_ns(), due_ns)))
    first_ns = _start(clock, world, 10 * MS, 2 * MS)

    world.run_for(17 * MS)

    assert seen == [(at * MS, first_ns + (at - 10) * MS) for at in (10, 12, 14, 16)]


def test_without_a_cycle_there_is_one_pulse() -> None:
    world, clock = _clock()
    seen: list[int] = []
    clock.on_sync0(seen.append)
    first_ns = _start(clock, world, 10 * MS, 0)

    world.run_for(S)

    assert seen == [first_ns]


def test_sync1_comes_behind_each_sync0() -> None:
    world, clock = _clock()
    seen: list[tuple[str, int]] = []
    clock.on_sync0(lambda _due: seen.append(("0", world.now_ns())))
    clock.on_sync1(lambda _due: seen.append(("1", world.now_ns())))
    clock.write(0xA4, (300 * US).to_bytes(4, "little"), 0)
    _start(clock, world, MS, MS, activation=7)

    world.run_for(2 * MS + 500 * US)

    assert seen == [("0", MS), ("1", 1300 * US), ("0", 2 * MS), ("1", 2300 * US)]


@pytest.mark.parametrize("drift_ppm", [-300.0, 300.0], ids=str)
def test_pulses_follow_the_system_time_and_none_is_lost_or_doubled(drift_ppm: float) -> None:
    world, clock = _clock(drift_ppm)
    begin = clock.local_ns(0)
    seen: list[tuple[int, int]] = []
    clock.on_sync0(lambda due_ns: seen.append((due_ns, world.now_ns())))
    first_ns = _start(clock, world, 10 * MS, MS)

    _follow(clock, world, MS, 800, lambda now_ns: begin + now_ns)

    dues = [due_ns for due_ns, _ in seen]
    assert dues == list(range(first_ns, first_ns + len(dues) * MS, MS))
    assert 788 <= len(dues) <= 791
    assert all(abs(at_ns + begin - due_ns) <= 10 for due_ns, at_ns in seen[400:])


def test_the_start_time_reads_as_the_next_pulse_while_it_runs() -> None:
    world, clock = _clock()
    first_ns = _start(clock, world, 10 * MS, MS)
    waiting = clock.read(0x84, 1, world.now_ns())
    read = []

    for pause_ns in (0, 10 * MS, 500 * US, 500 * US):
        world.run_for(pause_ns)
        read.append(_number(clock, 0x90, 8, world.now_ns()) - first_ns)

    assert read == [0, MS, MS, 2 * MS]
    assert (waiting, clock.read(0x84, 1, world.now_ns())) == (b"\x01", b"\x00")


def test_a_start_that_has_passed_never_comes() -> None:
    world, clock = _clock()
    seen: list[int] = []
    clock.on_sync0(seen.append)
    world.run_for(S)
    _start(clock, world, -MS, MS)

    world.run_for(S)

    assert not seen
    assert clock.read(0x84, 1, world.now_ns()) == b"\x04"
    assert clock.check_transition(AlState.OP) == 0x0034


@pytest.mark.parametrize(
    ("activation", "cycle_ns", "expected"),
    [(0, 0, 0), (1, 0, 0), (3, MS, 0), (2, MS, 0x0030), (5, MS, 0x0030), (3, 0, 0x0036)],
)
def test_settings_that_cannot_work_keep_the_device_from_safe_op(activation: int, cycle_ns: int, expected: int) -> None:
    world, clock = _clock()
    _start(clock, world, MS, cycle_ns, activation)

    assert clock.check_transition(AlState.SAFE_OP) == expected


# --- on a segment ------------------------------------------------------------------------------------------------


def _line(*drifts_ppm: float) -> EthercatBusSpec:
    devices: list[dict[str, Any]] = [coupler("k", distributed_clock=True), inputs("plain", 4)]
    for number, drift_ppm in enumerate(drifts_ppm):
        options = {"clock_drift_ppm": drift_ppm}
        devices.append(drive(f"d{number}", distributed_clock=True, sync0_shift_us=50, options=options))
    return bus(*devices, distributed_clocks=True)


def _unit(segment: SimulatedSegment, label: str) -> DistributedClock:
    window = segment[label].esc.window
    assert isinstance(window, DistributedClock)
    return window


def _spread(cell: Cell) -> int:
    """Return by how much the clocks of the segment disagree."""
    labels = [label for label in cell.devices if cell.segment[label].esc.window is not None]
    now_ns = cell.world.now_ns()
    times = [_unit(cell.segment, label).system_ns(now_ns) for label in labels]
    return max(times) - min(times)


@pytest.mark.verifies("REQ_0318", "REQ_8101")
def test_only_devices_with_a_clock_have_its_registers() -> None:
    cell = Cell(_line(0.0))
    segment = cell.segment

    answer = ask(segment, Command.BWR, 0x0900 << 16, 4)

    assert answer.working_counter == 2
    assert [read_at(segment, at, 0x0008, 1).data[0] & 0x0C for at in range(3)] == [0x0C, 0, 0x0C]
    assert write_at(segment, 1, 0x0920, bytes(8)).working_counter == 0


@pytest.mark.verifies("REQ_0318")
def test_all_clocks_show_one_time_after_bring_up_and_keep_it_while_they_drift() -> None:
    cell = Cell(_line(-150.0, 60.0, 300.0))

    cell.run(cell.main.bring_up())
    cell.cycles(300)
    spreads = []
    for _ in range(200):
        cell.cycles(1)
        spreads.append(_spread(cell))

    reference_ns = _unit(cell.segment, "k").system_ns(cell.world.now_ns())
    assert max(spreads) < 50
    assert abs(reference_ns - (cell.world.unix_ns() - EPOCH_2000_NS)) < 2 * MS


def test_sync0_of_all_drives_comes_within_50_ns() -> None:
    cell = Cell(_line(-100.0, 200.0))
    seen: dict[int, list[int]] = {}
    for label in ("d0", "d1"):
        clock = _unit(cell.segment, label)
        clock.on_sync0(lambda due_ns: seen.setdefault(due_ns, []).append(cell.world.now_ns()))
    cell.run(cell.main.bring_up())

    cell.cycles(600)

    late = sorted(seen)[-100:-1]
    assert len(late) == 99
    assert all(due_ns % MS == 50 * US for due_ns in late)
    assert all(len(seen[due_ns]) == 2 and max(seen[due_ns]) - min(seen[due_ns]) < 50 for due_ns in late)


@pytest.mark.verifies("REQ_8109")
def test_a_drift_and_a_jump_show_in_the_difference_and_are_made_up_for() -> None:
    cell = Cell(_line(0.0))
    cell.run(cell.main.bring_up())
    cell.cycles(300)
    clock = _unit(cell.segment, "d0")
    settled = abs(clock.difference_ns)

    end = cell.world.faults.inject("ethercat/cell/d0", "drift-clock", None, {"ppm": 800.0})
    cell.cycles(10)
    drifted = clock.difference_ns
    cell.cycles(500)
    caught_up = abs(clock.difference_ns)
    end()
    cell.cycles(500)
    cell.world.faults.inject("ethercat/cell/d0", "jump-clock", None, {"by_ns": -50_000})
    cell.cycles(1)
    jumped = clock.difference_ns
    cell.cycles(500)

    assert settled < 50
    assert drifted > 500
    assert caught_up < 50
    assert jumped < -2000
    assert abs(clock.difference_ns) < 50


@pytest.mark.verifies("REQ_8001")
def test_the_same_seed_gives_the_same_clocks() -> None:
    def run() -> str:
        cell = Cell(_line(-100.0, 200.0))
        cell.run(cell.main.bring_up())
        cell.cycles(50)
        return cell.world.trace.sha256()

    assert run() == run()
