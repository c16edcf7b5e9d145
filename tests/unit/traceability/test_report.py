"""Tests of the written reports: complete, self-contained, equal for equal input."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from taktora.traceability import CodeLink, Measure, Measurement, Project, Result, judge, trace_data, write_reports
from taktora.traceability.formats import needs_bytes
from tests.unit.traceability.builders import catalogue, requirement, result, specification, unchanged

NASTY = "</script><script>alert(1)</script> & \u2028 \x07 \u00e9"
FILES = ["index.html", "junit.xml", "needs.json", "trace.csv", "trace.json"]


def results() -> list[Result]:
    return [
        result("t.py::test_1", measured=(Measurement("t", 4.0, "ms", None, 5.0),), seed="7", trace_hash="beef"),
        result("t.py::test_2", verifies=("REQ_0002",), outcome="failed", reason=NASTY, duration_s=0.5),
        result("t.py::test_2", "hil", "not run", verifies=("REQ_0002",), reason="CAN_TEST_IFACE is not set"),
        result("t.py::test_free", verifies=()),
    ]


def data(folder: Path, made: list[Result]) -> dict[str, Any]:
    parts = (
        requirement("REQ_0001"),
        requirement("REQ_0002", extra='adaptation = "=1+1"'),
        requirement("REQ_0003", extra='verification = "inspection"'),
        specification("TEST_0001", "REQ_0001"),
    )
    trace = judge(catalogue(folder / "c", *parts), made, unchanged(), {}, ("sim", "rig", "hil"))
    return trace_data(trace, [CodeLink("REQ_0001", "src/a.py", 3), CodeLink("REQ_0099", "src/a.py", 9)], "demo")


def written(folder: Path, made: list[Result]) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in write_reports(data(folder, made), folder / "out")}


@pytest.mark.verifies("REQ_8605")
def test_equal_input_gives_equal_bytes_in_any_order_of_results(tmp_path: Path) -> None:
    first = written(tmp_path / "one", results())

    second = written(tmp_path / "two", results()[::-1])

    assert sorted(first) == FILES
    assert first == second


@pytest.mark.verifies("REQ_8602")
def test_each_requirement_shows_status_reason_and_evidence_per_world(tmp_path: Path) -> None:
    found = data(tmp_path, results())

    by_id = {entry["id"]: entry for entry in found["requirements"]}
    assert {world: cell["status"] for world, cell in by_id["REQ_0002"]["worlds"].items()} == {
        "sim": "failed",
        "rig": "never",
        "hil": "not run",
        "any": "failed",
    }
    assert by_id["REQ_0002"]["worlds"]["hil"]["why"] == "CAN_TEST_IFACE is not set"
    test = found["tests"][by_id["REQ_0001"]["worlds"]["sim"]["tests"][0]["test"]]
    assert (test["seed"], test["trace_hash"], found["runs"][test["run"]]["commit"]) == ("7", "beef", "c0ffee")
    assert by_id["REQ_0003"]["worlds"]["sim"]["status"] == "inspection"


@pytest.mark.verifies("REQ_8610")
def test_measured_values_are_in_the_report_with_limits_and_verdict(tmp_path: Path) -> None:
    test = data(tmp_path, results())["tests"][0]

    assert list(test["measured"]) == [{"name": "t", "value": 4.0, "unit": "ms", "high": 5.0}]


@pytest.mark.verifies("REQ_8607")
def test_the_report_lists_what_code_and_requirements_lack(tmp_path: Path) -> None:
    found = data(tmp_path, results())

    assert found["requirements"][0]["code"] == ["src/a.py:3"]
    assert found["findings"] == {
        "requirements_without_code": ["REQ_0002", "REQ_0003"],
        "markers_without_requirement": [{"id": "REQ_0099", "place": "src/a.py:9"}],
        "tests_without_requirement": ["t.py::test_free"],
        "unrealized_specifications": ["TEST_0001"],
        "results_without_test": [],
        "results_with_unknown_id": [],
    }


@pytest.mark.verifies("REQ_8605")
def test_the_page_is_whole_in_itself_and_holds_its_data_unharmed(tmp_path: Path) -> None:
    made = data(tmp_path, results())

    page = written(tmp_path, results())["index.html"].decode()

    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//)|@import|url\(|fetch\(|XMLHttpRequest""", page)
    assert "default-src 'none'" in page
    assert page.count("</script>") == 2
    inside = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert inside is not None
    assert json.loads(inside.group(1)) == json.loads(json.dumps(made))


@pytest.mark.verifies("REQ_8605")
def test_the_table_has_a_row_per_requirement_and_world_and_runs_no_formula(tmp_path: Path) -> None:
    made = [result(verifies=("REQ_0001",), outcome="failed", reason="=HYPERLINK(1)")]

    rows = list(csv.DictReader(io.StringIO(written(tmp_path, made)["trace.csv"].decode())))

    assert len(rows) == 3 * 4
    assert (rows[0]["status"], rows[0]["why"], rows[0]["failed"]) == ("failed", "'=HYPERLINK(1)", "1")


@pytest.mark.verifies("REQ_8605")
def test_the_row_over_all_worlds_counts_the_tests_of_all_worlds(tmp_path: Path) -> None:
    made = [result(), result(world="hil"), result("t.py::test_2", "rig", "not run", reason="no rig")]

    rows = list(csv.DictReader(io.StringIO(written(tmp_path, made)["trace.csv"].decode())))

    over_all = rows[3]
    assert (over_all["id"], over_all["world"], over_all["status"]) == ("REQ_0001", "any", "passed")
    assert (over_all["passed"], over_all["not_run"]) == ("2", "1")


@pytest.mark.verifies("REQ_8605", "REQ_8507")
def test_the_junit_file_has_a_suite_per_world_and_skips_with_reason(tmp_path: Path) -> None:
    root = ET.fromstring(written(tmp_path, results())["junit.xml"])

    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["sim", "hil"]
    counts = [suites["sim"].get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["3", "1", "0", "0"]
    skip = suites["hil"].find("testcase/skipped")
    assert skip is not None
    assert skip.get("message") == "CAN_TEST_IFACE is not set"


@pytest.mark.verifies("REQ_8605", "REQ_8604")
def test_the_junit_file_says_what_is_stale(tmp_path: Path) -> None:
    made = [result(test_hash="older"), result("t.py::test_2")]

    root = ET.fromstring(written(tmp_path, made)["junit.xml"])

    stale = {case.get("name"): case.find("properties/property[@name='stale']") for case in root.iter("testcase")}
    assert stale["test_2"] is None
    assert stale["test_x"] is not None
    assert stale["test_x"].get("value") == "the test changed since it passed"


@pytest.mark.verifies("REQ_8605")
def test_needs_json_has_every_item_with_links_and_status(tmp_path: Path) -> None:
    content = json.loads(written(tmp_path, results())["needs.json"])

    version = content["versions"][content["current_version"]]
    assert list(version["needs"]) == ["FEAT_0001", "REQ_0001", "REQ_0002", "REQ_0003", "TEST_0001"]
    assert version["needs_amount"] == 5
    need = version["needs"]["REQ_0001"]
    assert (need["type"], need["status"], need["links"], need["docname"]) == ("req", "passed", ["FEAT_0001"], "axis")


def load_benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    place = Path(__file__).parents[3] / "benchmarks" / "bench_report.py"
    monkeypatch.syspath_prepend(place.parent)
    spec = importlib.util.spec_from_file_location("bench_report", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.verifies("REQ_8608")
def test_a_large_project_reports_whole_and_in_time(
    tmp_path: Path, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = load_benchmark(monkeypatch)
    benchmark.build_project(tmp_path, requirements=5000, results=10_000)

    before_s = time.process_time()
    benchmark.time_report(tmp_path)
    took_s = time.process_time() - before_s  # of the processor: what else the machine does is not the report's time

    found = Project(tmp_path).data()
    total = found["areas"][-1]["worlds"]["sim"]
    assert (len(found["requirements"]), len(found["tests"])) == (5000, 10_000)
    assert (total["verified"], total["countable"], total["statuses"]) == (4990, 5000, {"failed": 10, "passed": 4990})
    measure("report_time", took_s, "s", high=10)


@pytest.mark.verifies("REQ_8605")
def test_needs_json_holds_texts_that_are_no_markup(tmp_path: Path) -> None:
    parts = (requirement("REQ_0001", statement="Keep |v| of `x`, *all* SG_ and a_b; 2 \\\\ 3."),)
    trace = judge(catalogue(tmp_path / "c", *parts), [], unchanged(), {}, ("sim",))

    content = json.loads(needs_bytes(trace_data(trace, [])))["versions"]["1"]["needs"]["REQ_0001"]["content"]

    assert content == r"Keep \|v\| of \`x\`, \*all\* SG\_ and a_b; 2 \\ 3."
