"""Reasons of a bus that is not Up: their texts, and that they reach another process as they are."""

from __future__ import annotations

import pickle

import pytest

from taktora.connector.health import Connecting, ConnectorHealth, Degraded, Down, Up
from taktora.ethercat.driver import AlState
from taktora.ethercat.health import (
    AgedOutputs,
    BusHealth,
    LowWorkingCounter,
    NotOperational,
    bring_up_failed,
    cycle_failed,
    recover_failed,
)


@pytest.mark.verifies("REQ_0320", "REQ_0319", "REQ_8150")
@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (LowWorkingCounter(7, 3, 6), "working counter below expected: cycle 7, observed 3, expected 6"),
        (
            AgedOutputs(("'axis' (0x1003)",), 4),
            "outputs of 'axis' (0x1003) not renewed for 4 cycles: safe values sent, SAFE-OP",
        ),
        (
            NotOperational("'axis' (0x1003)", AlState.SAFE_OP, 0x001B),
            "'axis' (0x1003) is in SAFE-OP instead of OP, AL status code 0x001b",
        ),
        (NotOperational("'axis' (0x1003)", AlState.PRE_OP), "'axis' (0x1003) is in PRE-OP instead of OP"),
        (NotOperational("'axis' (0x1003)", AlState.NONE), "'axis' (0x1003) does not answer"),
    ],
)
def test_a_reason_is_a_value_with_a_text_and_survives_pickle(reason: object, text: str) -> None:
    assert str(reason) == text
    assert pickle.loads(pickle.dumps(Degraded(reason))) == Degraded(reason)


@pytest.mark.verifies("REQ_0842", "REQ_0331", "REQ_0333")
def test_the_fixed_texts_go_on_with_the_words_of_the_driver() -> None:
    error = ValueError("no answer")

    assert [say(error) for say in (bring_up_failed, cycle_failed, recover_failed)] == [
        "bring-up failed: no answer",
        "cycle failed: no answer",
        "recover failed: no answer",
    ]


@pytest.mark.verifies("REQ_0333")
def test_moves_that_the_table_lacks_are_not_reported() -> None:
    told: list[ConnectorHealth] = []
    health = BusHealth(told.append, 5)

    moved = [health.move(target) for target in (Connecting(6), Up(), Up(), Connecting(7), Degraded("a"), Degraded("b"))]

    assert moved == [False, True, False, False, True, False]
    assert told == [Up(), Degraded("a")]
    assert health.move(Down("c", 9))
    assert health.current == Down("c", 9)
