"""Mail and CoE on the wire, byte by byte, and the MainDevice's dialogues against scripted answers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import StackError
from taktora.ethercat.coe import (
    ABORT_TEXTS,
    Abort,
    CoeService,
    Mail,
    MailboxProtocolError,
    MailboxType,
    SdoAbort,
    abort_text,
    coe_frame,
    decode_coe,
    decode_mail,
    emergency_frame,
    encode_mail,
    error_mail,
    info_error,
    info_frame,
    next_counter,
    sdo_abort,
    sdo_frame,
)
from taktora.ethercat.sdo import Dialogue, describe_entry, describe_object, download, list_objects, upload

pytestmark = pytest.mark.verifies("REQ_8104")

_MAILS = st.builds(
    Mail, st.integers(0, 15), st.binary(max_size=50), st.integers(0, 7), st.integers(0, 0xFFFF), st.integers(0, 3)
)


def _run(dialogue: Dialogue[Any], answers: Sequence[bytes]) -> tuple[list[bytes | None], Any]:
    """Answer each mail in turn; return what was sent, and the result."""
    sent: list[bytes | None] = [next(dialogue)]
    for answer in answers:
        try:
            sent.append(dialogue.send(answer))
        except StopIteration as end:
            return sent, end.value
    raise AssertionError(f"the dialogue goes on after {len(answers)} answers")


def _response(command: int, index: int, subindex: int, data: bytes) -> bytes:
    return bytes((0, 0x30, command)) + struct.pack("<HB", index, subindex) + data


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_MAILS, st.binary(max_size=20))
def test_a_mail_comes_out_of_its_mailbox_without_the_padding(mail: Mail, padding: bytes) -> None:
    assert decode_mail(encode_mail(mail) + padding) == mail


def test_the_header_is_as_in_the_standard() -> None:
    assert encode_mail(Mail(MailboxType.COE, b"\x00\x20", counter=3)) == bytes.fromhex("0200 0000 00 33 0020")


def test_counters_run_from_one_to_seven() -> None:
    counters = [0]
    for _ in range(9):
        counters.append(next_counter(counters[-1]))

    assert counters == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]


@pytest.mark.parametrize(
    "data", [b"\x01\x00\x00", bytes.fromhex("0900 0000 00 13 0020")], ids=["no header", "length beyond the mailbox"]
)
def test_mail_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MailboxProtocolError):
        decode_mail(data)


def test_an_abort_travels_as_a_request() -> None:
    frame = sdo_abort(0x1C12, 1, Abort.STATE)

    assert frame == bytes.fromhex("0020 80 121C 01 22000008")
    assert decode_coe(frame)[0] == CoeService.SDO_REQUEST


def test_an_error_mail_names_its_detail() -> None:
    assert error_mail(2) == bytes.fromhex("0100 0200")


def test_an_emergency_is_eight_bytes_of_service_one() -> None:
    assert emergency_frame(0x8130, 0x11, b"\x01\x02") == bytes.fromhex("0010 3081 11 0102000000")


def test_a_short_coe_frame_is_refused() -> None:
    with pytest.raises(MailboxProtocolError, match="1 bytes"):
        decode_coe(b"\0")


def test_every_abort_code_has_a_text() -> None:
    assert set(ABORT_TEXTS) == set(Abort)
    assert abort_text(0x0601_0002) == "0x06010002 (object is read-only)"
    assert abort_text(0x1234_5678) == "0x12345678 (code of the manufacturer)"


@pytest.mark.parametrize(
    ("command", "data", "expected"),
    [
        (0x4F, b"\x2a\0\0\0", b"\x2a"),
        (0x4B, b"\x01\x02\0\0", b"\x01\x02"),
        (0x43, b"\x01\x02\x03\x04", b"\x01\x02\x03\x04"),
    ],
    ids=["1 byte", "2 bytes", "4 bytes"],
)
def test_an_expedited_upload(command: int, data: bytes, expected: bytes) -> None:
    sent, value = _run(upload(0x6041, 2), [_response(command, 0x6041, 2, data)])

    assert value == expected
    assert sent == [bytes.fromhex("0020 40 4160 02 00000000")]


def test_a_normal_upload_takes_what_the_answer_announces() -> None:
    answer = _response(0x41, 0x1008, 0, struct.pack("<I", 6) + b"DRIVE1" + b"padding")

    assert _run(upload(0x1008, 0), [answer])[1] == b"DRIVE1"


def test_a_segmented_upload_alternates_the_toggle_bit() -> None:
    answers = [
        _response(0x41, 0x1008, 0, struct.pack("<I", 20) + b"0123"),
        bytes((0, 0x30, 0x00)) + b"456789ABCDE",
        bytes((0, 0x30, 0x10 | 2 << 1 | 1)) + b"FGHIJ\0\0",
    ]

    sent, value = _run(upload(0x1008, 0, complete=True), answers)

    assert value == b"0123456789ABCDEFGHIJ"
    assert [frame[2] for frame in sent if frame] == [0x50, 0x60, 0x70]


@pytest.mark.parametrize(
    ("size", "mailbox_bytes", "commands", "parts"),
    [
        (1, 128, [0x2F], [1]),
        (4, 128, [0x23], [4]),
        (5, 128, [0x21], [5]),
        (112, 128, [0x21], [112]),
        (113, 128, [0x21, 0x01 | 6 << 1], [112, 1]),
        (40, 32, [0x21, 0x00, 0x11 | 6 << 1], [16, 23, 1]),
    ],
    ids=["expedited 1", "expedited 4", "normal", "full mailbox", "one segment", "two segments"],
)
def test_a_download_takes_the_smallest_form(
    size: int, mailbox_bytes: int, commands: list[int], parts: list[int]
) -> None:
    data = bytes(range(size))
    answers = [_response(0x60, 0x8000, 1, bytes(4))]
    answers += [bytes((0, 0x30, 0x20 | number % 2 << 4)) + bytes(7) for number in range(len(commands) - 1)]

    sent, _ = _run(download(0x8000, 1, data, mailbox_bytes), answers)

    frames = [frame for frame in sent if frame]
    assert [frame[2] for frame in frames] == commands
    bodies = [frames[0][6:] if size <= 4 else frames[0][10:], *(frame[3:] for frame in frames[1:])]
    assert b"".join(body[:length] for body, length in zip(bodies, parts, strict=True)) == data
    assert all(len(frame) + 6 <= mailbox_bytes for frame in frames)


def test_an_abort_names_object_and_reason() -> None:
    with pytest.raises(SdoAbort, match=r"0x1C12:00 was aborted with 0x08000022 \(not possible") as refusal:
        _run(download(0x1C12, 0, b"\0", 128), [sdo_abort(0x1C12, 0, Abort.STATE)])

    assert isinstance(refusal.value, StackError)
    assert refusal.value.code == Abort.STATE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_response(0x4F, 0x6042, 0, bytes(4)), "answered by one about 0x6042:00"),
        (_response(0x60, 0x6041, 0, bytes(4)), "answered by command 0x60"),
        (bytes((0, 0x80)) + bytes(8), "CoE service 8"),
        (bytes((0, 0x30, 0x4F)), "answered by 1 bytes"),
    ],
    ids=["another object", "another command", "another service", "too short"],
)
def test_an_answer_that_does_not_fit_is_refused(answer: bytes, expected: str) -> None:
    with pytest.raises(MailboxProtocolError, match=expected):
        _run(upload(0x6041, 0), [answer])


def test_a_wrong_toggle_bit_is_refused() -> None:
    answers = [_response(0x41, 0x1008, 0, struct.pack("<I", 9)), bytes((0, 0x30, 0x10)) + bytes(9)]

    with pytest.raises(MailboxProtocolError, match="toggle"):
        _run(upload(0x1008, 0), answers)


def test_an_upload_that_ends_early_is_refused() -> None:
    answers = [_response(0x41, 0x1008, 0, struct.pack("<I", 9)), bytes((0, 0x30, 0x01)) + bytes(7)]

    with pytest.raises(MailboxProtocolError, match="gave 7 bytes, 9 announced"):
        _run(upload(0x1008, 0), answers)


def test_a_list_of_objects_is_put_together_from_its_fragments() -> None:
    answers = [info_frame(2, struct.pack("<HHH", 1, 0x1000, 0x1018), 1), info_frame(2, struct.pack("<H", 0x1C12))]

    sent, indices = _run(list_objects(), answers)

    assert indices == (0x1000, 0x1018, 0x1C12)
    assert sent == [bytes.fromhex("0080 01 00 0000 0100"), None]
    assert decode_coe(answers[0])[1][:4] == b"\x82\x00\x01\x00"


def test_descriptions_of_object_and_entry() -> None:
    described = info_frame(4, struct.pack("<HHBB", 0x1018, 0x23, 4, 9) + b"Identity")
    entry = info_frame(6, struct.pack("<HBBHHH", 0x1018, 1, 0, 7, 32, 7) + b"Vendor id")

    assert _run(describe_object(0x1018), [described])[1] == (0x1018, 0x23, 4, 9, "Identity")
    assert _run(describe_entry(0x1018, 1), [entry])[1] == (0x1018, 1, 7, 32, 7, "Vendor id")


@pytest.mark.parametrize(
    "answer", [info_error(Abort.NO_OBJECT), sdo_abort(0x2000, 0, Abort.NO_OBJECT)], ids=["information", "abort"]
)
def test_a_refused_description_is_an_abort(answer: bytes) -> None:
    with pytest.raises(SdoAbort, match="object does not exist"):
        _run(describe_object(0x2000), [answer])


@pytest.mark.parametrize(
    "answer",
    [coe_frame(CoeService.SDO_RESPONSE, bytes(8)), info_frame(6, bytes(12)), info_frame(4, b"\0\0")],
    ids=["service", "opcode", "length"],
)
def test_information_that_does_not_fit_is_refused(answer: bytes) -> None:
    with pytest.raises(MailboxProtocolError):
        _run(describe_object(0x1018), [answer])


def test_an_sdo_frame_has_at_least_the_eight_bytes_of_can() -> None:
    assert len(sdo_frame(CoeService.SDO_RESPONSE, 0x60, 0x6040, 0)) == 10
