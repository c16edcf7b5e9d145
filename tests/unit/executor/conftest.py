"""Fixtures of the executor's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.executor.support import RIGS, ManualRig, Rig, manual_rig


@pytest.fixture(params=list(RIGS))
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The same test on each reactor."""
    if request.param == "waitset":
        pytest.importorskip("iceoryx2")
    made = RIGS[request.param]()
    yield made
    made.reactor.close()
    made.transport.close()


@pytest.fixture(params=[name for name in RIGS if name != "manual"])
def real_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The same test on each reactor that really waits."""
    if request.param == "waitset":
        pytest.importorskip("iceoryx2")
    made = RIGS[request.param]()
    yield made
    made.reactor.close()
    made.transport.close()


@pytest.fixture
def manual() -> ManualRig:
    """The reactor on a clock that stands still."""
    return manual_rig()
