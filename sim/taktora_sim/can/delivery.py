"""Who gets a frame at its end: other nodes' sockets, and those of the sender's own host; it knows no time and no wire.

In the ordinary case, which sockets take an identifier of one sender is found once and kept as a route, until a node, a
socket or a filter changes. A frame that some nodes lose goes from node to node and from socket to socket, and so does
one during whose delivery something changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from taktora.can.interface import CanFrame

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus, Transmission
    from taktora_sim.can.node import CanNode
    from taktora_sim.can.socket import SimulatedCanInterface

    _Taker: TypeAlias = tuple[SimulatedCanInterface, bool, CanNode, tuple[SimulatedCanInterface, ...]]
    """A socket, whether it is of the sending host, its node, and the sockets behind it there."""
    _Route: TypeAlias = tuple[_Taker, ...]

__all__ = ["Delivery", "stamped"]

_IDENTIFIERS_KEPT = 4096


class Delivery:
    """Hands the frames of one bus over; made by the bus."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self._bus = bus
        self._routes: dict[CanNode | SimulatedCanInterface, dict[int, _Route]] = {}

    def forget(self) -> None:
        """Find all routes anew: nodes, their sockets or filters have changed."""
        self._routes = {}  # not cleared: a delivery under way sees that it is another one

    def deliver(self, current: Transmission) -> None:
        """Give a frame to all other nodes that have a socket, and back to the senders' own hosts."""
        head, routes, route = current.head, self._routes, None
        if current.deaf is None and not head.hidden and current.hearing is self._bus.hearing:
            try:
                route = routes[head.origin or head.node][head.rx_id]
            except KeyError:
                route = self._find(current)
        if route is None:
            self._deliver_to([node for node in current.hearing if node in self._bus.hearing], current)
        elif route:
            frame = stamped(current.frame, current.end_ns)
            for socket, is_own, node, rest in route:
                if is_own:
                    socket.take_own_host(frame)
                else:
                    take = socket.take
                    take(frame)
                if self._routes is not routes:
                    self._go_on(current, frame, node, rest)
                    return

    def _find(self, current: Transmission) -> _Route | None:
        """Find the route of a frame and keep it; None while a controller is to lose what it receives."""
        head, sender = current.head, current.head.node
        takers: list[_Taker] = []
        for node in self._bus.hearing:
            if node.loses_next:
                return None
            sockets = node.sockets
            for place, socket in enumerate(sockets, 1):
                if (node is not sender or node.loops_back_to(socket)) and socket.passes(head.rx_id):
                    takers.append((socket, node is sender, node, sockets[place:]))
        routes = self._routes.setdefault(head.origin or sender, {})
        if len(routes) >= _IDENTIFIERS_KEPT:
            routes.clear()
        routes[head.rx_id] = route = tuple(takers)
        return route

    def _go_on(
        self, current: Transmission, frame: CanFrame, node: CanNode, rest: tuple[SimulatedCanInterface, ...]
    ) -> None:
        """Give a frame to the other sockets of ``node``, then to all behind: the last taker has changed something."""
        if node is current.head.node:
            node.loop_back(frame, current.head.rx_id, rest)
        else:
            for socket in rest:
                socket.deliver(frame, current.head.rx_id)
        self._deliver_to(current.hearing[current.hearing.index(node) + 1 :], current)

    @staticmethod
    def _deliver_to(nodes: Iterable[CanNode], current: Transmission) -> None:
        head, senders = current.head, current.senders
        frame: CanFrame | None = None  # until somebody wants it
        for node in nodes:
            if not node.sockets:
                continue
            is_sender = node in senders
            if is_sender and not any(map(node.loops_back_to, node.sockets)):
                continue
            if frame is None:
                frame = stamped(current.frame, current.end_ns)
            if is_sender:
                node.loop_back(frame, head.rx_id, node.sockets)
            elif not head.hidden and not (current.deaf and node in current.deaf):
                node.receive(frame, head.rx_id)


def stamped(frame: CanFrame, now_ns: int) -> CanFrame:
    """Return ``frame`` as it is received at ``now_ns``."""
    return CanFrame(  # msgspec.structs.replace takes four times as long
        frame.can_id,
        frame.data,
        frame.extended,
        frame.remote,
        frame.dlc,
        now_ns,
        frame.fd,
        frame.brs,
        frame.esi,
    )
