"""EtherCAT in an App: typed images on the bus's cycle, slices by name, and what bad use is answered with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from taktora.app import App, Context
from taktora.app.bench import Bench, EthercatBacking
from taktora.app.bound import BoundApp
from taktora.app.ethercat import BusCycle, Device
from taktora.app.machine import Machine
from taktora.connector.reconnect import ExponentialBackoff
from taktora.errors import CodecError, ConfigurationError, NotReady
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.driver import AlState, Emergency, Exchange, Steps
from taktora.ethercat.image import Validity
from taktora.ethercat.local import LocalBus
from taktora.executor import ItemFlow
from taktora.runtime import Runtime
from taktora.testing.mock_bus import MockBusDriver
from taktora_sim.world import World

MS = 1_000_000
PERIOD = 2 * MS
MACHINE = {
    "machine": "cell",
    "ethercat": {
        "cell": {
            "cycle_time_ms": 2,
            "devices": [
                {"label": "coupler"},
                {
                    "label": "axis1",
                    "sm_watchdog_enabled": True,
                    "safe": {"torque": 1.5},
                    "pdos": {
                        "rx": [
                            {
                                "index": 0x1600,
                                "entries": [
                                    {"name": "control", "index": 0x6040, "type": "u16"},
                                    {"name": "torque", "index": 0x6071, "type": "i16", "factor": 0.1, "unit": "%"},
                                ],
                            }
                        ],
                        "tx": [
                            {
                                "index": 0x1A00,
                                "entries": [
                                    {"name": "status", "index": 0x6041, "type": "u16"},
                                    {"name": "position", "index": 0x6064, "type": "i32", "factor": 0.001, "unit": "mm"},
                                ],
                            }
                        ],
                    },
                },
                {
                    "label": "lamps",
                    "sm_watchdog_enabled": True,
                    "pdos": {"rx": [{"index": 0x1600, "bit_length": 4}]},
                },
                {"label": "buttons", "pdos": {"tx": [{"index": 0x1A00, "bit_length": 4}]}},
            ],
            "channels": [
                {"name": "lamp", "device": "lamps", "direction": "rx", "bit_offset": 1, "bit_length": 2},
                {"name": "start", "device": "buttons", "direction": "tx", "bit_offset": 3, "bit_length": 1},
            ],
        }
    },
}
AXIS, LAMPS, BUTTONS = 0x1001, 0x1002, 0x1003


@dataclass
class AxisIn:
    status: int
    position: float


@dataclass
class AxisOut:
    control: int
    torque: float


class AxisOutStruct(msgspec.Struct, frozen=True):
    torque: float


class RecordingDriver(MockBusDriver):
    """A mock that remembers what went out with each exchange, and of which cycle its inputs tell."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.sent: list[tuple[bytes, bytes]] = []

    def exchange(self) -> Steps[Exchange]:
        self.sent.append((self.snapshot_outputs(AXIS), self.snapshot_outputs(LAMPS)))
        self.set_inputs(AXIS, (len(self.sent) - 1).to_bytes(2, "little") + (12_345).to_bytes(4, "little"))
        return (yield from super().exchange())


class Cell:
    """An App on a bus in virtual time."""

    def __init__(self, declare: Callable[[App], object], *, machine: Any = MACHINE, bench: Bench | None = None) -> None:
        self.world = World(1)
        self.world.recorder.tolerates_item_errors = True
        self.driver: RecordingDriver
        self.request: BusRequest
        self.world.runtime.backends["ethercat"] = self._make_bus
        self.app = App("pick")
        declare(self.app)
        self.bound: BoundApp = self.app.bind(
            self.world.runtime, machine=msgspec.convert(machine, Machine), bench=bench or Bench()
        )

    def _make_bus(self, runtime: Runtime, request: BusRequest) -> LocalBus:
        self.request = request
        plan = request.options.plan()
        self.driver = RecordingDriver.for_plan(plan, clock=runtime.clock, wire_round_ns=100_000)
        entropy = runtime.entropy
        return LocalBus(plan, self.driver, runtime.clock, lambda: ExponentialBackoff(entropy), request.bus)

    def run_cycles(self, cycles: float) -> None:
        self.world.run_for(round(cycles * PERIOD))

    def axis(self) -> list[tuple[int, int]]:
        """Return control and raw torque of each exchange."""
        return [
            (int.from_bytes(axis[:2], "little"), int.from_bytes(axis[2:4], "little")) for axis, _ in self.driver.sent
        ]

    def __enter__(self) -> Self:
        self.bound.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self.bound.close()
        finally:
            self.world.close()


@pytest.mark.verifies("REQ_8151")
def test_inputs_logic_outputs_with_a_dead_time_of_one_cycle() -> None:
    seen: list[tuple[int, int, float]] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)
        assert axis.dead_time_cycles == 1

        @app.cyclic(on=axis.cycle)
        def control(ctx: Context) -> None:
            seen.append((axis.cycle_index, axis.inputs.status, axis.inputs.position))
            axis.outputs.control = axis.inputs.status + 1

    with Cell(declare) as cell:
        cell.run_cycles(10)

        assert seen[:3] == [(k, k, 12.345) for k in range(3)]
        assert cell.axis()[0] == (0, 15), "before the first answer: the safe values"
        assert [control for control, _ in cell.axis()[1:]] == list(range(1, len(cell.axis())))


@pytest.mark.verifies("REQ_8151")
def test_items_run_in_order_of_declaration_as_one_chain() -> None:
    order: list[str] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)

        @app.cyclic(on=axis.cycle)
        def second_name_first(_: Context) -> None:
            order.append("first")
            axis.outputs = AxisOut(7, 2.0)

        @app.cyclic(on=app.ethercat("cell").cycle)
        def a_later_one(_: Context) -> None:
            order.append("second")
            axis.outputs.control += 1

    with Cell(declare) as cell:
        cell.run_cycles(4.5)

        assert order[:4] == ["first", "second", "first", "second"]
        assert cell.axis()[-1] == (8, 20)
        assert cell.bound.executors["main"].task_ids[-1] == "second_name_first", (
            "the chain is named after its first item"
        )


@pytest.mark.verifies("REQ_8150", "REQ_8151")
@pytest.mark.parametrize("how", ["raises", "stops the chain", "gives a value out of range", "takes too long"])
def test_outputs_are_renewed_only_if_every_item_ran(how: str) -> None:
    bad = [False]

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)

        @app.cyclic(on=axis.cycle, budget_us=1000)
        def control(_: Context) -> ItemFlow | None:
            axis.outputs.control = 7
            if bad[0] and how == "raises":
                raise RuntimeError("a bug")
            if bad[0] and how == "gives a value out of range":
                axis.outputs.torque = 1e9
            return ItemFlow.STOP_CHAIN if bad[0] and how == "stops the chain" else None

    with Cell(declare) as cell:
        cell.run_cycles(5.5)
        assert cell.axis()[-1] == (7, 15)
        bad[0] = True
        if how == "takes too long":
            cell.world.executions.set("control", 1_500_000)
        cell.run_cycles(8)

        assert cell.axis()[-1] == (0, 15), "the safe values"
        assert (AXIS, AlState.SAFE_OP) in cell.driver.state_requests
        assert cell.bound.health["cell"].kind.value == "Degraded"


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize("how", ["a field", "a record", "elsewhere"])
def test_a_value_out_of_range_names_the_line_that_sets_it(how: str) -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)

        def a_field(_: Context) -> None:
            axis.outputs.torque = 1e9

        def a_record(_: Context) -> None:
            axis.outputs = AxisOut(control=1, torque=1e9)

        def elsewhere(context: Context) -> None:
            a_field(context)

        app.cyclic(on=axis.cycle)({"a field": a_field, "a record": a_record, "elsewhere": elsewhere}[how])

    with Cell(declare) as cell:
        cell.run_cycles(3)
        words = " ".join(check.name + check.detail for check in cell.world.recorder.checks) + " ".join(
            event.text for event in cell.world.recorder.events
        )

    told = re.search(r"torque = 1000000000\.0.* is not in .*; set by (\w+) \(test_ethercat\.py:(\d+)\)", words)
    if how == "elsewhere":
        assert told is None
        return
    assert told is not None, words
    source = Path(__file__).read_text(encoding="utf-8").splitlines()[int(told[2]) - 1]
    assert (told[1], "torque" in source) == (how.replace(" ", "_"), True)


@pytest.mark.verifies("REQ_8150")
@pytest.mark.parametrize("kind", ["kill", "stop", "hang"])
def test_an_application_that_no_longer_runs_leaves_safe_outputs(kind: str) -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)
        lamp = app.ethercat("cell").writer("lamp")

        @app.cyclic(on=axis.cycle)
        def control(_: Context) -> None:
            axis.outputs.control = 7
            lamp.try_send(3)

    with Cell(declare) as cell:
        cell.run_cycles(5.5)
        assert (cell.axis()[-1], cell.driver.sent[-1][1]) == ((7, 15), b"\x06")
        end = cell.world.faults.inject("app/pick", kind)
        cell.run_cycles(5)

        assert (cell.axis()[-1], cell.driver.sent[-1][1]) == ((0, 15), b"\x00"), "safe within 10 ms"
        cell.run_cycles(20)
        assert cell.bound.health["cell"].kind.value == "Degraded"
        if kind != "kill":
            end()
            cell.run_cycles(8)
            assert cell.axis()[-1] == (7, 15)
            assert cell.bound.health["cell"].kind.value == "Up"


@pytest.mark.verifies("REQ_8151")
def test_validity_age_and_freshness_of_a_subdevice_that_stops_to_answer() -> None:
    seen: list[tuple[Validity, bool, int | None]] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)

        @app.cyclic(on=axis.cycle)
        def control(_: Context) -> None:
            seen.append((axis.validity, axis.fresh, axis.age_cycles))

    with Cell(declare) as cell:
        cell.run_cycles(3.5)
        before = len(seen)
        cell.driver.set_state(AXIS, AlState.NONE)
        cell.driver.with_default_cycle_wkc(3)
        cell.run_cycles(2)

        assert set(seen[:before]) == {(Validity.FRESH, True, 0)}
        assert seen[before : before + 2] == [(Validity.STALE, False, 1), (Validity.STALE, False, 2)]


@pytest.mark.verifies("REQ_8151")
def test_a_device_may_have_outputs_only_and_an_immutable_class() -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", outputs=AxisOutStruct)

        @app.cyclic(on=axis.cycle)
        def control(_: Context) -> None:
            axis.outputs = AxisOutStruct(axis.outputs.torque + 1)

    with Cell(declare) as cell:
        cell.run_cycles(3.5)

        assert [torque for _, torque in cell.axis()][:3] == [15, 25, 35]


@pytest.mark.verifies("REQ_8151")
def test_inputs_may_be_used_from_items_that_run_on_their_own() -> None:
    seen: list[int] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)

        @app.cyclic(every_ms=10)
        def look(_: Context) -> None:
            seen.append(axis.inputs.status)

    with Cell(declare) as cell:
        cell.run_cycles(11)

        assert len(seen) == 2
        assert seen[1] == seen[0] + 5


@pytest.mark.verifies("REQ_0326", "REQ_0327", "REQ_0836")
def test_channels_of_the_machine_file_are_read_and_written_by_name() -> None:
    starts: list[int] = []
    made: dict[str, Any] = {}

    def declare(app: App) -> None:
        cell = app.ethercat("cell")
        start, made["lamp"] = cell.reader("start", max_age_ms=10), cell.writer("lamp")

        @app.on(start)
        def pressed(_: Context) -> None:
            starts.extend(start.drain())

    with Cell(declare) as cell:
        lamp = made["lamp"]
        with pytest.raises(NotReady):
            lamp.send(3)
        assert not lamp.try_send(3)
        cell.run_cycles(2.5)
        with pytest.raises(CodecError, match=r"cell.lamp: 4 does not fit 2 bits: 0 to 3"):
            lamp.send(4)
        lamp.send(3)
        cell.driver.set_inputs(BUTTONS, b"\x08")
        cell.run_cycles(20)

        assert cell.driver.sent[-1][1] == b"\x06", "renewed in every cycle by the main executor"
        assert (starts[0], starts[-1]) == (0, 1)
        cell.bound.executors["main"].stop()
        cell.run_cycles(8)
        assert cell.driver.sent[-1][1] == b"\x00"


@pytest.mark.verifies("REQ_8021", "REQ_8151")
def test_the_world_is_asked_for_the_bus_of_the_machine_file() -> None:
    def declare(app: App) -> None:
        app.ethercat("cell").device("axis1", AxisIn)

    backing = EthercatBacking(interface="eth7", plant={"axis1": {"inertia": 0.5}})
    with Cell(declare, bench=Bench(ethercat={"cell": backing})) as cell:
        request = cell.request

        assert (request.bus, request.node, request.interface, request.simulated) == ("cell", "pick", "eth7", False)
        assert request.settings == {"axis1": {"inertia": 0.5}}
        assert request.options.cycle_time_ns == PERIOD
        assert [sub.label for sub in request.options.pdo_map] == ["coupler", "axis1", "lamps", "buttons"]


@dataclass
class Wrong:
    statuss: int


@dataclass
class WrongType:
    position: str


@pytest.mark.verifies("REQ_8151", "REQ_8510")
@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda app: app.ethercat("cel").device("axis1", AxisIn), "no EtherCAT bus 'cel'.*did you mean cell"),
        (
            lambda app: app.ethercat("cell").device("axis", AxisIn),
            r"^test_ethercat\.py:\d+: bus 'cell' has no device 'axis'; did you mean axis1",
        ),
        (
            lambda app: app.ethercat("cell").device("axis1", Wrong),
            r"^test_ethercat\.py:\d+: inputs of cell\.axis1: .*statuss.*status",
        ),
        (lambda app: app.ethercat("cell").device("axis1", WrongType), "position"),
        (lambda app: app.ethercat("cell").device("lamps", AxisIn), "lamps"),
        (lambda app: app.ethercat("cell").writer("lam"), "no channel 'lam'; did you mean lamp"),
        (lambda app: app.ethercat("cell").reader("lamp"), r"is an output \(rx\); declare it with writer"),
        (lambda app: app.ethercat("cell").writer("start"), r"is an input \(tx\); declare it with reader"),
        (
            lambda app: app.ethercat("cell").device("axis1", AxisIn, AxisOut),
            "cell.axis1 has outputs and no item runs on its cycle",
        ),
    ],
)
def test_what_does_not_fit_the_machine_is_refused_when_the_app_is_bound(
    declare: Callable[[App], object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Cell(declare)


def nothing(_: Context) -> None: ...


def another(_: Context) -> None: ...


@pytest.mark.verifies("REQ_8151", "REQ_8510")
def test_bad_use_is_refused_where_it_is_declared() -> None:
    app = App("pick")
    cell = app.ethercat("cell")
    axis = cell.device("axis1", AxisIn, AxisOut)
    with pytest.raises(ConfigurationError, match="device 'axis1' is declared twice"):
        cell.device("axis1", AxisIn)
    with pytest.raises(ConfigurationError, match="neither inputs nor outputs"):
        cell.device("lamps")  # type: ignore[call-overload]
    cell.writer("lamp")
    with pytest.raises(ConfigurationError, match="channel 'lamp' is declared twice"):
        cell.reader("lamp")
    with pytest.raises(ConfigurationError, match="takes every_ms or on, neither given"):
        app.cyclic()
    with pytest.raises(ConfigurationError, match="takes every_ms or on, both given"):
        app.cyclic(every_ms=1, on=axis.cycle)
    with pytest.raises(ConfigurationError, match="is no cycle; give that of a device"):
        app.cyclic(on=axis)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'other', which is no EtherCAT bus of this App"):
        app.cyclic(on=BusCycle("other"))
    app.cyclic(on=axis.cycle)(nothing)
    with pytest.raises(ConfigurationError, match=r"'another' on executor 'second'.*put them on one executor"):
        app.cyclic(on=axis.cycle, executor="second")(another)
    with pytest.raises(ConfigurationError, match="uses EtherCAT bus cell and no machine file"):
        app.bind(World(1).runtime)


@pytest.mark.verifies("REQ_8151")
def test_a_chain_has_a_budget_for_all_its_items_or_none() -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)
        app.cyclic(on=axis.cycle, budget_us=100)(nothing)
        app.cyclic(on=axis.cycle)(another)

    with pytest.raises(ConfigurationError, match="another has no budget_us: give one to each item, or to none"):
        Cell(declare)


@pytest.mark.verifies("REQ_8151")
def test_a_handle_says_what_it_was_not_declared_for_and_that_it_is_not_bound() -> None:
    made: dict[str, Device[Any, Any]] = {}

    def declare(app: App) -> None:
        made["in"] = app.ethercat("cell").device("axis1", AxisIn)

    with Cell(declare):
        with pytest.raises(ConfigurationError, match=r"cell.axis1: declared without outputs"):
            _ = made["in"].outputs
        with pytest.raises(ConfigurationError, match="outputs set to a AxisOut, declared: no outputs"):
            made["in"].outputs = AxisOut(1, 1)
        assert made["in"].cycle_index == -1
        assert made["in"].inputs == AxisIn(0, 0.0)
        assert made["in"].validity is Validity.NEVER_SEEN
    with pytest.raises(ConfigurationError, match=r"cell.axis1: the App is not bound"):
        _ = made["in"].inputs


@pytest.mark.verifies("REQ_8151")
def test_the_period_of_a_cycle_is_that_of_the_machine_once_the_app_is_bound() -> None:
    made: list[Device[Any, Any]] = []

    def declare(app: App) -> None:
        made.append(app.ethercat("cell").device("axis1", AxisIn))
        assert made[0].cycle is app.ethercat("cell").cycle
        with pytest.raises(ConfigurationError, match="cycle of 'cell': the App is not bound; look at it from an item"):
            _ = made[0].cycle.period_ns

    with Cell(declare):
        assert made[0].cycle.period_ns == PERIOD
    with pytest.raises(ConfigurationError, match="the App is not bound"):
        _ = made[0].cycle.period_ns


@pytest.mark.verifies("REQ_0070", "REQ_8151")
def test_a_breach_of_the_budget_names_the_cycle_of_the_bus_and_the_slowest_item() -> None:
    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)
        app.cyclic(on=axis.cycle, budget_us=500)(nothing)
        app.cyclic(on=axis.cycle, budget_us=500)(another)

    with Cell(declare) as cell:
        cell.world.executions.set("nothing", 200_000)
        cell.world.executions.set("another", 1_100_000)
        cell.run_cycles(3)

        told = [event.text for event in cell.world.recorder.events if event.severity == "alarm"]
        took = "1.5 ms of 1 ms (chain 'cell.cycle', most of it 'another': 1.1 ms)"  # the commit takes 0.2 ms too
        assert told == [f"pick/nothing is faulted: one run took {took}"]


@pytest.mark.verifies("REQ_8151")
def test_an_item_drains_the_emergencies_of_its_device_and_sees_what_was_lost() -> None:
    seen: list[Emergency] = []
    made: list[Device[Any, Any]] = []

    def declare(app: App) -> None:
        axis = app.ethercat("cell").device("axis1", AxisIn)
        made.append(axis)

        @app.cyclic(every_ms=100)
        def look(_: Context) -> None:
            seen.extend(axis.emergencies.drain())

    with Cell(declare) as cell:
        cell.run_cycles(5)
        mine = [Emergency(1, 0x8611 + number, 0x20, bytes(5)) for number in range(70)]
        for emergency in (*mine, Emergency(3, 0x5000, 0x01, bytes(5))):  # the last one is of another SubDevice
            cell.driver.emit_emergency(emergency)
        cell.run_cycles(100)

        assert seen == mine[-64:], "the newest ones"
        assert made[0].emergencies.dropped == 6
    with pytest.raises(ConfigurationError, match=r"cell.axis1: the App is not bound"):
        made[0].emergencies.drain()


@pytest.mark.verifies("REQ_8151")
def test_emergencies_that_another_process_gets_are_refused_by_name() -> None:
    made: list[Device[Any, Any]] = []

    def declare(app: App) -> None:
        made.append(app.ethercat("cell").device("axis1", AxisIn))

    bench = Bench(ethercat={"cell": EthercatBacking(gateway="separate")})
    refused = pytest.raises(ConfigurationError, match=r"cell\.axis1: emergencies are received in its gateway's process")
    with Cell(declare, bench=bench), refused:
        made[0].emergencies.drain()
