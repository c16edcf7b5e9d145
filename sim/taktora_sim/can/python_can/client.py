"""A program's end of a simulated bus that a server process hosts in real time; starts that server where none is.

It has no thread: whoever calls waits, on sockets.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from time import monotonic, monotonic_ns, sleep
from typing import Any, Final

from taktora.can.interface import CanFilter, CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can.python_can.port import PortError, Wish
from taktora_sim.can.python_can.runtime_folder import FOLDER_VARIABLE, ChannelLock, Endpoint, RuntimeFolder
from taktora_sim.can.python_can.wire import (
    HEAD_BYTES,
    JSON,
    RECORD_BYTES,
    STREAM,
    STREAM_BUFFER_BYTES,
    Received,
    message_bytes,
    pack_frame,
    pack_send,
    package_version,
    say,
    split_messages,
    unpack_received,
)

__all__ = ["RemotePort"]

_START_S: Final = 60.0
"""How long a server may take to come up, on a machine with other things to do."""
_ANSWER_S: Final = 30.0
"""How long a server may take to answer; it answers at once, or the machine stands still."""
_SLICE_NS: Final = 500_000_000
"""Longest wait for room in one request: in between other threads ask, and a Bus that was shut down is noticed."""
_YIELD_S: Final = 0.001
_HELLO_S: Final = 10.0
_PATIENCE_S: Final = 3.0
"""How long a server may take until it holds its lock, before another one is started."""
_POLL_S: Final = 0.02


class RemotePort:
    """One socket on a bus of another process; the same to its caller as a :class:`~.WorldPort`.

    Args:
        wish: What the program asks for.

    Raises:
        ConfigurationError: the bus is another one than wished for, or its server is of another version.
        PortError: no server can be started or reached.
    """

    def __init__(self, wish: Wish) -> None:
        self.channel = wish.channel
        self._asking = threading.Lock()
        self._reading = threading.Lock()
        self._record = bytearray()
        self._answers = bytearray()
        self._owed = 0
        self._is_closed = False
        self._endpoint, self._control, self._stream, welcome = _connect(wish)
        self.bitrate: int = welcome["bitrate"]
        self.data_bitrate: int | None = welcome["data_bitrate"]
        self.node: str = welcome["node"]

    def send(self, frame: CanFrame, timeout_ns: int | None) -> None:
        """Queue one frame, waiting for room at most ``timeout_ns`` (None: for ever).

        Raises:
            PortError: no room in time (ENOBUFS), interface down (ENETDOWN), or the server has gone.
        """
        until_ns = None if timeout_ns is None else monotonic_ns() + timeout_ns
        while True:
            left_ns = _SLICE_NS if until_ns is None else min(_SLICE_NS, max(0, until_ns - monotonic_ns()))
            try:
                with self._asking:
                    self._exchange(pack_send(frame, left_ns))
                return
            except PortError as error:
                if error.code != errno.ENOBUFS or (until_ns is not None and monotonic_ns() >= until_ns):
                    raise
            sleep(_YIELD_S)  # so that another thread that waits to ask something gets its turn

    def receive(self, timeout_ns: int | None) -> Received | None:
        """Return the next frame, or None when there was none in time (None: for ever).

        Raises:
            PortError: the interface went down, the port was closed, or the server has gone.
        """
        until_s = None if timeout_ns is None else monotonic() + timeout_ns * 1e-9
        if not self._reading.acquire(timeout=-1 if timeout_ns is None else timeout_ns * 1e-9):
            return None
        try:
            while len(self._record) < RECORD_BYTES:
                left_s = None if until_s is None else max(0.0, until_s - monotonic())
                if not _is_readable(self._stream, left_s):
                    self._refuse_closed()
                    return None
                data = _read(self._stream, RECORD_BYTES - len(self._record))
                if not data:
                    raise self._gone()
                self._record += data
            received = unpack_received(bytes(self._record))
            self._record.clear()
            return received
        finally:
            self._reading.release()

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        """Replace the kernel filters."""
        self._ask(do="filters", filters=filters)

    def flush(self) -> None:
        """Drop what waits in the transmit queue, but for the frame on the wire."""
        self._ask(do="flush")

    def state(self) -> str:
        """Return the name of the controller's state."""
        return str(self._ask(do="state")["state"])

    def set_listen_only(self, only: bool) -> None:
        """Have the controller take part in the bus, or only listen."""
        self._ask(do="listen", only=only)

    def send_periodically(self, frames: Sequence[CanFrame], period_ns: int, duration_ns: int | None) -> _RemoteSending:
        """Return a sender of ``frames`` in the server, not started yet."""
        texts = [pack_frame(frame).hex() for frame in frames]
        task = self._ask(do="periodic", frames=texts, period_ns=period_ns, duration_ns=duration_ns)["task"]
        return _RemoteSending(self, int(task))

    def ask_sending(self, what: str, task: int, **more: object) -> None:
        """Tell a sender something; called by it."""
        self._ask(do=what, task=task, **more)

    def fileno(self) -> int:
        """Return what is readable when a frame can be received."""
        return self._stream.fileno()

    def close(self) -> None:
        """End both connections and wake whoever waits; idempotent."""
        self._is_closed = True
        for end in (self._stream, self._control):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._reading, self._asking:
            self._stream.close()
            self._control.close()

    def _ask(self, **request: object) -> dict[str, Any]:
        with self._asking:
            return self._exchange(say(JSON, request))

    def _exchange(self, request: bytes) -> dict[str, Any]:
        """Ask and return the answer; an answer that says no is raised.

        Answers come in the order of requests. One that nobody waited for, since its caller was interrupted (Ctrl-C),
        is dropped here.
        """
        self._refuse_closed()
        answer: dict[str, Any] = {}
        try:
            self._control.sendall(request)
            self._owed += 1
            while self._owed:
                answer = _answer(self._control, self._answers, _ANSWER_S)
                self._owed -= 1
        except (OSError, EOFError) as error:
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)  # what comes too late answers nothing any more
            raise self._gone() from error
        if "error" in answer:
            raise PortError(answer["error"], answer["code"])
        return answer

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise PortError(f"CAN channel {self.channel!r} is closed; open a new Bus", errno.EBADF)

    def _gone(self) -> PortError:
        if self._is_closed:
            return PortError(f"CAN channel {self.channel!r} is closed; open a new Bus", errno.EBADF)
        complaint = RuntimeFolder().complaint(self.channel)
        why = f", {complaint} says why" if complaint.exists() else ""
        msg = f"the server of simulated CAN channel {self.channel!r} (process {self._endpoint.pid}) has gone{why}"
        return PortError(f"{msg}; shut this Bus down and open a new one, which starts a server again", errno.ENODEV)


class _RemoteSending:
    """A periodic sender that lives in the server."""

    def __init__(self, port: RemotePort, task: int) -> None:
        self._port = port
        self._task = task

    def start(self) -> None:
        self._port.ask_sending("start", self._task)

    def stop(self) -> None:
        with suppress(PortError):  # with a server that has gone it has stopped too
            self._port.ask_sending("stop", self._task)

    def replace(self, frames: Sequence[CanFrame]) -> None:
        self._port.ask_sending("replace", self._task, frames=[pack_frame(frame).hex() for frame in frames])


def _connect(wish: Wish) -> tuple[Endpoint, socket.socket, socket.socket, dict[str, Any]]:
    """Reach the server of the channel, and start one as long as there is none."""
    folder = RuntimeFolder()
    until_s = monotonic() + _START_S
    starter: _Starter | None = None
    try:
        while True:
            endpoint = folder.endpoint(wish.channel)
            reached = None if endpoint is None else _reach(endpoint, wish)
            if endpoint is not None and reached is not None:
                return endpoint, *reached
            if starter is None or starter.has_failed():
                starter = _Starter(folder, wish.channel)
            if monotonic() > until_s:
                msg = f"no server for simulated CAN channel {wish.channel!r} answers after {_START_S:.0f} s"
                raise PortError(f"{msg}; start one: {_command(wish.channel)}", errno.ETIMEDOUT)
            sleep(_POLL_S)
    finally:
        if starter is not None:
            starter.forget()


def _command(channel: str) -> str:
    return f"python -m taktora_sim.can.serve --channel {channel}"


class _Starter:
    """Starts a server in the background, and tells when nothing has come of it."""

    def __init__(self, folder: RuntimeFolder, channel: str) -> None:
        self._lock = ChannelLock(folder, channel)
        self._channel = channel
        self._complaint = folder.file(channel, f"{os.getpid()}.err")
        self._patient_until_s = monotonic() + _PATIENCE_S
        arguments = [sys.executable, "-P", "-m", "taktora_sim.can.serve", "--channel", channel, "--background"]
        # A group and a terminal of its own: what interrupts this program must not end the bus of others.
        if os.name == "nt":
            flags = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined,unused-ignore]
        else:
            flags = {"start_new_session": True}
        with self._complaint.open("wb") as complaint:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, this package
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaint,
                env={**os.environ, FOLDER_VARIABLE: str(folder.path.absolute())},
                **flags,  # type: ignore[call-overload,unused-ignore]
            )

    def has_failed(self) -> bool:
        """Tell whether another one has to be started: this one gave way to one that was about to end.

        Raises:
            PortError: it could not run.
        """
        status = self._process.poll()
        if status is None:
            return False
        if status:
            raise PortError(f"the server of simulated CAN channel {self._channel!r} cannot run: {self._words()}")
        # It has left the background to a child of its own, which takes the lock, or has found it taken.
        if monotonic() < self._patient_until_s or self._lock.is_held():
            return False
        words = self._words()
        if words:
            raise PortError(f"the server of simulated CAN channel {self._channel!r} cannot run: {words}")
        return True

    def forget(self) -> None:
        """Drop what is left of the start; the server is nobody's child."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S if os.name == "posix" else 0)
        self._process.returncode = self._process.returncode or 0  # on Windows it runs on, and nobody waits for it
        with suppress(OSError):
            self._complaint.unlink()

    def _words(self) -> str:
        lines = self._complaint.read_text("utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1]}; try it by hand: {_command(self._channel)}" if lines else ""


def _reach(endpoint: Endpoint, wish: Wish) -> tuple[socket.socket, socket.socket, dict[str, Any]] | None:
    """Open both connections; None when nobody answers there any more.

    Raises:
        ConfigurationError: the server refuses the wish.
    """
    hello = {"token": endpoint.token, "version": package_version(), "wish": asdict(wish)}
    with ExitStack() as stack:
        try:
            control = stack.enter_context(_dial(endpoint.port))
            control.sendall(say(JSON, hello))
            welcome = _answer(control, bytearray(), _HELLO_S)
            if "error" in welcome:
                raise ConfigurationError(welcome["error"])
            stream = stack.enter_context(_dial(endpoint.port))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_BUFFER_BYTES)
            stream.sendall(say(STREAM, {"token": endpoint.token, "client": welcome["client"]}))
            attached = _answer(stream, bytearray(), _HELLO_S)
            if "error" in attached:
                raise ConfigurationError(attached["error"])
        except (OSError, EOFError, TimeoutError):
            return None
        stack.pop_all()
        return control, stream, welcome


def _dial(port: int) -> socket.socket:
    end = socket.create_connection(("127.0.0.1", port), timeout=_HELLO_S)
    end.settimeout(None)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _answer(end: socket.socket, data: bytearray, wait_s: float) -> dict[str, Any]:
    """Read one message and no further: what follows it is not an answer. ``data`` keeps what was read of it.

    Raises:
        EOFError: the connection has ended.
        TimeoutError: there is none in time.
    """
    while len(data) < (wanted := HEAD_BYTES if len(data) < HEAD_BYTES else message_bytes(data[:HEAD_BYTES])):
        if not _is_readable(end, wait_s):
            raise TimeoutError
        piece = _read(end, wanted - len(data))
        if not piece:
            raise EOFError
        data += piece
    [(_, body)] = split_messages(data)
    answer: dict[str, Any] = json.loads(body)
    return answer


def _is_readable(end: socket.socket, wait_s: float | None) -> bool:
    """Wait for bytes, or for the end of the connection."""
    number = end.fileno()
    if number < 0:
        return False
    if not hasattr(select, "poll"):
        return bool(select.select([number], [], [], wait_s)[0])
    poll = select.poll()  # descriptors of any number, which select has not
    poll.register(number, select.POLLIN)
    return bool(poll.poll(None if wait_s is None else wait_s * 1000))


def _read(end: socket.socket, most: int) -> bytes:
    try:
        return end.recv(most)
    except OSError:
        return b""
