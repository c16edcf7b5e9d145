"""Writes what was on a simulated bus as candump log or Vector ASC, on virtual time stamps; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from taktora.can.interface import CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can.bus import BusFrame, SimulatedCanBus
from taktora_sim.can.candump import candump_line

__all__ = ["CanRecording"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _asc_line(time_ns: int, frame: CanFrame, sender_is_local: bool) -> str:
    identifier = f"{frame.can_id:X}{'x' if frame.extended else ''}"
    direction = "Tx" if sender_is_local else "Rx"
    content = f"r {frame.dlc:x}" if frame.remote else f"d {len(frame.data):x} {frame.data.hex(' ').upper()}"
    return f"{time_ns / 1e9:>11.6f} 1  {identifier:<15} {direction:<4} {content}".rstrip() + "\n"


def _asc_head(unix_ns: int) -> str:
    now = datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC)
    date = f"{_DAYS[now.weekday()]} {_MONTHS[now.month - 1]} {now.day:02d} {now:%H:%M:%S}.000 {now.year}"
    return (
        f"date {date}\nbase hex  timestamps absolute\nno internal events logged\nBegin Triggerblock {date}\n"
        "   0.000000 Start of measurement\n"
    )


# req: REQ_8205
class CanRecording:
    """Records a bus into a file until ``close`` or the end of the World.

    Args:
        bus: The bus to listen to.
        path: Suffix ``.log`` for candump, ``.asc`` for Vector ASC (one channel, times since virtual zero).
        channel: Interface name in a candump log; default: the bus's name.
        local_node: Node whose frames an ASC file shows as ``Tx``.

    Raises:
        ConfigurationError: another suffix.
    """

    def __init__(
        self, bus: SimulatedCanBus, path: Path | str, *, channel: str | None = None, local_node: str = ""
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self._bus = bus
        self._channel = channel or bus.name
        self._local_node = local_node
        self._line = self._choose()
        self._file: TextIO | None = self.path.open("w", encoding="ascii", newline="\n")
        if self.path.suffix.lower() == ".asc":
            self._file.write(_asc_head(bus.world.epoch_unix_ns))
        bus.observe(self._write)
        bus.world.on_close(self.close)

    def close(self) -> None:
        """Finish the file; idempotent."""
        if self._file is not None:
            if self.path.suffix.lower() == ".asc":
                self._file.write("End TriggerBlock\n")
            self._file.close()
            self._file = None

    def _choose(self) -> Callable[[BusFrame], str]:
        suffix = self.path.suffix.lower()
        if suffix == ".log":
            epoch = self._bus.world.epoch_unix_ns
            return lambda event: candump_line(epoch + event.end_ns, self._channel, event.frame)
        if suffix == ".asc":
            return lambda event: _asc_line(event.end_ns, event.frame, event.node == self._local_node)
        raise ConfigurationError(f"CAN recording {self.path}: suffix {suffix!r} is neither .log (candump) nor .asc")

    def _write(self, event: BusFrame) -> None:
        if self._file is not None:
            self._file.write(self._line(event))
            self.frames += 1
