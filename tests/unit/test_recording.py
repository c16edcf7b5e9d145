"""What the recorder of the real worlds tells the log of a connector's health: outages, not attempts."""

from __future__ import annotations

import logging

import pytest

from taktora.clock import SystemClock
from taktora.connector.health import Connecting, Degraded, Down, HealthMonitor, Up
from taktora.recording import LogRecorder


@pytest.fixture
def monitor(caplog: pytest.LogCaptureFixture) -> HealthMonitor:
    caplog.set_level(logging.INFO, "taktora.app")
    made = HealthMonitor("can/plant", SystemClock())
    LogRecorder().watch(made)
    return made


def _retry(monitor: HealthMonitor, reason: str) -> None:
    monitor.transition_to(Connecting(0))
    monitor.transition_to(Down(reason, 0))


@pytest.mark.verifies("REQ_8510")
def test_an_outage_is_one_line_and_one_when_it_is_back(
    monitor: HealthMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    for _outage in range(2):
        monitor.transition_to(Down("can0 is down: no such device", 0))
        for _attempt in range(5):
            _retry(monitor, "can0 is down: no such device")
        monitor.transition_to(Connecting(0))
        monitor.transition_to(Up())

    outage = ["can/plant is Down: can0 is down: no such device", "can/plant is Up again"]
    assert caplog.messages == outage * 2


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("retry_at_ns", "outlook"),
    [
        pytest.param(1_108_000_000, "; next try in 0.108 s", id="soon"),
        pytest.param(31_000_000_000, "; next try in 30 s", id="later"),
        pytest.param(0, "; next try in 0 s", id="now"),
        pytest.param(None, "", id="never"),
    ],
)
def test_an_outage_says_when_the_next_try_comes(
    retry_at_ns: int | None, outlook: str, monitor: HealthMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.transition_to(Down("can0 is down: no such device", 1_000_000_000, retry_at_ns))

    assert caplog.messages == [f"can/plant is Down: can0 is down: no such device{outlook}"]


@pytest.mark.verifies("REQ_8510")
def test_another_reason_within_an_outage_is_told_once(monitor: HealthMonitor, caplog: pytest.LogCaptureFixture) -> None:
    monitor.transition_to(Down("bus-off", 0))

    for reason in ("no such device", "bus-off", "no such device"):
        _retry(monitor, reason)

    assert caplog.messages == ["can/plant is Down: bus-off", "can/plant is Down: no such device"]


@pytest.mark.verifies("REQ_8510")
def test_moves_without_an_outage_are_all_told(monitor: HealthMonitor, caplog: pytest.LogCaptureFixture) -> None:
    for health in (Up(), Degraded("error-passive"), Connecting(0), Up()):
        monitor.transition_to(health)

    states = ["Up", "Degraded: error-passive", "Connecting", "Up"]
    assert caplog.messages == [f"can/plant is {state}" for state in states]
