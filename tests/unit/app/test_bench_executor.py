"""Priority and cores of executors from the bench file: applied on the wall clock, told if refused, ignored in sim."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from taktora.app import App, Bench, Context, ExecutorThread, load_bench
from taktora.errors import ConfigurationError
from taktora.runtime import Runtime
from taktora_sim.world import World
from tests.patience import PATIENCE_S

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="not run: affinity is asked for on Linux only")
NO_SUCH_CORE = 1 << 14


class Pinned:
    """An App with a second executor, and the cores that its item ran on."""

    def __init__(self) -> None:
        self.cores: set[int] = set()
        self.ran = threading.Event()
        self.app = App("pinned")

        @self.app.cyclic(every_ms=1, executor="operator")
        def look(_: Context) -> None:
            self.cores = os.sched_getaffinity(0)
            self.ran.set()


def run_on_the_wall_clock(bench: Bench) -> set[int]:
    """Return the cores that an item ran on."""
    pinned, runtime = Pinned(), Runtime.system(transport="inprocess")
    try:
        with pinned.app.bind(runtime, bench=bench) as bound:
            bound.start()
            assert pinned.ran.wait(PATIENCE_S)
    finally:
        runtime.close()
    return pinned.cores


@LINUX
@pytest.mark.verifies("REQ_0040", "REQ_8021")
def test_an_executor_runs_on_the_cores_that_the_bench_gives_it(caplog: pytest.LogCaptureFixture) -> None:
    core = max(os.sched_getaffinity(0))

    cores = run_on_the_wall_clock(Bench(executor={"operator": ExecutorThread(cpus=(core,))}))

    assert cores == {core}
    assert "goes on without" not in caplog.text


@LINUX
@pytest.mark.verifies("REQ_0040", "REQ_0041", "REQ_8021")
def test_what_the_system_refuses_is_told_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    before = os.sched_getaffinity(0)

    cores = run_on_the_wall_clock(Bench(executor={"operator": ExecutorThread(cpus=(NO_SUCH_CORE,))}))

    assert cores == before
    assert f"executor 'pinned.operator' goes on without affinity to cores ({NO_SUCH_CORE},): " in caplog.text


@LINUX
@pytest.mark.verifies("REQ_0041", "REQ_8021")
def test_the_simulated_world_ignores_it() -> None:
    before, pinned = os.sched_getaffinity(0), Pinned()
    bench = Bench(executor={name: ExecutorThread(priority=50, cpus=(NO_SUCH_CORE,)) for name in ("main", "operator")})

    with World(1) as world, pinned.app.bind(world.runtime, bench=bench) as bound:
        bound.start()
        world.run_for(10_000_000)
        events = list(world.recorder.events)

    assert (pinned.cores, os.sched_getscheduler(0)) == (before, os.SCHED_OTHER)
    assert events == []


@pytest.mark.verifies("REQ_8021")
def test_the_bench_file_says_it_by_name_of_the_executor(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text("[executor.main]\npriority = 40\ncpus = [2, 3]\n")

    assert load_bench(path).executor == {"main": ExecutorThread(priority=40, cpus=(2, 3))}


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("line", ["priority = 0", "priority = 100", "cpus = [-1]", "cpus = []", "core = 1"])
def test_what_is_no_attribute_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(f"[executor.main]\n{line}\n")

    with pytest.raises(ConfigurationError, match=r"bench\.toml.*executor\.main"):
        load_bench(path)


@pytest.mark.verifies("REQ_8021")
def test_an_executor_that_the_app_does_not_have_is_refused() -> None:
    bench = Bench(executor={"oprator": ExecutorThread(priority=40)})

    said = r"\[executor\.oprator\] is no executor of App 'pinned'; did you mean operator\?"

    with World(1) as world, pytest.raises(ConfigurationError, match=said):
        Pinned().app.bind(world.runtime, bench=bench)
