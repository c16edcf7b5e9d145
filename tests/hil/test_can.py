"""The CAN driver on a real SocketCAN interface (``CAN_TEST_IFACE``, for example can0), or on the rig's: ten frames."""

from __future__ import annotations

import pytest

from taktora.can import CanFrame
from taktora.can.socketcan import SocketCanInterface
from tests.contract.can.interface_checks import Received
from tests.real_can import GATE, wait_for

pytestmark = [pytest.mark.world("rig", "hil"), pytest.mark.gate(GATE)]


@pytest.mark.realizes("TEST_0512")
def test_ten_frames_arrive_byte_for_byte(can_interfaces: tuple[str, ...]) -> None:
    sender, receiver = SocketCanInterface(can_interfaces[0]), SocketCanInterface(can_interfaces[0])
    received = Received()
    frames = [CanFrame(0x100 + number, bytes((number, number + 1)), extended=number % 2 == 1) for number in range(10)]

    sender.open(Received())
    receiver.open(received)
    try:
        for frame in frames:
            sender.send(frame)
        wait_for(lambda: len(received.frames) == len(frames))
    finally:
        sender.close()
        receiver.close()

    assert received.frames == frames
