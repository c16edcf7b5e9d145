"""A connector whose envelopes are spoiled on their way to the application: what its reader and its health say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from taktora.connector import ChannelDescriptor, ConnectorHealthKind, ConnectorHost, Degraded, RecvEnvelope
from taktora.executor import item_with_triggers
from taktora.runtime import Runtime
from taktora.testing.echo import EchoConnector, EchoRouting
from taktora.testing.faulty_transport import Corrupt, Drop, FaultyTransport, SampleFault
from taktora.transport.envelope import HEADER_BYTES
from taktora.transport.inprocess import InProcessTransport
from taktora_sim.world import World
from tests.unit.connector.conftest import Tick

MS = 1_000_000


def _virtual() -> Runtime:
    runtime = World(1).runtime
    return replace(runtime, transport=FaultyTransport(runtime.transport))


def _threads() -> Runtime:
    return Runtime.system(FaultyTransport(InProcessTransport()))


everywhere = pytest.mark.parametrize(
    "make_runtime", [pytest.param(_virtual, id="virtual"), pytest.param(_threads, id="threads")]
)


class Rig:
    """An echo connector whose ``index``-th inbound envelope is spoiled, and an item that asks its reader every ms."""

    def __init__(self, runtime: Runtime, index: int, fault: SampleFault) -> None:
        self.runtime = runtime
        assert isinstance(runtime.transport, FaultyTransport)
        runtime.transport.on_publish("a.in", index, fault)
        self.host = ConnectorHost.builder(runtime).build()
        self.connector = EchoConnector(runtime)
        self.reader = self.connector.create_reader(ChannelDescriptor("a", EchoRouting("loop"), 64), Tick)
        self.health = self.connector.subscribe_health()
        self.host.register(self.connector)
        self.asked: list[RecvEnvelope[Tick] | None] = []
        self.host.executor.add(
            item_with_triggers(lambda d: d.interval(MS), lambda _: self.asked.append(self.reader.try_recv())), "asker"
        )
        self.until(lambda: self.connector.health().kind is ConnectorHealthKind.UP)
        list(self.health.drain())

    @property
    def got(self) -> list[int]:
        return [envelope.value.count for envelope in self.asked if envelope is not None]

    def until(self, predicate: Callable[[], bool]) -> None:
        """Run until ``predicate`` holds, at most 5 s of the runtime's time."""
        end_ns = self.runtime.clock.now_ns() + 5_000 * MS
        self.host.run_until(lambda: predicate() or self.runtime.clock.now_ns() > end_ns)
        assert predicate()

    def inject(self, *counts: int) -> None:
        for count in counts:
            self.connector.driver.inject("loop", b'{"count":%d}' % count)

    def degraded(self) -> list[str]:
        """Return the reasons of the Degraded events so far."""
        return [str(event.target.reason) for event in self.health.drain() if isinstance(event.target, Degraded)]

    def close(self) -> None:
        self.host.close()
        self.runtime.close()


@pytest.mark.realizes("TEST_0133")
@pytest.mark.parametrize("bit", [0, 8 * (HEADER_BYTES + 2)], ids=["header", "payload"])
@everywhere
def test_a_corrupt_envelope_yields_nothing_and_degrades_the_connector(
    make_runtime: Callable[[], Runtime], bit: int
) -> None:
    rig = Rig(make_runtime(), 0, Corrupt(bit))

    rig.inject(7)
    rig.until(lambda: rig.reader.crc_errors == 1)
    nothing = rig.got
    reasons = rig.degraded()
    rig.inject(8)
    rig.until(lambda: len(rig.got) == 1)
    rig.close()

    assert nothing == []
    assert rig.got == [8]
    assert len(reasons) == 1
    assert "corrupt" in reasons[0]


@pytest.mark.realizes("TEST_0133")
@everywhere
def test_a_sequence_gap_degrades_the_connector_and_loses_nothing_else(make_runtime: Callable[[], Runtime]) -> None:
    rig = Rig(make_runtime(), 1, Drop())

    rig.inject(1, 2, 3)
    rig.until(lambda: len(rig.got) == 2)
    reasons = rig.degraded()
    rig.close()

    assert rig.got == [1, 3]
    assert rig.reader.sequence_gaps == 1
    assert len(reasons) == 1
    assert "gap" in reasons[0]
