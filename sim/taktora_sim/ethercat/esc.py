"""The registers and the memory of a simulated ESC: which address is what, and who may write it; it knows no frame.

Register numbers, reset values and access rules: Beckhoff ESC datasheet, section II (ET1100).

Modelled: information, station address and alias, DL control (forwarding rule, port loop control, use of the alias), DL
status, AL control, status and code, PDI control and device emulation, ECAT event mask and request, error counters,
watchdog, EEPROM interface, FMMUs, SyncManagers, user RAM, digital-output memory and process RAM.
Simplified: no PDI access (AL event request reads 0), no process-data watchdog of the PDI, no GPIO, no ESI write lock;
a loop control of "always open" acts as "auto".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from taktora_sim.ethercat.alstate import AL_CONTROL, AL_STATUS, AL_STATUS_CODE
from taktora_sim.ethercat.eeprom import CONFIG, EepromInterface
from taktora_sim.ethercat.fmmu import FMMU_BYTES, FMMUS
from taktora_sim.ethercat.syncmanager import SYNC_MANAGERS, SyncManagers
from taktora_sim.ethercat.watchdog import DIVIDER, EXPIRIES, WINDOW

__all__ = ["DC_BASE", "DC_END", "Esc", "EscHost", "FrameWork", "PortTimes", "RegisterWindow"]

STATION_ADDRESS = 0x0010
STATION_ALIAS = 0x0012
DL_CONTROL = 0x0100
DL_STATUS = 0x0110
EVENT_MASK = 0x0200
EVENT_REQUEST = 0x0210
RX_ERRORS = 0x0300
PROCESSING_ERRORS = 0x030C
PDI_ERRORS = 0x030D
LOST_LINKS = 0x0310
DC_BASE = 0x0900
DC_END = 0x0A00
_USER_MEMORY = 0x0F00
_RAM = 0x1000
_DL_EVENT, _AL_EVENT = 0x04, 0x08

_READABLE = (
    (0x0000, 0x000A),
    (0x0010, 0x0014),
    (0x0020, 0x0022),
    (0x0030, 0x0032),
    (0x0100, 0x0104),
    (0x0108, 0x010A),
    (0x0110, 0x0112),
    (0x0120, 0x0122),
    (0x0130, 0x0136),
    (0x0140, 0x0142),
    (0x0150, 0x0154),
    (0x0200, 0x0202),
    (0x0204, 0x0208),
    (0x0210, 0x0212),
    (0x0220, 0x0224),
    (0x0300, 0x030E),
    (0x0310, 0x0314),
    (0x0400, 0x0402),
    (0x0410, 0x0412),
    (0x0420, 0x0422),
    (0x0440, 0x0444),
    (0x0500, 0x0510),
    (0x0F00, 0x0F04),
    (0x0F10, 0x0F20),
    (0x0F80, 0x1000),
)


PortTimes: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""Nanoseconds at ports 0 to 3; None where the frame does not come in."""


_Block: TypeAlias = tuple[int, int, Callable[[int, bytes], bool]]
"""Registers that can be written, from and up to an address, and who takes the write."""


class RegisterWindow(Protocol):
    """What serves the registers 0x0900 to 0x09FF of a device with distributed clocks; offsets count from 0x0900.

    All times are virtual nanoseconds of the World at which the frame passes the processing unit of this SubDevice.
    """

    def reset(self) -> None:
        """Take the values after power-up."""
        ...

    def read(self, offset: int, length: int, at_ns: int) -> bytes:
        """Return ``length`` bytes."""
        ...

    def write(self, offset: int, data: bytes, at_ns: int) -> None:
        """Take a write; what is read-only stays."""
        ...

    def latch(self, received_ns: PortTimes) -> None:
        """Take the receive times of the frame at ports 0 to 3 (None: not received there); a write to 0x0900."""
        ...

    def check_transition(self, new_state: int) -> int:
        """Return 0, or an AL status code (0x0030 to 0x0037) that keeps the device from ``new_state``."""
        ...

    def snapshot(self) -> dict[str, int | None]:
        """Return what it is doing now, for people and test benches."""
        ...


class EscHost(Protocol):
    """What the ESC tells the SubDevice it is in."""

    def al_requested(self, value: int) -> None: ...

    def watchdog_written(self) -> None: ...

    def loops_changed(self) -> None: ...

    def outputs_written(self) -> None: ...

    def refresh_inputs(self) -> None: ...


class FrameWork:
    """What the ESCs of a segment share: who has work to do once the frame has passed, and what is out of date."""

    __slots__ = ("at_ns", "version", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.at_ns = 0
        """Virtual time at which those who wait are called."""
        self.version = 0
        """Counted up whenever addresses, FMMUs, SyncManagers or interrupts have changed."""


class Esc:
    """Memory and registers.

    Args:
        host: The SubDevice.
        options: ``fmmus`` and ``sync_managers`` (1 to 16 each), ``ram_kb`` (1 to 60).
        on_mail: Called when the mailbox was filled.
        on_channels: Called when a SyncManager was switched.
    """

    def __init__(
        self,
        host: EscHost,
        fmmus: int,
        sync_managers: int,
        ram_kb: int,
        on_mail: Callable[[], None],
        on_channels: Callable[[], None],
    ) -> None:
        self.memory = bytearray(_RAM + ram_kb * 1024)
        self.fmmus = fmmus
        self.shared = FrameWork()
        self.syncs = SyncManagers(self.memory, sync_managers, on_channels, on_mail)
        self.eeprom: EepromInterface | None = None
        self.window: RegisterWindow | None = None
        self.station = 0
        """Configured station address."""
        self.alias: int | None = None
        """Station alias, while DL control says that it counts."""
        self._now_ns: Callable[[], int] = lambda: 0
        self._receive_ns: PortTimes = (0, None, None, None)
        self._arrival_ns = 0
        self.irq = 0
        self._host = host
        self._ram_kb = ram_kb
        self._readable = bytearray(_RAM) + b"\1" * (ram_kb * 1024)
        for start, stop in _READABLE:
            self._readable[start:stop] = b"\1" * (stop - start)
        self._readable[FMMUS : FMMUS + FMMU_BYTES * fmmus] = b"\1" * (FMMU_BYTES * fmmus)
        self._readable[SYNC_MANAGERS : SYNC_MANAGERS + 8 * sync_managers] = b"\1" * (8 * sync_managers)
        self._blocks = self._make_blocks(fmmus, sync_managers)
        self._pages = _by_page(self._blocks)

    def set_window(self, window: RegisterWindow) -> None:
        """Put the registers of the distributed clock in place; without, they do not exist."""
        if self.window is not None:
            self.window = window  # it takes the place of another
            return
        self.window = window
        self._readable[DC_BASE:DC_END] = b"\1" * (DC_END - DC_BASE)
        self._blocks = tuple(sorted((*self._blocks, (DC_BASE, DC_END, self._write_window)), key=lambda each: each[0]))
        self._pages = _by_page(self._blocks)
        self.memory[0x0008] |= 0x0C

    def reset(self, ports: int, *, emulated: bool) -> None:
        """Take the values after power-up; SyncManagers, EEPROM, AL and watchdog reset themselves.

        Args:
            ports: Register 0x0007.
            emulated: Device emulation.
        """
        memory = self.memory
        memory[:] = bytes(len(memory))
        memory[0x0000:0x0008] = bytes((0x11, 0, 2, 0, self.fmmus, len(self.syncs.channels), self._ram_kb, ports))
        memory[0x0008] = 0x0C if self.window is not None else 0
        memory[DL_CONTROL] = 0x01
        memory[0x0102] = 0x07
        memory[0x0140] = 0x08
        memory[0x0141] = 1 if emulated else 0
        for address, value in ((DIVIDER, 2498), (0x0410, 1000), (WINDOW, 1000)):
            memory[address : address + 2] = value.to_bytes(2, "little")
        self.station, self.alias, self.irq = 0, None, 0
        self.syncs.reset()
        if self.window is not None:
            self.window.reset()
        self.shared.version += 1

    # req: REQ_8101
    def read(self, start: int, length: int) -> bytes | None:
        """Return what the MainDevice reads; None when nothing of it can be read now."""
        stop = start + length
        memory = self.memory
        if self._readable.find(1, start, stop) < 0:
            return None
        if stop > _USER_MEMORY and not self._begin_read(start, stop):
            return None
        data = bytes(memory[start:stop])
        if start < DC_END and stop > DC_BASE and self.window is not None:
            data = self._read_window(start, stop, data)
        if start < AL_STATUS_CODE + 2 and stop > DL_STATUS:
            self._acknowledge(start, stop)
        if stop > _USER_MEMORY:
            self.syncs.note_read(start, stop)
        return data if len(data) == length else data.ljust(length, b"\0")

    # req: REQ_8101
    def write(self, start: int, data: bytes) -> bool:
        """Take what the MainDevice writes; False when nothing of it can be written now."""
        stop = start + len(data)
        accepted = False
        if start < _USER_MEMORY:
            page = start >> 8
            for first, last, writer in self._pages[page] if stop - 1 >> 8 == page else self._blocks:
                if first < stop and start < last:
                    low, high = max(first, start), min(last, stop)
                    accepted |= writer(low, data[low - start : high - start])
        if stop > _USER_MEMORY:
            accepted |= self._write_memory(start, stop, data)
        return accepted

    def is_memory(self, start: int, stop: int) -> bool:
        """Return whether all addresses from ``start`` up to ``stop`` exist."""
        return self._readable.find(0, start, stop) < 0

    def set_receive_times(self, now_ns: Callable[[], int], receive_ns: PortTimes, arrival_ns: int) -> None:
        """Say when a frame passes here, counted from the instant ``now_ns`` at which it is sent.

        Args:
            now_ns: Virtual time.
            receive_ns: At the ports.
            arrival_ns: At the processing unit.
        """
        self._now_ns, self._receive_ns, self._arrival_ns = now_ns, receive_ns, arrival_ns

    def event(self, bit: int) -> None:
        """Set a bit of the ECAT event request."""
        self.memory[EVENT_REQUEST] |= bit
        self._refresh_irq()

    def al_event(self) -> None:
        """Tell the MainDevice, if it wants to know, that AL status has changed."""
        self.event(_AL_EVENT)

    def set_dl_status(self, value: int) -> None:
        """Show the state of the ports."""
        if value != int.from_bytes(self.memory[DL_STATUS : DL_STATUS + 2], "little"):
            self.memory[DL_STATUS : DL_STATUS + 2] = value.to_bytes(2, "little")
            self.event(_DL_EVENT)

    def count_error(self, counter: int) -> None:
        """Count one error; counters stop at 255."""
        if self.memory[counter] < 0xFF:
            self.memory[counter] += 1

    def set_alias(self, alias: int) -> None:
        """Take the station alias from the EEPROM."""
        self.memory[STATION_ALIAS : STATION_ALIAS + 2] = alias.to_bytes(2, "little")
        self._read_dl_control()

    @property
    def loop_control(self) -> tuple[int, int, int, int]:
        """Loop control of ports 0 to 3: 0 auto, 1 auto close, 2 open, 3 closed."""
        value = self.memory[DL_CONTROL + 1]
        return value & 3, value >> 2 & 3, value >> 4 & 3, value >> 6

    @property
    def destroys_foreign_frames(self) -> bool:
        return bool(self.memory[DL_CONTROL] & 1)

    def _begin_read(self, start: int, stop: int) -> bool:
        syncs = self.syncs
        if not syncs.permits(start, stop, write=False):
            return False
        for channel in syncs.inputs:
            if channel.start < stop and start < channel.stop:
                self._host.refresh_inputs()
                break
        return True

    def _write_memory(self, start: int, stop: int, data: bytes) -> bool:
        first = max(start, _USER_MEMORY)
        last = min(stop, len(self.memory))
        if first >= last or self._readable.find(1, first, last) < 0:
            return False
        if not self.syncs.permits(first, last, write=True):
            return False
        self.memory[first:last] = data[first - start : last - start]
        if first < _RAM:
            self._blank(first, min(last, _RAM))
        if self.syncs.note_write(first, last):
            self._host.outputs_written()
        return True

    def _blank(self, first: int, last: int) -> None:
        """Take back what went to addresses that do not exist."""
        for address in range(first, last):
            if not self._readable[address]:
                self.memory[address] = 0

    def _make_blocks(self, fmmus: int, sync_managers: int) -> tuple[_Block, ...]:
        return (
            (STATION_ADDRESS, STATION_ADDRESS + 2, self._write_station),
            (DL_CONTROL, DL_CONTROL + 4, self._write_dl_control),
            (0x0108, 0x010A, self._write_plain),
            (AL_CONTROL, AL_CONTROL + 2, self._write_al_control),
            (EVENT_MASK, EVENT_MASK + 2, self._write_event_mask),
            (RX_ERRORS, PROCESSING_ERRORS, self._clear_rx_errors),
            (PROCESSING_ERRORS, PDI_ERRORS + 1, self._clear),
            (LOST_LINKS, LOST_LINKS + 4, self._clear_lost_links),
            (DIVIDER, DIVIDER + 2, self._write_watchdog),
            (0x0410, 0x0412, self._write_plain),
            (WINDOW, WINDOW + 2, self._write_watchdog),
            (EXPIRIES, EXPIRIES + 2, self._clear_expiries),
            (CONFIG, CONFIG + 0x10, self._write_eeprom),
            (FMMUS, FMMUS + FMMU_BYTES * fmmus, self._write_fmmus),
            (SYNC_MANAGERS, SYNC_MANAGERS + 8 * sync_managers, self._write_syncs),
        )

    def _write_plain(self, start: int, data: bytes) -> bool:
        self.memory[start : start + len(data)] = data
        return True

    def _write_station(self, start: int, data: bytes) -> bool:
        self._write_plain(start, data)
        self.station = int.from_bytes(self.memory[STATION_ADDRESS : STATION_ADDRESS + 2], "little")
        self.shared.version += 1
        return True

    def _write_dl_control(self, start: int, data: bytes) -> bool:
        before = self.memory[DL_CONTROL + 1]
        self._write_plain(start, data)
        self._read_dl_control()
        if self.memory[DL_CONTROL + 1] != before:
            self._host.loops_changed()
        return True

    def _read_dl_control(self) -> None:
        uses_alias = self.memory[DL_CONTROL + 3] & 1
        alias = int.from_bytes(self.memory[STATION_ALIAS : STATION_ALIAS + 2], "little")
        self.alias = alias if uses_alias else None
        self.shared.version += 1

    def _write_al_control(self, start: int, data: bytes) -> bool:
        self._write_plain(start, data)
        self._host.al_requested(int.from_bytes(self.memory[AL_CONTROL : AL_CONTROL + 2], "little"))
        return True

    def _write_event_mask(self, start: int, data: bytes) -> bool:
        self._write_plain(start, data)
        self._refresh_irq()
        return True

    def _clear(self, start: int, data: bytes) -> bool:
        self.memory[start : start + len(data)] = bytes(len(data))
        return True

    def _clear_rx_errors(self, _start: int, _data: bytes) -> bool:
        return self._clear(RX_ERRORS, bytes(PROCESSING_ERRORS - RX_ERRORS))

    def _clear_lost_links(self, _start: int, _data: bytes) -> bool:
        return self._clear(LOST_LINKS, bytes(4))

    def _clear_expiries(self, _start: int, _data: bytes) -> bool:
        return self._clear(EXPIRIES, bytes(2))

    def _write_watchdog(self, start: int, data: bytes) -> bool:
        self._write_plain(start, data)
        self._host.watchdog_written()
        return True

    def _write_eeprom(self, start: int, data: bytes) -> bool:
        return self.eeprom is not None and self.eeprom.write(start, data)

    def _write_fmmus(self, start: int, data: bytes) -> bool:
        self._write_plain(start, data)
        self.shared.version += 1
        return True

    def _write_syncs(self, start: int, data: bytes) -> bool:
        self.shared.version += 1
        return self.syncs.write(start, data)

    def _write_window(self, start: int, data: bytes) -> bool:
        window = self.window
        if window is None:
            return False
        if start < DC_BASE + 4:
            now_ns = self._now_ns()
            first, second, third, fourth = (None if each is None else now_ns + each for each in self._receive_ns)
            window.latch((first, second, third, fourth))
        window.write(start - DC_BASE, data, self._now_ns() + self._arrival_ns)
        return True

    def _read_window(self, start: int, stop: int, data: bytes) -> bytes:
        assert self.window is not None
        first, last = max(start, DC_BASE), min(stop, DC_END)
        inside = self.window.read(first - DC_BASE, last - first, self._now_ns() + self._arrival_ns)
        return data[: first - start] + inside + data[last - start :]

    def _acknowledge(self, start: int, stop: int) -> None:
        """Take back the events whose register was read."""
        bits = _DL_EVENT if start < DL_STATUS + 2 else 0
        if start < AL_STATUS + 2 and stop > AL_STATUS:
            bits |= _AL_EVENT
        if self.memory[EVENT_REQUEST] & bits:
            self.memory[EVENT_REQUEST] &= ~bits & 0xFF
            self._refresh_irq()

    def _refresh_irq(self) -> None:
        memory = self.memory
        irq = (memory[EVENT_REQUEST] & memory[EVENT_MASK]) | (memory[EVENT_REQUEST + 1] & memory[EVENT_MASK + 1]) << 8
        if irq != self.irq:
            self.irq = irq
            self.shared.version += 1


def _by_page(blocks: tuple[_Block, ...]) -> tuple[tuple[_Block, ...], ...]:
    """Return the blocks that lie in each 256 bytes of the registers: nearly all writes stay within one."""
    return tuple(
        tuple(block for block in blocks if block[0] < page + 0x100 and page < block[1])
        for page in range(0, _RAM, 0x100)
    )
