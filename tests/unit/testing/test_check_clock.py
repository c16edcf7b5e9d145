"""The clock kit: the system clock passes, and broken clocks are found."""

from __future__ import annotations

import pytest

from taktora.clock import Clock
from taktora.testing.check_clock import check_clock


class ManualClock:
    """A virtual clock with faults to choose from."""

    def __init__(self, *, drift_ns: int = 0, step_ns: int = 0, unix_ns: int = 10**18) -> None:
        self.time_ns = 0
        self.drift_ns = drift_ns
        self.step_ns = step_ns
        self.epoch_ns = unix_ns

    def now_ns(self) -> int:
        self.time_ns += self.step_ns
        return self.time_ns

    def unix_ns(self) -> int:
        return self.epoch_ns + self.time_ns


class FloatClock(ManualClock):
    def now_ns(self) -> int:
        return 1.5  # type: ignore[return-value]


def advance(clock: Clock, duration_ns: int) -> None:
    assert isinstance(clock, ManualClock)
    clock.time_ns += duration_ns + clock.drift_ns


@pytest.mark.verifies("REQ_0203")
def test_exact_virtual_clock_passes() -> None:
    check_clock(ManualClock, advance, exact=True)
    check_clock(lambda: ManualClock(drift_ns=5), advance)


@pytest.mark.verifies("REQ_0203")
@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (ManualClock(drift_ns=1), "passed as"),
        (ManualClock(step_ns=-1), "back to"),
        (ManualClock(unix_ns=-1), "unix_ns is -1"),
        (FloatClock(), "now_ns returns 1.5"),
    ],
    ids=["drift", "backwards", "epoch", "float"],
)
def test_broken_clock_is_found(clock: Clock, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_clock(lambda: clock, advance, exact=True)


@pytest.mark.verifies("REQ_0203")
def test_clock_that_stands_still_is_found() -> None:
    with pytest.raises(AssertionError, match="at least"):
        check_clock(ManualClock, lambda _clock, _ns: None)
