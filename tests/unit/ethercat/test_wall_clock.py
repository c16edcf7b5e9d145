"""The connector on the wall clock: cycles from another thread, and an item that hangs while the bus goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import pytest

from taktora.app import App, Bench, Context, Machine
from taktora.connector import ConnectorHealth, Up
from taktora.connector.reconnect import ExponentialBackoff
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.image import BusListener, CycleRecord, ImageLayout, Validity
from taktora.ethercat.local import LocalBus
from taktora.runtime import Runtime
from taktora.testing.mock_bus import MockBusDriver
from tests.patience import PATIENCE_S

MACHINE = msgspec.convert(
    {
        "machine": "cell",
        "ethercat": {
            "cell": {
                "cycle_time_ms": 5,
                "devices": [
                    {
                        "label": "axis",
                        "sm_watchdog_enabled": True,
                        "safe": {"target": 5},
                        "pdos": {
                            "rx": [{"index": 0x1600, "entries": [{"name": "target", "index": 0x607A, "type": "i32"}]}],
                            "tx": [
                                {"index": 0x1A00, "entries": [{"name": "position", "index": 0x6064, "type": "i32"}]}
                            ],
                        },
                    }
                ],
            }
        },
    },
    Machine,
)


@dataclass
class AxisIn:
    position: int


@dataclass
class AxisOut:
    target: int


class ThreadBus:
    """A bus with a thread of its own; what comes back as position is the target that went out."""

    def __init__(self, layout: ImageLayout) -> None:
        self.layout = layout
        self.renewals = 0
        self._staged = bytes(layout.output_bytes)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, listener: BusListener) -> None:
        self._thread = threading.Thread(target=self._run, args=(listener,))
        self._thread.start()

    def stage_outputs(self, outputs: bytes | bytearray | memoryview, renewed: bytes | bytearray | memoryview) -> None:
        self._staged = bytes(outputs)
        self.renewals += any(renewed)

    def close(self) -> None:
        self._ends.set()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)

    def _run(self, listener: BusListener) -> None:
        listener.on_health(Up())
        index = 0
        while not self._ends.wait(0.005):
            fresh = bytes([Validity.FRESH])
            listener.on_cycle(CycleRecord(index, time.monotonic_ns(), self._staged, fresh, 1_000, 1_000, True))
            index += 1


def wait_for(what: str, predicate: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not predicate():
        assert time.monotonic() < end_s, f"never: {what}"
        time.sleep(0.005)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime.system("inprocess")
    yield runtime
    runtime.close()


@pytest.mark.verifies("REQ_0321", "REQ_8151")
def test_a_bus_in_a_thread_of_its_own_paces_the_application(runtime: Runtime) -> None:
    buses: list[ThreadBus] = []

    def make_bus(_: Runtime, request: BusRequest) -> ThreadBus:
        buses.append(ThreadBus(request.options.plan().layout()))
        return buses[-1]

    runtime.backends["ethercat"] = make_bus
    app = App("thread")
    axis = app.ethercat("cell").device("axis", AxisIn, AxisOut)

    @app.cyclic(on=axis.cycle)
    def count(_: Context) -> None:
        axis.outputs.target = axis.inputs.position + 1

    with app.bind(runtime, machine=MACHINE, bench=Bench()) as bound:
        bound.start()
        wait_for("20 rounds", lambda: axis.cycle_index > 0 and axis.inputs.position >= 20)
        health: ConnectorHealth = bound.health["cell"]

    assert health == Up()
    assert buses[0].renewals >= 20
    assert not bound.troubles


@pytest.mark.verifies("REQ_8150")
def test_an_item_that_hangs_leaves_safe_outputs_and_its_return_is_seen(runtime: Runtime) -> None:
    drivers: list[MockBusDriver] = []

    def make_bus(world: Runtime, request: BusRequest) -> LocalBus:
        plan = request.options.plan()
        drivers.append(MockBusDriver.for_plan(plan))
        return LocalBus(plan, drivers[-1], world.clock, lambda: ExponentialBackoff(world.entropy), request.bus)

    runtime.backends["ethercat"] = make_bus
    hangs, returns = threading.Event(), threading.Event()
    app = App("hang")
    axis = app.ethercat("cell").device("axis", AxisIn, AxisOut)

    @app.cyclic(on=axis.cycle)
    def control(_: Context) -> None:
        axis.outputs.target = 1000
        if hangs.is_set():
            returns.wait(PATIENCE_S)

    def target() -> int:
        return int.from_bytes(drivers[0].snapshot_outputs(0x1000), "little")

    with app.bind(runtime, machine=MACHINE, bench=Bench()) as bound:
        bound.start()
        try:
            wait_for("the application's outputs", lambda: target() == 1000)
            hangs.set()
            wait_for("safe outputs", lambda: target() == 5)
            wait_for("health says so", lambda: bound.health["cell"].kind.value == "Degraded")
        finally:
            hangs.clear()
            returns.set()
        wait_for("the application is back", lambda: target() == 1000)
