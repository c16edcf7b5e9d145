"""A program with threads repeats: over runs, processes, hash seeds, ways of guarding, Pythons; and a busy machine."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from taktora_sim.guard import GuardMode
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from tests.sim.fresh import ROOT, hash_of, run_fresh
from tests.sim.test_determinism import HAS_ICEORYX, python  # noqa: F401 - a fixture

PLANTED = str(ROOT / "tests" / "sim" / "scenarios" / "planted.py")
FOREIGN = str(ROOT / "tests" / "sim" / "scenarios" / "foreign.py")

pytestmark = pytest.mark.verifies("REQ_8203", "REQ_8002")


def here(guard: GuardMode = "raise", **options: object) -> str:
    """Return the hash of a run in this process."""
    summary = play(load_scenario(FOREIGN), PlayOptions(guard=guard, **options))  # type: ignore[arg-type]
    assert summary.ok, summary.error
    return summary.sha256


def test_twenty_runs_in_one_process_give_one_hash() -> None:
    assert len({here() for _ in range(20)}) == 1


def test_fresh_processes_with_other_hash_seeds_give_the_same_hash(tmp_path: Path) -> None:
    runs = [
        run_fresh("run", FOREIGN, hash_seed="1"),
        run_fresh("run", FOREIGN, hash_seed="2", folder=tmp_path),
        run_fresh("run", FOREIGN, "--rate", "20", hash_seed="random"),
    ]

    assert {hash_of(run) for run in runs} == {here()}


@pytest.mark.parametrize("mode", ["raise", "warn", "redirect", "off"])
@pytest.mark.parametrize("watching", ["imports", "profile"])
@pytest.mark.verifies("REQ_8006")
def test_the_guard_changes_nothing(mode: GuardMode, watching: str) -> None:
    assert here(mode, watching=watching) == here("off")


@pytest.mark.skipif(not HAS_ICEORYX, reason="not run: iceoryx2 is not installed")
def test_both_transports_give_the_same_hash() -> None:
    assert here(transport="iceoryx2") == here()


def test_a_run_that_ends_in_the_midst_of_threads_repeats() -> None:
    runs = [run_fresh("run", FOREIGN, "--for", "20ms", hash_seed=seed) for seed in ("1", "2")]

    assert len({hash_of(run) for run in runs}) == 1
    assert "the time asked for is up" in runs[0].stdout


@pytest.mark.timeout(900)
@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
@pytest.mark.verifies("REQ_8006")
def test_an_item_that_reads_the_clock_beside_threads_is_caught(python: str) -> None:  # noqa: F811
    done = run_fresh("run", f"{PLANTED}:beside_threads", python=python)

    number = next(at for at, line in enumerate(Path(PLANTED).read_text().splitlines(), 1) if "call_at(1_000" in line)
    assert done.returncode == 1
    assert f"{PLANTED}:{number}: time.time() in a simulated run" in done.stdout + done.stderr


def test_threads_that_race_for_the_processor_change_nothing() -> None:
    expected = here()
    interval_s = sys.getswitchinterval()
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(100))

    spinning = [threading.Thread(target=spin) for _ in range(3)]
    for thread in spinning:
        thread.start()
    sys.setswitchinterval(1e-6)
    try:
        assert {here() for _ in range(5)} == {expected}
    finally:
        sys.setswitchinterval(interval_s)
        stop.set()
        for thread in spinning:
            thread.join()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
def test_every_python_at_hand_gives_the_same_hash(python: str) -> None:  # noqa: F811
    assert hash_of(run_fresh("run", FOREIGN, python=python, hash_seed="7")) == here()
