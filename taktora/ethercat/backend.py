"""What stands behind an EtherCAT bus: the request that a world's back-end answers with a :class:`CyclicBus`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from taktora.errors import BuilderError, ConfigurationError
from taktora.ethercat.image import CyclicBus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.soem_options import SoemOptions
from taktora.executor.attributes import ThreadAttributes

if TYPE_CHECKING:
    from taktora.runtime import Runtime

__all__ = ["BusRequest", "DriverSettings", "make_bus"]

_PRIORITY: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSettings:
    """What a bench file says about the driver of a real segment; None leaves a setting as the runtime has it.

    Args:
        priority: SCHED_FIFO priority of the driver's process, 1 to 99.
        cpu: Core that it runs on, from 0.
        mapping: See ``SoemOptions``.
        frame_timeout_us: See ``SoemOptions``.
    """

    priority: int | None = None
    cpu: int | None = None
    mapping: Literal["auto", "overlap", "sequential"] | None = None
    frame_timeout_us: int | None = None

    def over(self, soem: SoemOptions, attributes: ThreadAttributes) -> tuple[SoemOptions, ThreadAttributes]:
        """Return both with the settings that are given here.

        Raises:
            ConfigurationError: a value of SOEM is out of range, or this machine has no such core.
            BuilderError: the priority is out of range.
        """
        if self.mapping is not None:
            soem = replace(soem, mapping=self.mapping)
        if self.frame_timeout_us is not None:
            soem = replace(soem, frame_timeout_us=self.frame_timeout_us)
        if self.priority is not None:
            attributes = replace(attributes, priority=self.priority)
        if self.cpu is not None:
            cores = os.sysconf("SC_NPROCESSORS_CONF")
            if not 0 <= self.cpu < cores:
                raise ConfigurationError(f"cpu is {self.cpu}; this machine has the cores 0 to {cores - 1}")
            attributes = replace(attributes, affinity_mask=(self.cpu,))
        return soem, attributes


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
        driver: What the bench file says about the driver of a real segment.
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
    driver: DriverSettings = field(default_factory=DriverSettings)


# req: REQ_0321
def make_bus(
    runtime: Runtime,  # noqa: ARG001 - what every back-end is called with
    request: BusRequest,
    soem: SoemOptions | None = None,
    attributes: ThreadAttributes | None = None,
) -> CyclicBus:
    """Return the bus of ``request`` on a network interface of this machine: SOEM in a process of its own.

    Args:
        runtime: The real world's.
        request: What is wanted.
        soem: How SOEM is used, but for what the request says.
        attributes: Likewise priority and cores of the driver's process; SCHED_FIFO 50 unless given, where the system
            allows it.

    Raises:
        ConfigurationError: the bench says simulated, nobody names an interface, a setting of the driver cannot be,
            pysoem is missing, or this is no Linux.
    """
    from taktora.ethercat.process import BusSetup, ProcessBus
    from taktora.ethercat.soem import SoemDriver, require_pysoem

    if request.simulated:
        msg = f"EtherCAT bus {request.bus!r} is simulated by the bench file, this run is on the wall clock"
        raise ConfigurationError(f"{msg}: use --world sim, or name its interface in the bench file")
    plan = request.options.plan()
    interface = request.interface or plan.network_interface
    if interface is None:
        raise ConfigurationError(
            f'EtherCAT bus {request.bus!r} has no network interface; write interface = "eth1" under '
            f"[ethercat.{request.bus}] in the bench file, or default_nic in the machine file"
        )
    try:
        soem, attributes = request.driver.over(
            soem or SoemOptions(), attributes or ThreadAttributes(priority=_PRIORITY)
        )
    except (ConfigurationError, BuilderError) as error:
        raise ConfigurationError(f"EtherCAT bus {request.bus!r}: {error}; correct the bench file") from error
    require_pysoem()  # now, and not in the other process
    setup = BusSetup(
        name=request.bus,
        plan=replace(plan, network_interface=interface),
        make_driver=partial(SoemDriver, options=soem),
        make_policy=request.options.reconnect_policy_factory,
        attributes=attributes,
    )
    return ProcessBus(setup)
