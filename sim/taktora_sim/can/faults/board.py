"""What can go wrong at a node of the simulated CAN bus, as fault kinds of the World's board; it decides nothing itself.

Kinds of every node (path ``can/<bus>/<node>``) and of every named sender of a replay (``.../<sender>``). On frames
before the transmit queue:

==================  ================================================================================================
``silence``         frames are swallowed before the queue, as when the sender has lost power; nobody is told
``drop``            loss: frames take their time on the bus, and no other node receives them
``delay``           frames enter the transmit queue ``by_ns`` later
``corrupt_data``    data byte ``byte`` is changed by ``mask`` before sending (a wrong value; the CRC fits)
``corrupt_signal``  the bits of a counter, checksum or other signal are wrong: ``mode`` is ``freeze``, ``offset``,
                    ``random`` or ``value`` (with ``value``, raw); which bits: ``signal`` (``Message.Signal`` of a DBC
                    known for the bus) or ``bits`` (``start|length@order`` as in a DBC)
==================  ================================================================================================

On frames on the wire, which are destroyed by it and sent again; an attempt counts, not a frame:

==================  ================================================================================================
``bit_error``       bit ``bit`` of ``field`` is wrong: seen by the transmitter, or by the receivers ``by`` alone
``error_rate``      ``percent`` of the attempts are destroyed at a bit drawn from ``salt``
``no_ack``          nobody acknowledges
``duplicate``       the last bit of end of frame is wrong for the sender: it sends again what all have received
==================  ================================================================================================

All of these pick frames by ``ids`` (identifiers in hexadecimal with commas between, 29-bit ones with an ``x`` behind;
empty is all), ``every`` (the n-th, 2n-th ... of those), ``percent`` of them (drawn from ``salt`` alone, so that a saved
plan repeats itself under any seed) and ``times`` (no more than that many; 0 is without limit). What a node itself does
and suffers besides is in :mod:`taktora_sim.can.faults.nodes` and :mod:`taktora_sim.can.faults.line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from taktora.can.interface import CanFrame
from taktora_sim.can.errors import Attempt, WireError
from taktora_sim.can.faults.choice import CHOICE, Choice, Identifier
from taktora_sim.can.faults.line import line_kinds
from taktora_sim.can.faults.nodes import node_kinds
from taktora_sim.can.faults.signals import SIGNAL_PARAMETERS, BitRange, CanDatabases, NamedSignal, disturbance
from taktora_sim.can.faults.wire import STRIKES, Strike
from taktora_sim.faults import FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora_sim.can.node import CanNode
    from taktora_sim.can.socket import SimulatedCanInterface

__all__ = ["NodeFaults"]

_EFFECT_CODES = {
    "silence": b"\x01",
    "drop": b"\x02",
    "delay": b"\x03",
    "corrupt_data": b"\x04",
    "corrupt_signal": b"\x05",
    "bit_error": b"\x06",
    "error_rate": b"\x07",
    "no_ack": b"\x08",
    "duplicate": b"\x09",
}
_Alter: TypeAlias = Callable[[CanFrame], CanFrame]


@dataclass(eq=False, slots=True)
class _Effect:
    """One active fault: which frames it picks, and what it makes of them (before the queue, or on the wire)."""

    kind: str
    parameters: Parameters
    choice: Choice
    alter: _Alter | None = None
    strike: Strike | None = None
    seen: int = 0

    def hits(self, frame: CanFrame) -> bool:
        self.seen += 1
        return self.choice.hits(frame)


@dataclass(eq=False, slots=True)
class _Scope:
    """One fault target: a node, or the identifiers of one sender of it."""

    path: str
    ids: frozenset[Identifier] | None
    effects: list[_Effect] = field(default_factory=list)
    strikes: list[_Effect] = field(default_factory=list)

    def covers(self, frame: CanFrame) -> bool:
        return self.ids is None or (frame.can_id, frame.extended) in self.ids


# req: REQ_8204
class NodeFaults:
    """Faults of one node: registered with the World's board, applied to each frame on its way into the queue."""

    def __init__(self, node: CanNode) -> None:
        self._node = node
        self._bus = node.bus
        self._note = self._bus.world.trace.channel(node.path, "fault-effect")
        self._databases = self._bus.world.part(CanDatabases)
        node_scope = _Scope(node.path, None)
        kinds = {**self._kinds(node_scope, node.path), **node_kinds(node), **line_kinds(node)}
        self._own = node_scope, self._bus.world.faults.target(node.path, kinds)
        self._targets = [self._own]
        self._bus.world.on_close(self._conclude)

    def add_sender(self, name: str, ids: Iterable[int | Identifier]) -> None:
        """Register the identifiers of one sender as a fault target of its own.

        Args:
            name: Last part of the path.
            ids: Identifiers, each as ``(value, is_extended)``; a bare number above 0x7FF is taken as extended.
        """
        pairs = frozenset(entry if isinstance(entry, tuple) else (entry, entry > 0x7FF) for entry in ids)
        path = f"{self._node.path}/{name}"
        scope = _Scope(path, pairs)
        self._targets.append((scope, self._bus.world.faults.target(path, self._kinds(scope, path))))

    def submit(self, frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        """Let one frame into the node's queue, as far as the active faults allow."""
        scope, target = self._own
        target.count()
        if scope.effects or len(self._targets) > 1:
            self._submit_with_care(frame, origin)
        else:
            self._node.enqueue(frame, origin)

    def _submit_with_care(self, frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        """Do so for a frame that the node itself has counted."""
        hits: list[_Effect] = []
        for scope, target in self._targets:
            if scope.covers(frame):
                if scope.ids is not None:
                    target.count()
                hits += [effect for effect in scope.effects if effect.hits(frame)]
        if hits:
            self._apply(hits, frame, origin)
        else:
            self._node.enqueue(frame, origin)

    def _apply(self, hits: list[_Effect], frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        for effect in hits:
            self._tell(effect, frame)
        kinds = {effect.kind for effect in hits}
        if "silence" in kinds:
            return
        for effect in hits:
            if effect.alter is not None:
                frame = effect.alter(frame)
        delay_ns = sum(int(effect.parameters["by_ns"]) for effect in hits if effect.kind == "delay")
        hidden = "drop" in kinds
        if delay_ns:
            self._hold_back(delay_ns, frame, origin, hidden)
        else:
            self._node.enqueue(frame, origin, hidden)

    def _hold_back(self, delay_ns: int, frame: CanFrame, origin: SimulatedCanInterface | None, hidden: bool) -> None:
        self._node.held_back += 1

        def release() -> None:
            self._node.held_back -= 1
            self._node.enqueue(frame, origin, hidden)

        self._bus.world.call_after(delay_ns, release)

    def _tell(self, effect: _Effect, frame: CanFrame) -> None:
        self._note(_EFFECT_CODES[effect.kind] + frame.can_id.to_bytes(4, "little"))
        if effect.choice.is_used_up:
            self._bus.world.faults.use_up(effect.parameters)

    def _strike(self, attempt: Attempt) -> WireError | None:
        """Answer the bus at a start of frame of this node: the first error of an active fault, if any."""
        if attempt.node != self._node.name:
            return None
        frame, answer = attempt.frame, None
        for scope, _ in self._targets:
            if scope.strikes and scope.covers(frame):
                for effect in scope.strikes:
                    found = self._found(effect, frame)
                    if answer is None and found is not None:
                        answer = found
                        self._tell(effect, frame)
        return answer

    @staticmethod
    def _found(effect: _Effect, frame: CanFrame) -> WireError | None:
        """Return what ``effect`` does to this attempt; one at which it can do nothing does not count."""
        assert effect.strike is not None
        effect.seen += 1
        found = effect.strike(frame, effect.parameters, effect.choice.draws)
        return found if found is not None and effect.choice.hits(frame) else None

    def _end(self, scope: _Scope, effects: list[_Effect], parameters: Parameters) -> None:
        for effect in effects:
            if effect.parameters is parameters:
                self._tell_unhit(scope, effect)
        effects[:] = [effect for effect in effects if effect.parameters is not parameters]

    def _conclude(self) -> None:
        for scope, _ in self._targets:
            for effect in [*scope.effects, *scope.strikes]:
                self._tell_unhit(scope, effect)

    def _tell_unhit(self, scope: _Scope, effect: _Effect) -> None:
        """Warn of a fault that did nothing: a place that no frame has, or an identifier that nobody sends."""
        if not effect.choice.hit:
            why = effect.choice.misses(effect.seen, _place_of(effect))
            text = f"fault {effect.kind} at {scope.path} never hit a frame: {why}"
            self._bus.world.recorder.notice(text, "warning")

    def _kinds(self, scope: _Scope, path: str) -> dict[str, FaultKind]:
        kinds = {
            "silence": self._kind(scope, path, "silence", "the sender is silent"),
            "drop": self._kind(scope, path, "drop", "frames get lost on the way to every receiver"),
            "delay": self._kind(
                scope, path, "delay", "frames are {by_ns} late", by_ns=Param(int, low=1, high=10**10, unit="ns")
            ),
            "corrupt_data": self._kind(
                scope,
                path,
                "corrupt_data",
                "data byte {byte} is wrong",
                _byte_change,
                byte=Param(int, default=0, low=0, high=63, drawn=(0, 7)),
                mask=Param(int, default=0xFF, low=1, high=0xFF),
            ),
            "corrupt_signal": self._signal_kind(scope, path),
        }
        return kinds | {name: self._wire_kind(scope, path, name) for name in STRIKES}

    def _kind(
        self,
        scope: _Scope,
        path: str,
        kind: str,
        describe: str,
        make_alter: Callable[[Parameters], _Alter] | None = None,
        **params: Param,
    ) -> FaultKind:
        def start(parameters: Parameters) -> None:
            alter = None if make_alter is None else make_alter(parameters)
            scope.effects.append(_Effect(kind, parameters, Choice(parameters, f"{path}/{kind}"), alter))

        def stop(parameters: Parameters) -> None:
            self._end(scope, scope.effects, parameters)

        return FaultKind(start=start, stop=stop, params={**params, **CHOICE}, describe=describe)

    def _signal_kind(self, scope: _Scope, path: str) -> FaultKind:
        def find(name: str) -> NamedSignal | None:
            return self._databases.signal(self._bus.name, name) if name else None

        def start(parameters: Parameters) -> None:
            named = find(str(parameters["signal"]))
            ids = None if named is None else frozenset([named.identifier])
            choice = Choice(parameters, f"{path}/corrupt_signal", ids)
            bits = BitRange.parse(str(parameters["bits"])) if named is None else named.bits
            alter = disturbance(bits, str(parameters["mode"]), int(parameters["value"]), choice.draws)
            scope.effects.append(_Effect("corrupt_signal", parameters, choice, alter))

        def stop(parameters: Parameters) -> None:
            self._end(scope, scope.effects, parameters)

        params = {"signal": Param(str, default="", check=find), **SIGNAL_PARAMETERS, **CHOICE}
        return FaultKind(start=start, stop=stop, params=params, describe=_signal_sentence)

    def _wire_kind(self, scope: _Scope, path: str, kind: str) -> FaultKind:
        strike, describe, params = STRIKES[kind]
        receivers = {"by": Param(str, default="", check=self._check_receivers)} if kind == "bit_error" else {}

        def start(parameters: Parameters) -> None:
            choice = Choice(parameters, f"{path}/{kind}")
            scope.strikes.append(_Effect(kind, parameters, choice, strike=strike))
            if self._strike not in self._bus.wire_faults:
                self._bus.wire_faults.append(self._strike)

        def stop(parameters: Parameters) -> None:
            self._end(scope, scope.strikes, parameters)
            if not any(other.strikes for other, _ in self._targets):
                self._bus.wire_faults.remove(self._strike)

        return FaultKind(start=start, stop=stop, params={**receivers, **CHOICE, **params}, describe=describe)

    def _check_receivers(self, text: str) -> None:
        """Refuse names that are no other node of the bus."""
        others = [node.name for node in self._bus.nodes if node is not self._node]
        for name in filter(None, (part.strip() for part in text.split(","))):
            if name not in others:
                expected = f"names of other nodes of the bus with commas between ({', '.join(others) or 'it has none'})"
                raise ValueError(expected)


def _place_of(effect: _Effect) -> str:
    """Return in words what only some frames have that the fault needs; empty: any frame will do."""
    if effect.kind != "bit_error":
        return ""
    parameters, by = effect.parameters, str(effect.parameters["by"])
    seen_by = f" where it is an error for {by}" if by else ""
    return f"bit {parameters['bit']} of field {parameters['field']}{seen_by}"


def _byte_change(parameters: Parameters) -> _Alter:
    byte, mask = int(parameters["byte"]), int(parameters["mask"])

    def alter(frame: CanFrame) -> CanFrame:
        if byte >= len(frame.data):
            return frame
        data = bytearray(frame.data)
        data[byte] ^= mask
        return frame._replace(data=bytes(data))

    return alter


def _signal_sentence(parameters: Parameters) -> str:
    which = f"signal {parameters['signal']}" if parameters["signal"] else f"bits {parameters['bits']}"
    how = {
        "freeze": "stand still",
        "offset": f"are off by {parameters['value']}",
        "random": "are random",
        "value": f"are always {parameters['value']}",
    }
    return f"{which}: the bits {how[str(parameters['mode'])]}"
