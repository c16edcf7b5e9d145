"""Tests of result files: what is merged, what is kept, what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.traceability import Measurement, ResultError, Run, load_results, merge_results, update_results
from tests.unit.traceability.builders import result


@pytest.mark.verifies("REQ_8604")
def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = [
        result("a.py::test_1", seed="7", trace_hash="beef", fingerprint={"kernel": "6.1"}, reason="r", duration_s=0.25),
        result("a.py::test_2", run=Run(commit="other"), measured=(Measurement("t", None, "ms", 1.0, None, "failed"),)),
    ]

    update_results(tmp_path / "deep" / "sim.json", written)

    assert load_results([tmp_path]) == written


@pytest.mark.verifies("REQ_8604")
def test_runs_of_several_machines_merge_whatever_their_order() -> None:
    runs = [
        [result("a.py::test_1", at_s=1, outcome="failed"), result("a.py::test_2", at_s=1)],
        [result("a.py::test_1", at_s=3), result("a.py::test_1", world="hil", at_s=2, outcome="not run")],
        [result("a.py::test_1", at_s=2, outcome="failed"), result("a.py::test_1", world="hil", at_s=1)],
    ]

    merged = [merge_results([one for run in order for one in run]) for order in itertools.permutations(runs)]

    assert all(found == merged[0] for found in merged)
    assert [(one.node_id, one.world, one.outcome) for one in merged[0]] == [
        ("a.py::test_1", "hil", "passed"),
        ("a.py::test_1", "hil", "not run"),
        ("a.py::test_1", "sim", "passed"),
        ("a.py::test_2", "sim", "passed"),
    ]


@pytest.mark.verifies("REQ_8604")
def test_a_non_run_is_forgotten_once_the_test_ran() -> None:
    merged = merge_results([result(outcome="not run", at_s=1), result(outcome="failed", at_s=2)])

    assert [one.outcome for one in merged] == ["failed"]


_RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from(["a.py::test_1", "a.py::test_2"]),
        st.sampled_from(["sim", "hil"]),
        st.sampled_from(["passed", "failed", "not run"]),
        st.integers(0, 9),
    ),
    max_size=8,
)


@pytest.mark.verifies("REQ_8604")
@given(_RESULTS, _RESULTS)
def test_merging_is_commutative_and_merging_again_changes_nothing(left: list, right: list) -> None:  # type: ignore[type-arg]
    once = merge_results([*left, *right])

    assert merge_results([*right, *left]) == once
    assert merge_results([*once, *left]) == once


@pytest.mark.verifies("REQ_8604")
def test_a_file_that_ran_in_full_forgets_its_lost_tests_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "sim.json"
    update_results(file, [result("a.py::test_old"), result("b.py::test_1"), result("c.py", outcome="not run")])

    update_results(file, [result("a.py::test_new", at_s=2)], complete={("a.py", "sim")}, collected={"a.py", "c.py"})

    assert [one.node_id for one in load_results([file])] == ["a.py::test_new", "b.py::test_1"]


@pytest.mark.verifies("REQ_8609")
def test_the_text_a_test_was_linked_to_first_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "sim.json"

    for at_s, text in enumerate(["first", "second"], start=1):
        update_results(file, [result(at_s=at_s, texts={"REQ_0001": text}, linked={"REQ_0001": text})])

    assert [(one.texts, one.linked) for one in load_results([file])] == [
        ({"REQ_0001": "second"}, {"REQ_0001": "first"})
    ]


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            r"sim.json is no result file: Input data was truncated; expected a file written by pytest --trace-results",
        ),
        ("[]", r"sim.json is no result file: Expected `object`, got `array`; expected a file"),
        ('{"taktora_results": 9, "runs": [], "results": []}', "sim.json has result format 9, this version reads 1"),
        ('{"taktora_results": 1, "runs": [], "results": [{"run": 0}]}', "sim.json holds a broken result: IndexError"),
        ('{"taktora_results": 1, "runs": [{}], "results": [{"run": 0}]}', "sim.json holds a broken result: Validation"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sim.json").write_text(text)

    with pytest.raises(ResultError, match=message):
        load_results([tmp_path])


@pytest.mark.verifies("REQ_8604")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"cannot read results .*none.json: No such file"):
        load_results([tmp_path / "none.json"])
