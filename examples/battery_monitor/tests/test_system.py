"""The same application file in the real world: wall clock, two threads, shared memory; only the CAN wire is a mock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
from app import build
from logbook import DRIVE
from messages import Alarm, ContactorRequest, LimitReason, MonitorCommand

from taktora.app import Context
from taktora.codec.dbc import DbcCodec, load_dbc
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import CanLog

CODEC = DbcCodec(load_dbc(DRIVE.parent.parent / "battery.dbc"))


@pytest.fixture(
    params=[
        "inprocess",
        pytest.param(
            "iceoryx2", marks=pytest.mark.skipif(sys.platform != "linux", reason="iceoryx2 is used on Linux only")
        ),
    ]
)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """The runtime of the real worlds."""
    runtime = Runtime.system(transport=request.param)
    yield runtime
    runtime.close()


def commands(interface: MockCanInterface) -> list[MonitorCommand]:
    """Return what the application has sent so far."""
    return [CODEC.decode(MonitorCommand, memoryview(frame.data)) for frame in interface.sent if frame.can_id == 0x300]


def play(interface: MockCanInterface, log: CanLog, seconds: float) -> None:
    """Put the frames of a log on the wire at their recorded pace."""
    began_s, first_ns = time.monotonic(), next(iter(log)).time_ns
    for record in log:
        at_s = (record.time_ns - first_ns) / 1e9
        if at_s > seconds:
            return
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        interface.inject_frame(record.frame)


def wait_for(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Return whether the condition came true in time."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.verifies("BAT_0002")
def test_the_unchanged_application_runs_on_threads_and_shared_memory(runtime: Runtime) -> None:
    told: list[Alarm] = []
    interface = MockCanInterface("can0")
    runtime.backends["can"] = lambda *_: interface

    def tell(_ctx: Context, alarm: Alarm) -> None:
        told.append(alarm)

    with build(tell).bind(runtime, bench=DRIVE.parent.parent / "bench.can0.toml") as bound:
        bound.start()
        play(interface, CanLog(DRIVE), 1.4)
        is_trusted = wait_for(lambda: commands(interface)[-1].LimitReason is LimitReason.NONE)
        is_lost = wait_for(lambda: commands(interface)[-1].LimitReason is LimitReason.BATTERY_LOST)
        has_told = wait_for(lambda: bool(told))

    last = commands(interface)[-1]
    assert (is_trusted, is_lost, has_told) == (True, True, True)
    assert (last.DischargeLimit, last.ContactorRequest) == (0, ContactorRequest.OPEN)
    assert [alarm.code for alarm in told] == ["BATTERY_LOST"]
