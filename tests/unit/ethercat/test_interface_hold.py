"""One MainDevice on an interface: who is second is told who is first, and an end of any kind makes room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taktora.errors import StackError
from taktora.ethercat import interface_hold
from taktora.ethercat.interface_hold import InterfaceHold

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: raw packet sockets are there on Linux only")

_HOLDER = """
import time
from taktora.ethercat.interface_hold import InterfaceHold
hold = InterfaceHold("lo")
for _ in hold.take(time.monotonic_ns):
    time.sleep(0.01)
print("held", flush=True)
time.sleep(600)
"""
_AS_APPLICATION = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], *sys.argv[2:]])"


def take(hold: InterfaceHold) -> None:
    """Take it or be refused, without the wait in between."""
    now_ns = iter((0, 4_000_000_000))
    for _due_ns in hold.take(lambda: next(now_ns)):
        pass


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _HOLDER, "cell"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_who_is_second_is_told_who_drives_the_interface(holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StackError) as refused:
        take(InterfaceHold("lo"))

    command = f"{sys.executable} -c {_HOLDER} cell"
    assert str(refused.value) == f"interface 'lo' is driven by process {holder.pid} ({command}); stop it first"


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_many_who_ask_are_all_told(holder: subprocess.Popen[str]) -> None:
    for _ in range(200):
        with pytest.raises(StackError, match=f"by process {holder.pid} "):
            take(InterfaceHold("lo"))


@pytest.mark.verifies("REQ_0312")
def test_a_killed_holder_makes_room(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()

    hold = InterfaceHold("lo")
    take(hold)
    hold.release()


@pytest.mark.verifies("REQ_0312")
def test_one_that_is_just_ending_is_waited_for() -> None:
    first, second = InterfaceHold("lo"), InterfaceHold("lo")
    take(first)
    steps = second.take(time.monotonic_ns)
    assert next(steps) > time.monotonic_ns() - 60_000_000_000

    first.release()

    assert list(steps) == []
    second.release()


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_two_buses_of_one_application_are_told_so() -> None:
    first = InterfaceHold("lo")
    take(first)
    try:
        with pytest.raises(
            StackError,
            match=r"^interface 'lo' is driven by another bus of this application; give each bus an interface of its ",
        ):
            take(InterfaceHold("lo"))
    finally:
        first.release()
    first.release()


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_the_application_is_named_and_not_its_driver_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # The process of a driver is told by its command; here it is any process with these words in it.
    command = [sys.executable, "-c", _AS_APPLICATION, _HOLDER, "taktora.ethercat.bus_process"]
    monkeypatch.setattr(interface_hold, "_command", _command_of_the_inner_one)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as application:
        assert application.stdout is not None
        application.stdout.readline()
        try:
            with pytest.raises(StackError, match=rf"^interface 'lo' is driven by process {application.pid} \("):
                take(InterfaceHold("lo"))
        finally:
            children = Path(f"/proc/{application.pid}/task/{application.pid}/children").read_text()
            for child in children.split():
                os.kill(int(child), 9)


def _command_of_the_inner_one(pid: int) -> list[str]:
    words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return [word for word in words if word != _AS_APPLICATION] if words[2] != _AS_APPLICATION else ["app.py"]


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_a_holder_that_may_not_be_known_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = InterfaceHold("lo")
    take(first)
    monkeypatch.setattr(InterfaceHold, "_holder", lambda _self: 0)
    try:
        with pytest.raises(StackError, match=r"^interface 'lo' is driven by another process; stop it first$"):
            take(InterfaceHold("lo"))
    finally:
        first.release()


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_an_interface_that_has_gone_is_no_holder() -> None:
    with pytest.raises(StackError, match=r"^interface 'nosuch0': it has been removed"):
        take(InterfaceHold("nosuch0"))
