"""Holds every test to leaving nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

_PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test after which a thread of its own still runs."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(_PATIENCE_S)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"threads left behind: {', '.join(alive)}"
