"""Collects what the page of a run shows: signals, events, health and checks; it never changes the run."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from taktora.recording import Severity

if TYPE_CHECKING:
    from taktora.connector.health import ConnectorHealth, HealthMonitor
    from taktora_sim.world import World

__all__ = ["Check", "Event", "HealthChange", "RunRecorder", "Samples"]

_MAX_SAMPLES = 1 << 17


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth reading that happened at ``t_ns``."""

    t_ns: int
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A connector entered ``state`` (Up, Connecting, Degraded, Down) at ``t_ns``; ``reason`` in words, or empty."""

    t_ns: int
    connector: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """A statement about the run and whether it held at ``t_ns``."""

    name: str
    ok: bool
    detail: str = ""
    t_ns: int = 0


class Samples:
    """The values of one signal; beyond 131072 of them neighbours are thinned out, extremes are kept."""

    __slots__ = ("labels", "name", "times_ns", "unit", "values")

    def __init__(self, name: str, unit: str) -> None:
        self.name = name
        self.unit = unit
        self.times_ns = array("q")
        self.values = array("d")
        self.labels: dict[int, str] = {}
        """Names of values, of a signal that members of an IntEnum were recorded of."""

    @property
    def is_boolean(self) -> bool:
        """Whether nothing but 0 and 1 was recorded; bool is one of them."""
        return not self.labels and all(value in (0.0, 1.0) for value in self.values)

    def add(self, t_ns: int, value: float) -> None:
        self.times_ns.append(t_ns)
        self.values.append(value)
        if len(self.values) > _MAX_SAMPLES:
            self._thin_out()

    def _thin_out(self) -> None:
        """Keep the smallest and the largest of each four neighbours, in order of time."""
        times_ns, values = array("q"), array("d")
        for start in range(0, len(self.values), 4):
            group = range(start, min(start + 4, len(self.values)))
            kept = {min(group, key=self.values.__getitem__), max(group, key=self.values.__getitem__)}
            for index in sorted(kept):
                times_ns.append(self.times_ns[index])
                values.append(self.values[index])
        self.times_ns, self.values = times_ns, values


class RunRecorder:
    """The Recorder of a World: everything is kept with its virtual time, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.signals: dict[str, Samples] = {}
        """By name, in order of declaration."""
        self.events: list[Event] = []
        self.health: list[HealthChange] = []
        self.checks: list[Check] = []
        self.tolerates_item_errors = False
        """True: exceptions and exceeded budgets of items do not fail the run; for scenarios that provoke them."""

    def signal(self, name: str, unit: str = "") -> Callable[[float], None]:
        """Return the function that records a new value of the signal ``name`` now; IntEnum values bring their names."""
        samples = self.signals.setdefault(name, Samples(name, unit))
        now_ns = self._world.now_ns

        def record(value: float) -> None:
            if isinstance(value, IntEnum) and int(value) not in samples.labels:
                samples.labels |= {int(member): member.name for member in type(value)}
            samples.add(now_ns(), float(value))

        return record

    def event(self, text: str, severity: Severity = "info") -> None:
        """Record that something worth reading happened now."""
        self.events.append(Event(self._world.now_ns(), severity, text))

    def check(self, name: str, ok: bool, detail: str = "") -> bool:
        """Record whether the statement ``name`` holds now, and return it; one that does not fails the run."""
        self.checks.append(Check(name, bool(ok), detail, self._world.now_ns()))
        return bool(ok)

    def watch(self, monitor: HealthMonitor) -> None:
        """Follow the health of a connector from now on; every move goes to the trace too, without its reason."""
        record = self._world.trace.channel(f"connector/{monitor.name}", "health")

        def note(health: ConnectorHealth) -> None:
            record(health.kind.value.encode())
            reason = getattr(health, "reason", None)
            text = "" if reason is None else str(reason)
            self.health.append(HealthChange(self._world.now_ns(), monitor.name, health.kind.value, text))

        note(monitor.current)
        monitor.add_listener(lambda event: note(event.target))
