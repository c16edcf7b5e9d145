"""Attributes of threads: affinity and real-time priority, applied where asked and always reported (REQ_0040, 0041)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from taktora.errors import BuilderError

__all__ = ["AppliedAttributes", "ThreadAttributes", "apply_attributes"]


@dataclass(frozen=True, slots=True)
class ThreadAttributes:
    """What a thread is to be given.

    Args:
        name_prefix: Workers are called ``<name_prefix>-<n>``.
        affinity_mask: Cores the thread may run on; empty leaves the scheduler free.
        priority: SCHED_FIFO priority, 1 to 99; None keeps SCHED_OTHER.
    """

    name_prefix: str = "taktora-worker"
    affinity_mask: tuple[int, ...] = ()
    priority: int | None = None

    def __post_init__(self) -> None:
        if self.priority is not None and not 1 <= self.priority <= 99:
            raise BuilderError(f"ThreadAttributes.priority is {self.priority}, expected 1 to 99 or None")
        if any(core < 0 for core in self.affinity_mask):
            raise BuilderError(f"ThreadAttributes.affinity_mask is {self.affinity_mask}; cores are 0 or more")


@dataclass(frozen=True, slots=True)
class AppliedAttributes:
    """What one thread really got.

    Args:
        thread: Its name.
        affinity: Cores it may run on, as the kernel says; None where it cannot be asked.
        policy: ``SCHED_FIFO`` or ``SCHED_OTHER``.
        priority: Real-time priority, 0 under SCHED_OTHER.
        refused: One sentence per attribute that was not applied, with the reason.
    """

    thread: str
    affinity: tuple[int, ...] | None
    policy: str
    priority: int
    refused: tuple[str, ...]


# req: REQ_0040, REQ_0041
def apply_attributes(wanted: ThreadAttributes) -> AppliedAttributes:
    """Apply ``wanted`` to the calling thread as far as the system lets it, and return what holds now."""
    refused = [*_pin(wanted.affinity_mask), *_prioritise(wanted.priority)]
    name = threading.current_thread().name
    if sys.platform != "linux":
        return AppliedAttributes(name, None, "SCHED_OTHER", 0, tuple(refused))
    fifo = os.sched_getscheduler(0) == os.SCHED_FIFO
    return AppliedAttributes(
        name,
        tuple(sorted(os.sched_getaffinity(0))),
        "SCHED_FIFO" if fifo else "SCHED_OTHER",
        os.sched_getparam(0).sched_priority if fifo else 0,
        tuple(refused),
    )


# req: REQ_0040
def _pin(cores: tuple[int, ...]) -> Iterable[str]:
    if not cores:
        return
    if sys.platform != "linux":
        yield f"affinity to cores {cores}: not supported on {sys.platform}"
        return
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        yield f"affinity to cores {cores}: {error.strerror}"


# req: REQ_0041
def _prioritise(priority: int | None) -> Iterable[str]:
    if priority is None:
        return
    if sys.platform != "linux":
        yield f"SCHED_FIFO {priority}: not supported on {sys.platform}"
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        yield f"SCHED_FIFO {priority}: {error.strerror}; it needs CAP_SYS_NICE"
