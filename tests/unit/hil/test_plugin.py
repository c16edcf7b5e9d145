"""Tests of the worlds plugin, run on small projects: one function, once per world it allows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taktora.traceability import load_results
from taktora_hil import gates

QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
SOURCE = """
import pytest

def test_plain(): pass

def test_any(world_name): assert world_name in ("sim", "rig", "hil")

@pytest.fixture
def bus(world_name): return f"bus in {world_name}"

def test_through_a_fixture(bus): assert bus.startswith("bus in")

@pytest.mark.world("sim", "rig")
def test_marked(): pass

@pytest.mark.world("rig")
@pytest.mark.parametrize("size", [8, 64])
def test_rig_only(size, world_name): assert world_name == "rig"

@pytest.mark.gate("CAN_TEST_IFACE")
def test_gated(world_name): assert world_name

@pytest.mark.gate("CAN_TEST_IFACE")
def test_bench(): pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CAN_TEST_IFACE", raising=False)
    pytester.makepyfile(test_a=SOURCE)
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_inprocess(*QUIET, "-rs", "-v", *args)


def recorded(project: pytest.Pytester, *args: str) -> dict[tuple[str, str], tuple[str, str]]:
    run(project, "--trace-results", "out.json", *args)
    results = load_results([project.path / "out.json"])
    return {(one.node_id.partition("::")[2], one.world): (one.outcome, one.reason) for one in results}


@pytest.mark.verifies("REQ_8500")
def test_one_function_runs_once_in_each_selected_world_it_allows(project: pytest.Pytester) -> None:
    found = recorded(project, "--world", "sim", "--world", "rig")

    assert {key for key, (outcome, _) in found.items() if outcome == "passed"} == {
        ("test_plain", "sim"),
        ("test_any", "sim"),
        ("test_any", "rig"),
        ("test_through_a_fixture", "sim"),
        ("test_through_a_fixture", "rig"),
        ("test_marked", "sim"),
        ("test_marked", "rig"),
        ("test_rig_only[8]", "rig"),
        ("test_rig_only[64]", "rig"),
        ("test_gated", "sim"),
        ("test_gated", "rig"),
    }


@pytest.mark.verifies("REQ_8500")
def test_the_world_is_part_of_the_node_id_only_where_a_test_has_worlds(project: pytest.Pytester) -> None:
    found = run(project, "--world", "rig,sim")

    found.stdout.fnmatch_lines_random(
        [
            "test_a.py::test_plain PASSED*",
            "test_a.py::test_any[[]rig] PASSED*",
            "test_a.py::test_rig_only[[]8-rig] PASSED*",
        ]
    )


@pytest.mark.verifies("REQ_8500")
def test_a_test_of_another_world_is_not_run_and_never_deselected(project: pytest.Pytester) -> None:
    found = recorded(project)

    assert found["test_rig_only[8]", "rig"] == ("not run", "belongs to rig, but --world sim was given")
    assert found["test_plain", "sim"] == ("passed", "")


@pytest.mark.verifies("REQ_8500")
def test_a_plain_test_belongs_to_the_simulation(project: pytest.Pytester) -> None:
    found = recorded(project, "--world", "hil")

    assert found["test_plain", "sim"] == ("not run", "belongs to sim, but --world hil was given")


@pytest.mark.verifies("REQ_8500")
@pytest.mark.parametrize("args", [("--world", "moon"), ("--world", ""), ("--no-unrun", "moon")])
def test_an_unknown_world_ends_the_run(project: pytest.Pytester, args: tuple[str, str]) -> None:
    found = run(project, *args)

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {args[0]} names the unknown world {args[1]!r}; there are sim, rig, hil" in found.stderr.lines


@pytest.mark.verifies("REQ_8500")
def test_an_unknown_world_in_a_marker_fails_collection(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('import pytest\n@pytest.mark.world("moon")\ndef test_it(): pass\n')

    found = pytester.runpytest_inprocess(*QUIET)

    found.stdout.fnmatch_lines(
        ["*::test_it: @pytest.mark.world names the unknown world 'moon'; there are sim, rig, hil"]
    )
    found.assert_outcomes(errors=1)


@pytest.mark.verifies("REQ_8501")
def test_an_unset_gate_is_not_run_with_its_name_and_never_passed(project: pytest.Pytester) -> None:
    found = recorded(project, "--world", "hil")

    assert found["test_gated", "hil"] == ("not run", "CAN_TEST_IFACE is not set")
    assert found["test_bench", "hil"] == ("not run", "CAN_TEST_IFACE is not set")
    run(project, "--world", "hil").stdout.fnmatch_lines(["SKIPPED * not run: CAN_TEST_IFACE is not set"])


@pytest.fixture
def can0(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only network interface is can0, which is up."""
    if sys.platform != "linux":
        pytest.skip("not run: network interfaces are looked at on Linux only")
    net = tmp_path_factory.mktemp("net")
    (net / "can0").mkdir()
    (net / "can0" / "type").write_text("280\n")
    (net / "can0" / "flags").write_text("0x81\n")
    monkeypatch.setattr(gates, "_NET", net)
    return net / "can0"


@pytest.mark.verifies("REQ_8501")
@pytest.mark.usefixtures("can0")
def test_a_set_gate_lets_the_test_run(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAN_TEST_IFACE", "can0")

    found = recorded(project, "--world", "hil")

    assert (found["test_gated", "hil"], found["test_bench", "hil"]) == (("passed", ""), ("passed", ""))


@pytest.mark.verifies("REQ_8502", "REQ_8510")
@pytest.mark.usefixtures("can0")
def test_a_test_that_opens_nothing_fails_too_where_its_gate_names_nothing(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAN_TEST_IFACE", "can99")

    found = recorded(project, "--world", "hil,sim")

    why = "setup: Failed: CAN_TEST_IFACE=can99: no such interface, there is can0; 'ip link' lists them"
    assert (found["test_gated", "hil"], found["test_bench", "hil"]) == (("failed", why), ("failed", why))
    assert {outcome for (name, world), (outcome, _) in found.items() if world == "sim"} == {"passed"}
    assert found["test_any", "hil"] == ("passed", "")


@pytest.mark.verifies("REQ_8502")
def test_each_run_looks_at_what_its_gates_name(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, can0: Path
) -> None:
    monkeypatch.setenv("CAN_TEST_IFACE", "can0")

    run(project, "--world", "hil").assert_outcomes(passed=4, skipped=4)
    (can0 / "flags").write_text("0x80\n")
    found = run(project, "--world", "hil")

    found.assert_outcomes(passed=2, errors=2, skipped=4)
    found.stdout.fnmatch_lines(["CAN_TEST_IFACE=can0: the interface is down; 'ip link set can0 up' brings it up"])


@pytest.mark.verifies("REQ_8501", "REQ_8502")
def test_a_gate_of_the_project_lets_its_test_run_as_soon_as_it_is_set(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWER_SUPPLY", "192.168.1.7")
    pytester.makepyfile(test_a="import pytest\n@pytest.mark.gate('POWER_SUPPLY')\ndef test_it(): pass\n")

    assert recorded(pytester, "--world", "hil") == {("test_it", "hil"): ("passed", "")}


@pytest.mark.verifies("REQ_8507")
def test_an_option_turns_the_non_runs_of_a_world_into_failures(project: pytest.Pytester) -> None:
    found = run(project, "--world", "hil,sim", "--no-unrun", "hil")

    found.assert_outcomes(passed=7, errors=2, skipped=2)
    found.stdout.fnmatch_lines(["*--no-unrun hil: not run: CAN_TEST_IFACE is not set*"])


@pytest.mark.verifies("REQ_8507")
def test_the_record_of_a_forbidden_non_run_still_says_not_run(project: pytest.Pytester) -> None:
    found = recorded(project, "--world", "hil", "--no-unrun", "hil")

    assert found["test_bench", "hil"] == ("not run", "CAN_TEST_IFACE is not set")


@pytest.mark.verifies("REQ_8507")
@pytest.mark.parametrize(
    ("source", "outcomes"),
    [
        ("import pytest\npytest.skip('no', allow_module_level=True)\n", {"errors": 1}),
        ("import pytest\ndef test_it(): pytest.skip('no')\n", {"failed": 1}),
        ("import pytest\n@pytest.mark.xfail(run=False)\ndef test_it(): pass\n", {"errors": 1}),
        ("import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert 0\n", {"xfailed": 1}),
    ],
)
def test_no_way_of_not_running_slips_through(pytester: pytest.Pytester, source: str, outcomes: dict[str, int]) -> None:
    pytester.makepyfile(source)

    found = pytester.runpytest_inprocess(*QUIET, "--no-unrun", "sim")

    found.assert_outcomes(**outcomes)


@pytest.mark.verifies("REQ_8500")
def test_worlds_survive_xdist(project: pytest.Pytester) -> None:
    alone = recorded(project, "--world", "sim,rig,hil")
    (project.path / "out.json").unlink()

    spread = recorded(project, "--world", "sim,rig,hil", "-n", "2")

    assert spread == alone


@pytest.mark.verifies("REQ_8500", "REQ_8501")
def test_a_method_of_a_test_case_keeps_to_its_worlds_too(pytester: pytest.Pytester) -> None:
    source = """
    import unittest
    import pytest

    class Case(unittest.TestCase):
        @pytest.mark.world("rig")
        def test_rig(self): pass

        @pytest.mark.gate("CAN_TEST_IFACE")
        def test_bench(self): pass
    """
    pytester.makepyfile(test_a=source)

    found = recorded(pytester, "--world", "hil")

    assert found == {
        ("Case::test_bench", "hil"): ("not run", "CAN_TEST_IFACE is not set"),
        ("Case::test_rig", "rig"): ("not run", "belongs to rig, but --world hil was given"),
    }


HALF_SET = """
import pytest

@pytest.mark.gate("ETHERCAT_TEST_NIC", "ETHERCAT_TEST_MACHINE")
def test_segment(): pass

@pytest.mark.world("sim", "hil")
@pytest.mark.gate("CAN_TEST_IFACE")
def test_elsewhere(): pass
"""


@pytest.mark.verifies("REQ_8502", "REQ_8501", "REQ_8510")
@pytest.mark.parametrize(
    ("variable", "value", "outcome", "reason"),
    [
        pytest.param("ETHERCAT_TEST_NIC", "nosuch0", "failed", "ETHERCAT_TEST_NIC=nosuch0: ", id="nic"),
        pytest.param(
            "ETHERCAT_TEST_MACHINE", "gone.yaml", "failed", "ETHERCAT_TEST_MACHINE=gone.yaml: gone.yaml", id="machine"
        ),
        pytest.param(
            "ETHERCAT_TEST_BUS",
            "cell",
            "not run",
            "ETHERCAT_TEST_NIC and ETHERCAT_TEST_MACHINE are not set",
            id="neither",
        ),
    ],
)
def test_a_gate_with_nothing_behind_it_fails_also_where_another_gate_is_not_set(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, outcome: str, reason: str
) -> None:
    for name in ("ETHERCAT_TEST_NIC", "ETHERCAT_TEST_MACHINE", "ETHERCAT_TEST_BUS", "CAN_TEST_IFACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    pytester.makepyfile(test_a=HALF_SET)

    found = recorded(pytester, "--world", "hil")

    segment = found["test_segment", "hil"]
    assert segment[0] == outcome
    assert reason in segment[1]
    assert found["test_elsewhere", "hil"] == ("not run", "CAN_TEST_IFACE is not set")


@pytest.mark.verifies("REQ_8502")
def test_a_gate_counts_only_in_a_selected_hil(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAN_TEST_IFACE", "nosuch0")
    pytester.makepyfile(test_a=HALF_SET)

    found = recorded(pytester, "--world", "sim")

    assert found["test_elsewhere", "sim"] == ("passed", "")
    assert {outcome for outcome, _ in found.values()} == {"passed", "not run"}
