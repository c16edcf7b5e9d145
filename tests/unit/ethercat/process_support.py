"""Drivers for tests of the driver process: what they do is written to a file, line by line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from taktora.connector.reconnect import ExponentialBackoff, RandomSource
from taktora.ethercat.driver import BringUp, Exchange, Steps
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import SubDeviceMap
from taktora.testing.mock_bus import MockBusDriver

PLAN = BusPlan(
    subdevices=(
        SubDeviceMap(address=0x1000, label="coupler", position=0),
        SubDeviceMap(
            address=0x1001, label="axis", position=1, output_bits=32, input_bits=32, safe_outputs=b"\x0b\xad\0\0"
        ),
    ),
    cycle_time_ns=2_000_000,
    max_output_age_cycles=1000,
)


class LoggingDriver(MockBusDriver):
    """Writes one line per change of what it is asked: time in ns, what, and the outputs of the axis."""

    log: Path
    last = b""

    def exchange(self) -> Steps[Exchange]:
        outputs = self.snapshot_outputs(0x1001)
        if outputs != self.last:
            self.last = outputs
            self.note(f"outputs {outputs.hex()}")
        return super().exchange()

    def close(self) -> None:
        self.note("close")
        super().close()

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{time.monotonic_ns()} {what}\n")


class DyingDriver(LoggingDriver):
    """Kills its process, or raises a defect, in the given exchange."""

    how = ""

    def exchange(self) -> Steps[Exchange]:
        if self.cycle_calls == 20:
            if self.how == "exit":
                os.write(2, b"the last words\n")
                os._exit(3)
            raise AssertionError("a defect of the driver")
        return super().exchange()


class StuckDriver(LoggingDriver):
    """Does not come back from its bring-up, as a stack that hangs."""

    def bring_up(self) -> Steps[BringUp]:
        self.note("stuck")
        time.sleep(600)
        return super().bring_up()


def make(cls: type[Any], log: Path, script: Callable[[Any], object] | None, plan: BusPlan) -> Any:
    driver = cls.for_plan(plan).with_loopback()
    driver.log = log
    driver.note(f"pid {os.getpid()}")
    if script is not None:
        script(driver)
    return driver


def factory(log: Path, cls: type[Any] = LoggingDriver, script: Callable[[Any], object] | None = None) -> Any:
    return partial(make, cls, log, script)


def speak_in_pieces(driver: Any) -> None:
    """Say two lines and a blank one as print does, only slower: text and end of line one after the other."""
    for piece in (b"SCHED_FIFO 50:", b" refused", b"\n", b"\n", b"and so on", b"\n"):
        os.write(2, piece)
        time.sleep(0.05)
    driver.note("spoken")


def die_without_line_end(driver: Any) -> None:
    os.write(2, b"no more")
    os._exit(4)


def die_by_exit(driver: Any) -> None:
    driver.how = "exit"


def refuse(driver: Any) -> None:
    driver.failing_bring_up("position 1 ('axis'): found vendor 0x9, expected vendor 0x2")


def fail_once(driver: Any) -> None:
    driver.with_wkc_sequence([3, 3, "no frame came back", 3])


def quick_policy(random: RandomSource) -> ExponentialBackoff:
    return ExponentialBackoff(random, initial_ns=1_000_000, max_ns=5_000_000)
