"""The meta-test: one scenario and one seed give one hash, wherever they run; planted escapes are caught or found."""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from tests.sim.fresh import ROOT, CannotRun, hash_of, python_with_taktora, run_fresh

BUSY = str(ROOT / "tests" / "sim" / "scenarios" / "busy.py")
PLANTED = str(ROOT / "tests" / "sim" / "scenarios" / "planted.py")
CELL = str(ROOT / "tests" / "sim" / "scenarios" / "ethercat_cell.py")
BATTERY = str(ROOT / "examples" / "battery_monitor" / "scenario.py")
PICK_AXIS = str(ROOT / "examples" / "pick_axis" / "scenario.py")
HAS_ICEORYX = find_spec("iceoryx2") is not None
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def here(seed: int = 0, **options: object) -> str:
    """Return the hash of a run in this process."""
    summary = play(load_scenario(BUSY), PlayOptions(seed=seed, **options))  # type: ignore[arg-type]
    assert summary.ok, summary.error
    return summary.sha256


@pytest.mark.verifies("REQ_8002")
def test_twenty_runs_in_one_process_give_one_hash() -> None:
    hashes = {here() for _ in range(20)}

    assert len(hashes) == 1


@pytest.mark.verifies("REQ_8002")
def test_another_seed_gives_another_hash() -> None:
    hashes = [here(seed) for seed in range(5)]

    assert len(set(hashes)) == 5


@pytest.mark.verifies("REQ_8002")
def test_fresh_processes_with_other_hash_seeds_and_directories_give_the_same_hash(tmp_path: Path) -> None:
    runs = [
        run_fresh("run", BUSY, hash_seed="1"),
        run_fresh("run", BUSY, hash_seed="4242"),
        run_fresh("run", BUSY, hash_seed="random", folder=tmp_path),
    ]

    assert {hash_of(run) for run in runs} == {here()}


@pytest.mark.verifies("REQ_8002")
def test_an_application_on_a_replayed_can_log_repeats_in_fresh_processes(tmp_path: Path) -> None:
    runs = [
        run_fresh("run", BATTERY, "--for", "3s", hash_seed="1"),
        run_fresh("run", BATTERY, "--for", "3s", hash_seed="2", folder=tmp_path),
        run_fresh("run", BATTERY, "--for", "3s", "--guard", "off", "--rate", "20"),
        run_fresh("run", BATTERY, "--for", "3s", "--transport", "iceoryx2") if HAS_ICEORYX else None,
    ]

    assert len({hash_of(run) for run in runs if run is not None}) == 1


@pytest.mark.verifies("REQ_8002")
def test_an_application_on_a_simulated_segment_repeats_in_fresh_processes(tmp_path: Path) -> None:
    runs = [
        run_fresh("run", PICK_AXIS, "--for", "5s", hash_seed="1"),
        run_fresh("run", PICK_AXIS, "--for", "5s", hash_seed="2", folder=tmp_path),
        run_fresh("run", PICK_AXIS, "--for", "5s", "--guard", "off", "--rate", "20"),
        run_fresh("run", PICK_AXIS, "--for", "5s", "--transport", "iceoryx2") if HAS_ICEORYX else None,
    ]

    assert len({hash_of(run) for run in runs if run is not None}) == 1


@pytest.fixture
def python(minor: str, pytestconfig: pytest.Config, tmp_path: Path) -> str:
    """An interpreter of that version with taktora; the test is not run where there is none."""
    if minor == THIS_PYTHON:
        return sys.executable
    cache = getattr(pytestconfig, "cache", None)
    try:
        return str(python_with_taktora(minor, tmp_path if cache is None else cache.mkdir("pythons")))
    except CannotRun as why:
        pytest.skip(f"not run: {why}")


@cache
def found_here(*arguments: str) -> tuple[str, str]:
    """Return what a run gives in a fresh process of this Python: hash of the trace, hash of what it recorded."""
    return found(*arguments)


def found(*arguments: str, **how: str) -> tuple[str, str]:
    """Return the hash of the trace of a run, and the hash of the recording that it left in its working directory."""
    with TemporaryDirectory() as folder:
        done = run_fresh("run", *arguments, folder=Path(folder), **how)
        recordings = [path.read_bytes() for path in sorted(Path(folder).glob("*.pcapng"))]
        return hash_of(done), sha256(b"".join(recordings)).hexdigest()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    "run",
    [
        pytest.param((BUSY,), id="busy"),
        pytest.param((BATTERY, "--for", "3s"), id="application-on-can"),
        pytest.param((PICK_AXIS, "--for", "5s"), id="application-on-ethercat"),
        pytest.param((CELL,), id="recorded-segment"),
    ],
)
@pytest.mark.verifies("REQ_8002", "REQ_8111")
def test_every_python_at_hand_gives_the_same_hash_and_the_same_recording(python: str, run: tuple[str, ...]) -> None:
    assert found(*run, python=python, hash_seed="7") == found_here(*run)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("minor", ["3.12", "3.13"])
@pytest.mark.parametrize(
    "run", [pytest.param((BATTERY,), id="application-on-can"), pytest.param((PICK_AXIS,), id="application-on-ethercat")]
)
@pytest.mark.skipif(not HAS_ICEORYX, reason="not run: iceoryx2 is not installed")
@pytest.mark.verifies("REQ_8002")
def test_every_python_at_hand_gives_the_same_hash_on_shared_memory(python: str, run: tuple[str, ...]) -> None:
    arguments = (*run, "--for", "3s")

    assert found(*arguments, "--transport", "iceoryx2", python=python, hash_seed="11") == found_here(*arguments)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("minor", ["3.12", "3.13"])
@pytest.mark.verifies("REQ_8006")
def test_monitoring_catches_a_planted_escape_on_the_pythons_that_have_it(python: str) -> None:
    done = run_fresh("run", f"{PLANTED}:wall_clock", "--watch", "monitoring", python=python)

    assert done.returncode == 1
    assert "time.time() in a simulated run" in done.stderr


@pytest.mark.skipif(not HAS_ICEORYX, reason="not run: iceoryx2 is not installed")
@pytest.mark.verifies("REQ_8002")
def test_both_transports_give_the_same_hash() -> None:
    assert here(transport="iceoryx2") == here()


@pytest.mark.verifies("REQ_8002", "REQ_8006")
def test_the_guard_changes_nothing() -> None:
    hashes = {here(guard=mode, watching="auto") for mode in ("raise", "warn", "redirect", "off")}

    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("function", "call"),
    [("wall_clock", "time.time()"), ("identifier", "uuid.uuid4()"), ("thread", "threading.Thread.start()")],
)
@pytest.mark.verifies("REQ_8006")
def test_a_planted_escape_is_caught_with_file_and_line(function: str, call: str) -> None:
    done = run_fresh("run", f"{PLANTED}:{function}")

    assert done.returncode == 1
    lines = Path(PLANTED).read_text().splitlines()
    needle = call.rpartition(".")[2] if function == "thread" else call
    number = next(at for at, line in enumerate(lines, 1) if needle in line)
    assert f"{PLANTED}:{number}: {call} in a simulated run" in done.stderr


@pytest.mark.parametrize("function", ["wall_clock", "identifier", "set_order", "thread"])
@pytest.mark.verifies("REQ_8005")
def test_a_planted_escape_that_nobody_guards_is_found_by_diff(function: str, tmp_path: Path) -> None:
    traces = [tmp_path / "a.trace", tmp_path / "b.trace"]
    for hash_seed, trace in zip(("1", "2"), traces, strict=True):
        arguments = ("run", f"{PLANTED}:{function}", "--guard", "off", "--trace", str(trace))
        assert run_fresh(*arguments, hash_seed=hash_seed).returncode == 0

    found = run_fresh("diff", *map(str, traces))

    assert found.returncode == 1
    assert "component planted" in found.stdout
    assert "0.000000000 s  planted  value" in found.stdout


@pytest.mark.verifies("REQ_8002")
def test_planted_unordered_iteration_shows_in_the_hash() -> None:
    hashes = [hash_of(run_fresh("run", f"{PLANTED}:set_order", hash_seed=seed)) for seed in ("1", "2", "1")]

    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(
    ("function", "component"),
    [
        pytest.param("signal_of_set_order", "app/planted/signal/first", id="set-in-a-signal"),
        pytest.param("signal_of_hash", "app/planted/signal/bucket", id="hash-in-a-signal"),
        pytest.param("event_of_set_order", "app/planted/event", id="set-in-an-event"),
    ],
)
@pytest.mark.verifies("REQ_8002", "REQ_8005")
def test_an_escape_that_reaches_only_what_an_application_shows_is_found(
    function: str, component: str, tmp_path: Path
) -> None:
    traces = [tmp_path / "1.trace", tmp_path / "2.trace"]
    for trace in traces:
        arguments = ("run", f"{PLANTED}:{function}", "--for", "5ms", "--guard", "off", "--trace", str(trace))
        assert run_fresh(*arguments, hash_seed=trace.stem).returncode == 0

    found = run_fresh("diff", *map(str, traces))

    assert found.returncode == 1
    assert f"0.001000000 s  {component}  " in found.stdout
    assert f"component {component}, payload differs" in found.stdout
