"""One SubDevice as the real MainDevice finds it, and the meaning of what its registers say; it sends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from taktora.ethercat.driver import AlState, SubDeviceState
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap
from taktora.ethercat.sii_details import SiiDetails
from taktora.ethercat.sii_model import MailboxProtocol

__all__ = ["ACKNOWLEDGE", "Station", "earlier_twin", "matches", "subdevice_state"]

ACKNOWLEDGE: Final = 0x10
"""Bit 4: the error in AL status, its acknowledgement in AL control."""


@dataclass(slots=True, eq=False)
class Station:
    """One SubDevice that was found: what it is by the plan, SOEM's handle, and what its SII says of it."""

    position: int
    slave: Any
    sub: SubDeviceMap | None
    sii: SiiDetails

    @property
    def name(self) -> str:
        return str(self.sub) if self.sub is not None else f"the SubDevice at position {self.position}"

    @property
    def has_coe(self) -> bool:
        return MailboxProtocol.COE in self.sii.protocols


def earlier_twin(station: Station, stations: tuple[Station, ...]) -> str:
    """Return the name of an earlier SubDevice whose SII SOEM has taken for that of ``station``; empty if there is none.

    SOEM does not read the SII of a second one of the same vendor, product and revision.
    """
    earlier = stations[: station.position]
    return next((each.name for each in earlier if _identity(each.slave) == _identity(station.slave)), "")


def _identity(slave: Any) -> tuple[int, int, int]:
    return slave.man, slave.id, slave.rev


def matches(expected: ExpectedIdentity, found: ExpectedIdentity) -> bool:
    return (
        (found.vendor_id, found.product_code) == (expected.vendor_id, expected.product_code)
        and expected.revision in (0, found.revision)
        and expected.serial in (0, found.serial)
    )


def subdevice_state(position: int, status: int, code: int) -> SubDeviceState:
    """Return AL status register and AL status code as a state; a state that does not exist counts as no answer."""
    value = status & 0x0F
    state = AlState(value) if value in _STATES else AlState.NONE
    return SubDeviceState(position, state, bool(status & ACKNOWLEDGE), code if status & ACKNOWLEDGE else 0)


_STATES: Final = frozenset(AlState)
