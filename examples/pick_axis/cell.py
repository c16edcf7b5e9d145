"""The unchanged application on a simulated cell, and what was to be seen of it from outside; it commands nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from app import build
from plant import Plant
from sequence import AT_WORK, Step

from taktora_sim.ethercat.backend import segment_of
from taktora_sim.ethercat.devices import DigitalOutputs, device_of
from taktora_sim.faults import FiredFault
from taktora_sim.report.recorder import Event, Samples
from taktora_sim.world import World

__all__ = ["MS", "Cell", "Outcome", "S", "Stay"]

MS = 1_000_000
S = 1_000 * MS
AT_REST_MM = 0.001
"""What the carriage may move within a millisecond and count as standing."""


class Stay(NamedTuple):
    """A time in one step of the sequence; `until_ns` is the end of the run for the last one."""

    step: Step
    since_ns: int
    until_ns: int


class Outcome(NamedTuple):
    """What the application made of a fault; times count from its begin."""

    fault: str
    code: str
    """Of the first alarm after it; empty: there was none."""
    named_ns: int | None
    stopping_ns: int
    """How long the carriage went on, until the drive was enabled anew."""
    again_ns: int | None
    """When the machine was at work again; None: not in this run."""
    homed: bool
    """Whether the drive has found its reference before that."""


class Cell:
    """Application, segment and plant in `world`, from virtual zero.

    Args:
        world: Where they run.
        patience_s: Of the operator at the panel; None: nobody is there, `plant.panel` is yours.
    """

    def __init__(self, world: World, patience_s: float | None = None) -> None:
        self.world = world
        self.app = build()
        self.bound = self.app.bind(world.runtime)
        world.on_close(self.bound.close)
        self.segment = segment_of(world, "cell")
        self.plant = Plant(self.segment, patience_s)
        self.way: list[tuple[int, float]] = []
        """Where the carriage was, in ns and mm, every millisecond in which it moved."""
        self.plant.axis.on_move(lambda position_mm: self.way.append((world.now_ns(), position_mm)))
        self.bound.start()

    def outputs(self, label: str) -> Callable[[], tuple[bool, ...]]:
        """Return what tells the channels of a terminal with outputs."""
        terminal = device_of(self.segment, label, DigitalOutputs)
        return lambda: terminal.states

    @property
    def step(self) -> Step:
        """Where the sequence is now."""
        return Step(int(self._steps.values[-1])) if self._steps.values else Step.OFF

    @property
    def stays(self) -> list[Stay]:
        """The steps so far, as the application has plotted them."""
        stays: list[Stay] = []
        for at_ns, value in zip(self._steps.times_ns, self._steps.values, strict=True):
            if not stays or stays[-1].step != value:
                stays.append(Stay(Step(int(value)), at_ns, self.world.now_ns()))
                if len(stays) > 1:
                    stays[-2] = stays[-2]._replace(until_ns=at_ns)
        return stays

    def outcome(self, fault: FiredFault) -> Outcome:
        """Return what the application made of a fault, up to now."""
        begin_ns, name = fault.started_ns, f"{fault.entry.target} {fault.entry.kind}"
        alarm = next((each for each in self._alarms if each.t_ns >= begin_ns), None)
        if alarm is None:
            return Outcome(name, "", None, self.stopping_ns(begin_ns), None, homed=False)
        later = [stay for stay in self.stays if stay.since_ns > alarm.t_ns]
        again_ns = next((stay.since_ns for stay in later if stay.step in AT_WORK), None)
        return Outcome(
            fault=name,
            code=alarm.text.partition(":")[0],
            named_ns=alarm.t_ns - begin_ns,
            stopping_ns=self.stopping_ns(begin_ns),
            again_ns=None if again_ns is None else again_ns - begin_ns,
            homed=any(stay.step is Step.HOMING and stay.since_ns < (again_ns or 0) for stay in later),
        )

    @property
    def alarms(self) -> list[str]:
        """The codes of the alarms so far."""
        return [event.text.partition(":")[0] for event in self._alarms]

    def until(self, step: Step, within_ns: int = 30 * S) -> None:
        """Run until the sequence is in that step."""
        if not self.world.run_until(lambda: self.step is step, within_ns):
            told = "; ".join(event.text for event in self._alarms) or "none"
            raise AssertionError(f"{step.name} was not reached, it is in {self.step.name}; alarms: {told}")

    def begin_work(self) -> None:
        """Wait for the drive, press start, wait for the first time that the machine waits for a part."""
        self.world.run_for(1 * S)
        self.plant.panel.start.press(200 * MS)
        self.until(Step.WAITING)

    def stopping_ns(self, since_ns: int) -> int:
        """Return how long the carriage went on after that instant, until the drive was enabled anew."""
        restarts = (stay.since_ns for stay in self.stays if stay.step is Step.ENABLING and stay.since_ns > since_ns)
        until_ns = next(restarts, self.world.now_ns())
        last_ns, last_mm = since_ns, None
        for at_ns, mm in self.way[bisect_left(self.way, (since_ns, float("-inf"))) :]:
            if at_ns >= until_ns:
                break
            if last_mm is not None and abs(mm - last_mm) > AT_REST_MM:
                last_ns = at_ns
            last_mm = mm
        return last_ns - since_ns

    @property
    def _alarms(self) -> list[Event]:
        return [event for event in self.world.recorder.events if event.severity == "alarm"]

    @property
    def _steps(self) -> Samples:
        return self.world.recorder.signals["step of the sequence"]
