"""The deterministic world of taktora: virtual time, seeded randomness, faults as data, simulated buses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan, Param
    from taktora_sim.streams import Stream
    from taktora_sim.trace import Trace, TraceRecord, read_trace
    from taktora_sim.world import World, WorldAborted

__all__ = [
    "FaultEntry",
    "FaultKind",
    "FaultPlan",
    "Param",
    "Stream",
    "Trace",
    "TraceRecord",
    "World",
    "WorldAborted",
    "read_trace",
]

_HOMES = {
    "FaultEntry": "faults",
    "FaultKind": "faults",
    "FaultPlan": "faults",
    "Param": "faults",
    "Stream": "streams",
    "Trace": "trace",
    "TraceRecord": "trace",
    "World": "world",
    "WorldAborted": "world",
    "read_trace": "trace",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: the pytest plugin of this package must load where simpy is absent."""
    if name not in _HOMES:
        msg = f"module 'taktora_sim' has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        return getattr(import_module(f"taktora_sim.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "simpy":
            raise
        msg = "the simulated world needs simpy; pip install 'taktora[sim]'"
        raise ModuleNotFoundError(msg, name="simpy") from error
