"""Binds the CAN buses of an App: DBC, routing, connector and what stands behind the bus; it sends nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taktora.app.bench import CanBacking
from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanFdFlags,
    CanFrameKind,
    CanId,
    CanIface,
    CanRouting,
    can_channel,
)
from taktora.can.backend import CanRequest
from taktora.errors import ConfigurationError
from taktora.places import declared_at

if TYPE_CHECKING:
    from taktora.app.app import CanBus
    from taktora.app.bound import BoundApp
    from taktora.app.handles import Writer
    from taktora.codec.dbc import DbcCodec, DbcMessage
    from taktora.connector import ChannelDescriptor

__all__ = ["bind_can"]


def bind_can(bound: BoundApp, bus: CanBus, machine_folder: Path, bench_folder: Path) -> CanConnector[DbcCodec]:
    """Build the connector of one bus, register it with the host and give the App's handles their ports.

    Readers are opened before writers.

    Raises:
        ConfigurationError: unknown bus, no DBC, unknown message or field, or nothing stands behind the bus.
    """
    runtime = bound.runtime
    spec = bound.machine.can_bus(bus.name, f"App {bound.app.name!r}")
    dbc_path = None if spec.dbc is None else machine_folder / spec.dbc
    backing = bound.bench.can.get(bus.name, CanBacking())
    iface = CanIface(backing.interface or (None if backing.simulated else spec.interface) or bus.name[:15])
    messages = _Messages(bus, iface, dbc_path, carries_fd=spec.data_bitrate is not None)
    request = CanRequest(
        bus=bus.name,
        node=bound.app.name,
        interface=backing.interface,
        machine_interface=spec.interface,
        bitrate=spec.bitrate,
        data_bitrate=spec.data_bitrate,
        simulated=backing.simulated,
        acknowledge=backing.acknowledge,
        place=f"{bound.bench_place}: [can.{bus.name}]" if bus.name in bound.bench.can else bound.bench_place,
        replay=None if backing.replay is None else bench_folder / backing.replay,
        replay_channel=backing.replay_channel,
        dbc=dbc_path,
        restbus=backing.restbus,
        restbus_place=f"{bound.bench_place}: [can.{bus.name}.restbus]",
        sends=messages.sent,
        senders=messages.senders,
        signals=messages.dbc.places(),
    )
    interface = runtime.backend("can")(runtime, request)
    options = CanConnectorOptions(ifaces=(iface,))
    connector = CanConnector(runtime, options, (interface,), messages.codec, name=bus.name)
    bound.host.register(connector)
    bus.connector = connector
    bound.dbcs[bus.name] = messages.dbc
    for reader, message in bus.readers:
        with declared_at(reader.declared_at):
            descriptor, value_type = messages.resolve(f"{bound.app.name}.{reader.name}", message)
        reader.attach(connector.create_reader(descriptor, value_type), runtime.recorder)
    for writer, message in bus.writers:
        with declared_at(writer.declared_at):
            descriptor, value_type = messages.resolve(f"{bound.app.name}.{writer.name}", message)
        writer.attach(connector.create_writer(descriptor, value_type))
    return connector


class _Messages:
    """Finds the DBC message, the channel and the value type behind what an App asked for."""

    def __init__(self, bus: CanBus, iface: CanIface, dbc_path: Path | None, *, carries_fd: bool) -> None:
        from taktora.codec.dbc import DbcCodec, load_dbc

        if dbc_path is None:
            msg = f"CAN bus {bus.name!r} has no DBC, so its messages have no names; write 'dbc:' into the machine file"
            raise ConfigurationError(msg)
        self._bus = bus.name
        self._iface = iface
        self._carries_fd = carries_fd
        self.dbc = load_dbc(dbc_path)
        self.codec = DbcCodec(self.dbc)
        self.sent = tuple(self._sent(writer, message) for writer, message in bus.writers)
        """Identifiers that the application sends."""
        self.senders = self.dbc.senders()
        """Identifiers by the node that sends them."""

    def resolve(self, channel: str, message: type | str) -> tuple[ChannelDescriptor[CanRouting], type]:
        """Return the channel descriptor and the value type."""
        found = self._find(message)
        routing = CanRouting(self._iface, CanId(found.can_id, found.is_extended))
        if found.is_fd:
            if not self._carries_fd:
                msg = f"CAN bus {self._bus!r}: message {found} is one of CAN FD, and the machine file gives the bus no"
                raise ConfigurationError(f"{msg} data_bitrate; write for example 'data_bitrate: 2000000' for it")
            flags = CanFdFlags.BRS if found.is_brs else CanFdFlags.NONE
            routing = replace(routing, kind=CanFrameKind.FD, fd_flags=flags)
        return can_channel(channel, routing), found.type if isinstance(message, str) else message

    def _sent(self, writer: Writer[Any], message: type | str) -> tuple[int, bool]:
        with declared_at(writer.declared_at):
            found = self._find(message)
        return found.can_id, found.is_extended

    def _find(self, message: type | str) -> DbcMessage:
        if not isinstance(message, str):
            return self.codec.bind(message)
        return self.codec.bind(self.dbc.message(message).type, message)
