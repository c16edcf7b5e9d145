"""docs/simulated-ethercat.md: every fault kind, option, profile and plant is there, and its blocks of code run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from taktora.app import App
from taktora.app.bench import load_bench
from taktora.app.machine import Machine
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.network import ChannelSpec, EthercatBusSpec
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.resolve import resolve
from taktora_sim.ethercat import serve
from taktora_sim.ethercat.backend import PLANT_KINDS, SimulatedEthercat
from taktora_sim.ethercat.devices import PROFILES, build_segment, terminals
from taktora_sim.ethercat.devices.options import ESC_OPTIONS
from taktora_sim.plants import AxisParameters, Cylinder, Sensor, StopChain
from taktora_sim.world import World
from tests.sim.fresh import ROOT

PAGE = (ROOT / "docs" / "simulated-ethercat.md").read_text(encoding="utf-8")
SHARED = {"commands", "every", "percent", "salt"}
"""Parameters of all faults of frames; the page names them once."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def section(heading: str) -> str:
    return re.split(r"\n##", PAGE.partition(f"{heading}\n")[2])[0]


def table(heading: str) -> dict[str, list[str]]:
    """Return the cells of each row of a section's table by each name in its first one."""
    found = {}
    for line in section(heading).splitlines():
        if line.startswith("| `"):
            first, *cells = (cell.strip() for cell in line.strip("|").split(" |"))
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), cells))
    return found


def parameters(cells: list[str]) -> set[str]:
    return set(re.findall(r"`(\w+)`", cells[-1].partition(":")[0]))


SPEC = EthercatBusSpec(
    devices=(
        terminals.coupler("coupler"),
        terminals.digital_inputs("sensors"),
        terminals.digital_outputs("valves"),
        terminals.analog_inputs("pressure"),
        terminals.analog_outputs("flow"),
        terminals.drive("lift"),
        terminals.drive("axis1"),
        terminals.generic("gateway", 2, 2),
        terminals.digital_inputs("tool", options={"hot_connect": True}),
    )
)


@pytest.fixture
def world() -> Iterator[World]:
    with World(1) as world:
        yield world


@pytest.mark.verifies("REQ_8109", "REQ_8007")
def test_every_fault_of_the_segment_and_its_devices_is_in_a_table_with_its_own_parameters(world: World) -> None:
    segment = build_segment(world, "cell", SPEC)
    frames, everybody, some = (
        table("### Frames: `ethercat/<bus>`"),
        table("### Every SubDevice: `ethercat/<bus>/<label>`"),
        table("### By kind of device"),
    )
    told = {"segment": frames} | dict.fromkeys(segment.device_faults, everybody | some)
    targets = {"segment": segment.faults.target} | {
        label: faults.target for label, faults in segment.device_faults.items()
    }

    for name, target in targets.items():
        for kind, offered in target.kinds.items():
            own = set(offered.params) - (SHARED if name == "segment" else set())
            assert kind in told[name], f"{kind} of {name} is not on the page"
            assert parameters(told[name][kind]) == own, f"parameters of {kind}"
    offered_kinds = {kind for target in targets.values() for kind in target.kinds}
    assert {*frames, *everybody, *some} == offered_kinds


@pytest.mark.verifies("REQ_8109", "REQ_8150")
def test_every_fault_of_plants_and_applications_is_in_the_table(world: World) -> None:
    told = table("### Plants and applications")
    Cylinder(world, "lid")
    StopChain(world, "stop", lambda _: None, lambda _: None)
    Sensor(world, "part", lambda _: None)
    with App("clamp").bind(world.runtime):
        paths = ("plants/lid", "plants/stop", "plants/part", "app/clamp")
        offered = {kind: set(each.params) for path in paths for kind, each in world.faults.catalogue()[path].items()}

    assert {kind: parameters(cells) for kind, cells in told.items()} == offered


@pytest.mark.verifies("REQ_8108")
def test_every_profile_is_in_the_table_with_its_class() -> None:
    told = table("## Devices")

    assert {profile: cells[0].strip("`") for profile, cells in told.items()} == {
        profile: kind.__name__ for profile, kind in PROFILES.items()
    }


@pytest.mark.verifies("REQ_8108")
def test_every_option_is_in_the_table_and_of_whom() -> None:
    told = {name: cells[0].strip("`") for name, cells in table("### Options").items()}
    known = dict.fromkeys((*ESC_OPTIONS, "no_lrw", "ebus_ma"), "all")
    for name in {option for kind in PROFILES.values() for option in kind.option_names}:
        holders = [profile for profile, kind in PROFILES.items() if name in kind.option_names]
        analog = ["analog-inputs", "analog-outputs"]
        whose = "all" if len(holders) == len(PROFILES) else "analog" if holders == analog else holders[0]
        known[name] = whose

    assert told == known


@pytest.mark.verifies("REQ_8108")
def test_every_kind_of_plant_is_in_the_table_and_every_setting_of_an_axis() -> None:
    told = table("## Plants")
    settings = re.findall(r"`(\w+)`", told["axis"][0])

    assert set(told) == set(PLANT_KINDS)
    assert settings == [field.name for field in dataclasses.fields(AxisParameters)]


@pytest.mark.verifies("REQ_8108")
def test_the_bench_file_puts_its_plants_behind_the_devices(world: World, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")
    backing = load_bench(path).ethercat["cell"]
    options = EthercatConnectorOptions.of_plan(resolve(SPEC))
    request = BusRequest(bus="cell", node="docs", options=options, spec=SPEC, settings=dict(backing.plant))

    SimulatedEthercat.of(world).open_bus(request)

    assert {"plants/cell/valves", "plants/cell/valves/extended", "plants/cell/sensors"} <= set(world.faults.catalogue())


@pytest.mark.verifies("REQ_8108", "REQ_8111")
def test_the_blocks_of_python_run(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = App("docs")
    app.ethercat("cell").reader("pressed")
    channel = ChannelSpec(name="pressed", device="sensors", direction="tx", bit_offset=0, bit_length=1)
    spec = msgspec.structs.replace(SPEC, devices=SPEC.devices[:-1], channels=(channel,))  # the tool is not connected
    with app.bind(world.runtime, machine=Machine(machine="docs", ethercat={"cell": spec})) as bound:
        bound.start()
        for block in blocks("python"):
            exec(block, {"world": world})
        world.run_for(20_000_000)

    world.close()
    assert (tmp_path / "cell.pcapng").stat().st_size > 1000


@pytest.mark.verifies("REQ_8110")
def test_every_option_of_serve_is_on_the_page() -> None:
    known = re.findall(r'add_argument\("(--\w+)"', Path(serve.__file__).read_text(encoding="utf-8"))

    assert known
    assert [option for option in known if f"{option}" not in section("## Serving it to a real MainDevice")] == []
