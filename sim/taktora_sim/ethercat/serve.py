"""Serves a simulated segment to a real MainDevice: on a network interface, or over a socket pair, on the wall clock.

``python -m taktora_sim.ethercat.serve --machine FILE --bus NAME --interface IFACE [--redundant IFACE] [--seed N]
[--plan FILE] [--record FILE.pcapng]``; ``--socket FD`` instead of ``--interface`` takes one end of a pair of datagram
sockets that the parent has opened.

The World is advanced to wall time before each frame, so that plants, faults and plans work as they do in a simulated
run. Standard input and output are a control channel of JSON lines; the end of standard input ends the process::

    {"do": "snapshot"}                                        -> {"ok": true, "now_ns": ..., "subdevices": [...]}
    {"do": "inject", "target": "ethercat/cell/axis1", "kind": "cut-cable", "parameters": {}, "duration_ns": null}
                                                              -> {"ok": true, "fault": 1}
    {"do": "end", "fault": 1}                                 -> {"ok": true}
    {"do": "quit"}                                            -> {"ok": true}

The first line, unasked, is ``{"ready": true, ...}``. What is refused is answered with ``{"ok": false, "error": ...}``.
"""

from __future__ import annotations

import argparse
import gc
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from taktora.errors import ConfigurationError, TaktoraError
from taktora_sim.control import ControlChannel as WorldControl
from taktora_sim.ethercat.frame import ETHERTYPE
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.faults import FaultPlanError
from taktora_sim.wallclock import WallClock
from taktora_sim.world import World

__all__ = ["ControlChannel", "FrameSocket", "open_interface", "serve"]

_MAX_FRAME = 1600
_PACKET_OUTGOING = 4
_BURST = 64
_POLL_S = 0.1
"""Longest wait after which ``stop`` is asked again."""


class FrameSocket(Protocol):
    """What frames come from and go to: a packet socket, or one end of a pair of datagram sockets."""

    def fileno(self) -> int: ...

    def setblocking(self, flag: bool, /) -> None: ...

    def recvfrom(self, size: int, /) -> tuple[bytes, Any]: ...

    def send(self, data: bytes, /) -> int: ...


def open_interface(name: str) -> socket.socket:
    """Return a packet socket for EtherCAT frames on the interface ``name``.

    Raises:
        ConfigurationError: not on Linux, no such interface, or no privilege (CAP_NET_RAW).
    """
    if not hasattr(socket, "AF_PACKET"):
        raise ConfigurationError(f"interface {name!r}: raw Ethernet needs Linux; serve over a socket pair instead")
    protocol = int.from_bytes(ETHERTYPE, "big")
    try:
        with ExitStack() as stack:
            packet = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)))
            packet.bind((name, protocol))
            stack.pop_all()
    except PermissionError as error:
        msg = f"interface {name!r}: no privilege for raw Ethernet; give CAP_NET_RAW or use a namespace (unshare -Urn)"
        raise ConfigurationError(msg) from error
    except OSError as error:
        raise ConfigurationError(f"interface {name!r} cannot be opened: {error.strerror}; see 'ip link'") from error
    return packet


# req: REQ_8110
def serve(
    segment: SimulatedSegment,
    world: World,
    sockets: FrameSocket | Sequence[FrameSocket],
    stop: Callable[[], bool],
    control: ControlChannel | None = None,
) -> None:
    """Answer frames until ``stop`` returns True, which is asked at least every 100 ms, and after each control line.

    Virtual time begins where the World stands and goes with the wall clock from then on.

    Args:
        segment: Who answers.
        world: Its World; nobody else may step it meanwhile.
        sockets: Interface 0, and interface 1 of a ring. Non-blocking mode is set.
        stop: Whether to end.
        control: A control channel to serve as well.
    """
    ends = tuple(sockets) if isinstance(sockets, Sequence) else (sockets,)
    _Server(segment, world, ends, control).run(stop)


class _Server:
    def __init__(
        self,
        segment: SimulatedSegment,
        world: World,
        sockets: tuple[FrameSocket, ...],
        control: ControlChannel | None,
    ) -> None:
        self._segment = segment
        self._world = world
        self._sockets = sockets
        self._control = control
        self._clock = WallClock(world)

    def run(self, stop: Callable[[], bool]) -> None:
        self._clock = WallClock(self._world)
        with selectors.DefaultSelector() as selector:
            for interface, end in enumerate(self._sockets):
                end.setblocking(False)
                selector.register(end.fileno(), selectors.EVENT_READ, interface)
            if self._control is not None:
                selector.register(self._control.fileno(), selectors.EVENT_READ, -1)
            while not stop() and not (self._control is not None and self._control.has_ended):
                ready = selector.select(self._clock.wait_s(_POLL_S))
                self._clock.advance()
                for key, _events in ready:
                    if key.data < 0:
                        assert self._control is not None
                        self._control.take()
                    else:
                        self._receive(key.data)

    def _receive(self, interface: int) -> None:
        end = self._sockets[interface]
        for _ in range(_BURST):
            try:
                data, address = end.recvfrom(_MAX_FRAME)
            except BlockingIOError:
                return
            if not data:
                return
            if data[12:14] != ETHERTYPE or (isinstance(address, tuple) and address[2] == _PACKET_OUTGOING):
                continue
            self._clock.advance()
            self._answer(data, interface)

    def _answer(self, data: bytes, interface: int) -> None:
        due_ns = self._segment.round_ns(len(data))
        for arrival in self._segment.arrivals(data, interface):
            if arrival.interface >= len(self._sockets):
                continue
            end = self._sockets[arrival.interface]
            late_ns = arrival.after_ns - due_ns
            if late_ns > 0:
                self._world.call_after(late_ns, _Sending(end, arrival.data))
            else:
                _Sending(end, arrival.data)()


class _Sending:
    """One frame to be sent; a full or closed socket loses it, as a wire does."""

    __slots__ = ("_data", "_end")

    def __init__(self, end: FrameSocket, data: bytes) -> None:
        self._end = end
        self._data = data

    def __call__(self) -> None:
        try:
            self._end.send(self._data)
        except (BlockingIOError, ConnectionError):
            return


class ControlChannel(WorldControl):
    """The control channel of a segment; see :mod:`taktora_sim.control`.

    Args:
        segment: What is told and shown.
        reads: Where lines come from; its end ends the server.
        writes: Where answers go.
    """

    def __init__(self, segment: SimulatedSegment, reads: int, writes: int) -> None:
        super().__init__(segment.world, reads, writes, self._show)
        self._segment = segment

    def _show(self) -> dict[str, object]:
        devices = [device.snapshot() for device in self._segment.subdevices]
        return {"frames": self._segment.frames, "subdevices": devices}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a bus of a machine file; returns the exit status."""
    wanted = _parse(arguments)
    try:
        run(wanted)
    except KeyboardInterrupt:
        return 0
    except (TaktoraError, FaultPlanError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    return 0


def run(wanted: argparse.Namespace) -> None:
    """Build the World, the segment and the sockets, and serve until the control channel ends."""
    from taktora_sim.ethercat.pcapng import SegmentRecording
    from taktora_sim.plan import FaultPlan

    plan = None if wanted.plan is None else FaultPlan.load(wanted.plan)
    with ExitStack() as stack:
        world = stack.enter_context(World(wanted.seed, name=wanted.bus, plan=plan))
        segment = _build(world, wanted)
        ends = [stack.enter_context(end) for end in _open(wanted)]
        if wanted.record is not None:
            SegmentRecording(segment, wanted.record)
        control = ControlChannel(segment, sys.stdin.fileno(), sys.stdout.fileno())
        world.start()
        # A pause of the collector in the middle of a frame is a late frame; what is here now stays anyway.
        gc.collect()
        gc.freeze()
        control.announce(bus=wanted.bus, subdevices=[device.label for device in segment.subdevices])
        serve(segment, world, ends, lambda: False, control)


def _open(wanted: argparse.Namespace) -> list[socket.socket]:
    if wanted.socket is not None:
        return [socket.socket(fileno=wanted.socket)]
    return [open_interface(name) for name in (wanted.interface, wanted.redundant) if name is not None]


def _build(world: World, wanted: argparse.Namespace) -> SimulatedSegment:
    from taktora.app.machine import load_machine
    from taktora_sim.ethercat.devices.build import build_segment

    spec = load_machine(wanted.machine).ethercat_bus(wanted.bus, f"{wanted.machine}")
    has_ring = wanted.redundant is not None
    return build_segment(world, wanted.bus, spec, wanted.machine.parent, has_ring=has_ring)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m taktora_sim.ethercat.serve", description="Serve a segment.")
    parser.add_argument("--machine", type=Path, required=True, help="machine file")
    parser.add_argument("--bus", required=True, help="name of the EtherCAT bus in it")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--interface", help="network interface to answer on")
    where.add_argument("--socket", type=int, help="file descriptor of an open datagram socket to answer on")
    parser.add_argument("--redundant", help="interface at the other end of a ring")
    parser.add_argument("--seed", type=int, default=0, help="seed of the World")
    parser.add_argument("--plan", type=Path, help="fault plan; times count from the start")
    parser.add_argument("--record", type=Path, help="pcapng file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # The recording is finished and the sockets closed, whoever ends this process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    sys.exit(main())
