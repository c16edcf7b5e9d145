"""Tests of coverage figures, thresholds and the comparison with a baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from taktora.traceability import (
    ANY,
    TOTAL,
    ConfigError,
    Result,
    Threshold,
    Trace,
    coverage,
    judge,
    load_baseline,
    load_catalogue,
    load_thresholds,
    lost,
    missed,
    parse_threshold,
    trace_data,
)
from taktora.traceability.formats import json_bytes
from tests.unit.traceability.builders import FEATURE, requirement, result, unchanged, write


def trace(folder: Path, *results: Result) -> Trace:
    axis = FEATURE + requirement("REQ_0001") + requirement("REQ_0002")
    axis += requirement("REQ_0003", extra='verification = "hil"')
    axis += requirement("REQ_0004", extra='verification = "inspection"')
    axis += requirement("REQ_0005", extra='applicability = "not-applicable"\nreason = "r"')
    known = load_catalogue([write(folder / "c", axis=axis, brake=requirement("REQ_0010"))], folder)
    return judge(known, results, unchanged(), {}, ("sim", "hil"))


@pytest.mark.verifies("REQ_8606")
@pytest.mark.parametrize(
    ("area", "world", "verified", "total"),
    [("axis", "sim", 1, 2), ("axis", "hil", 0, 3), ("axis", ANY, 1, 3), ("brake", "sim", 0, 1), (TOTAL, "sim", 1, 3)],
)
def test_coverage_counts_what_a_test_can_verify_there(
    tmp_path: Path, area: str, world: str, verified: int, total: int
) -> None:
    have = coverage(trace(tmp_path, result()), area, world)

    assert (have.verified, have.total) == (verified, total)


@pytest.mark.verifies("REQ_8606")
def test_a_missed_threshold_is_found_and_a_met_one_is_not(tmp_path: Path) -> None:
    found = trace(tmp_path, result())

    short = missed(found, [Threshold("axis", "sim", 50), Threshold("axis", "sim", 50.1), Threshold("*", "sim", 10)])

    assert [(threshold.percent, have.area, have.percent) for threshold, have in short] == [
        (50.1, "axis", 50.0),
        (10, "brake", 0.0),
    ]


@pytest.mark.verifies("REQ_8606")
@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("can/sim=80", Threshold("can", "sim", 80)),
        ("total=12.5%", Threshold("total", ANY, 12.5)),
        ("*/hil=0", Threshold("*", "hil", 0)),
    ],
)
def test_a_threshold_is_written_as_area_world_percent(text: str, threshold: Threshold) -> None:
    assert parse_threshold(text) == threshold


@pytest.mark.verifies("REQ_8606")
@pytest.mark.parametrize(
    "text", ["can/sim", "can/sim=", "can/=80", "/sim=80", "can/sim=101", "can/sim=-1", "80", "a=nan"]
)
def test_a_broken_threshold_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_threshold(text)

    assert str(caught.value) == (f"threshold '{text}': expected AREA/WORLD=PERCENT with 0 .. 100, as in can/sim=80")


@pytest.mark.verifies("REQ_8606")
@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (Threshold("axes", "sim", 1), "unknown area 'axes' in a threshold; did you mean axis?"),
        (Threshold("zzz", "sim", 1), "unknown area 'zzz' in a threshold; there are axis, brake, total"),
        (Threshold("axis", "moon", 1), "unknown world 'moon' in a threshold; there are sim, hil, any"),
    ],
)
def test_an_unknown_name_is_refused_not_ignored(tmp_path: Path, threshold: Threshold, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        missed(trace(tmp_path), [threshold])

    assert str(caught.value) == message


@pytest.mark.verifies("REQ_8606")
def test_thresholds_are_read_from_a_table_per_area(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text('[axis]\nsim = 80\nhil = 5.5\n["*"]\nsim = 1\n')

    assert load_thresholds(file) == [
        Threshold("axis", "sim", 80),
        Threshold("axis", "hil", 5.5),
        Threshold("*", "sim", 1),
    ]


@pytest.mark.verifies("REQ_8606")
def test_a_file_of_thresholds_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text("axis = 80\n")

    with pytest.raises(ConfigError, match=r"thresholds.toml: not a file of thresholds: .*as in \[can\] with sim = 80"):
        load_thresholds(file)


@pytest.mark.verifies("REQ_8606")
def test_lost_coverage_is_listed_against_a_baseline(tmp_path: Path) -> None:
    both = ("REQ_0001", "REQ_0002")
    before = trace(tmp_path, result(verifies=both), result("t.py::old", verifies=("REQ_0010",)))
    (tmp_path / "trace.json").write_bytes(json_bytes(trace_data(before, [])))
    baseline = load_baseline(tmp_path / "trace.json")
    del before.catalogue.items["REQ_0010"]

    after = trace(tmp_path, result(verifies=both[:1]), result("t.py::x", verifies=("REQ_0002",), outcome="failed"))
    del after.requirements["REQ_0010"]

    assert lost(after, baseline) == [
        ("REQ_0002", "sim", "failed"),
        ("REQ_0002", "any", "failed"),
        ("REQ_0010", "sim", "no longer in the catalogue"),
        ("REQ_0010", "any", "no longer in the catalogue"),
    ]


@pytest.mark.verifies("REQ_8606")
@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_baseline_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "old.json").write_text(text)

    with pytest.raises(ConfigError, match=r"old.json is no baseline.*expected a trace.json of an earlier report"):
        load_baseline(tmp_path / "old.json")
