"""Both transports for the tests of this folder; each test must leave no shared memory behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TypeAlias

import pytest

from taktora.transport import IceoryxTransport, InProcessDomain, InProcessTransport, Transport
from tests.unit.transport.leftovers import leftovers

MakeTransport: TypeAlias = Callable[[], Transport]

needs_iceoryx2 = pytest.mark.skipif(find_spec("iceoryx2") is None, reason="iceoryx2 is not installed")


@pytest.fixture(
    params=[
        pytest.param("inprocess", id="inprocess"),
        pytest.param("iceoryx2", id="iceoryx2", marks=needs_iceoryx2),
    ]
)
def make_transport(request: pytest.FixtureRequest) -> Iterator[MakeTransport]:
    """Make transports that see each other and nobody else; all are closed in the end."""
    yield from in_process() if request.param == "inprocess" else in_shared_memory()


def in_process() -> Iterator[MakeTransport]:
    domain = InProcessDomain()
    with ExitStack() as opened:
        yield lambda: opened.enter_context(InProcessTransport(domain))
    assert len(domain) == 0


def in_shared_memory() -> Iterator[MakeTransport]:
    first = IceoryxTransport("first", isolated=True)
    with first, ExitStack() as opened:
        yield lambda: opened.enter_context(IceoryxTransport("more", config=first.config))
    assert leftovers(first.config) == []


@pytest.fixture
def transport(make_transport: MakeTransport) -> Transport:
    """One transport of each kind."""
    return make_transport()
