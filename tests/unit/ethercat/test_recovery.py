"""Recovery of a bus after a failed cycle: attempts, policies and the exact sequence of health."""

from __future__ import annotations

import pytest

from taktora.connector.health import Connecting, Degraded, Down, HealthMonitor, Up
from taktora.connector.reconnect import ExponentialBackoff, ReconnectPolicy
from taktora.errors import LinkDown
from taktora.ethercat.driver import BringUp, Steps
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.testing import ManualClock
from taktora.testing.mock_bus import MockBusDriver
from tests.unit.ethercat.bus_bench import MS, BusBench, make_plan, make_policy

_FOUND = BringUp(6, 4)


@pytest.mark.realizes("TEST_0226")
def test_the_sequence_of_health_over_an_episode_is_exact() -> None:
    bench = BusBench(policy=make_policy(3))
    bench.mock.with_wkc_sequence([6, "no frame came back"])
    bench.mock.with_recovery_sequence(["SubDevice 2 is missing", _FOUND])

    bench.run_cycles(4)

    assert bench.seen.healths == [
        Up(),
        Degraded("cycle failed: no frame came back"),
        Connecting(11 * MS),
        Degraded("recover failed: SubDevice 2 is missing"),
        Connecting(31 * MS),
        Up(),
    ]
    assert not bench.has_ended


@pytest.mark.realizes("TEST_0225")
def test_exhaustion_ends_in_down_and_the_runner_stops() -> None:
    bench = BusBench(policy=make_policy(2))
    bench.mock.with_wkc_sequence(["cut"])
    bench.mock.with_recovery_sequence(["cut", "cut", _FOUND])

    bench.run_cycles(2)

    assert bench.has_ended
    assert bench.seen.healths[-2:] == [
        Degraded("recover failed: cut"),
        Down("reconnect policy exhausted", 30 * MS),
    ]
    assert [health.is_final for health in bench.seen.healths if isinstance(health, Down)] == [True]
    assert (bench.mock.recover_calls, bench.mock.cycle_calls) == (2, 1)


@pytest.mark.realizes("TEST_0225")
def test_each_fault_gets_a_fresh_policy() -> None:
    made: list[ReconnectPolicy] = []

    def factory() -> ReconnectPolicy:
        made.append(make_policy(1)())
        return made[-1]

    bench = BusBench(policy=factory)
    bench.mock.with_wkc_sequence(["lost", 6, "lost", 6, "lost", 6])

    bench.run_cycles(6)

    assert len(made) == bench.mock.recover_calls == 3
    assert [text.partition(":")[0] for text in bench.seen.texts] == ["Up", *["Degraded", "Connecting", "Up"] * 3]


@pytest.mark.realizes("TEST_0225")
def test_a_changed_expected_counter_counts_from_the_next_cycle_on() -> None:
    bench = BusBench()
    bench.mock.with_wkc_sequence([6, "lost", 6, 4])
    bench.mock.with_recovery_sequence([BringUp(5, 3)])

    bench.run_cycles(4)

    assert [record.wc_ok for record in bench.seen.records] == [True, False, True, False]
    assert bench.seen.texts[-1].endswith("cycle 3, observed 4, expected 5")


@pytest.mark.verifies("REQ_0331")
def test_the_outage_is_no_row_of_skipped_slots_and_the_grid_stays() -> None:
    bench = BusBench()
    bench.mock.with_wkc_sequence([6, "lost"])

    bench.run_cycles(4)

    assert [record.at_ns for record in bench.seen.records] == [0, MS, 11 * MS, 12 * MS]
    assert bench.runner.scheduler.skipped_slots == 0


@pytest.mark.verifies("REQ_0331")
def test_an_interface_that_is_gone_ends_the_run_at_once() -> None:
    class Unplugged(MockBusDriver):
        def recover(self) -> Steps[BringUp]:
            yield from ()
            raise LinkDown("interface eth1 is gone")

    plan = make_plan()
    bench = BusBench(plan, driver=Unplugged.for_plan(plan))
    bench.mock.with_wkc_sequence(["no such device"])

    bench.run_cycles(2)

    assert bench.has_ended
    assert bench.seen.texts[-1] == "Down: recover failed: interface eth1 is gone"


@pytest.mark.verifies("REQ_0331", "REQ_0314")
def test_an_attempt_that_finds_another_bus_fails_and_the_next_one_may_succeed() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.mock.with_subdevice_inputs(0x1001, b"\1\2\3")
    bench.mock.with_wkc_sequence(["lost"])
    bench.run_until_ns(12 * MS)
    bench.mock.with_subdevice_inputs(0x1001, b"\7")
    bench.run_cycles(1)

    assert bench.seen.texts[3].startswith("Degraded: recover failed: inputs of 'inputs' (0x1001): 3 bytes")
    assert bench.seen.texts[-1] == "Up"
    assert bench.seen.records[-1].inputs[0] == 7


@pytest.mark.verifies("REQ_0332")
def test_the_default_factory_gives_exponential_backoff_with_its_defaults() -> None:
    class Half:
        def random(self) -> float:
            return 0.5

    policy = EthercatConnectorOptions().reconnect_policy_factory(Half())

    assert isinstance(policy, ExponentialBackoff)
    assert [policy.next_backoff() for _ in range(3)] == [100_000_000, 200_000_000, 400_000_000]


@pytest.mark.verifies("REQ_0333")
def test_every_move_that_a_bus_reports_is_one_of_the_health_table() -> None:
    bench = BusBench(policy=make_policy(2), clock=ManualClock())
    monitor = HealthMonitor("ethercat", bench.clock)
    bench.mock.with_wkc_sequence([6, 1, 6, "lost", 6, 0, "lost"])
    bench.mock.with_recovery_sequence([_FOUND, "no", "no"])

    bench.run_cycles(20)

    assert len(bench.seen.healths) > 8
    for health in bench.seen.healths:
        monitor.transition_to(health)
    assert bench.has_ended
