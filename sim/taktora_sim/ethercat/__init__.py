"""The simulated EtherCAT segment: ESCs that process real frames, devices behind them, and three ways in.

What is listed here is for scenarios, plants and tests; each name is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taktora_sim.ethercat.application import Application, EscPort, NullApplication
    from taktora_sim.ethercat.backend import segment_of
    from taktora_sim.ethercat.devices import SimulatedDevice, build_segment, device_of
    from taktora_sim.ethercat.frame import Command, Datagram, FrameError, decode_frame
    from taktora_sim.ethercat.maindevice import SimulatedMainDevice
    from taktora_sim.ethercat.pcapng import SegmentRecording
    from taktora_sim.ethercat.segment import Arrival, SimulatedSegment
    from taktora_sim.ethercat.subdevice import SubDevice

__all__ = [
    "Application",
    "Arrival",
    "Command",
    "Datagram",
    "EscPort",
    "FrameError",
    "NullApplication",
    "SegmentRecording",
    "SimulatedDevice",
    "SimulatedMainDevice",
    "SimulatedSegment",
    "SubDevice",
    "build_segment",
    "decode_frame",
    "device_of",
    "segment_of",
]

_NAMES = {
    "application": ("Application", "EscPort", "NullApplication"),
    "backend": ("segment_of",),
    "devices": ("SimulatedDevice", "build_segment", "device_of"),
    "frame": ("Command", "Datagram", "FrameError", "decode_frame"),
    "maindevice": ("SimulatedMainDevice",),
    "pcapng": ("SegmentRecording",),
    "segment": ("Arrival", "SimulatedSegment"),
    "subdevice": ("SubDevice",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
