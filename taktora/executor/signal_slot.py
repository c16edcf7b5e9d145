"""Signal and slot: two items joined by a channel, one sends and the other is run by it; no state is shared."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from taktora.executor.channel import Publisher, Subscriber
from taktora.executor.items import ExecutableItem, ItemFlow

if TYPE_CHECKING:
    from taktora.executor.context import Context
    from taktora.executor.executor import Executor
    from taktora.executor.triggers import TriggerDeclarer

__all__ = ["SignalItem", "SlotItem", "TakePolicy", "pair"]

T = TypeVar("T", bound=ctypes.Structure)


class TakePolicy(Enum):
    """How many samples one run of a slot takes."""

    SINGLE = "single"
    ALL = "all"


class SignalItem(ExecutableItem, Generic[T]):
    """Sends one structure per run.

    Args:
        publisher: Where it is sent.
        before_send: Fills the slot; False sends nothing and stops the chain.
    """

    def __init__(self, publisher: Publisher[T], before_send: Callable[[T], bool]) -> None:
        self.publisher = publisher
        self._before_send = before_send

    def execute(self, context: Context) -> ItemFlow:  # noqa: ARG002 - the item's signature
        outcome = self.publisher.loan_send(self._before_send)
        return ItemFlow.CONTINUE if outcome.sent else ItemFlow.STOP_CHAIN


class SlotItem(ExecutableItem, Generic[T]):
    """Run by its signal.

    With ``SINGLE`` it takes one sample per run, and a signal sent twice before it ran leaves the second one waiting for
    the next wake-up; ``ALL`` takes until nothing is left.

    Args:
        subscriber: Where the signal arrives.
        after_recv: Gets each sample; False stops the chain, and with ``ALL`` leaves the rest for later.
        policy: How many samples one run takes.
    """

    def __init__(self, subscriber: Subscriber[T], after_recv: Callable[[T], bool], policy: TakePolicy) -> None:
        self.subscriber = subscriber
        self._after_recv = after_recv
        self._policy = policy

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.subscriber(self.subscriber)

    def execute(self, context: Context) -> ItemFlow:  # noqa: ARG002 - the item's signature
        sample = self.subscriber.take()
        if sample is None:
            return ItemFlow.STOP_CHAIN
        while sample is not None:
            if self._after_recv(sample) is False:
                return ItemFlow.STOP_CHAIN
            if self._policy is TakePolicy.SINGLE:
                break
            sample = self.subscriber.take()
        return ItemFlow.CONTINUE


def pair(
    executor: Executor,
    topic: str,
    payload: type[T],
    *,
    before_send: Callable[[T], bool],
    after_recv: Callable[[T], bool],
    policy: TakePolicy = TakePolicy.SINGLE,
) -> tuple[SignalItem[T], SlotItem[T]]:
    """Return a signal and its slot on channel ``topic``, to be added to this executor or, the slot, to another."""
    channel = executor.channel(topic, payload)
    return SignalItem(channel.publisher(), before_send), SlotItem(channel.subscriber(), after_recv, policy)
