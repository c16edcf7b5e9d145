"""What stands behind an EtherCAT bus in a World: a simulated segment and a MainDevice on it; it reaches no device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from taktora.errors import ConfigurationError
from taktora.ethercat.local import LocalBus
from taktora_sim.ethercat.devices import build_segment
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.ethercat.plant_file import make_python
from taktora_sim.ethercat.plants import make_axis, make_cylinder, make_light_barrier

if TYPE_CHECKING:
    from taktora.ethercat.backend import BusRequest
    from taktora.runtime import Runtime
    from taktora_sim.ethercat.segment import SimulatedSegment
    from taktora_sim.world import World

__all__ = ["PLANT_KINDS", "PlantMaker", "SimulatedEthercat", "attach_plants", "make_bus", "segment_of"]

PlantMaker: TypeAlias = "Callable[[SimulatedSegment, str, Mapping[str, object], Path], object]"
"""Puts a plant behind a device: called with segment, label, settings without ``kind``, and the bench file's folder."""

PLANT_KINDS: Final[dict[str, PlantMaker]] = {
    "axis": make_axis,
    "cylinder": make_cylinder,
    "light-barrier": make_light_barrier,
    "python": make_python,
}
"""Plants that a bench file can name as ``kind`` in ``[ethercat.BUS.plant.LABEL]``."""


def make_bus(runtime: Runtime, request: BusRequest) -> LocalBus:
    """Return the bus of ``request``: its simulated segment, made at its first use, and a MainDevice in virtual time.

    Raises:
        ConfigurationError: the bench file names a real interface, another application drives the segment, two requests
            differ about what is on it, or the bench file asks for a plant that does not exist.
    """
    world: World = runtime.context
    if request.interface is not None:
        msg = f"EtherCAT bus {request.bus!r} is interface {request.interface!r}, which a simulated run cannot reach"
        raise ConfigurationError(f"{msg}; give a bench file with [ethercat.{request.bus}] simulated = true")
    driver = SimulatedEthercat.of(world).open_bus(request)
    make_policy = request.options.reconnect_policy_factory
    return LocalBus(
        request.options.plan(), driver, runtime.clock, lambda: make_policy(runtime.entropy), name=request.bus
    )


class SimulatedEthercat:
    """The EtherCAT segments of one world and who drives them, by resource name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.segments: dict[str, SimulatedSegment] = {}
        self._requests: dict[str, BusRequest] = {}
        self._drivers: dict[str, SimulatedMainDevice] = {}

    @classmethod
    def of(cls, world: World) -> SimulatedEthercat:
        """Return the one of ``world``."""
        return world.part(cls)

    # req: REQ_0312
    def open_bus(self, request: BusRequest) -> SimulatedMainDevice:
        """Return a new MainDevice on the segment of ``request``.

        Raises:
            ConfigurationError: see :func:`make_bus`.
        """
        name = request.bus
        driver = self._drivers.get(name)
        if driver is not None and not driver.is_closed:
            msg = (
                f"EtherCAT bus {name!r} is driven by {self._requests[name].node!r}; {request.node!r} cannot have it too"
            )
            raise ConfigurationError(f"{msg}: a segment has one MainDevice")
        if name not in self.segments:
            segment = build_segment(self._world, name, request.spec, request.folder)
            attach_plants(segment, request.settings, request.settings_folder)
            self.segments[name] = segment
        elif self._requests[name].spec != request.spec:
            msg = f"EtherCAT bus {name!r}: {request.node!r} describes other devices than {self._requests[name].node!r}"
            raise ConfigurationError(f"{msg}; bind both to one machine file")
        self._requests[name] = request
        driver = self._drivers[name] = SimulatedMainDevice(self.segments[name], request.options.plan())
        return driver


def segment_of(world: World, name: str) -> SimulatedSegment:
    """Return the simulated segment ``name`` of ``world``.

    Raises:
        ConfigurationError: no application is bound to such a bus yet.
    """
    segments = SimulatedEthercat.of(world).segments
    if name not in segments:
        msg = f"this world has no EtherCAT bus {name!r}; it has {', '.join(segments) or 'none'}; bind the App first"
        raise ConfigurationError(msg)
    return segments[name]


# req: REQ_8108
def attach_plants(segment: SimulatedSegment, plants: Mapping[str, object], folder: Path = Path()) -> None:
    """Put plants behind the devices of a segment.

    Args:
        segment: The segment.
        plants: Settings by label of a device, as ``[ethercat.BUS.plant.LABEL]`` of a bench file has them.
        folder: Folder of that file.

    Raises:
        ConfigurationError: an unknown kind or device, or wrong settings.
    """
    for label, settings in plants.items():
        place = f"[ethercat.{segment.name}.plant.{label}]"
        if not isinstance(settings, Mapping):
            raise ConfigurationError(f"{place} is {settings!r}; expected settings of a plant")
        kind = settings.get("kind")
        if kind not in PLANT_KINDS:
            known = ", ".join(sorted(PLANT_KINDS)) or "none"
            raise ConfigurationError(f"{place}: no plant of kind {kind!r}; known: {known}")
        others = {key: value for key, value in settings.items() if key != "kind"}
        PLANT_KINDS[str(kind)](segment, label, others, folder)
