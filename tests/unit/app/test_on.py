"""What ``@app.on`` takes: whatever something arrives at; and how it answers to anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taktora.app import App, Bench, Context, Device, EthercatBacking
from taktora.errors import ConfigurationError
from taktora.ethercat.driver import Emergency
from tests.unit.app.test_ethercat import AxisIn, AxisOut, Cell

EMPTY = bytes(5)


@pytest.mark.verifies("REQ_8151", "REQ_8021")
def test_an_item_runs_when_its_device_sends_an_emergency_and_only_then() -> None:
    seen: list[list[Emergency]] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)

        @app.on(axis.emergencies)
        def alarm(_: Context) -> None:
            seen.append(list(axis.emergencies.drain()))

    mine = [Emergency(1, 0x8611, 0x20, EMPTY), Emergency(1, 0x7500, 0x01, EMPTY)]
    with Cell(declare) as cell:
        cell.run_cycles(5)
        cell.driver.emit_emergency(Emergency(3, 0x5000, 0x01, EMPTY))  # of another SubDevice
        cell.run_cycles(5)
        assert seen == []

        for emergency in mine:
            cell.driver.emit_emergency(emergency)
        cell.run_cycles(5)

    assert [emergency for run in seen for emergency in run] == mine
    assert all(seen), "no run without an emergency, none at the end either"


@pytest.mark.verifies("REQ_8151")
def test_an_item_on_emergencies_has_the_executor_that_it_asks_for() -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)

        @app.on(axis.emergencies, executor="alarms")
        def alarm(ctx: Context) -> None:
            ctx.event(f"{len(list(axis.emergencies.drain()))} on {ctx.task_id}")

    with Cell(declare) as cell:
        cell.run_cycles(5)
        cell.driver.emit_emergency(Emergency(1, 0x8611, 0x20, EMPTY))
        cell.run_cycles(5)

        assert "alarms" in cell.bound.executors
        assert "1 on alarm" in [event.text for event in cell.world.recorder.events]


@pytest.mark.verifies("REQ_8151", "REQ_8510")
def test_an_item_on_emergencies_of_a_separate_gateway_is_refused_when_the_app_is_bound() -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)
        app.on(axis.emergencies)(print)

    bench = Bench(ethercat={"cell": EthercatBacking(gateway="separate")})
    said = r"^test_on\.py:\d+: cell\.axis1: emergencies are received in its gateway's process, .* in-process"
    with pytest.raises(ConfigurationError, match=said):
        Cell(declare, bench=bench)


@pytest.mark.verifies("REQ_8021")
def test_an_item_runs_when_a_slice_of_a_bus_has_arrived() -> None:
    seen: list[int] = []

    def declare(app: App) -> None:
        start = app.ethercat("cell").reader("start")

        @app.on(start)
        def press(_: Context) -> None:
            seen.extend(start.drain())

    with Cell(declare) as cell:
        cell.run_cycles(10)

    assert len(seen) > 2


def _device(app: App) -> Device[Any, Any]:
    return app.ethercat("cell").device("axis1", AxisIn, AxisOut)


def _other(app: App) -> Any:
    return App("other").channel("numbers", int)


@pytest.mark.verifies("REQ_8510", "REQ_8021")
@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda app: _device(app).cycle, "cycle of 'cell'; an item runs on it by @app.cyclic(on=axis.cycle)"),
        (_device, "device 'cell.axis1'; use @app.cyclic(on=axis.cycle), or @app.on(axis.emergencies)"),
        (lambda app: app.ethercat("cell"), "bus 'cell'; give one of its readers, or use @app.on_health(bus)"),
        (lambda app: app.can("vehicle"), "bus 'vehicle'; give one of its readers, or use @app.on_health(bus)"),
        (lambda app: app.can("vehicle").writer("Pump"), "'vehicle.Pump', at which nothing arrives: a Writer"),
        (lambda app: app.signal("speed"), "'speed', at which nothing arrives: a Signal"),
        (
            lambda _: print,
            "<built-in function print>, at which nothing arrives: write @app.on(reader), with the reader",
        ),
        (_other, "'other.numbers', which is of another App; use a handle of its own"),
    ],
)
def test_what_nothing_arrives_at_is_refused_with_what_was_meant(give: Callable[[App], Any], words: str) -> None:
    app = App("pick", "machine.yaml")

    with pytest.raises(ConfigurationError) as refused:
        app.on(give(app))

    assert str(refused.value) == f"App 'pick': on() is given {words}"


@pytest.mark.verifies("REQ_8510", "REQ_8021")
@pytest.mark.parametrize("call", ["on_lost", "on_found"])
def test_emergencies_have_no_age_to_lose(call: str) -> None:
    app = App("pick", "machine.yaml")

    with pytest.raises(ConfigurationError, match=r"on_lost and on_found need a reader with max_age_ms"):
        getattr(app, call)(_device(app).emergencies)(print)


@pytest.mark.verifies("REQ_8510", "REQ_8021")
def test_what_arrives_wakes_one_executor_so_items_on_two_are_refused() -> None:
    app = App("pick")
    numbers, words = app.channel("numbers", int), app.channel("words", str)

    def count(_: Context) -> None: ...
    def show(_: Context) -> None: ...
    def keep(_: Context) -> None: ...

    app.on(numbers, executor="fast")(count)
    app.on(numbers, executor="fast")(keep)
    app.on(words)(show)

    def late(_: Context) -> None: ...

    with pytest.raises(ConfigurationError) as refused:
        app.on(numbers)(late)

    assert str(refused.value) == (
        "App 'pick': item 'late' on executor 'main' and item 'count' on 'fast' are both on 'pick.numbers', which wakes "
        "one executor only; put them on one executor"
    )
