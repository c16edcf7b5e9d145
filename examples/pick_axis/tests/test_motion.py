"""The setpoint of the axis: it arrives, and bounds of speed and acceleration hold in every step."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion import Setpoint

PERIOD_S = 0.002


def run(setpoint: Setpoint, target: float, speed: float, cycles: int) -> list[float]:
    """Return the speeds of so many cycles."""
    speeds = []
    for _ in range(cycles):
        setpoint.towards(target, speed, PERIOD_S)
        speeds.append(setpoint.speed)
    return speeds


@pytest.mark.verifies("PICK_0001")
@settings(deadline=None)
@given(
    start=st.floats(-500, 500),
    target=st.floats(-500, 500),
    speed=st.floats(50, 2000),
    acceleration=st.floats(500, 20_000),
)
def test_it_comes_to_rest_exactly_at_the_target(start: float, target: float, speed: float, acceleration: float) -> None:
    setpoint = Setpoint(acceleration)
    setpoint.place(start)
    time_s = abs(target - start) / speed + speed / acceleration

    speeds = run(setpoint, target, speed, int(time_s / PERIOD_S) + 20)

    assert (setpoint.position, setpoint.is_at_rest) == (target, True)
    assert max(map(abs, speeds)) <= speed * (1 + 1e-9)


@pytest.mark.verifies("PICK_0001", "PICK_0003")
@settings(deadline=None)
@given(changes=st.lists(st.tuples(st.floats(-500, 500), st.integers(1, 200)), min_size=1, max_size=6))
def test_the_speed_never_jumps_whatever_the_targets(changes: list[tuple[float, int]]) -> None:
    setpoint = Setpoint(4000)
    speeds = [0.0]
    for target, cycles in changes:
        speeds += run(setpoint, target, 800, cycles)
    while not setpoint.is_at_rest:
        setpoint.halt(PERIOD_S)
        speeds.append(setpoint.speed)

    steps = [abs(after - before) for before, after in pairwise(speeds)]
    assert max(steps) <= 4000 * PERIOD_S * (1 + 1e-9)


@pytest.mark.verifies("PICK_0003")
def test_halting_from_full_speed_takes_the_time_of_the_ramp() -> None:
    setpoint = Setpoint(4000)
    run(setpoint, 10_000, 800, 200)

    cycles = 0
    while not setpoint.is_at_rest:
        setpoint.halt(PERIOD_S)
        cycles += 1

    assert cycles == 100
