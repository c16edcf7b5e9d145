"""One simulated SubDevice: an ESC with the device behind it, and what can go wrong with it; it knows no frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, IdentitySpec
from taktora_sim.ethercat.application import Application

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["SubDevice"]


class SubDevice:
    """A SubDevice of a simulated segment.

    Args:
        world: Time, timers, faults and trace.
        path: ``ethercat/<bus>/<label>``.
        spec: What it is; ``options`` of the ESC are listed in :mod:`taktora_sim.ethercat.esc`.
        application: What stands behind the ESC.
        sii: EEPROM image.
    """

    def __init__(self, world: World, path: str, spec: DeviceSpec, application: Application, sii: bytes) -> None:
        self.world = world
        self.path = path
        self.spec = spec
        self.application = application
        self.sii = bytearray(sii)
        self.state = AlState.INIT
        self.identity = spec.identity or IdentitySpec(vendor_id=0, product_code=0)
        application.attach(self)

    def send_mail(self, data: bytes) -> bool:
        """Queue mail for SyncManager 1."""
        return len(data) == 0

    def retreat(self, state: AlState, code: int) -> None:
        """Fall back to ``state`` with an error."""
        self.state = state if code else self.state
