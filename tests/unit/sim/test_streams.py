"""Random streams: one a component, the same numbers everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora_sim.streams import Stream, StreamEntropy

GOLDEN_INTEGERS = [475, 376, 167, 119, 529]
GOLDEN_FLOAT = "0x1.6ff4cc61d54cep-2"


@pytest.mark.verifies("REQ_8003")
def test_draws_depend_on_seed_and_path_alone() -> None:
    first = [Stream(7, "bus").integer(0, 1 << 40) for _ in range(3)]
    Stream(7, "other").random()

    assert [Stream(7, "bus").integer(0, 1 << 40) for _ in range(3)] == first
    assert Stream(8, "bus").integer(0, 1 << 40) != first[0]
    assert Stream(7, "bus2").integer(0, 1 << 40) != first[0]


@pytest.mark.verifies("REQ_8002", "REQ_8003")
def test_draws_are_the_ones_of_every_python() -> None:
    """Golden numbers: they may never change, on no platform and with no Python version."""
    stream = Stream(42, "golden")

    assert [stream.integer(0, 999) for _ in range(5)] == GOLDEN_INTEGERS
    assert stream.random().hex() == GOLDEN_FLOAT


@pytest.mark.verifies("REQ_8003")
@given(st.integers(), st.integers(-1000, 1000), st.integers(0, 5000))
def test_integers_stay_inside_their_range(seed: int, low: int, span: int) -> None:
    stream = Stream(seed, "range")

    drawn = [stream.integer(low, low + span) for _ in range(20)]

    assert all(low <= value <= low + span for value in drawn)


@pytest.mark.verifies("REQ_8003")
@given(st.integers(), st.lists(st.integers()))
def test_shuffle_keeps_the_items(seed: int, items: list[int]) -> None:
    shuffled = list(items)

    Stream(seed, "shuffle").shuffle(shuffled)

    assert sorted(shuffled) == sorted(items)


@pytest.mark.verifies("REQ_8003")
def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="low 3 is above high 2"):
        Stream(0, "x").integer(3, 2)


@pytest.mark.verifies("REQ_8002")
def test_generated_names_repeat_from_run_to_run() -> None:
    names = [StreamEntropy(Stream(seed, "names")).name("node") for seed in (1, 2)]

    assert names == ["node-1", "node-1"]
