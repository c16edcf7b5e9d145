"""One protocol connection of a gateway: its driver, bridges, gate and health; the items in ``gateway`` move it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from taktora.connector.aggregate import HealthAggregate
from taktora.connector.bridge import Dropped, InboundBridge, InboundOutcome, OutboundBridge
from taktora.connector.drops import ChannelDrops, InboundDropLatch, InboundDrops
from taktora.connector.gate import SendGate
from taktora.connector.health import (
    Connecting,
    ConnectorHealth,
    ConnectorHealthKind,
    Degraded,
    Down,
    Up,
)
from taktora.connector.reconnect import EXHAUSTED, ReconnectPolicy
from taktora.connector.registry import ChannelRegistry
from taktora.connector.routing import Routing
from taktora.connector.wakeup import Wakeup
from taktora.errors import ConnectorError, PayloadOverflow
from taktora.executor import Alarm
from taktora.runtime import Runtime
from taktora.transport.base import ListenerPort
from taktora.transport.channel import RawChannelReader, RawChannelWriter, RawSample

__all__ = ["InboundChannel", "Link", "LinkDriver", "LinkOptions", "OutboundChannel", "Sign"]

R = TypeVar("R", bound=Routing)
In = TypeVar("In")
Out = TypeVar("Out")
R_contra = TypeVar("R_contra", bound=Routing, contravariant=True)
In_contra = TypeVar("In_contra", contravariant=True)


class Sign(Enum):
    """What the stack says of a connection without naming a state; to be told with ``link.report``."""

    PROOF = "proof"
    """The connection has shown that it works, by something that is no message."""
    NOISE = "noise"
    """Trouble goes on: the time after which Degraded ends begins anew."""


@dataclass(frozen=True, slots=True)
class OutboundChannel(Generic[R]):
    """The gateway's end of a channel on which the application writes."""

    name: str
    routing: R
    reader: RawChannelReader
    listener: ListenerPort


@dataclass(frozen=True, slots=True)
class InboundChannel(Generic[R]):
    """The gateway's end of a channel on which the application reads."""

    name: str
    routing: R
    writer: RawChannelWriter


class LinkDriver(Protocol[R_contra, In_contra, Out]):
    """What a connector writes for its protocol; every method is called from gateway items only, and none blocks.

    The protocol's callbacks may come from any thread and do one of three things: ``link.receive(message)``,
    ``link.report(health)``, ``link.transmit_ready()``. A worker that dies of a defect calls ``link.fail(error)``.
    """

    def open(self) -> None:
        """Start or restart the connection; what becomes of it is told through ``link.report``.

        Raises:
            ConnectorError: it cannot even be tried; the link goes Down and tries again after the back-off.
        """
        ...

    def close(self) -> None:
        """Stop the connection; bounded (5 s), idempotent, leaves no thread."""
        ...

    def compose(self, routing: R_contra, sample: RawSample, payload: memoryview) -> Out:
        """Build the protocol's message; ``payload`` dies on return, so copy it.

        Raises:
            ConnectorError: the payload makes no message; it is counted and dropped, the rest goes on.
        """
        ...

    def transmit(self, message: Out) -> None:
        """Hand one message to the stack without blocking.

        Raises:
            BackPressure: the stack is full; the message stays at the head and is retried on ``link.transmit_ready``.
            LinkDown: the connection is gone; the message is dropped and counted, nothing is stored (REQ_0292).
            ConnectorError: the stack refused this message; it is dropped and counted, the rest goes on.
        """
        ...

    def deliver(self, message: In_contra) -> None:
        """Match one received message against the inbound channels and publish it there.

        A full reader is ``BackPressure`` at its channel's writer: count it and go on with the next channel.
        """
        ...

    def channels_changed(self) -> None:
        """Inbound channels were opened or closed: bring filters or subscriptions up to date."""
        ...


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Sizes and times of a link; capacities and thresholds below 1 count as 1.

    Args:
        outbound_capacity: Messages between the gateway's readers and the stack.
        inbound_capacity: Messages between the stack's callbacks and the gateway's writers.
        inbound_drop_threshold: Drops until the connector becomes Degraded.
        recovery_window_ns: Quiet time after which Degraded ends by itself.
        up_on_traffic: The first message sent or received proves Up; otherwise only the driver's report does.
        recovers_by_time: Degraded ends after ``recovery_window_ns``; otherwise only the driver's report ends it.
    """

    outbound_capacity: int = 256
    inbound_capacity: int = 256
    inbound_drop_threshold: int = 1
    recovery_window_ns: int = 1_000_000_000
    up_on_traffic: bool = False
    recovers_by_time: bool = True


class Link(Generic[R, In, Out]):
    """State shared by the three items of one connection. Callbacks may use what is marked *any thread*.

    Args:
        name: Name of the endpoint (``can0``); empty for a connector with a single one.
        driver: The protocol.
        aggregate: Health of the connector; ``name`` is one of its endpoints.
        runtime: Gives the clock.
        options: Sizes and times.
        policy: When to try again after Down; None for a stack that reconnects by itself (REQ_0235).
    """

    def __init__(
        self,
        name: str,
        driver: LinkDriver[R, In, Out],
        aggregate: HealthAggregate,
        runtime: Runtime,
        options: LinkOptions | None = None,
        policy: ReconnectPolicy | None = None,
    ) -> None:
        options = LinkOptions() if options is None else options
        connector = aggregate.monitor.name
        place = f"{connector}/{name}" if name else connector
        self.name: Final = name
        self.place: Final = place
        self.driver = driver
        self.options: Final = options
        self.gate: Final = SendGate(place)
        self.outbound: Final[OutboundBridge[Out]] = OutboundBridge(
            f"outbound bridge of {place}", options.outbound_capacity, self.gate
        )
        self.inbound: Final[InboundBridge[In]] = InboundBridge(f"inbound bridge of {place}", options.inbound_capacity)
        self.reports: Final[InboundBridge[ConnectorHealth | Sign]] = InboundBridge(f"health reports of {place}", 1024)
        self.room: Final = Wakeup(f"room in {place}")
        self.outbound_channels: Final[ChannelRegistry[OutboundChannel[R]]] = ChannelRegistry(connector)
        self.inbound_channels: Final[ChannelRegistry[InboundChannel[R]]] = ChannelRegistry(
            connector, self.reports.listener.notify
        )
        self.alarm: Final = Alarm(f"alarm of {place}")
        self.refused = 0
        """Outbound messages that were dropped because they made no message, the stack refused them, or it was Down."""
        self._aggregate = aggregate
        self._clock = runtime.clock
        self._policy = policy
        self._proven = not options.up_on_traffic
        self.doubt: object = None
        """Why a connection that was opened may carry nothing: reason of Connecting; the driver's, until it is Up."""
        self.is_cut = False
        """Open, and known to carry nothing: sends are refused with the doubt; the driver's, see :meth:`reconnected`."""
        self.sending_proves = True
        """A message that the stack has taken proves Up, too; the driver's, until it is Up."""
        self.drops: Final = ChannelDrops()
        """Inbound messages that a full bridge has cost, by channel."""
        self.wanted_by: Callable[[In], Sequence[str]] = _nobody_in_particular
        """Names of the channels that a message is for (any thread); set by a driver that knows them, to count drops."""
        self.reason_of: Callable[[ConnectorError], object] = str
        """Reason of the Down that follows an error of the driver; set by a driver that has more than a text."""
        self.stall_reason: object = f"{place} takes no message: the first one waits for the whole recovery window"
        """Reason of Degraded when the first message has waited that long; set by a driver that has more to say."""
        self.oversize = 0
        """Inbound messages that were longer than their channel."""
        self._head: Out | None = None
        self._latches: dict[str, InboundDropLatch] = {}
        self._pressed = False
        self._failure: BaseException | None = None

    @property
    def health(self) -> ConnectorHealth:
        return self._aggregate.endpoint(self.name)

    def receive(self, message: In) -> InboundOutcome:
        """Take one message from the stack (any thread); a drop tells the largest count of the channels it was for."""
        outcome = self.inbound.put(message)
        if type(outcome) is Dropped:
            outcome = Dropped(self.drops.add(self.wanted_by(message)))
            self.inbound.listener.notify()  # the drop is counted now
        return outcome

    def report(self, health: ConnectorHealth | Sign) -> None:
        """Take a change of the connection's state, or a sign of it (any thread); the supervisor item acts on it."""
        self.reports.put(health)

    # req: REQ_0296
    def fail(self, error: BaseException) -> None:
        """Have the supervisor end the gateway's run with ``error``, of which a worker of the stack dies (any thread).

        Raises:
            BaseException: ``error`` itself when the link is closed and no run is left to end.
        """
        if self.reports.closed:
            raise error
        if self._failure is None:
            self._failure = error
        self.reports.listener.notify()

    def raise_failure(self) -> None:
        """Raise what a worker of the stack died of; nothing if none did."""
        failure = self._failure
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:  # SystemExit and its like would not count as a failure of the run
            raise RuntimeError(f"{self.place}: a worker of the stack ended by {failure!r}") from failure

    def transmit_ready(self) -> None:
        """The stack has room again (any thread)."""
        self.room.notify()

    def open(self) -> None:
        """Open the driver; a failure is Down and the next attempt is scheduled. What is cut from the start says so."""
        try:
            self._open_driver()
        except ConnectorError as error:
            self.go_down(self.reason_of(error))
        else:
            if self.is_cut:
                self._aggregate.move(Connecting(self._clock.now_ns(), self.doubt), self.name)
                self._let_send()

    def apply(self, health: ConnectorHealth | Sign) -> None:
        """Act on a reported state; one that the table of moves does not allow comes too late and is passed over."""
        match health:
            case Sign.PROOF:
                self.prove()
            case Sign.NOISE:
                self._start_window()
            case Up():
                self.go_up()
            case Degraded(reason):
                self._degrade(reason)
            case Down(reason, is_final=is_final):
                self.go_down(reason, is_final)
            case Connecting():
                self._connect(self.doubt)

    def prove_by_sending(self) -> None:
        """The stack has taken a message: a proof as below, unless the driver knows better."""
        if not self._proven and self.sending_proves:
            self.prove()

    def reconnected(self) -> None:
        """What was cut carries again: sends are taken (any thread)."""
        if self.is_cut:
            self.is_cut = False
            self.gate.open_link()

    def prove(self) -> None:
        """A message went through: where traffic is the proof, the link is Up now."""
        if not self._proven:
            self._proven = True
            if self.health.kind is ConnectorHealthKind.CONNECTING:
                self.go_up()

    # req: REQ_0235
    def go_up(self) -> None:
        """Be Up. A link that is Down and reconnects by policy is closed: what still arrives from before is too late."""
        if self.health.kind is ConnectorHealthKind.DOWN:
            if self._policy is not None:
                return
            self._connect(self.doubt)
        self._proven, self.doubt, self.sending_proves = True, None, True
        self.reconnected()
        self._aggregate.move(Up(), self.name)
        self.alarm.cancel()
        self._head = None
        self._watch_head()
        if self._policy is not None:
            self._policy.reset()

    # req: REQ_0633
    def go_down(self, reason: object, is_final: bool = False) -> None:
        """Refuse sends, close the driver and schedule the next attempt; ``is_final``: the driver itself makes none."""
        if self.health.kind is ConnectorHealthKind.DOWN:
            return
        delay_ns = None if self._policy is None else self._policy.next_backoff()
        if self._policy is not None and delay_ns is None:
            reason, is_final = f"{EXHAUSTED} after: {reason}", True
        self.gate.close_link(reason)
        now_ns = self._clock.now_ns()
        retry_at_ns = None if delay_ns is None else now_ns + delay_ns
        self._aggregate.move(Down(reason, now_ns, retry_at_ns, is_final and retry_at_ns is None), self.name)
        self.room.notify()  # the outbound item drops what is left
        self.alarm.cancel()
        if self._policy is None:
            return
        self.driver.close()
        if retry_at_ns is not None:
            self.alarm.set(retry_at_ns)

    def on_alarm(self) -> None:
        """Do what the alarm was set for: reconnect when Down or cut, recover when Degraded, if it was ever proven.

        Where it is Up or Degraded and the stack has left the head of the bridge waiting all the time, that is Degraded.
        """
        kind, is_stuck = self.health.kind, self._head is not None and self._head is self.outbound.peek()
        if kind is ConnectorHealthKind.DOWN:
            self._reopen()
        elif kind is ConnectorHealthKind.CONNECTING and self.is_cut:
            self._look_again()
        elif kind is ConnectorHealthKind.UP and is_stuck:
            self._degrade(self.stall_reason)
        elif kind is ConnectorHealthKind.UP:
            self._head = None
            self._watch_head()
        elif kind is ConnectorHealthKind.DEGRADED and is_stuck:
            self._start_window()
        elif kind is ConnectorHealthKind.DEGRADED and self._proven:
            self.go_up()
        elif kind is ConnectorHealthKind.DEGRADED:
            self._connect(self.doubt)

    def note_drops(self) -> None:
        """Report a channel's inbound drops, once per threshold and recovery; recovery begins after the last one."""
        grown = self.drops.take_grown()
        if not grown:
            return
        reported = [self._latch_of(channel).note(count) for channel, count in grown.items()]
        if not any(reported):
            self._aggregate.prolong_condition(f"inbound {self.name}", self.options.recovery_window_ns)

    # req: REQ_0296
    def note_oversize(self, error: PayloadOverflow) -> None:
        """Count an inbound message that its channel cannot hold; the connector is Degraded for a recovery window."""
        self.oversize += 1
        self._aggregate.raise_condition(f"oversize {self.name}", str(error), self.options.recovery_window_ns)

    # req: REQ_0607
    def note_back_pressure(self) -> None:
        """Hold the connector at Degraded while the outbound bridge is full (REQ_0260, REQ_0607)."""
        waiting, capacity = self.outbound.waiting, self.outbound.capacity
        if waiting:
            self._watch_head()
        if (len(waiting) >= capacity) is self._pressed:
            return
        self._pressed = not self._pressed
        if self._pressed:
            self._aggregate.raise_condition(f"outbound {self.name}", f"backpressure: {self.outbound.name} is full")
        else:
            self._aggregate.clear_condition(f"outbound {self.name}")

    def close(self) -> None:
        """Close driver, bridges and ports; idempotent."""
        self.alarm.cancel()
        self.gate.shut()
        self.driver.close()
        for latch in self._latches.values():
            latch.close()
        for bridge in (self.inbound, self.outbound, self.reports):
            bridge.close()
        for outbound in self.outbound_channels:
            outbound.listener.close()
            outbound.reader.close()
        for inbound in self.inbound_channels:
            inbound.writer.close()

    # req: REQ_0633
    def _reopen(self) -> None:
        """Be Connecting once the driver is open with its filters; a refusal is an attempt that went Down again."""
        try:
            self._open_driver()
        except ConnectorError as error:
            reason = self.reason_of(error)
            self._connect(reason)  # with a reason: beside connections that are Up it goes on counting as Down
            self.go_down(reason)
        else:
            self._connect(self.doubt)

    def _open_driver(self) -> None:
        self._proven = not self.options.up_on_traffic
        self.driver.channels_changed()
        self.driver.open()

    def _connect(self, reason: object | None) -> None:
        if self._aggregate.endpoint(self.name).kind in (ConnectorHealthKind.DOWN, ConnectorHealthKind.DEGRADED):
            self._aggregate.move(Connecting(self._clock.now_ns(), reason), self.name)
            self._let_send()

    def _let_send(self) -> None:
        """Take sends from now on, or refuse them while what is open is cut, and look again after a while."""
        if self.is_cut:
            self.gate.close_link(self.doubt)
            self.alarm.set(self._clock.now_ns() + self.options.recovery_window_ns)
        else:
            self.gate.open_link()

    def _look_again(self) -> None:
        """Open anew what is open and cut: that it carries again may have gone unheard."""
        self.driver.close()
        try:
            self._open_driver()
        except ConnectorError as error:
            self.go_down(self.reason_of(error))
        else:
            self._let_send()

    def _degrade(self, reason: object) -> None:
        if self.health.kind is ConnectorHealthKind.DOWN:
            return
        self._aggregate.move(Degraded(reason), self.name)
        self._start_window()

    def _watch_head(self) -> None:
        """While Up, look after the recovery window whether the message that waits now has gone."""
        head = self.outbound.peek()
        is_due = self._head is None and head is not None and self.options.recovers_by_time
        if is_due and self.health.kind is ConnectorHealthKind.UP:
            self._head = head
            self.alarm.set(self._clock.now_ns() + self.options.recovery_window_ns)

    def _start_window(self) -> None:
        if self.options.recovers_by_time and self.health.kind is ConnectorHealthKind.DEGRADED:
            self._head = self.outbound.peek()
            self.alarm.set(self._clock.now_ns() + self.options.recovery_window_ns)

    def _latch_of(self, channel: str) -> InboundDropLatch:
        if channel not in self._latches:
            threshold = self.options.inbound_drop_threshold
            self._latches[channel] = InboundDropLatch(
                self._aggregate.monitor, threshold, self._report_drops, self.name, channel
            )
        return self._latches[channel]

    def _report_drops(self, reason: InboundDrops) -> None:
        self._aggregate.raise_condition(f"inbound {self.name}", reason, self.options.recovery_window_ns)


def _nobody_in_particular(_message: object) -> Sequence[str]:
    return ()
