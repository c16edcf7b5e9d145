"""The system clock."""

from __future__ import annotations

import time

import pytest

from taktora.clock import SystemClock
from taktora.testing.check_clock import check_clock


@pytest.mark.verifies("REQ_0203")
def test_system_clock_keeps_the_contract() -> None:
    check_clock(SystemClock, lambda _clock, duration_ns: time.sleep(duration_ns / 1e9))


@pytest.mark.verifies("REQ_0203")
def test_system_clock_reads_the_clocks_of_the_system() -> None:
    clock = SystemClock()

    before = (time.monotonic_ns(), time.time_ns())
    read = (clock.now_ns(), clock.unix_ns())
    after = (time.monotonic_ns(), time.time_ns())

    assert before[0] <= read[0] <= after[0]
    assert before[1] <= read[1] <= after[1]
