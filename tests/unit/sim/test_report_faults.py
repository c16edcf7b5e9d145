"""The names of faults on a run's timeline: each is there, and none hides another, however close they are."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora_sim.faults import FaultEntry, FiredFault
from taktora_sim.report.drawing import timeline
from taktora_sim.report.lanes import Group, lanes
from taktora_sim.report.scale import LEFT, WIDTH, TimeAxis

pytestmark = pytest.mark.verifies("REQ_8014")

MS = 1_000_000
AXIS = TimeAxis(60_000 * MS)


def fault(kind: str, started_ms: int, ended_ms: int | None) -> FiredFault:
    entry = FaultEntry(target="can/vehicle/bms", kind=kind, at_ns=started_ms * MS)
    return FiredFault(1, entry, f"{kind} of it", started_ms * MS, None if ended_ms is None else ended_ms * MS)


SIX = [
    fault("silence", 20_000, 20_300),
    fault("silence", 20_400, 20_700),
    fault("bus_off", 20_600, 20_600),
    fault("silence", 20_900, 22_900),
    fault("no_ack", 21_200, 21_300),
    fault("interface_down", 21_300, 21_800),
]


def names(found: list[list[Group]]) -> list[list[tuple[str, str]]]:
    return [[(group.name, group.place) for group in lane] for lane in found]


def test_six_faults_close_together_are_named_below_each_other() -> None:
    assert names(lanes(SIX, AXIS)) == [
        [("silence \u00d73", "after")],
        [("bus_off", "after")],
        [("no_ack", "after")],
        [("interface_down", "after")],
    ]


def test_the_drawing_has_a_row_a_lane_and_says_the_target_once() -> None:
    drawing = timeline({}, SIX, [], AXIS)

    rows = re.findall(r'<g transform="translate\(0 (\d+)\)">(.*?)</g>\n', drawing)
    assert [int(y) for y, _ in rows] == [8, 34, 60, 86]
    assert drawing.count("<title>can/vehicle/bms</title>") == 1
    assert drawing.count('class="bar fault"') == 6
    assert re.findall(r'<text class="after"[^>]*>(.*?)</text>', drawing) == [
        "silence \u00d73", "bus_off", "no_ack", "interface_down",
    ]  # fmt: skip


def test_faults_far_apart_share_a_row_and_each_has_its_name() -> None:
    far = [fault("silence", 1_000, 1_500), fault("bus_off", 20_000, 35_000), fault("silence", 40_000, 41_000)]

    assert names(lanes(far, AXIS)) == [[("silence", "after"), ("bus_off", "inside"), ("silence", "after")]]


@pytest.mark.parametrize(
    ("started_ms", "ended_ms", "place"),
    [(59_000, 59_500, "before"), (59_000, None, "before"), (10_000, 50_000, "inside"), (1_000, 1_000, "after")],
)
def test_a_name_is_where_there_is_room_for_it(started_ms: int, ended_ms: int | None, place: str) -> None:
    assert names(lanes([fault("silence", started_ms, ended_ms)], AXIS)) == [[("silence", place)]]


def test_the_name_of_faults_that_fill_the_drawing_is_over_them() -> None:
    campaign = [fault("silence", 600 * number, 600 * number + 300) for number in range(100)]

    assert names(lanes(campaign, AXIS)) == [[("silence \u00d7100", "over")]]
    assert re.search(r'<rect class="plate"[^>]*/><text class="over"', timeline({}, campaign, [], AXIS))


FAULTS = st.lists(
    st.builds(
        lambda kind, start, length: fault(kind, start, None if length is None else start + length),
        st.sampled_from(["silence", "bus_off", "no_ack", "a_kind_with_a_long_name"]),
        st.integers(0, 60_000),
        st.none() | st.integers(0, 20_000),
    ),
    max_size=40,
)


@given(FAULTS)
def test_no_name_and_no_bar_hides_another_and_none_is_left_out(faults: list[FiredFault]) -> None:
    found = lanes(faults, AXIS)

    drawn = [each for lane in found for group in lane for each in group.faults]
    assert Counter(map(id, drawn)) == Counter(map(id, faults))
    for lane in found:
        spans = [group.span for group in lane]
        assert all(LEFT <= begin < end <= WIDTH for begin, end in spans)
        assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))
