"""Reads SII images through the EEPROM interface of a SubDevice, as a MainDevice does; it knows no category."""

from __future__ import annotations

from typing import Final

from taktora.errors import StackError
from taktora.ethercat.driver import Steps
from taktora.ethercat.pdo import ExpectedIdentity
from taktora_sim.ethercat.frame import Command, Datagram, station_address
from taktora_sim.ethercat.wire import Wire

__all__ = ["SiiReader"]

_CONTROL: Final = 0x0502
_READ: Final = b"\x00\x01"
_NO_OPERATION: Final = b"\x00\x00"
_EIGHT_BYTES: Final = 0x0040
_NACK: Final = 0x2000
_BUSY: Final = 0x8000
_BUSY_LIMIT_NS: Final = 20_000_000
_BUSY_POLL_NS: Final = 100_000
_ATTEMPTS: Final = 3
_IDENTITY_WORD: Final = 0x08
_FIRST_CATEGORY_WORD: Final = 0x40
_END_CATEGORY: Final = 0xFFFF
_LAST_WORD: Final = 0x8000


class SiiReader:
    """The EEPROM of one SubDevice.

    Args:
        wire: The way to it.
        address: Its station address.
        name: What it is called in messages.
    """

    def __init__(self, wire: Wire, address: int, name: str) -> None:
        self._wire = wire
        self._address = address
        self._name = name

    def identity(self) -> Steps[ExpectedIdentity]:
        """Return what words 0x08 to 0x0F say. Raises ``StackError`` as :meth:`image`."""
        data = yield from self._read(_IDENTITY_WORD, 16)
        return ExpectedIdentity(*(int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)))

    def image(self) -> Steps[bytes]:
        """Return the image up to and including its end mark.

        Raises:
            StackError: the EEPROM is not accessible, or has no end mark.
        """
        image = yield from self._read(0, 2 * _FIRST_CATEGORY_WORD)
        word = _FIRST_CATEGORY_WORD
        while word < _LAST_WORD:
            head = yield from self._read(word, 4)
            kind, words = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
            if kind == _END_CATEGORY:
                return image + head[:2]
            image += head[:4] + (yield from self._read(word + 2, 2 * words))
            word += 2 + words
        raise StackError(f"SII of {self._name} has no end mark up to word {word:#06x}; write a valid image to it")

    def _read(self, word: int, length: int) -> Steps[bytes]:
        """Read ``length`` bytes from word address ``word`` on."""
        data = b""
        while len(data) < length:
            data += yield from self._read_once(word + len(data) // 2)
        return data[:length]

    def _read_once(self, word: int) -> Steps[bytes]:
        """Read the 4 or 8 bytes that one command gives; repeated when the EEPROM does not acknowledge."""
        place = word.to_bytes(4, "little")
        for _attempt in range(_ATTEMPTS):
            answer = yield from self._command(_READ + place)
            status = int.from_bytes(answer[:2], "little")
            if not status & _NACK and answer[2:6] == place:  # another place: it was busy when the command came
                return answer[6:14] if status & _EIGHT_BYTES else answer[6:10]
            yield from self._command(_NO_OPERATION)
        raise StackError(
            f"SII of {self._name} cannot be read at word {word:#06x}: the EEPROM does not acknowledge "
            f"(register 0x0502 is {status:#06x}); check the device"
        )

    def _command(self, command: bytes) -> Steps[bytes]:
        """Give a command and return status, place and data when it is done."""
        place = station_address(self._address, _CONTROL)
        look = Datagram(Command.FPRD, place, bytes(14))
        begin_ns = self._wire.now_ns()
        found = yield from self._wire.send([Datagram(Command.FPWR, place, command), look])
        while True:
            answer = found[-1]
            if not answer.working_counter:
                raise StackError(f"{self._name} does not answer a read of register {_CONTROL:#06x}")
            status = int.from_bytes(answer.data[:2], "little")
            if not status & _BUSY:
                return answer.data
            if self._wire.now_ns() - begin_ns > _BUSY_LIMIT_NS:
                raise StackError(f"SII of {self._name} stays busy for {_BUSY_LIMIT_NS // 1_000_000} ms")
            yield self._wire.now_ns() + _BUSY_POLL_NS
            found = yield from self._wire.send([look])
