"""Frames on the simulated bus last as long as their bits, summed by the tests' own reference; so does the bus load."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import partial
from math import floor

import pytest

from taktora.can import CanFrame
from taktora_sim.can import BusFrame, SimulatedCanBus
from taktora_sim.world import World
from tests.sim.can.support import MS, S, socket
from tests.sim.can.wire_reference import random_frame, reference


def _bus(bitrate: int, data_bitrate: int) -> tuple[SimulatedCanBus, list[BusFrame]]:
    segment = SimulatedCanBus(
        World(1), "vehicle", bitrate, data_bitrate=data_bitrate, acknowledge=True, load_window_ns=60 * S
    )
    completed: list[BusFrame] = []
    segment.observe(completed.append)
    return segment, completed


def _rounded(exact: Fraction) -> int:
    return floor(exact + Fraction(1, 2))


def _plain(frame: CanFrame) -> CanFrame:
    return frame._replace(timestamp_ns=0)


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("count", "bitrate", "data_bitrate"),
    [(10_000, 500_000, 2_000_000), (1_000, 1_000_000, 8_000_000), (1_000, 83_333, 83_333)],
)
def test_thousands_of_frames_of_all_formats_last_as_long_as_their_bits(
    count: int, bitrate: int, data_bitrate: int
) -> None:
    segment, completed = _bus(bitrate, data_bitrate)
    node = segment.node("sender", queue_length=count)
    draws = random.Random(bitrate)
    # A frame with ESI set would be the word of an error-passive controller, which this one is not.
    frames = [random_frame(draws)._replace(esi=False) for _ in range(count)]
    sender = socket(node)
    for frame in frames:
        sender.send(frame)

    segment.world.run_for(60 * S)

    assert [_plain(done.frame) for done in completed] == frames
    start_ns = 0
    for done in completed:
        expected = reference(_plain(done.frame))
        assert done.start_ns == start_ns
        assert done.bits == len(expected.bits)
        length_ns = _rounded(expected.lasts_ns(bitrate, data_bitrate, intermission=False))
        assert done.end_ns - done.start_ns == length_ns, done
        start_ns += _rounded(expected.lasts_ns(bitrate, data_bitrate, intermission=True))
    assert segment.busy_ns == start_ns


@pytest.mark.verifies("REQ_8207")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_the_load_equals_the_bits_of_the_reference_within_one_percent(share: float) -> None:
    bitrate, data_bitrate = 500_000, 2_000_000
    segment, completed = _bus(bitrate, data_bitrate)
    sender = socket(segment.node("sender", queue_length=1000))
    draws = random.Random(8207)
    busy, at_ns = Fraction(0), 0
    while at_ns < S:
        frame = random_frame(draws)._replace(esi=False)
        length = reference(frame).lasts_ns(bitrate, data_bitrate, intermission=True)
        segment.world.call_at(at_ns, partial(sender.send, frame))
        busy += length
        at_ns += floor(length / Fraction(share) * Fraction(draws.uniform(0.9, 1.1)))

    segment.world.run_for(S + 10 * MS)

    expected = float(busy / (S + 10 * MS))
    assert len(completed) > 300
    assert expected * 0.99 <= segment.load() <= expected * 1.01
    assert sum(segment.load_by_id().values()) == pytest.approx(segment.load())
