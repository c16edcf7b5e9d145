"""The hil world itself, with a rig in the place of the cabinet: gate, health check, lease, results, commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taktora.traceability import load_results
from taktora.traceability.results import Result
from taktora_hil.leases import Lease
from taktora_hil.rig_ethercat import EthercatRig
from tests.patience import PATIENCE_S
from tests.system.ethercat.cell import wait_for

pytestmark = [pytest.mark.world("rig"), pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
MACHINE = ROOT / "tests/contract/ethercat/machine.yaml"
UP = "tests/contract/ethercat/test_segment.py::test_it_comes_up_and_says_so_once"
CUT = "tests/contract/ethercat/test_segment.py::test_a_cut_first_cable_is_recovered_by_the_policy_once_it_is_healed"


@pytest.fixture
def rig() -> Iterator[EthercatRig]:
    from taktora.app.machine import load_machine

    with EthercatRig(load_machine(MACHINE).ethercat["cell"]) as running:
        yield running


def on_the_bench(folder: Path, nic: str, *tests: str) -> dict[str, Result]:
    """Run tests in the hil world on ``nic`` in a process of its own, and return the results by name of the test."""
    out = folder / "hil.json"
    variables = {"ETHERCAT_TEST_NIC": nic, "ETHERCAT_TEST_MACHINE": str(MACHINE)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAKTORA_")} | variables
    quiet = ["-p", "no:cacheprovider", "--trace-catalogue", "requirements"]
    command = [sys.executable, "-m", "pytest", "-q", *quiet, "--world", "hil", "--trace-results", str(out), *tests]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=PATIENCE_S)
    return {one.node_id.rpartition("::")[2]: one for one in load_results([out])}


@pytest.mark.verifies("REQ_8500", "REQ_8503")
def test_the_suite_runs_on_the_segment_that_the_gate_names(rig: EthercatRig, tmp_path: Path) -> None:
    found = on_the_bench(tmp_path, rig.interface, UP, CUT)

    came_up, cut = found[UP.rpartition("::")[2]], found[CUT.rpartition("::")[2]]
    assert (came_up.outcome, came_up.world, came_up.reason) == ("passed", "hil", "")
    assert came_up.fingerprint["interface"] == rig.interface
    assert {"kernel", "driver", "pysoem", "taktora", "python"} < set(came_up.fingerprint)
    assert came_up.fingerprint["machine_file"] == "machine.yaml"
    assert (cut.outcome, cut.reason) == ("not run", "belongs to sim and rig, but --world hil was given")


@pytest.mark.verifies("REQ_8502", "REQ_8510")
def test_a_gate_without_its_interface_fails(tmp_path: Path) -> None:
    (result,) = on_the_bench(tmp_path, "nosuch0", UP).values()

    assert result.outcome == "failed"
    assert "ETHERCAT_TEST_NIC=nosuch0: no such interface, there is " in result.reason


@pytest.mark.verifies("REQ_8502", "REQ_8503", "REQ_8510")
def test_another_segment_than_in_the_machine_file_fails(rig: EthercatRig, tmp_path: Path) -> None:
    rig.control.inject("ethercat/cell/valves", "wrong-identity", product_code=0x2008)

    (result,) = on_the_bench(tmp_path, rig.interface, UP).values()

    assert result.outcome == "failed"
    assert (
        f"ETHERCAT_TEST_NIC={rig.interface}: another segment than in {MACHINE}: position 2 ('valves'): found vendor "
        "0x0BADCAFE, product 0x00002008, revision 0x00010000, machine file vendor 0x0BADCAFE, product 0x00002004, "
        "revision 0x00010000"
    ) in result.reason


@pytest.mark.verifies("REQ_8504")
def test_the_segment_is_held_by_one_run(
    rig: EthercatRig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from taktora_hil.cli.hil import app

    monkeypatch.setenv("ETHERCAT_TEST_NIC", rig.interface)
    monkeypatch.setenv("ETHERCAT_TEST_MACHINE", str(MACHINE))
    free = CliRunner().invoke(app, ["status", "--scan"])
    with Lease(f"ethercat:{rig.interface}"):
        held = CliRunner().invoke(app, ["status", "--scan"])
    rig.control.inject("ethercat/cell/valves", "wrong-identity", product_code=0x2008)
    other = CliRunner().invoke(app, ["status", "--scan"])

    assert (free.exit_code, held.exit_code, other.exit_code) == (0, 1, 1), free.output
    assert "      3  " in free.stdout
    assert f"    FAILED ethercat:{rig.interface} is held by process {os.getpid()} " in held.stdout
    assert "    FAILED position 2 ('valves'): found vendor 0x0BADCAFE, product 0x00002008" in other.stdout


_HOLDER = """
import sys, time
from pathlib import Path
from taktora_hil.ethercat_bench import RealEthercat
from taktora_hil.leases import Lease
with Lease(f"ethercat:{sys.argv[1]}"), RealEthercat(Path(sys.argv[2]), sys.argv[1]) as bench:
    running = bench.open_bus()
    bench.wait(running, lambda log: log.kinds == ["Up"])
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.verifies("REQ_8508", "REQ_8504")
def test_a_killed_run_leaves_the_bench_safe_and_free(rig: EthercatRig) -> None:
    command = [sys.executable, "-c", _HOLDER, rig.interface, str(MACHINE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        assert {device["state"] for device in rig.control.snapshot().values()} == {"OP"}
        run.kill()

    wait_for(lambda: {device["state"] for device in rig.control.snapshot().values()} == {"INIT"})
    with Lease(f"ethercat:{rig.interface}", wait_s=5.0):
        pass


@contextmanager
def rig_command(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "taktora.cli.main", "rig", "ethercat", str(MACHINE), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        process_group=0,  # as a shell starts it: Ctrl-C goes to a group
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def is_there(interface: str) -> bool:
    return Path(f"/sys/class/net/{interface}").exists()


@pytest.mark.verifies("REQ_8505", "REQ_8153")
def test_the_command_serves_a_segment_until_ctrl_c(tmp_path: Path) -> None:
    from taktora.ethercat.soem_scan import read_segment

    name, recording = f"cell{os.getpid() % 100_000}", tmp_path / "cell.pcapng"
    plan = tmp_path / "plan.toml"
    plan.write_text('[[fault]]\ntarget = "ethercat/cell/axis"\nkind = "cut-cable"\nat = "0s"\n')
    with rig_command("--keep-interface", name, "--record", str(recording), "--plan", str(plan)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        said = [process.stdout.readline() for _ in range(9)]
        found = read_segment(name)

        os.killpg(process.pid, signal.SIGINT)
        _rest, errors = process.communicate(timeout=PATIENCE_S)

    assert first == f"EtherCAT bus 'cell' of {MACHINE}: 4 SubDevices behind interface {name}\n"
    assert f"look at it:      taktora ethercat scan --nic {name}\n" in said
    assert f'    interface = "{name}"\n' in said
    assert len(found) == 3  # the plan has cut the cable to the last one
    assert (process.returncode, errors) == (0, "")
    wait_for(lambda: not is_there(name))
    assert recording.stat().st_size > 10_000


@pytest.mark.verifies("REQ_8505", "REQ_8510")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--keep-interface", "lo"), "Error: interface 'lo' is there already; give the rig another name\n"),
        (
            ("--keep-interface", "a name that is too long"),
            "Error: interface 'a name that is too long': a name has 1 to 15 characters, no blank, no slash, no colon\n",
        ),
        (("--bus", "sell"), "Error: --bus: machine 'contract' has no EtherCAT bus 'sell'; did you mean cell?\n"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(options: tuple[str, ...], text: str) -> None:
    with rig_command(*options) as process:
        _out, error = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, error) == (2, text)


PLANS = {
    "missing": (
        "",
        "{plan}: fault plan cannot be read (No such file or directory); check the path and that it is UTF-8",
    ),
    "unknown": (
        '[[fault]]\ntarget = "ethercat/cell/axe"\nkind = "cut-cable"\nat = "0s"\n',
        "fault 1 of the plan (cut-cable at ethercat/cell/axe): no such target; did you mean 'ethercat/cell/axis'? ",
    ),
    "application": (
        '[[fault]]\ntarget = "app/press"\nkind = "kill"\nat = "1s"\n',
        (
            "fault 1 of the plan (kill at app/press): no such target; on the rig an application is a process of its "
            "own and no target: take the fault out of the plan, and stop or end the process itself (kill -STOP, kill "
            "-KILL)"
        ),
    ),
}


@pytest.mark.verifies("REQ_8505", "REQ_8510", "REQ_8109")
@pytest.mark.parametrize("case", PLANS)
def test_a_plan_that_does_not_fit_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    content, text = PLANS[case]
    if content:
        plan.write_text(content)

    with rig_command("--plan", str(plan)) as process:
        out, error = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, out) == (2, "")
    assert error.startswith("Error: " + text.replace("{plan}", str(plan)))
    assert error.count("\n") == 1


@pytest.mark.verifies("REQ_8505", "REQ_8109")
def test_the_command_tells_when_faults_begin_and_end(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[[fault]]\ntarget = "ethercat/cell/axis"\nkind = "cut-cable"\nat = "100ms"\nduration = "250ms"\n')
    with rig_command("--plan", str(plan)) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("Ctrl-C ends it.\n", ""):
            pass
        said = [process.stdout.readline() for _ in range(2)]
        os.killpg(process.pid, signal.SIGINT)
        _rest, errors = process.communicate(timeout=PATIENCE_S)

    clock = r"\d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(clock + r"  x     0\.100000 s  fault    ethercat/cell/axis: .* for 250ms\n", said[0])
    assert re.fullmatch(clock + r"  x     0\.350000 s  fault    ethercat/cell/axis: cut-cable is over\n", said[1])
    assert (process.returncode, errors) == (0, "")


@pytest.mark.verifies("REQ_8505", "REQ_8510")
def test_the_command_says_how_to_get_into_a_namespace_of_its_own() -> None:
    may = subprocess.run(["unshare", "-Urn", "true"], check=False, capture_output=True)
    if may.returncode:
        pytest.skip("not run: this machine allows no user namespaces")
    command = ["unshare", "-Urn", sys.executable, "-m", "taktora.cli.main", "rig", "ethercat", str(MACHINE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            said = list(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
            enter = next(line for line in said if "nsenter" in line).rpartition(": ")[2].removesuffix(" ...\n").split()
            inside = subprocess.run([*enter, "ip", "link"], capture_output=True, text=True, check=False, timeout=50)
            outside = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True, timeout=50)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)

    interface = said[0].split()[-1]
    assert f"{interface}@" in inside.stdout
    assert f"{interface}@" not in outside.stdout
