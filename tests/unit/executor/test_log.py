"""The observer that logs."""

from __future__ import annotations

import logging

import pytest

from taktora.errors import ItemError
from taktora.executor import BudgetExceeded, IterationBudgetExceeded, LoggingObserver, UserEvent
from tests.unit.executor.support import MS, Counter, ManualRig, every


@pytest.mark.realizes("TEST_0822")
def test_fault_callbacks_reach_their_logger_with_level_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    observer = LoggingObserver()

    with caplog.at_level(logging.DEBUG):
        observer.on_task_fault("pump", BudgetExceeded(took_ms=3, budget_ms=1))
        observer.on_task_clear("pump")
        observer.on_executor_fault(IterationBudgetExceeded(task_index=2, took_ms=12, budget_ms=10))
        observer.on_executor_clear()

    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("taktora.fault", "WARNING"),
        ("taktora.fault", "INFO"),
        ("taktora.fault", "WARNING"),
        ("taktora.fault", "INFO"),
    ]
    first, _, third, _ = (record.__dict__ for record in caplog.records)
    assert (first["task"], first["reason"], first["took_ms"], first["budget_ms"]) == ("pump", "BudgetExceeded", 3, 1)
    assert (third["task_index"], third["took_ms"], third["budget_ms"]) == (2, 12, 10)


@pytest.mark.verifies("REQ_0073")
def test_a_whole_run_is_logged_by_area(manual: ManualRig, caplog: pytest.LogCaptureFixture) -> None:
    observer = LoggingObserver()
    executor = manual.builder().observer(observer).build()
    executor.add(every(MS, Counter(lambda _run: 1 // 0)), "bad")

    with caplog.at_level(logging.DEBUG):
        executor.run_n(1)
        observer.on_executor_error(ItemError("over"))
        observer.on_app_start("t", "app", 1)
        observer.on_app_stop("t", "app", 1)
        observer.on_send_event("t", UserEvent(5, 6, "seven"))

    assert [record.name for record in caplog.records] == [
        "taktora.executor",
        "taktora.app",
        "taktora.executor",
        "taktora.executor",
        "taktora.app",
        "taktora.app",
        "taktora.user",
    ]
    assert "task t sent event 5: 6 seven" in caplog.text


@pytest.mark.verifies("REQ_0124")
def test_a_contained_failure_nobody_observes_is_logged_with_its_traceback_and_not_each_time(
    manual: ManualRig, caplog: pytest.LogCaptureFixture
) -> None:
    executor = manual.builder().build()
    executor.add(every(MS, Counter(lambda _run: 1 // 0)), "robot")

    executor.run_n(25)

    assert [record.getMessage() for record in caplog.records] == [
        "task 'robot': item 'robot' failed; the run goes on",
        "task 'robot': item 'robot' failed, 10 times so far; the run goes on",
    ]
    assert "ZeroDivisionError" in caplog.text
    assert "test_log.py" in caplog.text
