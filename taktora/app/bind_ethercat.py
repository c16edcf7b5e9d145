"""Binds the EtherCAT buses of an App: plan, connector, the bus behind it, images and slices; it sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taktora.app.app import Declaration
from taktora.app.bench import EthercatBacking
from taktora.app.ethercat import Device, EthercatBus
from taktora.app.files import nearest
from taktora.errors import CodecError, ConfigurationError
from taktora.ethercat.backend import BusRequest, DriverSettings
from taktora.ethercat.connector import EthercatConnector, RemoteEthercatConnector, ethercat_channel
from taktora.ethercat.entries import placed
from taktora.ethercat.image_channel import ImagePort
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.resolve import resolve, routing_of, unmapped_gaps
from taktora.ethercat.slice_codec import SliceCodec
from taktora.ethercat.typed import TypedImage
from taktora.executor import Context, CycleSource, ExecutableItem, TriggerDeclarer
from taktora.places import declared_at, setting_place

if TYPE_CHECKING:
    from taktora.app.bound import BoundApp
    from taktora.app.handles import Reader, Writer
    from taktora.connector.feed import Subscription
    from taktora.ethercat.driver import Emergency
    from taktora.ethercat.entries import Direction
    from taktora.ethercat.network import ChannelSpec, DeviceSpec, EthercatBusSpec
    from taktora.ethercat.pdo import SubDeviceMap

__all__ = [
    "CycleHead",
    "bind_ethercat",
    "bus_request",
    "channel_name",
    "commit_item",
    "cycle_budget_ns",
    "declare_cycle",
]


def bind_ethercat(bound: BoundApp, bus: EthercatBus, machine_folder: Path, bench_folder: Path) -> None:
    """Build the connector of one bus, register it with the host and give the App's handles their ends.

    Raises:
        ConfigurationError: unknown bus, device, channel or field, or nothing stands behind the bus.
    """
    runtime = bound.runtime
    spec = bound.machine.ethercat_bus(bus.name, f"App {bound.app.name!r}")
    backing = bound.bench.ethercat.get(bus.name, EthercatBacking())
    options = EthercatConnectorOptions.of_plan(resolve(spec))
    images = [_image(bus, device, spec, options) for device in bus.devices.values()]
    handles: dict[str, Reader[Any] | Writer[Any]] = {**bus.readers, **bus.writers}
    channels = {name: _channel(bus, name, spec, handle) for name, handle in handles.items()}
    overlapping = [channel_name(bus.name, each.name) for each in spec.channels if each.allow_overlap]
    connector: EthercatConnector[SliceCodec]
    if backing.gateway == "separate":
        connector = RemoteEthercatConnector(runtime, options, SliceCodec(), bus.name, overlapping)
    else:
        request = bus_request(bus.name, bound.app.name, spec, options, machine_folder, backing, bench_folder)
        made = runtime.backend("ethercat")(runtime, request)
        connector = EthercatConnector(runtime, options, made, SliceCodec(), bus.name, overlapping)
    bound.host.register(connector)
    bus.connector = connector
    bus.cycle.attach(options.cycle_time_ns)
    for observer in bus.observers:
        connector.observe_cycles(observer)
    for gap in unmapped_gaps(spec):
        runtime.recorder.notice(f"EtherCAT bus {bus.name!r}: {gap}", "warning")
    for channel, reader in bus.readers.items():
        descriptor = ethercat_channel(reader.name, routing_of(spec, channels[channel]))
        reader.attach(connector.create_reader(descriptor, int), runtime.recorder)
    if images or any(each.bus == bus.name for each in bound.app.declarations):
        port = connector.open_image([image.position for image in images if image.outputs is not None])
        bus.port = port
        for image in images:
            image.attach(port, connector.subscribe_emergencies(image.position))
    for channel, writer in bus.writers.items():
        descriptor = ethercat_channel(writer.name, routing_of(spec, channels[channel]))
        writer.bit_length = descriptor.routing.bit_length
        writer.attach(connector.create_writer(descriptor, int))


def channel_name(bus: str, channel: str) -> str:
    """Return the name under which a channel of the machine file is known to both halves of a connector."""
    return f"{bus}.{channel}"


def bus_request(
    bus: str,
    node: str,
    spec: EthercatBusSpec,
    options: EthercatConnectorOptions,
    folder: Path,
    backing: EthercatBacking,
    bench_folder: Path,
) -> BusRequest:
    """Return what a world's back-end is asked for."""
    return BusRequest(
        bus=bus,
        node=node,
        options=options,
        spec=spec,
        folder=folder,
        interface=backing.interface,
        simulated=backing.simulated,
        settings=dict(backing.plant),
        settings_folder=bench_folder,
        driver=DriverSettings(
            priority=backing.priority,
            cpu=backing.cpu,
            mapping=backing.mapping,
            frame_timeout_us=backing.frame_timeout_us,
        ),
    )


class _Image(NamedTuple):
    """What a declared device needs to be attached."""

    device: Device[Any, Any]
    position: int
    inputs: TypedImage[Any] | None
    outputs: TypedImage[Any] | None
    first: Any

    def attach(self, port: ImagePort, emergencies: Subscription[Emergency] | None) -> None:
        self.device.attach(port, self.position, self.inputs, self.outputs, self.first, emergencies)


def _image(
    bus: EthercatBus, device: Device[Any, Any], spec: EthercatBusSpec, options: EthercatConnectorOptions
) -> _Image:
    with declared_at(device.declared_at):
        return _fitting_image(bus, device, spec, options)


def _fitting_image(
    bus: EthercatBus, device: Device[Any, Any], spec: EthercatBusSpec, options: EthercatConnectorOptions
) -> _Image:
    labels = [each.label for each in spec.devices]
    if device.label not in labels:
        raise ConfigurationError(f"bus {bus.name!r} has no device {device.label!r}; {nearest(device.label, labels)}")
    position = labels.index(device.label)
    found, sub = spec.devices[position], options.pdo_map[position]
    inputs = _typed(bus, found, sub, "tx", device.input_type)
    outputs = _typed(bus, found, sub, "rx", device.output_type)
    if outputs is None:
        return _Image(device, position, inputs, None, None)
    try:
        return _Image(device, position, inputs, outputs, outputs.decode(sub.safe_outputs))
    except CodecError as error:
        raise ConfigurationError(
            f"{bus.name}.{device.label}: the safe outputs are no {outputs.record.__name__}: {error.cause}; correct "
            "'safe' in the machine file, or the class"
        ) from error


def _typed(
    bus: EthercatBus, device: DeviceSpec, sub: SubDeviceMap, direction: Direction, record: type[Any] | None
) -> TypedImage[Any] | None:
    if record is None:
        return None
    bits, what = (sub.input_bits, "inputs") if direction == "tx" else (sub.output_bits, "outputs")
    entries = [entry for pdo in placed(device, direction) for entry in pdo.entries]
    return TypedImage(record, entries, bits, f"{what} of {bus.name}.{device.label}")


def _channel(bus: EthercatBus, name: str, spec: EthercatBusSpec, handle: Reader[Any] | Writer[Any]) -> ChannelSpec:
    with declared_at(handle.declared_at):
        return _fitting_channel(bus, name, spec)


def _fitting_channel(bus: EthercatBus, name: str, spec: EthercatBusSpec) -> ChannelSpec:
    channels = {channel.name: channel for channel in spec.channels}
    if name not in channels:
        raise ConfigurationError(f"bus {bus.name!r} has no channel {name!r}; {nearest(name, list(channels))}")
    found = channels[name]
    is_written = name in bus.writers
    if is_written != (found.direction == "rx"):
        right = "reader" if is_written else "writer"
        what = "an input (tx)" if found.direction == "tx" else "an output (rx)"
        raise ConfigurationError(f"channel {name!r} of bus {bus.name!r} is {what}; declare it with {right}()")
    return found


def cycle_budget_ns(bus: str, declarations: Sequence[Declaration]) -> int | None:
    """Return the budget of all items on one cycle together; None: no limit.

    Raises:
        ConfigurationError: only some of them have one.
    """
    budgets = [each.budget_ns for each in declarations]
    known = [budget for budget in budgets if budget is not None]
    if not known:
        return None
    if len(known) < len(budgets):
        without = ", ".join(each.task_id for each in declarations if each.budget_ns is None)
        raise ConfigurationError(
            f"items on the cycle of {bus!r} run as one chain with one budget; {without} has no budget_us: give one to "
            "each item, or to none"
        )
    return sum(known)


def declare_cycle(declarer: TriggerDeclarer, cycle: CycleSource, budget_ns: int | None = None) -> None:
    """Have the chain run on ``cycle``; its trigger takes the inputs, which are decoded when an item looks at them."""
    declarer.cycle(cycle)
    if budget_ns is not None:
        declarer.budget(budget_ns)


class CycleHead(ExecutableItem):
    """Takes the inputs where no item of the application runs on the cycle."""

    def __init__(self, port: ImagePort) -> None:
        self._port = port

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declare_cycle(declarer, self._port)

    def execute(self, context: Context) -> None:
        """Do nothing: the trigger has taken them."""


def commit_item(
    port: ImagePort, devices: Sequence[Device[Any, Any]], items: Sequence[Callable[..., Any]] = ()
) -> ExecutableItem | None:
    """Return the last item of the chain on a bus's cycle; None if the application writes no image.

    ``items`` are the functions before it: one of them has set what cannot be sent.
    """
    written = [device for device in devices if device.output_type is not None]
    return _Commit(port, written, items) if written else None


# req: REQ_8150, REQ_8151
class _Commit(ExecutableItem):
    """Encodes the outputs and stands behind them anew: only if all items before it ran."""

    task_id = "commit"

    def __init__(
        self, port: ImagePort, devices: Sequence[Device[Any, Any]], items: Sequence[Callable[..., Any]]
    ) -> None:
        self._commit = port.commit
        self._stage = [device.stage for device in devices]
        self._items = items

    def execute(self, context: Context) -> None:  # noqa: ARG002
        try:
            for stage in self._stage:
                stage()
        except CodecError as error:
            place = setting_place(self._items, error.field) if error.field else ""
            if not place:
                raise
            raise CodecError(error.format_name, f"{error.cause}; set by {place}", error.field) from error.__cause__
        commit = self._commit
        commit()
