"""Writes what was on a simulated bus as candump log, Vector ASC or pcapng, on virtual time stamps; it changes nothing.

A destroyed attempt is an error frame, as a listener that hears the whole bus would log it: in a candump log and in
pcapng with error class, kind and place by ``linux/can/error.h`` (the counters are left 0, a listener does not know
them), in ASC as ``ErrorFrame``. Times are those of the end of a frame, cut to 1 us in candump and rounded to it in ASC.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TextIO

from taktora.can.dlc import code_of
from taktora.can.filter import kernel_id
from taktora.can.interface import CanErrorFrame, CanFrame
from taktora.can.routing import CanFdFlags
from taktora.errors import ConfigurationError
from taktora_sim.can.bus import BusFrame, SimulatedCanBus
from taktora_sim.can.errors import BusError, overheard
from taktora_sim.can.logs.candump import ERROR_FLAG, candump_line
from taktora_sim.pcapng import LINK_CAN, PcapngWriter

__all__ = ["CanRecording"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ASC_EDL, _ASC_BRS, _ASC_ESI = 1 << 12, 1 << 13, 1 << 14
_FDF: Final = 4
"""Mark of CAN FD in the flags of a frame (``linux/can.h``)."""


class _Format(Protocol):
    """One file format, open for writing."""

    def frame(self, event: BusFrame) -> None: ...

    def error(self, event: BusError) -> None: ...

    def close(self) -> None: ...


# req: REQ_8205
class CanRecording:
    """Records a bus into a file until ``close`` or the end of the World.

    Args:
        bus: The bus to listen to.
        path: Suffix ``.log`` for candump, ``.asc`` for Vector ASC (one channel, times since virtual zero), ``.pcapng``
            for Wireshark (link type SocketCAN).
        channel: Interface name in a candump log and in pcapng; default: the bus's name.
        local_node: Node whose frames ASC shows as ``Tx``, and pcapng as outbound.
        errors: Whether destroyed attempts are recorded, as error frames.

    Raises:
        ConfigurationError: another suffix.
    """

    def __init__(
        self,
        bus: SimulatedCanBus,
        path: Path | str,
        *,
        channel: str | None = None,
        local_node: str = "",
        errors: bool = True,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.errors = 0
        """Error frames recorded."""
        self._format: _Format | None = _open(self.path, bus.world.epoch_unix_ns, channel or bus.name, local_node)
        bus.observe(self._write)
        if errors:
            bus.observe_errors(self._write_error)
        bus.world.on_close(self.close)

    def close(self) -> None:
        """Finish the file; idempotent."""
        if self._format is not None:
            self._format.close()
            self._format = None

    def _write(self, event: BusFrame) -> None:
        if self._format is not None:
            self._format.frame(event)
            self.frames += 1

    def _write_error(self, event: BusError) -> None:
        if self._format is not None:
            self._format.error(event)
            self.errors += 1


def _open(path: Path, epoch_ns: int, channel: str, local_node: str) -> _Format:
    suffix = path.suffix.lower()
    if suffix == ".log":
        return _Candump(path, epoch_ns, channel)
    if suffix == ".asc":
        return _Asc(path, epoch_ns, local_node)
    if suffix == ".pcapng":
        return _Pcapng(path, epoch_ns, channel, local_node)
    raise ConfigurationError(
        f"CAN recording {path}: suffix {suffix!r} is none of .log (candump), .asc (Vector) and .pcapng (Wireshark)"
    )


def _open_text(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", encoding="ascii", newline="\n")


class _Candump:
    """As ``candump -L`` prints it."""

    def __init__(self, path: Path, epoch_ns: int, channel: str) -> None:
        self._file = _open_text(path)
        self._epoch_ns = epoch_ns
        self._channel = channel

    def frame(self, event: BusFrame) -> None:
        self._file.write(candump_line(self._epoch_ns + event.end_ns, self._channel, event.frame))

    def error(self, event: BusError) -> None:
        self._file.write(candump_line(self._epoch_ns + event.end_ns, self._channel, overheard(event)))

    def close(self) -> None:
        self._file.close()


class _Asc:
    """As Vector's tools write it: ``CANFD`` lines for frames of CAN FD, the others in the old form."""

    def __init__(self, path: Path, epoch_ns: int, local_node: str) -> None:
        self._file = _open_text(path)
        self._local_node = local_node
        self._file.write(_asc_head(epoch_ns))

    def frame(self, event: BusFrame) -> None:
        frame = event.frame
        direction = "Tx" if event.node == self._local_node else "Rx"
        identifier = f"{frame.can_id:X}{'x' if frame.extended else ''}"
        text = _asc_fd(event, identifier, direction) if frame.fd else _asc_classical(frame, identifier, direction)
        self._file.write(f"{event.end_ns / 1e9:>11.6f} {text}".rstrip() + "\n")

    def error(self, event: BusError) -> None:
        self._file.write(f"{event.end_ns / 1e9:>11.6f} 1  ErrorFrame\n")

    def close(self) -> None:
        self._file.write("End TriggerBlock\n")
        self._file.close()


def _asc_classical(frame: CanFrame, identifier: str, direction: str) -> str:
    content = f"r {frame.dlc:x}" if frame.remote else f"d {len(frame.data):x} {frame.data.hex(' ').upper()}"
    return f"1  {identifier:<15} {direction:<4} {content}"


def _asc_fd(event: BusFrame, identifier: str, direction: str) -> str:
    frame, data = event.frame, event.frame.data
    flags = _ASC_EDL | frame.brs * _ASC_BRS | frame.esi * _ASC_ESI
    marks = f"{frame.brs:d} {frame.esi:d} {code_of(len(data)):x} {len(data):>2}"
    length = f"{event.end_ns - event.start_ns:>8} {event.bits:>4} {flags:>8X}"
    unknown = " ".join(f"{0:>8}" for _ in range(5))  # CRC and bit timings
    # The empty column is for the name of a message.
    return f"CANFD   1 {direction:<4} {identifier:>8}  {'':>32} {marks} {data.hex(' ').upper()} {length} {unknown}"


def _asc_head(unix_ns: int) -> str:
    now = datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC)
    date = f"{_DAYS[now.weekday()]} {_MONTHS[now.month - 1]} {now.day:02d} {now:%H:%M:%S}.000 {now.year}"
    return (
        f"date {date}\nbase hex  timestamps absolute\nno internal events logged\nBegin Triggerblock {date}\n"
        "   0.000000 Start of measurement\n"
    )


class _Pcapng:
    """As Wireshark captures it on a CAN interface."""

    def __init__(self, path: Path, epoch_ns: int, channel: str, local_node: str) -> None:
        self._writer = PcapngWriter(path, channel, LINK_CAN)
        self._epoch_ns = epoch_ns
        self._local_node = local_node

    def frame(self, event: BusFrame) -> None:
        packet = _socketcan(event.frame)
        self._writer.write(self._epoch_ns + event.end_ns, packet, is_inbound=event.node != self._local_node)

    def error(self, event: BusError) -> None:
        self._writer.write(self._epoch_ns + event.end_ns, _socketcan(overheard(event)), is_inbound=True)

    def close(self) -> None:
        self._writer.close()


def _socketcan(frame: CanFrame | CanErrorFrame) -> bytes:
    if isinstance(frame, CanErrorFrame):
        return _HEAD.pack(ERROR_FLAG | frame.classes, len(frame.data), 0, 0) + frame.data
    length = min(frame.dlc, 8) if frame.remote else len(frame.data)
    flags = _FDF | frame.brs * CanFdFlags.BRS | frame.esi * CanFdFlags.ESI if frame.fd else 0
    raw_code = frame.dlc if frame.remote and frame.dlc > length else 0
    return _HEAD.pack(kernel_id(frame), length, flags, raw_code) + frame.data


_HEAD: Final = struct.Struct(">IBBxB")
