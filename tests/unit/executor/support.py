"""What the executor's tests share: rigs on each reactor, and a recorder of everything observers and monitors see."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from taktora.clock import Clock, SystemClock
from taktora.executor import (
    Context,
    CycleObservation,
    ExecutableItem,
    ExecutionMonitor,
    Executor,
    ExecutorBuilder,
    HeartbeatTick,
    ItemFlow,
    Observer,
    TriggerDeclarer,
    item_with_triggers,
)
from taktora.executor.portable import PortableReactor
from taktora.executor.reactor import ExecutionModel, Loop, Reactor
from taktora.testing.mock_reactor import ManualClock, ManualReactor
from taktora.transport.base import Transport
from taktora.transport.inprocess import InProcessTransport

MS = 1_000_000
US = 1_000
S = 1_000_000_000


class Number(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64),)


class Bell:
    """A listener port that ``notify`` rings; also an event source that triggers can name."""

    native: object | None = None

    def __init__(self, service: str = "bell") -> None:
        self.service = service
        self._rung = False
        self._waker: Callable[[], None] | None = None

    @property
    def listener(self) -> Bell:
        return self

    def notify(self) -> int:
        self._rung = True
        if self._waker is None:
            return 0
        self._waker()
        return 1

    def tell(self) -> None:
        self.notify()

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        self._waker = waker
        if waker is not None and self._rung:
            waker()

    def drain(self) -> bool:
        rung, self._rung = self._rung, False
        return rung

    def close(self) -> None:
        self._waker = None


@dataclass
class Rig:
    """One clock, one reactor, one transport, and builders on them."""

    clock: Clock
    reactor: Reactor
    transport: Transport

    def builder(self, name: str = "test") -> ExecutorBuilder:
        return Executor.builder(clock=self.clock, transport=self.transport, reactor=self.reactor, name=name)


@dataclass
class ManualRig(Rig):
    clock: ManualClock
    reactor: ManualReactor


def manual_rig(model: ExecutionModel | None = None, late_by_ns: Iterable[int] = ()) -> ManualRig:
    clock = ManualClock()
    return ManualRig(clock, ManualReactor(clock, model, late_by_ns), InProcessTransport())


def portable_rig() -> Rig:
    clock = SystemClock()
    return Rig(clock, PortableReactor(clock), InProcessTransport())


def waitset_rig() -> Rig:
    from taktora.executor.waitset import WaitSetReactor

    clock = SystemClock()
    return Rig(clock, WaitSetReactor(clock), InProcessTransport())


RIGS: dict[str, Callable[[], Rig]] = {"manual": manual_rig, "portable": portable_rig, "waitset": waitset_rig}


def every(
    period_ns: int, execute: Callable[[Context], ItemFlow | None], budget_ns: int | None = None
) -> ExecutableItem:
    """An item on an interval, with a budget if wanted."""

    def declare(declarer: TriggerDeclarer) -> None:
        declarer.interval(period_ns)
        if budget_ns is not None:
            declarer.budget(budget_ns)

    return item_with_triggers(declare, execute)


class Counter:
    """An execute function that counts its runs, and does something else if told to."""

    def __init__(self, then: Callable[[int], Any] | None = None) -> None:
        self.runs = 0
        self._then = then

    def __call__(self, context: Context) -> ItemFlow | None:
        del context
        self.runs += 1
        result = self._then(self.runs) if self._then is not None else None
        return result if isinstance(result, ItemFlow) else None


def counted(reactor: Reactor) -> list[object]:
    """Return a list that grows with each wait that ``reactor`` ends from now on."""
    drive, waits = reactor.drive, list[object]()

    def drive_counted(loop: Loop) -> None:
        drive(_counting(loop, waits))

    reactor.drive = drive_counted  # type: ignore[method-assign]
    return waits


def _counting(loop: Loop, waits: list[object]) -> Loop:
    try:
        request = next(loop)
        while True:
            fired = yield request
            waits.append(fired)
            request = loop.send(fired)
    except StopIteration:
        return
    finally:
        loop.close()


class Recorder(Observer, ExecutionMonitor):
    """Keeps every call as ``(hook, arguments)``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def named(self, hook: str) -> list[tuple[Any, ...]]:
        return [arguments for name, arguments in self.calls if name == hook]

    @property
    def cycles(self) -> list[CycleObservation]:
        return [arguments[0] for arguments in self.named("on_cycle_stats")]

    @property
    def ticks(self) -> list[HeartbeatTick]:
        return [arguments[0] for arguments in self.named("on_heartbeat")]


def _recording(hook: str) -> Callable[..., None]:
    def record(self: Recorder, *arguments: Any) -> None:
        self.calls.append((hook, arguments))

    return record


for _name in [*vars(Observer), *vars(ExecutionMonitor)]:
    if not _name.startswith("__"):
        setattr(Recorder, _name, _recording(_name))
