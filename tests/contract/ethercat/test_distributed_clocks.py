"""Distributed clocks, told once: set up, kept together and disturbed, in virtual time and with SOEM on the rig."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from taktora.app import App, Context
from taktora.ethercat.driver import AlState, BusDriver
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
from taktora_hil.ethercat_bench import EthercatBench
from taktora_sim.ethercat.devices import build_segment
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, generic
from taktora_sim.ethercat.frame import Command, Datagram
from taktora_sim.world import World
from tests.contract.ethercat.bench import SegmentBench, open_bench
from tests.system.ethercat.cell import STEPPED_FTTI_MS

pytestmark = [pytest.mark.world("sim", "rig"), pytest.mark.timeout(240)]

US, MS = 1_000, 1_000_000
SHIFT_NS: Final = 100 * US
BOUND_NS: Final = 100
"""How far the clocks of a segment may be apart once they agree, whatever their drift is."""
MOST_CYCLES: Final = 20_000
RECEIVE_TIMES, SYSTEM_TIME, OFFSET, AL_CONTROL = 0x0900, 0x0910, 0x0920, 0x0120
WRITES = (Command.APWR, Command.FPWR, Command.BWR, Command.LWR)


def clocked(label: str, drift_ppm: float, **more: object) -> DeviceSpec:
    return generic(label, 2, 2, distributed_clock=True, options={"clock_drift_ppm": drift_ppm}, **more)


BRANCH = (
    coupler("k", distributed_clock=True, options={"clock_drift_ppm": 20.0}),
    clocked("side1", -120.0, parent="k", port=3),
    digital_inputs("side2"),
    clocked("main1", 200.0, parent="k", port=1, sync0_shift_us=SHIFT_NS / US),
    digital_inputs("plain"),
    clocked("main2", -300.0, sync0_shift_us=SHIFT_NS / US),
    digital_inputs("tail", parent="k", port=2),
)
"""Three branches, SubDevices without a clock between the others."""

TREE = (
    coupler("k1", distributed_clock=True),
    digital_inputs("near", parent="k1", port=3),
    clocked("k2", 80.0, parent="k1", port=1),
    clocked("up1", -40.0, parent="k2", port=3),
    clocked("up2", 10.0),
    clocked("down", 150.0, parent="k2", port=1),
    clocked("last", -90.0, parent="k1", port=2, sync0_shift_us=SHIFT_NS / US),
)
"""A branch in a branch, the first one without any clock."""


def bus(*devices: DeviceSpec, distributed_clocks: bool = True) -> EthercatBusSpec:
    return EthercatBusSpec(
        cycle_time_ms=1.0, ftti_ms=STEPPED_FTTI_MS, distributed_clocks=distributed_clocks, devices=devices
    )


@pytest.fixture
def bench(world_name: str, tmp_path: Path) -> Iterator[SegmentBench]:
    with open_bench(world_name, bus(*BRANCH), tmp_path) as opened:
        yield opened


def clocks(bench: SegmentBench) -> dict[str, dict[str, int]]:
    """Return what each distributed clock shows, all at one instant."""
    return {label: device["clock"] for label, device in bench.snapshot().items() if device["clock"] is not None}


def spread_ns(bench: SegmentBench) -> int:
    times = [clock["system_ns"] for clock in clocks(bench).values()]
    return max(times) - min(times)


def exchange_until(bench: SegmentBench, driver: BusDriver, condition: Callable[[], bool]) -> None:
    for cycle in range(MOST_CYCLES):
        bench.run(driver.exchange())
        bench.pause(MS)
        if cycle % 10 == 0 and condition():
            return
    raise AssertionError(f"it did not come about within {MOST_CYCLES} cycles: {clocks(bench)}")


def settle(bench: SegmentBench, driver: BusDriver) -> None:
    """Exchange until all difference registers and all system times agree."""

    def agree() -> bool:
        differences = [abs(clock["difference_ns"]) for clock in clocks(bench).values()]
        return max(differences) <= BOUND_NS and spread_ns(bench) <= BOUND_NS

    exchange_until(bench, driver, agree)


def true_delays_ns(spec: EthercatBusSpec, folder: Path) -> dict[str, int]:
    """Return how long a frame takes from the first SubDevice to each that has a clock."""
    with World(0) as world:
        segment = build_segment(world, "cell", spec, folder)
        receive = segment.topology.route(0).receive_ns
        arrivals = [receive[number][0] or 0 for number in range(len(segment.subdevices))]
        return {
            device.label: arrivals[number] - arrivals[0]
            for number, device in enumerate(spec.devices)
            if device.distributed_clock
        }


# --- set-up ------------------------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_0318", "REQ_8106", "REQ_8107")
@pytest.mark.parametrize("devices", [BRANCH, TREE], ids=["branch", "tree"])
def test_the_delays_written_are_the_true_ones(devices: tuple[DeviceSpec, ...], world_name: str, tmp_path: Path) -> None:
    with open_bench(world_name, bus(*devices), tmp_path) as bench:
        bench.run(bench.driver().bring_up())
        delays_ns = {label: clock["delay_ns"] for label, clock in clocks(bench).items()}

    expected = true_delays_ns(bench.spec, tmp_path)
    assert delays_ns.keys() == expected.keys()
    # A clock that drifts by 300 ppm measures the way there and back, some microseconds, so much wrong.
    assert {label: abs(delays_ns[label] - expected[label]) <= 3 for label in expected} == dict.fromkeys(expected, True)


@dataclass(frozen=True)
class Places:
    """Where, among all datagrams sent, the steps of a bring-up stand."""

    pre_op: list[int]
    latch: list[int]
    offsets: list[int]
    safe_op: list[int]

    @classmethod
    def find(cls, sent: list[Datagram]) -> Places:
        def requests(state: AlState) -> list[int]:
            return [at for at, each in enumerate(sent) if writes_to(each, AL_CONTROL) and each.data[0] & 0x0F == state]

        latch = [at for at, each in enumerate(sent) if each.command == Command.BWR and each.ado == RECEIVE_TIMES]
        offsets = [at for at, each in enumerate(sent) if writes_to(each, OFFSET)]
        return cls(requests(AlState.PRE_OP), latch, offsets, requests(AlState.SAFE_OP))


def writes_to(datagram: Datagram, register: int) -> bool:
    return datagram.command in WRITES[:3] and datagram.ado == register


@pytest.mark.realizes("TEST_0208", "TEST_0224")
@pytest.mark.verifies("REQ_0318", "REQ_0330")
def test_the_clocks_are_set_up_once_per_bring_up_and_distributed_with_each_exchange(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    bench.run(driver.recover())
    for _ in range(20):
        bench.run(driver.exchange())
    frames = bench.frames()

    found = Places.find([each for frame in frames for each in frame])
    first, second = found.latch
    for latch, until in ((first, second), (second, found.safe_op[-1] + 1)):
        asked_pre_op = max(at for at in found.pre_op if at < latch)
        asked_safe_op = min(at for at in found.safe_op if at > latch)
        offsets = [at for at in found.offsets if latch < at < until]
        assert asked_pre_op < latch < min(offsets) <= max(offsets) < asked_safe_op
        assert len(offsets) == 4
    cyclic = [frame for frame in frames if frame[0].command == Command.LRW]
    assert len(cyclic) > 20
    assert {tuple((each.command, each.ado) for each in frame[1:]) for frame in cyclic} == {
        ((Command.FRMW, SYSTEM_TIME),)
    }


@pytest.mark.realizes("TEST_0208", "TEST_0224")
@pytest.mark.verifies("REQ_0318", "REQ_0330")
def test_without_the_option_clocks_are_left_alone(world_name: str, tmp_path: Path) -> None:
    devices = tuple(msgspec.structs.replace(device, sync0_shift_us=None) for device in BRANCH)
    with open_bench(world_name, bus(*devices, distributed_clocks=False), tmp_path) as bench:
        driver = bench.driver()
        bench.run(driver.bring_up())
        for _ in range(20):
            bench.run(driver.exchange())
        sent = [each for frame in bench.frames() for each in frame]

    found = Places.find(sent)
    assert found.pre_op
    assert (found.latch, found.offsets) == ([], [])
    assert sum(each.command == Command.LRW for each in sent) > 20
    assert not any(each.command in (Command.FRMW, Command.ARMW) for each in sent)


# --- cyclic synchronisation --------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_8106", "REQ_0330", "REQ_0318")
def test_clocks_of_different_drift_converge_and_stay_together(bench: SegmentBench) -> None:
    driver = bench.driver()
    expected = bench.run(driver.bring_up()).expected_wkc

    settle(bench, driver)
    counters, apart_ns = set(), []
    for _ in range(200):
        counters.add(bench.run(driver.exchange()).working_counter)
        apart_ns.append(spread_ns(bench))

    assert counters == {expected}
    assert sorted(apart_ns)[len(apart_ns) // 2] <= BOUND_NS
    assert {device["state"] for device in bench.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_8106", "REQ_0318")
def test_sync0_comes_on_the_grid_of_the_cycle_where_it_is_asked_for(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    begin_ns = clocks(bench)["k"]["system_ns"]
    exchange_until(bench, driver, lambda: clocks(bench)["k"]["system_ns"] > begin_ns + 150 * MS)

    shown = clocks(bench)

    cycles = {label: clock["sync0_cycle_ns"] for label, clock in shown.items()}
    assert cycles == {"k": None, "side1": None, "main1": MS, "main2": MS}
    for label in ("main1", "main2"):
        next_ns = shown[label]["sync0_next_ns"]
        assert next_ns % MS == SHIFT_NS
        assert 0 < next_ns - shown[label]["system_ns"] <= MS


@pytest.mark.fault("drift-clock")
@pytest.mark.verifies("REQ_8106", "REQ_8109", "REQ_0330")
def test_a_clock_that_drifts_away_is_caught_again(bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    settle(bench, driver)

    fault = bench.inject("main1", "drift-clock", ppm=3000.0)
    exchange_until(bench, driver, lambda: clocks(bench)["main1"]["difference_ns"] > 2 * BOUND_NS)
    settle(bench, driver)
    bench.end(fault)
    exchange_until(bench, driver, lambda: clocks(bench)["main1"]["difference_ns"] < -2 * BOUND_NS)

    settle(bench, driver)


@pytest.mark.fault("jump-clock")
@pytest.mark.verifies("REQ_8106", "REQ_8109", "REQ_0330")
@pytest.mark.parametrize("label", ["main2", "k"], ids=["follower", "reference"])
def test_a_clock_that_jumps_is_made_up_for(label: str, bench: SegmentBench) -> None:
    driver = bench.driver()
    bench.run(driver.bring_up())
    settle(bench, driver)

    bench.inject(label, "jump-clock", by_ns=-200_000)
    jumped_ns = spread_ns(bench)

    assert jumped_ns > 150_000
    settle(bench, driver)


@pytest.mark.fault("power-cycle")
@pytest.mark.verifies("REQ_8106", "REQ_0318", "REQ_0331")
def test_a_clock_that_lost_its_power_is_set_up_again_by_recovery(bench: SegmentBench) -> None:
    driver = bench.driver()
    expected = bench.run(driver.bring_up())
    settle(bench, driver)
    delay_ns = clocks(bench)["main2"]["delay_ns"]

    bench.end(bench.inject("main2", "power-cycle"))
    lost = clocks(bench)["main2"]
    found = bench.run(driver.recover())
    settle(bench, driver)

    assert (lost["delay_ns"], lost["offset_ns"]) == (0, 0)
    assert not lost["sync0_next_ns"]
    assert found == expected
    assert abs(clocks(bench)["main2"]["delay_ns"] - delay_ns) <= 3
    assert clocks(bench)["main2"]["sync0_next_ns"] % MS == SHIFT_NS


# --- through the connector ---------------------------------------------------------------------------------------


@pytest.fixture
def ethercat_machine() -> Path:
    return Path(__file__).parent / "clocks.yaml"


@dataclass
class Status:
    """What a device says."""

    status: int


@dataclass
class Control:
    """What it is told."""

    control: int


@pytest.mark.verifies("REQ_0318", "REQ_0330", "REQ_8106", "REQ_0321")
def test_an_application_on_distributed_clocks_is_up_with_all_clocks_together(ethercat_bus: EthercatBench) -> None:
    app = App("clocks")
    left = app.ethercat("cell").device("left", Status, Control)
    seen: list[int] = []

    @app.cyclic(on=left.cycle)
    def count(_ctx: Context) -> None:
        seen.append(left.inputs.status)
        left.outputs.control = len(seen) & 0x7FFF

    def together(label: str) -> bool:
        shown = {name: device["clock"] for name, device in ethercat_bus.devices().items() if device["clock"]}
        times = [clock["system_ns"] for clock in shown.values()]
        differences = [abs(clock["difference_ns"]) for clock in shown.values()]
        assert shown[label]["sync0_next_ns"] % MS == SHIFT_NS
        return bool(max(*differences, max(times) - min(times)) <= BOUND_NS)

    with ethercat_bus.bind(app) as bound:
        ethercat_bus.until(lambda: bound.health["cell"].kind.value == "Up" and seen and seen[-1] > 20)
        ethercat_bus.until(partial(together, "left"))
        ethercat_bus.until(partial(together, "right"))

        assert ethercat_bus.states() == {"OP"}
        assert bound.troubles == []
