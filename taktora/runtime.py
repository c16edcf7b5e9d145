"""The Runtime: clock, transport, reactors, entropy and back-ends of one world; it runs nothing itself.

An application never asks which world it is in. It is handed a Runtime: :meth:`Runtime.system` in the real worlds,
``world.runtime`` in a simulated one.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from itertools import count
from typing import Any, Literal, Protocol

from taktora.clock import Clock, SystemClock
from taktora.errors import ConfigurationError, RunnerJoinError
from taktora.executor import Executor, ExecutorBuilder
from taktora.executor.reactor import Reactor
from taktora.recording import LogRecorder, Recorder
from taktora.transport.base import Transport
from taktora.transport.scoped import ScopedTransport, machine_prefix

__all__ = ["Entropy", "RunHandle", "Runtime", "SystemEntropy"]


class Entropy(Protocol):
    """Randomness for back-off jitter and generated names; seeded in a simulated run."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def getrandbits(self, bits: int) -> int:
        """Return an int of ``bits`` random bits."""
        ...

    def name(self, prefix: str) -> str:
        """Return a name that begins with ``prefix`` and is unique in this run."""
        ...


class RunHandle(Protocol):
    """One executor that runs in the background: a thread, or a process of the World."""

    @property
    def error(self) -> BaseException | None:
        """What ended the run, or None."""
        ...

    def stop(self) -> None:
        """Ask the executor to stop."""
        ...

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the end and raise the run's error, if any.

        Raises:
            RunnerJoinError: the executor still runs after ``timeout_s``.
        """
        ...


# req: REQ_8013
@dataclass(slots=True, kw_only=True, eq=False)
class Runtime:
    """What differs between the worlds, in one bundle.

    Args:
        world: Short name of the kind of world: ``system`` or ``sim``; used to find back-ends, never by applications.
        clock: Monotonic and civil time.
        transport: Carries messages.
        entropy: Back-off jitter and generated names.
        make_reactor: Returns a new reactor for the executor of that name.
        start: Starts an executor in the background.
        prepare: Adds to each new builder what the world needs (its terminal action, its observers).
        on_bind: Told of each App that is bound: its name and its executors by name. A World offers faults of it.
        recorder: Takes the signals and events that an application shows.
        backends: Injected protocol back-ends by protocol name; others are found by entry point.
        context: Whatever the world's back-ends need to know (the World); applications leave it alone.
        apps: Names of the Apps that are bound to it now; each has its own.
        is_shared: Whether programs of other machines may be on the same transport, as on that of a computer.
    """

    world: str
    clock: Clock
    transport: Transport
    entropy: Entropy
    make_reactor: Callable[[str], Reactor]
    start: Callable[[Executor], RunHandle]
    prepare: Callable[[str, ExecutorBuilder], None] = lambda _name, _builder: None
    on_bind: Callable[[str, Mapping[str, Executor]], object] = lambda _app, _executors: None
    recorder: Recorder = field(default_factory=LogRecorder)
    backends: dict[str, Any] = field(default_factory=dict)
    context: Any = None
    apps: set[str] = field(default_factory=set)
    is_shared: bool = False

    @classmethod
    def system(cls, transport: Literal["auto", "iceoryx2", "inprocess"] | Transport = "auto") -> Runtime:
        """Return the runtime of the real worlds: system clock, threads, and shared memory where iceoryx2 is there.

        Args:
            transport: ``auto`` takes iceoryx2 on Linux and the in-process transport elsewhere; or a transport of your
                own making, for example ``IceoryxTransport(domain="cell-3")``. ``close`` closes it.
        """
        clock = SystemClock()
        carrier = _system_transport(transport) if isinstance(transport, str) else transport
        return cls(
            world="system",
            clock=clock,
            transport=carrier,
            entropy=SystemEntropy(),
            make_reactor=_system_reactors(clock, carrier),
            start=_ThreadRun,
            is_shared=True,
        )

    # req: REQ_0206
    def of_machine(self, name: str) -> Runtime:
        """Return the runtime for one machine: where the transport is shared, its services bear the machine's name.

        Two machines on one computer may both have a bus ``cell``; ``name/cell.image.out`` is the service of one of
        them. A World has a transport of its own and needs no such names.
        """
        if not self.is_shared:
            return self
        return replace(self, transport=ScopedTransport(self.transport, machine_prefix(name)))

    def executor_builder(self, name: str) -> ExecutorBuilder:
        """Return a builder for an executor on this runtime; ``name`` is its place in traces and thread lists."""
        builder = Executor.builder(
            clock=self.clock, transport=self.transport, reactor=self.make_reactor(name), name=name
        )
        self.prepare(name, builder)
        return builder

    def backend(self, protocol: str) -> Any:
        """Return the back-end factory for ``protocol`` in this world.

        Raises:
            ConfigurationError: no installed package brings one.
        """
        if protocol in self.backends:
            return self.backends[protocol]
        name = f"{self.world}.{protocol}"
        found = entry_points(group="taktora.backends", name=name)
        if not found:
            known = sorted(point.name for point in entry_points(group="taktora.backends"))
            msg = f"no back-end {name!r} is installed (found: {', '.join(known) or 'none'}); pip install 'taktora[all]'"
            raise ConfigurationError(msg)
        self.backends[protocol] = next(iter(found)).load()
        return self.backends[protocol]

    def close(self) -> None:
        """Close the transport; idempotent."""
        self.transport.close()


def _system_transport(name: str) -> Transport:
    if name == "iceoryx2" or (name == "auto" and sys.platform == "linux"):
        from taktora.transport.iceoryx import IceoryxTransport

        return IceoryxTransport()
    from taktora.transport.inprocess import InProcessTransport

    return InProcessTransport()


# req: REQ_8020
def _system_reactors(clock: Clock, transport: Transport) -> Callable[[str], Reactor]:
    from taktora.executor.portable import PortableReactor
    from taktora.transport.inprocess import InProcessTransport

    if isinstance(transport, InProcessTransport):
        return lambda _name: PortableReactor(clock)
    from taktora.executor.waitset import WaitSetReactor

    return lambda _name: WaitSetReactor(clock)


class SystemEntropy:
    """Randomness of the operating system."""

    def __init__(self) -> None:
        source = random.SystemRandom()
        self.random = source.random
        self.getrandbits = source.getrandbits
        self._count = count(1)

    def name(self, prefix: str) -> str:
        return f"{prefix}-{os.getpid()}-{next(self._count)}"


class _ThreadRun:
    """An executor in a thread of its own; the thread's error is kept for ``join``."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"taktora-{executor.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._executor.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self._executor.stoppable().stop()

    def join(self, timeout_s: float = 5.0) -> None:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            msg = f"executor {self._executor.name!r} still runs {timeout_s} s after it was asked to stop"
            raise RunnerJoinError(msg)
        if self.error is not None:
            raise self.error
