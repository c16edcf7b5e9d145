"""The end of an App on the wall clock: whoever asks twice does not cut the clean-up short."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

PROGRAM = """
import atexit, time
from taktora.app import App

app = App("slow_to_end")

@app.cyclic(every_ms=10)
def tick(_ctx):
    pass

@app.cyclic(every_ms=10, executor="side")
def block(_ctx):
    print("ready", flush=True)
    time.sleep(1.5)

atexit.register(print, "cleaned up")
app.main(["--transport", "inprocess"])
"""


@pytest.mark.verifies("REQ_0050", "REQ_8021")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_second_signal_while_it_ends_leaves_nothing_undone(tmp_path: Path, second: signal.Signals) -> None:
    file = tmp_path / "slow.py"
    file.write_text(PROGRAM)
    program = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    first = program.stdout.readline()

    program.send_signal(signal.SIGTERM)
    time.sleep(0.4)  # it is joining its executors now; on a slow machine it is still about to
    program.send_signal(second)
    output, errors = program.communicate(timeout=PATIENCE_S)

    assert (first, program.returncode, output.splitlines()[-1:]) == ("ready\n", 0, ["cleaned up"]), errors
