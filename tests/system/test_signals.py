"""Signals and the abort, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: POSIX signals, tested on Linux")

_PRELUDE = """
import os, signal, sys, time
from taktora.clock import SystemClock
from taktora.executor import Executor, item_with_triggers, stop_on_signals
from taktora.executor.portable import PortableReactor

def make(reactor=None):
    clock = SystemClock()
    return Executor.builder(clock=clock, reactor=reactor or PortableReactor(clock))
"""


def _start(body: str) -> subprocess.Popen[str]:
    code = _PRELUDE + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _signal_when_ready(child: subprocess.Popen[str], number: signal.Signals) -> str:
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    output, _ = child.communicate(timeout=PATIENCE_S)
    return output


@pytest.mark.verifies("REQ_0050")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("reactor", ["PortableReactor(SystemClock())", "WaitSetReactor()"])
def test_a_process_that_gets_a_signal_leaves_its_loop_cleanly(number: signal.Signals, reactor: str) -> None:
    if reactor.startswith("WaitSet"):
        pytest.importorskip("iceoryx2")
    child = _start(f"""
        if "WaitSet" in {reactor!r}:
            from taktora.executor.waitset import WaitSetReactor
        executor = make({reactor}).build()
        executor.add(item_with_triggers(lambda d: d.interval(60_000_000_000), lambda context: None))
        with stop_on_signals([executor.stoppable()]):
            print("ready", flush=True)
            executor.run()
        print("clean", flush=True)
    """)

    output = _signal_when_ready(child, number)

    assert (child.returncode, output) == (0, "clean\n")


@pytest.mark.verifies("REQ_0050")
def test_a_second_interrupt_forces_the_exit() -> None:
    child = _start("""
        executor = make().build()
        def hang(context):
            print("ready", flush=True)
            while not executor.stoppable().stopped:
                time.sleep(0.01)
            print("asked", flush=True)
            while True:
                time.sleep(0.01)
        executor.add(item_with_triggers(lambda d: d.interval(1_000_000), hang))
        with stop_on_signals([executor.stoppable()]):
            executor.run()
    """)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"

    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "asked\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.1)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 130


@pytest.mark.realizes("TEST_0824")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_invariant_aborts_the_process_by_default(workers: int) -> None:
    child = _start(f"""
        class Broken:
            def post_execute(self, *arguments):
                raise RuntimeError("broken monitor")
        executor = make().worker_threads({workers}).monitor(Broken()).build()
        executor.add(item_with_triggers(lambda d: d.interval(1_000_000), lambda context: None))
        try:
            executor.run()
        finally:
            print("a destructor ran", flush=True)
    """)

    output, errors = child.communicate(timeout=PATIENCE_S)

    assert child.returncode == -signal.SIGABRT
    assert output == ""
    assert "broken monitor" in errors
