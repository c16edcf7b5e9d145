"""Cycle statistics of one task: what is folded after each wake and what a snapshot shows; it reads no clock."""

from __future__ import annotations

from dataclasses import dataclass

from taktora.executor.observer import CycleObservation
from taktora.statistics import Histogram, WindowedMaximum

__all__ = ["TaskSnapshot", "TaskStatistics"]


# req: REQ_0851
@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """Aggregates of one task over its window, in ns; 0 where ``samples`` (or ``cycles``) says that there is none.

    Percentiles are for trends; every decision uses the exact extremes (REQ_0851).

    Args:
        task_id: The task.
        samples: Measured runs so far; faulted scans are not among them.
        cycles: Scan attempts so far of a cyclic task, faulted ones included.
        p50_ns: Median of the execute duration, within 1 %.
        p95_ns: Likewise.
        p99_ns: Likewise.
        min_ns: Exact smallest execute duration.
        max_ns: Exact largest execute duration.
        max_jitter_ns: Exact largest difference of actual and declared period.
        max_lateness_ns: Exact largest signed lateness; positive is late.
        overrun_count: Runs beyond the task's budget since the start; no clear resets it.
    """

    task_id: str
    samples: int
    cycles: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    min_ns: int
    max_ns: int
    max_jitter_ns: int
    max_lateness_ns: int
    overrun_count: int


# req: REQ_0100, REQ_0101, REQ_0102, REQ_0104, REQ_0106, REQ_0107, REQ_0840
class TaskStatistics:
    """Counters and windows of one task; written by the dispatch thread alone.

    Args:
        window: Samples in every window.
        period_ns: Declared period of a cyclic task, None for others.
    """

    __slots__ = (
        "_anchored",
        "_histogram",
        "_jitter",
        "_jitter_record",
        "_largest",
        "_largest_record",
        "_lateness",
        "_lateness_record",
        "_nominal_ns",
        "_period_ns",
        "_pre_ns",
        "_smallest",
        "_smallest_record",
        "_steady_ns",
        "actual_period_ns",
        "cycle_index",
        "jitter_ns",
        "lateness_ns",
        "overrun_count",
        "samples",
        "skipped_slots",
    )

    def __init__(self, window: int, period_ns: int | None) -> None:
        self._period_ns = period_ns or 0
        self._histogram = Histogram(window)
        self._largest = WindowedMaximum(window)
        self._smallest = WindowedMaximum(window)
        self._jitter = WindowedMaximum(window if period_ns else 1)
        self._lateness = WindowedMaximum(window if period_ns else 1)
        self._largest_record = self._largest.record
        self._smallest_record = self._smallest.record
        self._jitter_record = self._jitter.record
        self._lateness_record = self._lateness.record
        self._steady_ns: int | None = None  # the only value in both windows: one more of it changes nothing
        self._anchored = False
        self._nominal_ns = self._pre_ns = 0
        self.cycle_index = 0
        self.samples = 0
        self.overrun_count = 0
        self.skipped_slots = 0
        self.actual_period_ns: int | None = None
        self.jitter_ns: int | None = None
        self.lateness_ns: int | None = None

    def restart(self) -> None:
        """Anchor the next scan anew: the grid of another run has another epoch. Windows and the index go on."""
        self._anchored = False

    # req: REQ_0104, REQ_0105
    def record_run(self, took_ns: int) -> None:
        """Take the duration of one measured run."""
        self.samples += 1
        histogram = self._histogram
        if took_ns == histogram.last and histogram.repeats < histogram.room:
            histogram.repeats += 1  # Histogram.record, in place
        else:
            histogram.record(took_ns)
        if took_ns != self._steady_ns:
            self._largest_record(took_ns)
            self._smallest_record(-took_ns)
            is_steady = self._largest.sole is not None and self._smallest.sole is not None
            self._steady_ns = took_ns if is_steady else None

    # req: REQ_0101, REQ_0106
    def record_scan(self, pre_ns: int, late_by_ns: int, skipped: int, faulted: bool) -> None:
        """Take one scan attempt of a cyclic task; the measured values stay until the next one.

        Args:
            pre_ns: Start on the telemetry clock.
            late_by_ns: Lateness against the grid; used for the first scan only, to anchor it at its nominal slot.
            skipped: Slots passed over since the previous scan.
            faulted: The normal logic did not run; the values then enter no aggregate.
        """
        if not self._anchored:
            self._anchor(pre_ns, late_by_ns)
            jitter_ns: int | None = None
        else:
            period_ns = self._period_ns
            self.actual_period_ns = actual_ns = pre_ns - self._pre_ns
            self._nominal_ns += period_ns + skipped * period_ns
            self.skipped_slots = skipped
            jitter_ns = actual_ns - period_ns if actual_ns > period_ns else period_ns - actual_ns
        self._pre_ns = pre_ns
        if faulted:
            self.jitter_ns = self.lateness_ns = None
            return
        self.jitter_ns = jitter_ns
        if jitter_ns is not None and jitter_ns != self._jitter.sole:
            self._jitter_record(jitter_ns)
        self.lateness_ns = lateness_ns = pre_ns - self._nominal_ns
        if lateness_ns != self._lateness.sole:
            self._lateness_record(lateness_ns)

    def _anchor(self, pre_ns: int, late_by_ns: int) -> None:
        """Put the nominal start of the first scan of a run where the grid has it."""
        self._anchored = True
        self._nominal_ns = pre_ns - late_by_ns
        self.skipped_slots = 0
        self.actual_period_ns = None

    def observation(self, task_id: str, task_index: int, faulted: bool, took_ns: int | None) -> CycleObservation:
        """Return the scan just recorded as a value."""
        return CycleObservation(
            self.cycle_index,
            task_id,
            task_index,
            faulted,
            self._period_ns,
            self._pre_ns,
            self.actual_period_ns,
            self.jitter_ns,
            self.lateness_ns,
            took_ns,
            self.skipped_slots,
        )

    def snapshot(self, task_id: str) -> TaskSnapshot:
        """Return the aggregates; fields may stem from moments microseconds apart, the writer never waits."""
        p50, p95, p99 = self._histogram.percentiles((500, 950, 990))
        return TaskSnapshot(
            task_id,
            self.samples,
            self.cycle_index,
            p50,
            p95,
            p99,
            -(self._smallest.value or 0),
            self._largest.value or 0,
            self._jitter.value or 0,
            self._lateness.value or 0,
            self.overrun_count,
        )
