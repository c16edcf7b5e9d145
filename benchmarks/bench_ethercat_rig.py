"""What the real EtherCAT driver costs on the rig: its exchange against raw pysoem's, and how its process keeps time.

python benchmarks/bench_ethercat_rig.py [--exchanges 5000] [--cycles 60000]

Needs root (a network namespace and raw sockets). The segment is software in a process of its own on this machine: the
wire round below is mostly its time, not hardware's. Both processes ask for SCHED_FIFO; the first line says whether they
got it. Nothing here says anything about a real NIC.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pysoem
from conditions import conditions

from taktora.connector.health import ConnectorHealth
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import CycleRecord
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.process import BusSetup, ProcessBus
from taktora.ethercat.resolve import resolve
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora.executor.attributes import ThreadAttributes, apply_attributes
from taktora.executor.tuning import timer_slack
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from taktora_sim.ethercat.devices.terminals import coupler, generic

_PERIOD_NS = 1_000_000
_TIMEOUT_US = 45_000
_TURNS = 50
_SPEC = EthercatBusSpec(
    cycle_time_ms=1.0,
    devices=(
        coupler("coupler"),
        *(generic(f"d{number}", 8, 8, sm_watchdog_enabled=True, sm_watchdog_timeout_ms=50) for number in range(8)),
    ),
)
_OPTIONS = SoemOptions(frame_timeout_us=_TIMEOUT_US, mapping="overlap")


def part(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(what: str, values_us: Sequence[float]) -> None:
    """Print the distribution of times in microseconds."""
    figures = "  ".join(f"{name} {part(values_us, share):8.1f}" for name, share in _SHARES)
    print(f"{what:<46} {figures}  max {max(values_us):9.1f} us")


_SHARES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))


def run(steps: Any) -> Any:
    """Step an operation of a driver to its end."""
    while True:
        try:
            due_ns = next(steps)
        except StopIteration as stop:
            return stop.value
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)


def times_of(exchange: Callable[[], object], count: int) -> list[float]:
    """Return how long each of ``count`` exchanges took, in us; they follow each other at once."""
    times = []
    for _ in range(count):
        begin_ns = time.perf_counter_ns()
        exchange()
        times.append((time.perf_counter_ns() - begin_ns) / 1e3)
    return times


def raw_exchange(master: Any) -> Callable[[], object]:
    """Return what a program on bare pysoem does in a cycle: write all outputs, exchange, read all inputs."""
    slaves = [slave for slave in master.slaves if slave.output]
    data = bytes(8)

    def exchange() -> None:
        for slave in slaves:
            slave.output = data
        master.send_overlap_processdata(release_gil=True)
        master.receive_processdata(_TIMEOUT_US, release_gil=True)
        for slave in slaves:
            _ = slave.input

    return exchange


def bench_exchange(plan: BusPlan, count: int) -> None:
    """Compare one exchange of the driver with raw pysoem on the same segment, by turns."""
    apply_attributes(ThreadAttributes(priority=50))
    driver = SoemDriver(plan, _OPTIONS)
    run(driver.bring_up())
    raw = raw_exchange(driver._master)
    raw_us: list[float] = []
    own_us: list[float] = []
    for _turn in range(_TURNS):
        raw_us += times_of(raw, max(1, count // _TURNS))
        own_us += times_of(lambda: run(driver.exchange()), max(1, count // _TURNS))
    driver.close()
    show("exchange: raw pysoem, 8 devices with 8 + 8 bytes", raw_us)
    show("exchange: SoemDriver, the same segment", own_us)
    added = part(own_us, 0.5) - part(raw_us, 0.5)
    print(f"exchange: SoemDriver / raw pysoem {part(own_us, 0.5) / part(raw_us, 0.5):.2f}, {added:+.1f} us at p50")


class Listener:
    """Keeps the records of a bus."""

    def __init__(self, cycles: int) -> None:
        self.records: list[CycleRecord] = []
        self.healths: list[ConnectorHealth] = []
        self.done = threading.Event()
        self._cycles = cycles

    def on_cycle(self, record: CycleRecord) -> None:
        self.records.append(record)
        if len(self.records) >= self._cycles:
            self.done.set()

    def on_health(self, health: ConnectorHealth) -> None:
        self.healths.append(health)

    def on_emergency(self, emergency: Emergency) -> None: ...

    def on_failure(self, error: BaseException) -> None:
        print(f"failed: {error}", file=sys.stderr)
        self.done.set()


def bench_pacing(plan: BusPlan, cycles: int) -> None:
    """Run the bus in its own process and see when each cycle began."""
    listener = Listener(cycles)
    bus = ProcessBus(
        BusSetup(
            name="bench",
            plan=plan,
            make_driver=partial(SoemDriver, options=_OPTIONS),
            attributes=ThreadAttributes(priority=50),
            records=4096,
        )
    )
    bus.start(listener)
    listener.done.wait(cycles * _PERIOD_NS / 1e9 * 3 + 60)
    bus.close()
    records = listener.records
    exchanged = [record for record in records if record.wire_round_ns is not None]
    begins = [record.at_ns - (record.wire_round_ns or 0) for record in exchanged]
    show("pacing: ProcessBus at 1 ms, lateness", lateness_us(begins))
    show("pacing: ProcessBus at 1 ms, jitter", jitter_us(begins))
    show("pacing: wire round in the cycle", [(record.wire_round_ns or 0) / 1e3 for record in exchanged])
    wrong = sum(not record.wc_ok for record in exchanged)
    span = (begins[-1] - begins[0]) / _PERIOD_NS
    print(
        f"pacing: {len(records)} cycles over {span:.0f} slots, {len(records) - len(exchanged)} without a frame, "
        f"{wrong} with a wrong working counter, slope of lateness {slope(lateness_us(begins)):+.6f} us per cycle"
    )


def bench_sleep(cycles: int) -> None:
    """The same grid with nothing to do: what sleep and scheduler cost by themselves."""
    begins = []
    with timer_slack():
        due_ns = time.monotonic_ns() + _PERIOD_NS
        for _ in range(cycles):
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            now_ns = time.monotonic_ns()
            begins.append(now_ns)
            due_ns += _PERIOD_NS * (1 + max(0, now_ns - due_ns) // _PERIOD_NS)
    show("pacing: bare absolute sleep at 1 ms, lateness", lateness_us(begins))
    show("pacing: bare absolute sleep at 1 ms, jitter", jitter_us(begins))


def lateness_us(begins: Sequence[int]) -> list[float]:
    """Return how long after its slot of the absolute grid each cycle began; the earliest hundredth defines the grid."""
    phases = [begin % _PERIOD_NS for begin in begins]
    middle = Counter(phase // 10_000 for phase in phases).most_common(1)[0][0] * 10_000
    early = _PERIOD_NS // 10
    offsets = [(phase - middle + early) % _PERIOD_NS for phase in phases]
    grid = part(offsets, 0.01)
    return [(offset - grid) / 1e3 for offset in offsets]


def jitter_us(begins: Sequence[int]) -> list[float]:
    """Return by how much each period differs from the nominal one; a skipped slot counts as such."""
    return [abs((later - earlier) - _PERIOD_NS) / 1e3 for earlier, later in pairwise(begins)]


def slope(values: Sequence[float]) -> float:
    """Return the slope of a straight line through the values, per value."""
    count = len(values)
    mean_x, mean_y = (count - 1) / 2, sum(values) / count
    spread = sum((x - mean_x) ** 2 for x in range(count))
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / spread


def main() -> int:
    """Run everything and print one line a figure; 2 where this machine cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=5000)
    parser.add_argument("--cycles", type=int, default=60_000)
    wanted = parser.parse_args()
    if reason := why_no_rig():
        print(reason)
        return 2
    print(f"{conditions()}, pysoem {pysoem.__version__ if hasattr(pysoem, '__version__') else ''}".rstrip(", "))
    with EthercatRig(_SPEC, "bench") as rig:
        print(f"segment: {rig.facts['policy']}")
        plan = replace(resolve(_SPEC), network_interface=rig.interface)
        bench_exchange(plan, wanted.exchanges)
    with EthercatRig(_SPEC, "bench") as rig:
        bench_pacing(replace(plan, network_interface=rig.interface), wanted.cycles)
    bench_sleep(max(20, wanted.cycles // 10))
    return 0


if __name__ == "__main__":
    sys.exit(main())
