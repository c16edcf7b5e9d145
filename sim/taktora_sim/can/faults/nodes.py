"""What a node of the simulated CAN bus itself does wrong or suffers, as fault kinds; it decides nothing itself.

Of nodes only (path ``can/<bus>/<node>``). With an end:

==================  ================================================================================================
``interface_down``  the host interface is down, its queue lost, until the fault ends
``babble``          the node sends frames ``id`` with ``length`` zero bytes every ``period_ns``, back to back with 0
``reader_pause``    the processes behind the node's sockets read nothing: what exceeds their buffers is lost
``wrong_bitrate``   the node runs at ``bitrate`` (and ``data_bitrate``; 0 leaves that): each frame of one is an error
                    to the others
==================  ================================================================================================

Over at once; the first four leave a controller alone that is bus-off already:

==================  ================================================================================================
``warning``         the transmit error counter becomes ``tec`` (96 to 127), that for receiving stays
``passive``         likewise, 128 to 255
``set_counters``    both error counters become ``tec`` and ``rec``
``bus_off``         the controller is bus-off
``rx_overflow``     no room for the next ``frames`` received: at the ``controller``, each with an error frame, or at
                    each ``socket``, whose reader is told the number with the next frame (``at``)
``restart``         somebody restarts a controller that is bus-off; without one, nothing happens
==================  ================================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taktora.can.interface import CanFrame
from taktora.duration import format_duration
from taktora_sim.can.controller import BUS_OFF_LIMIT, PASSIVE_LIMIT, WARNING_LIMIT
from taktora_sim.can.faults.choice import parse_id
from taktora_sim.faults import FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora_sim.can.bus import BusFrame, SimulatedCanBus
    from taktora_sim.can.node import CanNode
    from taktora_sim.can.socket import SimulatedCanInterface

__all__ = ["node_kinds"]

_LOOK_AGAIN_NS = 1_000_000
"""How often a node that babbles back to back looks whether its frame was lost from the queue."""


# req: REQ_8204
def node_kinds(node: CanNode) -> dict[str, FaultKind]:
    """Return the fault kinds of ``node`` itself."""
    return {
        "interface_down": _interface_down(node),
        "babble": _babble(node),
        "reader_pause": _reader_pause(node),
        "wrong_bitrate": _wrong_bitrate(node),
        "rx_overflow": _rx_overflow(node),
        **_counter_kinds(node),
    }


def _interface_down(node: CanNode) -> FaultKind:
    downs: list[Parameters] = []

    def go_down(parameters: Parameters) -> None:
        downs.append(parameters)
        node.set_up(False)

    def come_up(_parameters: Parameters) -> None:
        downs.pop()
        node.set_up(not downs)

    return FaultKind(start=go_down, stop=come_up, describe="the CAN interface is down")


def _rx_overflow(node: CanNode) -> FaultKind:
    def start(parameters: Parameters) -> None:
        frames = int(parameters["frames"])
        for loser in node.sockets if parameters["at"] == "socket" else (node,):
            loser.overflow(frames)

    params = {
        "frames": Param(int, default=1, low=1, high=1_000_000, drawn=(1, 20)),
        "at": Param(str, default="controller", choices=("controller", "socket")),
    }
    return FaultKind(start, params=params, describe="the {at} overflows and loses {frames} received frames")


def _reader_pause(node: CanNode) -> FaultKind:
    paused: list[list[SimulatedCanInterface]] = []

    def pause(_parameters: Parameters) -> None:
        paused.append(list(node.sockets))
        for socket in node.sockets:
            socket.pause_reading()

    def go_on(_parameters: Parameters) -> None:
        sockets = paused.pop()
        if not paused:
            for socket in sockets:
                socket.resume_reading()

    return FaultKind(start=pause, stop=go_on, describe="nothing is read from the node's sockets")


def _wrong_bitrate(node: CanNode) -> FaultKind:
    own: Parameters = {}
    active: list[Parameters] = []

    def settle() -> None:
        rates = active[-1] if active else own
        node.bitrate = int(rates["bitrate"])
        node.data_bitrate = int(rates["data_bitrate"]) or int(own["data_bitrate"])

    def start(parameters: Parameters) -> None:
        nonlocal own
        if not active:
            own = {"bitrate": node.bitrate, "data_bitrate": node.data_bitrate}
        active.append(parameters)
        settle()

    def stop(parameters: Parameters) -> None:
        active[:] = [other for other in active if other is not parameters]
        settle()

    params = {
        "bitrate": Param(int, low=1_000, high=1_000_000, unit="bit/s"),
        "data_bitrate": Param(int, default=0, low=0, high=8_000_000, unit="bit/s", drawn=(0, 0)),
    }
    return FaultKind(start=start, stop=stop, params=params, describe="the node runs at {bitrate} bit/s")


def _counter_kinds(node: CanNode) -> dict[str, FaultKind]:
    def set_to(tec: int, rec: int | None = None) -> None:
        if not node.controller.is_bus_off:
            node.controller.set_counters(tec, node.controller.rec if rec is None else rec)

    def raise_tec(parameters: Parameters) -> None:
        set_to(int(parameters["tec"]))

    def set_both(parameters: Parameters) -> None:
        set_to(int(parameters["tec"]), int(parameters["rec"]))

    def go_off(_parameters: Parameters) -> None:
        set_to(BUS_OFF_LIMIT)

    def restart(_parameters: Parameters) -> None:
        if node.is_up and node.is_bus_off_host:
            node.restart()

    warning = Param(int, default=WARNING_LIMIT, low=WARNING_LIMIT, high=PASSIVE_LIMIT - 1)
    passive = Param(int, default=PASSIVE_LIMIT, low=PASSIVE_LIMIT, high=BUS_OFF_LIMIT - 1)
    both = {"tec": Param(int, default=0, low=0, high=BUS_OFF_LIMIT), "rec": Param(int, default=0, low=0, high=255)}
    return {
        "warning": FaultKind(raise_tec, params={"tec": warning}, describe="the transmit error counter is {tec}"),
        "passive": FaultKind(raise_tec, params={"tec": passive}, describe="the transmit error counter is {tec}"),
        "set_counters": FaultKind(set_both, params=both, describe="the error counters are TEC {tec} and REC {rec}"),
        "bus_off": FaultKind(go_off, describe="the controller goes bus-off"),
        "restart": FaultKind(restart, describe="the controller is restarted if it is bus-off"),
    }


def _babble(node: CanNode) -> FaultKind:
    bus = node.bus
    active: list[tuple[Parameters, _Babbler]] = []

    def start(parameters: Parameters) -> None:
        active.append((parameters, _Babbler(node, bus, parameters)))

    def stop(parameters: Parameters) -> None:
        for begun, babbler in active:
            if begun is parameters:
                babbler.is_over = True
        active[:] = [entry for entry in active if entry[0] is not parameters]

    params = {
        "id": Param(str, default="0", check=parse_id),
        "length": Param(int, default=8, low=0, high=8, unit="bytes"),
        "period_ns": Param(int, default=0, low=0, high=10**10, unit="ns", drawn=(0, 10**6)),
    }
    return FaultKind(start=start, stop=stop, params=params, describe=_babble_sentence)


def _babble_sentence(parameters: Parameters) -> str:
    period_ns = int(parameters["period_ns"])
    how = f"every {format_duration(period_ns)}" if period_ns else "back to back"
    return f"the node babbles: frames {parameters['id']} {how}"


class _Babbler:
    """One node that sends what nobody asked for; never more than one frame of it waits."""

    def __init__(self, node: CanNode, bus: SimulatedCanBus, parameters: Parameters) -> None:
        can_id, is_extended = parse_id(str(parameters["id"]))
        self.is_over = False
        self._node = node
        self._frame = CanFrame(can_id, bytes(int(parameters["length"])), is_extended)
        period_ns = int(parameters["period_ns"])
        self._period_ns = period_ns or _LOOK_AGAIN_NS
        if not period_ns:
            bus.observe(self._on_frame)
        self._tick()

    def _tick(self) -> None:
        if not self.is_over:
            self._send()
            self._node.bus.world.call_after(self._period_ns, self._tick)

    def _on_frame(self, _frame: BusFrame) -> None:
        if not self.is_over:
            self._send()

    def _send(self) -> None:
        node, frame = self._node, self._frame
        if node.is_on_bus and not node.is_bus_off_host and all(waiting.frame is not frame for waiting in node.queue):
            node.enqueue(frame, None)
