"""The frames that ``cangen`` of can-utils makes for its repeatable modes; what it draws at random is not for logs.

From the description of its options and what it sends: identifiers, lengths and data are fixed or count up. Lengths
count 0 to 8, with CAN FD through all sixteen codes; data count as one number of 64 bits, lowest byte first, in at least
one byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_LENGTHS, FD_MAX_BYTES, fd_length
from taktora.can.interface import CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX

__all__ = ["FRAMES_MAX", "Pattern", "parse_pattern"]

FRAMES_MAX: Final = 2000
"""Most frames of one call: receivers are to hold what comes while nobody reads."""
_COUNTER_BYTES: Final = 8
_FLAGS: Final = {"-e": "extended", "-f": "fd", "-b": "brs", "-R": "remote"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Options of one call of ``cangen``; None counts up."""

    count: int
    can_id: int | None = None
    length: int | None = None
    data: bytes | None = None
    extended: bool = False
    fd: bool = False
    brs: bool = False
    remote: bool = False

    def options(self) -> list[str]:
        """Return the options of the command."""
        flags = [option for option, name in _FLAGS.items() if getattr(self, name)]
        can_id = "i" if self.can_id is None else f"{self.can_id:X}"
        length = "i" if self.length is None else str(self.length)
        data = "i" if self.data is None else self.data.hex().upper()
        return ["-g", "0", *flags, "-I", can_id, "-L", length, "-D", data, "-n", str(self.count)]

    def frames(self) -> Iterator[CanFrame]:
        """Yield the frames."""
        id_limit = EXTENDED_ID_MAX if self.extended else STANDARD_ID_MAX
        for number in range(self.count):
            length = self._length(number)
            yield CanFrame(
                (number if self.can_id is None else self.can_id) & id_limit,
                b"" if self._is_remote else self._data(number, length),
                self.extended,
                self._is_remote,
                length if self._is_remote else 0,
                fd=self._is_fd,
                brs=self.brs,
            )

    @property
    def _is_fd(self) -> bool:
        return self.fd or self.brs

    @property
    def _is_remote(self) -> bool:
        return self.remote and not self._is_fd

    def _length(self, number: int) -> int:
        if self.length is None:
            length = FD_LENGTHS[number % len(FD_LENGTHS)] if self._is_fd else number % (CLASSICAL_MAX_BYTES + 1)
        elif self._is_fd:
            length = fd_length(min(self.length, FD_MAX_BYTES))
        else:
            length = min(self.length, CLASSICAL_MAX_BYTES)
        return max(length, 1) if self.data is None else length

    def _data(self, number: int, length: int) -> bytes:
        data = (number & ((1 << 64) - 1)).to_bytes(_COUNTER_BYTES, "little") if self.data is None else self.data
        return data[:length].ljust(length, b"\0")


def parse_pattern(options: Sequence[str]) -> Pattern:
    """Return the pattern of ``cangen``'s options.

    Raises:
        ValueError: an option or value that cannot be repeated alike; the text says what is expected.
    """
    values: dict[str, object] = {}
    given = iter(options)
    for option in given:
        if option in _FLAGS:
            values[_FLAGS[option]] = True
        elif option in _VALUES:
            name, read = _VALUES[option]
            values[name] = read(next(given, ""))
        else:
            raise ValueError(f"option {option!r}; expected {', '.join([*_VALUES, *_FLAGS])}")
    if "count" not in values:
        raise ValueError("no option -n; expected how many frames, as in '-n 200'")
    return Pattern(**values)  # type: ignore[arg-type]


def _read_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= FRAMES_MAX:
        raise ValueError(f"'-n {text}'; expected 1 to {FRAMES_MAX} frames")
    return int(text)


def _read_id(text: str) -> int | None:
    return None if text == "i" else _hex("-I", text, 8)


def _read_length(text: str) -> int | None:
    if text != "i" and not (text.isdecimal() and int(text) <= FD_MAX_BYTES):
        raise ValueError(f"'-L {text}'; expected 'i' or 0 to {FD_MAX_BYTES}")
    return None if text == "i" else int(text)


def _read_data(text: str) -> bytes | None:
    if text == "i":
        return None
    if len(text) % 2:
        raise ValueError(f"'-D {text}'; expected 'i' or pairs of hexadecimal digits")
    _hex("-D", text, 2 * FD_MAX_BYTES)
    return bytes.fromhex(text)


def _hex(option: str, text: str, digits: int) -> int:
    if not 0 < len(text) <= digits or any(char not in "0123456789abcdefABCDEF" for char in text):
        raise ValueError(f"'{option} {text}'; expected 'i' or up to {digits} hexadecimal digits")
    return int(text, 16)


_VALUES: Final = {
    "-n": ("count", _read_count),
    "-I": ("can_id", _read_id),
    "-L": ("length", _read_length),
    "-D": ("data", _read_data),
}
