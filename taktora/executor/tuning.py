"""What a run changes in its process and thread, and gives back: timer slack, collector, switch interval."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

__all__ = ["TIMER_SLACK_NS", "frozen_collector", "switch_interval", "timer_slack", "tuned"]

TIMER_SLACK_NS = 1_000
_PR_SET_TIMERSLACK = 29
_PR_GET_TIMERSLACK = 30


# req: REQ_0274
# req: REQ_0274
@contextmanager
def timer_slack(slack_ns: int = TIMER_SLACK_NS) -> Iterator[None]:
    """Let the calling thread's timers expire at most ``slack_ns`` late; nothing happens off Linux or when refused."""
    prctl = _prctl()
    if prctl is None:
        yield
        return
    before_ns = prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)
    prctl(_PR_SET_TIMERSLACK, slack_ns, 0, 0, 0)
    try:
        yield
    finally:
        if before_ns > 0:
            prctl(_PR_SET_TIMERSLACK, before_ns, 0, 0, 0)


@contextmanager
def frozen_collector() -> Iterator[None]:
    """Collect once, take what lives out of the collector's sight and switch it off; undone at the end."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


@contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """Let threads hand over the interpreter after ``seconds``; process-wide, the default of 5 ms outlasts a cycle."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def tuned(freeze_gc: bool, switch_interval_s: float | None) -> Iterator[None]:
    """Apply what was asked for."""
    with ExitStack() as stack:
        if freeze_gc:
            stack.enter_context(frozen_collector())
        if switch_interval_s is not None:
            stack.enter_context(switch_interval(switch_interval_s))
        yield


@cache
def _prctl() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    return prctl
