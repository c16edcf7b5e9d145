"""The few facts of an SII that the real driver asks for, word by word."""

from __future__ import annotations

import pytest

from taktora.ethercat.network import DeviceSpec, EntrySpec, MailboxSpec, PdoSpec, PdosSpec
from taktora.ethercat.sii import build_sii
from taktora.ethercat.sii_details import SiiDetails, read_sii_details
from taktora.ethercat.sii_model import CoeDetails, GeneralFlags, MailboxProtocol

PDOS = PdosSpec(tx=(PdoSpec(index=0x1A00, entries=(EntrySpec(name="value", type="u16"),)),))


def read(image: bytes) -> SiiDetails:
    return read_sii_details(lambda word: image[2 * word : 2 * word + 4].ljust(4, b"\xff"))


@pytest.mark.verifies("REQ_0315")
def test_a_device_with_assignable_pdos_says_so() -> None:
    details = read(build_sii(DeviceSpec(label="axis", pdos=PDOS, mailbox=MailboxSpec())))

    assert details.protocols == MailboxProtocol.COE
    assert CoeDetails.PDO_ASSIGN in details.coe
    assert details.flags == GeneralFlags(0)


@pytest.mark.verifies("REQ_0315")
def test_a_device_with_fixed_pdos_says_so() -> None:
    details = read(build_sii(DeviceSpec(label="coupler", pdos=PDOS, mailbox=MailboxSpec(pdo_assign=False))))

    assert CoeDetails.PDO_ASSIGN not in details.coe


@pytest.mark.verifies("REQ_0315")
def test_a_device_without_mailbox_speaks_nothing_and_may_forbid_lrw() -> None:
    details = read(build_sii(DeviceSpec(label="inputs", pdos=PDOS, options={"no_lrw": True})))

    assert details.protocols == MailboxProtocol(0)
    assert GeneralFlags.NO_LRW in details.flags


@pytest.mark.verifies("REQ_0315")
@pytest.mark.parametrize("image", [bytes(1024), b"\xff" * 1024], ids=["zeros", "erased"])
def test_an_empty_sii_ends_the_search(image: bytes) -> None:
    assert read(image).coe == CoeDetails(0)
