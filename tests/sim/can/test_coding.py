"""What is remembered of frames is what a frame is: no other one's, however many there are."""

from __future__ import annotations

import tracemalloc

import pytest

from taktora.can import CanFrame
from taktora.can.filter import kernel_id
from taktora_sim.can.coding import coded
from taktora_sim.can.timing import arbitration_key, frame_bits

pytestmark = [pytest.mark.verifies("REQ_8200")]


@pytest.mark.parametrize("extended", [False, True], ids=["standard", "extended"])
def test_more_identifiers_and_contents_than_are_remembered_are_told_apart(extended: bool) -> None:
    frames = [CanFrame(can_id, b"\x01", extended) for can_id in range(2048)]
    frames += [CanFrame(5, number.to_bytes(2, "big"), extended) for number in range(1000)]

    for frame in [*frames, *reversed(frames)]:
        rank, rx_id, bits, record = coded(frame)

        assert rank == arbitration_key(frame.can_id, extended)
        assert rx_id == kernel_id(frame)
        assert bits == frame_bits(frame.can_id, frame.data, extended)
        assert record == rx_id.to_bytes(4, "little") + bytes((len(frame.data),)) + frame.data


def test_twins_of_the_two_formats_and_a_remote_frame_are_told_apart() -> None:
    frames = [
        CanFrame(5, b""),
        CanFrame(5, b"", extended=True),
        CanFrame(5, b"", remote=True),
        CanFrame(5, b"", fd=True),
    ]

    assert len({coded(frame)[1] for frame in [*frames, *frames]}) == 4
    assert [coded(frame) for frame in frames] == [coded(frame) for frame in frames]


def test_an_identifier_that_its_format_has_not_is_refused_each_time() -> None:
    assert coded(CanFrame(0x100, b"", extended=True))

    for _ in range(2):
        with pytest.raises(ValueError, match="0x800 is outside"):
            coded(CanFrame(0x800, b""))
        with pytest.raises(ValueError, match="outside"):
            coded(CanFrame(0x8000_0100, b"", extended=True))


def test_a_long_run_of_frames_that_all_differ_keeps_some_megabytes_and_no_more() -> None:
    tracemalloc.start()
    try:
        for number in range(100_000):
            coded(CanFrame(number % 400, number.to_bytes(8, "little"), extended=number % 2 > 0))
        _kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 12_000_000
