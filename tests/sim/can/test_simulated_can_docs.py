"""docs/simulated-can.md: every fault kind, option, generator and key is there, and its blocks of code run."""

from __future__ import annotations

import inspect
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

import taktora_sim.can as simulated
from taktora.app import App
from taktora.app.bench import CanBacking
from taktora.can import CanFrame
from taktora.codec.dbc import load_dbc
from taktora.connector import Degraded, Up
from taktora.errors import ConfigurationError
from taktora_sim.can import CanNode, CanReplay, ControllerState, RestBus, SimulatedCanBus, restbus_from_settings
from taktora_sim.can.backend import SimulatedCan, bus_of
from taktora_sim.can.faults.wire import FIELDS
from taktora_sim.can.node import NodeOptions
from taktora_sim.can.restbus.settings import GENERATOR_KINDS
from taktora_sim.faults import FaultPlan
from taktora_sim.world import World
from tests.sim.fresh import ROOT

PAGE = (ROOT / "docs" / "simulated-can.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "battery_monitor"
SHARED = {"ids", "every", "percent", "times", "salt"}
"""Parameters of all faults of frames; the page names them once."""
S = 1_000_000_000


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def block(heading: str) -> str:
    (found,) = re.findall(r"```\w+\n(.*?)```", section(heading), re.DOTALL)
    return str(found)


def section(heading: str) -> str:
    return re.split(r"\n##", PAGE.partition(f"\n{heading}\n")[2])[0]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each row by each name in its first one."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            first, *cells = (cell.strip() for cell in line.strip("|").split(" |"))
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), cells))
    return found


def parameters(cells: list[str]) -> set[str]:
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", cells[-1])))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the example's DBC and recording in it."""
    shutil.copytree(EXAMPLE / "recordings", tmp_path / "recordings")
    for name in ("battery.dbc", "machine.yaml"):
        shutil.copy(EXAMPLE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.verifies("REQ_8200", "REQ_8201", "REQ_8207")
def test_the_first_block_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[0], {})

    assert capsys.readouterr().out == blocks("text")[0]


@pytest.mark.verifies("REQ_8204", "REQ_8007")
def test_the_fault_by_hand_destroys_one_frame() -> None:
    (told,) = re.findall(r"`(world\.faults\.inject\([^`]*parameters=[^`]*)`", PAGE)
    names: dict[str, Any] = {}
    exec(blocks("python")[0].partition("mend =")[0], names)

    exec(told, names)
    errors: list[object] = []
    names["bus"].observe_errors(errors.append)
    names["bms"].transmit(names["CanFrame"](0x120, b"\x02"))
    names["world"].run_for(10_000_000)

    assert len(errors) == 1


@pytest.mark.verifies("REQ_8204", "REQ_8007")
def test_every_fault_of_a_node_is_in_a_table_with_its_own_parameters() -> None:
    world = World(1)
    SimulatedCanBus(world, "vehicle").node("bms")
    frames, nodes = rows(section("### Frames")), rows(section("### Nodes"))
    nodes["passive"] = nodes["warning"]
    offered = world.faults.catalogue()["can/vehicle/bms"]

    assert {*frames, *nodes} == set(offered)
    for kind, each in offered.items():
        assert parameters((frames | nodes)[kind]) == set(each.params) - SHARED, f"parameters of {kind}"


@pytest.mark.verifies("REQ_8204", "REQ_8208")
def test_every_fault_of_messages_and_signals_is_in_its_table(folder: Path) -> None:
    world = World(1)
    RestBus(SimulatedCanBus(world, "vehicle"), load_dbc(folder / "battery.dbc"))
    catalogue = world.faults.catalogue()
    told = rows(section("### Signals of a rest-bus"))

    assert set(catalogue["can/vehicle/BMS/PackStatus"]) == set(rows(section("### Frames")))
    offered = catalogue["can/vehicle/BMS/PackStatus.Checksum"]
    assert {kind: set(each.params) for kind, each in offered.items()} == {
        kind: parameters(cells) for kind, cells in told.items()
    }


@pytest.mark.verifies("REQ_8204")
def test_every_field_of_a_frame_that_a_fault_can_strike_is_named() -> None:
    (told,) = re.findall(r"`field` is one of (.*?)\. An attempt", PAGE, re.DOTALL)

    assert tuple(re.findall(r"`(\w+)`", told)) == FIELDS


@pytest.mark.verifies("REQ_8204", "REQ_8007")
def test_every_fault_of_the_plan_begins(folder: Path) -> None:
    with World(1, plan=FaultPlan.parse(block("## Faults"))) as world:
        RestBus(SimulatedCanBus(world, "vehicle"), load_dbc(folder / "battery.dbc"), exclude=["MONITOR"])
        world.run_for(4 * S)

        assert world.faults.unfired() == []


@pytest.mark.verifies("REQ_8200", "REQ_8202", "REQ_8013")
@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("of `bus.node(name)`", set(NodeOptions._fields)),
        ("of `node.interface(name)`", set(inspect.signature(CanNode.interface).parameters) - {"self", "name"}),
        ("key of `[can.NAME]`", set(CanBacking.__struct_fields__)),
    ],
    ids=["node", "socket", "bench file"],
)
def test_every_option_is_in_its_table(heading: str, known: set[str]) -> None:
    assert set(rows(PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0])) == known


@pytest.mark.verifies("REQ_8205")
def test_the_block_about_recordings_replays_and_records(folder: Path) -> None:
    names: dict[str, Any] = {}

    exec(block("## Recordings and replay"), names)

    assert names["bus"].frames > 1000
    assert (folder / "out.pcapng").stat().st_size > 0
    assert len((folder / "gauge.log").read_text(encoding="ascii").splitlines()) == names["bus"].frames


@pytest.mark.verifies("REQ_8205")
def test_the_named_arguments_of_a_replay_are_some() -> None:
    (told,) = re.findall(r"((?:`\w+`,? (?:and )?)+)\s*choose what is sent and when", PAGE.replace("\n", " "))

    assert set(re.findall(r"`(\w+)`", told)) <= set(inspect.signature(CanReplay).parameters)


@pytest.mark.verifies("REQ_8208")
@pytest.mark.usefixtures("folder")
def test_the_block_about_the_rest_bus_sends_with_and_without_disturbances() -> None:
    names: dict[str, Any] = {}
    exec(block("## Rest-bus"), names)
    rest, bus = names["rest"], names["bus"]

    assert bus.frames > 200
    assert rest.message("PackStatus").sent > 140
    assert rest.message("ChargerStatus").sent in (9, 10)


@pytest.mark.verifies("REQ_8208")
def test_generators_are_made_as_their_table_says() -> None:
    table = PAGE.partition("| generator | values |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", table, re.MULTILINE))

    assert {name: _without_types(getattr(simulated, name)) for name in told} == told
    assert {kind.__name__ for kind, _ in GENERATOR_KINDS.values()} == set(told)


@pytest.mark.verifies("REQ_8208")
def test_disturbances_are_made_as_is_told() -> None:
    for told in ("WrongValue(value)", "Freeze()", "RandomValue(salt=0)", "Offset(by)"):
        assert f"`{told}`" in PAGE
        name, _, arguments = told.rstrip(")").partition("(")
        assert _without_types(getattr(simulated, name)) == arguments


def _without_types(kind: type[Any]) -> str:
    named = [each.replace(annotation=each.empty) for each in inspect.signature(kind).parameters.values()]
    return str(inspect.Signature(named))[1:-1].replace("'", '"')


@pytest.mark.verifies("REQ_8208", "REQ_8013")
def test_the_bench_file_puts_the_rest_of_the_bus_beside_an_application(folder: Path) -> None:
    (folder / "bench.toml").write_text(block("## The bench file"), encoding="utf-8")
    app = App("probe", folder / "machine.yaml")
    pack = app.can("vehicle").reader("PackStatus")

    with World(1) as world, app.bind(world.runtime, bench=folder / "bench.toml") as bound:
        bound.start()
        world.run_for(S)
        values = list(pack.drain())  # the latest 64
        rest = SimulatedCan.of(world).restbuses["vehicle"]

    assert pack.received > 60
    assert {value.StateOfCharge for value in values} == {80.5}
    assert set(rest.nodes) == {"BMS", "VCU"}
    assert "PackTemperatures" not in rest.messages


@pytest.mark.verifies("REQ_8208")
def test_every_key_of_a_rest_bus_is_in_its_table(folder: Path) -> None:
    told = rows(PAGE.partition("| key of `[can.NAME.restbus]` |")[2])
    settings = tomllib.loads(block("## The bench file"))["can"]["vehicle"]["restbus"]
    bus = SimulatedCanBus(World(1), "vehicle")

    assert set(told) == set(settings)
    assert set(restbus_from_settings(bus, folder / "battery.dbc", settings).nodes) == {"BMS", "VCU"}
    with pytest.raises(ConfigurationError, match=", ".join(sorted(told))):
        restbus_from_settings(bus, folder / "battery.dbc", {"nothing_like_it": 1})


@pytest.mark.verifies("REQ_8201", "REQ_8013")
def test_an_application_alone_on_an_empty_bus_is_told_why_and_heard_with_acknowledge(folder: Path) -> None:
    states, frames = {}, {}
    for acknowledge in ("false", "true"):
        (folder / "bench.toml").write_text(f"[can.vehicle]\nsimulated = true\nacknowledge = {acknowledge}\n")
        app = App("probe", folder / "machine.yaml")
        command = app.can("vehicle").writer("MonitorCommand")
        with World(1) as world, app.bind(world.runtime, bench=folder / "bench.toml") as bound:
            bound.start()
            for _ in range(20):
                world.run_for(S // 10)
                command.send(_command(bound))
            world.run_for(10 * S)
            states[acknowledge], frames[acknowledge] = bound.health["vehicle"], bus_of(world, "vehicle").frames

    assert frames == {"false": 0, "true": 20}
    assert isinstance(states["true"], Up)
    assert isinstance(states["false"], Degraded)
    assert "gets no frame out" in str(states["false"].reason)


def _command(bound: Any) -> Any:
    kind = bound.dbcs["vehicle"].MonitorCommand
    return kind(**dict.fromkeys(kind.__struct_fields__, 0))


@pytest.mark.verifies("REQ_8201")
def test_the_table_of_who_comes_to_what_is_true() -> None:
    with World(1) as world:
        bus = SimulatedCanBus(world, "vehicle")
        lonely = bus.node("lonely")
        attempts: list[str] = []
        passive_after: list[int] = []
        bus.observe_errors(lambda error: attempts.append(error.node))
        bus.observe_errors(lambda _: passive_after.append(len(attempts)) if lonely.controller.is_passive else None)
        lonely.transmit(CanFrame(1, b""))
        world.run_for(S)

        assert passive_after[0] == 16
        assert lonely.controller.tec == 128


@pytest.mark.verifies("REQ_8201")
def test_a_cut_off_node_is_bus_off_after_32_attempts_and_back_after_1408_bits() -> None:
    with World(1) as world:
        bus = SimulatedCanBus(world, "vehicle", bitrate=500_000)
        node = bus.node("bms")
        bus.node("gauge")
        mend = world.faults.inject("can/vehicle/bms", "bit_error")
        attempts: list[str] = []
        bus.observe_errors(lambda error: attempts.append(error.node))
        node.transmit(CanFrame(1, b"\0"))
        world.run_for(S)
        mend()
        node.restart()
        world.run_for(2_816_000 - 1)
        before = node.controller.state
        world.run_for(1)

        assert len(attempts) == 32
        assert (before, node.controller.state) == (ControllerState.BUS_OFF, ControllerState.ERROR_ACTIVE)
