"""The real CAN interface: SocketCAN through python-can; it never configures, raises or restarts an interface.

Opening a CAN_RAW socket needs no privilege on current kernels, so none is asked for beforehand; a gateway process in a
hardened container may need CAP_NET_RAW, and the kernel's EPERM says so. Bringing the interface up, its bit rate and
``restart-ms`` belong to the system's administrator (``ip link set can0 up type can bitrate 500000 restart-ms 100``).

A reader thread per open interface only hands frames to the listener; it waits for the bus's socket and for the end, so
that closing is immediate. What the kernel or python-can say takes the
interface Down; anything else that ends the thread is a defect and goes to the listener as it is. The kernel does not
tell when a full transmit queue has room again: 2 ms after each ENOBUFS a second thread, which sleeps otherwise, has the
sender try again.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from taktora.can.interface import (
    CanErrorClass,
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIfaceState,
    CanInterfaceListener,
)
from taktora.clock import Clock, SystemClock
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError
from taktora.extras import missing_text

__all__ = ["PythonCanBus", "SocketCanInterface", "open_bus", "require_python_can"]

_AF_CAN: Final = 29
_CAN_RAW: Final = 1
_SOL_CAN_RAW: Final = 101
_CAN_RAW_FILTER: Final = 1
_FILTER_ENTRY: Final = struct.Struct("=II")
_ROOM_WAIT_S: Final = 0.002
_JOIN_TIMEOUT_S: Final = 5.0
_IFF_UP: Final = 1
_FULL: Final = frozenset({errno.ENOBUFS, errno.EAGAIN})
_GONE: Final = frozenset({errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.ENETUNREACH})


class PythonCanBus(Protocol):
    """What is used of a python-can bus; ``socket`` is its SocketCAN back-end's, readable when ``recv`` has news."""

    socket: Any

    def recv(self, timeout: float | None = None) -> Any: ...

    def send(self, msg: Any, timeout: float | None = None) -> None: ...

    def shutdown(self) -> None: ...


class _Stop(threading.Event):
    """The end of the threads of one open interface; it wakes a wait on sockets too."""

    def __init__(self) -> None:
        super().__init__()
        self.socket, self._far = socket.socketpair()

    def set(self) -> None:
        super().set()
        self._far.close()  # the other end becomes readable

    def close(self) -> None:
        self.socket.close()


# req: REQ_0602, REQ_0605, REQ_0644
class SocketCanInterface:
    """One SocketCAN interface; a ``CanInterface``.

    Args:
        name: Network interface, for example ``can0``.
        clock: Gives the time stamps of frames.
        make_bus: Opens the python-can bus of that name.
    """

    def __init__(
        self, name: str, clock: Clock | None = None, make_bus: Callable[[str], PythonCanBus] | None = None
    ) -> None:
        self._name = name
        self._now_ns = (clock or SystemClock()).now_ns
        self._make_bus = make_bus or open_bus
        self._state = CanIfaceState.CLOSED
        self._bus: PythonCanBus | None = None
        self._threads: tuple[threading.Thread, ...] = ()
        self._stop: _Stop | None = None
        self._room_wanted = threading.Event()
        self._on_room: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> CanIfaceState:
        return self._state

    @property
    def carries_fd(self) -> bool:
        return False

    def open(self, listener: CanInterfaceListener) -> None:
        self.close()
        try:
            bus = self._make_bus(self._name)
        except OSError as error:
            raise StackError(open_text(self._name, error)) from error
        self._bus = bus
        self._stop, self._room_wanted = stop, wanted = _Stop(), threading.Event()
        self._state = CanIfaceState.ACTIVE
        reading, waiting = (bus, listener, stop), (listener, stop, wanted)
        self._threads = (
            threading.Thread(target=self._read, args=reading, name=f"taktora-can-{self._name}", daemon=True),
            threading.Thread(target=self._watch_room, args=waiting, name=f"taktora-can-{self._name}-room", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def send(self, frame: CanFrame) -> None:
        bus = self._bus
        if bus is None or self._state is not CanIfaceState.ACTIVE:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before sending")
        if len(frame.data) > 8:
            raise PayloadOverflow(len(frame.data), 8, f"a classical CAN frame on {self._name!r}")
        try:
            bus.send(_message(frame), timeout=0)
        except (OSError, require_python_can().CanError) as error:
            raise self._send_error(error) from error

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        bus = self._bus
        if bus is None:
            return
        packed = b"".join(_FILTER_ENTRY.pack(entry.can_id, entry.can_mask) for entry in filters)
        try:
            # Past python-can: its set_filters([]) means accept-all, and a refusal would only be logged.
            bus.socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FILTER, packed)
        except OSError as error:
            raise StackError(
                f"CAN interface {self._name!r}: the kernel refused {len(filters)} filters ({error.strerror})"
            ) from error

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def close(self) -> None:
        self._state = CanIfaceState.CLOSED
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.set()
        self._room_wanted.set()
        threads, self._threads = self._threads, ()
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(_JOIN_TIMEOUT_S)
        if stop is not None:
            stop.close()
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.shutdown()

    # req: REQ_0296
    def _read(self, bus: PythonCanBus, listener: CanInterfaceListener, stop: _Stop) -> None:
        try:
            with selectors.DefaultSelector() as waiting:
                waiting.register(bus.socket, selectors.EVENT_READ)
                waiting.register(stop.socket, selectors.EVENT_READ)
                while not stop.is_set():
                    waiting.select()
                    if not stop.is_set() and not self._receive(bus, listener, stop):
                        return
        except BaseException as error:  # a defect: Python would let the thread die unseen
            self._state = CanIfaceState.DOWN
            listener.on_failure(error)

    def _receive(self, bus: PythonCanBus, listener: CanInterfaceListener, stop: _Stop) -> bool:
        """Hand over what the socket has become readable for; False when that was its end."""
        try:
            message = bus.recv(0)
        except (OSError, require_python_can().CanError) as error:
            self._end_reading(listener, stop, error)
            return False
        if message is not None and not stop.is_set():
            self._hand_over(message, listener)
        return True

    def _hand_over(self, message: Any, listener: CanInterfaceListener) -> None:
        now_ns = self._now_ns()
        if message.is_error_frame:
            classes = CanErrorClass(message.arbitration_id & 0x3FF)
            if CanErrorClass.BUS_OFF in classes:
                self._state = CanIfaceState.BUS_OFF
            listener.on_error_frame(CanErrorFrame(classes, bytes(message.data), now_ns))
        elif not message.is_fd:
            data = b"" if message.is_remote_frame else bytes(message.data)
            listener.on_frame(
                CanFrame(
                    message.arbitration_id,
                    data,
                    message.is_extended_id,
                    message.is_remote_frame,
                    message.dlc if message.is_remote_frame else 0,
                    now_ns,
                )
            )

    def _end_reading(self, listener: CanInterfaceListener, stop: _Stop, error: Exception) -> None:
        if not stop.is_set():
            self._state = CanIfaceState.DOWN
            listener.on_state(CanIfaceState.DOWN, _cause_of(error))

    # req: REQ_0296
    def _watch_room(self, listener: CanInterfaceListener, stop: _Stop, wanted: threading.Event) -> None:
        """Have the sender try again a while after each refusal; waits without end in between."""
        try:
            while wanted.wait() and not stop.wait(_ROOM_WAIT_S):
                wanted.clear()  # before the call: the next refusal may come from within
                callback = self._on_room
                if callback is not None:
                    callback()
        except BaseException as error:  # as in _read
            self._state = CanIfaceState.DOWN
            listener.on_failure(error)

    def _send_error(self, error: Exception) -> Exception:
        code = _errno_of(error)
        if code in _FULL or (code is None and "buffer full" in str(error).lower()):
            self._room_wanted.set()
            return BackPressure(
                f"CAN interface {self._name!r}: transmit queue is full ({_cause_of(error)}); send again later"
            )
        if code in _GONE:
            self._state = CanIfaceState.DOWN
            return LinkDown(f"CAN interface {self._name!r}: {_cause_of(error)}; bring it up, then open it again")
        return StackError(f"CAN interface {self._name!r}: sending failed ({_cause_of(error)})")


# req: REQ_0603
def require_python_can() -> Any:
    """Return the python-can package.

    Raises:
        ConfigurationError: it is not installed; the text names the extra.
    """
    try:
        import can
    except ImportError as error:
        raise ConfigurationError(f"a real CAN interface {missing_text(['can'])}") from error
    return can


# req: REQ_0631
def open_bus(name: str) -> PythonCanBus:
    """Open the SocketCAN interface ``name`` with error frames on and own messages off.

    Raises:
        ConfigurationError: python-can is not installed.
        OSError: what the kernel says; :func:`open_text` turns it into a sentence.
    """
    can = require_python_can()
    if not _is_up(name):
        raise OSError(errno.ENETDOWN, "Network is down")
    _probe(name)
    try:
        bus: PythonCanBus = can.Bus(interface="socketcan", channel=name, receive_own_messages=False, fd=False)
    except can.CanError as error:
        raise OSError(_errno_of(error) or errno.EIO, str(error)) from error
    return bus


def open_text(name: str, error: OSError) -> str:
    """Return the sentence for an interface that cannot be opened: what the kernel said and the way out."""
    place = f"CAN interface {name!r}"
    said = error.strerror or str(error)
    ways_out = {
        errno.EAFNOSUPPORT: "this kernel has no CAN (AF_CAN); load the modules can and can-raw, or use the sim world",
        errno.ENODEV: f"no such CAN interface; 'ip -details link show type can' lists them, 'ip link add {name} type "
        "vcan' makes a virtual one",
        errno.ENETDOWN: f"the interface is down; 'ip link set {name} up type can bitrate 500000' brings it up",
        errno.EPERM: "not permitted; the gateway process needs CAP_NET_RAW here",
    }
    ways_out[errno.EACCES] = ways_out[errno.EPERM]
    ways_out[errno.EPROTONOSUPPORT] = ways_out[errno.EAFNOSUPPORT]
    return f"{place}: {ways_out.get(error.errno or 0, 'it cannot be opened')} ({said})"


def _probe(name: str) -> None:
    """Have the kernel refuse what python-can would be refused: python-can leaves its socket open then."""
    with socket.socket(_AF_CAN, socket.SOCK_RAW, _CAN_RAW) as probe:
        probe.bind((name,))


def _is_up(name: str) -> bool:
    try:
        flags = int(Path(f"/sys/class/net/{name}/flags").read_text(encoding="ascii"), 16)
    except (OSError, ValueError):
        return True  # unknown: let the socket say it
    return bool(flags & _IFF_UP)


def _message(frame: CanFrame) -> Any:
    can = require_python_can()
    return can.Message(
        arbitration_id=frame.can_id,
        is_extended_id=frame.extended,
        is_remote_frame=frame.remote,
        dlc=frame.dlc if frame.remote else len(frame.data),
        data=None if frame.remote else frame.data,
    )


def _errno_of(error: BaseException) -> int | None:
    code = getattr(error, "error_code", None) or getattr(error, "errno", None)
    return code if isinstance(code, int) else None


def _cause_of(error: BaseException) -> str:
    code = _errno_of(error)
    return f"{error} [{errno.errorcode[code]}]" if code is not None and code in errno.errorcode else str(error)
