"""Tests of ids and of the search for similar ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.traceability.ids import is_id, nearest

KNOWN = ["REQ_0310", "REQ_0311", "REQ_3100", "TEST_0310", "PICK_0042"]


@pytest.mark.verifies("REQ_8600")
@pytest.mark.parametrize("text", ["REQ_0310", "PICK_0042", "QG_0001", "A-1", "SYS_BRAKE_12"])
def test_ids_are_capital_words_with_a_joint(text: str) -> None:
    assert is_id(text)


@pytest.mark.verifies("REQ_8600")
@pytest.mark.parametrize("text", ["", "REQ", "req_0310", "REQ_", "_REQ", "REQ 1", "REQ_0310\n", "RÉQ_1"])
def test_anything_else_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.verifies("REQ_8601")
@pytest.mark.parametrize(
    ("wanted", "best"),
    [("REQ_310", "REQ_0310"), ("req-0311", "REQ_0311"), ("42", "PICK_0042"), ("PICK_042", "PICK_0042")],
)
def test_the_nearest_id_comes_first(wanted: str, best: str) -> None:
    assert nearest(wanted, KNOWN)[0] == best


@pytest.mark.verifies("REQ_8601")
def test_nothing_similar_gives_nothing() -> None:
    assert nearest("completely-else", KNOWN) == []


@pytest.mark.verifies("REQ_8601")
@given(st.builds("{}_{:04}".format, st.text("ABCXYZ", min_size=1, max_size=5), st.integers(0, 9999)))
def test_an_id_is_nearest_to_itself(name: str) -> None:
    assert nearest(name, ["ZZ_9", name])[0] == name
