"""The gateway's side of a segment: slices and images between channels and a ``CyclicBus``; no codec, no I/O.

Everything but :class:`_Callbacks` runs in the gateway's items. What one channel does wrong (a payload that is too
short, a full reader) is counted and the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from taktora.connector.errors import Disconnected
from taktora.connector.feed import Feed, Subscription
from taktora.connector.health import ConnectorHealth, ConnectorHealthKind
from taktora.connector.link import InboundChannel, Link, Sign
from taktora.connector.routing import Routing
from taktora.errors import BackPressure, ConnectorError, NotReady
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import CycleRecord, CyclicBus, SubDeviceImage, Validity
from taktora.ethercat.image_channel import (
    AliveRouting,
    ImageOutput,
    ImageOutputReader,
    ImagePublisher,
    ImageRouting,
)
from taktora.ethercat.routing import EthercatRouting
from taktora.ethercat.slices import SliceOverflow, extract_bits, insert_bits
from taktora.ethercat.telemetry import BusCycleObservation, BusCycleTelemetry, CycleObserver
from taktora.executor import ExecutableItem
from taktora.transport.channel import RawChannelWriter, RawSample

__all__ = ["Alive", "BusLink", "BusMessage", "EthercatLinkDriver", "PacedBus", "SliceWrite"]

_EMERGENCIES_KEPT: Final = 64
_FORGET_NS: Final = 500_000_000
_FRESH: Final = int(Validity.FRESH)
_NOT_IN_OP: Final = "the bus is not in OP yet"


@runtime_checkable
class PacedBus(CyclicBus, Protocol):
    """A bus that items of the gateway's executor step; one in a process of its own has none."""

    def items(self) -> tuple[ExecutableItem, ...]:
        """Return what the gateway adds to its executor before the run."""
        ...

    def pull_outputs(self, pull: Callable[[], object]) -> None:
        """Have ``pull`` called before each cycle takes the outputs, to stage what is new."""
        ...


class SliceWrite(NamedTuple):
    """One payload on its way into the output image: which SubDevice, which bits, and the bytes that hold them.

    ``sent_ns`` is the UNIX time at which the application has sent it.
    """

    position: int
    bit_offset: int
    bit_length: int
    payload: bytes
    sent_ns: int


class Alive(NamedTuple):
    """The application's executor has run: what it has written by slices counts as renewed.

    ``written`` has one byte per SubDevice: non-zero where this application, since its start, has sent to a slice.
    """

    written: bytes


BusMessage: TypeAlias = SliceWrite | ImageOutput | Alive
Inbound: TypeAlias = CycleRecord | Emergency


class _Cut(NamedTuple):
    """One inbound channel, ready to be cut out of a record."""

    position: int
    bit_offset: int
    bit_length: int
    writer: RawChannelWriter


class BusLink(Link[Any, Inbound, BusMessage]):
    """The link of a segment: its driver is told of each state that was applied."""

    # req: REQ_0319, REQ_0333
    def apply(self, health: ConnectorHealth | Sign) -> None:
        super().apply(health)
        assert isinstance(self.driver, EthercatLinkDriver)
        self.driver.note_health(self.health.kind)


# req: REQ_0321, REQ_0328
class EthercatLinkDriver:
    """One segment of the gateway; a ``LinkDriver``.

    Args:
        bus: The seam: a bus paced by the gateway's executor, or one in a process of its own.
        outputs: What the output image starts from: the safe values.
        period_ns: Cycle time.
        tell: Takes what is worth reading: emergencies of SubDevices.
        unix_ns: UNIX time, of the clock with which the application stamps what it sends.
        stale_after_ns: What the application has sent longer ago says nothing of it now: it renews no outputs.
        telemetry: Folds the cycles; one for as many SubDevices as the bus's layout has.
    """

    def __init__(
        self,
        bus: CyclicBus,
        outputs: bytes,
        period_ns: int,
        tell: Callable[[str], object],
        unix_ns: Callable[[], int],
        stale_after_ns: int,
        telemetry: BusCycleTelemetry | None = None,
    ) -> None:
        self.bus: Final = bus
        self.layout: Final = bus.layout
        self.outputs: Final = bytearray(outputs)
        """The output image as the application wants it."""
        self.cycles = 0
        """Cycle records that reached the gateway, failed exchanges included."""
        self.undelivered = 0
        """Slices that a full reader of the application lost; its channel's writer counts them too."""
        self.emergencies: Final[deque[Emergency]] = deque(maxlen=_EMERGENCIES_KEPT)
        """The latest CoE emergencies."""
        self._emergency_feeds: dict[int, Feed[Emergency]] = {}
        self.image: ImagePublisher | None = None
        """The application's end of the input image is fed through it."""
        self.telemetry: Final = telemetry or BusCycleTelemetry(len(self.layout.subdevices))
        """Aggregates of the cycles that reached the gateway."""
        self.observers: tuple[CycleObserver, ...] = ()
        """Each called with every observation, in the gateway's executor."""
        self._image_outputs: ImageOutputReader | None = None
        self._tell = tell
        self._unix_ns = unix_ns
        self._stale_after_ns = stale_after_ns
        self._newest_cycle = -1
        self._link: BusLink | None = None
        self._exchanging = False
        self._resumed_at: int | None = None
        self._cuts: tuple[_Cut, ...] = ()
        self._generation = -1
        count = len(self.layout.subdevices)
        self._safe = bytes(outputs)
        self._by_slice = bytearray(count)  # 1: written by a slice, renewed by the sign of life
        self._silent = [0] * count  # cycles since the application renewed what it has written by slices
        self._forget_cycles = max(2, _FORGET_NS // period_ns)
        self._renewed = bytearray(count)
        self._spans: dict[bytes, tuple[slice, ...]] = {}

    def attach(self, link: BusLink) -> None:
        """Know the link that this driver serves; called once by the connector."""
        self._link = link
        link.gate.await_ready(_NOT_IN_OP)

    @property
    def link(self) -> BusLink:
        assert self._link is not None
        return self._link

    def open(self) -> None:
        """Have the segment brought up; what becomes of it is told by the bus."""
        in_place = isinstance(self.bus, PacedBus)
        self.bus.start(_Callbacks(self.link, self.deliver if in_place else self.link.receive))

    def close(self) -> None:
        self.bus.close()
        if self.image is not None:
            self.image.close()
        if self._image_outputs is not None:
            self._image_outputs.close()

    # req: REQ_0328
    def pull_image(self, reader: ImageOutputReader) -> None:
        """Take the output image from ``reader`` when the bus wants it, without an item that wakes for it."""
        assert isinstance(self.bus, PacedBus)
        self._image_outputs = reader
        self.bus.pull_outputs(self._pull)

    def subscribe_emergencies(self, position: int) -> Subscription[Emergency]:
        """Return an independent stream of the emergencies of one SubDevice from now on; the latest 64 are kept."""
        feed = self._emergency_feeds.setdefault(position, Feed(f"emergencies of {self._who(position)}"))
        return feed.subscribe(_EMERGENCIES_KEPT)

    def channels_changed(self) -> None:
        """Take note of the inbound channels; the bus exchanges everything anyway."""
        self._compile_cuts()

    # req: REQ_0313
    def note_health(self, kind: ConnectorHealthKind) -> None:
        """Take messages once the bus is in OP, and none after it has gone Down until it is there again."""
        link = self.link
        if kind is ConnectorHealthKind.UP:
            link.gate.be_ready()
            self._resume()
        elif kind is not ConnectorHealthKind.DEGRADED:
            self._exchanging = False
            if kind is ConnectorHealthKind.DOWN:
                link.gate.await_ready(_NOT_IN_OP)

    # req: REQ_0326
    def compose(self, routing: Routing, sample: RawSample, payload: memoryview) -> BusMessage:
        if isinstance(routing, ImageRouting | AliveRouting):
            if not self._exchanging or self._is_stale(sample.timestamp_ns):
                raise NotReady(f"{self.link.place}: it came too late, or the bus does not exchange process data now")
            is_image = isinstance(routing, ImageRouting)
            return ImageOutput.read(payload, len(self.layout.subdevices)) if is_image else Alive(bytes(payload))
        assert isinstance(routing, EthercatRouting)
        if len(payload) < routing.byte_length:
            needed, found = routing.byte_length, len(payload)
            raise SliceOverflow(routing.bit_offset, routing.bit_length, needed, found, f"the payload for {routing}")
        place = self.layout.by_address[routing.subdevice_address]
        return SliceWrite(place.position, routing.bit_offset, routing.bit_length, bytes(payload), sample.timestamp_ns)

    # req: REQ_0326, REQ_0328, REQ_8150
    def transmit(self, message: BusMessage) -> None:
        """Put a message into the output image, where the last one wins, and stage it.

        Raises:
            BackPressure: the bus does not exchange now; the message waits in the bridge.
        """
        renewed = self._renewed
        if isinstance(message, SliceWrite):
            if not self._exchanging:
                raise BackPressure(f"{self.link.place}: the bus does not exchange process data now; try again later")
            self._write(message)
            self._by_slice[message.position] = 1
            # What has waited is the newest command, but a sign of life must say that somebody stands behind it.
            renewed[message.position] = not self._is_stale(message.sent_ns)
            self._silent[message.position] = 0
            self.bus.stage_outputs(self.outputs, renewed)
            renewed[message.position] = 0
        elif not self._exchanging:
            return  # an answer to inputs from before the outage: there will be newer ones
        elif isinstance(message, ImageOutput):
            self._take_image(message)
        else:
            self._renew_slices(message.written)

    # req: REQ_0327, REQ_0265
    def deliver(self, message: Inbound) -> None:
        """Publish the image once, then the slices of the SubDevices that are fresh, in order of opening."""
        if isinstance(message, Emergency):
            self._note_emergency(message)
            return
        index, _, _, _, wire_round_ns, _, _ = message
        self.cycles += 1
        self._newest_cycle = index
        if self.image is not None:
            self.image.publish(message)
        self.telemetry.record(message)
        if self.observers:
            seen = BusCycleObservation.of(message)
            for observer in self.observers:
                observer(seen)
        if wire_round_ns is None:
            self._exchanging, self._resumed_at = False, None
            return
        if self._resumed_at is None:
            self._resumed_at = index
        if not self._exchanging and self.link.health.kind is ConnectorHealthKind.DEGRADED:  # low, but it answers
            self._resume()
        if 1 in self._by_slice:
            self._age_slices()
        link = self._link
        assert link is not None
        if self._generation != link.inbound_channels.generation:
            self._compile_cuts()
        if self._cuts:
            self._publish_cuts(message)

    # req: REQ_0328, REQ_8150
    def _take_image(self, record: tuple[int, bytes, bytes]) -> None:
        """Put the fields of an ``ImageOutput`` into our image, and stage it; only while the bus exchanges."""
        answers_cycle, renewed, outputs = record
        if self._resumed_at is None or not self._resumed_at <= answers_cycle <= self._newest_cycle:
            return  # an answer to inputs from before the outage, or from before the start of this gateway
        for span in self._spans.get(renewed) or self._spans_of(renewed):
            self.outputs[span] = outputs[span]
        self.bus.stage_outputs(self.outputs, renewed)

    def _renew_slices(self, written: bytes) -> None:
        marks = bytes(mine & known for mine, known in zip(written, self._by_slice, strict=True))
        if any(marks):
            for position, mark in enumerate(marks):
                if mark:
                    self._silent[position] = 0
            self.bus.stage_outputs(self.outputs, marks)

    # req: REQ_8150
    def _age_slices(self) -> None:
        """Forget what an application has written by slices and then left for long: another one must not revive it."""
        for position, mark in enumerate(self._by_slice):
            if not mark:
                continue
            self._silent[position] += 1
            if self._silent[position] > self._forget_cycles:
                self._by_slice[position] = 0
                place = self.layout.subdevices[position]
                span = slice(place.output_offset, place.output_offset + place.output_bytes)
                self.outputs[span] = self._safe[span]

    def _pull(self) -> None:
        reader = self._image_outputs
        assert reader is not None
        while (received := reader.next_record()) is not None:
            sent_ns, record = received
            if self._exchanging and not self._is_stale(sent_ns):
                self._take_image(record)

    def _is_stale(self, sent_ns: int) -> bool:
        """Whether something was sent so long ago that its application may be dead by now (this gateway stood still)."""
        unix_ns = self._unix_ns
        return unix_ns() - sent_ns > self._stale_after_ns

    def _publish_cuts(self, record: CycleRecord) -> None:
        inputs, validity = record.inputs, record.validity
        for position, offset, length, writer in self._cuts:
            if validity[position] != _FRESH:
                continue
            try:
                writer.send_raw_bytes(extract_bits(inputs, offset, length))
            except ConnectorError:
                self.undelivered += 1

    def _compile_cuts(self) -> None:
        channels = self.link.inbound_channels
        self._generation = channels.generation
        self._cuts = tuple(map(self._cut, channels.entries))

    def _cut(self, channel: InboundChannel[EthercatRouting]) -> _Cut:
        routing = channel.routing
        place = self.layout.by_address[routing.subdevice_address]
        return _Cut(place.position, 8 * place.input_offset + routing.bit_offset, routing.bit_length, channel.writer)

    def _write(self, message: SliceWrite) -> None:
        place = self.layout.subdevices[message.position]
        insert_bits(self.outputs, 8 * place.output_offset + message.bit_offset, message.bit_length, message.payload)

    def _spans_of(self, renewed: bytes) -> tuple[slice, ...]:
        """Return the bytes of the SubDevices that are marked, as few slices as possible."""
        spans: list[slice] = []
        for place in self.layout.subdevices:
            if renewed[place.position] and place.output_bits:
                _append(spans, place)
        self._spans[renewed] = found = tuple(spans)
        return found

    def _resume(self) -> None:
        """The bus exchanges again: let what waits in the bridge go out."""
        if not self._exchanging:
            self._exchanging = True
            self.link.transmit_ready()

    def _note_emergency(self, emergency: Emergency) -> None:
        self.emergencies.append(emergency)
        feed = self._emergency_feeds.get(emergency.position)
        if feed is not None:
            feed.append(emergency)
            feed.wake()
        self._tell(
            f"{self.link.place}: emergency of {self._who(emergency.position)}: code {emergency.error_code:#06x}, "
            f"register {emergency.error_register:#04x}, data {emergency.data.hex()}"
        )

    def _who(self, position: int) -> str:
        subdevices = self.layout.subdevices
        return subdevices[position].label if position < len(subdevices) else f"SubDevice {position}"


def _append(spans: list[slice], place: SubDeviceImage) -> None:
    start, stop = place.output_offset, place.output_offset + place.output_bytes
    if spans and spans[-1].stop == start:
        start = spans.pop().start
    spans.append(slice(start, stop))


class _Callbacks:
    """What the bus calls: fills the link's bridges from any thread, or nothing once they are closed.

    A bus that is stepped by the gateway's own executor has its cycles delivered in place: there is no other thread to
    keep apart, and a cycle then costs a wake less.
    """

    __slots__ = ("_link", "_take")

    def __init__(self, link: BusLink, take: Callable[[Inbound], object]) -> None:
        self._link = link
        self._take = take

    # req: REQ_0324
    def on_cycle(self, record: CycleRecord) -> None:
        take = self._take
        try:
            take(record)
        except Disconnected:
            return  # the connector is closing: the cycle came too late

    def on_emergency(self, emergency: Emergency) -> None:
        try:
            self._take(emergency)
        except Disconnected:
            return  # as above

    # req: REQ_0333
    def on_health(self, health: ConnectorHealth) -> None:
        try:
            self._link.report(health)
        except Disconnected:
            return  # as above

    # req: REQ_0296
    def on_failure(self, error: BaseException) -> None:
        self._link.fail(error)
