"""Devices that stand behind simulated ESCs: couplers, digital and analog terminals, drives, and generic ones."""

from __future__ import annotations

from taktora_sim.ethercat.devices.analog import AnalogInputs, AnalogOutputs
from taktora_sim.ethercat.devices.base import Key, OutputListener, SimulatedDevice
from taktora_sim.ethercat.devices.build import PROFILES, build_device, build_segment, device_of, profile_of
from taktora_sim.ethercat.devices.coupler import Coupler
from taktora_sim.ethercat.devices.digital import DigitalInputs, DigitalOutputs
from taktora_sim.ethercat.devices.drive import Cia402Drive
from taktora_sim.ethercat.devices.generic import GenericDevice
from taktora_sim.ethercat.devices.values import NamedEntry, Value

__all__ = [
    "PROFILES",
    "AnalogInputs",
    "AnalogOutputs",
    "Cia402Drive",
    "Coupler",
    "DigitalInputs",
    "DigitalOutputs",
    "GenericDevice",
    "Key",
    "NamedEntry",
    "OutputListener",
    "SimulatedDevice",
    "Value",
    "build_device",
    "build_segment",
    "device_of",
    "profile_of",
]
