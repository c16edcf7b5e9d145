"""The clock contract in executable form: run it against any clock; it needs no test framework."""

from __future__ import annotations

from collections.abc import Callable

from taktora.clock import Clock

__all__ = ["check_clock"]

_READINGS = 1000
_STEP_NS = 2_000_000
_YEAR_2200_NS = 7_258_118_400 * 10**9


def check_clock(
    make_clock: Callable[[], Clock], advance: Callable[[Clock, int], None] | None = None, *, exact: bool = False
) -> None:
    """Run every check on one clock.

    Args:
        make_clock: Returns the clock to check.
        advance: Lets so many nanoseconds pass on that clock (a sleep, or a step of a simulated world); without it only
            what needs no time is checked.
        exact: Whether ``advance`` moves both times by exactly what was asked, as a virtual clock does.

    Raises:
        AssertionError: the contract is broken; the message says what was seen.
    """
    clock = make_clock()
    _reads_integers(clock)
    _never_runs_backwards(clock)
    _civil_time_is_plausible(clock)
    if advance is not None:
        _advances(clock, advance, exact=exact)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(f"check_clock: {message}")


def _reads_integers(clock: Clock) -> None:
    for name, value in (("now_ns", clock.now_ns()), ("unix_ns", clock.unix_ns())):
        _require(type(value) is int, f"{name} returns {value!r}, expected an int of nanoseconds")


def _never_runs_backwards(clock: Clock) -> None:
    last_ns = clock.now_ns()
    for _ in range(_READINGS):
        now_ns = clock.now_ns()
        _require(now_ns >= last_ns, f"now_ns went from {last_ns} back to {now_ns}")
        last_ns = now_ns


def _civil_time_is_plausible(clock: Clock) -> None:
    unix_ns = clock.unix_ns()
    _require(0 <= unix_ns < _YEAR_2200_NS, f"unix_ns is {unix_ns}, expected nanoseconds since 1970 and before 2200")


def _advances(clock: Clock, advance: Callable[[Clock, int], None], *, exact: bool) -> None:
    before = (clock.now_ns(), clock.unix_ns())
    advance(clock, _STEP_NS)
    passed = (clock.now_ns() - before[0], clock.unix_ns() - before[1])
    if exact:
        _require(passed == (_STEP_NS, _STEP_NS), f"{_STEP_NS} ns passed as {passed} (now_ns, unix_ns)")
    else:
        _require(passed[0] >= _STEP_NS, f"now_ns moved by {passed[0]} while at least {_STEP_NS} ns passed")
