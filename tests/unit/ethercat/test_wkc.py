"""Working counters: the datasheet's increments, the sum that a bring-up expects, and the policy on low ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.wkc import LowCounterPolicy, lrw_increment


@pytest.mark.verifies("REQ_0828", "REQ_0329")
@given(st.integers(0, 65535), st.integers(0, 65535))
def test_outputs_count_two_and_inputs_one(output_bits: int, input_bits: int) -> None:
    expected = {(False, False): 0, (False, True): 1, (True, False): 2, (True, True): 3}

    assert lrw_increment(output_bits, input_bits) == expected[output_bits > 0, input_bits > 0]


_MAPS = (
    SubDeviceMap(address=0x1001, position=1, input_bits=8),
    SubDeviceMap(address=0x1002, position=2, output_bits=4),
    SubDeviceMap(address=0x1004, position=4, output_bits=16, input_bits=16),
    SubDeviceMap(address=0x1007, position=7, output_bits=1, expected_wkc=5),
)


@pytest.mark.realizes("TEST_0223")
@pytest.mark.parametrize(
    ("on_the_bus", "expected"), [(0, 0), (1, 0), (2, 1), (3, 3), (4, 3), (5, 6), (7, 6), (8, 11), (20, 11)]
)
def test_the_sum_is_over_those_on_the_bus_and_in_the_map(on_the_bus: int, expected: int) -> None:
    assert EthercatConnectorOptions(pdo_map=_MAPS).plan().expected_wkc(on_the_bus) == expected


@pytest.mark.verifies("REQ_0319", "REQ_0320")
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(-1, 5))
def test_it_is_degraded_exactly_after_that_many_low_ones_in_a_row(counters: list[int], after: int) -> None:
    policy, row = LowCounterPolicy(after), 0

    for observed in counters:
        matches = policy.judge(observed, 3)
        row = 0 if observed >= 3 else row + 1
        assert (matches, policy.low_cycles, policy.degraded) == (row == 0, row, row >= max(1, after))
