"""The CAN seam on a real SocketCAN interface (``CAN_TEST_IFACE``, for example vcan0): ten frames, and the contract."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from taktora.can import CanFrame
from taktora.can.socketcan import SocketCanInterface
from tests.contract.can.interface_checks import CHECKS, Pair, Received

pytestmark = [pytest.mark.gate("CAN_TEST_IFACE")]


def _interfaces() -> tuple[SocketCanInterface, SocketCanInterface]:
    name = os.environ["CAN_TEST_IFACE"].split(",")[0]
    return SocketCanInterface(name), SocketCanInterface(name)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.realizes("TEST_0512")
def test_ten_frames_arrive_byte_for_byte() -> None:
    sender, receiver = _interfaces()
    received = Received()
    frames = [CanFrame(0x100 + number, bytes((number, number + 1)), extended=number % 2 == 1) for number in range(10)]

    sender.open(Received())
    receiver.open(received)
    try:
        for frame in frames:
            sender.send(frame)
        _wait_for(lambda: len(received.frames) == len(frames))
    finally:
        sender.close()
        receiver.close()

    assert received.frames == frames


@pytest.mark.verifies("REQ_0602", "REQ_0622")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Callable[[Pair], None]) -> None:
    left, right = _interfaces()

    try:
        check(Pair(left, right, lambda: time.sleep(0.2), lambda: None))
    finally:
        left.close()
        right.close()
