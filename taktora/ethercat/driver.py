"""The EtherCAT seam: a MainDevice that brings a segment up and exchanges its process image; protocols and values only.

A driver's longer operations are generators, as the executor's loop is: they yield the instants at which they want to go
on, and whoever paces them decides how that instant is waited for. A process of its own sleeps until then (SOEM, which
also blocks inside calls of its own); in a simulated run the gateway's executor wakes at that instant of virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = ["AlState", "BringUp", "BusDriver", "Emergency", "Exchange", "Steps", "SubDeviceState"]

T = TypeVar("T")

Steps: TypeAlias = Generator[int, None, T]
"""Yields absolute monotonic nanoseconds of the driver's clock at which to go on; returns the result."""


class AlState(IntEnum):
    """States of the EtherCAT state machine (ETG.1000.6); the values are those of AL control and AL status."""

    NONE = 0
    """No answer."""
    INIT = 1
    PRE_OP = 2
    BOOT = 3
    SAFE_OP = 4
    OP = 8

    @property
    def text(self) -> str:
        """Return the name as the standard writes it: ``SAFE-OP``."""
        return self.name.replace("_", "-")


class BringUp(NamedTuple):
    """What a bring-up found: the working counter every exchange must reach, and the number of SubDevices in OP."""

    expected_wkc: int
    subdevice_count: int


class Exchange(NamedTuple):
    """One process-data exchange: the working counter read (0: nobody answered the datagram), and how long it took."""

    working_counter: int
    wire_round_ns: int


class SubDeviceState(NamedTuple):
    """AL status of one SubDevice; ``state`` is NONE when it does not answer. ``has_error`` is bit 4, code 0x0134."""

    position: int
    state: AlState
    has_error: bool = False
    al_status_code: int = 0


class Emergency(NamedTuple):
    """A CoE emergency: ``position`` on the bus, error code, error register, five bytes of the manufacturer."""

    position: int
    error_code: int
    error_register: int
    data: bytes


class BusDriver(Protocol):
    """One MainDevice on one segment. SubDevices are known by configured address: 0x1000 + position unless overridden.

    One thread calls; nothing is called back but ``on_emergency``. The image of a SubDevice starts at bit 0 of byte 0,
    whatever the layout on the wire is. During bring-up and recovery the outputs sent are the safe ones of the plan.
    """

    on_emergency: Callable[[Emergency], None] | None
    """Called from within an operation when a SubDevice has sent an emergency."""

    def bring_up(self) -> Steps[BringUp]:
        """Bring the segment from wherever it is to OP; once per driver.

        Raises ``StackError`` with the SubDevice, the value found and the value expected (no interface, no privilege, no
        answer, wrong order or identity, SDO abort, watchdog not accepted, refused transition), ``ConfigurationError``
        when called a second time.
        """
        ...

    def exchange(self) -> Steps[Exchange]:
        """Send the output image, receive the input image.

        Raises ``StackError`` when no frame came back in time: a failed cycle, to be followed by :meth:`recover`.
        """
        ...

    def recover(self) -> Steps[BringUp]:
        """Bring the segment up again on the open interface; a failed attempt leaves it recoverable.

        Raises ``StackError`` as :meth:`bring_up`, ``ConfigurationError`` before it, ``LinkDown`` when the interface
        itself is gone: no further attempt can help.
        """
        ...

    def outputs(self, address: int) -> memoryview | None:
        """Return the writable output bytes of a SubDevice; None before the bring-up or for an unknown address.

        Both views stay good until the next bring-up, recovery or close: the caller keeps them, writes outputs before
        an exchange (what it does not write stays) and finds the inputs of the latest one.
        """
        ...

    def inputs(self, address: int) -> memoryview | None:
        """Return the input bytes of a SubDevice as last exchanged; None as above."""
        ...

    def images(self) -> tuple[memoryview, memoryview] | None:
        """Return the outputs, writable, and the inputs of all SubDevices, each in one piece and laid out as the plan.

        They are the same bytes as those of :meth:`outputs` and :meth:`inputs`, and as long good: one copy a cycle is
        cheaper than one for each SubDevice. None before the bring-up, and where each SubDevice has bytes of its own.
        """
        ...

    def survey(self) -> Steps[tuple[SubDeviceState, ...]]:
        """Read the AL status of each SubDevice, in bus order: says who is behind a low working counter.

        Exchanges may go on between its yields. Raises ``StackError`` when no frame came back.
        """
        ...

    def request_state(self, address: int, state: AlState) -> Steps[bool]:
        """Ask one SubDevice for SAFE-OP or OP, acknowledging a latched error; True when it got there.

        Waits by yielding only, and exchanges go on between its yields: no SubDevice starves while another one moves.
        """
        ...

    def sdo_read(self, address: int, index: int, subindex: int) -> Steps[bytes]:
        """Read an object. Raises ``StackError`` with the abort code and its text."""
        ...

    def sdo_write(self, address: int, index: int, subindex: int, data: bytes) -> Steps[None]:
        """Write an object. Raises ``StackError`` with the abort code and its text."""
        ...

    def close(self) -> None:
        """Take the SubDevices down in order (SAFE-OP, INIT) and release the interface; within 5 s, idempotent."""
        ...
