"""SyncManagers of a simulated ESC, registers 0x0800 to 0x087F: which memory is a buffer or a mailbox, and its state.

Modelled: direction, buffered and mailbox mode, full and empty, repeat request, write protection of a running channel.
Simplified: a buffered channel keeps one copy, which changes between frames only; a buffer can be read from either side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["SYNC_MANAGERS", "SyncManager", "SyncManagers"]

SYNC_MANAGERS = 0x0800
_BYTES = 8
_CONTROL, _STATUS, _ACTIVATE, _PDI_CONTROL = 4, 5, 6, 7
_ENABLE, _REPEAT = 0x01, 0x02
_MAILBOX_FULL = 0x08
_NOT_WRITTEN = 0x30
_WATCHDOG_TRIGGER = 0x40
_QUEUE = 16


class SyncManager:
    """One channel as configured; ``writes`` is the MainDevice's direction."""

    __slots__ = ("full", "index", "is_active", "is_mailbox", "start", "started", "stop", "watchdog", "writes")

    def __init__(self, index: int) -> None:
        self.index = index
        self.start = 0
        self.stop = 0
        self.is_active = False
        self.is_mailbox = False
        self.writes = False
        self.watchdog = False
        self.full = False
        self.started = False

    @property
    def length(self) -> int:
        return self.stop - self.start


# req: REQ_8101, REQ_8105
class SyncManagers:
    """The channels of one ESC.

    Args:
        memory: Registers and RAM of the ESC.
        count: Number of channels, up to 16.
        on_change: Called when a channel was switched on or off.
        on_full: Called when the MainDevice has filled the mailbox, within the frame.
    """

    def __init__(
        self,
        memory: bytearray,
        count: int,
        on_change: Callable[[], None],
        on_full: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._on_change = on_change
        self._on_full = on_full
        self.channels = tuple(SyncManager(index) for index in range(count))
        self.active: tuple[SyncManager, ...] = ()
        self.outputs: tuple[SyncManager, ...] = ()
        """Active buffered channels that the MainDevice writes."""
        self.inputs: tuple[SyncManager, ...] = ()
        """Active buffered channels that it reads."""
        self.mail_out: SyncManager | None = None
        self.mail_in: SyncManager | None = None
        self._waiting: deque[bytes] = deque()
        self._last_read = b""
        self._in_mailbox = b""

    def reset(self) -> None:
        """Switch all channels off, as after power-up."""
        end = SYNC_MANAGERS + _BYTES * len(self.channels)
        self._memory[SYNC_MANAGERS:end] = bytes(end - SYNC_MANAGERS)
        for channel in self.channels:
            channel.is_active = channel.full = False
        self._drop_mail()
        self._sort()

    def write(self, start: int, data: bytes) -> bool:
        """Take a write of the MainDevice to the registers; False when none of the bytes may be written."""
        accepted = False
        for channel in self.channels:
            base = SYNC_MANAGERS + _BYTES * channel.index
            first, last = max(start, base), min(start + len(data), base + _BYTES)
            if first < last:
                accepted |= self._write_one(channel, base, first - base, data[first - start : last - start])
        return accepted

    def status_at(self, channel: SyncManager) -> int:
        """Return the address of the status byte of ``channel``."""
        return SYNC_MANAGERS + _BYTES * channel.index + _STATUS

    def permits(self, start: int, stop: int, *, write: bool) -> bool:
        """Return whether the MainDevice may access memory from ``start`` up to ``stop`` now."""
        for channel in self.active:
            if channel.start < stop and start < channel.stop and not _permits(channel, start, write=write):
                return False
        return True

    def note_read(self, start: int, stop: int) -> None:
        """Note that memory was read: a mailbox whose last byte was among it is empty now."""
        channel = self.mail_in
        if channel is not None and channel.full and start < channel.stop <= stop:
            self._last_read = self._in_mailbox
            self._set_full(channel, full=False)
            self._next_mail()

    def note_write(self, start: int, stop: int) -> bool:
        """Note that memory was written; True when it completed a buffer with outputs."""
        completed = False
        for channel in self.active:
            if not channel.writes or channel.start >= stop or start >= channel.stop:
                continue
            channel.started = stop < channel.stop
            if stop < channel.stop:
                continue
            if channel.is_mailbox:
                self._set_full(channel, full=True)
                self._on_full()
            else:
                completed = True
                self._memory[self.status_at(channel)] = 0x01
        return completed

    def take_mail(self) -> bytes | None:
        """Empty the mailbox and return its content; None when it is not full."""
        channel = self.mail_out
        if channel is None or not channel.full:
            return None
        self._set_full(channel, full=False)
        return bytes(self._memory[channel.start : channel.stop])

    def post(self, data: bytes) -> bool:
        """Queue mail for the MainDevice; False when it cannot be taken."""
        channel = self.mail_in
        if channel is None or len(data) > channel.length or len(self._waiting) >= _QUEUE:
            return False
        self._waiting.append(data)
        if not channel.full:
            self._next_mail()
        return True

    def _write_one(self, channel: SyncManager, base: int, first: int, data: bytes) -> bool:
        accepted = False
        was_active = channel.is_active
        activate: int | None = None
        for offset, value in enumerate(data, first):
            if offset == _ACTIVATE:
                activate, accepted = value, True
            elif offset <= _CONTROL and not was_active:
                self._memory[base + offset] = value
                accepted = True
        if activate is not None:
            self._activate(channel, base, activate)
        return accepted

    def _activate(self, channel: SyncManager, base: int, value: int) -> None:
        before, self._memory[base + _ACTIVATE] = self._memory[base + _ACTIVATE], value
        is_active = bool(value & _ENABLE)
        if is_active != channel.is_active:
            self._configure(channel, base, is_active=is_active)
        if (before ^ value) & _REPEAT:
            self._repeat(channel)
            self._memory[base + _PDI_CONTROL] = self._memory[base + _PDI_CONTROL] & ~_REPEAT | value & _REPEAT

    def _configure(self, channel: SyncManager, base: int, *, is_active: bool) -> None:
        control = self._memory[base + _CONTROL]
        channel.start = int.from_bytes(self._memory[base : base + 2], "little")
        channel.stop = min(
            channel.start + int.from_bytes(self._memory[base + 2 : base + 4], "little"), len(self._memory)
        )
        channel.is_mailbox = control & 3 == 2
        channel.writes = control & 0x0C == 0x04
        channel.watchdog = bool(control & _WATCHDOG_TRIGGER)
        channel.is_active = is_active and channel.stop > channel.start
        channel.full = channel.started = False
        self._memory[base + _STATUS] = 0 if channel.is_mailbox or not is_active else _NOT_WRITTEN
        if self.mail_in is channel and not is_active:
            self._drop_mail()
        self._sort()
        self._on_change()

    def _sort(self) -> None:
        active = self.active = tuple(channel for channel in self.channels if channel.is_active)
        self.outputs = tuple(each for each in active if not each.is_mailbox and each.writes)
        self.inputs = tuple(each for each in active if not each.is_mailbox and not each.writes)
        self.mail_out = next((each for each in active if each.is_mailbox and each.writes), None)
        self.mail_in = next((each for each in active if each.is_mailbox and not each.writes), None)

    def _repeat(self, channel: SyncManager) -> None:
        """Offer the mail that was read last again, before any that is newer."""
        if channel is not self.mail_in or not self._last_read:
            return
        if channel.full:
            self._waiting.appendleft(self._in_mailbox)
            channel.full = False
        self._waiting.appendleft(self._last_read)
        self._next_mail()

    def _next_mail(self) -> None:
        channel = self.mail_in
        if channel is None or not self._waiting:
            return
        self._in_mailbox = self._waiting.popleft()
        self._memory[channel.start : channel.stop] = self._in_mailbox.ljust(channel.length, b"\0")
        self._set_full(channel, full=True)

    def _drop_mail(self) -> None:
        self._waiting.clear()
        self._last_read = self._in_mailbox = b""

    def _set_full(self, channel: SyncManager, *, full: bool) -> None:
        channel.full = full
        channel.started = False
        at = self.status_at(channel)
        event = 1 if channel.writes else 2
        self._memory[at] = _MAILBOX_FULL | event if full else event ^ 3


def _permits(channel: SyncManager, start: int, *, write: bool) -> bool:
    if not channel.is_mailbox:
        return channel.writes or not write
    if channel.writes != write or channel.full == write:
        return False
    return not write or channel.started or start <= channel.start
