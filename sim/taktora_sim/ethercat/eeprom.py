"""The EEPROM interface of a simulated ESC, registers 0x0500 to 0x050F; what the image means is the SII codec's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["CONFIG", "EepromInterface", "sii_checksum"]

CONFIG = 0x0500
_CONTROL = 0x0502
_ADDRESS = 0x0504
_DATA = 0x0508
_END = 0x0510

_WRITE_ENABLE = 0x0001
_READS_8_BYTES = 0x0040
_TWO_ADDRESS_BYTES = 0x0080
_CHECKSUM_ERROR = 0x0800
_NOT_LOADED = 0x1000
_COMMAND_ERROR = 0x2000
_WRITE_ENABLE_ERROR = 0x4000
_BUSY = 0x8000
_ERRORS = 0x7800
_READ, _WRITE, _RELOAD = 1, 2, 4


def sii_checksum(image: bytes | bytearray) -> int:
    """Return the CRC-8 (polynomial 0x07, start 0xFF) over words 0 to 6, which the low byte of word 7 must equal."""
    crc = 0xFF
    for byte in bytes(image[:14]).ljust(14, b"\xff"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


# req: REQ_8103
class EepromInterface:
    """Serves an SII image word by word.

    Args:
        world: Timers of the busy phase.
        memory: Registers of the ESC.
        image: The EEPROM, changed by writes; read through ``view``.
        on_reload: Called when the configuration words have been (re)loaded, with whether they are sound.
        busy_ns: How long a command takes; 0 is done within the frame.
    """

    def __init__(
        self,
        world: World,
        memory: bytearray,
        image: bytearray,
        on_reload: Callable[[bool], None],
        busy_ns: int = 0,
    ) -> None:
        self._world = world
        self._memory = memory
        self.image = image
        self.overlay: dict[int, int] = {}
        """Bytes that are read instead of the image's, by byte address: faults."""
        self.busy_ns = busy_ns
        self.extra_busy_ns = 0
        self.refused = 0
        """Number of active faults that let the EEPROM acknowledge nothing."""
        self.corruptions = 0
        """Number of active faults that let the checksum not fit."""
        self._on_reload = on_reload
        self._generation = 0

    def reset(self) -> None:
        """Power up: owner is the MainDevice, the configuration is loaded."""
        self._generation += 1
        self._memory[CONFIG:_END] = bytes(_END - CONFIG)
        self._set_status(_READS_8_BYTES | _TWO_ADDRESS_BYTES)
        self._load()

    def reload(self) -> None:
        """Load the configuration again."""
        self._load()

    def word(self, address: int) -> int:
        """Return the word at word address ``address``; 0xFFFF past the end."""
        return int.from_bytes(self._bytes(address * 2, 2), "little")

    def write(self, start: int, data: bytes) -> bool:
        """Take a write of the MainDevice to the registers from ``start``; False when nothing was accepted."""
        accepted = False
        if start <= CONFIG:
            # Bit 0: the PDI owns the EEPROM; bit 1: take it back by force.
            self._memory[CONFIG] = 0 if data[CONFIG - start] & 2 else data[CONFIG - start] & 3
            accepted = True
        rest = max(start, _CONTROL)
        if start + len(data) <= rest or self._memory[CONFIG] & 1:
            return accepted
        if self._status() & _BUSY:
            return accepted
        self._take(rest, data[rest - start :])
        return True

    def _take(self, start: int, data: bytes) -> None:
        end = start + len(data)
        first = max(start, _ADDRESS)
        if first < end:
            self._memory[first:end] = data[first - start :]
        if start < _ADDRESS:
            new = bytearray(self._memory[_CONTROL:_ADDRESS])
            upto = min(end, _ADDRESS)
            new[start - _CONTROL : upto - _CONTROL] = data[: upto - start]
            if start <= _CONTROL + 1 < upto:
                self._command(new[1] & 7, bool(new[0] & _WRITE_ENABLE))

    def _command(self, command: int, write_enabled: bool) -> None:
        status = self._status() & ~(_COMMAND_ERROR | _WRITE_ENABLE_ERROR | 0x0700)
        if command == 0:
            self._set_status(status & ~_ERRORS | (self._status() & (_NOT_LOADED | _CHECKSUM_ERROR)))
        elif command not in (_READ, _WRITE, _RELOAD) or self.refused:
            self._set_status(status | _COMMAND_ERROR | command << 8)
        elif command == _WRITE and not write_enabled:
            self._set_status(status | _WRITE_ENABLE_ERROR | command << 8)
        else:
            self._begin(command, status)

    def _begin(self, command: int, status: int) -> None:
        delay_ns = self.busy_ns + self.extra_busy_ns
        if not delay_ns:
            self._finish(command)
            return
        self._set_status(status | _BUSY | command << 8)
        self._generation += 1
        generation = self._generation
        self._world.post_at(self._world.now_ns() + delay_ns, lambda: self._finish_late(generation, command))

    def _finish_late(self, generation: int, command: int) -> None:
        if generation == self._generation:
            self._finish(command)

    def _finish(self, command: int) -> None:
        self._set_status(self._status() & ~(_BUSY | 0x0700 | _COMMAND_ERROR | _WRITE_ENABLE_ERROR))
        address = int.from_bytes(self._memory[_ADDRESS:_DATA], "little") * 2
        if command == _READ:
            self._memory[_DATA:_END] = self._bytes(address, 8)
        elif command == _WRITE:
            if address + 2 <= len(self.image):
                self.image[address : address + 2] = self._memory[_DATA : _DATA + 2]
        else:
            self._load()

    def _load(self) -> None:
        sound = (
            len(self.image) >= 16 and not self.corruptions and self._bytes(14, 1)[0] == sii_checksum(self._bytes(0, 14))
        )
        status = self._status() & ~(_CHECKSUM_ERROR | _NOT_LOADED)
        self._set_status(status if sound else status | _CHECKSUM_ERROR | _NOT_LOADED)
        self._on_reload(sound)

    def _bytes(self, start: int, count: int) -> bytes:
        data = bytearray(self.image[start : start + count].ljust(count, b"\xff"))
        for address, value in self.overlay.items():
            if start <= address < start + count:
                data[address - start] = value
        return bytes(data)

    def _status(self) -> int:
        return int.from_bytes(self._memory[_CONTROL:_ADDRESS], "little")

    def _set_status(self, value: int) -> None:
        self._memory[_CONTROL:_ADDRESS] = value.to_bytes(2, "little")
