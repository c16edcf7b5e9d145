"""Health in an App: what a bus is now, and an item that runs once for each move, for EtherCAT and CAN alike."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taktora.app import App, Context
from taktora.app.machine import Machine
from taktora.connector import ConnectorHealthKind, Degraded, HealthEvent
from taktora.errors import ConfigurationError
from taktora_sim.world import World
from tests.unit.app.test_ethercat import AxisIn, Cell

UP, CONNECTING = ConnectorHealthKind.UP, ConnectorHealthKind.CONNECTING
DEGRADED, DOWN = ConnectorHealthKind.DEGRADED, ConnectorHealthKind.DOWN
MS = 1_000_000
DBC = """VERSION ""
NS_ :
BS_:
BU_: Monitor Pack
BO_ 256 Status: 8 Pack
 SG_ charge : 0|8@1+ (1,0) [0|100] "%" Monitor
"""


def kinds(moves: list[HealthEvent]) -> list[tuple[ConnectorHealthKind, ConnectorHealthKind]]:
    """Return from where to where the moves went."""
    return [(move.source.kind, move.target.kind) for move in moves]


@pytest.mark.verifies("REQ_0230", "REQ_0231")
def test_an_item_runs_once_for_each_move_of_an_ethercat_bus_recovery_included() -> None:
    moves: list[HealthEvent] = []
    cycles: list[int] = []

    def declare(app: App) -> None:
        cell = app.ethercat("cell")
        axis = cell.device("axis1", AxisIn)

        @app.cyclic(on=axis.cycle)
        def control(ctx: Context) -> None:
            cycles.append(ctx.now_ns)

        @app.on_health(cell, executor="operator")
        def tell(ctx: Context) -> None:
            assert ctx.now_ns == ctx.health_move.at_ns, "at the very instant, in virtual time"
            moves.append(ctx.health_move)
            assert cell.health.kind in (UP, DEGRADED), "what it is now: an attempt that failed at once is over"

    with Cell(declare) as cell:
        cell.run_cycles(5)
        assert kinds(moves) == [(CONNECTING, UP)]
        cell.driver.with_wkc_sequence(["no frame came back"]).with_recovery_sequence(["nobody answers"] * 2)
        cell.run_cycles(500)

        attempt_failed = [(DEGRADED, CONNECTING), (CONNECTING, DEGRADED)]
        assert kinds(moves)[1:] == [(UP, DEGRADED), *attempt_failed * 2, (DEGRADED, CONNECTING), (CONNECTING, UP)]
        assert moves[1].target == Degraded("cycle failed: no frame came back")
        lost_ns, back_ns = moves[1].at_ns, moves[-1].at_ns
        assert not [at_ns for at_ns in cycles if lost_ns < at_ns < back_ns], "nothing ran on the cycle meanwhile"
        assert cycles[-1] > back_ns


@pytest.mark.verifies("REQ_0231")
def test_an_item_of_health_is_deterministic() -> None:
    def run() -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []

        def declare(app: App) -> None:
            @app.on_health(app.ethercat("cell"))
            def tell(ctx: Context) -> None:
                seen.append((ctx.now_ns, str(ctx.health_move)))

        with Cell(declare) as cell:
            cell.driver.with_wkc_sequence([6] * 10 + ["no frame came back"] * 5).with_recovery_sequence(["nobody"] * 3)
            cell.run_cycles(300)
        return seen

    first = run()

    assert len(first) > 3
    assert run() == first


@pytest.mark.verifies("REQ_0231")
def test_a_move_that_an_item_failed_at_hides_none_behind_it() -> None:
    seen: list[tuple[ConnectorHealthKind, ConnectorHealthKind]] = []

    def declare(app: App) -> None:
        @app.on_health(app.ethercat("cell"))
        def tell(ctx: Context) -> None:
            seen.append((ctx.health_move.source.kind, ctx.health_move.target.kind))
            raise RuntimeError("a bug")

    with Cell(declare) as cell:
        cell.run_cycles(3)
        connector = cell.app.segments["cell"].connector
        assert connector is not None
        for _ in range(2):  # four moves before the item can run
            connector.aggregate.raise_condition("a test", "told so")
            connector.aggregate.clear_condition("a test")
        cell.run_cycles(1)

    assert seen == [(CONNECTING, UP), *[(UP, DEGRADED), (DEGRADED, UP)] * 2]


@pytest.mark.verifies("REQ_0230", "REQ_0231")
def test_the_same_works_for_a_can_bus(tmp_path: Path) -> None:
    (tmp_path / "pack.dbc").write_text(DBC)
    machine = {"machine": "m", "can": {"vehicle": {"bitrate": 500_000, "dbc": str(tmp_path / "pack.dbc")}}}
    moves: list[HealthEvent] = []
    app = App("monitor")
    vehicle = app.can("vehicle")
    vehicle.reader("Status")

    @app.on_health(vehicle)
    def tell(ctx: Context) -> None:
        moves.append(ctx.health_move)

    with World(1) as world, app.bind(world.runtime, machine=msgspec.convert(machine, Machine)) as bound:
        assert vehicle.health.kind is CONNECTING
        bound.start()
        world.run_for(10 * MS)
        end = world.faults.inject("can/vehicle/monitor", "interface_down")
        world.run_for(100 * MS)

        assert vehicle.health.kind is DOWN
        assert vehicle.health == bound.health["vehicle"]
        end()
        world.run_for(5_000 * MS)
        assert kinds(moves)[0] == (CONNECTING, DOWN)
        assert (DOWN, CONNECTING) in kinds(moves)
    with pytest.raises(ConfigurationError, match="bus 'vehicle': the App is not bound"):
        _ = vehicle.health


@pytest.mark.verifies("REQ_0231")
def test_bad_use_says_what_to_do() -> None:
    app, other = App("one"), App("other")

    with pytest.raises(ConfigurationError, match=r"on_health\('cell'\) takes a bus: app.can\(...\) or app.ethercat"):
        app.on_health("cell")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'cell' is no bus of this App; use a handle of its own"):
        app.on_health(other.ethercat("cell"))


@pytest.mark.verifies("REQ_0231")
def test_only_an_item_of_health_has_a_move() -> None:
    told: list[str] = []

    def declare(app: App) -> None:
        app.ethercat("cell")

        @app.cyclic(every_ms=10)
        def look(ctx: Context) -> None:
            with pytest.raises(ConfigurationError) as refused:
                _ = ctx.health_move
            told.append(str(refused.value))

    with Cell(declare) as cell:
        cell.run_cycles(6)

    assert told[0] == "App 'pick': 'look' runs for no move of health; declare it with @app.on_health(bus)"
