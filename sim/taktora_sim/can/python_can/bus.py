"""The python-can interface ``taktora_sim``: unchanged python-can programs on a simulated bus.

    bus = can.Bus(interface="taktora_sim", channel="vcan7", bitrate=500_000)

Inside a World (``with world.as_current():`` or ``with world.foreign_threads():``) the bus is the World's and time is
virtual; elsewhere a server process hosts it in real time, for all programs of the user on this machine.
This is the one file of the simulator that imports python-can for its interface.
"""

from __future__ import annotations

import errno
import inspect
import json
import logging
import os
from collections.abc import Callable, Collection, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import can
from can.broadcastmanager import (
    CyclicSendTaskABC,
    LimitedDurationCyclicSendTaskABC,
    ModifiableCyclicTaskABC,
    RestartableCyclicTaskABC,
    ThreadBasedCyclicSendTask,
)
from can.typechecking import AutoDetectedConfig, CanFilters, Channel

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_MAX_BYTES, fd_length
from taktora.can.filter import ACCEPT_ALL, EFF_FLAG
from taktora.can.interface import CanErrorFrame, CanFilter, CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX, CanIface
from taktora.errors import ConfigurationError, StackError
from taktora_sim.can.backend import SimulatedCan
from taktora_sim.can.python_can.client import RemotePort
from taktora_sim.can.python_can.options import sort_options
from taktora_sim.can.python_can.port import PortError, Wish
from taktora_sim.can.python_can.runtime_folder import RuntimeFolder
from taktora_sim.can.python_can.wire import Received
from taktora_sim.can.python_can.world import WorldPort
from taktora_sim.world import World

__all__ = ["DEFAULT_CHANNEL", "TaktoraSimBus"]

R = TypeVar("R")

DEFAULT_CHANNEL = "vcan0"
_LOG = logging.getLogger("can.taktora_sim")
_INVERTED = 0x2000_0000
_STATES = {
    "ERROR_ACTIVE": can.BusState.ACTIVE,
    "ERROR_WARNING": can.BusState.ACTIVE,
    "ERROR_PASSIVE": can.BusState.PASSIVE,
    "BUS_OFF": can.BusState.ERROR,
}


class _Sending(Protocol):
    """A periodic sender, in this World or in the server."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def replace(self, frames: Sequence[CanFrame]) -> None: ...


# req: REQ_8203
class TaktoraSimBus(can.BusABC):
    """A node on a simulated CAN bus.

    Args:
        channel: Name of a bus of the World, or of a new one: 1 to 15 characters as of a network interface. A number is
            taken as its digits.
        can_filters: As for every python-can bus; applied as the kernel does, so error frames pass always.
        bitrate: Bit/s; another one than the bus has is refused. None takes the bus as it is, or 500 000.
        fd: Send and get CAN FD frames; the bus must carry them: the first to open it decides.
        data_bitrate: Bit/s of the data phase; None takes the bus as it is, or 2 000 000.
        timing: ``can.BitTiming`` or ``can.BitTimingFd`` in place of the bit rates.
        node: Name of the node; buses that give one name are sockets of one node, others have a node each. The first
            one decides about its queue and whether it only listens; another wish is refused meanwhile.
        receive_own_messages: Whether the bus gets what it has sent.
        local_loopback: Whether other sockets of the same node get it.
        ignore_rx_error_frames: Leave error frames out.
        listen_only: Neither send nor acknowledge. None takes the node as it is, or False.
        txqueuelen: Frames in the transmit queue, 1 to 100 000. None takes the node as it is, or 10.
        rx_queue_size: Frames kept until they are read, 1 to 1 000 000; then the newest are lost, and marked.
        acknowledge: False when the bus is made: a frame that no node acknowledges is repeated for ever, as on a wire.
            Else an invisible listener acknowledges it, as other virtual buses do.
        **kwargs: Not used: what other interfaces take, and what python-can's configuration says for others.

    Raises:
        CanInitializationError: an option is unknown, or a value out of its range (a ``ValueError`` too); the bus or its
            node is another one than asked for, or no server can be reached.
    """

    def __init__(
        self,
        channel: Channel = DEFAULT_CHANNEL,
        can_filters: CanFilters | None = None,
        *,
        bitrate: int | None = None,
        fd: bool = False,
        data_bitrate: int | None = None,
        timing: can.BitTiming | can.BitTimingFd | None = None,
        node: str | None = None,
        receive_own_messages: bool = False,
        local_loopback: bool = True,
        ignore_rx_error_frames: bool = False,
        listen_only: bool | None = None,
        txqueuelen: int | None = None,
        rx_queue_size: int = 4096,
        acknowledge: bool | None = None,
        **kwargs: object,
    ) -> None:
        _check_options(kwargs)
        if isinstance(timing, can.BitTimingFd):
            bitrate, data_bitrate, fd = timing.nom_bitrate, timing.data_bitrate, True
        elif timing is not None:
            bitrate = timing.bitrate
        self.channel = str(channel)
        self._world = World.current()
        self._port = _open(
            self._world,
            channel=self.channel,
            bitrate=bitrate,
            data_bitrate=data_bitrate,
            fd=fd,
            node=node,
            receive_own=receive_own_messages,
            loopback=local_loopback,
            error_frames=not ignore_rx_error_frames,
            listen_only=listen_only,
            txqueuelen=txqueuelen,
            rx_queue_size=rx_queue_size,
            acknowledge=acknowledge,
        )
        self._is_fd = fd
        self._can_protocol = can.CanProtocol.CAN_FD if fd else can.CanProtocol.CAN_20
        time = "real" if self._world is None else "virtual"
        self.channel_info = f"taktora_sim channel {self.channel!r}, node {self._port.node!r}, {time} time"
        super().__init__(channel, can_filters, **kwargs)

    def recv(self, timeout: float | None = None) -> can.Message | None:
        """As documented by ``BusABC.recv``; that one measures its waits on the wall clock."""
        message, _ = self._recv_internal(timeout)
        if message is not None:
            _LOG.log(self.RECV_LOGGING_LEVEL, "Received: %s", message)
        return message

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Put a message into the transmit queue.

        Args:
            msg: The message.
            timeout: Seconds to wait for room, 0 to fail at once; None waits as long as it takes.

        Raises:
            CanOperationError: no room in time (ENOBUFS), interface down (ENETDOWN), or a message that this bus cannot
                send (EINVAL).
        """
        frame = self._frame_of(msg)
        try:
            self._port.send(frame, _timeout_ns(timeout))
        except PortError as error:
            raise can.CanOperationError(str(error), error.code) from error

    def shutdown(self) -> None:
        """Stop periodic tasks and close the socket; what is queued is still sent; idempotent."""
        super().shutdown()
        port = getattr(self, "_port", None)
        if port is not None:
            port.close()

    def flush_tx_buffer(self) -> None:
        """Drop what waits in the node's transmit queue, but for the frame on the wire."""
        self._do(self._port.flush)

    @property
    def state(self) -> can.BusState:
        """State of the controller: ``ERROR`` is bus-off, ``PASSIVE`` error-passive."""
        return _STATES[self._do(self._port.state)]

    @state.setter
    def state(self, new_state: can.BusState) -> None:
        """Take part in the bus (``ACTIVE``, which also restarts a controller that is bus-off) or only listen."""
        if new_state is can.BusState.ERROR:
            raise ValueError("state ERROR is what a controller comes to; set ACTIVE or PASSIVE (only listen)")
        self._do(lambda: self._port.set_listen_only(new_state is can.BusState.PASSIVE))

    def fileno(self) -> int:
        """Return what is readable when a message waits, in real time.

        Raises:
            NotImplementedError: in virtual time there is no descriptor; python-can's ``Notifier`` takes a thread then.
        """
        if isinstance(self._port, RemotePort):
            return self._port.fileno()
        raise NotImplementedError("a simulated bus in virtual time has no file descriptor")

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        received = self._do(lambda: self._port.receive(_timeout_ns(timeout)))
        if received is None:
            return None, True
        if received.frame is None:
            text = f"CAN channel {self.channel!r}: interface is down (ENETDOWN); bring it up and go on"
            raise can.CanOperationError(text, errno.ENETDOWN)
        return self._message_of(received, received.frame), True

    def _apply_filters(self, filters: CanFilters | None) -> None:
        wanted = ACCEPT_ALL if filters is None else tuple(_kernel_filters(filters))
        self._do(lambda: self._port.set_filters(wanted))

    def _send_periodic_internal(
        self,
        msgs: Sequence[can.Message] | can.Message,
        period: float,
        duration: float | None = None,
        autostart: bool = True,
        modifier_callback: Callable[[can.Message], None] | None = None,
    ) -> CyclicSendTaskABC:
        if modifier_callback is not None and isinstance(self._port, RemotePort):
            # The callback is the program's and the timer the server's: python-can's own thread brings them together.
            return self._send_by_thread(msgs, period, duration, autostart, modifier_callback)
        return _CyclicTask(self, self._port, msgs, period, duration, autostart, modifier_callback)

    def _send_by_thread(
        self,
        msgs: Sequence[can.Message] | can.Message,
        period: float,
        duration: float | None,
        autostart: bool,
        modifier_callback: Callable[[can.Message], None],
    ) -> CyclicSendTaskABC:
        task = super()._send_periodic_internal(msgs, period, duration, False, modifier_callback)
        assert isinstance(task, ThreadBasedCyclicSendTask)
        task.on_error = self._may_go_on
        if autostart:
            task.start()
        return task

    def _may_go_on(self, error: Exception) -> bool:
        """End the thread of a task: without a word when it was about to send as the bus was shut down."""
        if self._is_shutdown:
            return False
        raise error

    @staticmethod
    def _detect_available_configs() -> list[AutoDetectedConfig]:
        """Return the buses that there are, in this World or on this machine."""
        world, channels = World.current(), list[str]()
        if world is not None:
            channels = list(SimulatedCan.of(world).buses)
        else:
            with suppress(ConfigurationError):  # python-can asks all interfaces, and one that fails spoils it for all
                channels = RuntimeFolder().channels()
        return [{"interface": "taktora_sim", "channel": channel} for channel in channels or [DEFAULT_CHANNEL]]

    def _do(self, call: Callable[[], R]) -> R:
        try:
            return call()
        except PortError as error:
            raise can.CanOperationError(str(error), error.code) from error

    def _frame_of(self, message: can.Message) -> CanFrame:
        """Return what a controller sends for ``message``; the length code decides, as for SocketCAN."""
        problem = _problem_of(message, self._is_fd)
        if problem:
            raise can.CanOperationError(f"CAN channel {self.channel!r}: {problem}", errno.EINVAL)
        if message.is_remote_frame:
            return CanFrame(message.arbitration_id, b"", message.is_extended_id, True, message.dlc)
        length = fd_length(message.dlc) if message.is_fd else message.dlc
        return CanFrame(
            message.arbitration_id,
            bytes(message.data[: message.dlc]).ljust(length, b"\0"),
            message.is_extended_id,
            fd=message.is_fd,
            brs=message.is_fd and message.bitrate_switch,
            esi=message.is_fd and message.error_state_indicator,
        )

    def _message_of(self, received: Received, frame: CanFrame | CanErrorFrame) -> can.Message:
        if isinstance(frame, CanErrorFrame):
            return can.Message(
                timestamp=received.unix_ns * 1e-9,
                arbitration_id=int(frame.classes),
                is_extended_id=False,
                is_error_frame=True,
                channel=self.channel,
                data=frame.data,
            )
        return can.Message(
            timestamp=received.unix_ns * 1e-9,
            arbitration_id=frame.can_id,
            is_extended_id=frame.extended,
            is_remote_frame=frame.remote,
            channel=self.channel,
            dlc=frame.dlc if frame.remote else len(frame.data),
            data=frame.data,
            is_fd=frame.fd,
            is_rx=not received.is_own,
            bitrate_switch=frame.brs,
            error_state_indicator=frame.esi,
        )


class _CyclicTask(LimitedDurationCyclicSendTaskABC, ModifiableCyclicTaskABC, RestartableCyclicTaskABC):
    """Messages sent with a period on the clock of the bus, without a thread."""

    def __init__(
        self,
        bus: TaktoraSimBus,
        port: WorldPort | RemotePort,
        messages: Sequence[can.Message] | can.Message,
        period: float,
        duration: float | None,
        autostart: bool,
        modifier_callback: Callable[[can.Message], None] | None,
    ) -> None:
        super().__init__(messages, period, duration)
        if self.period_ns < 1:
            raise ValueError(f"period {period} s is not above 0")
        self._bus = bus
        self._modify = modifier_callback
        self._sending = self._make(port)
        if autostart:
            self.start()

    def start(self) -> None:
        """Send from now on; the duration counts from here."""
        self._bus._do(self._sending.start)  # noqa: SLF001 - of this file

    def stop(self) -> None:
        """Send nothing more; :meth:`start` begins anew."""
        self._bus._do(self._sending.stop)  # noqa: SLF001 - of this file

    def modify_data(self, messages: Sequence[can.Message] | can.Message) -> None:
        """Send other data from the next message on; identifier and number of messages stay."""
        super().modify_data(messages)
        self._bus._do(lambda: self._sending.replace(self._frames()))  # noqa: SLF001 - of this file

    def _make(self, port: WorldPort | RemotePort) -> _Sending:
        duration_ns = None if self.duration is None else max(1, round(self.duration * 1e9))
        if isinstance(port, RemotePort):
            return self._bus._do(lambda: port.send_periodically(self._frames(), self.period_ns, duration_ns))  # noqa: SLF001
        before = None if self._modify is None else self._modified
        return port.send_periodically(self._frames(), self.period_ns, duration_ns, before)

    def _frames(self) -> list[CanFrame]:
        return [self._bus._frame_of(message) for message in self.messages]  # noqa: SLF001 - of this file

    def _modified(self, index: int) -> CanFrame:
        assert self._modify is not None
        self._modify(self.messages[index])
        return self._bus._frame_of(self.messages[index])  # noqa: SLF001 - of this file


class _WrongOption(can.CanInitializationError, ValueError):
    """An option has no such name or value."""


def _open(world: World | None, channel: str, **wish: Any) -> WorldPort | RemotePort:
    try:
        if world is None or channel not in SimulatedCan.of(world).buses:
            CanIface(channel)  # buses of an application may have longer names
        wished = Wish(channel, **wish)
    except ConfigurationError as error:
        raise _WrongOption(str(error)) from error
    try:
        return RemotePort(wished) if world is None else WorldPort(world, wished)
    except (ConfigurationError, StackError) as error:
        raise can.CanInitializationError(str(error)) from error
    except PortError as error:
        raise can.CanInitializationError(str(error), error.code) from error


def _check_options(unknown: Collection[str]) -> None:
    """Refuse what the program has misspelt; leave out what others need, and say so in the log."""
    if not unknown:
        return
    own = set(inspect.signature(TaktoraSimBus).parameters) - {"kwargs"}
    options = sort_options(unknown, own, _configured())
    if options.refusal:
        raise _WrongOption(options.refusal)
    for warning in options.warnings:
        _LOG.warning(warning)
    if options.unused:
        _LOG.debug("not used by interface taktora_sim: %s", ", ".join(options.unused))


def _configured() -> set[str]:
    """Return the names of all options in python-can's configuration: of each section, each context."""
    names = set(can.rc)
    for key in (key for key in os.environ if key.startswith("CAN_CONFIG")):
        with suppress(ValueError, TypeError):
            names.update(json.loads(os.environ[key]))
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    with suppress(ConfigParserError, OSError, ValueError):
        parser.read([Path(path).expanduser() for path in can.util.CONFIG_FILES])
    for section in parser.sections():
        names.update(parser.options(section))
    return names


def _timeout_ns(timeout: float | None) -> int | None:
    return None if timeout is None else max(0, round(timeout * 1e9))


def _problem_of(message: can.Message, is_fd: bool) -> str:
    """Say why no controller can send ``message``, with the range; empty when one can."""
    limit = EXTENDED_ID_MAX if message.is_extended_id else STANDARD_ID_MAX
    longest = FD_MAX_BYTES if message.is_fd else CLASSICAL_MAX_BYTES
    if message.is_error_frame:
        return "error frames are made by controllers and cannot be sent"
    if not 0 <= message.arbitration_id <= limit:
        kind = "29" if message.is_extended_id else "11"
        return f"arbitration id {message.arbitration_id:#x} is outside 0..{limit:#x} of {kind} bits"
    if not 0 <= message.dlc <= longest:
        return f"dlc {message.dlc} is outside 0..{longest} of a {'CAN FD' if message.is_fd else 'classical'} frame"
    if message.is_fd and message.is_remote_frame:
        return "CAN FD has no remote frames"
    if message.is_fd and not is_fd:
        return "a CAN FD message on a bus opened without fd=True"
    return ""


def _kernel_filters(filters: CanFilters) -> list[CanFilter]:
    """Return python-can's filters as the kernel's; one that no frame can match is left out."""
    found = []
    for entry in filters:
        can_id, mask = entry["can_id"], entry["can_mask"]
        extended = entry.get("extended")
        if extended is None:
            found.append(CanFilter(can_id, mask & EXTENDED_ID_MAX))
        elif extended:
            found.append(CanFilter(can_id | EFF_FLAG, mask & EXTENDED_ID_MAX | EFF_FLAG))
        elif not can_id & mask & ~_INVERTED > STANDARD_ID_MAX:
            found.append(CanFilter(can_id, mask & STANDARD_ID_MAX | EFF_FLAG))
    return found
