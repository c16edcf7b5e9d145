"""Serves one simulated bus to programs of the same user in real time, over loopback sockets; it reads no file.

Each program has a port (:mod:`taktora_sim.can.python_can.port`) on the bus of a World that goes with the wall clock.
What programs are told of, and in which order, is the World's matter; the server carries bytes.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import selectors
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from taktora.can.interface import CanFilter, CanFrame
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError, TaktoraError
from taktora_sim.can.backend import SimulatedCan
from taktora_sim.can.python_can.periodic import PeriodicSending
from taktora_sim.can.python_can.port import CanPort, OtherBus, Wish, error_code
from taktora_sim.can.python_can.wire import (
    JSON,
    SEND,
    STREAM,
    STREAM_BUFFER_BYTES,
    pack_received,
    package_version,
    say,
    split_messages,
    unpack_frame,
    unpack_send,
)
from taktora_sim.control import ControlChannel
from taktora_sim.wallclock import WallClock
from taktora_sim.world import Timer, World

__all__ = ["CONNECTIONS", "GREETING_S", "TURNED_AWAY", "CanServer"]

CONNECTIONS = 480
"""Connections that are served, two for each program: select takes 512 of them on Windows, descriptors to 1023 else."""
TURNED_AWAY = 20
"""Further ones that are told why they are not; what comes beyond is closed at once."""
GREETING_S = 5.0
"""Longest time for which a connection may leave open who is there."""
_POLL_S = 0.5
"""Longest wait after which ``stop`` is asked again."""
_CHUNK = 65536


# req: REQ_8203
class CanServer:
    """One bus, its programs, and the loop between them.

    The World goes with the wall clock from here on: time stamps are right if its epoch is of now.

    Args:
        world: Nobody else may step it meanwhile.
        channel: Name of the bus.
        linger_s: Seconds for which whoever runs the server keeps it without a program, as programs that it refuses are
            told; None for one that stays until it is ended by hand.
    """

    def __init__(self, world: World, channel: str, linger_s: float | None = None) -> None:
        self.world = world
        self.channel = channel
        self.token = secrets.token_hex(16)
        self.clients: dict[str, _Client] = {}
        self.on_client: Callable[[], None] = lambda: None
        """Called when a program has opened the bus."""
        self._linger_s = linger_s
        self._clock = WallClock(world)
        self._selector = selectors.SelectSelector()  # of all selectors the one that waits for parts of a millisecond
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self.accept)
        self._links: set[_Link] = set()
        self._strangers: dict[_Link, float] = {}
        """Connections that have not said who is there, oldest first, and until when they may."""
        self._empty_since_s = monotonic()

    @property
    def port(self) -> int:
        """Number of the loopback port that is listened on."""
        return int(self._listener.getsockname()[1])

    @property
    def empty_for_s(self) -> float:
        """Seconds since the last program has gone; 0 while there is one, or a connection that may become one.

        A program that was refused is none: else one that asks on would keep the bus that it cannot have.
        """
        return 0.0 if self._links else monotonic() - self._empty_since_s

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop`` returns True, which is asked at least twice a second."""
        while not stop():
            ready = self._selector.select(self._clock.wait_s(_POLL_S))
            self._clock.advance()
            for key, events in ready:
                key.data(events)
            self._hang_up()

    def control_by(self, control: ControlChannel) -> None:
        """Serve a control channel as well; its end is not this server's, see :meth:`run`."""
        self._selector.register(control, selectors.EVENT_READ, lambda _events: control.take())

    def snapshot(self) -> dict[str, object]:
        """Return the state of the bus and of its nodes, as a control channel shows it."""
        bus = SimulatedCan.of(self.world).buses.get(self.channel)
        if bus is None:
            return {"programs": 0, "frames": 0, "nodes": []}
        nodes = [
            {
                "name": node.name,
                "up": node.is_up,
                "state": node.controller.state.name,
                "tec": node.controller.tec,
                "rec": node.controller.rec,
                "sent": node.sent,
                "queued": node.queued,
            }
            for node in bus.nodes
        ]
        return {"programs": len(self.clients), "frames": bus.frames, "load": bus.load(), "nodes": nodes}

    def accept(self, _events: int = 0) -> bool:
        """Take the connections that wait; whether there was one."""
        found = False
        while True:
            try:
                end, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return found
            found = True
            if len(self._links) >= CONNECTIONS + TURNED_AWAY:
                end.close()
                continue
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, self._selector, end)
            self._links.add(link)
            self._strangers[link] = monotonic() + GREETING_S

    def _hang_up(self) -> None:
        """Close the connections that have not said in time who is there: else one of them keeps the server alive."""
        now_s = monotonic()
        for link in [link for link, until_s in self._strangers.items() if until_s <= now_s]:
            link.refuse(f"nobody has said within {GREETING_S:g} s who is there", errno.ETIMEDOUT)

    def know(self, link: _Link) -> None:
        """Take a connection as that of a program from now on.

        Raises:
            ConfigurationError: there are too many.
        """
        if len(self._links) > CONNECTIONS:
            msg = f"the server of CAN channel {self.channel!r} takes {CONNECTIONS} connections, two for each program"
            raise ConfigurationError(f"{msg}, and has them; end some programs, or use another channel")
        self._strangers.pop(link, None)

    def close(self) -> None:
        """Close all connections; idempotent."""
        for link in tuple(self._links):
            link.close()
        self._selector.close()
        self._listener.close()

    def forget(self, link: _Link) -> None:
        """Leave out a connection that has ended, and what was its own."""
        self._links.discard(link)
        self._strangers.pop(link, None)

    def open(self, link: _Link, request: dict[str, Any]) -> dict[str, Any]:
        """Open the bus for a program; return what it is told.

        Raises:
            ConfigurationError: another version, or another bus than wished for.
        """
        try:
            _check_version(request.get("version"))
            return self._open(link, request)
        except OtherBus as error:
            raise ConfigurationError(f"{error}; {self._way_out()}") from error

    def _open(self, link: _Link, request: dict[str, Any]) -> dict[str, Any]:
        wish = Wish(**request["wish"])
        if wish.channel != self.channel:
            msg = f"this server has channel {self.channel!r}, not {wish.channel!r}"
            raise ConfigurationError(f"{msg}; on this machine names that differ in case only are one")
        client = _Client(self, link, wish)
        name = secrets.token_hex(8)
        self.clients[name] = client
        client.on_close = lambda: self._leave(name)
        self.on_client()
        bus = client.port.bus
        return {"client": name, "bitrate": bus.bitrate, "data_bitrate": bus.data_bitrate, "node": client.port.node.name}

    def _leave(self, name: str) -> None:
        self.clients.pop(name, None)
        if not self.clients:
            self._empty_since_s = monotonic()

    def _way_out(self) -> str:
        """Say when the channel is free for what this bus is not."""
        if self._linger_s is None:
            return f"a server started by hand has the bus (process {os.getpid()}): end it, then the channel is free"
        if self.clients:
            last = f"the last of its {len(self.clients)} programs" if len(self.clients) > 1 else "the program on it"
            return f"the bus is given up {self._linger_s:.1f} s after {last} has gone, then the channel is free"
        left_s = max(0.0, self._linger_s - (monotonic() - self._empty_since_s))
        return f"no program has the bus any more: it is given up in {left_s:.1f} s, then the channel is free"


def _request_of(body: bytes) -> dict[str, Any]:
    """Return what a message says, whoever it is from.

    Raises:
        ValueError: it is no JSON object, or nested more deeply than any request.
    """
    try:
        request = json.loads(body)
    except RecursionError:
        request = None
    if not isinstance(request, dict):
        raise ValueError("a request is a JSON object")
    return request


def _check_version(theirs: object) -> None:
    ours = package_version()
    if theirs != ours:
        msg = f"the server is of taktora {ours} and this program of {theirs}"
        raise OtherBus(f"{msg}; end the programs on the channel that run with the other version")


class _Link:
    """One connection: bytes in, bytes out, and who it turns out to be."""

    def __init__(self, server: CanServer, selector: selectors.BaseSelector, end: socket.socket) -> None:
        self.server = server
        self.take: Callable[[int, bytes], None] = self._greet
        self.on_writable: Callable[[], None] = lambda: None
        self.on_close: Callable[[], None] = lambda: None
        self._selector = selector
        self._end = end
        self._in = bytearray()
        self._out = bytearray()
        self._is_open = True
        self._events = selectors.EVENT_READ
        selector.register(end, self._events, self._on_events)

    @property
    def is_clear(self) -> bool:
        """Nothing waits to be written."""
        return self._is_open and not self._out

    def limit_buffer(self, size: int) -> None:
        """Have the operating system keep about ``size`` bytes that nobody has read, and no more."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def write(self, data: bytes) -> None:
        """Send, now or as soon as there is room."""
        self._out += data
        self._flush()

    def close(self) -> None:
        """End the connection; idempotent."""
        if self._is_open:
            self._is_open = False
            self._selector.unregister(self._end)
            self._end.close()
            self.server.forget(self)
            self.on_close()

    def _on_events(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._read()
        if events & selectors.EVENT_WRITE:
            self._flush()
            if self.is_clear:
                self.on_writable()

    def _read(self) -> None:
        try:
            data = self._end.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += data
        try:
            for kind, body in split_messages(self._in):
                self.take(kind, body)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            self.refuse(f"{error}", errno.EINVAL)

    def refuse(self, text: str, code: int) -> None:
        """Say why, and end the connection."""
        self.write(say(JSON, {"error": text, "code": code}))
        self.close()

    def _flush(self) -> None:
        if not self._is_open:
            return
        try:
            while self._out:
                del self._out[: self._end.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if events != self._events:
            self._events = events
            self._selector.modify(self._end, events, self._on_events)

    def _greet(self, kind: int, body: bytes) -> None:
        """Take the first message, which says who it is."""
        request = _request_of(body)
        if not secrets.compare_digest(str(request.get("token", "")), self.server.token):
            raise ValueError("the token is wrong; read it from the user's runtime folder")
        self.server.know(self)
        if kind == STREAM:
            self.server.clients[request["client"]].attach(self)
            self.take = _Silent()
            return
        try:
            answer = self.server.open(self, request)
        except (ConfigurationError, StackError) as error:
            self.refuse(str(error), errno.EINVAL)
            return
        self.write(say(JSON, answer))


class _Silent:
    """What a stream's client says: nothing."""

    def __call__(self, kind: int, _body: bytes) -> None:
        raise ValueError(f"message of kind {kind} on a stream")


class _Client:
    """One program's port, and what it asks."""

    def __init__(self, server: CanServer, link: _Link, wish: Wish) -> None:
        self.port = CanPort(server.world, wish, self._drain)
        self.on_close: Callable[[], object] = lambda: None
        self._world = server.world
        self._link = link
        self._stream: _Link | None = None
        self._periodic: dict[int, PeriodicSending] = {}
        self._parked: tuple[CanFrame, Timer | None] | None = None
        link.take = self._take
        link.on_close = self._close

    def attach(self, stream: _Link) -> None:
        """Give frames to ``stream`` from now on."""
        self._stream = stream
        stream.limit_buffer(STREAM_BUFFER_BYTES)
        stream.on_writable = self._drain
        stream.on_close = self._link.close
        stream.write(say(JSON, {}))
        self._drain()

    def _drain(self) -> None:
        """Write what was received, as long as the stream takes it; the rest waits in the port's bounded inbox."""
        stream, inbox = self._stream, self.port.inbox
        while stream is not None and stream.is_clear and inbox:
            stream.write(pack_received(inbox.popleft()))

    def _take(self, kind: int, body: bytes) -> None:
        self._give_up()  # whoever asks on has been interrupted in his wait for room
        if kind == SEND:
            self._send(*unpack_send(body))
        else:
            try:
                answer = self._do(_request_of(body))
            except (TaktoraError, ValueError, KeyError, TypeError) as error:
                answer = _refusal(error)
            self._answer(answer)

    def _answer(self, answer: dict[str, Any]) -> None:
        self._link.write(say(JSON, answer))

    def _send(self, frame: CanFrame, timeout_ns: int | None) -> None:
        try:
            self.port.send(frame)
        except BackPressure as error:
            if timeout_ns == 0:
                self._answer(_refusal(error))
            else:
                self._park(frame, timeout_ns)
        except (LinkDown, StackError, PayloadOverflow) as error:
            self._answer(_refusal(error))
        else:
            self._answer({})

    def _park(self, frame: CanFrame, timeout_ns: int | None) -> None:
        """Keep a frame until there is room, or the time is over; the client asks nothing meanwhile."""
        timer = None if timeout_ns is None else self._world.call_after(timeout_ns, self._give_up)
        self._parked = frame, timer
        self.port.when_room(self._retry)

    def _retry(self) -> None:
        if self._parked is None:
            return
        frame, timer = self._parked
        try:
            self.port.send(frame)
        except BackPressure:
            self.port.when_room(self._retry)
            return
        except (LinkDown, StackError, PayloadOverflow) as error:
            answer = _refusal(error)
        else:
            answer = {}
        self._parked = None
        if timer is not None:
            timer.cancel()
        self._answer(answer)

    def _give_up(self) -> None:
        if self._parked is not None:
            _, timer = self._parked
            self._parked = None
            if timer is not None:
                timer.cancel()
            full = f"CAN channel {self.port.wish.channel!r}: no room in the transmit queue in time (ENOBUFS)"
            self._answer({"error": full, "code": errno.ENOBUFS})

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        what = request["do"]
        if what == "filters":
            self.port.set_filters([CanFilter(*entry) for entry in request["filters"]])
        elif what == "flush":
            return {"flushed": self.port.flush()}
        elif what == "state":
            return {"state": self.port.state}
        elif what == "listen":
            self.port.set_listen_only(request["only"])
        elif what == "periodic":
            return self._make_periodic(request)
        elif what == "start":
            self._periodic[request["task"]].start()
        elif what == "stop":
            self._periodic[request["task"]].stop()
        elif what == "replace":
            self._periodic[request["task"]].replace(_frames(request))
        else:
            raise ValueError(f"unknown request {what!r}")
        return {}

    def _make_periodic(self, request: dict[str, Any]) -> dict[str, Any]:
        task = len(self._periodic)
        sending = self.port.send_periodically(_frames(request), request["period_ns"], request["duration_ns"])
        self._periodic[task] = sending
        return {"task": task}

    def _close(self) -> None:
        self._parked = None
        self.port.close()
        if self._stream is not None:
            self._stream.close()
        self.on_close()


def _frames(request: dict[str, Any]) -> list[CanFrame]:
    frames = [unpack_frame(bytes.fromhex(text)) for text in request["frames"]]
    return [frame for frame in frames if isinstance(frame, CanFrame)]


def _refusal(error: Exception) -> dict[str, Any]:
    return {"error": str(error), "code": error_code(error)}
