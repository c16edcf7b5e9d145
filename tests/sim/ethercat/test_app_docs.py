"""The EtherCAT part of docs/app.md: its block runs in every cycle, and its tables name what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import pytest

from taktora import App, Context
from taktora.app.ethercat import Device, EthercatBus
from taktora.app.machine import Machine
from taktora.ethercat.network import ChannelSpec, EthercatBusSpec
from taktora_sim.ethercat import SimulatedDevice, device_of, segment_of
from taktora_sim.ethercat.devices import terminals
from taktora_sim.world import World
from tests.sim.fresh import ROOT

PAGE = (ROOT / "docs" / "app.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## EtherCAT: a scan like that of a PLC\n")[2].partition("\n## ")[0]
_PDOS = {
    "rx": [{"index": 0x1600, "entries": [{"name": "control", "type": "u16"}, {"name": "target", "type": "i32"}]}],
    "tx": [{"index": 0x1A00, "entries": [{"name": "status", "type": "u16"}, {"name": "position", "type": "i32"}]}],
}


def _machine() -> Machine:
    for pdos in _PDOS.values():
        pdos[0]["entries"][1].update(factor=0.001, unit="mm")  # type: ignore[index]
    axis = {"label": "axis1", "pdos": _PDOS, "sm_watchdog_enabled": True}
    cell = msgspec.convert({"cycle_time_ms": 1, "devices": [axis]}, EthercatBusSpec)
    others = (terminals.digital_inputs("buttons"), terminals.digital_outputs("lamps"))
    channels = (
        ChannelSpec(name="start", device="buttons", direction="tx", bit_offset=0, bit_length=1),
        ChannelSpec(name="lamp", device="lamps", direction="rx", bit_offset=0, bit_length=1),
    )
    cell = msgspec.structs.replace(cell, devices=(*cell.devices, *others), channels=channels)
    return Machine(machine="docs", ethercat={"cell": cell})


@pytest.mark.verifies("REQ_8151")
def test_the_block_answers_each_cycle() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    app = App("docs")
    exec(block, {"app": app, "Context": Context, "dataclass": dataclass})

    with World(1) as world, app.bind(world.runtime, machine=_machine()) as bound:
        axis = device_of(segment_of(world, "cell"), "axis1", SimulatedDevice)
        axis.set("status", 0x27)
        axis.set("position", 12.5)
        bound.start()
        world.run_for(20_000_000)

        assert axis.output("target") == pytest.approx(12.6)


@pytest.mark.verifies("REQ_8151", "REQ_0265")
@pytest.mark.parametrize(("heading", "kind"), [("of a device", Device), ("of a bus", EthercatBus)])
def test_every_name_in_the_tables_is_one(heading: str, kind: type) -> None:
    table = SECTION.partition(f"| {heading} |")[2].partition("\n\n")[0]
    told = re.findall(r"`(\w+)[(`]", "".join(line.split("|")[1] for line in table.splitlines()[2:]))

    assert told
    assert [name for name in told if not hasattr(kind, name)] == []
