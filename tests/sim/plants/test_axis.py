"""The physics of an axis against what mechanics says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora_sim.plants import Axis, AxisParameters
from taktora_sim.plants.stepping import LazySteps
from taktora_sim.world import World

pytestmark = pytest.mark.verifies("REQ_8108")

DT_S = 0.0005
MS = 1_000_000


def _axis(**parameters: Any) -> Axis:
    plain: dict[str, Any] = {"inertia": 0.02, "viscous": 0.0, "coulomb": 0.0}
    return Axis(AxisParameters(**plain | parameters))


def _push(axis: Axis, force: float, steps: int, *, has_brake: bool = False) -> None:
    for _ in range(steps):
        axis.step(force, DT_S, has_brake=has_brake)


def test_a_constant_force_accelerates_evenly() -> None:
    axis = _axis()

    _push(axis, 10.0, 2000)

    assert axis.velocity == pytest.approx(500.0)
    assert axis.position == pytest.approx(250.0, rel=0.001)


def test_viscous_friction_ends_the_acceleration() -> None:
    axis = _axis(viscous=0.1)

    _push(axis, 10.0, 10_000)

    assert axis.velocity == pytest.approx(100.0, rel=0.001)


def test_below_coulomb_friction_an_axis_sticks_and_above_it_slides() -> None:
    axis = _axis(coulomb=4.0)

    _push(axis, 3.9, 100)
    stuck = axis.position
    _push(axis, 5.0, 2000)

    assert stuck == 0.0
    assert axis.velocity == pytest.approx(50.0), "1 N is left of 5"


def test_friction_stops_an_axis_and_does_not_push_it_back() -> None:
    axis = _axis(coulomb=4.0)
    _push(axis, 10.0, 100)

    _push(axis, 0.0, 2000)

    assert axis.velocity == 0.0
    assert axis.sticks(has_brake=False)


def test_a_brake_holds_what_friction_does_not() -> None:
    axis = _axis(coulomb=1.0, load=-50.0, brake_force=100.0)

    _push(axis, 0.0, 100, has_brake=True)
    held = axis.position
    _push(axis, 0.0, 100)

    assert held == 0.0
    assert axis.position < 0.0


@given(st.floats(-300.0, 300.0), st.integers(1, 400))
def test_an_axis_never_leaves_its_end_stops(force: float, steps: int) -> None:
    axis = _axis(low=-5.0, high=8.0)

    for _ in range(steps):
        axis.step(force, DT_S, has_brake=False)
        assert -5.0 <= axis.position <= 8.0


def test_switches_close_at_their_positions() -> None:
    axis = _axis(switch_low=-10.0, switch_high=20.0)
    seen = []

    for position in (-10.0, -9.9, 19.9, 20.0):
        axis.place(position)
        seen.append((axis.at_low_switch, axis.at_high_switch))

    assert seen == [(True, False), (False, False), (False, False), (False, True)]


def test_a_blocked_axis_does_not_move_until_every_block_is_gone() -> None:
    axis = _axis()
    axis.block(1)
    axis.block(1)
    axis.block(-1)

    _push(axis, 100.0, 100)
    blocked = axis.position
    axis.block(-1)
    _push(axis, 100.0, 100)

    assert blocked == 0.0
    assert axis.position > 0.0


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"inertia": 0.0}, "inertia is 0.0, expected a number above 0"),
        ({"coulomb": -1.0}, "coulomb is -1.0, expected 0 or more"),
        ({"low": 1.0}, "start 0 is not between low 1.0 and high None"),
    ],
    ids=["inertia", "coulomb", "start"],
)
def test_an_axis_that_cannot_be_is_refused(parameters: dict[str, float], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        AxisParameters(**parameters)  # type: ignore[arg-type]


# --- steps -------------------------------------------------------------------------------------------------------


class _Counter:
    def __init__(self, busy_for: int) -> None:
        self.left = busy_for
        self.taken: list[int] = []
        self.told: list[int] = []
        self.world = World(1)
        self.steps = LazySteps(MS // 2, self._step, 2 * MS, lambda: None, lambda: self.told.append(self.world.now_ns()))
        self.steps.bind(self.world)

    def _step(self) -> bool:
        self.taken.append(self.steps.number)
        self.left -= 1
        return self.left >= 0


@pytest.mark.verifies("REQ_8001")
@given(st.lists(st.integers(0, 4 * MS), max_size=30))
def test_steps_are_the_same_whenever_they_are_taken(pauses_ns: list[int]) -> None:
    counter = _Counter(10**9)

    for pause_ns in pauses_ns:
        counter.world.run_for(pause_ns)
        counter.steps.advance()

    assert counter.taken == list(range(1, sum(pauses_ns) // (MS // 2) + 1))


def test_what_is_calm_for_long_enough_rests_until_it_is_woken() -> None:
    counter = _Counter(3)
    counter.world.run_for(1000 * MS)
    counter.steps.advance()
    at_rest = len(counter.taken)

    counter.steps.wake()
    counter.world.run_for(MS)
    counter.steps.advance()

    assert at_rest == 3 + 4, "four steps are the 2 ms"
    assert counter.taken[at_rest:] == [2001, 2002]


def test_who_watches_is_told_every_millisecond_until_it_rests() -> None:
    counter = _Counter(6)
    counter.steps.is_watched = True
    counter.steps.wake()

    counter.world.run_for(1000 * MS)

    assert counter.told == [MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS]
