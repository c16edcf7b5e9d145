"""The texts of failed bring-ups: thing, found, expected, place and way out."""

from __future__ import annotations

import pytest

from taktora.errors import StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.driver import AlState, SubDeviceState
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap

COUPLER = SubDeviceMap(address=0x1000, label="coupler", identity=ExpectedIdentity(2, 0x044C2C52))
VALVE = SubDeviceMap(
    address=0x1001, label="valve", identity=ExpectedIdentity(2, 0x07D43052, 0x00100000), station_alias=7
)
AXIS = SubDeviceMap(address=0x1002, label="axis", identity=ExpectedIdentity(2, 0x1B873052, serial=44))
BUS = (COUPLER, VALVE, AXIS)
PLACE = "interface 'eth1'"

GOLDEN = [
    (
        text.no_answer(PLACE),
        "interface 'eth1': no SubDevice answers; expected at least one: check power, cable and that it is IN",
    ),
    (
        text.wrong_count(PLACE, BUS, 1),
        (
            "interface 'eth1': 1 SubDevices answer, expected 3; nobody at 'valve', 'axis'; check power and cables "
            "behind the last one, or correct the machine file"
        ),
    ),
    (
        text.wrong_identity(1, VALVE, ExpectedIdentity(2, 0x1B873052, 0x00170000), BUS),
        (
            "position 1 ('valve'): found vendor 0x00000002, product 0x1B873052, revision 0x00170000, expected "
            "vendor 0x00000002, product 0x07D43052, revision 0x00100000; it looks like 'axis': check the order of "
            "the devices"
        ),
    ),
    (
        text.wrong_identity(2, AXIS, ExpectedIdentity(0x21, 0x7500354, serial=3), BUS),
        (
            "position 2 ('axis'): found vendor 0x00000021, product 0x07500354, serial 3, expected vendor 0x00000002, "
            "product 0x1B873052, serial 44; put the right device there, or correct the machine file"
        ),
    ),
    (
        text.wrong_alias(1, VALVE, 0),
        (
            "position 1 ('valve'): found station alias 0, expected 7; check the order of the devices, the DIP switch, "
            "or correct station_alias"
        ),
    ),
    (
        text.wrong_size(2, AXIS, "inputs", 12, 24),
        "position 2 ('axis'): the device maps 12 bytes of inputs, expected 24; correct its pdos in the machine file",
    ),
    (
        text.wrong_size(2, AXIS, "inputs", 12, 24, "'valve' (0x1001)"),
        (
            "position 2 ('axis'): the device maps 12 bytes of inputs, expected 24; correct its pdos in the machine "
            "file; if they are right: SOEM reads no SII of a device with vendor, product and revision of an earlier "
            "one, here 'valve' (0x1001); devices of one identity must have the same PDOs: on the rig give each kind a "
            "revision of its own"
        ),
    ),
    (
        text.sdo_failed("'axis' (0x1002)", "write", 0x8010, 1, 0x06090030),
        (
            "SDO write of 0x8010:01 of 'axis' (0x1002): abort 0x06090030 (value out of range); check index, type and "
            "value, and in which state the device takes it"
        ),
    ),
    (
        text.state_not_reached(
            AlState.SAFE_OP,
            [
                (AXIS, SubDeviceState(2, AlState.PRE_OP, True, 0x001E), "Invalid input configuration"),
                (None, SubDeviceState(3, AlState.NONE), ""),
            ],
            10.0,
        ),
        (
            "SAFE-OP not reached within 10 s: position 2 ('axis') is in PRE-OP with AL status 0x001E (Invalid input "
            "configuration); position 3 (not in the machine file) does not answer; the AL status code names the cause"
        ),
    ),
    (
        text.no_distributed_clock(PLACE),
        "interface 'eth1': distributed_clocks is on and no SubDevice has a DC unit; switch it off",
    ),
    (
        text.no_frame(PLACE, 20_000),
        "interface 'eth1': no frame came back within 20 ms; check cable and power of the first",
    ),
]


@pytest.mark.verifies("REQ_8510", "REQ_0838")
@pytest.mark.parametrize(("error", "expected"), GOLDEN, ids=[str(number) for number in range(len(GOLDEN))])
def test_the_text_says_what_was_found_and_what_to_do(error: StackError, expected: str) -> None:
    assert str(error) == expected


@pytest.mark.verifies("REQ_8510")
def test_many_subdevices_are_not_listed_one_by_one() -> None:
    wanting = [(AXIS, SubDeviceState(place, AlState.SAFE_OP), "") for place in range(5)]

    assert "and 2 more" in str(text.state_not_reached(AlState.OP, wanting, 10))
