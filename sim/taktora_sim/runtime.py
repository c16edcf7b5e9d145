"""The Runtime of a World: executors as processes of the World, traced and in virtual time."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError, RunnerJoinError
from taktora.executor import ExecutionMonitor
from taktora.runtime import RunHandle, Runtime
from taktora_sim.appfaults import AppFaults
from taktora_sim.itemwatch import ItemWatch
from taktora_sim.reactor import SimReactor
from taktora_sim.trace import Recorder
from taktora_sim.world import WorldAborted

if TYPE_CHECKING:
    from taktora.executor import Executor, ExecutorBuilder
    from taktora_sim.world import World

__all__ = ["make_runtime"]

_pack_run = struct.Struct("<BQ").pack


# req: REQ_8010, REQ_8013
def make_runtime(world: World) -> Runtime:
    """Return the runtime that binds applications to ``world``."""

    def make_reactor(name: str) -> SimReactor:
        reactor = SimReactor(world, name)
        world.on_close(reactor.close)
        return reactor

    def start(executor: Executor) -> RunHandle:
        world.executions.know(executor.name, executor.task_ids)
        return _WorldRun(world, executor, _reactor_of(executor))

    def prepare(name: str, builder: ExecutorBuilder) -> None:
        builder.monitor(_Tracer(world, name))
        builder.observer(ItemWatch(world, name))
        builder.terminal(_abort_world)

    return Runtime(
        world="sim",
        clock=world,
        transport=world.transport,
        entropy=world.entropy,
        make_reactor=make_reactor,
        start=start,
        prepare=prepare,
        recorder=world.recorder,
        on_bind=world.part(AppFaults).bound,
        context=world,
    )


def _reactor_of(executor: Executor) -> SimReactor:
    """Return the reactor an executor was built with: several executors may bear one name."""
    reactor = executor.reactor
    if not isinstance(reactor, SimReactor):
        msg = f"executor {executor.name!r} was not built on this world; build it by world.runtime.executor_builder"
        raise ConfigurationError(msg)
    return reactor


def _abort_world() -> None:
    msg = "a broken invariant of the framework ended the simulated process"
    raise WorldAborted(msg)


class _Tracer(ExecutionMonitor):
    """Records each run of a task: whether it succeeded and the time it took."""

    def __init__(self, world: World, name: str) -> None:
        self._trace = world.trace
        self._name = name
        self._records: dict[str, Recorder] = {}
        self._marks: dict[str, Callable[[], None]] = {}

    def post_execute(self, task_id: str, started_at_ns: int, took_ns: int, ok: bool) -> None:  # noqa: ARG002
        if ok and not took_ns:  # nearly every run
            mark = self._marks.get(task_id)
            if mark is None:
                mark = self._trace.marker(self._path(task_id), "run", _pack_run(True, 0))
                self._marks[task_id] = mark
            mark()
            return
        if task_id not in self._records:
            self._records[task_id] = self._trace.channel(self._path(task_id), "run")
        self._records[task_id](_pack_run(ok, took_ns))

    def _path(self, task_id: str) -> str:
        return f"executor/{self._name}/{task_id}"


class _WorldRun:
    """An executor that runs as a process of the World."""

    def __init__(self, world: World, executor: Executor, reactor: SimReactor) -> None:
        self.error: BaseException | None = None
        self._world = world
        self._executor = executor
        self._reactor = reactor
        self._ended = False
        reactor.launch(executor.start_loop(), self._on_end)

    def _on_end(self, error: BaseException | None) -> None:
        self._ended = True
        self.error = error
        if error is not None:
            self._world.fail(error)

    def stop(self) -> None:
        self._executor.stoppable().stop()

    def join(self, timeout_s: float = 5.0) -> None:
        self._reactor.release_all()
        if not self._ended and not self._world.run_until(lambda: self._ended, int(timeout_s * 1e9)):
            msg = f"executor {self._executor.name!r} still runs {timeout_s} virtual s after it was asked to stop"
            raise RunnerJoinError(msg)
        if self.error is not None:
            raise self.error
