"""The bus that a gateway's executor paces: on virtual time, on the wall clock, and its life from start to close."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from itertools import pairwise

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.image import CycleRecord
from taktora.ethercat.local import LocalBus
from taktora.executor import item_with_triggers
from taktora.runtime import Runtime
from taktora.testing import BusLog
from taktora.testing.mock_bus import MockBusDriver
from taktora_sim.world import World
from tests.unit.ethercat.bus_bench import MS, make_plan, make_policy

_WIRE_NS = 150_000


def _bus(world: World, cycle_time_ns: int = MS) -> tuple[LocalBus, MockBusDriver, BusLog]:
    plan = make_plan(cycle_time_ns=cycle_time_ns)
    mock = MockBusDriver.for_plan(plan, clock=world, wire_round_ns=_WIRE_NS)
    bus = LocalBus(plan, mock, world, make_policy())
    executor = world.runtime.executor_builder("gateway").build()
    for item in bus.items():
        executor.add(item)
    world.runtime.start(executor)
    return bus, mock, BusLog()


@pytest.mark.verifies("REQ_0316", "REQ_0328")
def test_on_virtual_time_the_cycle_lies_on_the_grid_to_the_nanosecond() -> None:
    with World(1) as world:
        bus, _, seen = _bus(world)
        bus.start(seen)

        world.run_for(10 * MS)

        assert [record.at_ns for record in seen.records] == [k * MS + _WIRE_NS for k in range(10)]
        assert seen.texts == ["Up"]


@pytest.mark.verifies("REQ_0326", "REQ_8150")
def test_staged_outputs_go_out_with_the_next_cycle_and_age_without_the_gateways_help() -> None:
    with World(1) as world:
        bus, mock, seen = _bus(world)
        bus.start(seen)
        world.run_for(1_500_000)
        bus.stage_outputs(b"\x01\x02\x03\x04\x05\x06\x07", b"\1\1\1\1")

        world.run_for(1 * MS)
        live = mock.snapshot_outputs(0x1002), mock.snapshot_outputs(0x1003)
        world.run_for(4 * MS)

        assert live == (b"\x01", b"\x02\x03\x04\x05\x06\x07")
        assert (mock.snapshot_outputs(0x1002), mock.snapshot_outputs(0x1003)) == (b"\x08", b"\x06\0\0\0\0\0")
        assert seen.texts[1].startswith(
            "Degraded: outputs of 'outputs' (0x1002), 'drive' (0x1003) not renewed for 4 cycles"
        )


@pytest.mark.verifies("REQ_0331")
def test_a_recovery_takes_virtual_time_only() -> None:
    with World(1) as world:
        bus, mock, seen = _bus(world)
        mock.with_wkc_sequence([6, "cable cut"])
        bus.start(seen)

        world.run_for(30 * MS)

        assert [text.partition(":")[0] for text in seen.texts] == ["Up", "Degraded", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0296")
def test_what_nobody_foresaw_reaches_the_listener_and_the_bus_stands_still() -> None:
    class Broken(BusLog):
        def on_cycle(self, record: CycleRecord) -> None:
            raise ZeroDivisionError(record.cycle_index)

    with World(1) as world:
        bus, mock, _ = _bus(world)
        seen = Broken()
        bus.start(seen)

        world.run_for(5 * MS)

        assert [type(failure) for failure in seen.failures] == [ZeroDivisionError]
        assert mock.cycle_calls == 1


@pytest.mark.verifies("REQ_0842")
def test_after_a_final_down_nothing_runs_any_more() -> None:
    with World(1) as world:
        bus, mock, seen = _bus(world)
        mock.failing_bring_up("nobody answers")
        bus.start(seen)

        world.run_for(5 * MS)
        bus.close()

        assert seen.texts == ["Down: bring-up failed: nobody answers"]
        assert (mock.cycle_calls, seen.failures) == (0, [])


@pytest.mark.verifies("REQ_0312")
def test_it_starts_once_and_not_after_close() -> None:
    with World(1) as world:
        bus, mock, seen = _bus(world)
        bus.start(seen)
        with pytest.raises(ConfigurationError, match="make a new one"):
            bus.start(seen)

        world.run_for(3 * MS)
        bus.close()
        bus.close()
        world.run_for(3 * MS)

        assert mock.close_calls == 1
        assert len(seen.records) == 3
        with pytest.raises(ConfigurationError, match="make a new one"):
            bus.start(seen)


@pytest.mark.verifies("REQ_0321")
def test_a_bus_that_is_always_late_lets_the_other_items_of_its_executor_run() -> None:
    with World(1) as world:
        plan = make_plan()
        bus = LocalBus(plan, MockBusDriver.for_plan(plan), _Racing(world), make_policy())
        executor = world.runtime.executor_builder("gateway").build()
        runs: list[int] = []
        executor.add(
            item_with_triggers(lambda declarer: declarer.interval(MS), lambda context: runs.append(context.now_ns()))
        )
        for item in bus.items():
            executor.add(item)
        world.runtime.start(executor)
        bus.start(BusLog())

        world.run_for(5 * MS)

        assert len(runs) >= 4


class _Racing:
    """A clock that gains a period each time it is read: every slot has passed already."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gained_ns = 0

    def now_ns(self) -> int:
        self._gained_ns += 3 * MS
        return self._world.now_ns() + self._gained_ns

    def unix_ns(self) -> int:
        return self._world.unix_ns()


@pytest.mark.verifies("REQ_0316", "REQ_0328")
def test_on_the_wall_clock_the_same_bus_runs_on_an_executor_of_the_system() -> None:
    runtime = Runtime.system("inprocess")
    plan = make_plan(cycle_time_ns=5 * MS)
    mock = MockBusDriver.for_plan(plan)
    bus, seen, enough = LocalBus(plan, mock, runtime.clock, make_policy()), BusLog(), threading.Event()
    executor = runtime.executor_builder("gateway").build()

    class Counting(BusLog):
        def on_cycle(self, record: CycleRecord) -> None:
            seen.records.append(record)
            if len(seen.records) == 5:
                enough.set()

    for item in bus.items():
        executor.add(item)
    bus.start(Counting())
    handle = runtime.start(executor)
    try:
        assert enough.wait(20)
    finally:
        handle.stop()
        handle.join(20)
        bus.close()
        runtime.close()

    starts = [record.at_ns for record in seen.records]
    assert all(later - earlier >= 0 for earlier, later in pairwise(starts))
    assert [record.cycle_index for record in seen.records[:5]] == [0, 1, 2, 3, 4]


@pytest.mark.verifies("REQ_0328")
def test_a_thousand_cycles_leave_no_memory_behind() -> None:
    class Forgetful(BusLog):
        def on_cycle(self, record: CycleRecord) -> None:
            self.latest = record

    with World(1) as world:
        bus, _, _ = _bus(world)
        bus.start(Forgetful())
        renewed = bytes(4 * (1,))
        image = bytes(7)

        def run(cycles: int) -> None:
            for _ in range(cycles):
                bus.stage_outputs(image, renewed)
                world.run_for(MS)

        run(3000)
        gc.collect()
        tracemalloc.start()
        try:
            run(200)
            gc.collect()
            before = tracemalloc.take_snapshot()
            run(1000)
            gc.collect()
            after = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()

        own = [tracemalloc.Filter(True, "*/taktora/ethercat/*")]
        grown = sum(
            change.size_diff for change in after.filter_traces(own).compare_to(before.filter_traces(own), "filename")
        )
        assert grown < 1024
