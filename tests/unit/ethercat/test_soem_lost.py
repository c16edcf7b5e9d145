"""SubDevices that go away in the middle of a bring-up by the real driver; pysoem is only imitated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taktora.errors import StackError
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.sii_details import SiiDetails
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora.ethercat.soem_station import Station

_PLAN = BusPlan(
    subdevices=(SubDeviceMap(address=0x1000, label="valves", position=0, output_bits=8),), network_interface="eth9"
)


class _WkcError(Exception):
    """As pysoem's."""


class _Slave:
    output, input = b"\0", b""

    def _fprd(self, *_arguments: int) -> bytes:
        raise _WkcError


@pytest.mark.verifies("REQ_0331")
def test_one_that_vanishes_while_the_image_is_laid_out_fails_the_attempt_and_not_the_process() -> None:
    driver: Any = SoemDriver(_PLAN, SoemOptions(mapping="sequential"))
    driver._pysoem = SimpleNamespace(WkcError=_WkcError, ConfigMapError=_WkcError)
    driver._master = SimpleNamespace(config_map=lambda: 1, send_processdata=None, receive_processdata=None)
    driver._stations = (Station(0, _Slave(), _PLAN.subdevices[0], SiiDetails()),)

    with pytest.raises(StackError, match=r"eth9.*stopped answering"):
        driver._map()
