"""Foreign programs in processes of their own, and what their server leaves: short ways for the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from taktora_sim.can.python_can.runtime_folder import ChannelLock, Endpoint, RuntimeFolder
from tests.patience import PATIENCE_S

__all__ = ["endpoint_of", "is_served", "kill", "program", "started", "until"]


def until(what: Callable[[], object], why: str) -> None:
    """Wait until ``what`` holds."""
    limit_s = monotonic() + PATIENCE_S
    while not what():
        assert monotonic() < limit_s, why
        sleep(0.02)


def is_served(folder: Path, channel: str) -> bool:
    """Tell whether a living process has the channel."""
    return ChannelLock(RuntimeFolder(folder), channel).is_held()


def endpoint_of(folder: Path, channel: str) -> Endpoint:
    """Return how to reach the server of ``channel``."""
    endpoint = RuntimeFolder(folder).endpoint(channel)
    assert endpoint is not None
    return endpoint


def kill(pid: int) -> None:
    """End a process as no process can prevent."""
    os.kill(pid, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)


@contextmanager
def started(arguments: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Run this Python with ``arguments`` while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=more.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def program(code: str) -> list[str]:
    """Return arguments that run ``code``, with warnings as errors."""
    return ["-W", "error", "-c", code]
