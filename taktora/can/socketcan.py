"""The real CAN interface: SocketCAN; it never configures, raises or restarts an interface.

python-can opens and closes the socket; frames are read and written past it (``wireformat``, ``rawsocket``): it has no
ESI to send, no DLC of a remote frame above 8, no lost frames, no time stamp in whole nanoseconds, and its messages cost
more than all else here. One socket carries classical and CAN FD frames.

Opening a CAN_RAW socket needs no privilege on current kernels, so none is asked for beforehand; a gateway process in a
hardened container may need CAP_NET_RAW, and the kernel's EPERM says so. Bringing the interface up, its bit rates and
``restart-ms`` belong to the system's administrator (``ip link set can0 up type can bitrate 500000 restart-ms 100``).

A reader thread per open interface only hands frames to the listener; it waits for the socket and for the end, so that
closing is immediate. What the kernel says takes the interface Down; anything else that ends the thread is a defect and
goes to the listener as it is. The kernel does not tell when a full transmit queue has room again: 2 ms after each
ENOBUFS a second thread, which sleeps otherwise, has the sender try again.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from taktora.can.dlc import FD_LENGTHS, check_room, fd_length
from taktora.can.health import state_after
from taktora.can.interface import (
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIfaceState,
    CanInterfaceListener,
)
from taktora.can.rawsocket import RECEIVE_BUFFER_BYTES, Reception, apply_filters, prepare
from taktora.can.wireformat import CANFD_MTU, pack_frame
from taktora.clock import Clock, SystemClock
from taktora.errors import BackPressure, ConfigurationError, LinkDown, StackError
from taktora.extras import missing_text

__all__ = ["PythonCanBus", "SocketCanInterface", "open_bus", "require_python_can"]

_AF_CAN: Final = 29
_CAN_RAW: Final = 1
_DONTWAIT: Final = 0x40
_ROOM_WAIT_S: Final = 0.002
_JOIN_TIMEOUT_S: Final = 5.0
_IFF_UP: Final = 1
_NETWORK: Final = Path("/sys/class/net")
_FULL: Final = frozenset({errno.ENOBUFS, errno.EAGAIN})
_GONE: Final = frozenset({errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.ENETUNREACH})
_TOO_LONG: Final = frozenset({errno.EINVAL, errno.EMSGSIZE})


class PythonCanBus(Protocol):
    """What is used of a python-can bus: ``socket``, which its SocketCAN back-end has bound, and the end of it."""

    socket: Any

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

    Time stamps are the kernel's, brought to ``clock`` (see ``rawsocket``). ESI is honoured by virtual interfaces only:
    a controller sets it itself.

    Args:
        name: Network interface, for example ``can0``.
        clock: What time stamps are on.
        make_bus: Opens the python-can bus of that name.
        receive_own: Receive what is sent here too (CAN_RAW_RECV_OWN_MSGS).
        loopback: Other sockets of this host receive what is sent here (CAN_RAW_LOOPBACK).
        receive_buffer_bytes: Receive buffer to ask the kernel for; what finds it full is reported as lost.
    """

    def __init__(
        self,
        name: str,
        clock: Clock | None = None,
        make_bus: Callable[[str], PythonCanBus] | None = None,
        *,
        receive_own: bool = False,
        loopback: bool = True,
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        self._name = name
        self._clock = clock or SystemClock()
        self._make_bus = make_bus or open_bus
        self._receive_own = receive_own
        self._loopback = loopback
        self._receive_buffer_bytes = receive_buffer_bytes
        self._state = CanIfaceState.CLOSED
        self._carries_fd: bool | None = None
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

    # req: REQ_0611
    @property
    def carries_fd(self) -> bool:
        return _mtu_has_fd(self._name) if self._carries_fd is None else self._carries_fd

    def open(self, listener: CanInterfaceListener) -> None:
        self.close()
        try:
            bus = self._make_bus(self._name)
        except OSError as error:
            raise StackError(open_text(self._name, error)) from error
        try:
            reception = self._prepare(bus)
        except BaseException:
            bus.shutdown()
            raise
        self._bus = bus
        self._carries_fd = _mtu_has_fd(self._name)  # an interface that is up keeps it
        self._stop, self._room_wanted = stop, wanted = _Stop(), threading.Event()
        # Looked at with the socket open: a restart from now on is an error frame on it.
        self._state = CanIfaceState.BUS_OFF if _is_bus_off(self._name) else CanIfaceState.ACTIVE
        reading, waiting = (bus, reception, listener, stop), (listener, stop, wanted)
        self._threads = (
            threading.Thread(target=self._read, args=reading, name=f"taktora-can-{self._name}", daemon=True),
            threading.Thread(target=self._watch_room, args=waiting, name=f"taktora-can-{self._name}-room", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def _prepare(self, bus: PythonCanBus) -> Reception:
        prepare(
            self._name,
            bus.socket,
            receive_own=self._receive_own,
            loopback=self._loopback,
            receive_buffer_bytes=self._receive_buffer_bytes,
        )
        return Reception(self._name, bus.socket, self._clock)

    def send(self, frame: CanFrame) -> None:
        bus = self._bus
        if bus is None or self._state is not CanIfaceState.ACTIVE:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before sending")
        self._check(frame)
        try:
            bus.socket.send(pack_frame(frame), _DONTWAIT)
        except OSError as error:
            raise self._send_error(error, frame) from error

    def _check(self, frame: CanFrame) -> None:
        length = len(frame.data)
        check_room(length, repr(self._name), fd=frame.fd)
        if not frame.fd:
            return
        if frame.remote:
            raise StackError(f"CAN interface {self._name!r}: CAN FD has no remote frames; send a classical one")
        if length not in FD_LENGTHS:
            longer = fd_length(length)
            raise StackError(f"CAN interface {self._name!r}: no CAN FD frame has {length} bytes; pad them to {longer}")

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        bus = self._bus
        if bus is not None:  # past python-can: its set_filters([]) means accept-all, and a refusal would only be logged
            apply_filters(self._name, bus.socket, list(filters))

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def close(self) -> None:
        self._state = CanIfaceState.CLOSED
        self._carries_fd = None
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
    def _read(self, bus: PythonCanBus, reception: Reception, listener: CanInterfaceListener, stop: _Stop) -> None:
        try:
            waiting = select.poll()
            waiting.register(bus.socket, select.POLLIN)
            waiting.register(stop.socket, select.POLLIN)
            while not stop.is_set() and reception.error is None:
                waiting.poll()
                self._receive(reception, listener, stop)
        except BaseException as error:  # a defect: Python would let the thread die unseen
            self._state = CanIfaceState.DOWN
            listener.on_failure(error)

    def _receive(self, reception: Reception, listener: CanInterfaceListener, stop: _Stop) -> None:
        """Hand over what the socket has become readable for, then what it has lost, then its end."""
        is_over = stop.is_set
        on_frame = listener.on_frame
        for frame in reception.frames():
            if is_over():
                return
            if type(frame) is CanFrame:
                on_frame(frame)
            elif isinstance(frame, CanErrorFrame):
                self._tell_error(frame, listener)
        if is_over():
            return
        if (reception.taken > 1 or reception.error) and (lost := reception.newly_lost()):
            listener.on_receive_overflow(lost)
        if reception.error is not None and not is_over():
            self._state = CanIfaceState.DOWN
            listener.on_state(CanIfaceState.DOWN, _cause_of(reception.error))

    def _tell_error(self, frame: CanErrorFrame, listener: CanInterfaceListener) -> None:
        self._state = state_after(self._state, frame.classes)
        listener.on_error_frame(frame)

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

    def _send_error(self, error: OSError, frame: CanFrame) -> Exception:
        place, cause = f"CAN interface {self._name!r}", _cause_of(error)
        if error.errno in _FULL:
            self._room_wanted.set()
            return BackPressure(f"{place}: transmit queue is full ({cause}); send again later")
        if error.errno in _GONE:
            self._state = CanIfaceState.DOWN
            return LinkDown(f"{place}: {cause}; bring it up, then open it again")
        if frame.fd and error.errno in _TOO_LONG:
            return StackError(
                f"{place} carries no CAN FD frames ({cause}); take it down, then 'ip link set {self._name} mtu 72' for "
                f"vcan, 'ip link set {self._name} type can bitrate 500000 dbitrate 2000000 fd on' for a controller"
            )
        return StackError(f"{place}: sending failed ({cause})")


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
    """Open the SocketCAN interface ``name`` for frames of both kinds, with error frames on and own messages off.

    python-can's configuration files and environment variables are not read.

    Raises:
        ConfigurationError: python-can is not installed.
        OSError: what the kernel says; :func:`open_text` turns it into a sentence.
    """
    can = require_python_can()
    if not _is_up(name):
        raise OSError(errno.ENETDOWN, "Network is down")
    _probe(name)
    try:
        bus: PythonCanBus = can.Bus(interface="socketcan", channel=name, fd=True, ignore_config=True)
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


def _is_bus_off(name: str) -> bool:
    """Tell whether the kernel has taken the carrier of an interface that is up: its controller is bus-off.

    One end of a vxcan pair has no controller: it lacks the carrier while the other end is down.
    """
    try:
        has_carrier = (_NETWORK / name / "carrier").read_text(encoding="ascii").strip() != "0"
    except (OSError, ValueError):
        return False  # unknown: the first send will show
    return not has_carrier and not _has_peer(name)


def _has_peer(name: str) -> bool:
    try:
        index, peer = ((_NETWORK / name / file).read_text(encoding="ascii").strip() for file in ("ifindex", "iflink"))
    except (OSError, ValueError):
        return False
    return index != peer


def _is_up(name: str) -> bool:
    try:
        flags = int((_NETWORK / name / "flags").read_text(encoding="ascii"), 16)
    except (OSError, ValueError):
        return True  # unknown: let the socket say it
    return bool(flags & _IFF_UP)


def _mtu_has_fd(name: str) -> bool:
    """Say whether the interface takes frames of CAN FD; True for one that is not there (yet)."""
    try:
        return int((_NETWORK / name / "mtu").read_text(encoding="ascii")) >= CANFD_MTU
    except (OSError, ValueError):
        return True


def _errno_of(error: BaseException) -> int | None:
    code = getattr(error, "error_code", None) or getattr(error, "errno", None)
    return code if isinstance(code, int) else None


def _cause_of(error: OSError) -> str:
    text, code = error.strerror or str(error), error.errno or 0
    return f"{text} [{errno.errorcode[code]}]" if code in errno.errorcode else text
