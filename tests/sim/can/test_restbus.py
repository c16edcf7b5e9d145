"""The rest-bus on the simulated bus: who sends what when, silent senders, disturbances by API and by fault plan."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cantools
import pytest

from taktora.codec.dbc import Dbc, load_dbc
from taktora.errors import ConfigurationError
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.can import BusFrame, SimulatedCanBus
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.disturbances import Freeze, Offset, WrongValue
from taktora_sim.can.restbus.generators import Checksum, Counter, Ramp, Sine, crc8_j1850
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.can.restbus_dbc import VEHICLE, hash_of_run, write_dbc
from tests.sim.can.support import MS, S
from tests.sim.fresh import run_fresh

_IDS = {0x180: "PackStatus", 0x181: "Modules", 0x18FF_50E5: "Motion", 0x200: "Track", 0x301: "Request", 0x303: "Orphan"}


@pytest.fixture(scope="module")
def dbc(tmp_path_factory: pytest.TempPathFactory) -> Dbc:
    return load_dbc(write_dbc(tmp_path_factory.mktemp("dbc")))


class Heard:
    """All frames of a bus."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self.events: list[BusFrame] = []
        bus.observe(self.events.append)

    def of(self, name: str) -> list[BusFrame]:
        return [event for event in self.events if _IDS.get(event.frame.can_id) == name]

    def data(self, name: str) -> list[bytes]:
        return [event.frame.data for event in self.of(name)]

    def names(self) -> set[str]:
        return {_IDS[event.frame.can_id] for event in self.events}


def fd_bus(seed: int = 1, plan: FaultPlan | None = None) -> tuple[SimulatedCanBus, Heard]:
    bus = SimulatedCanBus(World(seed, plan=plan), "vehicle", data_bitrate=2_000_000, acknowledge=True)
    return bus, Heard(bus)


@pytest.mark.verifies("REQ_8208")
def test_each_message_comes_from_its_sender_at_its_cycle_time(dbc: Dbc) -> None:
    bus, heard = fd_bus()

    rest = RestBus(bus, dbc)
    bus.world.run_for(S)

    assert list(rest.nodes) == ["BMS", "VCU", "RADAR", "TESTER", "Vector__XXX"]
    senders = {name: {event.node for event in heard.of(name)} for name in heard.names()}
    assert senders == {
        "PackStatus": {"BMS"},
        "Modules": {"BMS"},
        "Motion": {"VCU"},
        "Track": {"RADAR"},
        "Orphan": {"Vector__XXX"},
    }
    assert {name: len(heard.of(name)) for name in heard.names()} == {
        "PackStatus": 100,
        "Modules": 20,
        "Motion": 50,
        "Track": 25,
        "Orphan": 10,
    }
    gaps = {later.end_ns - earlier.end_ns for earlier, later in pairwise(heard.of("PackStatus"))}
    assert all(abs(gap - 10 * MS) < MS for gap in gaps)
    assert rest.lost == 0


@pytest.mark.verifies("REQ_8208")
def test_every_frame_is_what_cantools_decodes(dbc: Dbc) -> None:
    bus, heard = fd_bus()
    oracle = cantools.database.load_string(VEHICLE, "dbc")
    assert isinstance(oracle, cantools.database.can.Database)

    rest = RestBus(
        bus, dbc, signals={"PackStatus.Voltage": Sine(380, 420, 200), "Motion.Position": Ramp(-100, 100, 1000)}
    )
    values: list[tuple[BusFrame, dict[str, float | None]]] = []

    def remember(event: BusFrame) -> None:
        message = rest.message(_IDS[event.frame.can_id])
        values.append((event, {name: signal.value for name, signal in message.signals.items()}))

    bus.observe(remember)
    bus.world.run_for(S)

    assert len(values) == len(heard.events) == 205
    for event, found in values:
        name = _IDS[event.frame.can_id]
        decoded = oracle.decode_message(name, event.frame.data[: dbc.message(name).length_bytes], decode_choices=False)
        assert isinstance(decoded, dict)
        assert {key: pytest.approx(found[key]) for key in decoded} == decoded


@pytest.mark.verifies("REQ_8208")
def test_messages_of_can_fd_are_sent_as_such_and_refused_on_a_classical_bus(dbc: Dbc) -> None:
    bus, heard = fd_bus()
    RestBus(bus, dbc, only=["RADAR", "BMS"])
    bus.world.run_for(100 * MS)

    flags = {(event.node, event.frame.fd, event.frame.brs, len(event.frame.data)) for event in heard.events}
    assert flags == {("RADAR", True, True, 12), ("BMS", False, False, 8)}
    with pytest.raises(ConfigurationError, match=r"vehicle\.dbc: message Track is of CAN FD, and bus 'old' "):
        RestBus(SimulatedCanBus(World(1), "old"), dbc)


@pytest.mark.verifies("REQ_8208")
def test_a_message_without_a_cycle_time_is_listed_told_once_and_sent_by_hand(dbc: Dbc) -> None:
    bus, heard = fd_bus()

    rest = RestBus(bus, dbc, cycle_times_ms={"Orphan": None})
    bus.world.call_at(5 * MS, rest.message("Request").trigger)
    bus.world.call_at(6 * MS, rest.message("Orphan").trigger)
    bus.world.run_for(S)

    assert rest.unsent == ("Forgotten",)
    told = "message Forgotten without cycle time, not sent; give cycle_times_ms, or call trigger()"
    assert [event.text for event in bus.world.recorder.events] == [f"rest-bus of vehicle.dbc on can/vehicle: {told}"]
    assert [len(heard.of(name)) for name in ("Request", "Orphan")] == [1, 1]
    assert [event.start_ns // MS for event in heard.of("Request") + heard.of("Orphan")] == [5, 6]


@pytest.mark.verifies("REQ_8208")
def test_nodes_and_messages_are_chosen_by_name(dbc: Dbc) -> None:
    def names(**choice: list[str]) -> set[str]:
        bus, heard = fd_bus()
        RestBus(bus, dbc, **choice)  # type: ignore[arg-type]
        bus.world.run_for(S)
        return heard.names()

    assert names(only=["BMS", "Track"]) == {"PackStatus", "Modules", "Track"}
    assert names(exclude=["BMS", "Orphan"]) == {"Motion", "Track"}
    assert names(only=["BMS"], exclude=["Modules"]) == {"PackStatus"}


@pytest.mark.verifies("REQ_8208")
def test_start_phases_are_drawn_message_by_message_or_given(dbc: Dbc) -> None:
    def firsts(seed: int, **options: list[str] | dict[str, float]) -> dict[str, int]:
        bus, heard = fd_bus(seed)
        RestBus(bus, dbc, **options)  # type: ignore[arg-type]
        bus.world.run_for(S)
        return {name: heard.of(name)[0].start_ns for name in sorted(heard.names())}

    assert firsts(1) == firsts(1) != firsts(2)
    assert firsts(1)["PackStatus"] < 11 * MS
    assert firsts(1, only=["Motion"])["Motion"] == firsts(1)["Motion"]
    assert firsts(1, phases_ms={"Motion": 7})["Motion"] // MS == 7


@pytest.mark.verifies("REQ_8208")
def test_the_cycle_time_can_be_changed_under_way(dbc: Dbc) -> None:
    bus, heard = fd_bus()
    pack = RestBus(bus, dbc, only=["PackStatus"], phases_ms={"PackStatus": 0}).message("PackStatus")

    bus.world.run_for(35 * MS)
    pack.cycle_time_ms = 20
    bus.world.run_for(40 * MS)
    pack.cycle_time_ms = None
    bus.world.run_for(100 * MS)
    pack.cycle_time_ms = 5
    bus.world.run_for(12 * MS)

    assert [event.start_ns // MS for event in heard.events] == [0, 10, 20, 30, 50, 70, 180, 185]
    assert pack.cycle_time_ms == 5


@pytest.mark.verifies("REQ_8208")
def test_a_stopped_node_or_message_is_silent_and_comes_back_in_step(dbc: Dbc) -> None:
    bus, heard = fd_bus()
    rest = RestBus(bus, dbc, only=["PackStatus", "Motion"], phases_ms={"PackStatus": 0, "Motion": 1})

    bus.world.run_for(25 * MS)
    rest.node("BMS").stop()
    rest.message("Motion").stop()
    assert not rest.message("Motion").trigger()
    bus.world.run_for(30 * MS)
    rest.node("BMS").start()
    rest.message("Motion").start()
    bus.world.run_for(20 * MS)
    rest.close()
    bus.world.run_for(S)

    assert [event.start_ns // MS for event in heard.of("PackStatus")] == [0, 10, 20, 60, 70]
    assert [event.start_ns // MS for event in heard.of("Motion")] == [1, 21, 61]


@pytest.mark.verifies("REQ_8208")
def test_a_frame_that_finds_no_room_is_lost_and_counted(dbc: Dbc) -> None:
    bus, _ = fd_bus()
    rest = RestBus(bus, dbc, only=["PackStatus"])

    for _ in range(20):
        rest.message("PackStatus").trigger()
    bus.world.run_for(100 * MS)
    bus.world.close()

    assert (rest.lost, rest.node("BMS").lost) == (4, 4)
    assert [event.text for event in bus.world.recorder.events] == [
        "rest-bus of vehicle.dbc on can/vehicle: lost to full queues or interfaces down: BMS 4"
    ]


_NAMES: list[tuple[Callable[[SimulatedCanBus, Dbc], object], str]] = [
    (lambda bus, dbc: RestBus(bus, dbc, only=["BMX"]), "no node or message 'BMX'; did you mean 'BMS'"),
    (
        lambda bus, dbc: RestBus(bus, dbc, exclude=["PackStat"]),
        "no node or message 'PackStat'; did you mean 'PackStatus'",
    ),
    (lambda bus, dbc: RestBus(bus, dbc, cycle_times_ms={"Pack": 1}), "no message 'Pack'; did you mean 'PackStatus'"),
    (lambda bus, dbc: RestBus(bus, dbc, phases_ms={"Motio": 1}), "no message 'Motio'; did you mean 'Motion'"),
    (lambda bus, dbc: RestBus(bus, dbc, cycle_times_ms={"Motion": 0}), "Motion: cycle time 0 ms is outside"),
    (lambda bus, dbc: RestBus(bus, dbc, phases_ms={"Motion": -1}), "Motion: phase -1 ms is outside"),
    (
        lambda bus, dbc: RestBus(bus, dbc, signals={"Voltage": 1}),
        r"'Voltage' names no signal; .* 'PackStatus\.Voltage'",
    ),
    (lambda bus, dbc: RestBus(bus, dbc, signals={"PackStatus.Volt": 1}), "no signal 'Volt'; did you mean 'Voltage'"),
    (lambda bus, dbc: RestBus(bus, dbc, signals={"PackStatus.Voltage": -1}), r"PackStatus\.Voltage: -1 is outside 0"),
    (lambda bus, dbc: RestBus(bus, dbc).node("TEST"), "no node 'TEST'; did you mean 'TESTER'"),
    (
        lambda bus, dbc: RestBus(bus, dbc, only=["VCU"]).message("Track"),
        "leaves message 'Track' out: .*the application sends it; there are Motion",
    ),
    (lambda bus, dbc: (bus.node("BMS"), RestBus(bus, dbc)), "already has a node 'BMS'"),
]


@pytest.mark.verifies("REQ_8208", "REQ_8510")
@pytest.mark.parametrize(("make", "text"), _NAMES)
def test_what_is_not_there_is_refused_with_the_nearest_name(
    dbc: Dbc, make: Callable[[SimulatedCanBus, Dbc], object], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make(fd_bus()[0], dbc)


@pytest.mark.verifies("REQ_8208")
def test_a_function_that_leaves_the_range_ends_the_run(dbc: Dbc) -> None:
    bus, _ = fd_bus()
    RestBus(bus, dbc, signals={"PackStatus.Voltage": lambda moment: 990 + 10 * moment.number})

    with pytest.raises(ConfigurationError, match=r"PackStatus\.Voltage: 1010 is outside .* at sending 3"):
        bus.world.run_for(S)


def secured(bus: SimulatedCanBus, dbc: Dbc) -> RestBus:
    return RestBus(
        bus,
        dbc,
        only=["PackStatus"],
        phases_ms={"PackStatus": 0},
        signals={"PackStatus.Alive": Counter(), "PackStatus.Check": Checksum()},
    )


def is_right(data: bytes) -> bool:
    return data[7] == crc8_j1850(data[:7])


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_signals_are_disturbed_so_many_times_or_until_it_ends(dbc: Dbc) -> None:
    bus, heard = fd_bus()
    rest = secured(bus, dbc)
    rest.signal("PackStatus.Alive").disturb(Freeze(), times=3)
    end = rest.signal("PackStatus.Check").disturb(Offset(1))

    bus.world.run_for(45 * MS)
    end()
    rest.signal("PackStatus.Voltage").disturb(WrongValue(6500), times=1, keep_checksum=False)
    bus.world.run_for(20 * MS)

    assert [data[3] >> 4 for data in heard.data("PackStatus")] == [0, 0, 0, 3, 4, 5, 6]
    assert [is_right(data) for data in heard.data("PackStatus")] == [*[False] * 6, True]


@pytest.mark.verifies("REQ_8204", "REQ_8007")
def test_a_fault_plan_disturbs_signals_and_silences_messages(dbc: Dbc) -> None:
    path = "can/vehicle/BMS/PackStatus"
    plan = FaultPlan.of(
        FaultEntry(target=f"{path}.Alive", kind="freeze", at_ns=15 * MS, parameters={"times": 2}),
        FaultEntry(target=f"{path}.Check", kind="offset", at_ns=55 * MS, duration_ns=20 * MS, parameters={"by": 1.0}),
        FaultEntry(target=path, kind="silence", at_ns=95 * MS, duration_ns=20 * MS),
        FaultEntry(
            target=f"{path}.Voltage",
            kind="value",
            at_ns=125 * MS,
            duration_ns=10 * MS,
            parameters={"value": 2000.0, "keep_checksum": False},
        ),
        FaultEntry(target=f"{path}.Current", kind="random", at_ns=145 * MS, duration_ns=10 * MS),
    )
    bus, heard = fd_bus(plan=plan)
    secured(bus, dbc)

    bus.world.run_for(165 * MS)

    frames = {event.start_ns // (10 * MS): event.frame.data for event in heard.of("PackStatus")}
    assert [frames[number][3] >> 4 for number in range(6)] == [0, 1, 1, 1, 4, 5]
    frozen = bus.world.faults.fired[0]
    assert (frozen.over_ns, frozen.ended_ns) == (30 * MS, None)  # its two sendings are over, the fault is not
    assert [number for number, data in frames.items() if not is_right(data)] == [6, 7, 13]
    assert [number for number in range(17) if number not in frames] == [10, 11]
    assert [number for number, data in frames.items() if data[2] != 251] == [15]
    assert "can/vehicle/BMS/PackStatus.Check: the signal is 1.0 too large for 20ms" in bus.world.faults.describe()[1]


@pytest.mark.verifies("REQ_8204", "REQ_8510")
@pytest.mark.parametrize(
    ("target", "kind", "parameters", "text"),
    [
        pytest.param(
            "PackStatus.Voltag", "freeze", {}, "did you mean 'can/vehicle/BMS/PackStatus.Voltage'", id="signal"
        ),
        pytest.param("PackStatus.Voltage", "froze", {}, "did you mean 'freeze'", id="kind"),
        pytest.param("PackStatus.Alive", "value", {"value": 16.0}, "16.0 is outside 0..15", id="value"),
        pytest.param("PackStatus.Voltage", "offset", {"by": 0.01}, "0.01 changes nothing", id="offset"),
        pytest.param("PackStatus.Alive", "freeze", {"times": -1}, "an integer from 0", id="times"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_at_the_first_step(
    dbc: Dbc, target: str, kind: str, parameters: dict[str, bool | int | float | str], text: str
) -> None:
    plan = FaultPlan.of(FaultEntry(target=f"can/vehicle/BMS/{target}", kind=kind, at_ns=0, parameters=parameters))
    bus, _ = fd_bus(plan=plan)
    secured(bus, dbc)

    with pytest.raises(ConfigurationError, match=text):
        bus.world.step()


@pytest.mark.verifies("REQ_8208", "REQ_8002")
def test_a_run_repeats_itself_to_the_bit_in_fresh_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    path = write_dbc(tmp_path)
    command = "import sys; from tests.sim.can.restbus_dbc import hash_of_run; print(hash_of_run(sys.argv[1], 1))"

    runs = [run_fresh(str(path), command=command, hash_seed=seed, folder=tmp_path) for seed in ("1", "4242")]

    assert [run.stdout.strip() or run.stderr for run in runs] == [hash_of_run(path, 1)] * 2
    assert hash_of_run(path, 2) != hash_of_run(path, 1)


@pytest.mark.verifies("REQ_8204", "REQ_8008")
@pytest.mark.parametrize("seed", range(6))
def test_a_campaign_draws_disturbances_that_fit(dbc: Dbc, seed: int) -> None:
    bus, heard = fd_bus(seed)
    RestBus(bus, dbc, phases_ms={"PackStatus": 0})
    campaign = Campaign(
        faults=(20, 20), enabled=("can/vehicle/*.*",), begin_ns=(0, 400 * MS), duration_ns=(0, 100 * MS)
    )

    plan = bus.world.faults.propose(draw_plan(bus.world, campaign))
    bus.world.run_for(500 * MS)

    assert len(plan.entries) == len(bus.world.faults.fired) == 20
    assert {entry.kind for entry in plan.entries} <= {"value", "freeze", "random", "offset"}
    assert len(heard.of("PackStatus")) == 50
