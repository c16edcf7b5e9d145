"""Time stamps of the kernel brought to the runtime's clock."""

from __future__ import annotations

import pytest

from taktora.can.rawsocket import KernelTime

_CIVIL_NS = 1_700_000_000_000_000_000
_AHEAD_NS = _CIVIL_NS - 5_000_000_000


class _Clock:
    """Two clocks that go on by a microsecond at each look, and by a stall at some."""

    def __init__(self, stalls_ns: dict[int, int]) -> None:
        self.mono_ns = 5_000_000_000
        self.set_by_ns = 0
        self._looks = 0
        self._stalls_ns = stalls_ns

    def now_ns(self) -> int:
        self._looks += 1
        self.mono_ns += 1000 + self._stalls_ns.get(self._looks, 0)
        return self.mono_ns

    def unix_ns(self) -> int:
        return self.now_ns() + _AHEAD_NS + self.set_by_ns


@pytest.mark.verifies("REQ_0602")
@pytest.mark.parametrize(
    ("stalled_at", "looks"), [pytest.param(4, 0, id="in the first comparison"), pytest.param(19, 1, id="in a look")]
)
def test_a_thread_that_is_held_up_between_the_clocks_moves_no_time_stamp(stalled_at: int, looks: int) -> None:
    clock = _Clock({stalled_at: 40_000_000})
    times = KernelTime(clock)

    for _ in range(looks):
        times.look()
    at_ns = clock.mono_ns

    assert times.on_clock(at_ns + _AHEAD_NS) == at_ns


@pytest.mark.verifies("REQ_0602")
@pytest.mark.parametrize("step_ns", [pytest.param(10**12, id="forward"), pytest.param(-(10**12), id="back")])
def test_a_civil_clock_that_was_set_is_noticed_at_the_next_look(step_ns: int) -> None:
    clock = _Clock({})
    times = KernelTime(clock)

    clock.set_by_ns = step_ns
    times.look()
    at_ns = clock.mono_ns

    assert times.on_clock(at_ns + _AHEAD_NS + step_ns) == at_ns


@pytest.mark.verifies("REQ_0602")
def test_no_time_stamp_is_after_now_or_before_the_last_one() -> None:
    clock = _Clock({})
    times = KernelTime(clock)

    late = times.on_clock(clock.mono_ns + _AHEAD_NS + 10**12)
    early = times.on_clock(clock.mono_ns + _AHEAD_NS - 10**12)

    assert late == clock.mono_ns
    assert early == late
