"""Triggers: what makes a task run, as declared when its item is added; declarations only, nothing is attached here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, Self, TypeAlias

from taktora.errors import DeclareTriggersError, ExecutorError
from taktora.executor.alarm import Alarm
from taktora.transport.base import ListenerPort

__all__ = [
    "AlarmTrigger",
    "CycleSource",
    "CycleTrigger",
    "Deadline",
    "DescriptorTrigger",
    "Duration",
    "EventSource",
    "EventTrigger",
    "IntervalTrigger",
    "Trigger",
    "TriggerDeclarer",
    "duration_ns",
]

Duration: TypeAlias = int | timedelta
"""A length of time: an int of nanoseconds, or a timedelta."""

_NS_PER_US = 1_000
_NS_PER_S = 1_000_000_000


def duration_ns(value: Duration, what: str, error: type[ExecutorError] = DeclareTriggersError) -> int:
    """Return ``value`` in nanoseconds, exactly.

    Raises:
        ExecutorError: (the ``error`` given) not an int or timedelta, or not above 0; the message begins with ``what``.
    """
    if isinstance(value, timedelta):
        value = (value.days * 86_400 + value.seconds) * _NS_PER_S + value.microseconds * _NS_PER_US
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{what} is {value!r}; give an int of nanoseconds or a datetime.timedelta"
        raise error(msg)
    if value <= 0:
        msg = f"{what} is {value} ns, which is not above 0"
        raise error(msg)
    return value


class EventSource(Protocol):
    """Anything with a listener: a channel's subscriber, a connector's reader, a server or a client."""

    @property
    def listener(self) -> ListenerPort: ...


# req: REQ_0122
class CycleSource(Protocol):
    """A cycle that somebody else paces, a fieldbus for example; tasks on it count as cyclic.

    A source that hears of its cycles through a port has an attribute ``listener: ListenerPort`` besides: the executor
    waits for that instead of calling :meth:`set_waker` with a waker, and ``take`` drains it.
    """

    @property
    def period_ns(self) -> int:
        """The declared period; above 0."""
        ...

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        """Have ``waker`` called, from any thread, whenever a cycle has completed."""
        ...

    def take(self) -> int:
        """Return how many cycles have completed since the last call; more than 1 means skipped slots."""
        ...


@dataclass(frozen=True, slots=True)
class IntervalTrigger:
    """Run on the absolute grid of ``period_ns``."""

    period_ns: int


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Run when ``listener`` is notified."""

    listener: ListenerPort


@dataclass(frozen=True, slots=True)
class Deadline:
    """Run when ``listener`` is notified, and when it was not for ``deadline_ns``."""

    listener: ListenerPort
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class AlarmTrigger:
    """Run at the instant that ``alarm`` is set to."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class DescriptorTrigger:
    """Run when ``fd`` is readable; a level: the item reads until nothing is left."""

    fd: int


@dataclass(frozen=True, slots=True)
class CycleTrigger:
    """Run after each completed cycle of ``source``."""

    source: CycleSource
    period_ns: int


Trigger: TypeAlias = IntervalTrigger | EventTrigger | Deadline | AlarmTrigger | DescriptorTrigger | CycleTrigger


# req: REQ_0001, REQ_0002, REQ_0010, REQ_0030
class TriggerDeclarer:
    """Collects the triggers of one task; each method returns the declarer, so that calls can be chained.

    One interval or one cycle stands alone. Several event triggers may be combined: a task runs once per wake however
    many of them fired, and drains all its inputs in that run.

    Args:
        task_id: Task named in refusals.
    """

    def __init__(self, task_id: str = "?") -> None:
        self.task_id = task_id
        self.triggers: list[Trigger] = []
        self.budget_ns: int | None = None

    # req: REQ_0001
    def interval(self, period: Duration) -> Self:
        """Run every ``period``, on an absolute grid that begins when the executor's loop is entered."""
        return self._add(IntervalTrigger(duration_ns(period, f"task {self.task_id!r}: interval period")))

    # req: REQ_0010
    def subscriber(self, source: EventSource) -> Self:
        """Run when a sample arrives at ``source``."""
        return self._add(EventTrigger(source.listener))

    # req: REQ_0030
    def deadline(self, source: EventSource, deadline: Duration) -> Self:
        """Run when a sample arrives, and when none did for ``deadline``; ``Context.deadline_missed`` tells which."""
        duration = duration_ns(deadline, f"task {self.task_id!r}: deadline on {source.listener.service!r}")
        return self._add(Deadline(source.listener, duration))

    def server(self, source: EventSource) -> Self:
        """Run when a request arrives."""
        return self._add(EventTrigger(source.listener))

    def client(self, source: EventSource) -> Self:
        """Run when a response arrives."""
        return self._add(EventTrigger(source.listener))

    def signal(self, source: EventSource) -> Self:
        """Run when the signal of this slot is sent."""
        return self._add(EventTrigger(source.listener))

    def raw_listener(self, listener: ListenerPort) -> Self:
        """Run when ``listener`` is notified."""
        return self._add(EventTrigger(listener))

    def alarm(self, alarm: Alarm) -> Self:
        """Run at the instant that ``alarm`` is set to; ``alarm.take`` tells whether that was it."""
        return self._add(AlarmTrigger(alarm))

    def raw_fd(self, fd: int) -> Self:
        """Run when the file descriptor is readable; not every reactor can wait for one."""
        if fd < 0:
            raise DeclareTriggersError(f"task {self.task_id!r}: raw_fd({fd}): a file descriptor is 0 or more")
        return self._add(DescriptorTrigger(fd))

    def cycle(self, source: CycleSource) -> Self:
        """Run after each cycle of ``source``; the task counts as cyclic with the declared period."""
        return self._add(CycleTrigger(source, duration_ns(source.period_ns, f"task {self.task_id!r}: cycle period")))

    def budget(self, budget: Duration) -> Self:
        """Fault the task when one run takes longer than ``budget``; for a chain or graph, its whole run."""
        if self.budget_ns is not None:
            raise DeclareTriggersError(f"task {self.task_id!r}: budget declared twice; a task has one")
        self.budget_ns = duration_ns(budget, f"task {self.task_id!r}: budget")
        return self

    @property
    def period_ns(self) -> int | None:
        """The declared period of a cyclic task, None for others."""
        for trigger in self.triggers:
            if isinstance(trigger, IntervalTrigger | CycleTrigger):
                return trigger.period_ns
        return None

    # req: REQ_0002
    def check(self) -> None:
        """Refuse a set of triggers that makes no sense together.

        Raises:
            DeclareTriggersError: no trigger, two intervals, or an interval or cycle beside another trigger.
        """
        cyclic = [t for t in self.triggers if isinstance(t, IntervalTrigger | CycleTrigger)]
        if not self.triggers:
            raise self._refusal("declares no trigger and would never run; declare one in declare_triggers")
        if len(cyclic) > 1:
            raise self._refusal(f"declares {len(cyclic)} intervals or cycles ({_names(cyclic)}); a task has one")
        if cyclic and len(self.triggers) > 1:
            raise self._refusal(f"mixes {_names(self.triggers)}; a cyclic task has no other trigger, use two tasks")

    def _add(self, trigger: Trigger) -> Self:
        self.triggers.append(trigger)
        return self

    def _refusal(self, what: str) -> DeclareTriggersError:
        return DeclareTriggersError(f"task {self.task_id!r} {what}")


def _names(triggers: list[Trigger] | list[IntervalTrigger | CycleTrigger]) -> str:
    return " and ".join(_name(trigger) for trigger in triggers)


def _name(trigger: Trigger) -> str:
    match trigger:
        case IntervalTrigger(period_ns):
            return f"interval of {period_ns} ns"
        case CycleTrigger(_, period_ns):
            return f"cycle of {period_ns} ns"
        case AlarmTrigger(alarm):
            return f"alarm {alarm.name!r}"
        case DescriptorTrigger(fd):
            return f"file descriptor {fd}"
        case EventTrigger(listener):
            return f"listener {listener.service!r}"
        case Deadline(listener, deadline_ns):
            return f"deadline of {deadline_ns} ns on {listener.service!r}"
