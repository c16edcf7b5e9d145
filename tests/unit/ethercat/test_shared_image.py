"""The process image between two processes: what is staged arrives whole, renewals are never lost, records in order."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from taktora.ethercat.image import CycleRecord, ImageLayout
from taktora.ethercat.shared_image import SharedImage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: memfd is there on Linux only")

LAYOUT = ImageLayout([(0x1000, "coupler", 0, 0), (0x1001, "valve", 12, 0), (0x1002, "axis", 64, 96)])


@pytest.fixture
def sides() -> Iterator[tuple[SharedImage, SharedImage]]:
    writer = SharedImage(LAYOUT, records=8)
    reader = SharedImage(LAYOUT, os.dup(writer.fd), records=8)
    yield writer, reader
    reader.close()
    writer.close()


def collect(image: SharedImage) -> tuple[bytes, bytes]:
    outputs, renewed = bytearray(b"\xee" * LAYOUT.output_bytes), bytearray(b"\xee" * 3)
    image.outputs.collect(outputs, renewed)
    return bytes(outputs), bytes(renewed)


def record(index: int, **other: object) -> CycleRecord:
    values = {
        "cycle_index": index,
        "at_ns": 10**12 + index,
        "inputs": bytes([index & 0xFF]) * LAYOUT.input_bytes,
        "validity": b"\x01\x02\x00",
        "wire_round_ns": 81_000,
        "phase_wait_ns": 900_000,
        "wc_ok": True,
    }
    return CycleRecord(**(values | other))  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_8150")
def test_nothing_staged_leaves_the_image_alone_and_marks_nobody(sides: tuple[SharedImage, SharedImage]) -> None:
    assert collect(sides[1]) == (b"\xee" * LAYOUT.output_bytes, bytes(3))


@pytest.mark.verifies("REQ_8150")
def test_the_last_image_wins_and_renewals_of_those_before_it_count(sides: tuple[SharedImage, SharedImage]) -> None:
    parent, child = sides
    parent.outputs.stage(b"\x01" * LAYOUT.output_bytes, b"\0\1\0")
    parent.outputs.stage(b"\x02" * LAYOUT.output_bytes, b"\0\0\1")

    assert collect(child) == (b"\x02" * LAYOUT.output_bytes, b"\0\1\1")


@pytest.mark.verifies("REQ_8150")
def test_a_renewal_counts_once(sides: tuple[SharedImage, SharedImage]) -> None:
    parent, child = sides
    parent.outputs.stage(bytes(LAYOUT.output_bytes), b"\1\1\1")
    collect(child)
    parent.outputs.stage(b"\x07" * LAYOUT.output_bytes, bytes(3))

    assert collect(child) == (b"\x07" * LAYOUT.output_bytes, bytes(3))
    assert collect(child)[1] == bytes(3)


@pytest.mark.verifies("REQ_0265", "REQ_0267")
def test_records_arrive_whole_and_in_order(sides: tuple[SharedImage, SharedImage]) -> None:
    parent, child = sides
    sent = [record(0), record(1, wire_round_ns=None, wc_ok=False), record(2, phase_wait_ns=None)]
    numbers = [child.records.put(each) for each in sent]

    assert parent.records.take(numbers[1]) == sent[:2]
    assert parent.records.take(numbers[2]) == sent[2:]
    assert parent.records.take(numbers[2]) == []


@pytest.mark.verifies("REQ_0265")
def test_a_reader_that_is_too_far_behind_gets_the_latest_records(sides: tuple[SharedImage, SharedImage]) -> None:
    parent, child = sides
    last = [child.records.put(record(index)) for index in range(30)][-1]

    taken = parent.records.take(last)

    assert [each.cycle_index for each in taken] == list(range(30 - len(taken), 30))
    assert 0 < len(taken) < 8


@pytest.mark.verifies("REQ_8151")
def test_no_image_is_ever_torn(sides: tuple[SharedImage, SharedImage]) -> None:
    parent, child = sides
    stop = threading.Event()

    def stage() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) & 0xFF
            parent.outputs.stage(bytes([number]) * LAYOUT.output_bytes, b"\0\1\0")

    writer = threading.Thread(target=stage, daemon=True)
    writer.start()
    try:
        images = [collect(child)[0] for _ in range(3000)]
    finally:
        stop.set()
        writer.join(10)

    assert all(len(set(image)) == 1 for image in images)
    assert len(set(images)) > 1
