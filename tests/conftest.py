"""Holds every test to leaving nothing behind, and no test to a time on the wall."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.patience import PATIENCE_S

# How long an example takes is the machine's affair; what it shows is the test's.
settings.register_profile("taktora", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("taktora")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test after which a thread of its own still runs."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(PATIENCE_S)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"threads left behind: {', '.join(alive)}"
