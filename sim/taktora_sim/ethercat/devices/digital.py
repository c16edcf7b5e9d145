"""Digital input and output terminals; channels are the named entries of one bit, in order.

Modelled: channels as bits (several terminals can share a logical byte: FMMUs copy bits), outputs off when the
SyncManager watchdog expires, OP is left or power is lost (option ``hold_outputs``: they stay). Simplified: no input
filter time, no switching time, no load, short circuit or missing supply (force an input by the fault ``force-input``,
hold outputs by ``stick-outputs``).
"""

from __future__ import annotations

from typing import ClassVar

from taktora_sim.ethercat.devices.base import SimulatedDevice

__all__ = ["DigitalInputs", "DigitalOutputs"]


# req: REQ_8108
class DigitalInputs(SimulatedDevice):
    """Digital inputs: ``device.set(1, True)`` is what the sensor at channel 1 says."""

    profile: ClassVar[str] = "digital-inputs"


# req: REQ_8108
class DigitalOutputs(SimulatedDevice):
    """Digital outputs: ``device.output(2)`` is what channel 2 drives, ``device.on_output(f, 2)`` tells of changes."""

    profile: ClassVar[str] = "digital-outputs"

    @property
    def states(self) -> tuple[bool, ...]:
        """All channels in order."""
        return tuple(bool(self.output(name)) for name in self.outputs_by_name)
