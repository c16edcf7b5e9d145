"""Faults of the application itself: killed, stopped, hanging."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taktora.app import App, BoundApp, Context
from taktora.errors import ConfigurationError
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.faults import FaultEntry, FaultPlan, FaultPlanError
from taktora_sim.world import World

MS = 1_000_000


class Ticker:
    """An App with an item on each of two executors, in a World."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self.world = World(1, plan=plan)
        self.main: list[int] = []
        self.second: list[int] = []
        self.app = App("ticker")
        self.app.cyclic(every_ms=1)(self.tick)
        self.app.cyclic(every_ms=1, executor="second")(self.tock)
        self.bound: BoundApp = self.app.bind(self.world.runtime)
        self.bound.start()

    def tick(self, ctx: Context) -> None:
        self.main.append(ctx.now_ns // MS)

    def tock(self, ctx: Context) -> None:
        self.second.append(ctx.now_ns // MS)

    def run_ms(self, milliseconds: int) -> None:
        self.world.run_for(milliseconds * MS)

    def close(self) -> None:
        self.bound.close()
        self.world.close()


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    rig = Ticker()
    yield rig
    rig.close()


@pytest.mark.verifies("REQ_8150", "REQ_8007")
def test_a_killed_application_dispatches_nothing_and_can_be_closed(ticker: Ticker) -> None:
    ticker.run_ms(3)
    ticker.world.faults.inject("app/ticker", "kill")
    ticker.run_ms(10)

    assert (ticker.main[-1], ticker.second[-1]) == (3, 3)


@pytest.mark.verifies("REQ_8150", "REQ_8007")
def test_a_stopped_application_goes_on_late_and_makes_up_for_nothing(ticker: Ticker) -> None:
    ticker.run_ms(3)
    ticker.world.faults.inject("app/ticker", "stop", 5 * MS + MS // 2)
    ticker.run_ms(8)

    assert ticker.main[-3:] == ticker.second[-3:]
    assert [tick for tick in ticker.main if 4 <= tick <= 7] == []
    assert ticker.main[-2:] == [10, 11]


@pytest.mark.verifies("REQ_8150", "REQ_8007")
def test_only_the_executor_whose_item_hangs_stands_still(ticker: Ticker) -> None:
    ticker.run_ms(3)
    ticker.world.faults.inject("app/ticker", "hang", parameters={"executor": "second"})
    ticker.run_ms(3)

    assert (ticker.main[-1], ticker.second[-1]) == (6, 3)
    with pytest.raises(ConfigurationError, match="no executor 'third'; it has main, second"):
        ticker.world.faults.inject("app/ticker", "hang", parameters={"executor": "third"})


@pytest.mark.verifies("REQ_8007")
def test_holds_add_up_and_a_stopped_application_can_be_closed(ticker: Ticker) -> None:
    ticker.run_ms(3)
    ends = [ticker.world.faults.inject("app/ticker", kind) for kind in ("stop", "hang", "stop")]
    ticker.run_ms(3)
    ends[0]()
    ticker.run_ms(3)
    ends[2]()
    ticker.run_ms(3)

    assert (ticker.main[-1], ticker.second[-1]) == (3, 12)


@pytest.mark.verifies("REQ_8007")
def test_an_item_may_reach_the_milestone_that_kills_its_own_application() -> None:
    world = World(1, plan=FaultPlan.of(FaultEntry(target="app/lemming", kind="kill", milestone="edge")))
    app, steps = App("lemming"), []

    @app.cyclic(every_ms=1)
    def walk(ctx: Context) -> None:
        steps.append(ctx.now_ns // MS)
        if len(steps) == 3:
            world.milestone("edge")

    with world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(9 * MS)

    assert steps == [1, 2, 3]


@pytest.mark.verifies("REQ_8007", "REQ_8008")
def test_a_campaign_draws_them_only_if_asked_to(ticker: Ticker) -> None:
    with pytest.raises(FaultPlanError, match="app/ticker:kill"):
        draw_plan(ticker.world)
    plan = draw_plan(ticker.world, Campaign(enabled=("app/*:*",)))

    assert {entry.target for entry in plan.entries} == {"app/ticker"}


@pytest.mark.verifies("REQ_8007")
def test_an_app_that_is_bound_again_is_the_same_target(ticker: Ticker) -> None:
    ticker.bound.close()
    ticker.bound = ticker.app.bind(ticker.world.runtime)
    ticker.bound.start()
    ticker.run_ms(3)
    ticker.world.faults.inject("app/ticker", "kill")
    ticker.run_ms(3)

    assert ticker.main[-1] == 3
