"""The simulated CAN bus: nodes, arbitration, frame times, errors and faults in virtual time; logs, rest-bus."""

from __future__ import annotations

from taktora_sim.can.bus import BusFrame, SimulatedCanBus
from taktora_sim.can.controller import Controller, ControllerState
from taktora_sim.can.errors import Attempt, BusError, FrameLoss, WireError, WireErrorKind
from taktora_sim.can.logs.logfile import CanLog, CanLogError, LogProblem, LogRecord
from taktora_sim.can.logs.recording import CanRecording
from taktora_sim.can.logs.replay import CanReplay
from taktora_sim.can.logs.socketlog import CanSocketRecording
from taktora_sim.can.node import CanNode
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.disturbances import Freeze, Offset, RandomValue, WrongValue
from taktora_sim.can.restbus.generators import Checksum, Constant, Counter, Ramp, Sine, Table
from taktora_sim.can.restbus.settings import restbus_from_settings
from taktora_sim.can.socket import SimulatedCanInterface
from taktora_sim.can.timing import arbitration_key, duration_ns, frame_bits

__all__ = [
    "Attempt",
    "BusError",
    "BusFrame",
    "CanLog",
    "CanLogError",
    "CanNode",
    "CanRecording",
    "CanReplay",
    "CanSocketRecording",
    "Checksum",
    "Constant",
    "Controller",
    "ControllerState",
    "Counter",
    "FrameLoss",
    "Freeze",
    "LogProblem",
    "LogRecord",
    "Offset",
    "Ramp",
    "RandomValue",
    "RestBus",
    "SimulatedCanBus",
    "SimulatedCanInterface",
    "Sine",
    "Table",
    "WireError",
    "WireErrorKind",
    "WrongValue",
    "arbitration_key",
    "duration_ns",
    "frame_bits",
    "restbus_from_settings",
]
