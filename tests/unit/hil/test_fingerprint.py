"""What a result outside the simulation is recorded with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from taktora.traceability import load_results
from taktora_hil.fingerprint import fingerprint

SOURCE = """
import pytest

@pytest.mark.world("sim", "rig")
def test_both(world_name): pass

@pytest.mark.world("hil")
@pytest.mark.moves("cell.axis1")
def test_moves(): pass

@pytest.mark.world("hil")
@pytest.mark.fault("cut-cable")
def test_breaks(): pass

def test_gates_of_a_fixture(ethercat_bus): pass
"""


@pytest.mark.verifies("REQ_8503")
def test_kernel_python_and_libraries_are_in_it() -> None:
    facts = fingerprint("ethercat", "nosuch0")

    assert facts["kernel"].startswith(f"{platform.system()} {platform.release()}")
    assert facts["taktora"] == version("taktora")
    assert {"python", "machine", "pysoem"} < set(facts)
    assert facts["interface"] == "nosuch0"


@pytest.mark.verifies("REQ_8502", "REQ_8510")
def test_a_bench_file_that_cannot_be_used_ends_the_run_with_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKTORA_BENCH", "gone.toml")
    pytester.makepyfile(test_a=SOURCE)

    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--world", "hil")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: TAKTORA_BENCH=gone.toml: gone.toml: no such file; check the path"])


@pytest.mark.verifies("REQ_8503", "REQ_8508", "REQ_8509", "REQ_8501")
def test_results_of_rig_and_hil_carry_it_and_say_that_they_were_armed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bench.toml").write_text('bench = "lab-3"\npermits = ["cell.axis1"]\n')
    monkeypatch.setenv("TAKTORA_BENCH", str(tmp_path / "bench.toml"))
    monkeypatch.setenv("TAKTORA_ARMED", "lab-3")
    monkeypatch.delenv("ETHERCAT_TEST_NIC", raising=False)
    monkeypatch.delenv("ETHERCAT_TEST_MACHINE", raising=False)
    pytester.makepyfile(test_a=SOURCE)

    quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    pytester.runpytest_inprocess(*quiet, "--world", "sim,rig,hil", "--trace-results", "out.json")

    found = {(one.node_id.rpartition("::")[2], one.world): one for one in load_results([pytester.path / "out.json"])}
    assert found["test_both", "sim"].fingerprint == {}
    assert found["test_both", "rig"].fingerprint["kernel"].startswith(platform.system())
    assert found["test_moves", "hil"].fingerprint["armed"] == "lab-3: cell.axis1"
    broken, gated = found["test_breaks", "hil"], found["test_gates_of_a_fixture", "hil"]
    assert (broken.outcome, broken.reason) == ("not run", "no injector for cut-cable on bench 'lab-3'")
    assert (gated.outcome, gated.reason) == ("not run", "ETHERCAT_TEST_NIC and ETHERCAT_TEST_MACHINE are not set")
