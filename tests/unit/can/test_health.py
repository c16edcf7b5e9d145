"""Error frames: what each combination of classes comes down to, and what it reads as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.can import (
    CanErrorClass,
    CanErrorFrame,
    CanErrorKind,
    CanIfaceState,
    ControllerOverflow,
    ControllerRestarted,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    NoAcknowledge,
    ReceiveOverflow,
    RestartAwaited,
    SendRefused,
    TransceiverFault,
    TransmitStalled,
    classify,
    error_text,
)
from taktora.can.health import state_after

_DETAILS = st.binary(min_size=8, max_size=8)


def _expected(bits: int, data: bytes) -> CanErrorKind:
    """Say the rule anew, in numbers of ``linux/can/error.h``, gravest first."""
    controller = data[1] if bits & 0x004 else 0
    rules = (
        (bits & 0x040, CanErrorKind.BUS_OFF),
        (bits & 0x100, CanErrorKind.RESTARTED),
        (controller & 0x30, CanErrorKind.PASSIVE),
        (controller & 0x0C, CanErrorKind.WARNING),
        (bits & 0x020 or (bits & 0x008 and data[3] == 0x19), CanErrorKind.NO_ACKNOWLEDGE),
        (bits & 0x010 and data[4], CanErrorKind.TRANSCEIVER),
        (controller & 0x01, CanErrorKind.OVERFLOW),
        (controller & 0x40, CanErrorKind.ACTIVE),
        (True, CanErrorKind.OTHER),
    )
    return next(kind for holds, kind in rules if holds)


@pytest.mark.verifies("REQ_0631", "REQ_0632")
@given(_DETAILS)
def test_the_gravest_of_all_combined_classes_counts(data: bytes) -> None:
    for bits in range(1 << 10):
        frame = CanErrorFrame(CanErrorClass(bits), data)

        assert classify(frame) is _expected(bits, data), hex(bits)


@pytest.mark.verifies("REQ_0631", "REQ_0632")
def test_every_bit_of_the_controllers_detail_is_looked_at() -> None:
    for detail in range(256):
        data = bytes((0, detail, 0, 0, 0, 0, 0, 0))

        assert classify(CanErrorFrame(CanErrorClass.CONTROLLER, data)) is _expected(0x004, data), hex(detail)


@pytest.mark.verifies("REQ_0631")
def test_an_error_frame_without_data_is_no_trouble() -> None:
    assert classify(CanErrorFrame(CanErrorClass.CONTROLLER, b"")) is CanErrorKind.OTHER


@pytest.mark.verifies("REQ_0631")
@pytest.mark.parametrize(
    ("classes", "data", "text"),
    [
        pytest.param(0x040, "0000000000000000", "bus-off", id="bus-off"),
        pytest.param(
            0x0C8 | 0x200,
            "000082000000f87f",
            "bus-off; form error while sending; bus error; 248 transmit errors, 127 receive errors",
            id="bus-off with the violation and the counters",
        ),
        pytest.param(0x008, "0000940a00000000", "stuff error recessive bit not sent while sending in data", id="bits"),
        pytest.param(0x008, "0000000300000000", "protocol violation in start of frame", id="place only"),
        pytest.param(0x008, "0000017f00000000", "bit error in place 0x7f", id="unknown place"),
        pytest.param(0x004, "0030000000000000", "error-passive by receive errors, error-passive by transmit errors",
                     id="passive"),
        pytest.param(0x004, "0040000000000000", "error-active again", id="active"),
        pytest.param(0x004, "0000000000000000", "controller trouble of no named kind", id="controller"),
        pytest.param(0x020, "0000000000000000", "no acknowledge", id="acknowledge"),
        pytest.param(0x002, "0b00000000000000", "arbitration lost at bit 11", id="arbitration at"),
        pytest.param(0x002, "0000000000000000", "arbitration lost", id="arbitration"),
        pytest.param(0x010, "0000000074000000", "transceiver: CANH not connected, CANL short to ground", id="wires"),
        pytest.param(0x010, "0000000080000000", "transceiver: CANL and CANH short", id="both wires"),
        pytest.param(0x010, "0000000000000000", "transceiver: trouble of no named kind", id="transceiver"),
        pytest.param(0x101, "0000000000000000", "controller restarted; transmission timed out", id="restarted"),
        pytest.param(0x000, "0000000000000000", "error frame without content", id="nothing"),
    ],
)  # fmt: skip
def test_an_error_frame_in_words(classes: int, data: str, text: str) -> None:
    assert error_text(CanErrorFrame(CanErrorClass(classes), bytes.fromhex(data))) == text


@pytest.mark.verifies("REQ_0631")
@given(st.integers(0, (1 << 10) - 1), st.binary(max_size=8))
def test_every_error_frame_has_words(bits: int, data: bytes) -> None:
    assert error_text(CanErrorFrame(CanErrorClass(bits), data))


_REASONS = [
    IfaceDown("can1"),
    ErrorPassive("can1"),
    ErrorWarning("can1"),
    NoAcknowledge("can1"),
    TransceiverFault("can1"),
    RestartAwaited("can1"),
    ControllerRestarted("can1"),
    ControllerOverflow("can1", 2),
    ReceiveOverflow("can1", 7),
    SendRefused("can1", "EINVAL"),
    TransmitStalled("can1"),
]


@pytest.mark.verifies("REQ_0630")
def test_a_cause_that_names_the_interface_is_not_put_behind_its_name_once_more() -> None:
    cause = "CAN interface 'can1': this kernel has no CAN (AF_CAN)"

    assert str(IfaceDown("can1", cause)) == cause
    assert str(IfaceDown("can1", "CAN interface 'can12': gone")) == "can1 is down: CAN interface 'can12': gone"


@pytest.mark.verifies("REQ_0630")
@pytest.mark.parametrize("reason", _REASONS, ids=lambda reason: type(reason).__name__)
def test_a_reason_names_its_interface_in_its_text(reason: object) -> None:
    assert str(reason).startswith("can1")
    assert hash(reason) == hash(reason)


@pytest.mark.verifies("REQ_0630", "REQ_0632")
def test_what_the_error_frame_said_is_shown_and_makes_no_other_reason() -> None:
    passive = ErrorPassive("can0", "130 transmit errors, 0 receive errors")

    assert passive == ErrorPassive(iface="can0")
    assert str(passive) == (
        "can0 is error-passive; check wiring, termination and bit rate (130 transmit errors, 0 receive errors)"
    )


@pytest.mark.verifies("REQ_0633")
@pytest.mark.parametrize(
    ("before", "classes", "after"),
    [
        (CanIfaceState.ACTIVE, CanErrorClass.BUS_OFF | CanErrorClass.CONTROLLER, CanIfaceState.BUS_OFF),
        (CanIfaceState.ACTIVE, CanErrorClass.CONTROLLER, CanIfaceState.ACTIVE),
        (CanIfaceState.BUS_OFF, CanErrorClass.RESTARTED, CanIfaceState.ACTIVE),
        (CanIfaceState.BUS_OFF, CanErrorClass.CONTROLLER, CanIfaceState.BUS_OFF),
        (CanIfaceState.DOWN, CanErrorClass.BUS_OFF, CanIfaceState.DOWN),
        (CanIfaceState.CLOSED, CanErrorClass.RESTARTED, CanIfaceState.CLOSED),
    ],
)
def test_an_open_interface_goes_bus_off_and_back_with_its_error_frames(
    before: CanIfaceState, classes: CanErrorClass, after: CanIfaceState
) -> None:
    assert state_after(before, classes) is after
