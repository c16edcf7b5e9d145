"""Items, triggers, the loop that runs them, and what observes it."""

from __future__ import annotations

from taktora.executor.admission import Admission, AdmissionContext, AdmissionFault
from taktora.executor.alarm import Alarm
from taktora.executor.attributes import AppliedAttributes, ThreadAttributes
from taktora.executor.channel import Channel, NotifyOutcome, Publisher, Subscriber
from taktora.executor.conduct import ItemErrorPolicy
from taktora.executor.context import Context, Stoppable
from taktora.executor.cycle import PacedCycle
from taktora.executor.executor import Executor, IgnoredTriggersWarning
from taktora.executor.fatal import FatalContext, FatalSite
from taktora.executor.faults import (
    RUNNING,
    BudgetExceeded,
    ExecutorFaulted,
    ExecutorFaultReason,
    ExecutorFaultState,
    Faulted,
    IterationBudgetExceeded,
    Running,
    TaskFaultReason,
    TaskFaultState,
)
from taktora.executor.graph import GraphBuilder
from taktora.executor.grid import DispatchMode, Due, GridTimer, base_period
from taktora.executor.items import ExecutableItem, Item, ItemFlow, item, item_with_triggers, wrap_with_condition
from taktora.executor.log import LoggingObserver
from taktora.executor.loop import Limit
from taktora.executor.observer import CycleObservation, ExecutionMonitor, HeartbeatTick, Observer, UserEvent
from taktora.executor.runner import Runner, RunnerFlags
from taktora.executor.service import ActiveRequest, Client, PendingRequest, Server, Service
from taktora.executor.settings import ExecutorBuilder
from taktora.executor.signal_slot import SignalItem, SlotItem, TakePolicy
from taktora.executor.signals import stop_on_signals
from taktora.executor.stats import TaskSnapshot
from taktora.executor.task import PanickedTask, TaskFailed
from taktora.executor.triggers import CycleSource, Duration, EventSource, TriggerDeclarer

__all__ = [
    "RUNNING",
    "ActiveRequest",
    "Admission",
    "AdmissionContext",
    "AdmissionFault",
    "Alarm",
    "AppliedAttributes",
    "BudgetExceeded",
    "Channel",
    "Client",
    "Context",
    "CycleObservation",
    "CycleSource",
    "DispatchMode",
    "Due",
    "Duration",
    "EventSource",
    "ExecutableItem",
    "ExecutionMonitor",
    "Executor",
    "ExecutorBuilder",
    "ExecutorFaultReason",
    "ExecutorFaultState",
    "ExecutorFaulted",
    "FatalContext",
    "FatalSite",
    "Faulted",
    "GraphBuilder",
    "GridTimer",
    "HeartbeatTick",
    "IgnoredTriggersWarning",
    "Item",
    "ItemErrorPolicy",
    "ItemFlow",
    "IterationBudgetExceeded",
    "Limit",
    "LoggingObserver",
    "NotifyOutcome",
    "Observer",
    "PacedCycle",
    "PanickedTask",
    "PendingRequest",
    "Publisher",
    "Runner",
    "RunnerFlags",
    "Running",
    "Server",
    "Service",
    "SignalItem",
    "SlotItem",
    "Stoppable",
    "Subscriber",
    "TakePolicy",
    "TaskFailed",
    "TaskFaultReason",
    "TaskFaultState",
    "TaskSnapshot",
    "ThreadAttributes",
    "TriggerDeclarer",
    "UserEvent",
    "base_period",
    "item",
    "item_with_triggers",
    "stop_on_signals",
    "wrap_with_condition",
]
