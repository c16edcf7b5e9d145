"""An App that is bound to a runtime: its connectors, channels and executors, started and closed together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from taktora.app.app import App, Context, Declaration
from taktora.app.bench import Bench, load_bench
from taktora.app.bind_ethercat import CycleHead, bind_ethercat, commit_item, cycle_budget_ns, declare_cycle
from taktora.app.can import bind_can
from taktora.app.files import nearest
from taktora.app.handles import Channel, Reader
from taktora.app.machine import Machine, load_machine
from taktora.connector import ChannelReader, ChannelWriter, ConnectorHealth, ConnectorHost, HealthSubscription
from taktora.errors import AlreadyRunning, ConfigurationError
from taktora.executor import (
    CycleSource,
    ExecutableItem,
    Executor,
    ExecutorBuilder,
    ItemFlow,
    Observer,
    Stoppable,
    ThreadAttributes,
    TriggerDeclarer,
)
from taktora.places import declared_at
from taktora.transport.base import ListenerPort, event_service_name

if TYPE_CHECKING:
    from taktora.app.ethercat import EthercatBus
    from taktora.codec.base import Codec
    from taktora.codec.dbc import Dbc
    from taktora.executor import Context as ExecutorContext
    from taktora.runtime import RunHandle, Runtime

__all__ = ["BoundApp"]

MAIN = "main"


# req: REQ_8021
class BoundApp:
    """What ``App.bind`` returns; a context manager that closes everything.

    Args:
        app: The declarations.
        runtime: The world.
        machine: Path of the machine file, a machine, or None.
        bench: Path of the bench file, a bench, or None for the world's defaults.
    """

    def __init__(self, app: App, runtime: Runtime, machine: Path | Machine | None, bench: Path | Bench | None) -> None:
        self.app = app
        self.machine = _machine(app, machine)
        self.runtime = runtime if machine is None else runtime.of_machine(self.machine.machine)
        self.bench = load_bench(bench, self.machine) if isinstance(bench, Path) else (bench or Bench())
        self.bench_place = str(bench or "no bench file") if not isinstance(bench, Bench) else f"bench {bench.bench!r}"
        """Where the bench is written, for messages: its file, if it has one."""
        self._check_executors()
        builder = ConnectorHost.builder(self.runtime, app.name)
        self._give_thread(MAIN, builder.executor)
        self.host = builder.build()
        self.executors: dict[str, Executor] = {MAIN: self.host.executor}
        self.dbcs: dict[str, Dbc] = {}
        """The loaded DBC of each CAN bus, by resource name: its message classes are attributes."""
        self._listeners: list[ListenerPort] = []
        self._ports: list[ChannelReader[Any, Any] | ChannelWriter[Any, Any]] = []
        self._running: list[RunHandle] = []
        self._ran = False
        self._closed = False
        try:
            self._open(*(given.parent if isinstance(given, Path) else Path() for given in (machine, bench)))
        except BaseException:
            self.close()
            raise
        runtime.on_bind(app.name, self.executors)

    @property
    def health(self) -> dict[str, ConnectorHealth]:
        """Health of each resource, by its name."""
        return {connector.name: connector.health() for connector in self.host.gateway.connectors}

    @property
    def troubles(self) -> list[str]:
        """What went wrong in items so far, in words: contained exceptions and tasks that are faulted."""
        found = []
        for name, executor in self.executors.items():
            found += [f"{name}/{task} failed {count} times" for task, count in executor.item_failures.items()]
            found += [f"{name}/{task} is faulted and no longer runs" for task in executor.faulted_tasks]
        return found

    def start(self) -> None:
        """Start gateways and all executors in the background, once.

        Raises:
            AlreadyRunning: somebody has started it, as ``bind()`` of an EthercatBench does.
        """
        self._refuse_second_start("start()")
        self.host.gateway.start()
        self._start(self.executors)

    def run(self, duration_ns: int | None = None) -> None:
        """Run the main executor in this thread and the others beside it, until the time is over or a signal comes.

        Args:
            duration_ns: How long; None: until SIGINT, SIGTERM or ``stop``.
        """
        from taktora.executor.signals import stop_on_signals

        self._refuse_second_start("run()")
        self._start(name for name in self.executors if name != MAIN)
        with stop_on_signals([self.host.stoppable()]):
            if duration_ns is None:
                self.host.run()
            else:
                self.host.run_for(duration_ns / 1e9)

    def stop(self) -> None:
        """Ask all executors to stop."""
        for executor in self.executors.values():
            executor.stop()

    def close(self) -> None:
        """Stop everything, wait for it, close ports and connectors; idempotent. Raises what ended a run."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        ended = [error for error in map(_join, self._running) if error is not None]
        self._tell_unheard()
        self._release()
        if ended:
            raise ended[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # req: REQ_8510
    def _refuse_second_start(self, call: str) -> None:
        if self._running:
            msg = f"App {self.app.name!r} has been started; leave out this {call}"
            raise AlreadyRunning(f"{msg} (the bind() of a test's EthercatBench starts it, App.bind() does not)")

    def _start(self, names: Iterable[str]) -> None:
        self._ran = True
        for name in names:  # one by one: those that have started are stopped although a later one does not start
            self._running.append(self.runtime.start(self.executors[name]))

    def _tell_unheard(self) -> None:
        """Say which readers heard nothing: a sender that never spoke is not lost, and should not go unnoticed."""
        readers = [reader for bus in self.app.buses.values() for reader, _message in bus.readers]
        readers += [reader for segment in self.app.segments.values() for reader in segment.readers.values()]
        channels = [channel for channel, _codec in self.app.channels.values()]
        for reader in (*readers, *channels) if self._ran else ():
            if not reader.received:
                self.runtime.recorder.notice(f"nothing was received on {reader.name} in this run", "warning")

    def _release(self) -> None:
        with ExitStack() as stack:  # what fails to close keeps nothing else open
            stack.callback(self._detach)
            for port in (*self._listeners, *self._ports):
                stack.callback(port.close)
            for executor in self.executors.values():
                stack.callback(executor.close)
            stack.callback(self.host.close)

    def _detach(self) -> None:
        for bus in self.app.buses.values():
            bus.connector = None
            for reader, _message in bus.readers:
                reader.detach()
            for writer, _message in bus.writers:
                writer.detach()
        for segment in self.app.segments.values():
            segment.detach()
        for channel, _codec in self.app.channels.values():
            channel.writer.detach()
            channel.detach()
        for signal in self.app.signals:
            signal.detach()
        self.app.unbind()

    def _open(self, machine_folder: Path, bench_folder: Path) -> None:
        for signal in self.app.signals:
            signal.attach(self.runtime.recorder)
        for bus in self.app.buses.values():
            bind_can(self, bus, machine_folder, bench_folder)
        for segment in self.app.segments.values():
            bind_ethercat(self, segment, machine_folder, bench_folder)
        for channel, codec in self.app.channels.values():
            self._open_channel(channel, codec)
        chained: set[str] = set()
        for declaration in self.app.declarations:
            if declaration.bus is None:
                self._executor(declaration.executor).add(self._item(declaration), declaration.task_id)
            elif declaration.bus not in chained:
                chained.add(declaration.bus)
                self._add_chain(self.app.segments[declaration.bus])
        for segment in self.app.segments.values():
            if segment.devices and segment.name not in chained:
                self._add_chain(segment)  # nobody runs on its cycle: somebody has to take the inputs

    # req: REQ_8151
    def _add_chain(self, segment: EthercatBus) -> None:
        """Add the chain that runs in each cycle of a bus: inputs, items in order of declaration, outputs."""
        declarations = [each for each in self.app.declarations if each.bus == segment.name]
        port, devices = segment.image, list(segment.devices.values())
        commit = commit_item(port, devices, [each.item for each in declarations])
        if commit is not None and not declarations:
            device = next(each for each in devices if each.output_type is not None)
            msg = f"App {self.app.name!r}: {segment.name}.{device.label} has outputs and no item runs on its cycle"
            raise ConfigurationError(f"{msg}; declare one with @app.cyclic(on=...cycle), it stands behind them")
        budget_ns = cycle_budget_ns(segment.name, declarations)
        items: list[ExecutableItem] = [_AppItem(self.app, each, (port, budget_ns)) for each in declarations[:1]]
        items += [_AppItem(self.app, each) for each in declarations[1:]]
        items = items or [CycleHead(port)]
        executor = self._executor(declarations[0].executor if declarations else MAIN)
        executor.add_chain(items if commit is None else [*items, commit], f"{segment.name}.cycle")

    def _open_channel(self, channel: Channel[Any], codec: Codec) -> None:
        runtime, size = self.runtime, channel.max_payload_size
        reader = ChannelReader(
            runtime.transport, channel.name, size, codec, channel.value_type, runtime.clock, channel.note_integrity
        )
        self._ports.append(reader)
        writer: ChannelWriter[Any, Codec] = ChannelWriter(runtime.transport, channel.name, size, codec, runtime.clock)
        self._ports.append(writer)
        channel.attach(reader, runtime.recorder)
        channel.writer.attach(writer)

    def _check_executors(self) -> None:
        """Refuse a bench that names an executor which the App does not have."""
        known = [MAIN, *sorted({each.executor for each in self.app.declarations} - {MAIN})]
        for name in self.bench.executor:
            if name not in known:
                msg = f"bench {self.bench.bench!r}: [executor.{name}] is no executor of App {self.app.name!r}"
                raise ConfigurationError(f"{msg}; {nearest(name, known)}")

    # req: REQ_0040, REQ_0041
    def _give_thread(self, name: str, builder: ExecutorBuilder) -> None:
        """Have the thread of an executor pinned and prioritised as the bench says; a simulated one has no thread."""
        given = self.bench.executor.get(name)
        if given is not None:
            builder.dispatch_attributes(ThreadAttributes(affinity_mask=given.cpus or (), priority=given.priority))

    def _executor(self, name: str) -> Executor:
        if name not in self.executors:
            builder = self.runtime.executor_builder(f"{self.app.name}.{name}")
            self._give_thread(name, builder)
            self.executors[name] = builder.observer(_StopAll(self.host.stoppable())).build()
        return self.executors[name]

    def _item(self, declaration: Declaration) -> ExecutableItem:
        if declaration.reason in ("lost", "found"):
            assert isinstance(declaration.source, Reader)
            listener = self.runtime.transport.listener(event_service_name(declaration.source.port.service))
            self._listeners.append(listener)
            return _FreshnessItem(self.app, declaration, declaration.source, listener)
        if declaration.watched is not None:
            assert declaration.watched.connector is not None
            return _HealthItem(self.app, declaration, declaration.watched.connector.subscribe_health())
        return _AppItem(self.app, declaration)


def _join(handle: RunHandle) -> BaseException | None:
    try:
        handle.join()
    except BaseException as error:
        return error
    return None


class _StopAll(Observer):
    """Ends the whole application when one of its executors ends with an error; ``close`` then raises it."""

    def __init__(self, main: Stoppable) -> None:
        self._main = main

    def on_executor_error(self, error: BaseException) -> None:  # noqa: ARG002
        self._main.stop()


def _machine(app: App, given: Path | Machine | None) -> Machine:
    if given is None:
        used = [f"CAN bus {name}" for name in sorted(app.buses)]
        used += [f"EtherCAT bus {name}" for name in sorted(app.segments)]
        if used:
            msg = f"App {app.name!r} uses {', '.join(used)} and no machine file"
            raise ConfigurationError(f"{msg}; give App(..., machine='machine.yaml')")
        return Machine(machine=app.name)
    return load_machine(given) if isinstance(given, Path) else given


class _AppItem(ExecutableItem):
    """A declared item on its executor; ``head`` is cycle and budget of the chain that it is the first of."""

    def __init__(self, app: App, declaration: Declaration, head: tuple[CycleSource, int | None] | None = None) -> None:
        self._app = app
        self._head = head
        self._declaration = declaration
        if declaration.bus is not None:
            self.task_id = declaration.task_id  # its name in the chain
        self._run = declaration.item
        self._context: Context | None = None

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declaration = self._declaration
        if declaration.bus is not None:
            if self._head is not None:
                declare_cycle(declarer, *self._head)
            return
        if declaration.source is not None:
            with declared_at(declaration.source.declared_at):
                declarer.subscriber(declaration.source.port)
        else:
            declarer.interval(declaration.period_ns)
        if declaration.budget_ns is not None:
            declarer.budget(declaration.budget_ns)

    def execute(self, context: ExecutorContext) -> ItemFlow | None:
        run = self._run
        outcome = run(self._context or self.context_of(context))
        return outcome if outcome is not None and isinstance(outcome, ItemFlow) else None

    def context_of(self, context: ExecutorContext) -> Context:
        """Return what the declared item is given: one per item."""
        if self._context is None:
            self._context = Context(self._app, context)
        return self._context


class _Source:
    """A listener in the shape the trigger declarer takes."""

    def __init__(self, listener: ListenerPort) -> None:
        self.listener = listener


class _FreshnessItem(_AppItem):
    """Runs a declared item once when its reader's messages stop, or once when they are back.

    What arrives counts until the reader has found nothing in it that it could use; then nothing counts until a value
    has been taken again. The reader is read by another item, perhaps after this one, so a bad message is known one
    message later.
    """

    def __init__(self, app: App, declaration: Declaration, reader: Reader[Any], listener: ListenerPort) -> None:
        super().__init__(app, declaration)
        self._max_age_ns = reader.max_age_ns or 0
        self._source = _Source(listener)
        self._reader = reader
        self._good = self._bad = 0
        self._is_doubted = False
        self._usable_ns = 0
        self._seen = False
        self._lost = False

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.deadline(self._source, self._max_age_ns)

    def execute(self, context: ExecutorContext) -> ItemFlow | None:
        was_lost, now_ns = self._lost, context.now_ns()
        if not context.event_fired:
            self._lost = self._seen
        elif self._is_usable():
            self._seen, self._lost, self._usable_ns = True, False, now_ns
        elif self._seen and now_ns - self._usable_ns >= self._max_age_ns:
            self._lost = True
        wanted = "lost" if self._lost else "found"
        if self._lost != was_lost and self._declaration.reason == wanted:
            return super().execute(context)
        return None

    def _is_usable(self) -> bool:
        """Return whether what arrives now counts, from what the reader has made of it up to here."""
        good, bad = self._reader.received, self._reader.decode_errors + self._reader.integrity_faults
        if good != self._good:
            self._is_doubted = False
        elif bad != self._bad:
            self._is_doubted = True
        self._good, self._bad = good, bad
        return not self._is_doubted


# req: REQ_0231
class _HealthItem(_AppItem):
    """Runs a declared item once for each move of a bus's health."""

    def __init__(self, app: App, declaration: Declaration, moves: HealthSubscription) -> None:
        super().__init__(app, declaration)
        self._moves = moves

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._moves.listener)

    def execute(self, context: ExecutorContext) -> ItemFlow | None:
        move = next(self._moves.drain(), None)
        if move is None:
            return None  # the connector is closing
        if self._moves.waiting:
            self._moves.listener.notify()  # a run per move, so that one that raises hides none behind it
        self.context_of(context).attach_move(move)
        return super().execute(context)
