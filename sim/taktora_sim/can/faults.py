"""What can go wrong at a node of the simulated CAN bus, as fault kinds of the World's board; it decides nothing itself.

Kinds of every node (path ``can/<bus>/<node>``) and of every named sender of a replay (``.../<sender>``):

==================  ================================================================================================
``silence``         frames are swallowed before the queue, as when the sender has lost power; nobody is told
``drop``            frames take their time on the bus, and no other node receives them
``delay``           frames enter the transmit queue ``by_ns`` later
``corrupt_data``    one data byte is changed before sending (a wrong value, not a wire error: the CRC fits)
``interface_down``  nodes only: the host interface is down, its queue lost, until the fault ends
==================  ================================================================================================

Common parameters: ``ids`` (identifiers in hexadecimal with commas between, 29-bit ones with an ``x`` behind; empty is
all), ``every`` (the n-th, 2n-th ... of the frames that match), ``percent`` of them (drawn from ``salt`` alone, so that
a saved plan repeats itself under any seed).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taktora.can.interface import CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.faults import FaultKind, Param, Parameters
from taktora_sim.streams import Stream

if TYPE_CHECKING:
    from taktora_sim.can.node import CanNode, SimulatedCanInterface

__all__ = ["NodeFaults"]

_EFFECT_CODES = {"silence": b"\x01", "drop": b"\x02", "delay": b"\x03", "corrupt_data": b"\x04"}
_CHOICE: dict[str, Param | bool | int | float | str] = {
    "ids": Param(str, default=""),
    "every": Param(int, default=1, low=1, high=1_000_000),
    "percent": Param(int, default=100, low=0, high=100),
    "salt": Param(int, default=0, low=0, high=2**32 - 1),
}


@dataclass(eq=False, slots=True)
class _Effect:
    """One active fault."""

    kind: str
    parameters: Parameters
    ids: frozenset[tuple[int, bool]] | None
    draws: Stream
    matched: int = 0

    def hits(self, frame: CanFrame) -> bool:
        if self.ids is not None and (frame.can_id, frame.extended) not in self.ids:
            return False
        self.matched += 1
        if self.matched % int(self.parameters["every"]):
            return False
        percent = int(self.parameters["percent"])
        return percent == 100 or self.draws.integer(0, 99) < percent


@dataclass(eq=False, slots=True)
class _Scope:
    """One fault target: a node, or the identifiers of one sender of it."""

    ids: frozenset[tuple[int, bool]] | None
    effects: list[_Effect] = field(default_factory=list)

    def covers(self, frame: CanFrame) -> bool:
        return self.ids is None or (frame.can_id, frame.extended) in self.ids


class NodeFaults:
    """Faults of one node: registered with the World's board, applied to each frame on its way into the queue."""

    def __init__(self, node: CanNode) -> None:
        self._node = node
        self._note = node.bus.world.trace.channel(node.path, "fault-effect")
        self._downs = 0
        node_scope = _Scope(None)
        kinds = self._kinds(node_scope, node.path)
        kinds["interface_down"] = FaultKind(
            start=self._go_down, stop=self._come_up, describe="the CAN interface is down"
        )
        self._targets = [(node_scope, node.bus.world.faults.target(node.path, kinds))]

    def add_sender(self, name: str, ids: Iterable[int | tuple[int, bool]]) -> None:
        """Register the identifiers of one sender as a fault target of its own.

        Args:
            name: Last part of the path.
            ids: Identifiers, each as ``(value, is_extended)``; a bare number above 0x7FF is taken as extended.
        """
        pairs = frozenset(entry if isinstance(entry, tuple) else (entry, entry > 0x7FF) for entry in ids)
        scope = _Scope(pairs)
        path = f"{self._node.path}/{name}"
        self._targets.append((scope, self._node.bus.world.faults.target(path, self._kinds(scope, path))))

    def submit(self, frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        """Let one frame into the node's queue, as far as the active faults allow."""
        hits: list[_Effect] | None = None
        for scope, target in self._targets:
            if scope.ids is None or scope.covers(frame):
                target.count()
                if scope.effects:
                    hits = (hits or []) + [effect for effect in scope.effects if effect.hits(frame)]
        if hits:
            self._apply(hits, frame, origin)
        else:
            self._node.enqueue(frame, origin)

    def _apply(self, hits: Collection[_Effect], frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        for effect in hits:
            self._note(_EFFECT_CODES[effect.kind] + frame.can_id.to_bytes(4, "little"))
        kinds = {effect.kind for effect in hits}
        if "silence" in kinds:
            return
        for effect in hits:
            if effect.kind == "corrupt_data":
                frame = _corrupt(frame, int(effect.parameters["byte"]), int(effect.parameters["mask"]))
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

        self._node.bus.world.call_after(delay_ns, release)

    def _kinds(self, scope: _Scope, path: str) -> dict[str, FaultKind]:
        return {
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
                byte=Param(int, default=0, low=0, high=7),
                mask=Param(int, default=0xFF, low=1, high=0xFF),
            ),
        }

    @staticmethod
    def _kind(scope: _Scope, path: str, kind: str, describe: str, **params: Param) -> FaultKind:
        def start(parameters: Parameters) -> None:
            draws = Stream(int(parameters["salt"]), f"{path}/{kind}")
            scope.effects.append(_Effect(kind, parameters, _parse_ids(str(parameters["ids"]), path), draws))

        def stop(parameters: Parameters) -> None:
            scope.effects[:] = [effect for effect in scope.effects if effect.parameters is not parameters]

        return FaultKind(start=start, stop=stop, params={**params, **_CHOICE}, describe=describe)

    def _go_down(self, _parameters: Parameters) -> None:
        self._downs += 1
        self._node.set_up(False)

    def _come_up(self, _parameters: Parameters) -> None:
        self._downs -= 1
        self._node.set_up(self._downs == 0)


def _corrupt(frame: CanFrame, byte: int, mask: int) -> CanFrame:
    if byte >= len(frame.data):
        return frame
    data = bytearray(frame.data)
    data[byte] ^= mask
    return frame._replace(data=bytes(data))


def _parse_ids(text: str, path: str) -> frozenset[tuple[int, bool]] | None:
    if not text.strip():
        return None
    try:
        return frozenset(_parse_id(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"fault at {path}: ids {text!r} is no list of hexadecimal identifiers; expected for example '123,18FEF100x'"
        ) from error


def _parse_id(text: str) -> tuple[int, bool]:
    is_extended = text.lower().endswith("x")
    value = int(text.rstrip("xX"), 16)
    if not 0 <= value <= (0x1FFF_FFFF if is_extended else 0x7FF):
        raise ValueError(text)
    return value, is_extended
