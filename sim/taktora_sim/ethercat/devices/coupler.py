"""A bus coupler: the head of a row of terminals; it has no process data.

Modelled: identity, SII, AL states. Simplified: no supply, no diagnosis of the row behind it, no switches (a station
alias is that of the machine file).
"""

from __future__ import annotations

from typing import ClassVar

from taktora_sim.ethercat.devices.base import SimulatedDevice

__all__ = ["Coupler"]


# req: REQ_8108
class Coupler(SimulatedDevice):
    """A coupler; see the module for what is modelled."""

    profile: ClassVar[str] = "coupler"
