"""The dialogues of a scan against the mailboxes of simulated devices: nothing that a device has is missed."""

from __future__ import annotations

import pytest

from taktora.ethercat.dictionary import ObjectDictionary
from taktora.ethercat.network import DeviceSpec, MailboxSpec
from taktora.ethercat.scan_objects import read_dictionary
from taktora.ethercat.sii import CoeDetails
from taktora_sim.ethercat.devices import build_device
from taktora_sim.ethercat.devices.terminals import analog_inputs, generic

from .support import BareEsc, Client


def read(spec: DeviceSpec, coe: CoeDetails) -> tuple[ObjectDictionary, ObjectDictionary]:
    """Return what was read, and what the device has."""
    device = build_device(spec)
    client = Client(BareEsc(spec, device))
    return read_dictionary(client.run, coe), device.dictionary


@pytest.mark.verifies("REQ_8153")
@pytest.mark.parametrize(
    "spec", [analog_inputs("ai", 4), generic("box", 40, 60)], ids=["gaps of subindices", "many fragments"]
)
def test_with_sdo_information_every_object_is_read(spec: DeviceSpec) -> None:
    found, has = read(spec, CoeDetails.SDO | CoeDetails.SDO_INFO)

    assert found == has
    assert len(found.objects) > 8


@pytest.mark.verifies("REQ_8153")
def test_without_it_the_objects_of_the_standard_are_read() -> None:
    spec = generic("box", 3, 2, mailbox=MailboxSpec(sdo_info=False))

    found, has = read(spec, CoeDetails.SDO | CoeDetails.PDO_ASSIGN)

    listed = [0x1000, 0x1008, 0x1009, 0x100A, 0x1018, 0x1600, 0x1A00, 0x1C00, 0x1C12, 0x1C13]
    assert [each.index for each in found] == listed
    for index in listed:
        used = range(has.objects[index].count + 1)
        assert [found.entry(index, sub).value for sub in used] == [has.entry(index, sub).value for sub in used]
    assert found.entry(0x1C12, 0).is_writable
    assert not found.entry(0x1018, 1).is_writable
