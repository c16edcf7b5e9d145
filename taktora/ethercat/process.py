"""A bus whose driver runs in a process of its own: SOEM blocks and keeps the interpreter; its cycle must not wait.

The process (``python -m taktora.ethercat.bus_process``) steps the same runner as every other world. Process images
cross in shared memory; moves of health, emergencies and the end cross in order on a socket, whose closing tells either
side that the other is gone. Without this process the other one takes the SubDevices down by itself.
"""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from taktora.connector.health import ConnectorHealth, ConnectorHealthKind, Down
from taktora.connector.reconnect import ExponentialBackoff
from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.driver import BusDriver
from taktora.ethercat.image import BusListener, ImageLayout
from taktora.ethercat.options import BusPlan, PolicyFactory
from taktora.ethercat.shared_image import SharedImage
from taktora.ethercat.slices import Buffer
from taktora.executor.attributes import ThreadAttributes

__all__ = ["BusSetup", "DriverFactory", "ProcessBus"]

_LOG: Final = logging.getLogger(__name__)
_CLOSE_PATIENCE_S: Final = 4.0
_END_PATIENCE_S: Final = 1.0
_LINES_KEPT: Final = 20
_RECORDS: Final = 1024
_MESSAGE_BYTES: Final = 65536

DriverFactory: TypeAlias = Callable[[BusPlan], BusDriver]
"""Makes the driver in the other process: a class, a function of a module, or a ``functools.partial`` of one."""

CYCLE: Final = b"C"
HEALTH: Final = b"H"
EMERGENCY: Final = b"E"
ENDED: Final = b"D"
STOP: Final = b"S"


# req: REQ_0040, REQ_0041
@dataclass(frozen=True, slots=True, kw_only=True)
class BusSetup:
    """All that the other process begins with.

    Args:
        name: Name of the bus, for messages.
        plan: What the bus consists of.
        make_driver: Makes the MainDevice.
        make_policy: Makes the reconnect policy of an episode.
        attributes: Priority and cores of the process.
        records: Cycle records in shared memory.
    """

    name: str
    plan: BusPlan
    make_driver: DriverFactory
    make_policy: PolicyFactory = ExponentialBackoff
    attributes: ThreadAttributes = field(default_factory=ThreadAttributes)
    records: int = _RECORDS


class _Running(NamedTuple):
    """What belongs to one life of the other process."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    image: SharedImage
    listener: BusListener
    reader: threading.Thread


# req: REQ_0321, REQ_8150
class ProcessBus:
    """A ``CyclicBus`` over a driver in a process of its own.

    Args:
        setup: What the process begins with; everything in it must be known to pickle.

    Raises:
        ConfigurationError: this platform has no memfd, or the setup cannot be pickled.
    """

    def __init__(self, setup: BusSetup) -> None:
        if sys.platform != "linux":
            raise ConfigurationError(f"bus {setup.name!r}: a driver process needs Linux, this is {sys.platform}")
        self.layout: Final[ImageLayout] = setup.plan.layout()
        self.setup: Final = setup
        """What the process begins with."""
        self._pickled = _pickled(setup)
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._is_closing = False
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._begun_line = b""
        self._kind = ConnectorHealthKind.CONNECTING

    @property
    def pid(self) -> int | None:
        """Process id of the driver's process while there is one."""
        running = self._running
        return None if running is None else running.process.pid

    def start(self, listener: BusListener) -> None:
        with self._lock:
            if self._running is not None or self._is_closing:
                raise ConfigurationError(f"bus {self.setup.name!r} was started before; make a new one")
            image = SharedImage(self.layout, records=self.setup.records)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                process = self._spawn(theirs.fileno(), image.fd)
            except BaseException:
                ours.close()
                image.close()
                raise
            finally:
                theirs.close()
            reader = threading.Thread(target=self._read, name=f"taktora-bus-{self.setup.name}", daemon=True)
            self._running = _Running(process, ours, image, listener, reader)
        reader.start()

    def stage_outputs(self, outputs: Buffer, renewed: Buffer) -> None:
        with self._lock:  # the memory must not go while it is written
            if self._running is not None and not self._is_closing:
                self._running.image.outputs.stage(outputs, renewed)

    def close(self) -> None:
        with self._lock:
            running = self._running
            if self._is_closing or running is None:
                self._is_closing = True
                return
            self._is_closing = True
        _ask_to_stop(running.socket)
        _wait_or_kill(running.process)
        if running.reader is not threading.current_thread():
            running.reader.join(_END_PATIENCE_S)
        with self._lock:
            self._running = None
            running.socket.close()
            running.image.close()
            assert running.process.stderr is not None
            running.process.stderr.close()

    def _spawn(self, socket_fd: int, image_fd: int) -> subprocess.Popen[bytes]:
        setup_fd = os.memfd_create("taktora-ethercat-setup", os.MFD_CLOEXEC)
        try:
            os.write(setup_fd, self._pickled)
            os.lseek(setup_fd, 0, os.SEEK_SET)
            return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "taktora.ethercat.bus_process"]
                + [str(number) for number in (socket_fd, image_fd, setup_fd, os.getpid())],
                pass_fds=(socket_fd, image_fd, setup_fd),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,  # Ctrl-C and Ctrl-Z at a terminal are for the parent, from the first moment on
            )
        finally:
            os.close(setup_fd)

    def _read(self) -> None:
        """Hand over what the other process says until it is gone (a thread of its own)."""
        running = self._running
        assert running is not None
        assert running.process.stderr is not None
        errors = running.process.stderr.fileno()
        os.set_blocking(errors, False)
        waiter = select.poll()
        waiter.register(running.socket, select.POLLIN)
        waiter.register(errors, select.POLLIN)
        has_ended = False
        try:
            while True:
                for fd, _event in waiter.poll():
                    if fd == errors:
                        if not self._note_lines(errors):
                            waiter.unregister(errors)
                        continue
                    message = _received(running.socket)
                    if not message:
                        self._note_end(running, has_ended, errors)
                        return
                    has_ended |= message == ENDED
                    self._hand_over(running, message)
        except BaseException as error:  # a defect: Python would let the thread die unseen
            running.listener.on_failure(error)

    def _hand_over(self, running: _Running, message: bytes) -> None:
        kind, rest = message[:1], message[1:]
        if kind == CYCLE:
            for record in running.image.records.take(int.from_bytes(rest, "little")):
                running.listener.on_cycle(record)
        elif kind == HEALTH:
            health: ConnectorHealth = pickle.loads(rest)  # noqa: S301 - written by our own process
            self._kind = health.kind
            running.listener.on_health(health)
        elif kind == EMERGENCY:
            running.listener.on_emergency(pickle.loads(rest))  # noqa: S301 - likewise

    def _note_lines(self, errors: int) -> bool:
        try:
            data = os.read(errors, _MESSAGE_BYTES)
        except BlockingIOError:
            return True
        # A line may come in pieces: Python writes the text of a print and its end one after the other.
        *lines, self._begun_line = (self._begun_line + data).split(b"\n")
        if not data:
            lines.append(self._begun_line)
            self._begun_line = b""
        for line in (each.decode(errors="replace").rstrip() for each in lines):
            if line:
                self._lines.append(line)
                _LOG.warning("bus %r: %s", self.setup.name, line)
        return bool(data)

    # req: REQ_0296
    def _note_end(self, running: _Running, has_ended: bool, errors: int) -> None:
        """The socket is closed: fine when it was asked to stop or has said that it is done, else a failure."""
        if self._is_closing or has_ended:
            return
        try:
            status = running.process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            running.process.kill()
            status = running.process.wait()
        self._note_lines(errors)
        self._note_lines(errors)  # the end of what it said: a line without an end is one as well
        error = StackError(f"the driver process of bus {self.setup.name!r} {_ending(status)}{self._last_words()}")
        if self._kind is not ConnectorHealthKind.DOWN:
            running.listener.on_health(Down(str(error), time.monotonic_ns(), is_final=True))
        running.listener.on_failure(error)

    def _last_words(self) -> str:
        return f"; it said last: {' | '.join(list(self._lines)[-5:])}" if self._lines else ""


def _pickled(setup: BusSetup) -> bytes:
    try:
        body = pickle.dumps(setup)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"bus {setup.name!r}: its setup cannot go to another process ({error}); policy and driver factories must "
            "be classes or functions of a module"
        ) from error
    return pickle.dumps((sys.path, body))


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_MESSAGE_BYTES)
    except OSError:
        return b""


def _ask_to_stop(connection: socket.socket) -> None:
    try:
        connection.send(STOP, socket.MSG_DONTWAIT)
    except OSError:
        return  # it is gone already, or too busy to listen: the wait that follows is bounded


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_CLOSE_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def unpickled(data: bytes) -> Any:
    """Return the setup, after the module path of the other side has been taken over."""
    path, body = pickle.loads(data)  # noqa: S301 - written by our own process
    sys.path[:] = path
    return pickle.loads(body)  # noqa: S301 - likewise
