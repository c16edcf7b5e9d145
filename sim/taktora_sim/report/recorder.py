"""Collects what the page of a run shows: signals, events, notices, health and checks; it never changes the run."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora.recording import SEVERITIES, Severity

if TYPE_CHECKING:
    from taktora.connector.health import ConnectorHealth, HealthMonitor
    from taktora_sim.trace import Recorder
    from taktora_sim.world import World

__all__ = ["Check", "Event", "HealthChange", "RunRecorder", "Samples"]

_MAX_SAMPLES = 1 << 17
_pack_value = struct.Struct("<d").pack
_SEVERITY_BYTES = {severity: bytes((number,)) for number, severity in enumerate(SEVERITIES)}


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


# req: REQ_8002, REQ_8004
class RunRecorder:
    """The Recorder of a World: everything is kept with its virtual time, in order.

    What a user chooses, the values of signals and the words of events and checks, goes to the trace too: whoever looks
    at them looks at what the hash of the run covers. What the framework says in a notice or a finding, and the reason
    of a move of health, stay out of it: they follow from what is recorded, and may quote an exception.

    Records: ``app/<app>/signal/<name>`` has one ``unit`` (UTF-8) for each time it was declared, then one ``signal`` (a
    little-endian float64) per value; ``app/<app>/event`` has one ``event`` (u8 severity, text in UTF-8) each. Without
    an App they are called ``world/signal/<name>`` and ``world/event``. ``world/check`` has one ``check`` each (u8 1 for
    one that holds, name and detail in UTF-8 with a zero byte between).
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.signals: dict[str, Samples] = {}
        """By name, in order of declaration."""
        self.events: list[Event] = []
        self.health: list[HealthChange] = []
        self.checks: list[Check] = []
        self.tolerates_item_errors = False
        """True: exceptions and exceeded budgets of items do not fail the run; for scenarios that provoke them."""
        self._channels: dict[str, Recorder] = {}
        """Of events and checks, by component path."""

    def signal(self, name: str, unit: str = "", app: str = "") -> Callable[[float], None]:
        """Return the function that records a new value of the signal ``name`` now; IntEnum values bring their names."""
        draw = self.plot(name, unit)
        path = f"{_owner(app)}/signal/{name}"
        trace = self._world.trace.channel(path, "signal")
        self._world.trace.channel(path, "unit")(unit.encode())  # the order of declaration is the order of the plots

        def record(value: float) -> None:
            number = draw(value)
            # Processors differ in the sign of the NaN that inf - inf yields.
            trace(_pack_value(number if number == number else math.nan))

        return record

    def plot(self, name: str, unit: str = "") -> Callable[[float], float]:
        """Return the same for what the trace has already, as the process data of a bus: it is drawn, and stays out."""
        samples = self.signals.setdefault(name, Samples(name, unit))
        now_ns = self._world.now_ns

        def draw(value: float) -> float:
            number = value
            if type(value) is not float:  # which it nearly always is
                if isinstance(value, IntEnum) and int(value) not in samples.labels:
                    samples.labels |= {int(member): member.name for member in type(value)}
                number = float(value)
            samples.add(now_ns(), number)
            return number

        return draw

    def event(self, text: str, severity: Severity = "info", app: str = "") -> None:
        """Record that something worth reading happened now, in words that are the same in each run of a seed.

        Raises:
            ConfigurationError: there is no such severity.
        """
        if severity not in _SEVERITY_BYTES:
            known = ", ".join(SEVERITIES)
            raise ConfigurationError(f"event {text!r}: severity {severity!r} is none; give one of {known}")
        self._trace(f"{_owner(app)}/event", "event", _SEVERITY_BYTES[severity] + _utf8(text))
        self.notice(text, severity)

    def notice(self, text: str, severity: Severity = "info") -> None:
        """Show what the framework has to say now; kept with the events, not in the trace."""
        self.events.append(Event(self._world.now_ns(), severity, text))

    def check(self, name: str, ok: bool, detail: str = "") -> bool:
        """Record whether the statement ``name`` holds now, and return it; one that does not fails the run."""
        self._trace("world/check", "check", b"%c%b\0%b" % (bool(ok), _utf8(name), _utf8(detail)))
        return self.finding(name, ok, detail)

    def finding(self, name: str, ok: bool, detail: str = "") -> bool:
        """Keep a check that the framework has made by itself; like the others, but not in the trace."""
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

    def _trace(self, path: str, kind: str, payload: bytes) -> None:
        channel = self._channels.get(path)
        if channel is None:
            channel = self._channels[path] = self._world.trace.channel(path, kind)
        channel(payload)


def _utf8(text: str) -> bytes:
    # An exception given in place of a text is shown as its text everywhere else, too.
    return str(text).encode(errors="backslashreplace")


def _owner(app: str) -> str:
    return f"app/{app}" if app else "world"
