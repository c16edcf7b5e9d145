"""The simulated CAN bus: nodes, arbitration and frame times in virtual time, faults, replay and recording of logs."""

from __future__ import annotations

from taktora_sim.can.bus import BusFrame, SimulatedCanBus
from taktora_sim.can.logfile import CanLog, CanLogError, LogProblem, LogRecord
from taktora_sim.can.node import CanNode, SimulatedCanInterface
from taktora_sim.can.recording import CanRecording
from taktora_sim.can.replay import CanReplay
from taktora_sim.can.timing import arbitration_key, duration_ns, frame_bits

__all__ = [
    "BusFrame",
    "CanLog",
    "CanLogError",
    "CanNode",
    "CanRecording",
    "CanReplay",
    "LogProblem",
    "LogRecord",
    "SimulatedCanBus",
    "SimulatedCanInterface",
    "arbitration_key",
    "duration_ns",
    "frame_bits",
]
