"""The App: resources, channels and items declared by name; it opens nothing until it is bound to a runtime."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from taktora.app.bus import Bus
from taktora.app.ethercat import BusCycle, Device, Emergencies, EthercatBus
from taktora.app.handles import Channel, Handle, Reader, Signal, Writer
from taktora.app.needs import require_extras
from taktora.codec import JsonCodec
from taktora.errors import ConfigurationError
from taktora.recording import SEVERITIES, Severity

if TYPE_CHECKING:
    from taktora.app.bench import Bench
    from taktora.app.bound import BoundApp
    from taktora.app.machine import Machine
    from taktora.codec.base import Codec
    from taktora.connector import HealthEvent
    from taktora.executor import Context as ExecutorContext
    from taktora.runtime import Runtime

__all__ = ["App", "CanBus", "Context", "Declaration"]

T = TypeVar("T")
Reason: TypeAlias = Literal["cyclic", "message", "lost", "found", "health"]


class Context:
    """What an item is given when it runs."""

    __slots__ = ("_app", "_health_move", "executor")

    def __init__(self, app: App, executor: ExecutorContext) -> None:
        self._app = app
        self._health_move: HealthEvent | None = None
        self.executor = executor
        """The executor's own context, for those who want more."""

    @property
    def task_id(self) -> str:
        """Id of the task that runs."""
        return self.executor.task_id

    @property
    def now_ns(self) -> int:
        """Monotonic time of the world in ns."""
        return self._app.runtime.clock.now_ns()

    @property
    def health_move(self) -> HealthEvent:
        """The move of a bus's health that this item runs for: state left, state entered, monotonic ns.

        Raises:
            ConfigurationError: the item was not declared with ``on_health``.
        """
        if self._health_move is None:
            msg = f"App {self._app.name!r}: {self.task_id!r} runs for no move of health"
            raise ConfigurationError(f"{msg}; declare it with @app.on_health(bus)")
        return self._health_move

    def attach_move(self, move: HealthEvent) -> None:
        """Say which move the item runs for; called before each run."""
        self._health_move = move

    def event(self, text: str, severity: Severity = "info") -> None:
        """Show that something worth reading happened: in the log, or on the page of a simulated run.

        Raises:
            ConfigurationError: ``severity`` is none of info, warning, alarm.
        """
        if severity not in SEVERITIES:
            msg = f"event {text!r}: severity {severity!r} is none of {', '.join(SEVERITIES)}"
            raise ConfigurationError(msg)
        self._app.runtime.recorder.event(text, severity, self._app.name)

    def stop_executor(self) -> None:
        """Ask the executor of this item to stop."""
        self.executor.stop_executor()


Item: TypeAlias = Callable[[Context], object]


@dataclass(frozen=True, slots=True)
class Declaration:
    """One declared item: what runs, why and where."""

    item: Item
    task_id: str
    reason: Reason
    executor: str
    source: Reader[Any] | Emergencies | None = None
    period_ns: int = 0
    budget_ns: int | None = None
    bus: str | None = None
    """EtherCAT bus on whose cycle it runs."""
    watched: Bus | None = None
    """Bus at whose moves of health it runs."""


@dataclass(slots=True)
class CanBus(Bus):
    """A CAN bus of the machine, by name; typed messages come from its DBC."""

    readers: list[tuple[Reader[Any], type | str]] = field(default_factory=list)
    writers: list[tuple[Writer[Any], type | str]] = field(default_factory=list)

    @overload
    def reader(self, message: type[T], max_age_ms: float | None = None) -> Reader[T]: ...
    @overload
    def reader(self, message: str, max_age_ms: float | None = None) -> Reader[Any]: ...
    def reader(self, message: type[Any] | str, max_age_ms: float | None = None) -> Reader[Any]:
        """Declare that the application receives ``message``.

        Args:
            message: A class whose name and field names are those of the DBC message, or the message's name.
            max_age_ms: Age up to which the last value counts as fresh; needed by ``on_lost`` and ``on_found``.
        """
        handle: Reader[Any] = Reader(f"{self.name}.{_message_name(message)}", max_age_ms)
        self.readers.append((handle, message))
        return handle

    @overload
    def writer(self, message: type[T]) -> Writer[T]: ...
    @overload
    def writer(self, message: str) -> Writer[Any]: ...
    def writer(self, message: type[Any] | str) -> Writer[Any]:
        """Declare that the application sends ``message`` (see :meth:`reader`)."""
        handle: Writer[Any] = Writer(f"{self.name}.{_message_name(message)}")
        self.writers.append((handle, message))
        return handle


def _message_name(message: type | str) -> str:
    return message if isinstance(message, str) else message.__name__


# req: REQ_8021
class App:
    """An application: declared once, bound to a world when it is run (REQ_8021).

    Args:
        name: Short name; the prefix of its channels and executors.
        machine: Path of the machine file, relative to the file that creates the App. None: no machine.
    """

    def __init__(self, name: str, machine: str | Path | None = None) -> None:
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            msg = f"App name {name!r}: expected letters, digits, '-' and '_'"
            raise ConfigurationError(msg)
        self.name = name
        caller = Path(inspect.stack()[1].filename).resolve().parent
        self.machine_path = None if machine is None else caller / machine
        self.buses: dict[str, CanBus] = {}
        self.segments: dict[str, EthercatBus] = {}
        self.channels: dict[str, tuple[Channel[Any], Codec]] = {}
        self.signals: list[Signal] = []
        self.declarations: list[Declaration] = []
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """The runtime the App is bound to."""
        if self._runtime is None:
            msg = f"App {self.name!r} is not bound to a world; use app.main(), app.bind(runtime) or 'taktora sim run'"
            raise ConfigurationError(msg)
        return self._runtime

    def can(self, name: str) -> CanBus:
        """Return the CAN bus ``name`` of the machine file."""
        return self.buses.setdefault(name, CanBus(name))

    # req: REQ_8151
    def ethercat(self, name: str) -> EthercatBus:
        """Return the EtherCAT bus ``name`` of the machine file."""
        return self.segments.setdefault(name, EthercatBus(name))

    def channel(
        self,
        name: str,
        value_type: type[T],
        *,
        max_payload_size: int = 512,
        max_age_ms: float | None = None,
        codec: Codec | None = None,
    ) -> Channel[T]:
        """Declare a typed channel between items; other processes can read it.

        Its service is ``<machine>/<app>.<name>``, without a machine file ``<app>.<name>``.

        Args:
            name: Unique within the App.
            value_type: Class of the values.
            max_payload_size: Bytes one encoded value may need.
            max_age_ms: Age up to which the last value counts as fresh.
            codec: How values are encoded; JSON unless given.
        """
        if name in self.channels:
            msg = f"App {self.name!r}: channel {name!r} is declared twice; names are unique within an App"
            raise ConfigurationError(msg)
        handle = Channel(f"{self.name}.{name}", value_type, max_payload_size, max_age_ms)
        self.channels[name] = (handle, codec or JsonCodec())
        return handle

    def signal(self, name: str, unit: str = "", *, initial: float | None = None) -> Signal:
        """Declare a number that is worth plotting: a float, an int, a bool, a member of an IntEnum.

        Args:
            name: What it is called on the page of a run.
            unit: Its unit, empty for none.
            initial: Value from the start of the run until the first ``set``; None: the plot begins there.
        """
        handle = Signal(name, unit, initial, self.name)
        self.signals.append(handle)
        return handle

    def cyclic(
        self,
        *,
        every_ms: float | None = None,
        on: BusCycle | None = None,
        budget_us: float | None = None,
        executor: str = "main",
    ) -> Callable[[Item], Item]:
        """Declare an item that runs every ``every_ms`` on the absolute grid, or after each cycle of an EtherCAT bus.

        Items on one bus's cycle run as one chain: inputs, the items in the order of their declaration, outputs. If one
        of them raises or stops the chain, or the executor hangs, no outputs are renewed, and the bus makes them safe
        (REQ_8150). Their budgets add up to one for the chain.

        Args:
            every_ms: Period in ms, above 0.
            on: The cycle of a device (``axis.cycle``) in place of a period of its own.
            budget_us: Execution time in us beyond which the task is faulted; None: no limit.
            executor: Executor it runs on; each has a thread of its own in the real worlds.
        """
        if (every_ms is None) == (on is None):
            given = "neither" if on is None else "both"
            raise ConfigurationError(f"App {self.name!r}: cyclic() takes every_ms or on, {given} given")
        budget_ns = None if budget_us is None else round(budget_us * 1_000)
        if on is not None:
            bus = self._bus_of(on)
            return lambda item: self._declare(item, "cyclic", executor, None, budget_ns=budget_ns, bus=bus)
        period_ns = round((every_ms or 0) * 1_000_000)
        if period_ns <= 0:
            msg = f"App {self.name!r}: every_ms is {every_ms}, expected more than 0"
            raise ConfigurationError(msg)
        return lambda item: self._declare(item, "cyclic", executor, None, period_ns, budget_ns)

    def on(self, source: Reader[Any] | Emergencies, *, executor: str = "main") -> Callable[[Item], Item]:
        """Declare an item that runs when something arrives at ``source``; let it drain that.

        Args:
            source: A reader, a channel, or ``axis.emergencies`` of an EtherCAT device.
            executor: Executor it runs on; all items on one source are on one.
        """
        self._check_source(source)
        return lambda item: self._declare(item, "message", executor, source)

    def on_lost(self, reader: Reader[Any], *, executor: str = "main") -> Callable[[Item], Item]:
        """Declare an item that runs once when nothing has arrived for the reader's ``max_age_ms``."""
        return lambda item: self._declare(item, "lost", executor, _aged(reader))

    def on_found(self, reader: Reader[Any], *, executor: str = "main") -> Callable[[Item], Item]:
        """Declare an item that runs once when the first message after a loss arrives."""
        return lambda item: self._declare(item, "found", executor, _aged(reader))

    # req: REQ_0231
    def on_health(self, bus: Bus, *, executor: str = "main") -> Callable[[Item], Item]:
        """Declare an item that runs once for each move of the health of ``bus``, in order: ``ctx.health_move``.

        It runs whatever the bus does, during a recovery too, when no cycle runs. The state before the first move is
        Connecting.
        """
        if not isinstance(bus, Bus):
            raise ConfigurationError(
                f"App {self.name!r}: on_health({bus!r}) takes a bus: app.can(...) or app.ethercat(...)"
            )
        if bus is not self.buses.get(bus.name) and bus is not self.segments.get(bus.name):
            msg = f"App {self.name!r}: on_health: {bus.name!r} is no bus of this App; use a handle of its own"
            raise ConfigurationError(msg)
        return lambda item: self._declare(item, "health", executor, None, watched=bus)

    def bind(
        self, runtime: Runtime, *, machine: Path | str | Machine | None = None, bench: Path | str | Bench | None = None
    ) -> BoundApp:
        """Build connectors and executors for this App on ``runtime``; nothing runs before ``start``.

        Args:
            runtime: ``Runtime.system()`` or ``world.runtime``.
            machine: Machine file, or machine, to use in place of the App's own.
            bench: What stands behind the machine's names; None: the world's default for each. Paths inside a Machine
                or Bench that comes from no file are relative to the working directory.

        Raises:
            ConfigurationError: a name, file, message or field does not fit; nothing has been opened.
        """
        from taktora.app.bound import BoundApp

        if self._runtime is not None:
            msg = f"App {self.name!r} is bound already; close that binding first, or build a second App"
            raise ConfigurationError(msg)
        if self.name in runtime.apps:
            msg = (
                f"App {self.name!r}: another App of this name is bound to the same runtime ({runtime.world}); close "
                "that binding first, or give one of the two another name"
            )
            raise ConfigurationError(msg)
        require_extras(self, runtime.world, runtime.backends, _path(bench))
        self._runtime = runtime
        runtime.apps.add(self.name)
        try:
            return BoundApp(self, runtime, _path(machine) or self.machine_path, _path(bench))
        except BaseException:
            self.unbind()
            raise

    def unbind(self) -> None:
        """Forget the runtime; called when a binding closes."""
        if self._runtime is not None:
            self._runtime.apps.discard(self.name)
        self._runtime = None

    def main(self, arguments: list[str] | None = None) -> None:
        """Run the App from the command line and exit; ``--help`` tells the options."""
        from taktora.app.main import run_main

        sys.exit(run_main(self, arguments))

    def _declare(
        self,
        item: Item,
        reason: Reason,
        executor: str,
        source: Reader[Any] | Emergencies | None,
        period_ns: int = 0,
        budget_ns: int | None = None,
        bus: str | None = None,
        watched: Bus | None = None,
    ) -> Item:
        task_id = getattr(item, "__name__", type(item).__name__)
        if any(known.task_id == task_id for known in self.declarations):
            msg = f"App {self.name!r}: two items are called {task_id!r}; names of items are unique within an App"
            raise ConfigurationError(msg)
        if bus is not None:
            self._check_executor(bus, task_id, executor)
        if source is not None and reason == "message":
            self._check_takers(source, task_id, executor)
        declared = Declaration(item, task_id, reason, executor, source, period_ns, budget_ns, bus, watched)
        self.declarations.append(declared)
        return item

    # req: REQ_8510
    def _check_source(self, given: object) -> None:
        """Refuse what nothing arrives at, and a handle of another App."""
        if isinstance(given, Reader | Emergencies) and given in self._sources():
            return
        msg = f"App {self.name!r}: on() is given"
        if isinstance(given, Reader | Emergencies):
            msg = f"{msg} {given.name!r}, which is of another App; use a handle of its own"
        elif isinstance(given, BusCycle):
            msg = f"{msg} cycle of {given.bus!r}; an item runs on it by @app.cyclic(on=axis.cycle)"
        elif isinstance(given, Device):
            name = f"{given.bus}.{given.label}"
            msg = f"{msg} device {name!r}; use @app.cyclic(on=axis.cycle), or @app.on(axis.emergencies)"
        elif isinstance(given, Bus):
            msg = f"{msg} bus {given.name!r}; give one of its readers, or use @app.on_health(bus)"
        elif isinstance(given, Handle | Signal):
            msg = f"{msg} {given.name!r}, at which nothing arrives: a {type(given).__name__}"
        else:
            msg = f"{msg} {given!r}, at which nothing arrives: write @app.on(reader), with the reader"
        raise ConfigurationError(msg)

    def _sources(self) -> Iterator[Reader[Any] | Emergencies]:
        """Yield all of this App that something can arrive at."""
        yield from (channel for channel, _codec in self.channels.values())
        yield from (reader for bus in self.buses.values() for reader, _message in bus.readers)
        for segment in self.segments.values():
            yield from segment.readers.values()
            yield from (device.emergencies for device in segment.devices.values())

    def _bus_of(self, cycle: object) -> str:
        if not isinstance(cycle, BusCycle):
            msg = f"App {self.name!r}: on={cycle!r} is no cycle; give that of a device: on=axis.cycle"
            raise ConfigurationError(msg)
        if cycle.bus not in self.segments:
            msg = f"App {self.name!r}: on= names the cycle of {cycle.bus!r}, which is no EtherCAT bus of this App"
            raise ConfigurationError(f"{msg}; use a handle of its own")
        return cycle.bus

    def _check_executor(self, bus: str, task_id: str, executor: str) -> None:
        """All items on one cycle are one chain, hence on one executor."""
        for known in self.declarations:
            if known.bus == bus and known.executor != executor:
                msg = (
                    f"App {self.name!r}: item {task_id!r} on executor {executor!r} and item {known.task_id!r} on "
                    f"{known.executor!r} are on the cycle of {bus!r}"
                )
                raise ConfigurationError(f"{msg}, whose items run as one chain; put them on one executor")

    # req: REQ_8510
    def _check_takers(self, source: Reader[Any] | Emergencies, task_id: str, executor: str) -> None:
        """What arrives wakes one executor: an item on another one would never run."""
        for known in self.declarations:
            if known.reason == "message" and known.source is source and known.executor != executor:
                msg = (
                    f"App {self.name!r}: item {task_id!r} on executor {executor!r} and item {known.task_id!r} on "
                    f"{known.executor!r} are both on {source.name!r}"
                )
                raise ConfigurationError(f"{msg}, which wakes one executor only; put them on one executor")


def _path(given: str | T) -> Path | T:
    return Path(given) if isinstance(given, str) else given


def _aged(reader: object) -> Reader[Any]:
    if not isinstance(reader, Reader) or reader.max_age_ns is None:
        msg = f"{getattr(reader, 'name', reader)}: on_lost and on_found need a reader with max_age_ms"
        raise ConfigurationError(msg)
    return reader
