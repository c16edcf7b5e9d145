"""The EtherCAT buses of an App: typed images of SubDevices, slices by channel name, and the cycle that items run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from taktora.app.bus import Bus
from taktora.app.handles import Handle, Reader, Writer
from taktora.errors import CodecError, ConfigurationError
from taktora.ethercat.image import Validity
from taktora.ethercat.image_channel import DEAD_TIME_CYCLES
from taktora.places import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taktora.connector import SendOutcome
    from taktora.connector.feed import Subscription
    from taktora.ethercat.connector import EthercatConnector
    from taktora.ethercat.driver import Emergency
    from taktora.ethercat.image_channel import ImagePort
    from taktora.ethercat.telemetry import BusCycleSnapshot, CycleObserver
    from taktora.ethercat.typed import TypedImage

__all__ = ["BusCycle", "Device", "Emergencies", "EthercatBus", "SliceWriter"]

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O")  # noqa: E741 - outputs


@dataclass(eq=False, slots=True)
class BusCycle:
    """The cycle of an EtherCAT bus: ``@app.cyclic(on=axis.cycle)``."""

    bus: str
    _period_ns: int | None = field(default=None, init=False, repr=False)

    @property
    def period_ns(self) -> int:
        """Period in ns, as the machine file says.

        Raises:
            ConfigurationError: the App is not bound.
        """
        if self._period_ns is None:
            raise ConfigurationError(
                f"cycle of {self.bus!r}: the App is not bound; look at it from an item, or inside "
                "'with app.bind(runtime)'"
            )
        return self._period_ns

    def attach(self, period_ns: int | None) -> None:
        """Say what the period is; called when the App is bound, with None when the binding is closed."""
        self._period_ns = period_ns


# req: REQ_8151
class Emergencies(Handle["Subscription[Emergency]"]):
    """The CoE emergencies of one device since the App was bound, in order; ``@app.on(axis.emergencies)`` runs at them.

    The latest 64 are kept. All items share one stream.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._is_elsewhere = False

    def attach(self, port: Subscription[Emergency] | None) -> None:
        """Give the stream; called when the App is bound, with None where another process receives emergencies."""
        self._port, self._is_elsewhere = port, port is None

    def detach(self) -> None:
        """Take the stream away; called when the binding is closed."""
        self._port, self._is_elsewhere = None, False

    def drain(self) -> Iterator[Emergency]:
        """Yield those not taken yet.

        Raises:
            ConfigurationError: the App is not bound, or the gateway runs in a process of its own.
        """
        return self.port.drain()

    @property
    def dropped(self) -> int:
        """Number of those lost before anybody took them."""
        return self.port.dropped

    @property
    def port(self) -> Subscription[Emergency]:
        """The stream behind this handle."""
        if self._is_elsewhere:
            raise ConfigurationError(
                f"{self.name}: emergencies are received in its gateway's process, which tells of them; run the "
                "gateway in-process to have them here"
            )
        return super().port


# req: REQ_8151
class Device(Generic[I, O]):
    """One SubDevice as the application sees it: an input image and an output image, each of one bus cycle.

    Use it from the items on its :attr:`cycle`. Dead time: outputs computed from the inputs of cycle k go out with cycle
    k + 1, in every world, as long as all items together need less than one cycle.
    """

    dead_time_cycles = DEAD_TIME_CYCLES
    """Cycles between the exchange that brings inputs and the one that takes the outputs computed from them."""

    def __init__(self, cycle: BusCycle, label: str, input_type: type[I] | None, output_type: type[O] | None) -> None:
        self.bus = cycle.bus
        self.label = label
        self.input_type = input_type
        self.output_type = output_type
        self.cycle = cycle
        """What an item runs on to get inputs and to set outputs."""
        self.declared_at = here()
        """Where the application has declared it, as ``app.py:12``; empty if nobody knows."""
        self._emergencies = Emergencies(self._name)
        self._port: ImagePort | None = None
        self._position = 0
        self._decode: Callable[[bytes, int], I] = self._refuse_inputs
        self._encode_into: Callable[[O, bytearray, int], None] | None = None
        self._inputs_at = self._outputs_at = 0
        self._zeros = b""
        self._inputs: I
        self._record: bytes | None = None  # that _inputs are of
        self._outputs: O | None = None

    def attach(
        self,
        port: ImagePort,
        position: int,
        inputs: TypedImage[I] | None,
        outputs: TypedImage[O] | None,
        first: O | None,
        emergencies: Subscription[Emergency] | None = None,
    ) -> None:
        """Give the device its images; called when the App is bound. ``first`` are the outputs to begin with."""
        self._emergencies.attach(emergencies)
        self._port, self._position, self._outputs = port, position, first
        self._decode = self._refuse_inputs if inputs is None else inputs.decode
        self._encode_into = None if outputs is None else outputs.encode_into
        place = port.layout.subdevices[position]
        self._inputs_at, self._outputs_at = port.inputs_at + place.input_offset, place.output_offset
        self._zeros = bytes(self._inputs_at + place.input_bytes)
        self._record = None

    def stage(self) -> None:
        """Put the outputs into the image that goes out next; called after all items of the cycle.

        Raises:
            CodecError: a field is out of the range of its entry; names device, field and range.
        """
        encode_into, outputs = self._encode_into, self._outputs
        if encode_into is not None and outputs is not None:
            encode_into(outputs, (self._port or self.port).outputs, self._outputs_at)

    def detach(self) -> None:
        """Take the image away; called when the binding is closed."""
        self._port = None
        self._emergencies.detach()

    @property
    def inputs(self) -> I:
        """The inputs of the newest cycle, in the application's units; zeros before the first.

        Look at :attr:`fresh` or :attr:`validity`: inputs of a SubDevice that does not answer are those it last gave.

        Raises:
            ConfigurationError: the App is not bound, or the device was declared without a class for its inputs.
            CodecError: a number that the class's enumeration does not have.
        """
        record = (self._port or self.port).record
        if self._record is not record:
            decode = self._decode
            self._inputs = decode(record or self._zeros, self._inputs_at)
            self._record = record
        return self._inputs

    @property
    def outputs(self) -> O:
        """The outputs that go out with the next cycle, in the application's units; they begin as the safe values.

        Set its fields, or put a new instance in its place.
        """
        if self._outputs is None:
            _ = self.port
            raise ConfigurationError(f"{self._name}: declared without outputs; give device() a class for them")
        return self._outputs

    @outputs.setter
    def outputs(self, value: O) -> None:
        if self.output_type is None or not isinstance(value, self.output_type):
            wanted = "no outputs" if self.output_type is None else self.output_type.__name__
            raise ConfigurationError(f"{self._name}: outputs set to a {type(value).__name__}, declared: {wanted}")
        self._outputs = value

    @property
    def validity(self) -> Validity:
        """How good the inputs are: never seen, fresh in this cycle, or stale."""
        return self.port.validity(self._position)

    @property
    def age_cycles(self) -> int | None:
        """How many cycles ago the inputs were fresh: 0 in this one, None never."""
        return self.port.age_cycles(self._position)

    @property
    def fresh(self) -> bool:
        """Whether the inputs are of the newest cycle."""
        return self.validity is Validity.FRESH

    @property
    def cycle_index(self) -> int:
        """The bus's index of the newest cycle, failed ones counted; -1 before the first."""
        return self.port.cycle_index

    @property
    def emergencies(self) -> Emergencies:
        """The CoE emergencies of this device."""
        return self._emergencies

    @property
    def port(self) -> ImagePort:
        """The process image behind this device.

        Raises:
            ConfigurationError: the App is not bound.
        """
        if self._port is None:
            raise ConfigurationError(
                f"{self._name}: the App is not bound; use it from an item, or inside 'with app.bind(runtime)'"
            )
        return self._port

    @property
    def _name(self) -> str:
        return f"{self.bus}.{self.label}"

    def _refuse_inputs(self, _record: bytes, _at: int) -> I:
        raise ConfigurationError(f"{self._name}: declared without inputs; give device() a class for them")


class SliceWriter(Writer[int]):
    """Sends numbers to a channel of the machine file; what has more bits than the channel is refused."""

    bit_length = 64

    def send(self, value: int) -> SendOutcome:
        """Send ``value``; raises the outcomes listed at :class:`taktora.connector.ChannelWriter`."""
        if not 0 <= value < 1 << self.bit_length:
            raise CodecError(
                "slice", f"{self.name}: {value} does not fit {self.bit_length} bits: 0 to {(1 << self.bit_length) - 1}"
            )
        return super().send(value)


@dataclass(slots=True)
class EthercatBus(Bus):
    """An EtherCAT bus of the machine, by name; devices and channels are those of the machine file."""

    devices: dict[str, Device[Any, Any]] = field(default_factory=dict)
    readers: dict[str, Reader[int]] = field(default_factory=dict)
    writers: dict[str, SliceWriter] = field(default_factory=dict)
    observers: list[CycleObserver] = field(default_factory=list)
    port: ImagePort | None = None
    """The process image, while the App is bound and somebody uses it."""
    connector: EthercatConnector[Any] | None = field(default=None, init=False, repr=False)

    cycle: BusCycle = field(init=False)
    """The cycle of this bus, the same as that of each of its devices."""

    def __post_init__(self) -> None:
        self.cycle = BusCycle(self.name)

    @overload
    def device(self, label: str, inputs: type[I], outputs: type[O]) -> Device[I, O]: ...
    @overload
    def device(self, label: str, inputs: type[I], outputs: None = None) -> Device[I, None]: ...
    @overload
    def device(self, label: str, inputs: None = None, *, outputs: type[O]) -> Device[None, O]: ...
    def device(self, label: str, inputs: type[Any] | None = None, outputs: type[Any] | None = None) -> Device[Any, Any]:
        """Declare that the application uses the SubDevice ``label`` by its images.

        Args:
            label: Label of the device in the machine file.
            inputs: Dataclass or ``msgspec.Struct`` whose fields are named like input entries; None: not read.
            outputs: The same for output entries; None: not written. Entries without a field keep their safe values.

        Raises:
            ConfigurationError: declared twice, or neither inputs nor outputs.
        """
        if label in self.devices:
            raise ConfigurationError(f"{self.name}: device {label!r} is declared twice; share the handle")
        if inputs is None and outputs is None:
            raise ConfigurationError(f"{self.name}: device {label!r} has neither inputs nor outputs; give it a class")
        handle: Device[Any, Any] = Device(self.cycle, label, inputs, outputs)
        self.devices[label] = handle
        return handle

    def reader(self, channel: str, max_age_ms: float | None = None) -> Reader[int]:
        """Declare that the application reads a ``tx`` channel of the machine file; it gets one value per cycle.

        Args:
            channel: Name of the channel.
            max_age_ms: Age up to which the last value counts as fresh; needed by ``on_lost`` and ``on_found``.
        """
        self._check_once(channel)
        handle: Reader[int] = Reader(f"{self.name}.{channel}", max_age_ms)
        self.readers[channel] = handle
        return handle

    def writer(self, channel: str) -> SliceWriter:
        """Declare that the application writes an ``rx`` channel of the machine file.

        What was sent once is renewed in every cycle as long as the main executor runs.
        """
        self._check_once(channel)
        self.writers[channel] = handle = SliceWriter(f"{self.name}.{channel}")
        return handle

    # req: REQ_0265, REQ_0267
    def observe(self, observer: CycleObserver) -> CycleObserver:
        """Have ``observer`` called with a ``BusCycleObservation`` per attempt at an exchange, failed ones included.

        It runs in the gateway's executor, not in that of the items, and must not wait. Returns it, to decorate with.
        """
        self.observers.append(observer)
        return observer

    # req: REQ_0265
    def statistics(self) -> BusCycleSnapshot:
        """Return the figures of the bus's cycles so far; from any thread.

        Raises:
            ConfigurationError: the App is not bound, or the gateway runs in a process of its own.
        """
        if self.connector is None:
            raise ConfigurationError(f"{self.name}: the App is not bound; look at the figures while it is")
        return self.connector.cycle_statistics()

    @property
    def image(self) -> ImagePort:
        """The process image.

        Raises:
            ConfigurationError: the App is not bound, or uses neither a device nor the cycle of this bus.
        """
        if self.port is None:
            raise ConfigurationError(f"{self.name}: the App is not bound, or uses no device of this bus")
        return self.port

    def detach(self) -> None:
        """Take all ends away; called when the binding is closed."""
        self.port = self.connector = None
        self.cycle.attach(None)
        for device in self.devices.values():
            device.detach()
        for reader in self.readers.values():
            reader.detach()
        for writer in self.writers.values():
            writer.detach()

    def _check_once(self, channel: str) -> None:
        if channel in self.readers or channel in self.writers:
            raise ConfigurationError(f"{self.name}: channel {channel!r} is declared twice; share the handle")
