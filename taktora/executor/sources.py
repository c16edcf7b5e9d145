"""The attachments of one run: which key stands for which source, which tasks it runs, and which deadlines it resets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from taktora.errors import ShutdownError
from taktora.executor.triggers import AlarmTrigger, CycleTrigger, Deadline, DescriptorTrigger, EventTrigger
from taktora.transport.base import ListenerPort

if TYPE_CHECKING:
    from taktora.executor.alarm import Alarm
    from taktora.executor.reactor import Reactor
    from taktora.executor.task import Task
    from taktora.executor.triggers import CycleSource

__all__ = ["ArmedDeadline", "Sources"]

_BY_INDEX = attrgetter("index")


class ArmedDeadline:
    """A deadline trigger in a run: when it is missed unless its source fires before."""

    __slots__ = ("due_ns", "duration_ns", "task")

    def __init__(self, task: Task, duration_ns: int) -> None:
        self.task = task
        self.duration_ns = duration_ns
        self.due_ns = 0


class _Source:
    """One attached thing; ``take`` empties it and tells how often it fired."""

    __slots__ = ("cycle", "deadlines", "listener", "lone", "take", "tasks")

    def __init__(self, take: Callable[[], int], listener: ListenerPort | None, cycle: CycleSource | None) -> None:
        self.take = take
        self.listener = listener
        self.cycle = cycle
        self.tasks: list[Task] = []
        self.lone: Task | None = None
        """The only task, where there is one; set before the run."""
        self.deadlines: list[ArmedDeadline] = []


def _once() -> int:
    """A readable descriptor: its item reads it."""
    return 1


class Sources:
    """Everything but intervals that makes the tasks of one executor run.

    A listener that several tasks declared is attached once and runs all of them.

    Args:
        tasks: The task table; keys ascend with it.
        on_missed: Monitors' hooks for missed deadlines.
    """

    def __init__(self, tasks: Sequence[Task], on_missed: tuple[Callable[[str, int, int], object], ...]) -> None:
        self._on_missed = on_missed
        self._sources: list[_Source] = []
        self._attached: list[int] = []
        self._reactor: Reactor | None = None
        self._descriptors: dict[int, int] = {}
        self.deadlines: list[ArmedDeadline] = []
        self._alarms: list[tuple[Alarm, Task]] = []
        for task in tasks:
            for trigger in task.triggers:
                match trigger:
                    case EventTrigger(listener):
                        self._of_listener(listener).tasks.append(task)
                    case Deadline(listener, deadline_ns):
                        self._add_deadline(self._of_listener(listener), task, deadline_ns)
                    case AlarmTrigger(alarm):
                        self._alarms.append((alarm, task))
                    case CycleTrigger(source, _):
                        self._of_cycle(source).tasks.append(task)
                    case DescriptorTrigger(fd):
                        self._descriptor(fd, task)
        for known in self._sources:
            known.lone = known.tasks[0] if len(known.tasks) == 1 else None
        self.timed = bool(self.deadlines or self._alarms)
        """Whether any task waits for a deadline or an alarm."""

    def attach(self, reactor: Reactor, now_ns: int) -> None:
        """Attach everything and start the deadlines."""
        self._reactor = reactor
        for key, source in enumerate(self._sources):
            if source.listener is not None:
                reactor.attach(key, source.listener)
            elif source.cycle is not None:
                source.cycle.set_waker(reactor.waker(key))
            else:
                reactor.attach(key, self._descriptors[key])
            self._attached.append(key)
        for deadline in self.deadlines:
            deadline.due_ns = now_ns + deadline.duration_ns

    def detach(self, reactor: Reactor) -> None:
        """Undo ``attach``, also where it failed half-way."""
        while self._attached:
            self._detach(reactor, self._attached.pop())

    def _detach(self, reactor: Reactor, key: int) -> None:
        source = self._sources[key]
        if source.cycle is not None and source.listener is None:
            source.cycle.set_waker(None)
        else:
            reactor.detach(key)

    def _drop(self, key: int) -> None:
        """Detach a source whose port an item has closed: what nobody can drain would wake the loop for ever."""
        if self._reactor is not None and key in self._attached:
            self._attached.remove(key)
            self._detach(self._reactor, key)

    # req: REQ_0010, REQ_0854
    def collect_fired(self, fired: Sequence[int], now_ns: int, ready: list[Task]) -> None:
        """Empty each source that fired and add its tasks in order; one that turns out to be empty runs nothing."""
        sources = self._sources
        for key in fired:
            source = sources[key]
            take = source.take  # Python 3.11 calls a local faster than an attribute that holds a function
            try:
                count = take()
            except ShutdownError:
                self._drop(key)
                continue
            if not count:
                continue
            if source.deadlines:
                for deadline in source.deadlines:
                    deadline.due_ns = now_ns + deadline.duration_ns
            task = source.lone
            if task is None:
                for each in source.tasks:
                    self._add(each, count, ready)
                continue
            context = task.context  # _add, in place: nearly every source runs one task
            context.event_fired = True
            if not task.pending:
                task.pending = True
                task.skipped = count - 1
                context.deadline_missed = False
                ready.append(task)
        if len(ready) > 1:
            ready.sort(key=_BY_INDEX)

    # req: REQ_0030, TSR_0004
    def collect_missed(self, now_ns: int, ready: list[Task]) -> None:
        """Add the tasks whose deadline has passed, tell the monitors, and start the deadline anew."""
        for deadline in self.deadlines:
            late_by_ns = now_ns - deadline.due_ns
            if late_by_ns < 0:
                continue
            deadline.due_ns = now_ns + deadline.duration_ns - late_by_ns % deadline.duration_ns
            task = deadline.task
            for hook in self._on_missed:
                hook(task.id, now_ns, late_by_ns)
            if not task.pending:
                task.pending = True
                task.skipped = 0
                task.context.event_fired = False
                ready.append(task)
            task.context.deadline_missed = True

    def collect_rung(self, now_ns: int, ready: list[Task]) -> None:
        """Let each alarm ring whose instant has come, and add its task."""
        for alarm, task in self._alarms:
            due_ns = alarm.due_ns
            if due_ns is None or due_ns > now_ns:
                continue
            alarm.due_ns, alarm.rung = None, True
            if not task.pending:
                task.pending = True
                task.skipped = 0
                task.context.deadline_missed = False
                ready.append(task)
            task.context.event_fired = True

    @staticmethod
    def _add(task: Task, count: int, ready: list[Task]) -> None:
        """Have ``task`` run in this wake for a source that fired ``count`` times."""
        task.context.event_fired = True
        if not task.pending:
            task.pending = True
            task.skipped = count - 1
            task.context.deadline_missed = False
            ready.append(task)

    def earlier(self, due_ns: int | None) -> int | None:
        """Return ``due_ns``, or the earliest deadline or alarm if that is earlier; None is never."""
        if self.deadlines:
            for deadline in self.deadlines:
                if due_ns is None or deadline.due_ns < due_ns:
                    due_ns = deadline.due_ns
        for alarm, _task in self._alarms:
            rings_ns = alarm.due_ns
            if rings_ns is not None and (due_ns is None or rings_ns < due_ns):
                due_ns = rings_ns
        return due_ns

    def _of_listener(self, listener: ListenerPort) -> _Source:
        for source in self._sources:
            if source.listener is listener:
                return source
        source = _Source(listener.drain, listener, None)
        self._sources.append(source)
        return source

    def _of_cycle(self, cycle: CycleSource) -> _Source:
        for source in self._sources:
            if source.cycle is cycle:
                return source
        source = _Source(cycle.take, getattr(cycle, "listener", None), cycle)
        self._sources.append(source)
        return source

    def _descriptor(self, fd: int, task: Task) -> None:
        for key, known in self._descriptors.items():
            if known == fd:
                self._sources[key].tasks.append(task)
                return
        self._descriptors[len(self._sources)] = fd
        source = _Source(_once, None, None)
        source.tasks.append(task)
        self._sources.append(source)

    def _add_deadline(self, source: _Source, task: Task, deadline_ns: int) -> None:
        armed = ArmedDeadline(task, deadline_ns)
        source.tasks.append(task)
        source.deadlines.append(armed)
        self.deadlines.append(armed)
