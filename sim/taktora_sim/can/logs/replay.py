"""Replays a recorded log onto a simulated bus, keeping order and spacing in virtual time; it never edits a frame.

Modelled: the recorded time of a frame is the end of that frame, as a receiver stamps it; each frame is started so
early that it ends at its recorded time, if the bus is free then. Frames of the log and frames of the other nodes
compete for the bus as on a wire; a frame that finds it busy comes later, its successors at their own times.
Simplified: all frames of the log come from one node, in the log's order (between them no arbitration takes place).
Error frames of the log are counted and left out: what happened on the wire cannot be made from them. Frames of CAN FD
are counted and left out on a classical bus, which no controller could send them on.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taktora.can.interface import CanFrame
from taktora.errors import BackPressure, ConfigurationError, LinkDown
from taktora_sim.can.bus import SimulatedCanBus
from taktora_sim.can.logs.logfile import CanLog, CanLogError, LogProblem, LogRecord
from taktora_sim.can.timing import INTERMISSION_BITS, duration_ns, fd_duration_ns, fd_frame_bits, frame_bits

if TYPE_CHECKING:
    from taktora_sim.world import Timer

__all__ = ["CanReplay"]

_LOOP_GAP_NS = 10_000_000
_PROBLEMS_TOLD = 20
_FD_HINT = "give the bus a data_bitrate"


# req: REQ_8205
class CanReplay:
    """A node that sends what a log holds; starts by itself once made.

    Problems of the log are warnings of the run: the first 20 when they are met, and all by number in the end.

    Args:
        bus: The bus to replay onto.
        log: A log or its path.
        node: Name of the replaying node; fault path ``can/<bus>/<node>``.
        channels: Channels of the log to take, as the file names them; None takes all.
        exclude_ids: Identifiers to leave out, those that nodes of the simulation send themselves: a bare number means
            both formats, ``(id, is_extended)`` one.
        senders: Names of senders and the identifiers they send (29-bit ones as ``(id, True)``); each becomes a fault
            target of its own, ``can/<bus>/<node>/<sender>``.
        speed: 2.0 replays twice as fast; above 0.
        loop: Start again, 10 ms after the last frame, for ever.
        start_at_ns: Virtual time of the first start of frame.
        on_bad: What a bad record does, see :class:`CanLog`.
        queue_length: Frames that may wait for the bus.

    Raises:
        CanLogError: the log cannot be read, holds no frame at all, none of ``channels``, or none that this bus carries.
        ConfigurationError: ``speed`` is not above 0, or the bus has a node of that name.
    """

    def __init__(
        self,
        bus: SimulatedCanBus,
        log: CanLog | Path | str,
        *,
        node: str = "replay",
        channels: Collection[str] | None = None,
        exclude_ids: Collection[int | tuple[int, bool]] = (),
        senders: Mapping[str, Collection[int | tuple[int, bool]]] | None = None,
        speed: float = 1.0,
        loop: bool = False,
        start_at_ns: int = 0,
        on_bad: Literal["count", "raise"] = "count",
        queue_length: int = 1000,
    ) -> None:
        if not speed > 0:
            raise ConfigurationError(f"replay of {log}: speed {speed} is not above 0; 1.0 is the recorded speed")
        self.log = log if isinstance(log, CanLog) else CanLog(log, on_bad=on_bad)
        self.node = bus.node(node, queue_length=queue_length)
        self.frames = 0
        """Frames handed to the bus so far."""
        self.lost = 0
        """Frames that found the replaying node's queue full or its interface down."""
        self.passes = 0
        """Times the end of the log was reached."""
        self._bus = bus
        self._channels = None if channels is None else frozenset(str(channel) for channel in channels)
        self._exclude = frozenset(exclude_ids)
        self._speed = Fraction(speed).limit_denominator(1_000_000)
        self._loop = loop
        self._origin_ns = 0
        self._base_ns: int | None = None
        self._next: LogRecord | None = None
        self._timer: Timer | None = None
        self._frames_before_pass = 0
        self._told = 0
        self.log.on_problem = self._tell
        for name, ids in (senders or {}).items():
            self.node.faults.add_sender(name, ids)
        self._records = self._chosen()
        self._start_at_ns = max(start_at_ns, bus.world.now_ns())
        bus.world.on_close(self.close)
        self._schedule()
        if not self.log.frames:
            raise CanLogError(_empty_text(self.log))
        if self.passes and self._channels is not None:
            self._require_channel(self._channels)
        if self.passes and self.log.counts["CAN FD frame"] == self.log.frames:
            raise CanLogError(
                f"CAN log {self.log.path}: it holds frames of CAN FD alone, and {bus.path} is classical; {_FD_HINT}"
            )

    @property
    def latest_ns(self) -> int:
        """Largest delay of a frame against its recorded time: it found the bus busy."""
        return self.node.longest_wait_ns

    @property
    def finished(self) -> bool:
        """Whether every frame of the log has been handed to the bus (never with ``loop``)."""
        return self.passes > 0 and not self._loop

    def exclude(self, ids: Collection[int | tuple[int, bool]]) -> None:
        """Leave out frames with these identifiers, too, from now on; written as ``exclude_ids``."""
        self._exclude |= frozenset(ids)
        if self._timer is not None and self._next is not None and self._is_excluded(self._next.frame):
            self._timer.cancel()
            if not self.frames + self.lost:
                self._base_ns = None
            self._schedule()

    def close(self) -> None:
        """Send nothing more and close the log; idempotent. The end of the World does it too."""
        self._loop = False
        self._records.close()
        if self._told:
            self._told = 0
            self._bus.world.recorder.notice(f"CAN log {self.log.summary}", "warning")

    def _tell(self, problem: LogProblem) -> None:
        """Tell the first problems of the first pass; by the file's name, so that no report names a directory."""
        if self.passes:
            return
        self._told += 1
        if self._told <= _PROBLEMS_TOLD:
            text = problem.text.replace(str(self.log.path), self.log.path.name, 1)
            self._bus.world.recorder.notice(f"CAN log {text}", "warning")

    def _require_channel(self, wanted: Collection[str]) -> None:
        """Refuse a log in which no channel bears one of the names that were asked for."""
        there = sorted({record.channel for record in self.log})
        if not set(wanted).intersection(there):
            names = ", ".join(map(repr, sorted(wanted)))
            raise CanLogError(
                f"CAN log {self.log.path}: it has no frame of channel {names}; its channels are {', '.join(there)}"
            )

    def _chosen(self) -> Generator[LogRecord, None, None]:
        for record in self.log:
            wanted = self._channels is None or record.channel in self._channels
            if wanted and not self._is_excluded(record.frame) and self._is_carried(record):
                yield record

    def _is_carried(self, record: LogRecord) -> bool:
        if not record.frame.fd or self._bus.data_bitrate is not None:
            return True
        what = f"id {record.frame.can_id:#x} and others like it are left out, since {self._bus.path} is classical"
        self.log.report("CAN FD frame", record.number, f"{what}; {_FD_HINT}")
        return False

    def _is_excluded(self, frame: CanFrame) -> bool:
        return frame.can_id in self._exclude or (frame.can_id, frame.extended) in self._exclude

    def _schedule(self) -> None:
        record = self._next = next(self._records, None)
        if record is None:
            self._end_pass()
            return
        self._start_at_ns = max(self._start_of(record), self._start_at_ns)
        due_ns = max(self._start_at_ns, self._bus.world.now_ns())
        self._timer = self._bus.world.call_at(due_ns, lambda: self._emit(record.frame))

    def _start_of(self, record: LogRecord) -> int:
        duration = self._duration_ns(record.frame)
        if self._base_ns is None:
            self._origin_ns = record.time_ns
            self._base_ns = self._start_at_ns + duration
        spacing = (record.time_ns - self._origin_ns) * self._speed.denominator // self._speed.numerator
        return self._base_ns + spacing - duration

    def _duration_ns(self, frame: CanFrame) -> int:
        """Return the time from start to end of frame, without the intermission."""
        bitrate, data_bitrate = self._bus.bitrate, self._bus.data_bitrate
        if frame.fd and data_bitrate is not None:
            nominal, fast = fd_frame_bits(frame.can_id, frame.data, frame.extended, frame.brs, frame.esi)
            return fd_duration_ns(nominal - INTERMISSION_BITS, fast, bitrate, data_bitrate)
        bits = frame_bits(frame.can_id, frame.data, frame.extended, frame.remote, frame.dlc if frame.remote else 0)
        return duration_ns(bits - INTERMISSION_BITS, bitrate)

    def _emit(self, frame: CanFrame) -> None:
        try:
            self.node.transmit(frame)
            self.frames += 1
        except (BackPressure, LinkDown):
            self.lost += 1
        self._schedule()

    def _end_pass(self) -> None:
        self.passes += 1
        sent = self.frames + self.lost - self._frames_before_pass
        self._frames_before_pass += sent
        if self._loop and sent:
            self._base_ns = None
            self._start_at_ns = self._bus.world.now_ns() + _LOOP_GAP_NS
            self._records = self._chosen()
            self._schedule()


def _empty_text(log: CanLog) -> str:
    first = log.problems[0].text if log.problems else "the file is empty"
    return f"CAN log {log.path}: not one frame could be read; {first}"
