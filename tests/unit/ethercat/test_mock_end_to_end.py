"""Application, gateway, cycle and the public mock together, in virtual time: what users' own tests look like."""

from __future__ import annotations

import struct
from typing import NamedTuple, Self

import pytest

from taktora.codec import BinaryCodec
from taktora.codec.binary import U16
from taktora.connector import ConnectorHost
from taktora.connector.reconnect import ExponentialBackoff, RandomSource, ReconnectPolicy
from taktora.ethercat.connector import EthercatConnector, ethercat_channel
from taktora.ethercat.driver import BringUp
from taktora.ethercat.local import LocalBus
from taktora.testing import MockBusDriver
from taktora.testing.bus_log import health_text
from taktora_sim.world import World
from tests.unit.ethercat.support import MS, options, rx, tx


def _policy(random: RandomSource) -> ReconnectPolicy:
    return ExponentialBackoff(random, initial_ns=5 * MS, jitter_ratio=0.0, max_attempts=2)


class Speed(NamedTuple):
    """Two bytes, big-endian."""

    value: U16


class Bench:
    """A connector over a mock of its PDO map, on a host."""

    def __init__(self) -> None:
        self.world = World(1)
        self.options = options(reconnect_policy_factory=_policy)
        plan = self.options.plan()
        self.mock = MockBusDriver.for_plan(plan, clock=self.world, wire_round_ns=100_000)
        policy = self.options.reconnect_policy_factory
        bus = LocalBus(plan, self.mock, self.world, lambda: policy(self.world.runtime.entropy))
        self.connector = EthercatConnector(self.world.runtime, self.options, bus, BinaryCodec())
        self.health = self.connector.subscribe_health()
        self.host = ConnectorHost.builder(self.world.runtime, "app").build()

    def start(self) -> Self:
        self.host.register(self.connector)
        self.host.gateway.start()
        self.world.runtime.start(self.host.executor)
        return self

    def run_ms(self, duration_ms: float) -> None:
        self.world.run_for(round(duration_ms * MS))

    def moves(self) -> list[str]:
        """Return the moves so far, each as ``Up -> Degraded: reason``."""
        return [f"{event.source.kind.value} -> {health_text(event.target)}" for event in self.health.drain()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.host.executor.stop()
        self.host.close()
        self.connector.close()
        self.world.close()


@pytest.mark.realizes("TEST_0220")
def test_after_a_send_and_a_cycle_the_routed_bits_hold_the_value_and_all_others_are_unchanged() -> None:
    with Bench() as bench:
        writer = bench.connector.create_writer(ethercat_channel("speed", rx(0x1001, 8, 16)), Speed)
        bench.start().run_ms(2.5)
        before = bench.mock.snapshot_outputs(0x1001)

        writer.send(Speed(0x1234))
        bench.run_ms(1)

        assert before == b"\x00\x00\x07\x00"
        assert bench.mock.snapshot_outputs(0x1001) == b"\x00" + struct.pack(">H", 0x1234) + b"\x00"


@pytest.mark.realizes("TEST_0221")
def test_after_a_cycle_a_reader_has_the_value_that_the_bits_stand_for() -> None:
    with Bench() as bench:
        reader = bench.connector.create_reader(ethercat_channel("position", tx(0x1001, 4, 16)), Speed)
        bench.mock.set_inputs(0x1001, (int.from_bytes(struct.pack(">H", 0xBEEF), "little") << 4).to_bytes(4, "little"))

        bench.start().run_ms(1.5)

        assert {envelope.value for envelope in reader.drain()} == {Speed(0xBEEF)}


@pytest.mark.realizes("TEST_0222")
def test_a_loopback_gives_back_what_was_sent_after_one_cycle() -> None:
    with Bench() as bench:
        bench.mock.with_loopback()
        writer = bench.connector.create_writer(ethercat_channel("there", rx(0x1001, 3, 16)), Speed)
        reader = bench.connector.create_reader(ethercat_channel("back", tx(0x1001, 3, 16)), Speed)
        bench.start().run_ms(2.5)
        list(reader.drain())

        for number in (1, 0xFFFF, 0x1234):
            writer.send(Speed(number))
            bench.run_ms(1)
            assert [envelope.value for envelope in reader.drain()] == [Speed(number)]


@pytest.mark.realizes("TEST_0858")
def test_a_failed_bring_up_is_one_move_to_down_for_every_subscriber() -> None:
    with Bench() as bench:
        bench.mock.failing_bring_up("no SubDevice answers on eth1")
        other = bench.connector.subscribe_health()

        bench.start().run_ms(20)

        assert bench.moves() == ["Connecting -> Down: bring-up failed: no SubDevice answers on eth1"]
        assert len(list(other.drain())) == 1


@pytest.mark.realizes("TEST_0226")
def test_subscribers_see_the_exact_sequence_of_a_recovery() -> None:
    with Bench() as bench:
        expected = bench.options.plan().expected_wkc(4)
        bench.mock.with_wkc_sequence([expected, "no frame came back", expected, "cut"])
        bench.mock.with_recovery_sequence(["SubDevice 3 is missing", BringUp(expected, 4), "cut", "cut"])

        bench.start().run_ms(80)

        assert bench.moves() == [
            "Connecting -> Up",
            "Up -> Degraded: cycle failed: no frame came back",
            "Degraded -> Connecting",
            "Connecting -> Degraded: recover failed: SubDevice 3 is missing",
            "Degraded -> Connecting",
            "Connecting -> Up",
            "Up -> Degraded: cycle failed: cut",
            "Degraded -> Connecting",
            "Connecting -> Degraded: recover failed: cut",
            "Degraded -> Connecting",
            "Connecting -> Degraded: recover failed: cut",
            "Degraded -> Down: reconnect policy exhausted",
        ]


@pytest.mark.verifies("REQ_8150")
def test_an_application_whose_executor_has_stopped_leaves_safe_outputs() -> None:
    with Bench() as bench:
        writer = bench.connector.create_writer(ethercat_channel("speed", rx(0x1001, 0, 16)), Speed)
        bench.start().run_ms(2.5)
        writer.send(Speed(0x1234))
        bench.run_ms(20)
        live = bench.mock.snapshot_outputs(0x1001)

        bench.host.executor.stop()
        bench.run_ms(10)

        assert live == struct.pack(">H", 0x1234) + b"\x07\x00"
        assert bench.mock.snapshot_outputs(0x1001) == b"\x00\x00\x07\x00"
        assert "outputs of 'axis1' (0x1001) not renewed" in bench.moves()[-1]
