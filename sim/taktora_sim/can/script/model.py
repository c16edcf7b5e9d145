"""A script of CAN frames, filters and faults as values: what the parser makes and both buses carry out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taktora.can.interface import CanErrorFrame, CanFilter, CanFrame
from taktora_sim.can.script.cangen import Pattern

__all__ = [
    "ALL_ERRORS",
    "Bus",
    "Close",
    "Dump",
    "Generate",
    "Hold",
    "Inject",
    "Link",
    "Open",
    "Play",
    "Release",
    "Script",
    "Send",
    "SendExternally",
    "SetFilters",
    "Settle",
    "Socket",
    "Statement",
]

ALL_ERRORS: Final = 0x3FF
"""Error mask of a socket that says nothing: every class of ``linux/can/error.h``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One line of a script; ``line`` counts from 1."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus(Statement):
    """A bus. ``nodes`` are the hosts on it: its own name for one, or the names of two.

    Args:
        name: How the script calls it.
        fd: Whether it carries CAN FD frames.
        nodes: Names of its hosts; each has an interface of its own.
    """

    name: str
    fd: bool
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket(Statement):
    """A socket of a node, which is opened where it is declared."""

    name: str
    node: str
    filters: tuple[CanFilter, ...]
    receive_own: bool
    loopback: bool
    error_mask: int
    fd: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Statement):
    """A burst of a socket."""

    socket: str
    frames: tuple[CanFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFilters(Statement):
    """Replace the filters of a socket; none lets no frame through."""

    socket: str
    filters: tuple[CanFilter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Statement):
    """Open a socket again, with the options and filters of its declaration."""

    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Statement):
    """Close a socket."""

    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Statement):
    """Take the interface of a node down, or up again."""

    node: str
    is_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Statement):
    """Let nothing leave a node until :class:`Release`: its transmit queue fills."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Statement):
    """Let leave what :class:`Hold` has held."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inject(Statement):
    """An error frame of a node's controller."""

    node: str
    frame: CanErrorFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle(Statement):
    """Wait until the buses are quiet and everything sent is received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendExternally(Statement):
    """Frames of a program that is not ours: ``cansend``, one call a frame."""

    bus: str
    frames: tuple[CanFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Statement):
    """Frames of ``cangen``."""

    bus: str
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Play(Statement):
    """The frames of a candump log, as fast as they go: ``canplayer -t``."""

    bus: str
    path: Path
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump(Statement):
    """A log called ``name`` of all that is on a bus, of ``candump``."""

    name: str
    bus: str


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed script; what it names exists, and each statement can be carried out where it stands."""

    place: str
    buses: tuple[Bus, ...]
    sockets: tuple[Socket, ...]
    statements: tuple[Statement, ...]

    def bus_of(self, node: str) -> Bus:
        """Return the bus that a node is on."""
        return next(bus for bus in self.buses if node in bus.nodes)

    @property
    def dumps(self) -> tuple[Dump, ...]:
        """Return the logs of candump that it asks for."""
        return tuple(statement for statement in self.statements if isinstance(statement, Dump))
