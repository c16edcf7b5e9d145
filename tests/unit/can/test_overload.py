"""More frames than the application reads: each is received or counted as lost at one place, and memory is flat."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanId,
    CanIface,
    CanIfaceState,
    CanRouting,
    ReceiveOverflow,
    can_channel,
)
from taktora.connector import ConnectorGateway, Degraded
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.sim.can.support import Log
from tests.unit.can.support import MS, Bench, BytesCodec, FixedPolicy, S, frame, values

_PER_SECOND = 10_000
_ID = 0x123


def _lost(connector: CanConnector[BytesCodec]) -> int:
    """Return all frames that are counted as lost between the wire and the application's reader."""
    driver, link = connector.driver("can0"), connector.links[0]
    return link.inbound.dropped + driver.undelivered + driver.overflowed


class _Flood:
    """A node on a simulated bus that sends 10 000 frames a second, each with its number, for so many of them."""

    def __init__(self, bus: SimulatedCanBus, number: int) -> None:
        self._bus = bus
        self._socket = bus.node("flood").interface()
        self._socket.open(Log())
        self._left = number
        self.sent = 0
        self._step()

    def _step(self) -> None:
        self._socket.send(frame(_ID, self.sent.to_bytes(2, "big")))
        self.sent += 1
        if self.sent < self._left:
            self._bus.world.call_after(S // _PER_SECOND, self._step)


@pytest.mark.verifies("REQ_0606", "REQ_0608", "REQ_0624")
def test_ten_thousand_frames_a_second_into_a_slow_reader_are_received_or_counted() -> None:
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle", 1_000_000)
    interface = bus.node("app").interface("can0", receive_buffer=150)
    with Bench(interface, world=world, inbound_bridge_capacity=100, recovery_window_ns=30 * MS) as bench:
        reader = bench.reader("in", CanId(_ID))
        bench.start()
        flood = _Flood(bus, _PER_SECOND)
        received = []

        for millisecond in range(1_000):
            if millisecond % 100 == 50:
                interface.pause_reading()  # the process has no time for its socket for 20 ms
            elif millisecond % 100 == 70:
                interface.resume_reading()
            bench.run(MS)
            if (envelope := reader.try_recv()) is not None:
                received.append(envelope.value)
        bench.run(10 * MS)
        received += values(reader)

        driver, link = bench.connector.driver("can0"), bench.connector.links[0]
        assert flood.sent == bus.frames == _PER_SECOND
        assert len(received) + _lost(bench.connector) == _PER_SECOND
        assert (driver.overflowed, interface.overflowed) == (500, 500)
        assert link.inbound.dropped == link.drops.of("in") > 0
        assert driver.undelivered > 0
        assert received == sorted(set(received))
        assert reader.sequence_gaps > 0
        reasons = [event.target.reason for event in bench.events if isinstance(event.target, Degraded)]
        assert ReceiveOverflow in {type(reason) for reason in reasons}


@pytest.mark.verifies("REQ_0606", "REQ_0608", "REQ_0625")
def test_memory_stays_flat_under_overload() -> None:
    with Bench(inbound_bridge_capacity=50) as bench:
        reader = bench.reader("in", CanId(_ID))
        bench.start()
        sent = received = 0

        def overload(seconds: int) -> None:
            nonlocal sent, received
            for _ in range(seconds * 100):
                for number in range(_PER_SECOND // 100):
                    bench.mock.inject_frame(frame(_ID, bytes((number,))))
                    sent += 1
                bench.mock.inject_overflow(1)
                sent += 1
                bench.run(10 * MS)
                received += reader.try_recv() is not None

        overload(1)
        tracemalloc.start()
        overload(1)
        grown = _growth(lambda: overload(2))
        tracemalloc.stop()
        received += len(values(reader))

        assert sent == 4 * (_PER_SECOND + 100)
        assert received + _lost(bench.connector) == sent
        assert grown < 2 * _PER_SECOND  # a byte a frame: Python keeps some freed tuples for later


def _growth(work: Callable[[], object]) -> int:
    """Return the bytes that the connector's code holds more after ``work`` than before."""
    gc.collect()
    before = tracemalloc.take_snapshot()
    work()
    gc.collect()
    after = tracemalloc.take_snapshot()
    return sum(
        entry.size_diff
        for entry in after.compare_to(before, "filename")
        if "/taktora/can/" in entry.traceback[0].filename or "/taktora/connector/" in entry.traceback[0].filename
    )


@pytest.mark.verifies("REQ_0605", "REQ_0606", "REQ_0608")
def test_an_overload_from_a_thread_is_received_or_counted_on_the_wall_clock_too() -> None:
    runtime, mock, iface = Runtime.system(transport="inprocess"), MockCanInterface("can0"), CanIface("can0")
    options = CanConnectorOptions(ifaces=(iface,), reconnect_policy=lambda _random: FixedPolicy(S))
    connector = CanConnector(runtime, options, [mock], BytesCodec())
    reader = connector.create_reader(can_channel("in", CanRouting(iface, CanId(_ID))), bytes)

    def flood() -> None:
        for number in range(_PER_SECOND):
            mock.inject_frame(frame(_ID, number.to_bytes(2, "big")))
            if number % 100 == 99:
                time.sleep(0.01)

    with ConnectorGateway.builder(runtime, "gw").build() as gateway:
        gateway.register(connector)
        gateway.start()
        deadline = time.monotonic() + PATIENCE_S
        while mock.state is not CanIfaceState.ACTIVE or connector.driver("can0").filters is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        thread = threading.Thread(target=flood)
        thread.start()
        received = []
        while thread.is_alive():
            time.sleep(0.002)
            if (envelope := reader.try_recv()) is not None:
                received.append(envelope.value)
        while len(received) + _lost(connector) < _PER_SECOND:
            assert time.monotonic() < deadline, f"{len(received)} received, {_lost(connector)} lost"
            received += values(reader)
            time.sleep(0.002)

    assert len(received) + _lost(connector) == _PER_SECOND
    assert received == sorted(set(received))
    assert connector.links[0].drops.of("in") == connector.links[0].inbound.dropped
    runtime.close()
