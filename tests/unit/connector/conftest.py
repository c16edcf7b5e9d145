from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from taktora.connector import Routing
from taktora.errors import CodecError, PayloadOverflow
from taktora.transport.base import Transport
from taktora.transport.inprocess import InProcessTransport

T = TypeVar("T")


class ManualClock:
    """Stands still until the test moves it."""

    def __init__(self, now_ns: int = 1_000) -> None:
        self.time_ns = now_ns

    def now_ns(self) -> int:
        return self.time_ns

    def unix_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self.time_ns


@dataclass(frozen=True, slots=True)
class LineRouting(Routing):
    line: int


@dataclass(frozen=True, slots=True)
class Tick:
    count: int
    label: str = ""


class TickCodec:
    """Small enough to be obviously right; the shipped codecs have tests of their own."""

    format_name = "tick"

    def encode_into(self, value: Any, view: memoryview) -> int:
        if not isinstance(value, Tick):
            raise CodecError(self.format_name, f"{value!r} is no Tick")
        encoded = json.dumps([value.count, value.label]).encode()
        if len(encoded) > len(view):
            raise PayloadOverflow(len(encoded), len(view))
        view[: len(encoded)] = encoded
        return len(encoded)

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002
        try:
            return type(*json.loads(bytes(view)))
        except ValueError as error:
            raise CodecError(self.format_name, str(error)) from error


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["inprocess", "iceoryx2"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    opened = InProcessTransport() if request.param == "inprocess" else shared_memory()
    yield opened
    opened.close()


def shared_memory() -> Transport:
    pytest.importorskip("iceoryx2")
    from taktora.transport.iceoryx import IceoryxTransport

    return IceoryxTransport(isolated=True)
