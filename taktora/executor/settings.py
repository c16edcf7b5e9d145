"""How an executor is to be built: the builder and the values it collects; it opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from taktora.clock import Clock
from taktora.errors import BuilderError
from taktora.executor.attributes import ThreadAttributes
from taktora.executor.conduct import ItemErrorPolicy
from taktora.executor.fatal import FatalContext, abort
from taktora.executor.grid import DispatchMode
from taktora.executor.observer import ExecutionMonitor, Observer
from taktora.executor.reactor import Reactor
from taktora.executor.triggers import Duration, duration_ns
from taktora.transport.base import Transport

if TYPE_CHECKING:
    from taktora.executor.admission import Admission, AdmissionContext
    from taktora.executor.executor import Executor

__all__ = ["LONGEST_HEARTBEAT_NS", "ExecutorBuilder", "Settings"]

LONGEST_HEARTBEAT_NS = 50_000_000
"""Half the fault-tolerant time interval of 100 ms (TSR_0010)."""


@dataclass(slots=True, eq=False)
class Settings:
    """Everything an executor is made from."""

    clock: Clock
    transport: Transport | None
    reactor: Reactor
    name: str
    workers: int = 0
    worker_attributes: ThreadAttributes | None = None
    dispatch_attributes: ThreadAttributes | None = None
    observers: list[Any] = field(default_factory=list)
    monitors: list[Any] = field(default_factory=list)
    iteration_budget_ns: int | None = None
    stats_window: int = 1024
    cyclic_ns: Callable[[], int] | None = None
    telemetry_ns: Callable[[], int] | None = None
    fault_ns: Callable[[], int] | None = None
    dispatch_mode: DispatchMode = DispatchMode.GRID
    on_fatal: Callable[[FatalContext], object] | None = None
    fatal_limit_s: float = 1.0
    terminal: Callable[[], object] = abort
    heartbeat_ns: int | None = None
    admission: Callable[[AdmissionContext], Admission] | None = None
    on_item_error: ItemErrorPolicy = "deliberate"
    freeze_gc: bool = False
    switch_interval_s: float | None = None


class ExecutorBuilder:
    """Collects settings; every method but ``build`` returns the builder.

    Args:
        clock: Scheduling clock; also the default of the other clocks.
        transport: Carries the executor's channels and services; None: it can have none.
        reactor: Waits for this executor and for no other.
        name: Place of the executor in traces, thread lists and messages.
    """

    def __init__(
        self, *, clock: Clock, transport: Transport | None = None, reactor: Reactor, name: str = "executor"
    ) -> None:
        self._settings = Settings(clock, transport, reactor, name)

    def worker_threads(self, count: int) -> Self:
        """Run items on ``count`` workers; 0, the default, runs them in the dispatch thread."""
        if count < 0:
            raise BuilderError(f"executor {self._settings.name!r}: worker_threads({count}): 0 or more are possible")
        self._settings.workers = count
        return self

    def worker_attributes(self, attributes: ThreadAttributes) -> Self:
        """Give each worker thread these attributes; ``Executor.applied_attributes`` tells what it got."""
        self._settings.worker_attributes = attributes
        return self

    def dispatch_attributes(self, attributes: ThreadAttributes) -> Self:
        """Give the thread that calls ``run`` these attributes; they stay after the run."""
        self._settings.dispatch_attributes = attributes
        return self

    def observer(self, observer: Observer | object) -> Self:
        """Add an observer: any object with methods of :class:`Observer`."""
        self._settings.observers.append(observer)
        return self

    def monitor(self, monitor: ExecutionMonitor | object) -> Self:
        """Add a monitor: any object with methods of :class:`ExecutionMonitor`."""
        self._settings.monitors.append(monitor)
        return self

    def iteration_budget(self, budget: Duration) -> Self:
        """Fault the executor when one wake, all its tasks together, takes longer."""
        self._settings.iteration_budget_ns = self._duration(budget, "iteration_budget")
        return self

    def stats_window(self, samples: int) -> Self:
        """Keep statistics over the last ``samples`` runs of each task; 1024 by default."""
        if samples < 1:
            raise BuilderError(f"executor {self._settings.name!r}: stats_window({samples}): at least 1 is needed")
        self._settings.stats_window = samples
        return self

    def cyclic_clock(self, now_ns: Callable[[], int]) -> Self:
        """Take the grid's time from ``now_ns``, on the time line of the reactor's deadlines."""
        self._settings.cyclic_ns = now_ns
        return self

    def telemetry_clock(self, now_ns: Callable[[], int]) -> Self:
        """Take start and duration of runs, hence all statistics, from ``now_ns``."""
        self._settings.telemetry_ns = now_ns
        return self

    def fault_clock(self, now_ns: Callable[[], int]) -> Self:
        """Take what budgets are compared with, and ``since_ms``, from ``now_ns``."""
        self._settings.fault_ns = now_ns
        return self

    def dispatch_mode(self, mode: DispatchMode) -> Self:
        """Choose between the absolute grid (default) and the drifting relative interval."""
        self._settings.dispatch_mode = mode
        return self

    # req: REQ_0125
    def on_fatal(self, handler: Callable[[FatalContext], object], limit_s: float = 1.0) -> Self:
        """Have ``handler`` called once right before the terminal action, for at most ``limit_s``.

        In the real worlds a watchdog thread enforces the limit; on virtual time nothing does.
        """
        if limit_s <= 0:
            raise BuilderError(f"executor {self._settings.name!r}: on_fatal(limit_s={limit_s}): must be above 0")
        self._settings.on_fatal = handler
        self._settings.fatal_limit_s = limit_s
        return self

    def terminal(self, action: Callable[[], object]) -> Self:
        """Replace ``os.abort`` as what ends the process on a broken invariant."""
        self._settings.terminal = action
        return self

    def heartbeat(self, period: Duration) -> Self:
        """Emit ``Observer.on_heartbeat`` every ``period``, at most 50 ms.

        A long item delays the tick, with workers too: the loop emits it and waits for the whole wake first.
        """
        period_ns = self._duration(period, "heartbeat")
        if period_ns > LONGEST_HEARTBEAT_NS:
            msg = f"executor {self._settings.name!r}: heartbeat({period_ns} ns) is above {LONGEST_HEARTBEAT_NS} ns"
            raise BuilderError(msg + ", half the fault-tolerant time interval")
        self._settings.heartbeat_ns = period_ns
        return self

    def admission_check(self, check: Callable[[AdmissionContext], Admission]) -> Self:
        """Ask ``check`` before every run: it returns None to admit or an AdmissionFault to refuse (TSR_0011)."""
        self._settings.admission = check
        return self

    def on_item_error(self, policy: ItemErrorPolicy) -> Self:
        """Choose which failures of items end the run: see ``ItemErrorPolicy``."""
        if policy not in ("deliberate", "stop", "continue"):
            msg = f"executor {self._settings.name!r}: on_item_error({policy!r}): deliberate, stop or continue"
            raise BuilderError(msg)
        self._settings.on_item_error = policy
        return self

    def freeze_gc(self, freeze: bool = True) -> Self:
        """Collect, freeze and disable the cyclic garbage collector while running; process-wide, undone at the end."""
        self._settings.freeze_gc = freeze
        return self

    def switch_interval(self, seconds: float) -> Self:
        """Set the interpreter's thread switch interval while running, in s; process-wide, undone at the end."""
        if seconds <= 0:
            raise BuilderError(f"executor {self._settings.name!r}: switch_interval({seconds}): must be above 0")
        self._settings.switch_interval_s = seconds
        return self

    def build(self) -> Executor:
        """Return the executor."""
        from taktora.executor.executor import Executor

        return Executor(self._settings)

    def _duration(self, value: Duration, what: str) -> int:
        return duration_ns(value, f"executor {self._settings.name!r}: {what}", BuilderError)
