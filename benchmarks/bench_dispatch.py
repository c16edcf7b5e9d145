"""What the executor adds to a cycle: its 1 ms grid beside bare absolute loops, in one process, rounds alternating.

Lateness is the time from the nominal start (epoch + k * period) to the first statement of the cycle's body; jitter is
the difference of actual and nominal period. CPU is thread time per cycle: what the loop itself costs, without waiting.
What these figures do not show: an application's own work, other load on the machine, and any hard bound.
"""

from __future__ import annotations

import argparse
import ctypes
import select
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from conditions import conditions

from taktora.clock import SystemClock
from taktora.executor import Context, Executor, TriggerDeclarer, item_with_triggers
from taktora.executor.portable import PortableReactor
from taktora.executor.reactor import Reactor
from taktora.executor.timerfd import make_timer
from taktora.executor.tuning import timer_slack

MOST_OVERHEAD_US = 10.0
MOST_EXTRA_ITEM_US = 2.0
MOST_P99_US = 150.0
MOST_SLOPE_NS = 10.0
EXTRA_ITEMS = 8
NS_PER_US = 1_000


@dataclass
class Series:
    """Starts of one round and what it cost."""

    epoch_ns: int
    starts_ns: array[int]
    cpu_ns: int

    def lateness_ns(self, period_ns: int) -> list[int]:
        """Time since the nominal start of each scan; a skipped slot counts as skipped, not as late."""
        return [(start_ns - self.epoch_ns) % period_ns for start_ns in self.starts_ns]

    def jitter_ns(self, period_ns: int) -> list[int]:
        starts = self.starts_ns
        return [abs(after - before - period_ns) for before, after in pairwise(starts)]

    def skipped(self, period_ns: int) -> int:
        return round((self.starts_ns[-1] - self.starts_ns[0]) / period_ns) - len(self.starts_ns) + 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


def bare_nanosleep(cycles: int, period_ns: int) -> Series:
    """The floor: clock_nanosleep to absolute instants."""
    nanosleep = ctypes.CDLL(None).clock_nanosleep
    spec, starts = _TimeSpec(), array("q", bytes(8 * cycles))
    pointer = ctypes.byref(spec)
    epoch_ns = due_ns = time.monotonic_ns()
    cpu_ns = time.thread_time_ns()
    with timer_slack():
        for cycle in range(cycles):
            due_ns += period_ns
            spec.s, spec.ns = divmod(due_ns, 1_000_000_000)
            nanosleep(time.CLOCK_MONOTONIC, 1, pointer, None)
            starts[cycle] = now_ns = time.monotonic_ns()
            if now_ns >= due_ns + period_ns:
                due_ns = now_ns - (now_ns - epoch_ns) % period_ns
    return Series(epoch_ns, starts, time.thread_time_ns() - cpu_ns)


def bare_timerfd(cycles: int, period_ns: int) -> Series:
    """The executor's own mechanism, bare: an absolute timerfd behind epoll."""
    timer, poller, starts = make_timer(), select.epoll(), array("q", bytes(8 * cycles))
    poller.register(timer.fd, select.EPOLLIN)
    epoch_ns = due_ns = time.monotonic_ns()
    cpu_ns = time.thread_time_ns()
    with timer_slack():
        for cycle in range(cycles):
            due_ns += period_ns
            timer.set(due_ns)
            poller.poll()
            starts[cycle] = now_ns = time.monotonic_ns()
            if now_ns >= due_ns + period_ns:
                due_ns = now_ns - (now_ns - epoch_ns) % period_ns
    cpu_ns = time.thread_time_ns() - cpu_ns
    poller.close()
    timer.close()
    return Series(epoch_ns, starts, cpu_ns)


def executor_on(make_reactor: Callable[[SystemClock], Reactor], items: int) -> Callable[[int, int], Series]:
    """The executor with ``items`` items on one interval; the first one's start is what is measured."""

    def run(cycles: int, period_ns: int) -> Series:
        clock, starts, epochs = SystemClock(), array("q", bytes(8 * cycles)), list[int]()
        count = 0

        def cyclic_ns() -> int:
            now_ns = time.monotonic_ns()
            if not epochs:
                epochs.append(now_ns)
            return now_ns

        def body(_context: Context) -> None:
            nonlocal count
            starts[count] = time.monotonic_ns()
            count += 1

        def declare(declarer: TriggerDeclarer) -> None:
            declarer.interval(period_ns)

        executor = Executor.builder(clock=clock, reactor=make_reactor(clock)).cyclic_clock(cyclic_ns).build()
        executor.add(item_with_triggers(declare, body))
        for _ in range(items - 1):
            executor.add(item_with_triggers(declare, lambda _context: None))
        cpu_ns = time.thread_time_ns()
        executor.run_n(cycles)
        cpu_ns = time.thread_time_ns() - cpu_ns
        executor.close()
        return Series(epochs[0], starts, cpu_ns)

    return run


def candidates() -> dict[str, Callable[[int, int], Series]]:
    """What is compared, the floor first."""
    found: dict[str, Callable[[int, int], Series]] = {
        "bare clock_nanosleep": bare_nanosleep,
        "bare timerfd + epoll": bare_timerfd,
        "executor, portable": executor_on(PortableReactor, 1),
    }
    try:
        from taktora.executor.waitset import WaitSetReactor
    except ImportError:
        return found
    found["executor, WaitSet"] = executor_on(WaitSetReactor, 1)
    found[f"executor, WaitSet, {1 + EXTRA_ITEMS} items"] = executor_on(WaitSetReactor, 1 + EXTRA_ITEMS)
    return found


def quantile(values: list[int], share: float) -> float:
    """Return the exact quantile in us."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / NS_PER_US


def slope_ns(values: list[int]) -> float:
    """Return how much lateness grows per cycle: between the medians of the first and the last tenth, in ns."""
    tenth = max(1, len(values) // 10)
    first, last = sorted(values[:tenth])[tenth // 2], sorted(values[-tenth:])[tenth // 2]
    return (last - first) / max(1, len(values) - tenth)


@dataclass
class Figures:
    """One candidate over all rounds."""

    cpu_us: float
    lateness: tuple[float, float, float]
    jitter: tuple[float, float, float]
    slope: float
    skipped: int


def figures(rounds: list[Series], period_ns: int) -> Figures:
    """Reduce the rounds of one candidate."""
    lateness = [value for series in rounds for value in series.lateness_ns(period_ns)]
    jitter = [value for series in rounds for value in series.jitter_ns(period_ns)]
    return Figures(
        median(series.cpu_ns / len(series.starts_ns) for series in rounds) / NS_PER_US,
        (quantile(lateness, 0.5), quantile(lateness, 0.99), quantile(lateness, 1.0)),
        (quantile(jitter, 0.5), quantile(jitter, 0.99), quantile(jitter, 1.0)),
        median(slope_ns(series.lateness_ns(period_ns)) for series in rounds),
        sum(series.skipped(period_ns) for series in rounds),
    )


def verdicts(results: dict[str, Figures]) -> list[str]:
    """Compare with the bars that this project holds itself to."""
    floor, ours = results["bare clock_nanosleep"], results.get("executor, WaitSet")
    if ours is None:
        return ["iceoryx2 is not installed: the WaitSet reactor was not measured"]
    many = results[f"executor, WaitSet, {1 + EXTRA_ITEMS} items"]
    extra_us = (many.cpu_us - ours.cpu_us) / EXTRA_ITEMS
    each_us = (many.cpu_us - floor.cpu_us) / (1 + EXTRA_ITEMS)
    over_us = ours.lateness[0] - floor.lateness[0]
    cpu_us = ours.cpu_us - floor.cpu_us
    return [
        _verdict("start later than the floor, p50", over_us, MOST_OVERHEAD_US, "us"),
        _verdict("CPU over the floor, a lone item", cpu_us, MOST_OVERHEAD_US, "us"),
        _verdict(f"CPU over the floor per item, {1 + EXTRA_ITEMS} items", each_us, MOST_OVERHEAD_US, "us"),
        _verdict("CPU per extra item", extra_us, MOST_EXTRA_ITEM_US, "us"),
        _verdict(f"lateness p99 (floor {floor.lateness[1]:.2f})", ours.lateness[1], MOST_P99_US, "us"),
        _verdict("lateness slope", abs(ours.slope), MOST_SLOPE_NS, "ns/cycle"),
    ]


def _verdict(what: str, value: float, most: float, unit: str) -> str:
    return f"{'met   ' if value <= most else 'MISSED'}  {what}: {value:.2f} {unit} (bar {most:g})"


def main() -> int:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=60_000, help="cycles per candidate, over all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--period-us", type=int, default=1_000)
    arguments = parser.parse_args()
    period_ns, cycles = arguments.period_us * NS_PER_US, max(10, arguments.cycles // arguments.rounds)
    compared = candidates()
    rounds: dict[str, list[Series]] = {name: [] for name in compared}
    for _ in range(arguments.rounds):
        for name, run in compared.items():
            rounds[name].append(run(cycles, period_ns))
    results = {name: figures(series, period_ns) for name, series in rounds.items()}
    print(conditions())
    print(f"period {arguments.period_us} us, {arguments.rounds} rounds of {cycles} cycles each, warm-up none, in us\n")
    print(f"{'':28} {'CPU':>6}  {'lateness p50 / p99 / max':>26}  {'jitter p50 / p99 / max':>26}  slope ns  skipped")
    for name, result in results.items():
        late, jitter = (" / ".join(f"{value:.1f}" for value in three) for three in (result.lateness, result.jitter))
        print(f"{name:28} {result.cpu_us:6.2f}  {late:>26}  {jitter:>26}  {result.slope:8.2f}  {result.skipped:7}")
    print()
    print("\n".join(verdicts(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
