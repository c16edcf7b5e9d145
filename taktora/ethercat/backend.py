"""What stands behind an EtherCAT bus: the request that a world's back-end answers with a :class:`CyclicBus`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import EthercatConnectorOptions

__all__ = ["BusRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BusRequest:
    """What an application or a gateway process asks a world for: the bus that stands behind one resource name.

    A back-end (entry point ``<world>.ethercat`` of the group ``taktora.backends``) is called with the runtime and the
    request and returns a ``CyclicBus`` that has not been started; its layout is that of ``options.plan()``.

    Args:
        bus: Resource name of the bus in the machine file.
        node: Who asks, for messages: the name of the application.
        options: What follows from ``spec``: the plan of the bus and its reconnect policy.
        spec: The segment as the machine file describes it.
        folder: Folder that paths inside ``spec`` are relative to.
        interface: Network interface named by the bench file, if it names one.
        simulated: The bench file says that the segment is simulated.
        settings: What the bench file says about a simulated segment: by label of a device, its plant as plain data.
        settings_folder: Folder that paths inside ``settings`` are relative to.
    """

    bus: str
    node: str
    options: EthercatConnectorOptions
    spec: EthercatBusSpec
    folder: Path = field(default_factory=Path)
    interface: str | None = None
    simulated: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    settings_folder: Path = field(default_factory=Path)
