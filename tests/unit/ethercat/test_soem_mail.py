"""What the real driver makes of the mail that SOEM finds; no network, pysoem is only imitated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taktora.ethercat.driver import Emergency
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.sii_details import SiiDetails
from taktora.ethercat.sii_model import MailboxProtocol
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_station import Station

_PLAN = BusPlan(
    subdevices=tuple(SubDeviceMap(address=0x1000 + n, label=f"axis{n}", position=n) for n in range(2)),
    network_interface="eth9",
)


class _MailboxError(Exception):
    """As pysoem's."""


class _Slave:
    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error

    def mbx_receive(self) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return 1


def _driver(*slaves: _Slave) -> tuple[Any, list[Emergency]]:
    driver: Any = SoemDriver(_PLAN)
    driver._pysoem = SimpleNamespace(MailboxError=_MailboxError, PacketError=_MailboxError, SdoError=_MailboxError)
    sii = SiiDetails(protocols=MailboxProtocol.COE)
    driver._stations = tuple(Station(n, slave, _PLAN.subdevices[n], sii) for n, slave in enumerate(slaves))
    got: list[Emergency] = []
    driver.on_emergency = got.append
    return driver, got


@pytest.mark.verifies("REQ_0331")
def test_an_emergency_is_told_of_who_sent_it_and_not_of_whose_mailbox_was_looked_into() -> None:
    driver, got = _driver(_Slave(), _Slave())
    message = SimpleNamespace(slave_pos=2, error_code=0x5441, error_reg=0x20, b1=1, w1=0x0302, w2=0x0504)

    driver._tell_emergency(message)

    assert got == [Emergency(1, 0x5441, 0x20, b"\1\2\3\4\5")]


@pytest.mark.verifies("REQ_0331")
@pytest.mark.parametrize("error", [_MailboxError("busy"), Exception("unexpected error, Etype: 5")])
def test_mail_that_nobody_waits_for_stops_no_cycle(error: Exception) -> None:
    slave = _Slave(error)
    driver, got = _driver(slave, _Slave())

    driver._poll_mailbox(2)

    assert (slave.asked, got) == (1, [])


@pytest.mark.verifies("REQ_0331")
def test_a_defect_while_looking_for_mail_is_not_swallowed() -> None:
    driver, _ = _driver(_Slave(AssertionError("a defect")), _Slave())

    with pytest.raises(AssertionError):
        driver._poll_mailbox(2)
