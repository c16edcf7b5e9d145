"""The simulated CAN bus: nodes, arbitration, frame times, errors and faults in virtual time; logs of it."""

from __future__ import annotations

from taktora_sim.can.bus import BusFrame, SimulatedCanBus
from taktora_sim.can.controller import Controller, ControllerState
from taktora_sim.can.errors import Attempt, BusError, FrameLoss, WireError, WireErrorKind
from taktora_sim.can.logfile import CanLog, CanLogError, LogProblem, LogRecord
from taktora_sim.can.node import CanNode
from taktora_sim.can.recording import CanRecording
from taktora_sim.can.replay import CanReplay
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
    "Controller",
    "ControllerState",
    "FrameLoss",
    "LogProblem",
    "LogRecord",
    "SimulatedCanBus",
    "SimulatedCanInterface",
    "WireError",
    "WireErrorKind",
    "arbitration_key",
    "duration_ns",
    "frame_bits",
]
