"""Process data as an application sees it, the same on virtual time and through SOEM on a rig."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from taktora import App, Context
from taktora.errors import AlreadyRunning
from taktora_hil.ethercat_bench import EthercatBench

pytestmark = [pytest.mark.world("sim", "rig"), pytest.mark.timeout(240)]


@dataclass
class AxisIn:
    status: int
    actual: float


@dataclass
class AxisOut:
    control: int
    target: float


@dataclass
class Valves:
    fill: bool
    vent: bool


@pytest.mark.verifies("REQ_8151", "REQ_0326", "REQ_0327", "REQ_8500")
def test_typed_images_go_both_ways(ethercat_bus: EthercatBench) -> None:
    app = App("images")
    cell = app.ethercat("cell")
    axis, valves = cell.device("axis", AxisIn, AxisOut), cell.device("valves", outputs=Valves)
    seen: list[tuple[int, float]] = []

    @app.cyclic(on=axis.cycle)
    def control(_: Context) -> None:
        axis.outputs = AxisOut(control=0xBEEF, target=12.5)
        valves.outputs.fill = True
        if axis.fresh:
            seen.append((axis.inputs.status, axis.inputs.actual))

    with ethercat_bus.bind(app) as bound:
        ethercat_bus.until(lambda: (0xBEEF, 12.5) in seen)
        devices = ethercat_bus.devices()
        assert bound.health["cell"].kind.value == "Up"

    assert devices["axis"]["outputs"] == "efbe19000000"
    assert devices["valves"]["outputs"] == "03"  # the second bit is its safe value, which nobody changed


@pytest.mark.verifies("REQ_8510", "REQ_8500")
def test_what_the_bench_binds_runs_and_a_second_start_is_refused(ethercat_bus: EthercatBench) -> None:
    app = App("eager")
    app.ethercat("cell").reader("state")

    with ethercat_bus.bind(app) as bound:
        with pytest.raises(AlreadyRunning) as refused:
            bound.start()
        ethercat_bus.until(lambda: bound.health["cell"].kind.value == "Up")

    assert str(refused.value) == (
        "App 'eager' has been started; leave out this start() (the bind() of a test's EthercatBench starts it, "
        "App.bind() does not)"
    )


@pytest.mark.verifies("REQ_0310", "REQ_0311", "REQ_0326", "REQ_0327")
def test_channels_go_both_ways_and_touch_no_other_bit(ethercat_bus: EthercatBench) -> None:
    app = App("channels")
    cell = app.ethercat("cell")
    command, vent, state = cell.writer("command"), cell.writer("vent"), cell.reader("state")
    received: list[int] = []

    @app.on(state)
    def note(_: Context) -> None:
        received.extend(state.drain())

    with ethercat_bus.bind(app) as bound:
        ethercat_bus.until(lambda: bound.health["cell"].kind.value == "Up")
        command.send(0x1234)
        vent.send(0)
        ethercat_bus.until(lambda: 0x1234 in received)
        ethercat_bus.until(lambda: ethercat_bus.devices()["valves"]["outputs"] == "00")
        devices = ethercat_bus.devices()

    assert devices["axis"]["outputs"][:4] == "3412"
