"""What holds in every run of a bus, whatever the wire, the SubDevices and the application do."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.connector.health import Connecting, ConnectorHealth, Degraded, HealthMonitor, Up
from taktora.errors import IllegalTransition
from taktora.ethercat.driver import AlState, BringUp
from taktora.ethercat.image import CycleRecord, Validity
from taktora.testing import BusLog
from tests.unit.ethercat.bus_bench import MS, BusBench, make_plan, make_policy

_LABELS = ("coupler", "inputs", "outputs", "drive")
_MAX_AGE = 2
_SAFE = {"outputs": b"\x08", "drive": b"\x06\0\0\0\0\0"}


class _Cycle(NamedTuple):
    """What happens around one cycle."""

    answer: int | str
    renewed: frozenset[str]
    states: dict[str, AlState]


_CYCLES = st.lists(
    st.builds(
        _Cycle,
        st.sampled_from([6, 6, 6, 6, 5, 3, 0, "lost"]),
        st.sampled_from([frozenset(_LABELS)] * 3 + [frozenset(), frozenset({"drive"}), frozenset({"outputs"})]),
        st.dictionaries(
            st.sampled_from(_LABELS),
            st.sampled_from([AlState.OP, AlState.OP, AlState.SAFE_OP, AlState.NONE]),
            max_size=2,
        ),
    ),
    max_size=40,
)
_RECOVERIES = st.lists(st.sampled_from([BringUp(6, 4), "no answer"]), max_size=4)


class _Story(BusLog):
    """Keeps moves and cycles in one row, as they came."""

    def __init__(self) -> None:
        super().__init__()
        self.row: list[CycleRecord | ConnectorHealth] = []

    def on_cycle(self, record: CycleRecord) -> None:
        super().on_cycle(record)
        self.row.append(record)

    def on_health(self, health: ConnectorHealth) -> None:
        super().on_health(health)
        self.row.append(health)


def _live_through(
    cycles: list[_Cycle], recoveries: list[BringUp | str], timeout_ns: int | None
) -> tuple[BusBench, _Story]:
    """Run the script; check the outputs on the wire in every cycle."""
    plan = make_plan(max_output_age_cycles=_MAX_AGE, low_counter_timeout_ns=timeout_ns)
    story = _Story()
    bench = BusBench(plan, policy=make_policy(3), seen=story)
    bench.mock.with_recovery_sequence(recoveries)
    bench.run_cycles(1)
    ages: dict[str, int | None] = {"outputs": None, "drive": None}
    episodes = 0
    for number, cycle in enumerate(cycles):
        if bench.has_ended:
            break
        image = bytes((number + 1,)) * 7
        bench.mock.with_wkc_sequence([cycle.answer])
        for label, state in cycle.states.items():
            bench.mock.set_state(bench.layout.by_label[label].address, state)
        bench.renew(image, *cycle.renewed)
        bench.run_cycles(1)
        recovered = bench.mock.recover_calls != episodes
        episodes = bench.mock.recover_calls
        for label in ages:
            if recovered:
                ages[label] = None  # whatever was staged before it is gone
            elif label in cycle.renewed:
                ages[label] = 0
            elif (age := ages[label]) is not None:
                ages[label] = age + 1
            _check_sent(bench, label, image, ages[label])
    bench.run_cycles(1)
    return bench, story


def _check_sent(bench: BusBench, label: str, image: bytes, age: int | None) -> None:
    place = bench.layout.by_label[label]
    sent = bench.mock.snapshot_outputs(place.address)
    live = image[place.output_offset : place.output_offset + place.output_bytes]
    is_waiting = not bench.has_ended and isinstance(bench.seen.healths[-1], Degraded) and _failed(bench)
    if is_waiting or bench.has_ended:
        assert sent == _SAFE[label]  # the segment is about to be brought up again
    else:
        assert sent == (live if age is not None and age <= _MAX_AGE else _SAFE[label])


def _failed(bench: BusBench) -> bool:
    return bench.seen.records[-1].wire_round_ns is None


@pytest.mark.verifies("REQ_8150", "REQ_0333", "REQ_0319", "REQ_0265", "REQ_0264")
@settings(max_examples=150, deadline=None)
@given(_CYCLES, _RECOVERIES)
def test_outputs_health_and_records_keep_their_promises(cycles: list[_Cycle], recoveries: list[BringUp | str]) -> None:
    bench, story = _live_through(cycles, recoveries, None)

    _check_health(bench, story)
    silent = {label for cycle in cycles for label, state in cycle.states.items() if state < AlState.SAFE_OP}
    _check_records(story.records, {bench.layout.by_label[label].position for label in silent})


@pytest.mark.verifies("REQ_0333", "REQ_0331")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([6, 6, 5, 3, "lost"]), max_size=60), _RECOVERIES)
def test_moves_stay_legal_when_low_counters_have_the_segment_brought_up_again(
    answers: list[int | str], recoveries: list[BringUp | str]
) -> None:
    story = _Story()
    bench = BusBench(make_plan(low_counter_timeout_ns=4 * MS), policy=make_policy(3), seen=story)
    bench.mock.with_recovery_sequence(recoveries).with_wkc_sequence(answers)

    bench.run_cycles(len(answers) + 3)

    _check_health(bench, story)
    _check_records(story.records)


def _check_health(bench: BusBench, story: _Story) -> None:
    """Every move is one of the table, and after a bad cycle it is not Up before a good one or a recovery."""
    monitor = HealthMonitor("bus", bench.clock)
    was_good = True
    for entry in story.row:
        if isinstance(entry, CycleRecord):
            assert was_good or not isinstance(monitor.current, Up)
            was_good = entry.wc_ok
        else:
            assert not isinstance(monitor.try_transition_to(entry), IllegalTransition)
            was_good |= isinstance(entry, Connecting)


def _check_records(records: list[CycleRecord], silent: Collection[int] = ()) -> None:
    """A match means that all are fresh, but for those known to be ``silent`` while others are held in SAFE-OP."""
    assert [record.cycle_index for record in records] == list(range(len(records)))
    assert all(earlier.at_ns <= later.at_ns for earlier, later in pairwise(records))
    seen = bytes(4)
    for record in records:
        assert (record.wire_round_ns is None) <= (not record.wc_ok)
        if record.wc_ok:
            assert all(value == Validity.FRESH or place in silent for place, value in enumerate(record.validity))
        for before, now in zip(seen, record.validity, strict=True):
            assert (now == Validity.NEVER_SEEN) <= (before == Validity.NEVER_SEEN)
        seen = record.validity
