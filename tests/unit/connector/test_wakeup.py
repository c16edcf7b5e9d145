from __future__ import annotations

import pytest

from taktora.connector import Wakeup


@pytest.mark.verifies("REQ_0231")
def test_wakeup_is_a_level_until_it_is_drained() -> None:
    wakeup = Wakeup("line")
    told: list[int] = []

    before = wakeup.notify()
    wakeup.set_waker(lambda: told.append(1))
    after = wakeup.notify()

    assert (before, after, len(told)) == (0, 1, 2)
    assert (wakeup.drain(), wakeup.drain()) == (True, False)
    assert wakeup.native is None


@pytest.mark.verifies("REQ_0231")
def test_closed_wakeup_calls_nobody() -> None:
    wakeup = Wakeup("line")
    told: list[int] = []
    wakeup.set_waker(lambda: told.append(1))

    wakeup.close()
    wakeup.notify()

    assert told == []
