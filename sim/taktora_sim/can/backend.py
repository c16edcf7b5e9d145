"""What stands behind a CAN bus in a World: a simulated bus, and a recording on it; it reaches no device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taktora.can.interface import CanInterface
from taktora.errors import ConfigurationError
from taktora_sim.can.bus import SimulatedCanBus
from taktora_sim.can.faults.signals import CanDatabases
from taktora_sim.can.logs.replay import CanReplay
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.settings import restbus_from_settings

if TYPE_CHECKING:
    from pathlib import Path

    from taktora.can.backend import CanRequest
    from taktora.runtime import Runtime
    from taktora_sim.world import World

__all__ = ["SimulatedCan", "bus_of", "make_interface"]


def make_interface(runtime: Runtime, request: CanRequest) -> CanInterface:
    """Return a node's interface on the simulated bus ``request.bus``, which is made at its first use.

    Raises:
        ConfigurationError: the bench file names a real interface, two requests differ about the bus, or the rest-bus
            sends as the node that asks.
    """
    world: World = runtime.context
    if request.interface is not None:
        msg = f"CAN bus {request.bus!r} is interface {request.interface!r}, which a simulated run cannot reach"
        raise ConfigurationError(f"{msg}; give a bench file with [can.{request.bus}] simulated = true")
    can = SimulatedCan.of(world)
    bus = can.open_bus(
        request.bus,
        request.bitrate,
        request.node,
        data_bitrate=request.data_bitrate,
        acknowledge=request.acknowledge,
        place=request.place,
    )
    world.part(CanDatabases).add(request.bus, request.signals)
    if request.replay is not None:
        can.put_replay(bus, request, request.replay)
    if request.restbus is not None:
        can.put_restbus(bus, request, request.restbus)
    can.check_name(request)
    return bus.node(request.node).interface(request.bus[:15])


class SimulatedCan:
    """The CAN buses of one world, and the recordings and rest-buses on them, by resource name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.buses: dict[str, SimulatedCanBus] = {}
        self.replays: dict[str, CanReplay] = {}
        self.restbuses: dict[str, RestBus] = {}
        self._acknowledge_said: dict[str, str] = {}
        """By bus, what the application that made it has said of it."""
        self._wishes: dict[tuple[str, str], tuple[object, str]] = {}
        """By bus and ``replay`` or ``restbus``, what it has: the value to compare, and who said so in words."""
        world.faults.hints.append(self._hint)

    @classmethod
    def of(cls, world: World) -> SimulatedCan:
        """Return the one of ``world``."""
        return world.part(cls)

    def open_bus(
        self,
        name: str,
        bitrate: int,
        who: str,
        *,
        data_bitrate: int | None = None,
        acknowledge: bool = False,
        place: str = "no bench file",
    ) -> SimulatedCanBus:
        """Return the bus ``name``, made now if there is none.

        Args:
            name: Resource name of the bus.
            bitrate: Bit/s.
            who: Who asks, for the message.
            data_bitrate: Bit/s of the data phase; None: no CAN FD.
            acknowledge: A listener is to acknowledge what no node does.
            place: Where that is said, for the message.

        Raises:
            ConfigurationError: the bus has another bit rate, or another application has said otherwise of its listener.
        """
        asked = f"acknowledge = {str(acknowledge).lower()} for App {who!r} (by {place})"
        bus = self.buses.get(name)
        if bus is None:
            bus = self.buses[name] = SimulatedCanBus(
                self._world, name, bitrate, data_bitrate=data_bitrate, acknowledge=acknowledge
            )
            self._acknowledge_said[name] = asked
        if (bus.bitrate, bus.data_bitrate) != (bitrate, data_bitrate):
            has, asked = _rates_text(bus.bitrate, bus.data_bitrate), _rates_text(bitrate, data_bitrate)
            msg = f"CAN bus {name!r} runs at {has} and {who!r} asks for {asked}"
            raise ConfigurationError(f"{msg}; all nodes of a bus have one bit rate")
        self._check_acknowledge(bus, acknowledge, asked)
        return bus

    def _check_acknowledge(self, bus: SimulatedCanBus, acknowledge: bool, asked: str) -> None:
        """Refuse an application that says of ``bus`` what another one has not.

        A bus that no application has made, but a python-can program or a test, is taken as it is.
        """
        said = self._acknowledge_said.get(bus.name)
        if said is not None and acknowledge != bus.acknowledge:
            msg = f"CAN bus {bus.name!r} has {said} and is to have {asked}"
            raise ConfigurationError(f"{msg}; a bus has one listener that acknowledges or none: say the same for both")

    def put_replay(self, bus: SimulatedCanBus, request: CanRequest, log: Path) -> None:
        """Replay the recording on the bus without what the application sends itself; one for all that ask for it."""
        channel = "" if request.replay_channel is None else f", replay_channel = {request.replay_channel!r}"
        asked = f"replay = {str(log)!r}{channel} for App {request.node!r} (by {request.place})"
        if self._is_there(bus, "replay", (log.resolve(), request.replay_channel), asked):
            self.replays[bus.name].exclude(request.sends)
        else:
            self.replays[bus.name] = _replay(bus, request)
            self._wishes[bus.name, "replay"] = ((log.resolve(), request.replay_channel), asked)

    def put_restbus(self, bus: SimulatedCanBus, request: CanRequest, settings: Mapping[str, Any]) -> None:
        """Put the rest-bus on the bus without what the application sends itself; one for all that ask for it."""
        dbc = request.dbc
        asked = (
            f"restbus = {dict(settings)} of {dbc and dbc.name} for App {request.node!r} (by {request.restbus_place})"
        )
        value = (dict(settings), dbc and dbc.resolve())
        if self._is_there(bus, "restbus", value, asked):
            self.restbuses[bus.name].leave_out(request.sends)
        else:
            self.restbuses[bus.name] = _restbus(bus, request, settings)
            self._wishes[bus.name, "restbus"] = (value, asked)

    def _is_there(self, bus: SimulatedCanBus, what: str, value: object, asked: str) -> bool:
        """Return whether another application has put that on the bus; refuse what differs from it."""
        known, said = self._wishes.get((bus.name, what), (None, ""))
        if said and value != known:
            msg = f"CAN bus {bus.name!r} has {said} and is to have {asked}"
            raise ConfigurationError(f"{msg}; a bus has one {what}: say the same for both, or for one of them only")
        return bool(said)

    def check_name(self, request: CanRequest) -> None:
        """Refuse an application that bears the name of a node as which the rest-bus sends already."""
        restbus = self.restbuses.get(request.bus)
        if restbus is not None and request.node in restbus.nodes:
            said = self._wishes[request.bus, "restbus"][1]
            msg = f"CAN bus {request.bus!r} has {said}, which sends as {request.node!r}, and App {request.node!r} is to"
            raise ConfigurationError(f"{msg} be that node; write exclude = ['{request.node}'] into the rest-bus")

    def _hint(self, path: str) -> str:
        """Say what is missing for a fault at the recording of a bus that has none."""
        for bus in self.buses:
            if f"{path}/".startswith(f"can/{bus}/replay/") and bus not in self.replays:
                return (
                    f"no recording is replayed on CAN bus {bus!r} in this run; give a bench file with replay = "
                    f"'drive.log' in [can.{bus}], by --bench FILE"
                )
        return ""


def _rates_text(bitrate: int, data_bitrate: int | None) -> str:
    return f"{bitrate} bit/s" if data_bitrate is None else f"{bitrate} and {data_bitrate} bit/s"


def bus_of(world: World, name: str) -> SimulatedCanBus:
    """Return the simulated CAN bus ``name`` of ``world``.

    Raises:
        ConfigurationError: no application is bound to such a bus yet.
    """
    buses = SimulatedCan.of(world).buses
    if name not in buses:
        msg = f"this world has no CAN bus {name!r}; it has {', '.join(buses) or 'none'}; bind the App first"
        raise ConfigurationError(msg)
    return buses[name]


# req: REQ_8208
def _restbus(bus: SimulatedCanBus, request: CanRequest, settings: Mapping[str, Any]) -> RestBus:
    """Put the rest-bus on the bus without what the application sends itself, or all of the node that it is by name."""
    if request.dbc is None:
        msg = f"{request.restbus_place}: CAN bus {request.bus!r} has no DBC to take messages from"
        raise ConfigurationError(f"{msg}; write 'dbc:' into the machine file")
    own = request.senders.get(request.node, ())
    exclude_ids = (*request.sends, *own)
    return restbus_from_settings(bus, request.dbc, settings, exclude_ids=exclude_ids, where=request.restbus_place)


def _replay(bus: SimulatedCanBus, request: CanRequest) -> CanReplay:
    """Put the recording on the bus; what the application sends itself is left out of it."""
    assert request.replay is not None
    return CanReplay(
        bus,
        request.replay,
        channels=None if request.replay_channel is None else (request.replay_channel,),
        exclude_ids=request.sends,
        senders=request.senders,
    )
