"""EtherCAT: connector, gateway, process image and the seam behind which SOEM or a simulated segment stands.

What is listed here is for users; each name is imported when it is asked for, so that a process that only drives a bus
loads no connector, and the machine file no driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taktora.ethercat.backend import BusRequest, DriverSettings, make_bus
    from taktora.ethercat.connector import EthercatConnector, RemoteEthercatConnector, ethercat_channel
    from taktora.ethercat.driver import AlState, BringUp, BusDriver, Emergency, Exchange, SubDeviceState
    from taktora.ethercat.health import AgedOutputs, LowWorkingCounter, NotOperational
    from taktora.ethercat.image import BusListener, CycleRecord, CyclicBus, ImageLayout, SubDeviceImage, Validity
    from taktora.ethercat.image_channel import ImagePort
    from taktora.ethercat.local import LocalBus
    from taktora.ethercat.network import (
        ChannelSpec,
        CopySpec,
        DeviceSpec,
        EntrySpec,
        EthercatBusSpec,
        IdentitySpec,
        MailboxSpec,
        PdoSpec,
        PdosSpec,
        SdoSpec,
    )
    from taktora.ethercat.options import BusPlan, EthercatConnectorOptions, SliceCopy
    from taktora.ethercat.pdo import ExpectedIdentity, PdoEntry, SdoValue, StartupSdo, SubDeviceMap
    from taktora.ethercat.process import BusSetup, ProcessBus
    from taktora.ethercat.routing import EthercatRouting, PdoDirection
    from taktora.ethercat.slice_codec import SliceCodec
    from taktora.ethercat.soem import SoemDriver
    from taktora.ethercat.soem_options import SoemOptions
    from taktora.ethercat.spec_errors import BusSpecError
    from taktora.ethercat.telemetry import BusCycleObservation, BusCycleSnapshot, CycleObserver, CycleOutcome
    from taktora.ethercat.typed import TypedImage
    from taktora.ethercat.watchdog import SmWatchdog

__all__ = [
    "AgedOutputs",
    "AlState",
    "BringUp",
    "BusCycleObservation",
    "BusCycleSnapshot",
    "BusDriver",
    "BusListener",
    "BusPlan",
    "BusRequest",
    "BusSetup",
    "BusSpecError",
    "ChannelSpec",
    "CopySpec",
    "CycleObserver",
    "CycleOutcome",
    "CycleRecord",
    "CyclicBus",
    "DeviceSpec",
    "DriverSettings",
    "Emergency",
    "EntrySpec",
    "EthercatBusSpec",
    "EthercatConnector",
    "EthercatConnectorOptions",
    "EthercatRouting",
    "Exchange",
    "ExpectedIdentity",
    "IdentitySpec",
    "ImageLayout",
    "ImagePort",
    "LocalBus",
    "LowWorkingCounter",
    "MailboxSpec",
    "NotOperational",
    "PdoDirection",
    "PdoEntry",
    "PdoSpec",
    "PdosSpec",
    "ProcessBus",
    "RemoteEthercatConnector",
    "SdoSpec",
    "SdoValue",
    "SliceCodec",
    "SliceCopy",
    "SmWatchdog",
    "SoemDriver",
    "SoemOptions",
    "StartupSdo",
    "SubDeviceImage",
    "SubDeviceMap",
    "SubDeviceState",
    "TypedImage",
    "Validity",
    "ethercat_channel",
    "make_bus",
]

_NAMES = {
    "backend": ("BusRequest", "DriverSettings", "make_bus"),
    "connector": ("EthercatConnector", "RemoteEthercatConnector", "ethercat_channel"),
    "driver": ("AlState", "BringUp", "BusDriver", "Emergency", "Exchange", "SubDeviceState"),
    "health": ("AgedOutputs", "LowWorkingCounter", "NotOperational"),
    "image": ("BusListener", "CycleRecord", "CyclicBus", "ImageLayout", "SubDeviceImage", "Validity"),
    "image_channel": ("ImagePort",),
    "local": ("LocalBus",),
    "network": (
        "ChannelSpec",
        "CopySpec",
        "DeviceSpec",
        "EntrySpec",
        "EthercatBusSpec",
        "IdentitySpec",
        "MailboxSpec",
        "PdoSpec",
        "PdosSpec",
        "SdoSpec",
    ),
    "options": ("BusPlan", "EthercatConnectorOptions", "SliceCopy"),
    "pdo": ("ExpectedIdentity", "PdoEntry", "SdoValue", "StartupSdo", "SubDeviceMap"),
    "process": ("BusSetup", "ProcessBus"),
    "routing": ("EthercatRouting", "PdoDirection"),
    "slice_codec": ("SliceCodec",),
    "soem": ("SoemDriver",),
    "soem_options": ("SoemOptions",),
    "spec_errors": ("BusSpecError",),
    "telemetry": ("BusCycleObservation", "BusCycleSnapshot", "CycleObserver", "CycleOutcome"),
    "typed": ("TypedImage",),
    "watchdog": ("SmWatchdog",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
