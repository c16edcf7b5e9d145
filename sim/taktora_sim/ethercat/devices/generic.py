"""A device that is known by its description only: it remembers outputs, and its inputs can be set.

Modelled: process data by name or channel, object dictionary with all objects of the description (or of the file that
a scan has written), mailbox. Simplified: no behaviour; with option ``loopback`` its inputs repeat the bits of its
outputs, as far as they reach.
"""

from __future__ import annotations

from typing import ClassVar

from taktora.ethercat.dictionary import ObjectDictionary
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.ethercat.devices.options import flag

__all__ = ["GenericDevice"]


# req: REQ_8108
class GenericDevice(SimulatedDevice):
    """A device from the machine file; see the module for what is modelled."""

    profile: ClassVar[str] = "generic"
    option_names: ClassVar[frozenset[str]] = SimulatedDevice.option_names | {"loopback"}

    def __init__(self, spec: DeviceSpec, dictionary: ObjectDictionary | None = None) -> None:
        super().__init__(spec, dictionary)
        self._loops = flag(spec, "loopback")

    def outputs(self, data: memoryview) -> None:
        # What the base does, in place: this comes with every frame.
        changed = self.output_data.take(data.tobytes())
        if changed and (self._draws or self._listeners or self._acts):
            self._tell_of(changed)
        if self._loops:
            self.input_data.take(self.output_data.image)

    def safe_outputs(self, reason: str) -> None:
        super().safe_outputs(reason)
        if self._loops:
            self._loop_back()

    def _loop_back(self) -> None:
        self.input_data.take(self.output_data.image)
