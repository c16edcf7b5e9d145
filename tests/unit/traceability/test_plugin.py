"""Tests of the pytest plugin: refusal of unknown ids and the record of every outcome, run on small projects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taktora.traceability import Project, Result, load_results
from tests.patience import PATIENCE_S
from tests.unit.traceability.builders import FEATURE, requirement, specification, write

CATALOGUE = FEATURE + requirement("REQ_0310") + requirement("REQ_0311") + specification("TEST_0200", "REQ_0311")
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # the latter imports hypothesis anew in each run
MARKED = """
import pytest

@pytest.mark.verifies("{}")
def test_it() -> None:
    pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    write(pytester.path / "requirements", axis=CATALOGUE)
    return pytester


def run(project: pytest.Pytester, source: str, *args: str) -> pytest.RunResult:
    project.makepyfile(test_a=source)
    return project.runpytest_inprocess(*QUIET, *args)


def outcomes(project: pytest.Pytester, source: str, *args: str) -> dict[tuple[str, str], Result]:
    run(project, source, "--trace-results", "out.json", *args)
    return {(one.node_id.split("::")[-1], one.world): one for one in load_results([project.path / "out.json"])}


@pytest.mark.verifies("REQ_8601")
@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ('verifies("REQ_310")', 'verifies("REQ_310"): unknown id; did you mean REQ_0310, REQ_0311?'),
        ('verifies("REQ_0310", "XYZ")', 'verifies("XYZ"): unknown id; no known id is similar'),
        ('realizes("TEST_0201")', 'realizes("TEST_0201"): unknown id; did you mean TEST_0200?'),
        (
            'verifies("TEST_0200")',
            'verifies("TEST_0200"): TEST_0200 is a test specification, not a requirement; use @pytest.mark.realizes',
        ),
        (
            'verifies("FEAT_0001")',
            'verifies("FEAT_0001"): FEAT_0001 is a feature, not a requirement; name a requirement',
        ),
        (
            'realizes("REQ_0310")',
            'realizes("REQ_0310"): REQ_0310 is a requirement, not a test specification; use @pytest.mark.verifies',
        ),
        ("verifies()", "verifies() names no id"),
        (
            'verifies("REQ_0310, REQ_0311")',
            'verifies("REQ_0310, REQ_0311"): one id per text, as in verifies("REQ_0310", "REQ_0311")',
        ),
        ("verifies(310)", 'verifies(310) needs ids as texts, as in verifies("REQ_0310")'),
    ],
)
def test_a_wrong_id_fails_collection_naming_test_place_and_way_out(
    project: pytest.Pytester, mark: str, complaint: str
) -> None:
    found = run(project, f"import pytest\n\n@pytest.mark.{mark}\ndef test_it() -> None:\n    pass\n")

    assert found.ret == pytest.ExitCode.INTERRUPTED
    assert f"test_a.py:3: test_a.py::test_it: {complaint}" in found.stdout.lines


@pytest.mark.verifies("REQ_8601")
def test_every_wrong_id_of_a_file_is_named_at_once(project: pytest.Pytester) -> None:
    found = run(
        project,
        """
        import pytest
        @pytest.mark.verifies("REQ_9")
        class TestGroup:
            def test_one(self) -> None: pass
        @pytest.mark.parametrize("a", [pytest.param(1, marks=pytest.mark.verifies("REQ_8"))])
        def test_two(a) -> None: pass
        """,
    )

    found.stdout.fnmatch_lines(['*test_a.py::TestGroup::test_one: verifies("REQ_9"): *'])
    found.stdout.fnmatch_lines(['*test_a.py::test_two[[]1]: verifies("REQ_8"): *'])
    found.assert_outcomes(errors=1)


@pytest.mark.verifies("REQ_8601")
@pytest.mark.parametrize(("mark", "meant"), [("verify", "verifies"), ("realises", "realizes")])
def test_a_misspelt_marker_fails_collection(project: pytest.Pytester, mark: str, meant: str) -> None:
    source = f"import pytest\n\n@pytest.mark.{mark}('REQ_0310')\ndef test_it() -> None:\n    pass\n"

    found = run(project, source, "-W", "ignore::pytest.PytestUnknownMarkWarning")

    complaint = f"@pytest.mark.{mark} links to nothing; use @pytest.mark.{meant}"
    assert f"test_a.py:3: test_a.py::test_it: {complaint}" in found.stdout.lines


@pytest.mark.verifies("REQ_8601")
def test_a_marker_of_the_project_may_have_a_similar_name(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nmarkers =\n    verify(what): what the project means by it\n")

    found = run(project, "import pytest\n\n@pytest.mark.verify(3)\ndef test_it() -> None:\n    pass\n")

    found.assert_outcomes(passed=1)


@pytest.mark.verifies("REQ_8601")
def test_marks_count_on_functions_classes_modules_and_parameter_sets(project: pytest.Pytester) -> None:
    found = outcomes(
        project,
        """
        import pytest
        pytestmark = pytest.mark.verifies("REQ_0310")
        @pytest.mark.verifies("REQ_0311")
        class TestGroup:
            def test_in_class(self) -> None: pass
        @pytest.mark.parametrize("a", [1, pytest.param(2, marks=pytest.mark.verifies("REQ_0311"))])
        def test_set(a) -> None: pass
        """,
    )

    assert {name: set(one.verifies) for (name, _), one in found.items()} == {
        "test_in_class": {"REQ_0310", "REQ_0311"},
        "test_set[1]": {"REQ_0310"},
        "test_set[2]": {"REQ_0310", "REQ_0311"},
    }


@pytest.mark.verifies("REQ_8601")
def test_a_realized_specification_implies_its_requirements(project: pytest.Pytester) -> None:
    found = outcomes(project, MARKED.replace("verifies", "realizes").format("TEST_0200"))

    one = found["test_it", "sim"]
    assert (one.realizes, one.verifies) == (("TEST_0200",), ("REQ_0311",))


@pytest.mark.verifies("REQ_8601")
def test_an_option_demands_an_id_on_every_test(project: pytest.Pytester) -> None:
    source = MARKED.format("REQ_0310") + "\ndef test_free() -> None:\n    pass\n"

    assert run(project, source).ret == 0
    found = run(project, source, "--require-ids")

    assert (
        "test_a.py:7: test_a.py::test_free: names no requirement, and --require-ids demands one: "
        'add @pytest.mark.verifies("...")'
    ) in found.stdout.lines
    assert found.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.verifies("REQ_8601")
def test_ids_without_a_catalogue_fail_with_where_it_was_looked_for(pytester: pytest.Pytester) -> None:
    found = run(pytester, MARKED.format("REQ_0310"))

    found.stdout.fnmatch_lines(
        [
            (
                "*names ids, but there is no catalogue: looked for requirements in *; "
                "name a folder of requirement files with --trace-catalogue or [[]tool.taktora.trace] catalogues"
            )
        ]
    )


@pytest.mark.verifies("REQ_8601")
def test_a_project_without_catalogue_and_marks_is_left_alone(pytester: pytest.Pytester) -> None:
    found = run(pytester, "def test_it() -> None:\n    pass\n")

    found.assert_outcomes(passed=1)
    assert [path.name for path in pytester.path.iterdir() if path.suffix == ".json"] == []


@pytest.mark.verifies("REQ_8600")
def test_a_broken_catalogue_ends_the_run_with_file_line_and_id(project: pytest.Pytester) -> None:
    write(project.path / "requirements", brake=requirement("REQ_0001", "FEAT_0009"))

    found = run(project, MARKED.format("REQ_0310"))

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*requirements/brake.toml:5: REQ_0001: refines names FEAT_0009, *"])


@pytest.mark.verifies("REQ_8600")
def test_catalogues_come_from_options_and_settings(pytester: pytest.Pytester) -> None:
    write(pytester.path / "examples" / "one" / "requirements", axis=CATALOGUE)
    by_option = run(pytester, MARKED.format("REQ_0310"), "--trace-catalogue", "examples/one/requirements")
    pytester.makepyprojecttoml('[tool.taktora.trace]\ncatalogues = ["examples/*/requirements"]\n')

    by_setting = run(pytester, MARKED.format("REQ_0310"))

    assert (by_option.ret, by_setting.ret) == (0, 0)


@pytest.mark.verifies("REQ_8600")
def test_an_unknown_setting_ends_the_run_with_the_known_ones(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.taktora.trace]\ncatalogs = []\n")

    found = run(pytester, "def test_it() -> None:\n    pass\n")

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*pyproject.toml: [[]tool.taktora.trace]: *`catalogs`; known settings: catalogues,*"])


OUTCOMES = """
import pytest

def test_pass(): pass
def test_fail(): assert 1 == 2
@pytest.mark.skip(reason="no bench")
def test_skip(): pass
@pytest.mark.xfail(reason="known")
def test_expected(): assert 0
@pytest.mark.xfail(reason="hangs", run=False)
def test_never_tried(): pass
@pytest.mark.xfail(reason="flaky", strict=False)
def test_surprise(): pass
@pytest.fixture
def broken(): raise RuntimeError("no power")
def test_setup(broken): pass
@pytest.fixture
def leaky():
    yield
    raise RuntimeError("left on")
def test_teardown(leaky): pass
def test_sub(subtests):
    with subtests.test("good"): pass
    with subtests.test("bad"): assert 0, "part"
def test_subskip(subtests):
    with subtests.test("good"): pass
    with subtests.test("left"): pytest.skip("no part")
"""
EXPECTED = {
    "test_pass": ("passed", ""),
    "test_fail": ("failed", "assert 1 == 2"),
    "test_skip": ("not run", "no bench"),
    "test_expected": ("failed", "expected failure: known"),
    "test_never_tried": ("not run", "hangs"),
    "test_surprise": ("passed", "passed though expected to fail: flaky"),
    "test_setup": ("failed", "setup: RuntimeError: no power"),
    "test_teardown": ("failed", "teardown: RuntimeError: left on"),
    "test_sub": ("failed", "AssertionError: part"),
    "test_subskip": ("not run", "no part"),
}


@pytest.mark.verifies("REQ_8602", "REQ_8507")
@pytest.mark.parametrize("args", [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="xdist")])
def test_each_kind_of_outcome_is_recorded_for_what_it_is(project: pytest.Pytester, args: tuple[str, ...]) -> None:
    found = outcomes(project, OUTCOMES, *args)

    assert {name: (one.outcome, one.reason) for (name, _), one in found.items()} == EXPECTED


@pytest.mark.verifies("REQ_8602")
@pytest.mark.parametrize("args", [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="xdist")])
def test_a_record_holds_the_evidence(project: pytest.Pytester, args: tuple[str, ...]) -> None:
    project.makepyprojecttoml('[tool.taktora.trace]\ncode = ["src"]\nlibraries = ["pytest", "nothing-such"]\n')
    project.mkdir("src").joinpath("app.py").write_text("x = 1\n")
    source = MARKED.format("REQ_0310").replace("def test_it() -> None:\n    pass", "def test_it(record_property):\n")
    source += '    record_property("seed", 7)\n    record_property("trace_hash", "beef")\n'
    source += '    record_property("fingerprint", {"nic": "e1000"})\n'

    one = outcomes(project, source, *args)["test_it", "sim"]

    assert (one.seed, one.trace_hash, one.fingerprint) == ("7", "beef", {"nic": "e1000"})
    assert one.run.versions == {"pytest": pytest.__version__, "nothing-such": "not installed"}
    assert all([one.test_hash, one.run.application_hash, one.run.python, one.texts["REQ_0310"], one.finished_unix_ns])


@pytest.mark.verifies("REQ_8610")
def test_measured_values_are_recorded_and_a_broken_limit_fails_the_test(project: pytest.Pytester) -> None:
    source = "def test_it(measure):\n    measure('a', 1, 'V', 0, 2)\n    measure('b', 3, 'ms', high=2)\n"

    one = outcomes(project, source)["test_it", "sim"]

    assert [(value.name, value.value, value.unit, value.low, value.high, value.verdict) for value in one.measured] == [
        ("a", 1.0, "V", 0.0, 2.0, "passed"),
        ("b", 3.0, "ms", None, 2.0, "failed"),
    ]
    assert one.outcome == "failed"
    assert one.reason.endswith("measured value outside its limits: b = 3 ms, limits -inf .. 2")


@pytest.mark.verifies("REQ_8507")
def test_a_file_skipped_as_a_whole_is_not_run_under_the_ids_written_in_it(project: pytest.Pytester) -> None:
    source = 'import pytest\npytest.importorskip("nothing_such")\n' + MARKED.format("REQ_0310")

    one = outcomes(project, source)["test_a.py", "sim"]

    assert (one.outcome, one.verifies) == ("not run", ("REQ_0310",))
    assert one.reason.startswith("could not import 'nothing_such'")


@pytest.mark.verifies("REQ_8507")
def test_a_file_that_cannot_be_collected_fails_its_ids_until_it_can(project: pytest.Pytester) -> None:
    broken = outcomes(project, MARKED.format("REQ_0310") + "\nimport nothing_such\n")

    mended = outcomes(project, MARKED.format("REQ_0310"))

    assert broken["test_a.py", "sim"].outcome == "failed"
    assert broken["test_a.py", "sim"].reason == "not collected: ModuleNotFoundError: No module named 'nothing_such'"
    assert [(name, one.outcome) for (name, _), one in mended.items()] == [("test_it", "passed")]


@pytest.mark.verifies("REQ_8507")
def test_tests_that_a_stopped_session_left_out_are_not_run_with_the_reason(project: pytest.Pytester) -> None:
    source = "def test_1(): assert 0\ndef test_2(): pass\n"

    found = outcomes(project, source, "-x")

    assert found["test_2", "sim"].outcome == "not run"
    assert found["test_2", "sim"].reason == "the session ended before this test: stopping after 1 failures"


@pytest.mark.verifies("REQ_8507")
def test_a_test_in_which_the_session_ended_is_not_run(project: pytest.Pytester) -> None:
    source = "import pytest\ndef test_1(): pytest.exit('enough')\ndef test_2(): pass\n"

    found = outcomes(project, source)

    assert {name: (one.outcome, one.reason) for (name, _), one in found.items()} == {
        "test_1": ("not run", "began and did not come to an end"),
        "test_2": ("not run", "the session was interrupted before this test"),
    }


@pytest.mark.verifies("REQ_8604")
def test_results_of_a_file_that_is_gone_end_with_the_next_recorded_run(project: pytest.Pytester) -> None:
    project.makepyfile(test_b="import nothing_such\n")
    outcomes(project, "def test_1(): pass\n")
    (project.path / "test_b.py").unlink()

    found = outcomes(project, "def test_1(): pass\n")

    assert [name for name, _ in found] == ["test_1"]


@pytest.mark.verifies("REQ_8604")
def test_a_partial_run_keeps_the_other_results_and_a_whole_one_forgets_lost_tests(project: pytest.Pytester) -> None:
    outcomes(project, "def test_1(): pass\ndef test_2(): pass\n")

    partial = outcomes(project, "def test_2(): pass\n", "test_a.py::test_2")
    chosen = outcomes(project, "def test_2(): pass\ndef test_3(): pass\n", "-k", "test_3")
    whole = outcomes(project, "def test_2(): pass\n")

    assert [name for name, _ in partial] == ["test_1", "test_2"]
    assert [name for name, _ in chosen] == ["test_1", "test_2", "test_3"]
    assert [name for name, _ in whole] == ["test_2"]


@pytest.mark.verifies("REQ_8604")
def test_the_hash_of_the_record_is_the_hash_of_the_report(project: pytest.Pytester) -> None:
    outcomes(project, MARKED.format("REQ_0310"))
    trace = Project(project.path, results=[project.path / "out.json"]).trace()
    project.makepyfile(test_a=MARKED.format("REQ_0310").replace("pass", "assert True"))
    changed = Project(project.path, results=[project.path / "out.json"]).trace()

    assert trace.requirements["REQ_0310"]["sim"].status == "passed"
    assert changed.requirements["REQ_0310"]["sim"].status == "stale"


@pytest.mark.verifies("REQ_8604")
def test_a_changed_module_of_checks_makes_stale_beside_an_application(project: pytest.Pytester) -> None:
    project.makepyprojecttoml('[tool.taktora.trace]\napplication = ["stop.py"]\n')
    project.makepyfile(stop="def stop(): return 1\n", checks="def check(value): assert value == 1\n")
    source = "from checks import check\nfrom stop import stop\n" + MARKED.format("REQ_0310").replace(
        "pass", "check(stop())"
    )
    outcomes(project, source)
    trace = Project(project.path, results=[project.path / "out.json"]).trace()
    project.makepyfile(checks="def check(value): pass\n")
    changed = Project(project.path, results=[project.path / "out.json"]).trace()

    assert trace.requirements["REQ_0310"]["sim"].status == "passed"
    assert changed.requirements["REQ_0310"]["sim"].why == "the test changed since it passed"


@pytest.mark.verifies("REQ_8602")
def test_a_setting_records_every_run_in_a_file_per_world(project: pytest.Pytester) -> None:
    project.makepyprojecttoml("[tool.taktora.trace]\nrecord = true\n")

    run(project, "def test_it(world_name): pass\n", "--world", "sim,rig")

    files = sorted((project.path / "reports" / "results").glob("*.json"))
    assert [path.name for path in files] == ["rig.json", "sim.json"]
    assert [one.node_id for one in load_results(files)] == ["test_a.py::test_it"] * 2


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("broken.json", "broken.json is no result file: Input data was truncated"),
        ("folder", "--trace-results {path}/folder: is a folder; name a file, as in {path}/folder/sim.json"),
        ("broken.json/sim.json", "--trace-results {path}/broken.json/sim.json: cannot be written: "),
    ],
)
def test_a_target_that_cannot_be_written_ends_the_run_before_the_tests(
    project: pytest.Pytester, target: str, complaint: str
) -> None:
    (project.path / "broken.json").write_text("{")
    (project.path / "folder").mkdir()

    found = run(project, "def test_it(): open('ran', 'w').close()\n", "--trace-results", target)

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    assert complaint.format(path=project.path) in found.stderr.str()
    assert not (project.path / "ran").exists()


@pytest.mark.verifies("REQ_8604")
def test_broken_results_of_an_earlier_run_end_a_recorded_run_before_the_tests(project: pytest.Pytester) -> None:
    project.makepyprojecttoml("[tool.taktora.trace]\nrecord = true\n")
    (project.path / "reports" / "results").mkdir(parents=True)
    (project.path / "reports" / "results" / "sim.json").write_text("{")

    found = run(project, "def test_it(): pass\n")

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    assert "sim.json is no result file" in found.stderr.str()


@pytest.mark.verifies("REQ_8602")
def test_nothing_is_written_without_being_asked(project: pytest.Pytester) -> None:
    run(project, MARKED.format("REQ_0310"))
    run(project, MARKED.format("REQ_0310"), "--collect-only", "--trace-results", "out.json")

    assert not Path(project.path / "reports").exists()
    assert not Path(project.path / "out.json").exists()


@pytest.mark.verifies("REQ_8602")
def test_a_crashed_worker_fails_its_test_under_its_ids(project: pytest.Pytester) -> None:
    source = MARKED.format("REQ_0310").replace("pass", "__import__('os')._exit(3)") + "\ndef test_other(): pass\n"

    found = outcomes(project, source, "-n", "2")

    assert found["test_it", "sim"].outcome == "failed"
    assert found["test_it", "sim"].verifies == ("REQ_0310",)


@pytest.mark.verifies("REQ_8600")
def test_a_foreign_folder_of_that_name_is_none_of_our_business(pytester: pytest.Pytester) -> None:
    (pytester.mkdir("requirements") / "base.toml").write_text("packages = 3\n")
    left_alone = run(pytester, "def test_it() -> None:\n    pass\n")
    pytester.makepyprojecttoml("[tool.taktora.trace]\nrecord = true\n")

    declared = run(pytester, "def test_it() -> None:\n    pass\n")

    assert left_alone.ret == 0
    assert declared.ret == pytest.ExitCode.USAGE_ERROR
    declared.stderr.fnmatch_lines(["*requirements/base.toml:1: unknown table 'packages', expected *"])


@pytest.mark.verifies("REQ_8600")
def test_traceability_loads_no_part_of_the_runtime() -> None:
    source = "import sys, taktora.traceability.plugin, taktora_hil.plugin; print(*sorted(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )

    ours = {name for name in done.stdout.split() if name.partition(".")[0] in ("taktora", "taktora_sim", "taktora_hil")}
    assert {name for name in ours if not name.startswith("taktora.traceability")} == {
        "taktora",
        "taktora_hil",
        "taktora_hil.arming",
        "taktora_hil.fixtures",
        "taktora_hil.plugin",
        "taktora_hil.worlds",
    }
