"""Figures of the cycle of one bus: one observation per attempt, and aggregates over a window; it reads no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from taktora.ethercat.image import CycleRecord, Validity
from taktora.statistics import Histogram, WindowedExtremes

__all__ = ["BusCycleObservation", "BusCycleSnapshot", "BusCycleTelemetry", "CycleObserver", "CycleOutcome"]

_U32_MAX = 0xFFFF_FFFF
_PERMILLES = (500, 950, 990)


# req: REQ_0267
class CycleOutcome(Enum):
    """How one attempt at an exchange ended."""

    COMPLETED = "Completed"
    DEGRADED = "Degraded"
    """A frame came back, but not everybody took part."""
    FAULT = "Fault"
    """No frame came back."""


# req: REQ_0265
class BusCycleObservation(NamedTuple):
    """One attempt at an exchange; durations are bounded to 32 bits and None where there was none."""

    cycle_index: int
    wire_round_ns: int | None
    phase_wait_ns: int | None
    all_devices_fresh: bool
    wc_ok: bool
    stale_device_count: int

    @classmethod
    def of(cls, record: CycleRecord) -> BusCycleObservation:
        """Return what ``record`` says of the cycle; devices never seen count as stale."""
        validity = record.validity
        stale = len(validity) - validity.count(Validity.FRESH)
        return cls(
            record.cycle_index,
            None if record.wire_round_ns is None else _bounded(record.wire_round_ns),
            None if record.phase_wait_ns is None else _bounded(record.phase_wait_ns),
            stale == 0,
            record.wc_ok,
            stale,
        )

    @property
    def outcome(self) -> CycleOutcome:
        if self.wire_round_ns is None:
            return CycleOutcome.FAULT
        return CycleOutcome.COMPLETED if self.all_devices_fresh and self.wc_ok else CycleOutcome.DEGRADED


CycleObserver: TypeAlias = Callable[[BusCycleObservation], object]
"""Is pushed one observation per attempt."""


# req: REQ_0262, REQ_0263, REQ_0264, REQ_0266
@dataclass(frozen=True, slots=True)
class BusCycleSnapshot:
    """Aggregates of one bus; durations in ns, None without samples.

    Args:
        cycles: Attempts so far, failing ones included.
        faults: Attempts without a frame that came back.
        wire_p50_ns: Median of the wire round over the window, within 1 %.
        wire_p95_ns: Likewise.
        wire_p99_ns: Likewise.
        wire_min_ns: Exact smallest wire round of the window.
        wire_max_ns: Exact largest.
        phase_wait_min_ns: Exact smallest wait for the phase, of the same window.
        phase_wait_mean_ns: Mean over the lifetime.
        wkc_mismatch_count: Cycles whose working counter was too low; never reset.
        not_all_fresh_count: Cycles in which somebody was stale; never reset.
        max_stale_cycles: Per device, in bus order, the longest run of stale cycles ever seen.
    """

    cycles: int
    faults: int
    wire_p50_ns: int | None
    wire_p95_ns: int | None
    wire_p99_ns: int | None
    wire_min_ns: int | None
    wire_max_ns: int | None
    phase_wait_min_ns: int | None
    phase_wait_mean_ns: int | None
    wkc_mismatch_count: int
    not_all_fresh_count: int
    max_stale_cycles: tuple[int, ...]


class BusCycleTelemetry:
    """Folds cycle records; one thread records, any thread may take a snapshot, whose fields are each untorn.

    Args:
        device_count: SubDevices in the image.
        window: Samples that percentiles and extremes cover, at least 1.
    """

    def __init__(self, device_count: int, window: int = 1024) -> None:
        self._wire = Histogram(window)
        self._wire_extremes = WindowedExtremes(window)
        self._phase_extremes = WindowedExtremes(window)
        self._phase_sum_ns = 0
        self._phase_samples = 0
        self._cycles = 0
        self._faults = 0
        self._mismatches = 0
        self._not_all_fresh = 0
        self._stale_runs = [0] * device_count
        self._longest_runs = [0] * device_count
        self._any_run = False
        self._all_fresh = bytes((Validity.FRESH,)) * device_count

    def record(self, record: CycleRecord) -> None:
        """Take one attempt."""
        _, _, _, validity, wire_ns, phase_ns, wc_ok = record
        self._cycles += 1
        if not wc_ok:
            self._mismatches += 1
        if wire_ns is None:
            self._faults += 1
        else:
            if not 0 <= wire_ns <= _U32_MAX:
                wire_ns = _bounded(wire_ns)
            self._wire.record(wire_ns)
            self._wire_extremes.record(wire_ns)
            if phase_ns is not None:
                if not 0 <= phase_ns <= _U32_MAX:
                    phase_ns = _bounded(phase_ns)
                self._phase_extremes.record(phase_ns)
                self._phase_sum_ns += phase_ns
                self._phase_samples += 1
        if validity != self._all_fresh:
            self._not_all_fresh += 1
            self._count_runs(validity)
        elif self._any_run:
            self._count_runs(validity)

    def snapshot(self) -> BusCycleSnapshot:
        """Return the aggregates as they are now."""
        p50, p95, p99 = self._wire.percentiles(_PERMILLES) if self._cycles > self._faults else (None, None, None)
        samples = self._phase_samples
        return BusCycleSnapshot(
            cycles=self._cycles,
            faults=self._faults,
            wire_p50_ns=p50,
            wire_p95_ns=p95,
            wire_p99_ns=p99,
            wire_min_ns=self._wire_extremes.minimum,
            wire_max_ns=self._wire_extremes.maximum,
            phase_wait_min_ns=self._phase_extremes.minimum,
            phase_wait_mean_ns=self._phase_sum_ns // samples if samples else None,
            wkc_mismatch_count=self._mismatches,
            not_all_fresh_count=self._not_all_fresh,
            max_stale_cycles=tuple(self._longest_runs),
        )

    # req: REQ_0264
    def _count_runs(self, validity: bytes) -> None:
        runs, longest = self._stale_runs, self._longest_runs
        for place, value in enumerate(validity):
            if value == Validity.FRESH:
                runs[place] = 0
            else:
                runs[place] += 1
                if runs[place] > longest[place]:
                    longest[place] = runs[place]
        self._any_run = any(runs)


def _bounded(duration_ns: int) -> int:
    return duration_ns if 0 <= duration_ns <= _U32_MAX else min(max(duration_ns, 0), _U32_MAX)
