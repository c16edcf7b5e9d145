"""Draws CAN scripts from a seed, to hunt differences between the simulated bus and a kernel's; it carries none out.

Identifiers, masks and data come from small sets in which 11-bit and 29-bit twins, near misses and all lengths are, so
that filters decide something. A script is text: what a run has found is read, shortened and kept as a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from taktora.can.dlc import FD_LENGTHS
from taktora_sim.streams import Stream

__all__ = ["random_script"]

_STANDARD: Final = (0x000, 0x001, 0x100, 0x123, 0x124, 0x523, 0x7FF)
_EXTENDED: Final = (0x00000000, 0x00000123, 0x00000124, 0x18FEF100, 0x1FFFF923, 0x1FFFFFFF)
_MASKS: Final = (0x000, 0x7FF, 0x700, 0x001, 0x1FFFFFFF, 0x80000000, 0x800007FF, 0xC00007FF, 0x40000000, 0xDFFFFFFF)
_CLASSES: Final = (0x002, 0x004, 0x008, 0x010, 0x020, 0x040, 0x080, 0x088, 0x100, 0x140, 0x200, 0x204)
_LEAST_STATEMENTS: Final = 5
_MOST_STATEMENTS: Final = 25
_SOCKETS_MAX: Final = 5
_BURST_MAX: Final = 6
_HELD_MAX: Final = 14
"""Frames sent while a node is held: more than its queue takes."""


# req: REQ_8206
def random_script(seed: int) -> str:
    """Return the script of a seed; equal seeds give equal texts on every machine."""
    return _Draw(Stream(seed, "can/script")).script()


class _Draw:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._classical = stream.chance(0.25)
        self._two_nodes = stream.chance(0.25)
        self._buses = ["a"] if self._two_nodes or stream.chance(0.6) else ["a", "b"]
        self._nodes = ["left", "right"] if self._two_nodes else self._buses
        self._sockets: list[tuple[str, str]] = []
        self._down: set[str] = set()

    def script(self) -> str:
        self._lines += [f"bus {bus}{' classical' if self._classical else ''}" for bus in self._buses]
        if self._two_nodes:
            self._lines += [f"node {node} on a" for node in self._nodes]
        for number in range(self._stream.integer(2, _SOCKETS_MAX)):
            self._socket(f"s{number}")
        kinds = self._kinds()
        for _ in range(self._stream.integer(_LEAST_STATEMENTS, _MOST_STATEMENTS)):
            self._stream.choice(kinds)()
        return "".join(f"{line}\n" for line in self._lines)

    def _kinds(self) -> list[Callable[[], None]]:
        weighted: list[tuple[int, Callable[[], None]]] = [
            (60, self._send),
            (10, self._filter),
            (4, lambda: self._say("close", self._any_socket())),
            (6, lambda: self._say("open", self._any_socket())),
            (2, self._link),
            (2, lambda: self._say("settle")),
        ]
        if not self._two_nodes:
            weighted += [(8, self._error), (1, self._hold)]
        return [kind for weight, kind in weighted for _ in range(weight)]

    def _socket(self, name: str) -> None:
        node = self._stream.choice(self._nodes)
        self._sockets.append((name, node))
        options = []
        if self._stream.chance(0.5):
            options.append(f"filter={self._filters()}")
        if self._stream.chance(0.3):
            options.append("receive-own")
        if self._stream.chance(0.2):
            options.append("no-loopback")
        if self._stream.chance(0.3):
            options.append(f"errors={self._stream.choice(['none', '4', '8', '20', '8C'])}")
        if self._stream.chance(0.25):
            options.append("no-fd")
        self._say("socket", name, "on", node, *options)

    def _send(self) -> None:
        frames = [self._frame() for _ in range(self._stream.integer(1, _BURST_MAX))]
        self._say("send", self._any_socket(), *frames)

    def _filter(self) -> None:
        self._say("filter", self._any_socket(), self._filters())

    def _filters(self) -> str:
        if self._stream.chance(0.15):
            return self._stream.choice(["all", "none"])
        return ",".join(self._one_filter() for _ in range(self._stream.integer(1, 4)))

    def _one_filter(self) -> str:
        can_id = self._stream.choice(_STANDARD)
        if self._stream.chance(0.4):
            can_id = self._stream.choice(_EXTENDED) | (0x80000000 if self._stream.chance(0.8) else 0)
        if self._stream.chance(0.15):
            can_id |= 0x40000000
        sign = "~" if self._stream.chance(0.2) else ":"
        return f"{can_id:X}{sign}{self._stream.choice(_MASKS) & 0xDFFFFFFF:X}"

    def _frame(self) -> str:
        extended = self._stream.chance(0.4)
        identifier = f"{self._stream.choice(_EXTENDED):08X}" if extended else f"{self._stream.choice(_STANDARD):03X}"
        if self._stream.chance(0.15):
            return f"{identifier}#R{self._stream.choice(['', '1', '4', '8'])}"
        if self._stream.chance(0.2):
            return f"{identifier}##{self._stream.integer(0, 3)}{self._data(self._stream.choice(FD_LENGTHS))}"
        return self._classical_frame(identifier)

    def _classical_frame(self, identifier: str) -> str:
        return f"{identifier}#{self._data(self._stream.integer(0, 8))}"

    def _data(self, length: int) -> str:
        return "".join(f"{self._stream.integer(0, 255):02X}" for _ in range(length))

    def _link(self) -> None:
        node = self._stream.choice(self._nodes)
        self._say("up" if node in self._down else "down", node)
        self._down ^= {node}

    def _error(self) -> None:
        node = self._stream.choice(self._nodes)
        if node not in self._down:
            self._say("error", node, f"{self._stream.choice(_CLASSES):X}", self._data(self._stream.integer(0, 8)))

    def _hold(self) -> None:
        node = self._stream.choice(self._nodes)
        senders = [name for name, at in self._sockets if at == node]
        if node in self._down or not senders:
            return
        self._say("hold", node)
        for _ in range(self._stream.integer(1, _HELD_MAX)):
            self._say("send", self._stream.choice(senders), self._classical_frame("123"))
        self._say("release", node)

    def _any_socket(self) -> str:
        return self._stream.choice(self._sockets)[0]

    def _say(self, *words: str) -> None:
        self._lines.append(" ".join(word for word in words if word))
