"""Bit slices of a process image, against a model that handles one bit at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import PayloadOverflow
from taktora.ethercat.slices import copy_bits, extract_bits, insert_bits, read_number, write_number

_BITS = 128


def _bits(image: bytes | bytearray) -> list[int]:
    return [image[bit >> 3] >> (bit & 7) & 1 for bit in range(8 * len(image))]


@st.composite
def _cases(draw: st.DrawFn, step: int) -> tuple[bytearray, int, int, bytes]:
    """Draw prior content, offset, length and a payload that fills the slice."""
    offset = draw(st.integers(0, _BITS // step)) * step
    length = draw(st.integers(0, (_BITS - offset) // step)) * step
    image = bytearray(draw(st.binary(min_size=_BITS // 8, max_size=_BITS // 8)))
    size = (length + 7) // 8
    return image, offset, length, draw(st.binary(min_size=size, max_size=size + 2))


def _check_write_then_read(case: tuple[bytearray, int, int, bytes]) -> None:
    image, offset, length, payload = case
    before = _bits(image)

    insert_bits(image, offset, length, payload)

    after = _bits(image)
    assert after[offset : offset + length] == _bits(payload)[:length]
    assert after[:offset] + after[offset + length :] == before[:offset] + before[offset + length :]
    read = extract_bits(image, offset, length)
    assert len(read) == (length + 7) // 8
    assert _bits(read) == _bits(payload)[:length] + [0] * (-length % 8)


@pytest.mark.realizes("TEST_0216")
@given(_cases(step=8))
def test_byte_aligned_slices_come_back_and_touch_nothing_else(case: tuple[bytearray, int, int, bytes]) -> None:
    _check_write_then_read(case)


@pytest.mark.realizes("TEST_0217")
@given(_cases(step=1))
def test_unaligned_slices_come_back_and_touch_nothing_else(case: tuple[bytearray, int, int, bytes]) -> None:
    _check_write_then_read(case)


@pytest.mark.realizes("TEST_0218")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["rising", "falling"])
def test_touching_slices_are_independent(order: tuple[int, int]) -> None:
    slices = [(0, 12, bytes.fromhex("bc0a")), (12, 12, bytes.fromhex("2301"))]
    image = bytearray(3)

    for place in order:
        insert_bits(image, *slices[place])

    assert [extract_bits(image, offset, length) for offset, length, _ in slices] == [slices[0][2], slices[1][2]]


@pytest.mark.verifies("REQ_0327")
@given(_cases(step=1))
def test_reading_leaves_the_image_alone(case: tuple[bytearray, int, int, bytes]) -> None:
    image, offset, length, _ = case
    before = bytes(image)

    extract_bits(memoryview(image).toreadonly(), offset, length)

    assert image == before


@pytest.mark.verifies("REQ_0326")
@pytest.mark.parametrize(
    ("offset", "length", "payload", "fields"),
    [
        pytest.param(0, 16, b"\x01", (2, 1), id="payload-aligned"),
        pytest.param(3, 9, b"\x01", (2, 1), id="payload-unaligned"),
        pytest.param(8, 16, b"\x01\x02", (3, 2), id="image-aligned"),
        pytest.param(9, 8, b"\x01", (3, 2), id="image-unaligned"),
    ],
)
def test_too_short_a_payload_or_image_is_refused_and_changes_nothing(
    offset: int, length: int, payload: bytes, fields: tuple[int, int]
) -> None:
    image = bytearray(b"\xa5\x5a")

    with pytest.raises(PayloadOverflow, match=f"slice of {length} bits at bit {offset}") as caught:
        insert_bits(image, offset, length, payload)

    assert (caught.value.actual, caught.value.max) == fields
    assert image == b"\xa5\x5a"


@pytest.mark.verifies("REQ_0327")
@pytest.mark.parametrize(("offset", "length"), [(8, 16), (15, 2)], ids=["aligned", "unaligned"])
def test_a_slice_beyond_the_inputs_is_refused(offset: int, length: int) -> None:
    with pytest.raises(PayloadOverflow, match="the input image, which has 2"):
        extract_bits(b"\0\0", offset, length)


@pytest.mark.verifies("REQ_0326", "REQ_0327")
def test_a_slice_without_bits_is_a_no_op_wherever_it_lies() -> None:
    image = bytearray(b"\xff")

    insert_bits(image, 4000, 0, b"")
    write_number(image, 4001, 0, 7)

    assert image == b"\xff"
    assert extract_bits(image, 4000, 0) == b""
    assert read_number(image, 4001, 0) == 0


@pytest.mark.verifies("REQ_0326")
@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 2**48))
def test_a_number_is_cut_to_the_slice(offset: int, length: int, value: int) -> None:
    image = bytearray(16)

    write_number(image, offset, length, value)

    assert read_number(image, offset, length) == value % (1 << length)
    assert int.from_bytes(image, "little") == value % (1 << length) << offset


@pytest.mark.verifies("REQ_8154")
@given(_cases(step=1), st.integers(0, _BITS))
def test_a_copy_moves_bits_between_any_two_places(case: tuple[bytearray, int, int, bytes], source_bit: int) -> None:
    image, offset, length, _ = case
    source = bytes(range(7, 7 + 2 * _BITS // 8))
    before = _bits(image)

    copy_bits(source, source_bit, image, offset, length)

    expected = before[:offset] + _bits(source)[source_bit : source_bit + length] + before[offset + length :]
    assert _bits(image) == expected
