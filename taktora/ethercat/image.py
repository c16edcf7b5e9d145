"""The process image between a gateway and the bus it serves: layout, records and the seam; it exchanges nothing.

The image is byte-aligned per SubDevice: outputs of all SubDevices in bus order, inputs likewise. How the bits lie on
the wire is the driver's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from taktora.connector.health import ConnectorHealth
from taktora.ethercat.driver import Emergency

__all__ = ["BusListener", "CycleRecord", "CyclicBus", "ImageLayout", "SubDeviceImage", "Validity"]


class Validity(IntEnum):
    """How good the inputs of one SubDevice are; one byte a SubDevice in a :class:`CycleRecord`."""

    NEVER_SEEN = 0
    FRESH = 1
    STALE = 2


class SubDeviceImage(NamedTuple):
    """Where one SubDevice lies in the image; offsets in bytes, lengths in bits (0: no data that way)."""

    position: int
    address: int
    label: str
    output_offset: int
    output_bits: int
    input_offset: int
    input_bits: int

    @property
    def output_bytes(self) -> int:
        return (self.output_bits + 7) // 8

    @property
    def input_bytes(self) -> int:
        return (self.input_bits + 7) // 8


class ImageLayout:
    """Where every SubDevice lies.

    Args:
        sizes: ``(address, label, output_bits, input_bits)`` of each SubDevice in bus order.
    """

    def __init__(self, sizes: Sequence[tuple[int, str, int, int]]) -> None:
        subdevices: list[SubDeviceImage] = []
        output_offset = input_offset = 0
        for position, (address, label, output_bits, input_bits) in enumerate(sizes):
            place = SubDeviceImage(position, address, label, output_offset, output_bits, input_offset, input_bits)
            subdevices.append(place)
            output_offset += place.output_bytes
            input_offset += place.input_bytes
        self.subdevices: tuple[SubDeviceImage, ...] = tuple(subdevices)
        self.output_bytes = output_offset
        """Length of the whole output image."""
        self.input_bytes = input_offset
        """Length of the whole input image."""

    @cached_property
    def by_address(self) -> dict[int, SubDeviceImage]:
        return {place.address: place for place in self.subdevices}

    @cached_property
    def by_label(self) -> dict[str, SubDeviceImage]:
        return {place.label: place for place in self.subdevices}


# req: REQ_0265, REQ_0267
class CycleRecord(NamedTuple):
    """One attempt at an exchange, failed ones included.

    Args:
        cycle_index: Zero-based; advances on every attempt.
        at_ns: When the inputs were taken, monotonic ns of the bus's clock.
        inputs: The whole input image.
        validity: One :class:`Validity` byte per SubDevice, in bus order.
        wire_round_ns: Duration of the wire round; None when no frame came back.
        phase_wait_ns: Wait for the cycle's phase before it; None when it was late already.
        wc_ok: The working counter reached the expected one.
    """

    cycle_index: int
    at_ns: int
    inputs: bytes
    validity: bytes
    wire_round_ns: int | None
    phase_wait_ns: int | None
    wc_ok: bool


class BusListener(Protocol):
    """Where a bus reports to; may be called on any thread, implementations only fill a bounded bridge."""

    def on_cycle(self, record: CycleRecord) -> None: ...

    def on_health(self, health: ConnectorHealth) -> None:
        """One move of the health table; they come in order and none is left out."""
        ...

    def on_emergency(self, emergency: Emergency) -> None: ...

    def on_failure(self, error: BaseException) -> None:
        """The bus's own thread or process dies of something that nobody foresaw; must end the gateway's run."""
        ...


class CyclicBus(Protocol):
    """A segment that is brought up, exchanged on its own pace and recovered, wherever that runs.

    Two implementations: one paced by the gateway's executor (simulated segment, mocks), one in a process of its own
    (SOEM). One contract: what is staged before a cycle's phase goes out with it; nothing staged for too long becomes
    the declared safe values (REQ_8150), without the gateway's help.
    """

    @property
    def layout(self) -> ImageLayout: ...

    def start(self, listener: BusListener) -> None:
        """Begin the bring-up without blocking; what becomes of it is told to ``listener``. Once."""
        ...

    def stage_outputs(self, outputs: bytes | bytearray | memoryview, renewed: bytes | bytearray | memoryview) -> None:
        """Give the whole output image for the next exchange without blocking.

        ``renewed`` has one byte per SubDevice in bus order: non-zero says that the application stands behind its
        outputs anew; the outputs of the others are taken over too but go on ageing.
        """
        ...

    def close(self) -> None:
        """Take the SubDevices down and end whatever runs; within 5 s, idempotent."""
        ...
