"""The simulated world where the parts that only Linux has are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.fresh import ROOT, hash_of, run_fresh

BUSY = str(ROOT / "tests" / "sim" / "scenarios" / "busy.py")
CELL = str(ROOT / "tests" / "sim" / "scenarios" / "ethercat_cell.py")
PICK_AXIS = str(ROOT / "examples" / "pick_axis" / "scenario.py")

BLOCKED = """
import ctypes, os, socket, sys
from importlib.abc import MetaPathFinder

MISSING = {"iceoryx2", "pysoem", "fcntl", "resource", "_posixshmem", "termios", "pwd", "grp"}

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

for name in list(sys.modules):
    if name.partition(".")[0] in MISSING:
        del sys.modules[name]
sys.meta_path.insert(0, Blocker())
for module, names in ((os, ("timerfd_create", "timerfd_settime_ns", "eventfd", "sched_setaffinity", "memfd_create")),
                      (socket, ("AF_PACKET", "AF_CAN", "CAN_RAW", "AF_UNIX"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

real = ctypes.CDLL
def refuse(name=None, *arguments, **named):
    if name is None or "libc" in str(name):
        raise OSError("no libc here (blocked by the test)")
    return real(name, *arguments, **named)
ctypes.CDLL = refuse

try:
    import fcntl
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the test blocks nothing")

from taktora_sim.cli import app
app(prog_name="taktora sim")
"""


@pytest.mark.verifies("REQ_8020")
def test_a_simulated_world_runs_without_the_parts_that_only_linux_has() -> None:
    done = run_fresh("run", BUSY, command=BLOCKED)

    assert hash_of(done) == hash_of(run_fresh("run", BUSY))


@pytest.mark.verifies("REQ_8020", "REQ_8109")
def test_a_simulated_segment_runs_and_is_recorded_without_them(tmp_path: Path) -> None:
    without, with_them = tmp_path / "without", tmp_path / "with"
    without.mkdir()
    with_them.mkdir()

    done = run_fresh("run", CELL, command=BLOCKED, folder=without)

    assert hash_of(done) == hash_of(run_fresh("run", CELL, folder=with_them))
    assert (without / "cell.pcapng").read_bytes() == (with_them / "cell.pcapng").read_bytes()


@pytest.mark.verifies("REQ_8020")
def test_an_application_on_a_simulated_segment_runs_without_them() -> None:
    done = run_fresh("run", PICK_AXIS, "--for", "2s", command=BLOCKED)

    assert hash_of(done) == hash_of(run_fresh("run", PICK_AXIS, "--for", "2s"))


_IMPORT_ALL = """
import pkgutil
from importlib import import_module
import taktora, taktora_sim, taktora.runtime
for package in (taktora, taktora_sim):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name not in LINUX_ONLY and not found.name.endswith("__main__"):
            import_module(found.name)
print(taktora.runtime.Runtime.system("inprocess").world)
"""


@pytest.mark.verifies("REQ_8020")
def test_every_module_of_framework_and_simulation_imports_without_them_but_for_the_reactor_of_linux() -> None:
    loading = BLOCKED.partition("from taktora_sim.cli")[0] + "LINUX_ONLY = {'taktora.executor.waitset'}\n" + _IMPORT_ALL

    done = run_fresh(command=loading)

    assert (done.returncode, done.stdout.strip()) == (0, "system"), done.stderr
