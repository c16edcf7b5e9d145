"""What a developer types: ``python -m nox -s sim`` for the main job, ``-s tests`` for the proof, ``-l`` for all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["sim", "tests", "types", "lint"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
MAIN_JOBS = ("battery_monitor", "pick_axis")
"""Examples whose scenario.py is a main job: CAN, EtherCAT."""
BENCHMARKS = ["channel", "dispatch", "virtual_time", "can", "can_kernel", "ethercat", "ethercat_rig", "report"]
RIG_FOLDERS = ["tests/contract/ethercat", "tests/system/ethercat"]
"""Tests that run with SOEM on a rig."""
VCAN_NOT_RUN = 77
"""Exit status of the CAN rig's command where it cannot be had."""


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session
def sim(session: nox.Session) -> None:
    """Run the main jobs: applications on a CAN bus and on EtherCAT in virtual time, each repeated with one hash."""
    session.install("-e", ".[all]")
    for job in MAIN_JOBS:
        _run_twice(session, job)


def _run_twice(session: nox.Session, job: str) -> None:
    """Run a main job, write its page, and beside it, to save time, the same with another hash seed of Python."""
    options = session.posargs or ["--report", f"reports/{job}"]
    command = ["taktora", "sim", "run", f"examples/{job}/scenario.py"]
    # Only one of the two writes the page; what the user gave holds for both, as it may change the run.
    runs = ("1", [*command, *options]), ("2", [*command, *session.posargs])
    with ThreadPoolExecutor(len(runs)) as beside:
        first, second = beside.map(lambda run: _output(session, *run), runs)
    print(f"== {job} ==\n{first}")  # noqa: T201 - what the session is for
    if _last_line(first) != _last_line(second):
        session.error(
            f"{job}: the second run differs: {_last_line(second)}; write both with --trace and: taktora sim diff"
        )
    print(f"repeated in a fresh process with another PYTHONHASHSEED: {_last_line(second)}\n")  # noqa: T201


def _output(session: nox.Session, hash_seed: str, command: list[str]) -> str:
    return str(session.run(*command, silent=True, env={"PYTHONHASHSEED": hash_seed})).strip()


def _last_line(text: str) -> str:
    return text.splitlines()[-1]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite in the sim world, then what this machine can do of the rig, and write the traceability report."""
    session.install("-e", ".[all]", *group("test"))
    try:
        session.run("pytest", "-n", "2", "--trace-results", "reports/results/sim.json", *session.posargs)
        if not session.posargs:
            _run_rig(session, RIG_FOLDERS)
    finally:
        session.run("taktora", "trace", "report")


@nox.session
def rig(session: nox.Session) -> None:
    """Run the EtherCAT suite with SOEM on a rig of this machine; where it cannot be, every test is 'not run: why'."""
    session.install("-e", ".[all]", *group("test"))
    try:
        _run_rig(session, session.posargs or RIG_FOLDERS)
    finally:
        session.run("taktora", "trace", "report")


def _run_rig(session: nox.Session, folders: list[str]) -> None:
    """Run tests on real stacks and the wall clock, one by one: they share the machine's processors with nothing."""
    session.run("pytest", "--world", "rig", "-n", "0", "--trace-results", "reports/results/rig.json", *folders)


@nox.session
def types(session: nox.Session) -> None:
    """Check all types with mypy --strict."""
    session.install("-e", ".[all]", *group("types"))
    session.run("mypy", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the layers between the rooms."""
    session.install("-e", ".[all]", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def trace(session: nox.Session) -> None:
    """Write the traceability report from the recorded results and check the thresholds."""
    session.install("-e", ".[all]")
    session.run("taktora", "trace", "report")
    session.run("taktora", "trace", "check", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what matters as ratios against peers in the same run."""
    session.install("-e", ".[all]", *group("bench"))
    for name in session.posargs or BENCHMARKS:
        session.run("python", f"benchmarks/bench_{name}.py")


@nox.session
def hil(session: nox.Session) -> None:
    """Run the suite against the hardware named by CAN_TEST_IFACE and the other gates; unset gates are 'not run'."""
    session.install("-e", ".[all]", *group("test"))
    results = "reports/results/hil.json"
    session.run("pytest", "--world", "hil", "--trace-results", results, "tests/contract", "tests/hil", *session.posargs)


@nox.session
def vcan(session: nox.Session) -> None:
    """Run the CAN suite on the kernel's virtual CAN: here, or in a QEMU guest where this kernel has none.

    With TAKTORA_VCAN=optional a machine that can do neither skips it, and says why; otherwise that is a failure.
    """
    session.env["UV_COMPILE_BYTECODE"] = "1"  # the guest's processor is emulated: let it compile nothing
    session.install("-e", ".[all]", *group("test"))
    session.run("python", "-m", "compileall", "-q", "taktora", "sim", "hil")
    check = ("python", "-m", "taktora_hil.vcan", "--check")
    said = str(session.run(*check, silent=True, success_codes=[0, VCAN_NOT_RUN])).strip()
    is_missing = "not run: " in said
    for line in said.splitlines()[: -1 if is_missing else None]:
        session.log(line)
    if is_missing:
        if os.environ.get("TAKTORA_VCAN") == "optional":
            session.skip(_last_line(said))
        session.error(f"{_last_line(said)}; with TAKTORA_VCAN=optional this session is skipped instead")
    try:
        session.run("python", "-m", "taktora_hil.vcan", *session.posargs)
        guest = ("--trace-results", "reports/results/rig-can.json", "tests/system/test_guest.py")
        session.run("pytest", "--world", "rig", *guest)
    finally:
        session.run("taktora", "trace", "report")
