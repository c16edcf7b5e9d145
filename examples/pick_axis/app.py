"""The pick axis: takes parts from a chute, one by one, and puts them on a belt.

This file is the whole application. It names the devices of machine.yaml and nothing that stands behind them, so it runs
unchanged on a simulated segment in virtual time (`taktora sim run scenario.py`), and on a network interface
(`python app.py --bench bench.rig.toml`).
"""

from __future__ import annotations

from drive import FAULT_RESET, HOMING_START, controlword, state_of
from images import AxisIn, AxisOut, Lamps, Sensors, Valves
from sequence import Coil, Sequence, Step

from taktora import App, Context

__all__ = ["build"]

WORDS = {
    Step.OFF: "the drive is off; yellow: start is awaited",
    Step.ENABLING: "start: the drive is being enabled",
    Step.HOMING: "the drive looks for its reference",
    Step.STOPPING: "stop: the axis slows down",
    Step.RESETTING: "reset: trouble is acknowledged",
}
"""What the operator is told of a step; those of the work are one."""


def words(step: Step) -> str:
    """Return what the operator is told of a step without trouble."""
    return WORDS.get(step, "green: at work")


def build() -> App:
    """Return the application with fresh state."""
    app = App("pick-axis", machine="machine.yaml")

    cell = app.ethercat("cell")
    axis = cell.device("axis", AxisIn, AxisOut)
    sensors = cell.device("sensors", Sensors)
    valves = cell.device("valves", outputs=Valves)
    lamps = cell.device("lamps", outputs=Lamps)

    position = app.signal("position", unit="mm")
    target = app.signal("target", unit="mm")
    following_error = app.signal("following error", unit="mm")
    velocity = app.signal("velocity", unit="mm/s")
    step = app.signal("step of the sequence")
    parts = app.signal("parts on the belt")

    sequence = Sequence()

    @app.cyclic(on=axis.cycle, budget_us=1000)
    def control(ctx: Context) -> None:
        before = sequence.step
        seen = axis.inputs
        fresh = axis.fresh and sensors.fresh
        orders = sequence.advance(seen, sensors.inputs, axis.cycle.period_ns / 1e9, fresh=fresh)

        word = controlword(state_of(seen.statusword), orders.power)
        word |= HOMING_START * orders.search | FAULT_RESET * orders.reset
        axis.outputs = AxisOut(word, orders.mode, orders.target)
        valves.outputs = Valves(close_gripper=orders.coil is Coil.CLOSE, open_gripper=orders.coil is Coil.OPEN)
        lamps.outputs = sequence.lamps(sensors.inputs)
        tell(ctx, before)

    @app.cyclic(on=axis.cycle, budget_us=500)
    def plot(_ctx: Context) -> None:
        if axis.fresh:  # a gap in the picture is better than a line that nobody measured
            seen = axis.inputs
            position.set(seen.position)
            following_error.set(seen.following_error)
            velocity.set(seen.velocity)
        target.set(axis.outputs.target)
        step.set(sequence.step)
        parts.set(sequence.parts)

    def tell(ctx: Context, before: Step) -> None:
        """Say what is new; the steps that come with every part are one."""
        if sequence.step in (Step.EMERGENCY, Step.FAULT) and sequence.step is not before:
            ctx.event(sequence.trouble, severity="alarm")
        elif words(sequence.step) != words(before):
            ctx.event(words(sequence.step))

    return app


if __name__ == "__main__":
    build().main()
