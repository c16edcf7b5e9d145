"""The items of a gateway: inbound, outbound, supervisor, conditions; they move raw bytes and run no codec.

All of them run on the gateway's executor, which has no workers: one thread, no locks, one order. An exception that no
rule foresees sets the connector Down with its text and then ends the run with itself (REQ_0296).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from taktora.connector.aggregate import HealthAggregate
from taktora.connector.health import Down, HealthMonitor
from taktora.connector.link import Link
from taktora.connector.routing import Routing
from taktora.errors import BackPressure, ConnectorError, PayloadOverflow
from taktora.executor import Alarm, Context, ExecutableItem, TriggerDeclarer

__all__ = ["ConditionsItem", "GatewayItem", "InboundItem", "OutboundItem", "SupervisorItem", "link_items"]

R = TypeVar("R", bound=Routing)
In = TypeVar("In")
Out = TypeVar("Out")


def _nobody_to_tell(_reason: str) -> None:
    """Take the reason of an item that is in no gateway."""


# req: REQ_0296
class GatewayItem(ExecutableItem):
    """Base of the items below: what :meth:`step` raises becomes Down, then goes on to the executor."""

    def __init__(self, task_id: str, monitor: HealthMonitor) -> None:
        self.task_id = task_id
        self._monitor = monitor
        self.give_up: Callable[[str], object] = _nobody_to_tell
        """Told why the gateway ends where no error ends its run; set by the gateway."""

    def step(self, context: Context) -> None:  # noqa: ARG002
        """Do the item's work; to be overridden."""
        raise TypeError(f"{type(self).__name__} has no step method of its own; define step(self, context)")

    def execute(self, context: Context) -> None:
        try:
            self.step(context)
        except Exception as error:
            self._monitor.settle(Down(self._reason(error), context.now_ns()))
            raise
        except BaseException as error:  # SystemExit, say: the executor ends without an error, and with it the gateway
            self.give_up(self._reason(error))
            raise

    def _reason(self, error: BaseException) -> str:
        return f"gateway failed in {self.task_id}: {type(error).__name__}: {error}"


class InboundItem(GatewayItem):
    """Takes what the stack received out of the bridge and has the driver publish it."""

    def __init__(self, link: Link[Any, Any, Any], monitor: HealthMonitor) -> None:
        super().__init__(f"{link.place}.inbound", monitor)
        self._link = link

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._link.inbound.listener)

    def step(self, context: Context) -> None:  # noqa: ARG002
        link = self._link
        deliver, take, waiting = link.driver.deliver, link.inbound.take, link.inbound.waiting
        while waiting and (message := take()) is not None:
            try:
                deliver(message)
            except BackPressure:
                continue  # a full reader of the application lost it, and its channel's writer has counted that
            except PayloadOverflow as error:
                link.note_oversize(error)
                continue
            link.prove()
        if link.drops.grown:
            link.note_drops()


# req: REQ_0244, REQ_0291
class OutboundItem(GatewayItem):
    """Drains the raw readers into the stack; what the stack has no room for waits in the bridge, in order.

    A stack without room keeps the head of the bridge; a full bridge keeps its messages in the readers' buffers; full
    buffers and a full bridge are ``BackPressure`` at the writers. Room makes the item run again. When the link goes
    Down, what was accepted and not sent yet is dropped and counted: an old command must not go out after an outage.
    """

    def __init__(self, link: Link[Any, Any, Any], monitor: HealthMonitor) -> None:
        super().__init__(f"{link.place}.outbound", monitor)
        self._link = link

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._link.room)
        for channel in self._link.outbound_channels:
            declarer.raw_listener(channel.listener)

    def step(self, context: Context) -> None:  # noqa: ARG002
        self._drain(self._flush())
        self._link.note_back_pressure()

    def _flush(self) -> bool:
        """Hand what waits in the bridge to the stack; False when it has no room."""
        bridge = self._link.outbound
        while (message := bridge.peek()) is not None:
            if not self._transmit(message):
                return False
            bridge.take()
        return True

    def _drain(self, has_room: bool) -> None:
        """Take samples in order of channels; into the stack while it has room, then into the bridge until it is full.

        What comes after that has a notification of its own, which makes the item run again.
        """
        link = self._link
        bridge, compose, transmit = link.outbound, link.driver.compose, self._transmit
        for channel in link.outbound_channels.entries:
            receive, waiting = channel.reader.try_recv, channel.reader.waiting
            while has_room or not bridge.full:
                if waiting is not None and not waiting:
                    break  # without one more receive that finds nothing
                received = receive()
                if received is None:
                    break
                try:
                    message = compose(channel.routing, received[0], received[1])
                except ConnectorError:
                    link.refused += 1
                    continue
                has_room = has_room and transmit(message)
                if not has_room:
                    bridge.try_send(message)

    def _transmit(self, message: Any) -> bool:
        """Hand one message to the stack; False when it has no room. What is there when the link is Down is dropped."""
        link = self._link
        try:
            if link.gate.blocked and link.gate.down:
                link.refused += 1
            else:
                link.driver.transmit(message)
                link.prove_by_sending()
        except BackPressure:
            return False
        except ConnectorError:
            link.refused += 1
        return True


class SupervisorItem(GatewayItem):
    """Opens the driver, acts on reported states and on the alarm of one link."""

    def __init__(self, link: Link[Any, Any, Any], monitor: HealthMonitor) -> None:
        super().__init__(f"{link.place}.supervisor", monitor)
        self._link = link
        self._opened = False
        self._generation = -1

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._link.reports.listener).alarm(self._link.alarm)

    def step(self, context: Context) -> None:  # noqa: ARG002
        link = self._link
        link.raise_failure()
        if not self._opened:
            self._opened = True
            self._generation = link.inbound_channels.generation
            link.open()
        elif self._generation != link.inbound_channels.generation:
            self._generation = link.inbound_channels.generation
            link.driver.channels_changed()
        for health in link.reports.drain():
            link.apply(health)
        if link.alarm.take():
            link.on_alarm()


class ConditionsItem(GatewayItem):
    """Ends the passing conditions of a connector when their time is over."""

    def __init__(self, aggregate: HealthAggregate) -> None:
        super().__init__(f"{aggregate.monitor.name}.conditions", aggregate.monitor)
        self.alarm: Final = Alarm(f"conditions of {aggregate.monitor.name}")
        self._aggregate = aggregate

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._aggregate.changed).alarm(self.alarm)

    def step(self, context: Context) -> None:
        self.alarm.take()
        next_ns = self._aggregate.expire(context.now_ns())
        if next_ns is None:
            self.alarm.cancel()
        else:
            self.alarm.set(next_ns)


def link_items(link: Link[Any, Any, Any], monitor: HealthMonitor) -> tuple[GatewayItem, ...]:
    """Return the three items of ``link``, supervisor first, and make each of them run once at the start."""
    for wake in _first_wakes(link):
        wake()
    return SupervisorItem(link, monitor), InboundItem(link, monitor), OutboundItem(link, monitor)


def _first_wakes(link: Link[Any, Any, Any]) -> tuple[Callable[[], object], ...]:
    return link.reports.listener.notify, link.inbound.listener.notify, link.room.notify
