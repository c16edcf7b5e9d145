"""A driver in a process of its own: the same contract as in this one, and nothing left behind whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taktora.connector.health import Connecting, Degraded, Down, Up
from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.process import BusSetup, ProcessBus
from taktora.testing import BusLog
from taktora.testing.mock_bus import MockBusDriver
from tests.unit.ethercat import process_support as support

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: the driver process needs Linux")

PATIENCE_S = 30.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "driver.log"


@pytest.fixture
def buses() -> Iterator[list[ProcessBus]]:
    opened: list[ProcessBus] = []
    yield opened
    for bus in opened:
        bus.close()


def begin(buses: list[ProcessBus], make_driver: Any, **more: Any) -> tuple[ProcessBus, BusLog]:
    bus, listener = ProcessBus(BusSetup(name="cell", plan=support.PLAN, make_driver=make_driver, **more)), BusLog()
    buses.append(bus)
    bus.start(listener)
    return bus, listener


def events(log: Path) -> list[str]:
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()]


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.verifies("REQ_0321", "REQ_0265")
def test_cycles_and_health_cross_in_order(buses: list[ProcessBus], log: Path) -> None:
    _bus, listener = begin(buses, support.factory(log))

    listener.wait(lambda got: len(got.records) >= 20)

    assert listener.healths == [Up()]
    indices = [record.cycle_index for record in listener.records]
    assert indices == sorted(set(indices))
    assert indices[0] == 0


@pytest.mark.verifies("REQ_0321")
def test_the_driver_runs_in_another_process(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))
    listener.wait(lambda got: got.healths)

    assert events(log)[0] == f"pid {bus.pid}" != f"pid {os.getpid()}"


@pytest.mark.verifies("REQ_0321", "REQ_8150")
def test_what_a_terminal_sends_to_the_application_does_not_reach_the_driver(buses: list[ProcessBus], log: Path) -> None:
    bus, _ = begin(buses, support.factory(log))

    assert bus.pid is not None
    assert os.getpgid(bus.pid) != os.getpgrp()


@pytest.mark.verifies("REQ_0321", "REQ_8150")
def test_staged_outputs_reach_the_bus_and_come_back_as_inputs(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))
    listener.wait(lambda got: got.records)

    bus.stage_outputs(b"\x01\x02\x03\x04", b"\0\1")

    listener.wait(lambda got: got.records[-1].inputs == b"\x01\x02\x03\x04")


@pytest.mark.verifies("REQ_8150")
def test_what_nobody_renewed_is_not_sent(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))
    listener.wait(lambda got: got.records)

    bus.stage_outputs(b"\x01\x02\x03\x04", b"\0\0")
    seen = len(listener.records)

    listener.wait(lambda got: len(got.records) > seen + 20)
    assert {record.inputs for record in listener.records[1:]} == {b"\x0b\xad\0\0"}


@pytest.mark.verifies("REQ_0842")
def test_a_failed_bring_up_is_a_final_down_and_no_failure(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log, script=support.refuse))

    listener.wait(lambda got: got.healths)
    bus.close()

    (health,) = listener.healths
    assert isinstance(health, Down)
    assert str(health.reason) == "bring-up failed: position 1 ('axis'): found vendor 0x9, expected vendor 0x2"
    assert listener.failures == []


@pytest.mark.verifies("REQ_0331", "REQ_0333")
def test_recovery_is_told_move_by_move(buses: list[ProcessBus], log: Path) -> None:
    setup = {"make_policy": support.quick_policy}
    _bus, listener = begin(buses, support.factory(log, script=support.fail_once), **setup)

    listener.wait(lambda got: len(got.healths) >= 4)

    assert [type(health) for health in listener.healths] == [Up, Degraded, Connecting, Up]
    assert str(listener.healths[1].reason) == "cycle failed: no frame came back"  # type: ignore[union-attr]


@pytest.mark.verifies("REQ_0296")
def test_a_driver_process_that_dies_is_told_with_status_and_last_words(buses: list[ProcessBus], log: Path) -> None:
    make_driver = support.factory(log, support.DyingDriver, support.die_by_exit)
    _bus, listener = begin(buses, make_driver)

    listener.wait(lambda got: got.failures)

    assert isinstance(listener.healths[-1], Down)
    assert isinstance(listener.failures[0], StackError)
    text = str(listener.failures[0])
    assert text == ("the driver process of bus 'cell' ended with exit status 3; it said last: the last words")


@pytest.mark.verifies("REQ_0040", "REQ_8510")
def test_what_the_driver_process_says_is_logged_line_by_line(
    buses: list[ProcessBus], log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _bus, listener = begin(buses, support.factory(log, script=support.speak_in_pieces))

    listener.wait(lambda got: got.records)
    wait_for(lambda: "and so on" in caplog.text)

    said = [each.getMessage() for each in caplog.records if each.name == "taktora.ethercat.process"]
    assert said == ["bus 'cell': SCHED_FIFO 50: refused", "bus 'cell': and so on"]


@pytest.mark.verifies("REQ_0296")
def test_last_words_without_an_end_of_line_are_told(buses: list[ProcessBus], log: Path) -> None:
    _bus, listener = begin(buses, support.factory(log, script=support.die_without_line_end))

    listener.wait(lambda got: got.failures)

    assert str(listener.failures[0]).endswith("ended with exit status 4; it said last: no more")


@pytest.mark.verifies("REQ_0296")
def test_a_defect_in_the_driver_process_names_itself(buses: list[ProcessBus], log: Path) -> None:
    _bus, listener = begin(buses, support.factory(log, support.DyingDriver))

    listener.wait(lambda got: got.failures)

    assert "AssertionError: a defect of the driver" in str(listener.failures[0])
    assert events(log)[-1] == "close"  # the SubDevices were taken down all the same


@pytest.mark.verifies("REQ_0296")
def test_a_killed_driver_process_is_told_by_signal(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))
    listener.wait(lambda got: got.records)
    assert bus.pid is not None

    os.kill(bus.pid, signal.SIGKILL)

    listener.wait(lambda got: got.failures)
    assert str(listener.failures[0]).startswith("the driver process of bus 'cell' was killed by SIGKILL")


@pytest.mark.verifies("REQ_0321")
def test_close_takes_the_subdevices_down_and_ends_the_process(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))
    listener.wait(lambda got: got.records)
    pid = bus.pid
    assert pid is not None

    bus.close()
    bus.close()
    bus.stage_outputs(bytes(4), b"\0\1")  # too late, and no error

    assert events(log)[-1] == "close"
    assert not is_running(pid)
    assert listener.failures == []


@pytest.mark.verifies("REQ_0321")
def test_a_driver_that_hangs_is_killed_in_the_end(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log, support.StuckDriver))
    wait_for(lambda: log.exists() and "stuck" in log.read_text())
    pid = bus.pid
    assert pid is not None

    bus.close()

    assert not is_running(pid)
    assert listener.failures == []


PARENT = """
import sys, time
from pathlib import Path
from taktora.ethercat.process import BusSetup, ProcessBus
from tests.unit.ethercat import process_support as support
from taktora.testing import BusLog

log = Path(sys.argv[1])
bus, listener = ProcessBus(BusSetup(name="cell", plan=support.PLAN, make_driver=support.factory(log))), BusLog()
bus.start(listener)
listener.wait(lambda got: got.records)
bus.stage_outputs(bytes.fromhex("c0ffee00"), bytes([0, 1]))
listener.wait(lambda got: got.records[-1].inputs.hex() == "c0ffee00")
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.verifies("REQ_8150")
def test_the_driver_process_takes_the_subdevices_down_when_its_parent_is_killed(log: Path) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        driver_pid = int(events(log)[0].split()[1])

        parent.kill()

    wait_for(lambda: events(log)[-1] == "close")
    wait_for(lambda: not is_running(driver_pid))


@pytest.mark.verifies("REQ_0332")
def test_what_pickle_does_not_know_is_refused_at_once() -> None:
    setup = BusSetup(name="cell", plan=support.PLAN, make_driver=lambda plan: MockBusDriver.for_plan(plan))

    with pytest.raises(ConfigurationError, match=r"bus 'cell': its setup cannot go to another process .*of a module"):
        ProcessBus(setup)


@pytest.mark.verifies("REQ_0312")
def test_a_bus_starts_once(buses: list[ProcessBus], log: Path) -> None:
    bus, listener = begin(buses, support.factory(log))

    with pytest.raises(ConfigurationError, match="was started before"):
        bus.start(listener)
