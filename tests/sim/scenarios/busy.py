"""A run with everything in it that could repeat badly: executors, channels, drawn durations, order, faults, logging."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import msgspec

from taktora.app import App, Context
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.faults import FaultKind, Param
from taktora_sim.world import World

MS = 1_000_000
DURATION_NS = 300 * MS


class Reading(msgspec.Struct):
    """What the sensor says."""

    number: int
    level: int


class Tank:
    """A plant: a level that wanders, read once a millisecond, and two ways of failing."""

    def __init__(self, world: World) -> None:
        self.level = 500
        self._world = world
        self._draws = world.stream("tank")
        self._offset = 0
        self._record = world.trace.channel("tank", "level")
        self._target = world.faults.target(
            "tank",
            kinds={
                "drift": FaultKind(
                    lambda parameters: self._shift(int(parameters["by"])),
                    lambda parameters: self._shift(-int(parameters["by"])),
                    params={"by": Param(int, low=1, high=50)},
                    describe="the level reads {by} too high",
                ),
                "splash": FaultKind(lambda _parameters: self._shift(0), describe="the level jumps"),
            },
        )
        world.process(self._live())

    def _shift(self, by: int) -> None:
        self._offset += by

    def _live(self) -> Generator[Any, Any, None]:
        while True:
            self._target.count()
            self.level += self._draws.integer(-5, 5)
            self._record((self.level + self._offset).to_bytes(4, "little", signed=True))
            yield self._world.env.timeout(MS)


def build(tank: Tank) -> App:
    """Return an application of two executors that pass readings to each other."""
    app = App("busy")
    readings = app.channel("readings", Reading)
    answers = app.channel("answers", Reading)
    level = app.signal("level")

    @app.cyclic(every_ms=2)
    def sense(ctx: Context) -> None:
        readings.send(Reading(ctx.now_ns // MS, tank.level))
        level.set(tank.level)

    @app.cyclic(every_ms=2)
    def also_sense(_ctx: Context) -> None:
        answers.try_send(Reading(-1, tank.level))

    @app.on(readings, executor="other")
    def answer(_ctx: Context) -> None:
        for reading in readings.drain():
            answers.try_send(Reading(reading.number, -reading.level))

    @app.on(answers)
    def note(ctx: Context) -> None:
        for reading in answers.drain():
            if reading.number % 100 == 0:
                logging.getLogger("busy").info("reading %d", reading.number)
                ctx.event(f"reading {reading.number}")

    return app


def scenario(world: World) -> None:
    """Run 300 ms with drawn faults and durations."""
    tank = Tank(world)
    world.executions.seeded_order = True
    world.executions.set("sense", lambda draws: draws.integer(10_000, 900_000))
    world.executions.set("answer", lambda draws: draws.integer(0, 3 * MS))
    world.faults.propose(draw_plan(world, Campaign(begin_ns=(0, 200 * MS), duration_ns=(5 * MS, 50 * MS))))
    with build(tank).bind(world.runtime) as bound:
        bound.start()
        world.milestone("started")
        world.run_for(DURATION_NS)
        world.check("the time has passed", world.now_ns() == DURATION_NS)
        world.check("a fault fired", bool(world.faults.fired))
