"""Tests of `taktora trace`: reports, gates, look-ups, confirmations, and what is said when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from taktora.cli.trace import app
from taktora.traceability import Coverage, Run, load_confirmations, update_results
from taktora.traceability.hashing import TestSources
from tests.unit.traceability.builders import FEATURE, requirement, result, specification, write

TEST_FILE = "def test_one(): pass\ndef test_two(): pass\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with two requirements, one of them passed in sim, and make it the current folder."""
    settings = '[project]\nname = "press"\n[tool.taktora.trace]\ncode = ["src"]\napplication = []\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    axis = FEATURE + requirement("REQ_0001", extra='adaptation = "In Python."') + requirement("REQ_0002")
    write(tmp_path / "requirements", axis=axis + specification("TEST_0001", "REQ_0001"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(TEST_FILE)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "stop.py").write_text("def stop():  # req: REQ_0001\n    pass\n")
    record(tmp_path, "test_one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(
    root: Path, name: str, world: str = "sim", outcome: str = "passed", requirement_id: str = "REQ_0001"
) -> None:
    node = f"tests/test_a.py::{name}"
    made = result(
        node,
        world,
        outcome,
        verifies=(requirement_id,),
        run=Run(commit="c0ffee0123456789"),
        test_hash=TestSources(root).hash_of(node),
        seed="7",
        trace_hash="beef",
        reason="it broke" if outcome == "failed" else "",
    )
    update_results(root / "reports" / "results" / f"{world}.json", [made])


def trace(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


@pytest.mark.verifies("REQ_8605")
def test_report_writes_five_files_and_says_where(project: Path) -> None:
    done = trace("report")

    assert done.exit_code == 0
    folder = project / "reports" / "trace"
    assert sorted(file.name for file in folder.iterdir()) == [
        "index.html",
        "junit.xml",
        "needs.json",
        "trace.csv",
        "trace.json",
    ]
    assert " sim: 1 of 2 requirements verified (50.0 %)" in done.output
    assert "Open reports/trace/index.html\n" in done.output


@pytest.mark.verifies("REQ_8604")
def test_a_fresh_clone_elsewhere_reports_the_same_bytes(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clone")
    for file in (path for path in sorted(project.rglob("*")) if path.is_file()):
        (clone / file.relative_to(project)).parent.mkdir(parents=True, exist_ok=True)
        (clone / file.relative_to(project)).write_bytes(file.read_bytes())

    trace("report", "--out", str(project / "one"))
    trace("report", "--root", str(clone), "--out", str(project / "two"))

    pairs = [(file.read_bytes(), (project / "two" / file.name).read_bytes()) for file in (project / "one").iterdir()]
    assert len(pairs) == 5
    assert all(one == two for one, two in pairs)


@pytest.mark.verifies("REQ_8604")
def test_results_of_two_machines_merge_on_the_command_line(project: Path) -> None:
    bench = project / "from-bench.json"
    record(project, "test_two", world="hil", requirement_id="REQ_0002")
    (project / "reports" / "results" / "hil.json").rename(bench)

    done = trace("report", "-r", "reports/results", "-r", str(bench))

    assert " sim: 1 of 2 requirements verified" in done.output
    assert " hil: 1 of 2 requirements verified" in done.output


@pytest.mark.verifies("REQ_8606")
def test_check_passes_where_thresholds_are_met(project: Path) -> None:
    done = trace("check", "--min", "axis/sim=50", "--min", "total=50")

    assert (done.exit_code, done.output) == (0, "ok: 2 thresholds met\n")


@pytest.mark.verifies("REQ_8602", "REQ_8604")
def test_a_report_says_in_a_word_why_requirements_are_not_verified(project: Path) -> None:
    record(project, "test_two", outcome="failed", requirement_id="REQ_0002")
    failed = trace("report").output
    (project / "tests" / "test_a.py").write_text(TEST_FILE.replace("pass", "assert True"))
    stale = trace("report").output

    assert " sim: 1 of 2 requirements verified (50.0 %); 1 failed\n" in failed
    assert " sim: 0 of 2 requirements verified (0.0 %); 2 stale\n" in stale


@pytest.mark.verifies("REQ_8606", "REQ_8604")
def test_a_failed_check_says_how_many_are_stale_and_what_ends_it(project: Path) -> None:
    (project / "tests" / "test_a.py").write_text(TEST_FILE.replace("pass", "assert True"))

    done = trace("check", "--min", "axis/sim=50")

    assert done.exit_code == 1
    assert done.output.endswith(
        "1 requirement is stale: test, text or application changed since it was verified; run the tests again\n"
    )


@pytest.mark.verifies("REQ_8606")
def test_less_than_all_is_never_shown_as_100_percent() -> None:
    assert Coverage("total", "sim", 4999, 5000).shown == "99.9 % (4999 of 5000)"
    assert Coverage("total", "sim", 5000, 5000).shown == "100.0 % (5000 of 5000)"


@pytest.mark.verifies("REQ_8600", "REQ_8606")
@pytest.mark.parametrize("command", [("report",), ("check", "--min", "total/sim=80")])
def test_a_catalogue_with_nothing_in_it_is_never_fully_covered(project: Path, command: tuple[str, ...]) -> None:
    (project / "requirements" / "axis.toml").write_text("")

    done = trace(*command)

    assert done.exit_code == 2
    assert done.stderr == (
        "Error: nothing in the catalogue: no [[requirement]] or other table in the .toml files of "
        f"{project / 'requirements'}\n"
    )


@pytest.mark.verifies("REQ_8606")
def test_a_check_before_any_run_says_so(project: Path) -> None:
    (project / "reports" / "results" / "sim.json").unlink()

    done = trace("check", "--min", "axis/sim=50")

    assert done.exit_code == 1
    assert done.output == (
        "below threshold: axis/sim has 0.0 % (0 of 2), wanted 50 %\n"
        "No results yet: run pytest with --trace-results FILE, or set record = true in [tool.taktora.trace].\n"
    )


@pytest.mark.verifies("REQ_8606")
def test_check_exits_1_and_names_what_is_below(project: Path) -> None:
    done = trace("check", "--min", "axis/sim=80", "--min", "axis/hil=1")

    assert done.exit_code == 1
    assert done.output == (
        "below threshold: axis/sim has 50.0 % (1 of 2), wanted 80 %\n"
        "below threshold: axis/hil has 0.0 % (0 of 2), wanted 1 %\n"
    )


@pytest.mark.verifies("REQ_8606")
def test_check_reads_the_project_thresholds(project: Path) -> None:
    (project / "requirements" / "thresholds.toml").write_text("[axis]\nsim = 51\n")

    done = trace("check")

    assert (done.exit_code, done.output) == (1, "below threshold: axis/sim has 50.0 % (1 of 2), wanted 51 %\n")


@pytest.mark.verifies("REQ_8606")
def test_check_lists_coverage_lost_since_a_baseline(project: Path) -> None:
    trace("report")
    baseline = "reports/trace/trace.json"
    unchanged = trace("check", "--baseline", baseline)
    (project / "tests" / "test_a.py").write_text(TEST_FILE.replace("test_one(): pass", "test_one(): assert True"))

    changed = trace("check", "--baseline", baseline)

    assert (unchanged.exit_code, unchanged.output) == (0, "ok: nothing lost\n")
    assert changed.exit_code == 1
    assert changed.output.splitlines() == [
        "lost coverage: REQ_0001 in sim, now stale: the test changed since it passed",
        "lost coverage: REQ_0001 in any, now stale: the test changed since it passed",
    ]


@pytest.mark.verifies("REQ_8602", "REQ_8607")
def test_show_prints_text_links_outcomes_and_code(project: Path) -> None:
    record(project, "test_two", outcome="failed")

    done = trace("show", "REQ_0001")

    assert done.exit_code == 0
    assert (
        done.output
        == """\
REQ_0001  Title of REQ_0001
  requirement, axis, functional, verified by test  (requirements/axis.toml:5)

  It shall stop.

  adaptation:
    In Python.

up:
  FEAT_0001  Stopping

down:
  TEST_0001  Spec

status:
  sim  failed: it broke
  rig  never
  hil  never
  any  failed: it broke

tests:
  passed   sim  tests/test_a.py::test_one
                seed 7, trace beef, commit c0ffee012345
  failed   sim  tests/test_a.py::test_two  (it broke)
                seed 7, trace beef, commit c0ffee012345

code:
  src/stop.py:1
"""
    )


@pytest.mark.verifies("REQ_8603")
def test_show_of_a_feature_counts_what_is_below_it(project: Path) -> None:
    done = trace("show", "FEAT_0001")

    assert "  sim  open: 1 of 2 requirements verified" in done.output
    assert "  REQ_0002  Title of REQ_0002" in done.output


@pytest.mark.verifies("REQ_8609")
def test_a_changed_text_is_suspect_until_somebody_confirms_it(project: Path) -> None:
    assert trace("confirm", "--all", "--by", "Ada", "--date", "2026-11-01").exit_code == 0
    file = project / "requirements" / "axis.toml"
    file.write_text(file.read_text().replace("In Python.", "In Python 3."))

    suspect = trace("show", "REQ_0001").output
    confirmed = trace("confirm", "REQ_0001", "--by", "Bo", "--date", "2026-11-21")
    after = trace("show", "REQ_0001").output

    assert "suspect: the requirement's text changed and nobody confirmed its tests" in suspect
    assert confirmed.exit_code == 0
    assert "suspect" not in after
    kept = load_confirmations(project / "requirements" / "confirmed.toml")["REQ_0001"]
    assert (kept.by, kept.date, len(kept.text_hash)) == ("Bo", "2026-11-21", 16)


@pytest.mark.verifies("REQ_8609")
def test_a_report_and_a_failed_check_say_how_many_are_suspect_and_what_ends_it(project: Path) -> None:
    before = trace("report").output
    trace("confirm", "--all", "--by", "Ada")
    file = project / "requirements" / "axis.toml"
    file.write_text(file.read_text().replace("In Python.", "In Python 3."))

    report, check = trace("report").output, trace("check", "--min", "axis/sim=50").output

    sentence = (
        "1 requirement is suspect: text changed since tests were linked to it, and suspect is not verified; "
        "look at both, then run: taktora trace confirm REQ_0001 --by NAME\n"
    )
    assert "suspect" not in before
    assert sentence in report
    assert check.endswith(sentence)


@pytest.mark.verifies("REQ_8609")
def test_confirmations_are_kept_sorted_and_with_odd_names_whole(project: Path) -> None:
    for name in ("REQ_0002", "REQ_0001"):
        trace("confirm", name, "--by", 'Zoë "Z" \\ Q', "--date", "2026-11-21")

    kept = load_confirmations(project / "requirements" / "confirmed.toml")

    assert [(one.id, one.by) for one in kept.values()] == [
        ("REQ_0001", 'Zoë "Z" \\ Q'),
        ("REQ_0002", 'Zoë "Z" \\ Q'),
    ]


@pytest.mark.verifies("REQ_8605", "REQ_8606")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show", "REQ_001"), "Error: unknown id REQ_001; did you mean REQ_0001, REQ_0002?\n"),
        (("check",), "Error: nothing to check: give --min can/sim=80, --thresholds FILE or --baseline FILE\n"),
        (
            ("check", "--min", "axis=lots"),
            "Error: threshold 'axis=lots': expected AREA/WORLD=PERCENT with 0 .. 100, as in can/sim=80\n",
        ),
        (("check", "--min", "axle/sim=1"), "Error: unknown area 'axle' in a threshold; there are axis, total\n"),
        (("confirm", "REQ_0001"), "Error: confirm needs the person who looked: --by NAME\n"),
        (
            ("confirm", "--by", "Ada"),
            "Error: name the requirements to confirm, as in: taktora trace confirm REQ_0310 --by NAME\n",
        ),
        (("confirm", "FEAT_0001", "--by", "Ada"), "Error: FEAT_0001 is a feature; only requirements are confirmed\n"),
        (
            ("confirm", "REQ_0001", "--by", "Ada", "--date", "soon"),
            "Error: --date soon: expected a day as in 2026-11-21\n",
        ),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_status_2(project: Path, args: tuple[str, ...], message: str) -> None:
    done = trace(*args)

    assert (done.exit_code, done.stderr) == (2, message)


@pytest.mark.verifies("REQ_8600")
def test_a_project_without_catalogue_is_told_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    done = trace("report")

    assert done.exit_code == 2
    assert done.stderr == (
        f"Error: no catalogue: looked for requirements in {tmp_path}; name a folder of requirement files with "
        "--catalogue or [tool.taktora.trace] catalogues\n"
    )


@pytest.mark.verifies("REQ_8605")
def test_a_report_that_cannot_be_written_is_named(project: Path) -> None:
    (project / "taken").write_text("")

    done = trace("report", "--out", "taken")

    assert (done.exit_code, done.stderr) == (2, "Error: cannot write the report into taken: File exists\n")


@pytest.mark.verifies("REQ_8605")
def test_a_report_without_results_says_how_to_get_some(project: Path) -> None:
    (project / "reports" / "results" / "sim.json").unlink()

    done = trace("report")

    assert done.exit_code == 0
    assert "No results yet: run pytest with --trace-results FILE" in done.output
    content = json.loads((project / "reports" / "trace" / "trace.json").read_text())
    assert content["requirements"][0]["worlds"]["sim"] == {"status": "never"}


@pytest.mark.verifies("REQ_8604")
def test_results_of_tests_that_are_not_here_are_pointed_out(project: Path) -> None:
    (project / "tests" / "test_a.py").write_text("def test_two(): pass\n")

    done = trace("report")

    assert (
        "1 result counts for nothing: tests/test_a.py::test_one is not in this project; "
        "a recorded run of the whole project drops it.\n"
    ) in done.output
    assert " sim: 0 of 2 requirements verified" in done.output
