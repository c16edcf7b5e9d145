"""The composition root of connectors: an executor for the application, one for the gateways; it knows no protocol."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from taktora.connector.connector import Connector
from taktora.connector.logs import LoggingAdapter
from taktora.errors import BuilderError, ConfigurationError, ShutdownError
from taktora.executor import Executor, HeartbeatTick, Observer, Stoppable
from taktora.executor.signals import stop_on_signals
from taktora.runtime import RunHandle, Runtime

__all__ = [
    "DRAIN_BUDGET_S",
    "ConnectorGateway",
    "ConnectorGatewayBuilder",
    "ConnectorHost",
    "ConnectorHostBuilder",
]

DRAIN_BUDGET_S: Final = 5.0
"""How long a gateway may take to end (ARCH_0013)."""

C = TypeVar("C", bound=Connector[Any, Any])


# req: REQ_0296
class _GatewayWatch(Observer):
    """Turns the end of a gateway's run by an error into Down, and its heartbeats into events (TSR_0010)."""

    def __init__(self, connectors: dict[str, Connector[Any, Any]]) -> None:
        self._connectors = connectors
        self.on_failure: Callable[[], None] | None = None

    def on_executor_error(self, error: BaseException) -> None:
        cause = error.__cause__ or error
        for connector in self._connectors.values():
            connector.gateway.fail(f"gateway failed: {type(cause).__name__}: {cause}")
        if self.on_failure is not None:
            self.on_failure()

    def on_heartbeat(self, tick: HeartbeatTick) -> None:
        for connector in self._connectors.values():
            connector.monitor.beat(tick.seq, tick.at_ns)


class _Builder:
    """What both builders offer; every method but ``build`` returns the builder."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name
        self._drain_budget_s = DRAIN_BUDGET_S
        self._heartbeat_ns: int | None = None
        self._logs: LoggingAdapter | None = None
        self._own_signals = False

    def drain_budget(self, seconds: float) -> Self:
        """Give gateways this long to end; 5 s by default."""
        if seconds <= 0:
            raise BuilderError(f"host {self._name!r}: drain_budget({seconds}): must be above 0")
        self._drain_budget_s = seconds
        return self

    def heartbeat(self, period_ns: int) -> Self:
        """Have the gateway's executor beat every ``period_ns`` (at most 50 ms), seen by ``subscribe_heartbeats``."""
        self._heartbeat_ns = period_ns
        return self

    # req: REQ_0243
    def signals(self) -> Self:
        """Let SIGINT and SIGTERM stop every run (REQ_0243); off unless called, and then for the main thread only."""
        self._own_signals = True
        return self

    def logging(self, adapter: LoggingAdapter | None = None) -> Self:
        """Forward health moves and executor callbacks to the logging module; off unless called."""
        self._logs = LoggingAdapter() if adapter is None else adapter
        return self


def _signals(owned: bool, stoppable: Stoppable) -> AbstractContextManager[None]:
    return stop_on_signals((stoppable,)) if owned else nullcontext()


# req: REQ_0271
class ConnectorGatewayBuilder(_Builder):
    """Builds a :class:`ConnectorGateway`."""

    def build(self) -> ConnectorGateway:
        gateway = ConnectorGateway(self._runtime, self._name, self._drain_budget_s, self._heartbeat_ns, self._logs)
        gateway.own_signals = self._own_signals
        return gateway


# req: REQ_0270
class ConnectorHostBuilder(_Builder):
    """Builds a :class:`ConnectorHost`."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        super().__init__(runtime, name)
        self.executor: Final = runtime.executor_builder(name)
        """Builder of the application's executor: workers (none by default), observers, policies."""

    def worker_threads(self, count: int) -> Self:
        """Run the application's items on ``count`` workers; 0, the default, runs them in the dispatch thread."""
        self.executor.worker_threads(count)
        return self

    def build(self) -> ConnectorHost:
        if self._logs is not None:
            self.executor.observer(self._logs).monitor(self._logs)
        gateway = ConnectorGateway(
            self._runtime, f"{self._name}.gateway", self._drain_budget_s, self._heartbeat_ns, self._logs
        )
        host = ConnectorHost(self._name, self.executor.build(), gateway)
        host.own_signals = self._own_signals
        return host


class ConnectorGateway:
    """The gateway side: the gateway halves of connectors on an executor of their own, which has no workers.

    ``start`` runs it in the background (in-process deployment); ``run`` runs it in this thread.
    """

    def __init__(
        self, runtime: Runtime, name: str, drain_budget_s: float, heartbeat_ns: int | None, logs: LoggingAdapter | None
    ) -> None:
        self.name: Final = name
        self._runtime = runtime
        self._drain_budget_s = drain_budget_s
        self._logs = logs
        self._connectors: dict[str, Connector[Any, Any]] = {}
        self._watch = _GatewayWatch(self._connectors)
        builder = runtime.executor_builder(name).worker_threads(0).on_item_error("stop").observer(self._watch)
        if heartbeat_ns is not None:
            builder.heartbeat(heartbeat_ns)
        self.executor: Final[Executor] = builder.build()
        self.own_signals = False
        """Whether SIGINT and SIGTERM stop :meth:`run`."""
        self._handle: RunHandle | None = None
        self._assembled = False
        self._ending = False
        self._closed = False

    @classmethod
    def builder(cls, runtime: Runtime, name: str = "gateway") -> ConnectorGatewayBuilder:
        return ConnectorGatewayBuilder(runtime, name)

    @property
    def connector_names(self) -> tuple[str, ...]:
        return tuple(self._connectors)

    @property
    def connectors(self) -> tuple[Connector[Any, Any], ...]:
        return tuple(self._connectors.values())

    @property
    def error(self) -> BaseException | None:
        """What ended the background run, or None."""
        return None if self._handle is None else self._handle.error

    def on_failure(self, call: Callable[[], None]) -> None:
        """Have ``call`` called, on the gateway's thread, when the run ends by an error."""
        self._watch.on_failure = call

    def register(self, connector: C) -> C:
        """Take a connector's gateway half; its items are added when the gateway starts.

        Raises:
            ConfigurationError: the name is taken, or the gateway has started.
        """
        if self._assembled:
            raise ConfigurationError(f"gateway {self.name!r} has started; register {connector.name!r} before")
        if connector.name in self._connectors:
            raise ConfigurationError(
                f"gateway {self.name!r}: a connector named {connector.name!r} is registered already; name it otherwise"
            )
        self._connectors[connector.name] = connector
        self._runtime.recorder.watch(connector.monitor)
        if self._logs is not None:
            self._logs.watch(connector.monitor)
        return connector

    # req: REQ_0241
    def start(self) -> None:
        """Run in the background; a second call does nothing."""
        if self._handle is None and not self._ending:
            self._assemble()
            self._handle = self._runtime.start(self.executor)

    def run(self) -> None:
        """Run in this thread until stopped, then close."""
        self._assemble()
        try:
            with _signals(self.own_signals, self.stoppable()):
                self.executor.run()
        finally:
            self.close()

    def stoppable(self) -> Stoppable:
        return self.executor.stoppable()

    # req: REQ_0243
    def close(self) -> None:
        """Stop, wait for the end within the drain budget, close the connectors; idempotent.

        Raises:
            RunnerJoinError: the gateway still runs after the budget; its connectors are left as they are until a
                later call finds it ended.
            BaseException: what ended the background run, or what failed to close.
        """
        self._ending = True
        if self._closed:
            return
        try:
            if self._handle is not None:
                self._handle.stop()
                self._handle.join(self._drain_budget_s)
        finally:
            if not self.executor.is_running:
                self._closed = True
                self._close_connectors()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # req: REQ_0272
    def _assemble(self) -> None:
        if not self._assembled:
            self._assembled = True
            for connector in self._connectors.values():
                connector.gateway.register_with(self.executor)

    def _close_connectors(self) -> None:
        with ExitStack() as stack:  # what fails to close keeps nothing else open
            stack.callback(self.executor.close)
            for connector in self._connectors.values():
                stack.callback(connector.close)


class ConnectorHost:
    """The application side: an executor, the connectors, and (in-process deployment) their gateway beside it.

    Open channels, readers before writers, register the connectors, add items to :attr:`executor`, then run. The
    gateway starts with the first run. A run that was stopped closes everything; after ``run_for`` and ``run_n`` the
    host may run again.
    """

    def __init__(self, name: str, executor: Executor, gateway: ConnectorGateway) -> None:
        self.name: Final = name
        self.executor: Final = executor
        self.gateway: Final = gateway
        self.own_signals = False
        """Whether SIGINT and SIGTERM stop every run."""
        self._closed = False
        gateway.on_failure(executor.stoppable().stop)

    @classmethod
    def builder(cls, runtime: Runtime, name: str = "host") -> ConnectorHostBuilder:
        return ConnectorHostBuilder(runtime, name)

    @property
    def connector_names(self) -> tuple[str, ...]:
        """Names in order of registration."""
        return self.gateway.connector_names

    # req: REQ_0270, REQ_0272
    def register(self, connector: C) -> C:
        """Take a connector over and return it: its items join the executor, the host closes it.

        Raises:
            StackError: it is registered already.
            ConfigurationError: the name is taken, or the host has run.
        """
        if self._closed:
            raise ShutdownError(f"host {self.name!r} has been closed; build another one")
        self.gateway.register(connector)
        connector.register_with(self.executor)
        return connector

    def run(self) -> None:
        """Run until stopped, then close everything.

        Raises:
            BaseException: what ended the application's run or the gateway's (REQ_0296).
        """
        self._run(self.executor.run)

    def run_for(self, seconds: float) -> None:
        """Run for ``seconds`` of the runtime's time."""
        self._run(lambda: self.executor.run_for(round(seconds * 1e9)))

    def run_n(self, wakes: int) -> None:
        """Run until ``wakes`` wakes have run at least one item of the application."""
        self._run(lambda: self.executor.run_n(wakes))

    def run_until(self, predicate: Callable[[], bool]) -> None:
        """Run until ``predicate`` holds; tested at the start and after each wake of the application's executor."""
        self._run(lambda: self.executor.run_until(predicate))

    def stoppable(self) -> Stoppable:
        """Return the handle that ends the run from any thread, from items and from signal handlers."""
        return self.executor.stoppable()

    def close(self) -> None:
        """Stop the gateway, wait for it within the drain budget, close connectors and executors; idempotent."""
        self._closed = True
        try:
            self.gateway.close()
        finally:
            self.executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, run: Callable[[], None]) -> None:
        if self._closed:
            raise ShutdownError(f"host {self.name!r} has been closed; build another one")
        self.gateway.start()
        with _signals(self.own_signals, self.stoppable()):
            try:
                run()
            except BaseException:
                self._close_quietly()
                raise
            if self.stoppable().stopped:
                self.close()

    def _close_quietly(self) -> None:
        """Close while another error is on its way; the gateway's own must not hide it."""
        try:
            self.close()
        except BaseException as error:
            if error is not self.gateway.error:
                raise
