"""A bus on a clock that moves only when the cycle waits, and everything that it reported."""

from __future__ import annotations

from collections.abc import Callable

from taktora.connector.reconnect import ExponentialBackoff, ReconnectPolicy
from taktora.ethercat.driver import BusDriver
from taktora.ethercat.local import OutputStage
from taktora.ethercat.options import BusPlan, EthercatConnectorOptions, SliceCopy
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.runner import CycleRunner
from taktora.testing import BusLog, ManualClock
from taktora.testing.mock_bus import MockBusDriver

MS = 1_000_000
COUPLER = SubDeviceMap(address=0x1000, label="coupler")
INPUTS = SubDeviceMap(address=0x1001, label="inputs", input_bits=8)
OUTPUTS = SubDeviceMap(address=0x1002, label="outputs", output_bits=4, safe_outputs=b"\x08")
DRIVE = SubDeviceMap(address=0x1003, label="drive", output_bits=48, input_bits=48, safe_outputs=b"\x06")


def make_plan(
    *subdevices: SubDeviceMap,
    cycle_time_ns: int = MS,
    max_output_age_cycles: int = 3,
    degraded_after_cycles: int = 1,
    low_counter_timeout_ns: int | None = None,
    copies: tuple[SliceCopy, ...] = (),
) -> BusPlan:
    """Return a plan at 1 ms of the four devices above, unless others are given."""
    return EthercatConnectorOptions(
        pdo_map=subdevices or (COUPLER, INPUTS, OUTPUTS, DRIVE),
        cycle_time_ns=cycle_time_ns,
        max_output_age_cycles=max_output_age_cycles,
        degraded_after_cycles=degraded_after_cycles,
        low_counter_timeout_ns=low_counter_timeout_ns,
        copies=copies,
    ).plan()


def make_policy(attempts: int | None = None) -> Callable[[], ReconnectPolicy]:
    """Return a factory of policies that wait 10 ms, 20 ms, 40 ms ..."""
    return lambda: ExponentialBackoff(initial_ns=10 * MS, jitter_ratio=0.0, max_attempts=attempts)


class BusBench:
    """Steps the cycle of a plan over a mock."""

    def __init__(
        self,
        plan: BusPlan | None = None,
        driver: MockBusDriver | None = None,
        policy: Callable[[], ReconnectPolicy] | None = None,
        clock: ManualClock | None = None,
        wire_round_ns: int = 0,
        seen: BusLog | None = None,
    ) -> None:
        self.plan = plan or make_plan()
        self.clock = clock or ManualClock()
        self.mock = driver or MockBusDriver.for_plan(
            self.plan, clock=self.clock if wire_round_ns else None, wire_round_ns=wire_round_ns
        )
        self.seen = seen or BusLog()
        self.layout = self.plan.layout()
        self.stage = OutputStage(self.layout)
        bus: BusDriver = self.mock
        self.runner = CycleRunner(self.plan, bus, self.clock, self.seen, self.stage, policy or make_policy())
        self.steps = self.runner.run()
        self.has_ended = False

    def run_cycles(self, count: int, renew: bytes | None = None) -> None:
        """Go on until ``count`` further attempts at an exchange were reported, or the bus has ended.

        ``renew``: output image to stage, renewed for every SubDevice, before each attempt.
        """
        target = len(self.seen.records) + count
        while not self.has_ended and len(self.seen.records) < target:
            if renew is not None:
                self.stage.stage(renew, bytes((1,)) * len(self.layout.subdevices))
            self._step()

    def run_until_ns(self, at_ns: int) -> None:
        """Go on until the clock has reached ``at_ns``."""
        while not self.has_ended and self.clock.now_ns() < at_ns:
            self._step()

    def renew(self, image: bytes, *labels: str) -> None:
        """Stage an output image once, renewed for the SubDevices named."""
        marks = bytearray(len(self.layout.subdevices))
        for label in labels:
            marks[self.layout.by_label[label].position] = 1
        self.stage.stage(image, marks)

    def _step(self) -> None:
        try:
            self.clock.advance_to(self.steps.send(None))
        except StopIteration:
            self.has_ended = True
