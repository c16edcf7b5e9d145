"""The connector contract in executable form: run it against any connector; it needs no test framework.

``check_connector(make)`` runs everything; ``CONNECTOR_CHECKS`` names each check, for those who want one test each. What
a bench cannot provoke (a field left None) is passed over and returned in the list of checks that were not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from taktora.connector import (
    LEGAL_TRANSITIONS,
    ChannelDescriptor,
    ChannelReader,
    ChannelWriter,
    Connector,
    ConnectorHealthKind,
    ConnectorHost,
    Disconnected,
    Routing,
)
from taktora.errors import (
    BackPressure,
    ConfigurationError,
    ConnectorError,
    LinkDown,
    PayloadOverflow,
    ShutdownError,
    StackError,
)
from taktora.executor import TaskFailed, item_with_triggers
from taktora.runtime import Runtime

__all__ = ["CONNECTOR_CHECKS", "ConnectorBench", "check_connector", "run_check"]

_PROBE_NS: Final = 1_000_000
_BURST: Final = 5_000
_FIRMLY: Final = 50
"""Wakes in a row that tell a state from what another thread is just passing through, on the wall clock."""
_ON_THEIR_WAY_NS: Final = 1_000_000_000
"""Time for messages to come back through a gateway on a slow machine, where a loss is provoked by not reading."""
_UP, _CONNECTING = ConnectorHealthKind.UP, ConnectorHealthKind.CONNECTING
_DEGRADED, _DOWN = ConnectorHealthKind.DEGRADED, ConnectorHealthKind.DOWN


@dataclass(frozen=True, slots=True)
class _ForeignRouting(Routing):
    """Belongs to no connector."""


@dataclass(kw_only=True, eq=False)
class ConnectorBench:
    """A fresh connector, its other end, and the means to disturb it.

    Args:
        runtime: The connector's world; the kit hosts the connector on it.
        connector: Not registered, no channels open.
        outbound: Channel on which the kit writes.
        inbound: Channel on which what was written on ``outbound`` comes back (by a loop or a peer).
        value_type: Type of the values.
        value: Returns the n-th value (n from 0 to 9999); values of different n differ.
        oversize: A value whose encoding is larger than ``outbound`` allows; None if there is none.
        break_link: Takes the connection away, from any thread, until ``restore_link``.
        restore_link: Lets the next attempt to connect succeed.
        stall: The stack accepts nothing more (a full transmit queue) until ``unstall``.
        unstall: Room again.
        flood: Has n messages for ``inbound`` arrive at once, more than the inbound bridge holds.
        break_stack: Makes the stack fail in a way that nobody foresaw, at the next message sent.
        up_first: The connector takes nothing before its health is Up (``NotReady``); others need traffic to get there.
        within_s: How long anything may take, on the runtime's clock.
        close: Called at the end, after the connector was closed.
    """

    runtime: Runtime
    connector: Connector[Any, Any]
    outbound: ChannelDescriptor[Any]
    inbound: ChannelDescriptor[Any]
    value_type: type[Any]
    value: Callable[[int], Any]
    oversize: Any = None
    break_link: Callable[[], object] | None = None
    restore_link: Callable[[], object] | None = None
    stall: Callable[[], object] | None = None
    unstall: Callable[[], object] | None = None
    flood: Callable[[int], object] | None = None
    break_stack: Callable[[], object] | None = None
    up_first: bool = False
    within_s: float = 5.0
    close: Callable[[], object] = lambda: None
    hosts: list[ConnectorHost] = field(default_factory=list, init=False, repr=False)


class _NotRun(Exception):
    """The bench has no means for this check."""


class _Session:
    """One bench on a host: both channels open, a probe item that keeps the application's executor waking."""

    def __init__(self, bench: ConnectorBench) -> None:
        self.bench = bench
        self.connector = bench.connector
        self.health = bench.connector.subscribe_health()
        builder = ConnectorHost.builder(bench.runtime, "check")
        builder.executor.on_item_error("stop")
        self.host = builder.build()
        bench.hosts.append(self.host)
        self.reader: ChannelReader[Any, Any] = self.connector.create_reader(bench.inbound, bench.value_type)
        self.writer: ChannelWriter[Any, Any] = self.connector.create_writer(bench.outbound, bench.value_type)
        self.host.register(self.connector)
        self.host.executor.add(item_with_triggers(lambda d: d.interval(_PROBE_NS), lambda _: None), "probe")
        self.host.executor.add(item_with_triggers(lambda d: d.subscriber(self.reader), lambda _: self.take()), "reader")
        self.values: list[Any] = []
        self.reading = True

    def take(self) -> None:
        """Take what has arrived, unless reading is off."""
        if self.reading:
            self.values.extend(envelope.value for envelope in self.reader.drain())

    def until(self, what: str, predicate: Callable[[], bool]) -> None:
        """Run the host until ``predicate`` holds; fail after ``within_s``."""
        clock = self.bench.runtime.clock
        end_ns = clock.now_ns() + round(self.bench.within_s * 1e9)
        held = False

        def ends() -> bool:
            nonlocal held
            held = predicate()
            return held or clock.now_ns() >= end_ns

        self.host.run_until(ends)
        _require(held, f"not within {self.bench.within_s} s: {what}; health is {self.connector.health()}")

    def linger(self, duration_ns: int) -> None:
        """Run the host for ``duration_ns``: nothing tells from outside whether messages are still on their way."""
        clock = self.bench.runtime.clock
        end_ns = clock.now_ns() + duration_ns
        self.until("time has passed", lambda: clock.now_ns() >= end_ns)

    def until_lasting(self, what: str, predicate: Callable[[], bool]) -> None:
        """Run the host until ``predicate`` has held at many wakes in a row: no attempt of another thread in between."""
        held = 0

        def lasts() -> bool:
            nonlocal held
            held = held + 1 if predicate() else 0
            return held >= _FIRMLY

        self.until(what, lasts)

    def until_kind(self, kind: ConnectorHealthKind) -> None:
        self.until(f"health {kind.value}", lambda: self.connector.health().kind is kind)

    def pass_through(self, number: int) -> None:
        """Send one value and wait for it at the other end; that also brings connectors up that need traffic for it."""
        if self.bench.up_first:
            self.until("health Up", lambda: self.connector.health().kind is _UP)
        value = self.bench.value(number)
        self.writer.send(value)
        self.until(f"value {number} comes back", lambda: value in self.values)


def check_connector(make_bench: Callable[[], ConnectorBench]) -> list[str]:
    """Run every check, each on a bench of its own; return the names of those the bench had no means for.

    Raises:
        AssertionError: the contract is broken; the message names the check and what was seen.
    """
    return [name for name in CONNECTOR_CHECKS if not run_check(name, make_bench)]


def run_check(name: str, make_bench: Callable[[], ConnectorBench]) -> bool:
    """Run one check; False if the bench has no means for it."""
    bench = make_bench()
    try:
        CONNECTOR_CHECKS[name](bench)
    except _NotRun:
        return False
    except Exception as cause:
        raise AssertionError(f"check_connector, {name}: {type(cause).__name__}: {cause}") from cause
    finally:
        for host in bench.hosts:  # a check that failed has not come to it
            host.close()
        bench.connector.close()
        bench.close()
    return True


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _refuses(error: type[BaseException], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} must raise {error.__name__}, it raised nothing")


def _needs(*means: object) -> None:
    if any(mean is None for mean in means):
        raise _NotRun


def check_surface(bench: ConnectorBench) -> None:
    """Name, start in Connecting, concrete handle types, foreign routing and second registration refused."""
    connector = bench.connector
    name = connector.name
    _require(name and name == name.lower() and " " not in name, f"name {name!r} is not short and lower case")
    _require(connector.health().kind is _CONNECTING, f"starts as {connector.health()}, expected Connecting")
    session = _Session(bench)
    _require(type(session.writer) is ChannelWriter, f"create_writer gives {type(session.writer).__name__}")
    _require(type(session.reader) is ChannelReader, f"create_reader gives {type(session.reader).__name__}")
    _require(session.writer.max_payload_size == bench.outbound.max_payload_size, "the writer has another size")
    _require(session.reader.max_payload_size == bench.inbound.max_payload_size, "the reader has another size")
    for attribute in ("send", "publish", "loan", "send_with_correlation"):
        _require(not hasattr(session.reader, attribute), f"a reader offers {attribute}")
    _refuses(StackError, lambda: connector.register_with(session.host.executor), "a second register_with")
    session.host.close()


def check_foreign_routing(bench: ConnectorBench) -> None:
    """Another connector's routing is refused before any service exists."""
    foreign: ChannelDescriptor[Any] = ChannelDescriptor("foreign", _ForeignRouting(), 16)
    _refuses(ConfigurationError, lambda: bench.connector.create_writer(foreign, bench.value_type), "create_writer")
    _refuses(ConfigurationError, lambda: bench.connector.create_reader(foreign, bench.value_type), "create_reader")


def check_round_trip(bench: ConnectorBench) -> None:
    """What is written comes back, once and in order, with numbers that rise from 0."""
    session = _Session(bench)
    session.pass_through(0)
    outcomes = [session.writer.send(bench.value(number)) for number in range(1, 9)]
    session.until("8 more values come back", lambda: len(session.values) >= 9)
    _require(session.values == [bench.value(number) for number in range(9)], f"came back: {session.values}")
    _require([outcome.sequence_number for outcome in outcomes] == list(range(1, 9)), f"numbers are {outcomes}")
    _require(session.connector.health().kind is _UP, f"health is {session.connector.health()} while messages flow")
    session.host.close()


def check_overflow(bench: ConnectorBench) -> None:
    """A value that does not fit is refused, uses no number and disturbs nothing."""
    _needs(bench.oversize)
    session = _Session(bench)
    session.pass_through(0)
    _refuses(PayloadOverflow, lambda: session.writer.send(bench.oversize), "an oversize value")
    _require(session.writer.send(bench.value(1)).sequence_number == 1, "the refused value used a number")
    session.until("the next value comes back", lambda: bench.value(1) in session.values)
    session.host.close()


def check_outbound_saturation(bench: ConnectorBench) -> None:
    """A stalled stack ends in BackPressure and Degraded, loses nothing that was accepted, and recovers."""
    _needs(bench.stall, bench.unstall)
    assert bench.stall is not None
    assert bench.unstall is not None
    session = _Session(bench)
    session.pass_through(0)
    bench.stall()
    accepted = _send_until_refused(session)
    session.until_kind(_DEGRADED)
    _refuses(BackPressure, lambda: session.writer.send(bench.value(1)), "send while the way out is full")
    bench.unstall()
    session.until("everything accepted comes back", lambda: len(session.values) > len(accepted))
    _require(session.values[1:] == accepted, "accepted values are missing, doubled or out of order")
    session.until_kind(_UP)
    session.pass_through(9_999)
    session.host.close()


def _send_until_refused(session: _Session) -> list[Any]:
    """Send while the host runs, until nothing is taken any more; return what was accepted.

    A single BackPressure is not yet that: on the wall clock the gateway may be late to fetch what was sent.
    """
    accepted: list[Any] = []

    def is_refused() -> bool:
        for _ in range(16):
            value = session.bench.value(len(accepted) + 1)
            try:
                session.writer.send(value)
            except BackPressure:
                return True
            accepted.append(value)
        return False

    session.until_lasting("BackPressure", is_refused)
    return accepted


def check_inbound_saturation(bench: ConnectorBench) -> None:
    """A flood is cut at the bridge: Degraded, not again before it is Up, and the connector goes on and recovers.

    On the wall clock a flood may be slow enough that the connector recovers in the midst of it.
    """
    _needs(bench.flood)
    assert bench.flood is not None
    session = _Session(bench)
    session.pass_through(0)
    list(session.health.drain())
    bench.flood(_BURST)
    session.until_kind(_DEGRADED)
    session.until_kind(_UP)
    moves = [event.target for event in session.health.drain()]
    degraded = [health for health in moves if health.kind is _DEGRADED]
    kinds = [health.kind for health in moves]
    again = any(pair == (_DEGRADED, _DEGRADED) for pair in pairwise(kinds))
    _require(degraded and not again, f"one Degraded until it is Up again expected, saw {moves}")
    reason = str(getattr(degraded[0], "reason", ""))
    _require("inbound" in reason, f"the reason does not name inbound drops: {reason}")
    session.pass_through(9_999)
    session.host.close()


def check_health_walk(bench: ConnectorBench) -> None:
    """Connecting, Up, Down (sends refused), Connecting, Up again: legal moves only, messages flow at the end."""
    _needs(bench.break_link, bench.restore_link)
    assert bench.break_link is not None
    assert bench.restore_link is not None
    session = _Session(bench)
    session.pass_through(0)
    session.until_kind(_UP)
    bench.break_link()
    session.until_kind(_DOWN)
    _refuses(LinkDown, lambda: session.writer.send(bench.value(1)), "send while Down")
    bench.restore_link()
    session.until_lasting("Down has ended", lambda: session.connector.health().kind in (_CONNECTING, _UP))
    session.pass_through(2)
    session.until_kind(_UP)
    walk = list(session.health.drain())
    kinds = [event.target.kind for event in walk]
    _require(all((event.source.kind, event.target.kind) in LEGAL_TRANSITIONS for event in walk), f"illegal: {kinds}")
    _require(kinds[0] is _UP and kinds[-1] is _UP and _DOWN in kinds, f"walk was {kinds}")
    _require(bench.value(1) not in session.values, "a message refused while Down was stored and sent later")
    session.host.close()


def check_subscriptions(bench: ConnectorBench) -> None:
    """Each subscription sees every event; a closed connector ends them."""
    session = _Session(bench)
    other = bench.connector.subscribe_health()
    session.pass_through(0)
    session.until_kind(_UP)
    first, second = list(session.health.drain()), list(other.drain())
    _require(first and first == second, f"subscriptions differ: {first} and {second}")
    session.host.close()
    list(other.drain())
    _refuses(Disconnected, other.try_next, "a subscription of a closed connector")


def check_gaps(bench: ConnectorBench) -> None:
    """A reader that does not read loses messages, is told so, and the loss is counted and shown as Degraded."""
    session = _Session(bench)
    session.pass_through(0)
    session.reading = False
    sent = _send_without_reading(session, 200)
    session.linger(_ON_THEIR_WAY_NS)
    session.reading = True
    session.take()
    session.until("the reader has caught up", lambda: _settled(session))
    session.pass_through(9_999)
    _require(len(session.values) < sent + 2, "nothing was lost, so the buffer has no bound")
    _require(session.reader.sequence_gaps >= 1, "messages were lost without a gap being counted")
    session.host.close()


def _settled(session: _Session) -> bool:
    session.take()
    return len(session.values) > 1


def _send_without_reading(session: _Session, number: int) -> int:
    sent = 0

    def send_one() -> bool:
        nonlocal sent
        try:
            session.writer.send(session.bench.value(sent + 1))
        except BackPressure:
            return False
        sent += 1
        return sent == number

    session.until(f"{number} values are sent", send_one)
    return sent


def check_stack_failure(bench: ConnectorBench) -> None:
    """An unforeseen failure in the gateway is Down with its text and ends the run with the error."""
    _needs(bench.break_stack)
    assert bench.break_stack is not None
    session = _Session(bench)
    session.pass_through(0)
    bench.break_stack()
    session.writer.send(bench.value(1))
    _refuses(TaskFailed, lambda: session.until("the run ends", lambda: False), "the run after a failure of the stack")
    _require(
        any(event.target.kind is _DOWN for event in session.health.drain()), "the failure of the stack was not Down"
    )


def check_shutdown(bench: ConnectorBench) -> None:
    """After close: sends and receives raise ShutdownError, closing again is harmless, nothing opens any more."""
    session = _Session(bench)
    session.pass_through(0)
    session.host.close()
    session.host.close()
    bench.connector.close()
    _refuses(ShutdownError, lambda: session.writer.send(bench.value(1)), "send after close")
    _refuses(ShutdownError, session.reader.try_recv, "try_recv after close")
    _refuses(ConnectorError, lambda: bench.connector.create_reader(bench.inbound, bench.value_type), "open after close")


CONNECTOR_CHECKS: Final[dict[str, Callable[[ConnectorBench], None]]] = {
    "surface": check_surface,
    "foreign routing": check_foreign_routing,
    "round trip": check_round_trip,
    "overflow": check_overflow,
    "outbound saturation": check_outbound_saturation,
    "inbound saturation": check_inbound_saturation,
    "health walk": check_health_walk,
    "subscriptions": check_subscriptions,
    "gaps": check_gaps,
    "stack failure": check_stack_failure,
    "shutdown": check_shutdown,
}
