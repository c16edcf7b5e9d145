"""Figures of the bus's cycle at the connector and in an App: pushed once per attempt, pulled at any time."""

from __future__ import annotations

import pytest

from taktora.app import App, Context
from taktora.errors import ConfigurationError
from taktora.ethercat.connector import RemoteEthercatConnector
from taktora.ethercat.image import Validity
from taktora.ethercat.telemetry import BusCycleObservation, CycleOutcome
from taktora.executor import TaskFailed
from taktora_sim.world import World
from tests.unit.app.test_ethercat import AxisIn, AxisOut, Cell
from tests.unit.can.support import BytesCodec
from tests.unit.ethercat.support import Rig, options


@pytest.mark.verifies("REQ_0265", "REQ_0267")
def test_every_attempt_is_pushed_once_the_failing_ones_too() -> None:
    with Rig() as rig:
        seen: list[BusCycleObservation] = []
        rig.connector.observe_cycles(seen.append)
        rig.start().run_ms(3.5)
        rig.bus.validity[1] = Validity.STALE
        rig.run_ms(2)
        rig.bus.fails = True
        rig.run_ms(2)

        assert [each.cycle_index for each in seen] == list(range(rig.bus.cycle_index))
        assert [each.outcome for each in seen] == (
            [CycleOutcome.COMPLETED] * 3 + [CycleOutcome.DEGRADED] * 2 + [CycleOutcome.FAULT] * 2
        )
        assert [each.wire_round_ns for each in seen] == [50_000] * 5 + [None] * 2


@pytest.mark.verifies("REQ_0262", "REQ_0263", "REQ_0264", "REQ_0265", "REQ_0266")
def test_the_aggregates_of_the_bus_are_pulled_from_the_connector() -> None:
    with Rig() as rig:
        rig.start().run_ms(3.5)
        rig.bus.validity[1] = Validity.STALE
        rig.run_ms(2)
        rig.bus.fails = True
        rig.run_ms(1)

        seen = rig.connector.cycle_statistics()

        assert (seen.cycles, seen.faults, seen.wkc_mismatch_count, seen.not_all_fresh_count) == (6, 1, 3, 3)
        assert (seen.wire_min_ns, seen.wire_max_ns, seen.phase_wait_mean_ns) == (50_000, 50_000, 900_000)
        assert seen.max_stale_cycles == (0, 3, 0, 0)


@pytest.mark.verifies("REQ_0262", "REQ_0263")
def test_counters_outlive_a_recovery_and_durations_the_window_only() -> None:
    with Rig(telemetry_window=4) as rig:
        rig.start().run_ms(1.5)
        rig.bus.fails = True
        rig.run_ms(2)
        rig.bus.fails = False
        rig.run_ms(20)

        seen = rig.connector.cycle_statistics()

        assert (seen.faults, seen.wkc_mismatch_count) == (2, 2)
        assert rig.options.telemetry_window == 4
        assert options(telemetry_window=0).telemetry_window == 1


@pytest.mark.verifies("REQ_0265")
def test_an_app_pulls_and_observes_and_the_index_is_that_of_its_items() -> None:
    seen: list[BusCycleObservation] = []
    runs: list[int] = []

    def declare(app: App) -> None:
        cell = app.ethercat("cell")
        axis = cell.device("axis1", AxisIn, AxisOut)
        cell.observe(seen.append)
        with pytest.raises(ConfigurationError, match="cell: the App is not bound"):
            cell.statistics()

        @app.cyclic(on=axis.cycle)
        def control(_: Context) -> None:
            runs.append(axis.cycle_index)

    with Cell(declare) as cell:
        cell.driver.with_wkc_sequence([6, 6, "no frame came back"])
        cell.run_cycles(200)
        figures = cell.app.ethercat("cell").statistics()

    assert [each.cycle_index for each in seen] == runs == list(range(len(runs)))
    assert (figures.cycles, figures.faults, figures.wkc_mismatch_count) == (len(seen), 1, 1)
    assert figures.wire_max_ns == 100_000


@pytest.mark.verifies("REQ_0265", "REQ_0321")
def test_a_gateway_in_another_process_says_that_the_figures_are_there() -> None:
    with World(1) as world:
        connector = RemoteEthercatConnector(world.runtime, options(), BytesCodec(), "cell")

        with pytest.raises(ConfigurationError, match=r"'cell': cycle_statistics: .* in its gateway's process"):
            connector.cycle_statistics()
        with pytest.raises(ConfigurationError, match="observe_cycles"):
            connector.observe_cycles(print)
        connector.close()


@pytest.mark.verifies("REQ_0265")
def test_an_observer_that_raises_ends_the_run() -> None:
    def refuse(_: BusCycleObservation) -> None:
        raise RuntimeError("the observer is broken")

    with Rig() as rig:
        rig.connector.observe_cycles(refuse)
        with pytest.raises(TaskFailed, match="the observer is broken"):
            rig.start().run_ms(3)
        with pytest.raises(TaskFailed, match="the observer is broken"):
            rig.host.gateway.close()

        assert rig.walk()[-1].startswith("Down: gateway failed")
