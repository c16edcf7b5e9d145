"""The whole process image as one record per cycle and direction on the framework's transport; it knows no PDO.

==========================  ================================================================================
service                     record, little-endian
==========================  ================================================================================
``<connector>.image.in``    cycle_index u64, at_ns i64, wc_ok u8, 7 bytes of zeros, validity, inputs
``<connector>.image.out``   index of the cycle whose inputs it answers u64, renewed, outputs
``<connector>.alive.out``   written: the application's executor runs, what it has sent to bit slices still counts
==========================  ================================================================================

``validity``, ``renewed`` and ``written`` have one byte per SubDevice in bus order. Each record lies in an envelope, so
that a corrupt one is never taken for an image. Nobody who joins late is given an old record.

Dead time: the outputs that were computed from the inputs of cycle k go out with cycle k + 1, in every world, as long as
the application needs less than one cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from taktora.clock import Clock
from taktora.connector.routing import Routing
from taktora.errors import BackPressure, ConfigurationError
from taktora.ethercat.image import CycleRecord, ImageLayout, Validity
from taktora.transport.base import ListenerPort, ServiceSettings, Transport, event_service_name
from taktora.transport.channel import IntegritySink, RawChannelReader, RawChannelWriter

__all__ = [
    "DEAD_TIME_CYCLES",
    "IMAGE_SETTINGS",
    "AliveRouting",
    "ImageOutput",
    "ImageOutputReader",
    "ImagePort",
    "ImagePublisher",
    "ImageRouting",
    "alive_service",
    "image_in_service",
    "image_out_service",
]

DEAD_TIME_CYCLES: Final = 1
"""Cycles between the exchange that brings inputs and the one that takes the outputs computed from them."""

_BUFFERED: Final = 8
IMAGE_SETTINGS: Final = ServiceSettings(max_subscribers=4, subscriber_max_buffer_size=_BUFFERED, history_size=0)
"""No history: neither an old input image nor an old output image must come to life with a process that restarts."""

_HEAD_IN: Final = Struct("<QqB7x")
_HEAD_OUT: Final = Struct("<Q")
_PAYLOAD_AT: Final = 64
"""Where the payload of an envelope begins."""
_FRESH: Final = int(Validity.FRESH)


@dataclass(frozen=True, slots=True)
class ImageRouting(Routing):
    """The whole output image of a connector."""


@dataclass(frozen=True, slots=True)
class AliveRouting(Routing):
    """The sign of life for what was written by bit slices."""


def image_in_service(connector: str) -> str:
    """Return the service of the input image."""
    return f"{connector}.image.in"


def image_out_service(connector: str) -> str:
    """Return the service of the output image."""
    return f"{connector}.image.out"


def alive_service(connector: str) -> str:
    """Return the service of the sign of life."""
    return f"{connector}.alive.out"


def _input_record(layout: ImageLayout) -> Struct:
    """Return a record of ``<connector>.image.in``: cycle, time, counter is good, validity, inputs."""
    return Struct(f"{_HEAD_IN.format}{len(layout.subdevices)}s{layout.input_bytes}s")


def _output_record(layout: ImageLayout) -> Struct:
    """Return a record of ``<connector>.image.out``: cycle, renewed, outputs."""
    return Struct(f"{_HEAD_OUT.format}{len(layout.subdevices)}s{layout.output_bytes}s")


def input_record_bytes(layout: ImageLayout) -> int:
    """Return the length of a record of ``<connector>.image.in``."""
    return _input_record(layout).size


def output_record_bytes(layout: ImageLayout) -> int:
    """Return the length of a record of ``<connector>.image.out``."""
    return _output_record(layout).size


class ImagePublisher:
    """The gateway's end of the input image."""

    def __init__(self, transport: Transport, connector: str, layout: ImageLayout, clock: Clock) -> None:
        record = _input_record(layout)
        self._lengths = len(layout.subdevices), layout.input_bytes
        self._size = record.size
        self._pack_into = record.pack_into
        self._writer = RawChannelWriter(transport, image_in_service(connector), self._size, clock, IMAGE_SETTINGS)
        self.undelivered = 0
        """Records that an application lost because it did not run for several cycles."""

    def publish(self, record: CycleRecord) -> None:
        """Send one cycle.

        Raises:
            ConfigurationError: the record of the bus is not as long as the layout says.
        """
        writer, pack_into = self._writer, self._pack_into
        index, at_ns, inputs, validity, _, _, wc_ok = record
        if (len(validity), len(inputs)) != self._lengths:  # struct would cut it or fill it up without a word
            raise ConfigurationError(
                f"{writer.service}: cycle {index} has {len(inputs)} bytes of inputs and {len(validity)} validities; "
                f"the layout has {self._lengths[1]} bytes and {self._lengths[0]} SubDevices; correct the bus"
            )
        slot = writer.loan()
        try:
            pack_into(slot, 0, index, at_ns, wc_ok, validity, inputs)
        except BaseException:
            writer.discard()
            raise
        try:
            writer.publish(self._size)
        except BackPressure:
            self.undelivered += 1

    def close(self) -> None:
        self._writer.close()


class ImageOutput(NamedTuple):
    """One record of the output image as the gateway has received it."""

    answers_cycle: int
    renewed: bytes
    outputs: bytes

    @classmethod
    def read(cls, payload: memoryview, subdevices: int) -> ImageOutput:
        """Copy a record of ``subdevices`` SubDevices out of ``payload``."""
        at = _HEAD_OUT.size + subdevices
        (answers_cycle,) = _HEAD_OUT.unpack_from(payload)
        return cls(answers_cycle, bytes(payload[_HEAD_OUT.size : at]), bytes(payload[at:]))


class ImageOutputReader(RawChannelReader):
    """The gateway's end of the output image where it asks for it itself: one record after the other.

    Args:
        transport: Where the port is opened.
        connector: Name of the connector.
        layout: The process image.
        on_integrity_fault: Told of numbers missing and of corrupt records.
    """

    __slots__ = ("_unpack",)

    def __init__(
        self, transport: Transport, connector: str, layout: ImageLayout, on_integrity_fault: IntegritySink | None = None
    ) -> None:
        record = _output_record(layout)
        super().__init__(transport, image_out_service(connector), record.size, IMAGE_SETTINGS, on_integrity_fault)
        self._unpack = record.unpack_from

    def next_record(self) -> tuple[int, tuple[int, bytes, bytes]] | None:
        """Return when the next record was sent, UNIX ns, and the fields of an ``ImageOutput``; None if empty."""
        fields = self.receive()
        if fields is None:
            return None
        unpack = self._unpack
        return fields[1], unpack(self.view, _PAYLOAD_AT)


# req: REQ_8151, REQ_0107, REQ_0265
class ImagePort:
    """The application's end: inputs as they arrive, outputs as they are committed, and the cycle that paces both.

    It is a ``CycleSource``: the tasks on it run once per completed cycle. The index of a task's run plus the slots it
    has skipped so far is the bus's ``cycle_index`` less that of its first run, which is 0 for an application that is
    there from the first cycle on. A gateway that restarts begins at 0 again. An application that did not run for
    several cycles gets the newest record only, and none when newer ones were lost behind it: the next one comes within
    a cycle.

    Args:
        transport: Where the ports are opened.
        connector: Name of the connector.
        layout: The process image.
        clock: Source of the UNIX timestamp.
        period_ns: Declared period of the cycle.
        outputs: What the output image starts from: the safe values.
        renews: Positions of the SubDevices whose outputs the application owns by image.
    """

    def __init__(
        self,
        transport: Transport,
        connector: str,
        layout: ImageLayout,
        clock: Clock,
        period_ns: int,
        outputs: bytes,
        renews: Sequence[int] = (),
    ) -> None:
        self.period_ns: Final = period_ns
        self.layout: Final = layout
        self.outputs: Final = bytearray(outputs)
        """The output image that the next :meth:`commit` sends."""
        self.cycle_index = -1
        """Index of the newest cycle; -1 before the first."""
        self.at_ns = 0
        """When its inputs were taken, monotonic ns of the bus's clock."""
        self.wc_ok = False
        """Its working counter reached the expected one."""
        self.record = b""
        """The newest record; the inputs begin at :attr:`inputs_at`."""
        self.missed = 0
        """Cycles since the first one seen that completed and were never seen here."""
        self.undelivered = 0
        """Output records that the gateway lost because it did not run."""
        count = len(layout.subdevices)
        self.inputs_at: Final = _HEAD_IN.size + count
        self._all_fresh = bytes([_FRESH]) * count
        self._all_fresh_index = -1
        self._fresh_index = [-1] * count
        self._in_bytes = slice(_PAYLOAD_AT, _PAYLOAD_AT + input_record_bytes(layout))
        self._unpack_head = Struct(f"{_HEAD_IN.format}{count}s").unpack_from
        self._renewed = bytes(int(position in renews) for position in range(count))
        record = _output_record(layout)
        self._out_size = record.size
        self._pack_into = record.pack_into
        self._output_bytes: Final = layout.output_bytes
        self.listener: Final[ListenerPort] = transport.listener(event_service_name(image_in_service(connector)))
        self._reader = RawChannelReader(
            transport, image_in_service(connector), input_record_bytes(layout), IMAGE_SETTINGS
        )
        self._writer = RawChannelWriter(transport, image_out_service(connector), self._out_size, clock, IMAGE_SETTINGS)

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        """Part of a ``CycleSource`` that has no listener; this one has."""

    def take(self) -> int:
        """Take what has arrived; return how many cycles have completed since the last call, 0 if there is no image."""
        self.listener.drain()
        reader, taken, newest = self._reader, 0, b""
        while reader.receive() is not None:
            newest = reader.view[self._in_bytes].tobytes()
            taken += 1
        if not 0 < taken < _BUFFERED:
            return 0
        last, unpack_head = self.cycle_index, self._unpack_head
        index, self.at_ns, wc_ok, validity = unpack_head(newest)
        self.record, self.cycle_index, self.wc_ok = newest, index, bool(wc_ok)
        if index <= last or last < 0:  # the first one, or a gateway that has restarted
            self._all_fresh_index, self._fresh_index, last = -1, [-1] * len(self._fresh_index), index - 1
        if validity == self._all_fresh:
            self._all_fresh_index = index
        else:
            self._note_validity(validity, index)
        self.missed += index - last - 1
        return int(index - last)

    def validity(self, position: int) -> Validity:
        """Return how good the inputs of the SubDevice at ``position`` are."""
        return Validity(self.record[_HEAD_IN.size + position]) if self.record else Validity.NEVER_SEEN

    def age_cycles(self, position: int) -> int | None:
        """Return how many cycles ago the inputs of a SubDevice were fresh: 0 now, None never."""
        index = max(self._all_fresh_index, self._fresh_index[position])
        return None if index < 0 else self.cycle_index - index

    def commit(self) -> None:
        """Send the output image and stand behind it anew, without waiting.

        Raises:
            ConfigurationError: a slice of another length has made :attr:`outputs` longer or shorter.
        """
        writer, pack_into, index, outputs = self._writer, self._pack_into, self.cycle_index, self.outputs
        if len(outputs) != self._output_bytes:  # struct would cut it or fill it up without a word
            raise self._resized()
        if index < 0:  # nothing has arrived yet
            index = 0
        slot = writer.loan()
        try:
            pack_into(slot, 0, index, self._renewed, outputs)
        except BaseException:
            writer.discard()
            raise
        try:
            writer.publish(self._out_size)
        except BackPressure:
            self.undelivered += 1

    def close(self) -> None:
        """Close the ports; idempotent."""
        self.listener.close()
        self._reader.close()
        self._writer.close()

    def _resized(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._writer.service}: outputs have {len(self.outputs)} bytes, the layout has {self._output_bytes}; "
            "assign as many bytes to a slice as it has"
        )

    def _note_validity(self, validity: bytes, index: int) -> None:
        for position, value in enumerate(validity):
            if value == _FRESH:
                self._fresh_index[position] = index
