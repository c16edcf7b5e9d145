"""The framework's connector kit, run against the EtherCAT connector.

The kit sends messages and wants each back once; a process image has neither. So the bus here does one exchange per
change of its outputs, and gives them back as inputs.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from taktora.connector import Connecting, Down, Up
from taktora.ethercat.connector import EthercatConnector, ethercat_channel
from taktora.testing.check_connector import CONNECTOR_CHECKS, ConnectorBench, run_check
from taktora_sim.world import World
from tests.unit.can.support import BytesCodec
from tests.unit.ethercat.support import MS, FakeBus, options, rx, tx

_PACE_NS = MS // 10


class _ChangeBus(FakeBus):
    """Exchanges when the outputs have changed, and takes its time for it."""

    is_broken = False

    def __init__(self, world: World) -> None:
        super().__init__(world, options().plan().layout(), loopback=True)
        self._world = world
        self._changes: deque[bytes] = deque()
        self._newest = b""

    def come_up(self) -> None:
        self.tell(Up())

    def stage_outputs(self, outputs: bytes | bytearray | memoryview, renewed: bytes | bytearray | memoryview) -> None:
        del renewed
        if self.is_broken:
            raise RuntimeError("driver bug")
        if bytes(outputs) != self._newest:
            self._newest = bytes(outputs)
            self._changes.append(self._newest)
            self._world.call_after(_PACE_NS * len(self._changes), self._exchange_one)

    def break_down(self) -> None:
        self.tell(Down("bring-up failed: no answer", self._world.now_ns()))

    def come_back(self) -> None:
        self.tell(Connecting(self._world.now_ns()))
        self.tell(Up())

    def stall(self) -> None:
        self.fails = True
        self.exchange()

    def unstall(self) -> None:
        self.fails = False
        self.tell(Up())

    def flood(self, cycles: int) -> None:
        for _ in range(cycles):
            self.exchange()

    def break_stack(self) -> None:
        self.is_broken = True

    def _exchange_one(self) -> None:
        self._staged = self._changes.popleft()
        self.exchange()


def _bench() -> ConnectorBench:
    world = World(1)
    bus = _ChangeBus(world)
    connector: EthercatConnector[Any] = EthercatConnector(
        world.runtime, options(outbound_capacity=16), bus, BytesCodec()
    )
    return ConnectorBench(
        runtime=world.runtime,
        connector=connector,
        outbound=ethercat_channel("there", rx(0x1001, 0, 16)),
        inbound=ethercat_channel("back", tx(0x1001, 0, 16)),
        value_type=bytes,
        value=lambda number: (number + 1).to_bytes(2, "big"),
        oversize=bytes(3),
        break_link=bus.break_down,
        restore_link=bus.come_back,
        stall=bus.stall,
        unstall=bus.unstall,
        flood=bus.flood,
        break_stack=bus.break_stack,
        up_first=True,
        close=world.close,
    )


@pytest.mark.verifies("REQ_0310", "REQ_0323", "REQ_0324", "REQ_0292")
@pytest.mark.parametrize("name", list(CONNECTOR_CHECKS))
def test_kit(name: str) -> None:
    assert run_check(name, _bench)
