"""What the recorder of the real worlds tells the log of a connector's health: outages, not attempts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from taktora.clock import SystemClock
from taktora.connector.health import Connecting, Degraded, Down, HealthMonitor, Up
from taktora.ethercat.health import AgedOutputs
from taktora.recording import LogRecorder
from taktora.testing import ManualClock


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


class Flapping:
    """A connector whose health goes to and fro, and a second that passes when it is told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.monitor = HealthMonitor("cell", self.clock)
        self.due: list[Callable[[], None]] = []
        LogRecorder(later=self._later).watch(self.monitor)
        self.monitor.transition_to(Up())

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        assert delay_s == 1
        self.due.append(call)

    def flap(self, times: int) -> None:
        for _ in range(times):
            self.clock.advance(5_000_000)
            self.monitor.transition_to(Degraded("low"))
            self.clock.advance(5_000_000)
            self.monitor.transition_to(Up())

    def pass_a_second(self) -> None:
        due, self.due = self.due, []
        self.clock.advance(1_000_000_000)
        for call in due:
            call()


@pytest.mark.verifies("REQ_8510")
def test_health_that_goes_to_and_fro_is_summed_up_each_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taktora.app")
    rig = Flapping()
    rig.pass_a_second()
    told = ["cell is Up", *["cell is Degraded: low", "cell is Up"] * 3]

    rig.flap(20)
    assert caplog.messages == told
    rig.pass_a_second()
    rig.flap(1)
    rig.monitor.transition_to(Degraded("low"))
    rig.pass_a_second()

    told += ["cell: health moved 34 more times in 1 s; at the end it is Up"]
    told += ["cell: health moved 3 more times in 1 s; at the end it is Degraded: low"]
    assert caplog.messages == told
    rig.pass_a_second()
    assert not rig.due
    rig.monitor.transition_to(Up())
    assert caplog.messages == [*told, "cell is Up"]


@pytest.mark.verifies("REQ_8510")
def test_slow_moves_are_all_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taktora.app")
    rig = Flapping()

    for _ in range(10):
        rig.flap(1)
        rig.pass_a_second()

    assert len(caplog.messages) == 21
    assert not rig.due


@pytest.mark.verifies("REQ_8510", "REQ_0842")
def test_a_final_down_is_an_error_that_is_told_at_once_and_says_that_nothing_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "taktora.app")
    rig = Flapping()
    rig.flap(20)

    rig.monitor.transition_to(Down("bring-up failed: no link", 0, is_final=True))

    text = "cell is Down: bring-up failed: no link; nothing is tried any more: put it right and start the process again"
    assert (caplog.records[-1].levelno, caplog.messages[-1]) == (logging.ERROR, text)


@pytest.mark.verifies("REQ_8510", "REQ_8150")
def test_what_helps_against_aged_outputs_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taktora.app")
    rig = Flapping()
    reason = AgedOutputs(("'axis' (0x1003)",), 4)

    for _ in range(2):
        rig.monitor.transition_to(Degraded(reason))
        rig.monitor.transition_to(Up())

    first, second = (text for text in caplog.messages if "Degraded" in text)
    assert first == f"{second} ({reason.hint})"
    assert "real-time priority" in reason.hint
    assert "max_output_age_cycles" in reason.hint
