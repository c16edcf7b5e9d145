"""The simulated world where the parts that only Linux has are absent."""

from __future__ import annotations

import pytest

from tests.sim.fresh import ROOT, hash_of, run_fresh

BUSY = str(ROOT / "tests" / "sim" / "scenarios" / "busy.py")

BLOCKED = """
import ctypes, os, socket, sys
from importlib.abc import MetaPathFinder

MISSING = {"iceoryx2", "fcntl", "resource", "_posixshmem", "termios", "pwd", "grp"}

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


@pytest.mark.verifies("REQ_8020")
def test_every_module_of_the_simulation_and_the_framework_under_it_imports_without_them() -> None:
    loading = BLOCKED.partition("from taktora_sim.cli")[0] + (
        "import taktora.app, taktora.can, taktora.codec, taktora.connector, taktora.executor, taktora.runtime\n"
        "import taktora.transport, taktora_sim.can, taktora_sim.report\n"
        "print(taktora.runtime.Runtime.system('inprocess').world)"
    )

    done = run_fresh(command=loading)

    assert (done.returncode, done.stdout.strip()) == (0, "system"), done.stderr
