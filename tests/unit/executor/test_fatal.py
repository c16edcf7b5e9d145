"""The fail-fast boundary: each site, the handler, and what it must never swallow."""

from __future__ import annotations

import threading

import pytest

from taktora.executor import ExecutorBuilder, FatalContext, FatalSite, Observer, UserEvent
from taktora.executor.fatal import FailFast
from tests.patience import PATIENCE_S
from tests.unit.executor.support import MS, Counter, ManualRig, Recorder, every


class Broken:
    """An observer and monitor that fails in one hook."""

    def __init__(self, hook: str) -> None:
        def fail(*_arguments: object) -> None:
            raise RuntimeError("synthetic")

        setattr(self, hook, fail)


def _fatal_run(builder: ExecutorBuilder, body: Counter | None = None) -> tuple[list[FatalContext], list[str]]:
    contexts: list[FatalContext] = []
    ended: list[str] = []
    executor = builder.on_fatal(contexts.append).terminal(lambda: ended.append("terminal")).build()
    executor.add(every(MS, body or Counter(), budget_ns=MS), "t")
    with pytest.raises(RuntimeError, match="synthetic"):
        executor.run_n(3)
    return contexts, ended


@pytest.mark.realizes("TEST_0823")
@pytest.mark.parametrize(
    ("hook", "workers", "site"),
    [
        ("pre_execute", 0, FatalSite.INLINE_SUBMIT),
        ("post_execute", 0, FatalSite.INLINE_SUBMIT),
        ("pre_execute", 2, FatalSite.POOL_WORKER),
        ("post_execute", 2, FatalSite.POOL_WORKER),
        ("on_cycle_stats", 0, FatalSite.EXECUTOR_RUN_LOOP),
        ("on_cycle_stats", 2, FatalSite.EXECUTOR_RUN_LOOP),
        ("on_executor_up", 0, FatalSite.EXECUTOR_RUN_LOOP),
        ("on_executor_down", 0, FatalSite.EXECUTOR_RUN_LOOP),
    ],
)
def test_a_framework_failure_reaches_the_handler_once_and_then_the_terminal_action(
    hook: str, workers: int, site: FatalSite, manual: ManualRig
) -> None:
    broken, recorder = Broken(hook), Recorder()
    builder = manual.builder().worker_threads(workers).observer(broken).monitor(broken).observer(recorder)

    contexts, ended = _fatal_run(builder)

    assert [(context.site, context.cause) for context in contexts] == [(site, "RuntimeError: synthetic")]
    assert ended == ["terminal"]
    if hook != "on_executor_down":
        assert recorder.named("on_executor_down") == []


@pytest.mark.verifies("REQ_0123")
def test_an_observer_that_fails_on_an_item_error_is_fatal_too(manual: ManualRig) -> None:
    contexts, _ = _fatal_run(manual.builder().observer(Broken("on_app_error")), Counter(lambda _run: 1 // 0))

    assert [context.site for context in contexts] == [FatalSite.INLINE_SUBMIT]


@pytest.mark.verifies("REQ_0125")
def test_a_handler_that_fails_goes_straight_to_the_terminal_action() -> None:
    ended: list[str] = []

    def handler(_context: FatalContext) -> None:
        raise SystemExit("no")

    boundary = FailFast(handler, lambda: ended.append("terminal"), limit_s=None)

    with pytest.raises(RuntimeError, match="cause"):
        boundary.trip(RuntimeError("cause"), FatalSite.POOL_WORKER)

    assert ended == ["terminal"]


@pytest.mark.verifies("REQ_0125")
def test_a_handler_that_hangs_is_cut_off_by_the_watchdog() -> None:
    released, was_cut_off = threading.Event(), list[bool]()
    boundary = FailFast(lambda _: was_cut_off.append(released.wait(PATIENCE_S)), released.set, limit_s=0.05)

    with pytest.raises(RuntimeError, match="cause"):
        boundary.trip(RuntimeError("cause"), FatalSite.INLINE_SUBMIT)

    assert was_cut_off == [True]


@pytest.mark.verifies("REQ_0125")
def test_a_handler_that_is_done_in_time_is_followed_by_one_terminal_action() -> None:
    ended: list[str] = []
    boundary = FailFast(lambda _context: None, lambda: ended.append("terminal"), limit_s=PATIENCE_S)
    threads = set(threading.enumerate())

    with pytest.raises(RuntimeError, match="cause"):
        boundary.trip(RuntimeError("cause"), FatalSite.INLINE_SUBMIT)
    for watchdog in set(threading.enumerate()) - threads:
        watchdog.join(PATIENCE_S / 2)  # it is called off: it ends long before its limit

    assert set(threading.enumerate()) <= threads
    assert ended == ["terminal"]


@pytest.mark.verifies("REQ_0123")
def test_only_the_first_failure_calls_handler_and_terminal_action() -> None:
    calls: list[str] = []
    boundary = FailFast(lambda _context: calls.append("handler"), lambda: calls.append("terminal"), None)

    for _ in range(2):
        with pytest.raises(RuntimeError):
            boundary.trip(RuntimeError("x"), FatalSite.INLINE_SUBMIT)

    assert calls == ["handler", "terminal"]


@pytest.mark.verifies("REQ_0123")
def test_an_observer_without_overrides_is_never_called(manual: ManualRig) -> None:
    executor = manual.builder().observer(Observer()).build()

    hooks = [getattr(executor._hooks, name) for name in executor._hooks.__slots__]

    assert set(hooks) == {()}


@pytest.mark.verifies("REQ_0123", "REQ_0124")
@pytest.mark.parametrize(("workers", "site"), [(0, FatalSite.INLINE_SUBMIT), (2, FatalSite.POOL_WORKER)])
def test_an_observer_that_fails_on_a_user_event_is_not_taken_for_the_items_failure(
    workers: int, site: FatalSite, manual: ManualRig
) -> None:
    broken, recorder = Broken("on_send_event"), Recorder()
    contexts: list[FatalContext] = []
    builder = manual.builder().worker_threads(workers).observer(broken).observer(recorder)
    executor = builder.on_fatal(contexts.append).terminal(lambda: None).build()
    executor.add(every(MS, lambda context: context.send_event(UserEvent(1))))

    with pytest.raises(RuntimeError, match="synthetic"):
        executor.run_n(1)

    assert [context.site for context in contexts] == [site]
    assert recorder.named("on_app_error") == []


@pytest.mark.verifies("REQ_0123")
@pytest.mark.parametrize("hook", ["on_task_clear", "on_executor_clear"])
def test_an_observer_that_fails_on_a_clear_is_fatal(hook: str, manual: ManualRig) -> None:
    contexts: list[FatalContext] = []
    builder = manual.builder().observer(Broken(hook)).iteration_budget(MS)
    executor = builder.on_fatal(contexts.append).terminal(lambda: None).build()
    name = executor.add(every(10 * MS, Counter(lambda _run: manual.clock.advance(2 * MS)), budget_ns=MS))
    executor.run_n(1)
    clear = {
        "on_task_clear": lambda: executor.clear_task_fault(name),
        "on_executor_clear": executor.clear_executor_fault,
    }

    with pytest.raises(RuntimeError, match="synthetic"):
        clear[hook]()

    assert [context.site for context in contexts] == [FatalSite.EXECUTOR_RUN_LOOP]
