"""Items: the control code an application writes, and small ways to make one; nothing here decides when it runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from taktora.executor.context import Context
    from taktora.executor.triggers import TriggerDeclarer

__all__ = [
    "ExecutableItem",
    "Execute",
    "Item",
    "ItemFlow",
    "item",
    "item_with_triggers",
    "wrap_with_condition",
]


class ItemFlow(Enum):
    """What an item says about the items after it in its chain or graph.

    ``execute`` may also return nothing: None counts as CONTINUE.
    """

    CONTINUE = "continue"
    STOP_CHAIN = "stop_chain"


Execute: TypeAlias = "Callable[[Context], ItemFlow | None]"


class Item(Protocol):
    """What an executor runs. At most one thread runs an item at a time.

    Optional attributes, read when the item is added: ``task_id: str`` (beats the id given to ``add``),
    ``app_id: str`` and ``app_instance_id: int`` (shown to observers; without an ``app_id`` there are no
    ``on_app_start`` and ``on_app_stop`` calls).
    """

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        """Say when to run; called once, when the item is added."""
        ...

    def execute(self, context: Context) -> ItemFlow | None:
        """Run once. Raise :class:`taktora.errors.ItemError` to fail on purpose; any other exception is contained."""
        ...


class ExecutableItem:
    """Base class for items; a class with the two methods of :class:`Item` does as well."""

    task_id: str | None = None
    app_id: str | None = None
    app_instance_id: int | None = None

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        """Declare nothing: right for the later items of a chain or graph and for fault handlers."""

    def execute(self, context: Context) -> ItemFlow | None:  # noqa: ARG002 - for those who override it
        """Run once; to be overridden."""
        msg = f"{type(self).__name__} has no execute method of its own; define execute(self, context)"
        raise TypeError(msg)


class _FunctionItem(ExecutableItem):
    def __init__(self, execute: Execute, declare: Callable[[TriggerDeclarer], object] | None = None) -> None:
        self.execute = execute  # type: ignore[method-assign, assignment]  # saves a call per dispatch
        self._declare = declare

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        if self._declare is not None:
            self._declare(declarer)


def item(execute: Execute) -> ExecutableItem:
    """Return an item without triggers that runs ``execute``."""
    return _FunctionItem(execute)


def item_with_triggers(declare: Callable[[TriggerDeclarer], object], execute: Execute) -> ExecutableItem:
    """Return an item that runs ``execute`` when what ``declare`` declares fires."""
    return _FunctionItem(execute, declare)


class _ConditionItem(ExecutableItem):
    def __init__(self, wrapped: Item, predicate: Callable[[], bool]) -> None:
        self.task_id = getattr(wrapped, "task_id", None)
        self.app_id = getattr(wrapped, "app_id", None)
        self.app_instance_id = getattr(wrapped, "app_instance_id", None)
        self._predicate = predicate
        self._execute = wrapped.execute
        self.declare_triggers = wrapped.declare_triggers  # type: ignore[method-assign]

    def execute(self, context: Context) -> ItemFlow | None:
        return self._execute(context) if self._predicate() else ItemFlow.STOP_CHAIN


# req: REQ_0023
# req: REQ_0023
def wrap_with_condition(wrapped: Item, predicate: Callable[[], bool]) -> ExecutableItem:
    """Return ``wrapped`` behind a gate: a false ``predicate`` at run time gives STOP_CHAIN instead of running it."""
    return _ConditionItem(wrapped, predicate)
