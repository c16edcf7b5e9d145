"""What stands behind a CAN bus in the real worlds: a network interface of this machine; it simulates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taktora.can.interface import CanInterface
from taktora.errors import ConfigurationError

if TYPE_CHECKING:
    from taktora.runtime import Runtime

__all__ = ["CanRequest", "make_interface"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanRequest:
    """What an application asks a world for: one interface on one bus of the machine.

    Args:
        bus: Resource name of the bus in the machine file.
        node: Who asks; the node's name on a simulated bus.
        interface: Network interface named by the bench file, if it names one.
        machine_interface: Network interface of the real machine, as the machine file says; a World passes it over.
        bitrate: Bit/s of the bus.
        data_bitrate: Bit/s of the data phase; None: the bus carries no CAN FD.
        simulated: The bench file says that the bus is simulated.
        acknowledge: A simulated listener acknowledges what no other node does.
        place: Where the bench says what stands behind the bus, for messages.
        replay: Recording to put on a simulated bus.
        replay_channel: Channel of the recording to take; None takes all.
        sends: Identifiers ``(can_id, is_extended)`` that the application sends itself.
        dbc: DBC file of the bus.
        restbus: Settings of the rest-bus on a simulated bus; None is none.
        restbus_place: Where they stand, for messages.
        senders: Identifiers by sending node, from the DBC: fault targets of a replay.
        signals: Where signals are, by ``Message.Signal``, from the DBC, so that faults can name them: identifier, is it
            extended, start bit as in a DBC, length in bits, is it Motorola.
    """

    bus: str
    node: str
    interface: str | None = None
    machine_interface: str | None = None
    bitrate: int = 500_000
    data_bitrate: int | None = None
    simulated: bool = False
    acknowledge: bool = False
    place: str = ""
    replay: Path | None = None
    replay_channel: str | None = None
    dbc: Path | None = None
    restbus: Mapping[str, Any] | None = None
    restbus_place: str = ""
    sends: tuple[tuple[int, bool], ...] = ()
    senders: Mapping[str, tuple[tuple[int, bool], ...]] = field(default_factory=dict)
    signals: Mapping[str, tuple[int, bool, int, int, bool]] = field(default_factory=dict)


def make_interface(runtime: Runtime, request: CanRequest) -> CanInterface:
    """Return the SocketCAN interface that stands behind ``request.bus``.

    Raises:
        ConfigurationError: the bench says simulated, nobody names an interface, or the interface runs at another bit
            rate than the machine file says.
    """
    from taktora.can.linkinfo import misfit, read_link
    from taktora.can.socketcan import SocketCanInterface

    if request.simulated or request.acknowledge or request.replay is not None or request.restbus is not None:
        msg = f"CAN bus {request.bus!r} is simulated by the bench file, this run is on the wall clock: use --world sim"
        raise ConfigurationError(f'{msg}, or name an interface: [can.{request.bus}] interface = "can0"')
    name = request.interface or request.machine_interface
    if name is None:
        msg = f"CAN bus {request.bus!r}: neither bench nor machine file names an interface"
        raise ConfigurationError(f'{msg}; write [can.{request.bus}] interface = "can0" into a bench file')
    link = read_link(name)
    if link is not None and (fault := misfit(link, request.bitrate, request.data_bitrate)):
        raise ConfigurationError(f"CAN bus {request.bus!r}: {fault}")
    return SocketCanInterface(name, runtime.clock)
