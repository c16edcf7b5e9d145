"""Faults of a CAN bus as plans: drawn, saved, replayed, told in words, aimed at signals and at senders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from taktora.can import CanFrame
from taktora.can.backend import CanRequest
from taktora.codec.dbc import load_dbc
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.can import CanReplay, SimulatedCanBus
from taktora_sim.can.backend import bus_of, make_interface
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.faults import FaultEntry, FaultPlan, FaultPlanError
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, socket, write
from tests.sim.fresh import ROOT, hash_of, run_fresh
from tests.sim.scenarios.can_faults import CAMPAIGN, build

_SCENARIO = str(ROOT / "tests" / "sim" / "scenarios" / "can_faults.py")
_DBC = """VERSION ""

BS_:

BU_: ECU GATE

BO_ 291 Engine: 8 ECU
 SG_ Counter : 4|4@1+ (1,0) [0|15] "" GATE
 SG_ Checksum : 63|8@0+ (1,0) [0|255] "" GATE

BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 291 10;
"""


def _run(plan: FaultPlan, seed: int = 0) -> World:
    world = World(seed, plan=plan)
    build(world)
    world.run_for(500 * MS)
    return world


def _drawn(seed: int) -> FaultPlan:
    with World(seed) as world:
        build(world)
        return draw_plan(world, CAMPAIGN)


@pytest.mark.verifies("REQ_8204", "REQ_8008")
def test_a_campaign_draws_every_kind_of_a_node() -> None:
    world = World(0)
    build(world)

    drawn = {entry.kind for seed in range(40) for entry in _drawn(seed).entries}

    assert drawn == set(world.faults.catalogue()["can/vehicle/body"])


@pytest.mark.verifies("REQ_8204", "REQ_8008")
@pytest.mark.parametrize("seed", range(10))
def test_a_drawn_plan_saved_and_replayed_gives_one_trace(seed: int) -> None:
    plan = _drawn(seed)

    first, again, other = _run(plan), _run(FaultPlan.parse(plan.to_toml())), _run(plan, seed=1)

    assert len(first.faults.fired) + len(first.faults.unfired()) == len(plan.entries)
    assert first.faults.fired
    assert first.trace.sha256() == again.trace.sha256()
    ours, theirs = first.trace.component_hashes(), other.trace.component_hashes()
    nodes = [path for path in ours if path.startswith(("can/", "listener/"))]
    assert len(nodes) >= 3
    assert {path: ours[path] for path in nodes} == {path: theirs[path] for path in nodes}


@pytest.mark.verifies("REQ_8204", "REQ_8201")
@pytest.mark.parametrize("seed", range(100, 115))
def test_whatever_the_faults_were_all_nodes_are_heard_again_when_they_are_over(seed: int) -> None:
    world = World(seed)
    segment = build(world)
    kinds = set(world.faults.catalogue()["can/vehicle/body"]) - {"delay"}  # which may take longer than the run
    enabled = [f"*:{kind}" for kind in sorted(kinds)]
    campaign = Campaign(enabled=enabled, faults=(8, 14), begin_ns=(0, 400 * MS), duration_ns=(1, 100 * MS))
    world.faults.propose(draw_plan(world, campaign))
    world.run_for(S)
    heard: set[str] = set()
    segment.observe(lambda done: heard.add(done.node))

    world.run_for(100 * MS)

    assert heard == {"engine", "body", "gauge"}
    assert [node.controller.tec for node in segment.nodes] == [0, 0, 0]


@pytest.mark.verifies("REQ_8204", "REQ_8002")
def test_a_run_with_drawn_faults_repeats_in_fresh_processes(tmp_path: Path) -> None:
    here = play(load_scenario(_SCENARIO), PlayOptions(seed=7))
    runs = [
        run_fresh("run", _SCENARIO, "--seed", "7", hash_seed="1"),
        run_fresh("run", _SCENARIO, "--seed", "7", hash_seed="4242", folder=tmp_path),
    ]

    assert {hash_of(run) for run in runs} == {here.sha256}


@pytest.mark.verifies("REQ_8204", "REQ_8008")
def test_every_fault_of_a_plan_is_told_in_words() -> None:
    plan = FaultPlan.of(
        _entry("bit_error", field="crc", bit=3, by="gauge"),
        _entry("babble", id="050", period_ns="2ms"),
        _entry("corrupt_signal", bits="8|4@1", mode="offset", value=2),
        _entry("open_wire"),
        FaultEntry(target="can/vehicle/body", kind="rx_overflow", at_ns=0, parameters={"frames": 5}),
    )
    world = _run(plan)

    sentences = [fired.sentence for fired in world.faults.fired]

    assert sentences == [
        "can/vehicle/body: bit 3 of field crc is wrong on the wire for 50ms",
        "can/vehicle/body: the node babbles: frames 050 every 2ms for 50ms",
        "can/vehicle/body: bits 8|4@1: the bits are off by 2 for 50ms",
        "can/vehicle/body: the wire to the node is open: it hears nothing for 50ms",
        "can/vehicle/body: the controller overflows and loses 5 received frames",
    ]


def _entry(kind: str, **parameters: bool | float | str) -> FaultEntry:
    return FaultEntry(target="can/vehicle/body", kind=kind, at_ns=0, duration_ns=50 * MS, parameters=parameters)


def _rest_bus(tmp_path: Path, *entries: FaultEntry) -> tuple[RestBus, Log]:
    path = tmp_path / "car.dbc"
    path.write_text(_DBC, encoding="ascii")
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(*entries)), "vehicle", acknowledge=True)
    log = Log()
    socket(segment.node("listener"), log)
    return RestBus(segment, load_dbc(path), phases_ms={"Engine": 0}), log


@pytest.mark.verifies("REQ_8204")
def test_a_counter_named_by_the_dbc_stands_still_for_so_many_frames(tmp_path: Path) -> None:
    entry = FaultEntry(
        target="can/vehicle/ECU",
        kind="corrupt_signal",
        at_ns=25 * MS,
        duration_ns=S,
        parameters={"signal": "Engine.Counter", "mode": "value", "value": 9, "times": 3},
    )
    rest, log = _rest_bus(tmp_path, entry)

    rest.bus.world.run_for(75 * MS)

    assert [frame.data[0] >> 4 for frame in log.frames] == [0, 0, 0, 9, 9, 9, 0, 0]
    assert {frame.data[1:] for frame in log.frames} == {bytes(7)}


@pytest.mark.verifies("REQ_8204")
def test_a_signal_that_the_dbc_has_not_is_refused_before_the_run_with_the_nearest(tmp_path: Path) -> None:
    entry = FaultEntry(
        target="can/vehicle/ECU", kind="corrupt_signal", at_ns=0, parameters={"signal": "Engine.Chcksum"}
    )
    rest, _ = _rest_bus(tmp_path, entry)

    with pytest.raises(FaultPlanError, match=r"parameter 'signal' is 'Engine.Chcksum'.* such as Engine.Checksum"):
        rest.bus.world.run_for(1)


@pytest.mark.verifies("REQ_8204")
def test_faults_at_the_node_of_an_application_name_the_signals_of_its_dbc() -> None:
    world = World(1)
    request = CanRequest(bus="vehicle", node="gate", signals={"Engine.Counter": (0x123, False, 4, 4, False)})
    interface = make_interface(world.runtime, request)
    interface.open(Log())
    log = Log()
    socket(bus_of(world, "vehicle").node("listener"), log)
    parameters: dict[str, bool | int | float | str] = {"signal": "Engine.Counter", "mode": "value", "value": 5}

    world.faults.inject("can/vehicle/gate", "corrupt_signal", parameters=parameters)
    interface.send(CanFrame(0x123, b"\x0f"))
    interface.send(CanFrame(0x124, b"\x0f"))
    world.run_for(S)

    assert [frame.data for frame in log.frames] == [b"\x5f", b"\x0f"]


@pytest.mark.verifies("REQ_8204")
def test_a_checksum_by_its_bits_is_wrong_on_one_identifier_only() -> None:
    parameters: dict[str, bool | int | float | str] = {"bits": "63|8@0", "mode": "random", "ids": "200"}
    entry = FaultEntry(target="can/vehicle/a", kind="corrupt_signal", at_ns=0, parameters=parameters)
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(entry)), "vehicle")
    node, log = segment.node("a"), Log()
    socket(segment.node("b"), log)
    for number in range(40):
        segment.world.call_at(number * MS, partial(node.transmit, CanFrame(0x100 * (1 + number % 2), bytes(8))))

    segment.world.run_for(S)

    checksums = {can_id: {frame.data[7] for frame in log.frames if frame.can_id == can_id} for can_id in (0x100, 0x200)}
    assert checksums[0x100] == {0}
    assert len(checksums[0x200]) > 10
    assert {frame.data[:7] for frame in log.frames} == {bytes(7)}


@pytest.mark.verifies("REQ_8204")
def test_frames_of_one_replayed_sender_are_destroyed_and_those_of_others_are_not(tmp_path: Path) -> None:
    log_file = write(
        tmp_path / "drive.log",
        *(f"(100.{number:03d}000) can0 {'120' if number % 2 else '200'}#{number:02X}" for number in range(20)),
    )
    entry = FaultEntry(
        target="can/vehicle/replay/gauge", kind="bit_error", at_ns=0, duration_ns=S, parameters={"times": 4}
    )
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(entry)), "vehicle")
    log = Log()
    errors: list[int] = []
    socket(segment.node("listener"), log)
    segment.observe_errors(lambda error: errors.append(error.frame.can_id))

    CanReplay(segment, log_file, senders={"gauge": [0x120]})
    segment.world.run_for(S)

    assert errors == [0x120] * 4
    assert [frame.data[0] for frame in log.frames] == list(range(20))


@pytest.mark.verifies("REQ_8204", "REQ_8008")
def test_a_campaign_may_be_limited_to_kinds_of_one_node() -> None:
    with World(3) as world:
        build(world)
        plan = draw_plan(world, Campaign(enabled=("can/vehicle/body:bit_*", "can/vehicle/body:babble"), faults=(8, 8)))

    assert {entry.kind for entry in plan.entries} == {"bit_error", "babble"}
    assert {entry.target for entry in plan.entries} == {"can/vehicle/body"}
