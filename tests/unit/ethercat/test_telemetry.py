"""Figures of the cycle: outcomes, windows, counters that nothing resets."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.ethercat.image import CycleRecord, Validity
from taktora.ethercat.telemetry import BusCycleObservation, BusCycleTelemetry, CycleOutcome
from tests.unit.ethercat.bus_bench import BusBench

_NEVER, _FRESH, _STALE = Validity.NEVER_SEEN, Validity.FRESH, Validity.STALE


def _record(
    cycle_index: int = 0,
    wire_round_ns: int | None = 100,
    phase_wait_ns: int | None = 900,
    validity: bytes = bytes((_FRESH, _FRESH)),
    wc_ok: bool = True,
) -> CycleRecord:
    return CycleRecord(cycle_index, 0, b"", validity, wire_round_ns, phase_wait_ns, wc_ok)


@pytest.mark.verifies("REQ_0267", "REQ_0265")
@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        pytest.param(_record(), CycleOutcome.COMPLETED, id="completed"),
        pytest.param(_record(validity=bytes((_FRESH, _STALE))), CycleOutcome.DEGRADED, id="stale"),
        pytest.param(_record(validity=bytes((_FRESH, _NEVER))), CycleOutcome.DEGRADED, id="never seen"),
        pytest.param(_record(wc_ok=False), CycleOutcome.DEGRADED, id="low counter"),
        pytest.param(_record(wire_round_ns=None, wc_ok=False), CycleOutcome.FAULT, id="fault"),
    ],
)
def test_the_three_outcomes_are_told_apart(record: CycleRecord, outcome: CycleOutcome) -> None:
    assert BusCycleObservation.of(record).outcome is outcome


@pytest.mark.verifies("REQ_0265")
def test_an_observation_counts_the_stale_and_bounds_durations_to_32_bits() -> None:
    seen = BusCycleObservation.of(_record(7, 2**40, 2**33, bytes((_STALE, _NEVER, _FRESH)), wc_ok=False))

    assert seen == (7, 0xFFFF_FFFF, 0xFFFF_FFFF, False, False, 2)


@pytest.mark.verifies("REQ_0262", "REQ_0266")
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(100, 10_000), st.none() | st.integers(0, 10_000)), min_size=1, max_size=40),
)
def test_extremes_are_exact_over_the_window_and_the_mean_over_all(
    window: int, rounds: list[tuple[int, int | None]]
) -> None:
    telemetry = BusCycleTelemetry(2, window)

    for wire, phase in rounds:
        telemetry.record(_record(wire_round_ns=wire, phase_wait_ns=phase))
    seen = telemetry.snapshot()

    recent = [wire for wire, _ in rounds[-window:]]
    waits = [phase for _, phase in rounds if phase is not None]
    assert (seen.wire_min_ns, seen.wire_max_ns) == (min(recent), max(recent))
    assert seen.phase_wait_min_ns == (min(waits[-window:]) if waits else None)
    assert seen.phase_wait_mean_ns == (sum(waits) // len(waits) if waits else None)


@pytest.mark.verifies("REQ_0262")
def test_percentiles_are_within_one_percent() -> None:
    telemetry = BusCycleTelemetry(1, window=1000)

    for wire in range(1001, 2001):
        telemetry.record(_record(wire_round_ns=wire, validity=b"\1"))
    seen = telemetry.snapshot()

    for found, exact in ((seen.wire_p50_ns, 1500), (seen.wire_p95_ns, 1950), (seen.wire_p99_ns, 1990)):
        assert found == pytest.approx(exact, rel=0.01)


@pytest.mark.verifies("REQ_0267", "REQ_0262", "REQ_0266")
def test_a_fault_touches_the_counters_and_no_duration() -> None:
    telemetry = BusCycleTelemetry(2)
    telemetry.record(_record(0, 100, 900))
    before = telemetry.snapshot()

    telemetry.record(_record(1, None, 5, bytes((_STALE, _STALE)), wc_ok=False))
    after = telemetry.snapshot()

    assert (after.wire_min_ns, after.wire_max_ns, after.phase_wait_min_ns, after.phase_wait_mean_ns) == (
        before.wire_min_ns,
        before.wire_max_ns,
        before.phase_wait_min_ns,
        before.phase_wait_mean_ns,
    )
    assert (after.cycles, after.faults, after.wkc_mismatch_count, after.not_all_fresh_count) == (2, 1, 1, 1)
    assert after.max_stale_cycles == (1, 1)


@pytest.mark.verifies("REQ_0262")
def test_without_a_sample_there_are_no_durations() -> None:
    telemetry = BusCycleTelemetry(1)
    telemetry.record(_record(0, None, None, b"\2", wc_ok=False))

    seen = telemetry.snapshot()

    assert (seen.wire_p50_ns, seen.wire_p99_ns, seen.wire_min_ns, seen.phase_wait_mean_ns) == (None,) * 4


@pytest.mark.verifies("REQ_0264")
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_the_longest_run_of_stale_cycles_is_kept_per_device(cycles: list[tuple[bool, bool]]) -> None:
    telemetry = BusCycleTelemetry(2)

    for fresh in cycles:
        telemetry.record(_record(validity=bytes(_FRESH if good else _STALE for good in fresh)))

    longest = []
    for device in range(2):
        text = "".join("." if fresh[device] else "x" for fresh in cycles)
        longest.append(max(map(len, text.split("."))))
    assert telemetry.snapshot().max_stale_cycles == tuple(longest)
    assert telemetry.snapshot().not_all_fresh_count == sum(fresh != (True, True) for fresh in cycles)


@pytest.mark.verifies("REQ_0263")
def test_mismatches_are_counted_over_the_lifetime_and_survive_a_recovery() -> None:
    bench = BusBench()
    bench.mock.with_wkc_sequence([6, 5, 5, "lost", 6, 4])
    bench.run_cycles(8)
    telemetry = BusCycleTelemetry(len(bench.layout.subdevices))

    for record in bench.seen.records:
        telemetry.record(record)

    assert bench.mock.recover_calls == 1
    assert telemetry.snapshot().wkc_mismatch_count == 4


@pytest.mark.verifies("REQ_0262", "REQ_0266")
def test_an_update_keeps_nothing() -> None:
    telemetry = BusCycleTelemetry(2)
    records = [_record(index, 1000 + index % 50, 900 - index % 30) for index in range(200)]

    def fold() -> None:
        for record in records:
            telemetry.record(record)

    for _ in range(10):
        fold()
    gc.collect()
    tracemalloc.start()
    try:
        fold()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            fold()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert after - before < 512
