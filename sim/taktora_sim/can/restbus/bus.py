"""The rest of a CAN bus from a DBC file: one simulated node for each sender, cyclic messages, generated signals.

    rest = RestBus(bus, load_dbc("vehicle.dbc"), exclude=["MONITOR"])
    rest.signal("PackStatus.PackVoltage").set(Sine(380, 420, period_ms=1000))
    rest.signal("PackStatus.AliveCounter").disturb(Freeze(), times=3)

Modelled: cycle times on an absolute grid, with a start phase of each message drawn from the seed; messages of event
type; multiplexed messages, whose multiplexer goes round; CAN FD; silent nodes and messages; disturbed signals.
Simplified: a node sends its frames in the order of their priority, as with one mailbox each; it does not listen.

Fault paths, besides those of every node (``can/<bus>/<node>``):

* ``can/<bus>/<node>/<message>``: the kinds of a node for the frames of one message (``silence``, ``delay`` ...);
* ``can/<bus>/<node>/<message>.<signal>``: ``value``, ``freeze``, ``random``, ``offset``, each for so many ``times`` (0:
  until the fault ends) and with checksums that fit (``keep_checksum``) or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taktora.can.interface import CanFrame
from taktora.errors import BackPressure, ConfigurationError, LinkDown
from taktora_sim.can.faults.signals import CanDatabases
from taktora_sim.can.restbus.disturbances import Disturbance, Freeze, Offset, RandomValue, WrongValue
from taktora_sim.can.restbus.generators import Moment
from taktora_sim.can.restbus.signals import RestFrame, RestSignal, Source, nearest
from taktora_sim.faults import FaultBoard, FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora.codec.dbc import Dbc, DbcMessage, DbcSignal
    from taktora_sim.can.bus import SimulatedCanBus
    from taktora_sim.can.node import CanNode
    from taktora_sim.world import Timer

__all__ = ["NO_SENDER", "RestBus", "RestMessage", "RestNode"]

NO_SENDER: Final = "Vector__XXX"
"""Name of the node that sends the messages for which the DBC has no sender, as DBC files spell it."""
_NS_PER_MS: Final = 1_000_000
_CYCLE_MS_MAX: Final = 3_600_000
_NAMES_TOLD: Final = 12


class RestMessage:
    """One message of a rest-bus; made by :class:`RestBus`."""

    def __init__(self, node: RestNode, message: DbcMessage, cycle_time_ms: float | None, phase_ns: int) -> None:
        self.node = node
        self.message = message
        self.name = message.name
        self.sent = 0
        """Frames handed to the node's queue."""
        self.is_running = True
        """Whether it is sent while its node runs."""
        self._frame = RestFrame(message)
        self._rest = node.rest
        self._world = node.rest.bus.world
        self._cycle_ns: int | None = None
        self._due_ns = 0
        self._timer: Timer | None = None
        if cycle_time_ms is not None:
            self._cycle_ns = _cycle_ns(self.name, cycle_time_ms)
            self._arm(self._rest.start_ns + phase_ns)

    @property
    def cycle_time_ms(self) -> float | None:
        """Time between two sendings, None for one that only ``trigger`` sends. Setting it counts from the last one."""
        return None if self._cycle_ns is None else self._cycle_ns / _NS_PER_MS

    @cycle_time_ms.setter
    def cycle_time_ms(self, cycle_time_ms: float | None) -> None:
        cycle_ns = None if cycle_time_ms is None else _cycle_ns(self.name, cycle_time_ms)
        latest_ns = self._world.now_ns() if self._cycle_ns is None else self._due_ns - self._cycle_ns
        if self._timer is not None:
            self._timer.cancel()
        self._cycle_ns = cycle_ns
        if cycle_ns is not None:
            self._arm(max(latest_ns + cycle_ns, self._world.now_ns()))

    @property
    def signals(self) -> Mapping[str, RestSignal]:
        """Signals by name."""
        return self._frame.signals

    def signal(self, name: str) -> RestSignal:
        """Return a signal.

        Raises:
            ConfigurationError: the message has none of that name; the nearest is named.
        """
        return self._frame.signal(name)

    def stop(self) -> None:
        """Send it no more; its cycle goes on unheard."""
        self.is_running = False

    def start(self) -> None:
        """Send it again, at the next instant of its cycle."""
        self.is_running = True

    # req: REQ_8208
    def trigger(self) -> bool:
        """Send it now, besides its cycle, and return whether it was: not while it or its node is stopped."""
        if not self.is_running or not self.node.is_running:
            return False
        moment = Moment(self._world.now_ns() - self._rest.start_ns, self.sent)
        self.sent += 1
        self.node.send(self.message, self._frame.build(moment))
        return True

    def _arm(self, due_ns: int) -> None:
        self._due_ns = due_ns
        self._timer = self._world.call_at(due_ns, self._tick)

    def _tick(self) -> None:
        assert self._cycle_ns is not None
        self._arm(self._due_ns + self._cycle_ns)
        self.trigger()


class RestNode:
    """One sender of a rest-bus: a node of the bus; made by :class:`RestBus`."""

    def __init__(self, rest: RestBus, name: str, node: CanNode) -> None:
        self.rest = rest
        self.name = name
        self.node = node
        self.messages: dict[str, RestMessage] = {}
        self.is_running = True
        self.lost = 0
        """Frames that found the node's queue full or its interface down."""

    def stop(self) -> None:
        """Fall silent: none of its messages is sent."""
        self.is_running = False

    def start(self) -> None:
        """Send again, but for messages that were stopped themselves."""
        self.is_running = True

    def send(self, message: DbcMessage, data: bytes) -> None:
        """Queue one frame; one that finds no room is lost and counted."""
        is_fd = message.is_fd
        brs = is_fd and message.is_brs
        try:
            self.node.transmit(CanFrame(message.can_id, data, message.is_extended, fd=is_fd, brs=brs))
        except (BackPressure, LinkDown):
            self.lost += 1


# req: REQ_8208
class RestBus:
    """Sends what a DBC says that others send; starts by itself once made.

    Args:
        bus: The bus to send on.
        dbc: The loaded file.
        only: Names of nodes or messages to send; None is all.
        exclude: Names of nodes or messages to leave out: those that the application sends itself.
        exclude_ids: The same by identifiers: a bare number means both formats, ``(id, is_extended)`` one.
        cycle_times_ms: Cycle times by message, instead of GenMsgCycleTime; None has it sent by ``trigger`` only.
        phases_ms: Times of first sendings by message, after the start; others are drawn from the seed within a cycle.
        signals: Sources of values by ``Message.Signal``; others keep their GenSigStartValue, multiplexers go round.

    A message belongs to its first sender. One without a cycle time is sent by :meth:`RestMessage.trigger` only; those
    whose GenMsgSendType does not say so are in ``unsent`` and told once as a warning of the run.

    Raises:
        ConfigurationError: an unknown name (the nearest is named), a value out of range, a message of CAN FD on a
            classical bus, or a node that is on the bus already.
    """

    def __init__(
        self,
        bus: SimulatedCanBus,
        dbc: Dbc,
        *,
        only: Collection[str] | None = None,
        exclude: Collection[str] = (),
        exclude_ids: Collection[int | tuple[int, bool]] = (),
        cycle_times_ms: Mapping[str, float | None] | None = None,
        phases_ms: Mapping[str, float] | None = None,
        signals: Mapping[str, Source] | None = None,
    ) -> None:
        self.bus = bus
        self.dbc = dbc
        self.start_ns = bus.world.now_ns()
        self.nodes: dict[str, RestNode] = {}
        """Nodes by name, in the order of the DBC."""
        self.messages: dict[str, RestMessage] = {}
        """Messages by name."""
        self._source = Path(dbc.source).name
        chosen = [message for message in self._chosen(only, exclude) if not _is_among(message, exclude_ids)]
        self._check_kinds(chosen)
        cycle_times_ms, phases_ms = cycle_times_ms or {}, phases_ms or {}
        for name in [*cycle_times_ms, *phases_ms]:
            self._check_name(name, {message.name for message in chosen}, "message")
        for message in chosen:
            cycle_time_ms = cycle_times_ms.get(message.name, message.cycle_time_ms)
            self._add(message, cycle_time_ms, phases_ms.get(message.name))
        self.unsent = tuple(message.name for message in chosen if _lacks_time(message, cycle_times_ms))
        """Messages that the DBC calls neither cyclic with a time nor anything else: nothing sends them but you."""
        for path, source in (signals or {}).items():
            self.signal(path).set(source)
        bus.world.part(CanDatabases).add(bus.name, dbc.places())
        self._offer_faults()
        self._tell_unsent()
        bus.world.on_close(self._tell_lost)

    @property
    def lost(self) -> int:
        """Frames that found their node's queue full or its interface down."""
        return sum(node.lost for node in self.nodes.values())

    def node(self, name: str) -> RestNode:
        """Return a node.

        Raises:
            ConfigurationError: the rest-bus has none of that name; the nearest is named.
        """
        self._check_name(name, self.nodes, "node")
        return self.nodes[name]

    def message(self, name: str) -> RestMessage:
        """Return a message.

        Raises:
            ConfigurationError: the rest-bus has none of that name; the nearest is named.
        """
        self._check_name(name, self.messages, "message")
        return self.messages[name]

    def signal(self, path: str) -> RestSignal:
        """Return the signal ``Message.Signal``.

        Raises:
            ConfigurationError: no such message or signal; the nearest is named.
        """
        message, dot, name = path.partition(".")
        if not dot:
            raise ConfigurationError(
                f"rest-bus of {self._source}: {path!r} names no signal; expected 'Message.Signal', for example "
                f"{self._example()!r}"
            )
        return self.message(message).signal(name)

    def leave_out(self, ids: Collection[int | tuple[int, bool]]) -> None:
        """Stop the messages with these identifiers, which somebody else sends; written as ``exclude_ids``."""
        for message in self.messages.values():
            if _is_among(message.message, ids):
                message.stop()

    def close(self) -> None:
        """Send nothing more; idempotent."""
        for node in self.nodes.values():
            node.stop()

    def _example(self) -> str:
        return next((f"{name}.{signal}" for name, each in self.messages.items() for signal in each.signals), "A.b")

    def _chosen(self, only: Collection[str] | None, exclude: Collection[str]) -> list[DbcMessage]:
        known = {name for message in self.dbc.messages for name in (message.name, *_senders(message))}
        for name in [*(only or ()), *exclude]:
            self._check_name(name, known, "node or message")
        wanted = None if only is None else frozenset(only)
        unwanted = frozenset(exclude)
        return [
            message
            for message in self.dbc.messages
            if (wanted is None or not wanted.isdisjoint(_names(message))) and unwanted.isdisjoint(_names(message))
        ]

    def _check_name(self, name: str, known: Collection[str], what: str) -> None:
        if name in known:
            return
        if what == "message" and name in self.dbc:
            msg = (
                f"rest-bus of {self._source} leaves message {name!r} out: it is not among 'only', or it is excluded, or"
            )
            raise ConfigurationError(f"{msg} the application sends it; there are {', '.join(sorted(known))}")
        raise ConfigurationError(f"rest-bus of {self._source} has no {what} {name!r}; {nearest(name, known)}")

    def _check_kinds(self, chosen: Collection[DbcMessage]) -> None:
        if self.bus.data_bitrate is not None:
            return
        names = [message.name for message in chosen if message.is_fd]
        if names:
            raise ConfigurationError(
                f"rest-bus of {self._source}: {_listed(names)} {'is' if len(names) == 1 else 'are'} of CAN FD, and bus "
                f"{self.bus.name!r} is classical; give it a data_bitrate (an App: in the machine file), or exclude them"
            )

    def _add(self, message: DbcMessage, cycle_time_ms: float | None, phase_ms: float | None) -> None:
        node = self._node_of(_senders(message)[0])
        if phase_ms is not None and not 0 <= phase_ms <= _CYCLE_MS_MAX:
            raise ConfigurationError(
                f"rest-bus message {message.name}: phase {phase_ms} ms is outside 0..{_CYCLE_MS_MAX}"
            )
        if phase_ms is not None:
            phase_ns = round(phase_ms * _NS_PER_MS)
        elif cycle_time_ms is None:
            phase_ns = 0
        else:
            stream = self.bus.world.stream(f"{node.node.path}/{message.name}/phase")
            phase_ns = stream.integer(0, _cycle_ns(message.name, cycle_time_ms) - 1)
        self.messages[message.name] = node.messages[message.name] = RestMessage(node, message, cycle_time_ms, phase_ns)

    def _node_of(self, name: str) -> RestNode:
        if name not in self.nodes:
            count = sum(_senders(message)[0] == name for message in self.dbc.messages)
            node = self.bus.node(name, queue_length=max(16, 2 * count), queue_order="id")
            self.nodes[name] = RestNode(self, name, node)
        return self.nodes[name]

    def _offer_faults(self) -> None:
        for node in self.nodes.values():
            for message in node.messages.values():
                identifier = (message.message.can_id, message.message.is_extended)
                node.node.faults.add_sender(message.name, [identifier])
                for signal in message.signals.values():
                    path = f"{node.node.path}/{message.name}.{signal.name}"
                    self.bus.world.faults.target(path, _fault_kinds(signal, self.bus.world.faults))

    def _tell_unsent(self) -> None:
        if self.unsent:
            self.bus.world.recorder.notice(
                f"rest-bus of {self._source} on {self.bus.path}: {_listed(self.unsent)} without cycle time, not sent; "
                "give cycle_times_ms, or call trigger()",
                "warning",
            )

    def _tell_lost(self) -> None:
        if self.lost:
            names = ", ".join(f"{name} {node.lost}" for name, node in self.nodes.items() if node.lost)
            self.bus.world.recorder.notice(
                f"rest-bus of {self._source} on {self.bus.path}: lost to full queues or interfaces down: {names}",
                "warning",
            )


def _senders(message: DbcMessage) -> tuple[str, ...]:
    return message.senders or (NO_SENDER,)


def _names(message: DbcMessage) -> tuple[str, str]:
    return message.name, _senders(message)[0]


def _lacks_time(message: DbcMessage, cycle_times_ms: Mapping[str, float | None]) -> bool:
    is_said = message.name in cycle_times_ms or message.send_type.lower() not in {"", "cyclic"}
    return message.cycle_time_ms is None and not is_said


def _is_among(message: DbcMessage, ids: Collection[int | tuple[int, bool]]) -> bool:
    return message.can_id in ids or (message.can_id, message.is_extended) in ids


def _listed(names: Collection[str]) -> str:
    more = len(names) - _NAMES_TOLD
    word = "message" if len(names) == 1 else "messages"
    return f"{word} {', '.join(list(names)[:_NAMES_TOLD])}" + (f" and {more} more" if more > 0 else "")


def _cycle_ns(name: str, cycle_time_ms: float) -> int:
    if not 0 < cycle_time_ms <= _CYCLE_MS_MAX:
        raise ConfigurationError(
            f"rest-bus message {name}: cycle time {cycle_time_ms} ms is outside 0 (not included)..{_CYCLE_MS_MAX}; "
            "None, in a bench file 0, sends it by trigger() only"
        )
    return max(1, round(cycle_time_ms * _NS_PER_MS))


_ANY_SIGNAL: Final = {
    "times": Param(int, default=0, low=0, high=1_000_000, drawn=(0, 100)),
    "keep_checksum": Param(bool, default=True),
}
_RANDOM: Final = {"salt": Param(int, default=0, low=0, high=2**32 - 1), **_ANY_SIGNAL}


# req: REQ_8204
def _fault_kinds(signal: RestSignal, board: FaultBoard) -> dict[str, FaultKind]:
    running: list[tuple[Parameters, Callable[[], None]]] = []

    def kind(make: Callable[[Parameters], Disturbance], describe: str, params: Mapping[str, Param]) -> FaultKind:
        def start(found: Parameters) -> None:
            times, keep_checksum = int(found["times"]) or None, bool(found["keep_checksum"])
            end = signal.disturb(
                make(found), times=times, keep_checksum=keep_checksum, on_used_up=lambda: board.use_up(found)
            )
            running.append((found, end))

        return FaultKind(start, stop, params, describe)

    def stop(found: Parameters) -> None:
        for _, end in [entry for entry in running if entry[0] is found]:
            end()
        running[:] = [entry for entry in running if entry[0] is not found]

    layout = signal.signal
    value = Param(float, check=lambda given: WrongValue(given).bind(layout), drawn=_span(layout))
    by = Param(float, check=lambda given: Offset(given).bind(layout), drawn=_offsets(layout))
    return {
        "value": kind(
            lambda found: WrongValue(float(found["value"])), "the signal is {value}", {"value": value, **_ANY_SIGNAL}
        ),
        "freeze": kind(lambda _found: Freeze(), "the signal keeps its value", _ANY_SIGNAL),
        "random": kind(lambda found: RandomValue(int(found["salt"])), "the signal has random values", _RANDOM),
        "offset": kind(
            lambda found: Offset(float(found["by"])), "the signal is {by} too large", {"by": by, **_ANY_SIGNAL}
        ),
    }


def _span(signal: DbcSignal) -> tuple[float, float]:
    """Return what a campaign draws values from: all that the bits can say."""
    return (-1e9, 1e9) if signal.is_float else signal._replace(minimum=None, maximum=None).limits


def _offsets(signal: DbcSignal) -> tuple[float, float]:
    step = max(abs(signal.factor), 1e-6)  # a campaign draws six decimal places
    return step, step * min(16, (1 << signal.bits) - 1)
