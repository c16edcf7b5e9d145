"""The log of a bus's reports: what it keeps, and how long it waits for more."""

from __future__ import annotations

import threading

import pytest

from taktora.connector.health import Degraded, Up
from taktora.testing import BusLog


@pytest.mark.verifies("REQ_0312")
def test_moves_of_health_are_told_by_name_and_reason() -> None:
    log = BusLog()

    log.on_health(Up())
    log.on_health(Degraded("cable cut"))

    assert (log.kinds, log.reasons) == (["Up", "Degraded"], ["", "cable cut"])
    assert log.texts == ["Up", "Degraded: cable cut"]


@pytest.mark.verifies("REQ_0312")
def test_a_wait_ends_with_the_report_that_was_waited_for() -> None:
    log = BusLog()
    bus = threading.Timer(0.01, lambda: log.on_health(Up()))
    bus.start()

    log.wait(lambda seen: seen.healths)
    bus.join()

    assert log.kinds == ["Up"]


@pytest.mark.verifies("REQ_0312")
def test_a_wait_for_a_bus_that_has_failed_says_so_at_once() -> None:
    log = BusLog()
    log.on_failure(ZeroDivisionError("unforeseen"))

    with pytest.raises(AssertionError, match="unforeseen"):
        log.wait(lambda seen: seen.healths)

    log.wait(lambda seen: seen.failures)


@pytest.mark.verifies("REQ_0312")
def test_a_wait_for_what_never_comes_is_bounded() -> None:
    log = BusLog()

    with pytest.raises(AssertionError, match="0 cycles"):
        log.wait(lambda seen: seen.records, patience_s=0.01)
