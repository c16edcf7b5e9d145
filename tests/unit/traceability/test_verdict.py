"""Tests of the join: what each requirement is in each world, and what that does to everything above it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.traceability import ANY, Cell, Confirmation, FeatureCell, Result, Run, Today, Trace, judge
from tests.unit.traceability.builders import catalogue, requirement, result, specification, unchanged

PARTS = (requirement("REQ_0001"), requirement("REQ_0002"))


def trace(folder: Path, *results: Result, parts: tuple[str, ...] = PARTS, today: Today | None = None) -> Trace:
    return judge(catalogue(folder, *parts), results, today or unchanged(), {}, ("sim", "rig", "hil"))


def status(found: Trace, world: str = "sim", name: str = "REQ_0001") -> str:
    return found.requirements[name][world].status


@pytest.mark.verifies("REQ_8602")
def test_a_requirement_without_result_was_never_verified(tmp_path: Path) -> None:
    found = trace(tmp_path, result())

    assert [status(found, world) for world in ("sim", "rig", "hil", ANY)] == ["passed", "never", "never", "passed"]
    assert status(found, name="REQ_0002") == "never"


@pytest.mark.verifies("REQ_8602", "REQ_8501", "REQ_8507")
def test_a_skip_is_no_coverage_and_keeps_its_reason(tmp_path: Path) -> None:
    found = trace(tmp_path, result(world="hil", outcome="not run", reason="CAN_TEST_IFACE is not set"))

    cell = found.requirements["REQ_0001"]["hil"]
    assert (cell.status, cell.why, cell.is_verified) == ("not run", "CAN_TEST_IFACE is not set", False)


@pytest.mark.verifies("REQ_8602")
@given(outcomes=st.lists(st.sampled_from(["passed", "failed", "not run"]), min_size=1, max_size=5))
def test_the_weakest_test_decides(tmp_path_factory: pytest.TempPathFactory, outcomes: list[str]) -> None:
    results = [result(f"tests/test_a.py::test_{at}", outcome=outcome) for at, outcome in enumerate(outcomes)]

    found = trace(tmp_path_factory.mktemp("weakest"), *results)

    weakest = next(state for state in ("failed", "not run", "passed") if state in outcomes)
    assert status(found) == weakest


@pytest.mark.verifies("REQ_8604")
def test_the_newest_result_of_a_test_and_world_counts(tmp_path: Path) -> None:
    broken_then_good = (result(outcome="failed", at_s=1), result(outcome="passed", at_s=2))

    found = trace(tmp_path, *reversed(broken_then_good), result(world="rig", outcome="failed", at_s=3))

    assert (status(found), status(found, "rig")) == ("passed", "failed")


@pytest.mark.verifies("REQ_8604")
def test_a_run_without_the_bench_does_not_undo_what_the_bench_proved(tmp_path: Path) -> None:
    proven, without = result(world="hil", at_s=1), result(world="hil", outcome="not run", at_s=2)

    found = trace(tmp_path, proven, without)

    assert status(found, "hil") == "passed"


@pytest.mark.verifies("REQ_8604")
def test_a_stale_proof_gives_way_to_the_newer_non_run(tmp_path: Path) -> None:
    proven = result(world="hil", at_s=1, test_hash="older")

    found = trace(tmp_path, proven, result(world="hil", outcome="not run", at_s=2))

    assert status(found, "hil") == "not run"


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    ("past", "why"),
    [
        pytest.param(result(test_hash="older"), "the test changed since it passed", id="test"),
        pytest.param(
            result(run=Run(application_hash="older")), "the application changed since it passed", id="application"
        ),
        pytest.param(
            result(texts={"REQ_0001": "older"}), "the text of REQ_0001 changed since it passed", id="requirement"
        ),
    ],
)
def test_a_result_is_stale_when_a_hash_differs(tmp_path: Path, past: Result, why: str) -> None:
    cell = trace(tmp_path, past).requirements["REQ_0001"]["sim"]

    assert (cell.status, cell.why, cell.is_verified) == ("stale", why, False)


@pytest.mark.verifies("REQ_8604")
def test_dates_alone_change_no_verdict(tmp_path: Path) -> None:
    old, new = trace(tmp_path, result(at_s=1)), trace(tmp_path, result(at_s=900_000_000))

    assert status(old) == status(new) == "passed"


@pytest.mark.verifies("REQ_8604")
def test_a_changed_text_makes_stale_for_that_requirement_only(tmp_path: Path) -> None:
    past = result(verifies=("REQ_0001", "REQ_0002"), texts={"REQ_0001": "older"})

    found = trace(tmp_path, past)

    assert (status(found), status(found, name="REQ_0002")) == ("stale", "passed")


@pytest.mark.verifies("REQ_8604")
def test_results_of_tests_that_are_gone_count_for_nothing(tmp_path: Path) -> None:
    today = Today(lambda node: "source" if "kept" in node else None, "app")

    found = trace(tmp_path, result("t.py::kept"), result("t.py::lost", outcome="failed"), today=today)

    assert status(found) == "passed"
    assert [one.node_id for one in found.gone] == ["t.py::lost"]


@pytest.mark.verifies("REQ_8609")
def test_a_changed_text_stays_suspect_though_the_test_ran_again(tmp_path: Path) -> None:
    texts = {"REQ_0001": catalogue(tmp_path, *PARTS)["REQ_0001"].text_hash}
    first, again = result(at_s=1, texts={"REQ_0001": "older"}), result(at_s=2, texts=texts, linked=texts)

    cell = trace(tmp_path, first, again).requirements["REQ_0001"]["sim"]

    assert (cell.status, cell.suspect, cell.is_verified) == ("passed", True, False)


@pytest.mark.verifies("REQ_8609")
@pytest.mark.parametrize(("confirmed", "suspect"), [("today", False), ("older", True)])
def test_a_confirmation_ends_suspicion_until_the_next_change(tmp_path: Path, confirmed: str, suspect: bool) -> None:
    known = catalogue(tmp_path, *PARTS)
    text = known["REQ_0001"].text_hash
    past = result(texts={"REQ_0001": text}, linked={"REQ_0001": "older" if not suspect else text})
    confirmation = Confirmation("REQ_0001", text if confirmed == "today" else confirmed, "Ada", "2026-11-21")

    found = judge(known, [past], unchanged(), {"REQ_0001": confirmation}, ("sim",))

    assert found.requirements["REQ_0001"]["sim"].suspect is suspect


@pytest.mark.verifies("REQ_8603")
def test_a_failure_marks_the_requirement_and_every_ancestor(tmp_path: Path) -> None:
    parts = (
        '[[feature]]\nid = "FEAT_0002"\ntitle = "t"\nsummary = "s"\nparent = "FEAT_0001"\n',
        requirement("REQ_0001", "FEAT_0002"),
        requirement("REQ_0002", "REQ_0001"),
        requirement("REQ_0003", "FEAT_0002"),
    )
    results = [
        result("t.py::test_1", verifies=("REQ_0001",)),
        result("t.py::test_2", verifies=("REQ_0002",), outcome="failed"),
        result("t.py::test_3", verifies=("REQ_0003",)),
    ]

    found = trace(tmp_path, *results, parts=parts)

    marked: dict[str, Cell | FeatureCell] = {name: cells["sim"] for name, cells in found.requirements.items()}
    marked.update({name: cells["sim"] for name, cells in found.features.items()})
    assert {name for name, cell in marked.items() if cell.status == "failed"} == {
        "REQ_0001",
        "REQ_0002",
        "FEAT_0001",
        "FEAT_0002",
    }
    assert marked["REQ_0001"].below == marked["FEAT_0001"].below == "REQ_0002"


@pytest.mark.verifies("REQ_8603")
def test_a_feature_is_verified_only_when_all_applicable_requirements_are(tmp_path: Path) -> None:
    spared = requirement("REQ_0003", extra='applicability = "not-applicable"\nreason = "no counterpart"')
    parts = (*PARTS, spared)

    half = trace(tmp_path, result(), parts=parts)
    whole = trace(tmp_path, result(verifies=("REQ_0001", "REQ_0002")), parts=parts)

    assert (half.features["FEAT_0001"]["sim"].status, half.features["FEAT_0001"]["sim"].verified) == ("open", 1)
    assert (whole.features["FEAT_0001"]["sim"].status, whole.features["FEAT_0001"]["sim"].total) == ("passed", 2)
    assert status(whole, name="REQ_0003") == "not applicable"


@pytest.mark.verifies("REQ_8603")
def test_an_inspected_requirement_keeps_its_feature_open(tmp_path: Path) -> None:
    parts = (requirement("REQ_0001"), requirement("REQ_0002", extra='verification = "inspection"'))

    found = trace(tmp_path, result(verifies=("REQ_0001", "REQ_0002")), parts=parts)

    assert status(found, name="REQ_0002") == "inspection"
    assert found.features["FEAT_0001"]["sim"].status == "open"


@pytest.mark.verifies("REQ_8602")
def test_a_failing_test_shows_even_where_inspection_verifies(tmp_path: Path) -> None:
    parts = (requirement("REQ_0001", extra='verification = "analysis"'),)

    found = trace(tmp_path, result(outcome="failed"), parts=parts)

    assert status(found) == "failed"


@pytest.mark.verifies("REQ_8602")
def test_what_only_hardware_can_verify_is_not_passed_by_a_simulation(tmp_path: Path) -> None:
    parts = (requirement("REQ_0001", extra='verification = "hil"'),)

    simulated = trace(tmp_path, result(), parts=parts)
    proven = trace(tmp_path, result(), result(world="hil"), parts=parts)

    assert (status(simulated), status(simulated, ANY)) == ("hil", "hil")
    assert (status(proven, "hil"), status(proven, ANY)) == ("passed", "passed")


@pytest.mark.verifies("REQ_8602")
def test_a_realized_specification_has_a_verdict_and_implies_its_requirements(tmp_path: Path) -> None:
    parts = (*PARTS, specification("TEST_0001", "REQ_0002"), specification("TEST_0002", "REQ_0001"))

    found = trace(tmp_path, result(verifies=(), realizes=("TEST_0001",)), parts=parts)

    assert status(found, name="REQ_0002") == "passed"
    assert found.specifications["TEST_0001"]["sim"].status == "passed"
    assert found.specifications["TEST_0002"]["sim"].status == "never"


@pytest.mark.verifies("REQ_8602")
def test_a_world_that_no_setting_names_is_shown_when_it_has_results(tmp_path: Path) -> None:
    found = trace(tmp_path, result(world="bench2"))

    assert found.worlds == ("sim", "rig", "hil", "bench2")
    assert status(found, "bench2") == "passed"


@pytest.mark.verifies("REQ_8602")
def test_a_result_naming_an_unknown_id_is_listed_and_counts_for_nothing(tmp_path: Path) -> None:
    found = trace(tmp_path, result(verifies=("REQ_0009",)))

    assert found.unknown == [("tests/test_a.py::test_x", "REQ_0009")]
