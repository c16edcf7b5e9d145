"""What the two ends of a service hand out belongs to who took it."""

from __future__ import annotations

import ctypes

import pytest

from taktora.executor import ActiveRequest, Service, Subscriber
from tests.unit.executor.support import Number, Rig

_REQUESTS = 16


class Question(ctypes.Structure):
    _fields_ = (("first", ctypes.c_uint64), ("second", ctypes.c_uint64))


def _fill_freed_memory() -> list[bytes]:
    """Make objects as any item does: of the size of a request's bytes, none of them all zero."""
    return [b"\xff" * 8 + number.to_bytes(8, "little") for number in range(256)]


@pytest.mark.verifies("REQ_0010")
def test_a_request_keeps_its_values_after_the_answer_and_the_next_request(rig: Rig) -> None:
    service = Service(rig.transport, "keep", Question, Number)
    server, client = service.server(), service.client()
    taken: list[tuple[Question, ActiveRequest[Number]]] = []

    for number in range(_REQUESTS):
        pending = client.send_copy(Question(number, ~number))
        found = server.take_request()
        assert found is not None
        taken.append(found)
        garbage = _fill_freed_memory()
        assert found[1].respond_copy(Number(found[0].first))
        garbage += _fill_freed_memory()
        answer = pending.take()
        assert answer is not None
        assert answer.value == number
    client.close()
    server.close()
    garbage = _fill_freed_memory()

    assert [request.first for request, _ in taken] == list(range(_REQUESTS))
    assert [request.second ^ (2**64 - 1) for request, _ in taken] == list(range(_REQUESTS))
    del garbage


@pytest.mark.verifies("REQ_0010")
def test_a_request_is_the_callers_to_change_and_an_answer_the_callers_to_keep(rig: Rig) -> None:
    service = Service(rig.transport, "change", Question, Number)
    server, client = service.server(), service.client()
    pending = [client.send_copy(Question(number, 0)) for number in (5, 5)]

    for _ in pending:
        found = server.take_request()
        assert found is not None
        request, active = found
        request.first += 1
        active.respond_copy(Number(request.first))
    answers = [answer for answer in (each.take() for each in pending) if answer is not None]
    client.close()
    server.close()
    garbage = _fill_freed_memory()

    assert [answer.value for answer in answers] == [6, 6]
    del garbage


class _CopyingPort:
    """A subscriber's port within its contract: the bytes of a sample live as long as the view that it hands out."""

    service = "copies"
    payload_bytes = ctypes.sizeof(Question)

    def __init__(self, samples: list[bytes]) -> None:
        self._samples = samples

    def receive(self) -> memoryview | None:
        return memoryview(bytes(bytearray(self._samples.pop(0)))) if self._samples else None

    def release(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.verifies("REQ_0012")
def test_a_sample_stays_valid_until_the_next_whoever_owns_its_bytes(rig: Rig) -> None:
    samples = [bytes(Question(number, number)) for number in range(_REQUESTS)]
    subscriber = Subscriber(Question, _CopyingPort(samples), rig.transport.listener("copies.evt"))
    seen: list[tuple[int, int]] = []

    for sample in subscriber.drain():
        garbage = _fill_freed_memory()
        seen.append((sample.first, sample.second))
        del garbage
    subscriber.close()

    assert seen == [(number, number) for number in range(_REQUESTS)]
