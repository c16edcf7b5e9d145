from __future__ import annotations

import pytest

from taktora.connector import Wakeup
from taktora.errors import ConfigurationError


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


@pytest.mark.verifies("REQ_0231")
def test_second_executor_at_one_wakeup_is_refused_until_the_first_has_gone() -> None:
    wakeup = Wakeup("line")
    told: list[int] = []
    wakeup.set_waker(lambda: told.append(1))

    with pytest.raises(ConfigurationError, match="listener of line: an executor waits for it already"):
        wakeup.set_waker(lambda: told.append(2))
    wakeup.set_waker(None)
    wakeup.set_waker(lambda: told.append(3))
    wakeup.notify()

    assert told == [3]
