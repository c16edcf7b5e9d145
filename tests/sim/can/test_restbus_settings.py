"""A rest-bus from a table: the same as by hand, and clear words about what does not fit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from taktora.codec.dbc import load_dbc
from taktora.errors import ConfigurationError
from taktora_sim.can import SimulatedCanBus
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.generators import Checksum, Constant, Counter, Ramp, Sine, Table
from taktora_sim.can.restbus.settings import restbus_from_settings
from taktora_sim.world import World
from tests.sim.can.restbus_dbc import write_dbc
from tests.sim.can.support import S

_TEXT = """
only = ["BMS", "Motion"]
exclude = ["Modules"]

[cycle_times_ms]
PackStatus = 20
Motion = 0

[phases_ms]
PackStatus = 3

[signals]
"PackStatus.Voltage" = { kind = "sine", low = 380, high = 420, period_ms = 1000, phase = 0.5 }
"PackStatus.Mode" = { kind = "table", values = [1, 2, 3], every_ms = 100, then = "hold" }
PackStatus.Current = { kind = "ramp", low = -10, high = 10, period_ms = 500, is_triangle = true }
PackStatus.Alive = { kind = "counter", wrap = 15 }
PackStatus.Check = { kind = "checksum", algorithm = "e2e_p01", data_id = 0x123, first_byte = 1, last_byte = 6 }
Motion.Power = 12.5
"Motion.Position" = { kind = "constant", value = 3 }
"""


def fd_bus() -> SimulatedCanBus:
    return SimulatedCanBus(World(1), "vehicle", data_bitrate=2_000_000, acknowledge=True)


@pytest.mark.verifies("REQ_8208")
def test_a_table_gives_the_same_rest_bus_as_python(tmp_path: Path) -> None:
    path = write_dbc(tmp_path)
    by_table, by_hand = fd_bus(), fd_bus()

    restbus_from_settings(by_table, path, tomllib.loads(_TEXT))
    RestBus(
        by_hand,
        load_dbc(path),
        only=["PackStatus", "Motion"],
        cycle_times_ms={"PackStatus": 20, "Motion": None},
        phases_ms={"PackStatus": 3},
        signals={
            "PackStatus.Voltage": Sine(380, 420, 1000, phase=0.5),
            "PackStatus.Mode": Table([1, 2, 3], every_ms=100, then="hold"),
            "PackStatus.Current": Ramp(-10, 10, 500, is_triangle=True),
            "PackStatus.Alive": Counter(wrap=15),
            "PackStatus.Check": Checksum("e2e_p01", data_id=0x123, first_byte=1, last_byte=6),
            "Motion.Power": 12.5,
            "Motion.Position": Constant(3),
        },
    )
    for bus in (by_table, by_hand):
        bus.world.run_for(S)
        bus.world.close()

    assert by_table.frames == 50
    assert by_table.world.trace.sha256() == by_hand.world.trace.sha256()


@pytest.mark.verifies("REQ_8208")
def test_an_empty_table_sends_all(tmp_path: Path) -> None:
    path = write_dbc(tmp_path)

    rest = restbus_from_settings(fd_bus(), path, {})
    without = restbus_from_settings(fd_bus(), path, {}, exclude_ids=[0x180, (0x18FF50E5, True), (0x18FF50E5, False)])

    assert len(rest.messages) == 7
    assert set(rest.messages) - set(without.messages) == {"PackStatus", "Motion"}


_SIGNAL = "PackStatus.Voltage"
_BAD: list[tuple[dict[str, Any], str]] = [
    ({"exlude": []}, "there is no key 'exlude'; did you mean 'exclude'"),
    ({"only": "BMS"}, "only: 'BMS' is not a list of names"),
    ({"only": ["BMX"]}, r"rest-bus of vehicle\.dbc has no node or message 'BMX'; did you mean 'BMS'"),
    ({"cycle_times_ms": 10}, "cycle_times_ms: 10 is not a table"),
    ({"cycle_times_ms": {"PackStatus": "10"}}, r"cycle_times_ms\.PackStatus: '10' is not a number"),
    (
        {"cycle_times_ms": {"PackStatus": -1}},
        r"PackStatus: cycle time -1 ms is outside .*; None, in a bench file 0, sends it by trigger",
    ),
    ({"phases_ms": {"PackStat": 1}}, "no message 'PackStat'; did you mean 'PackStatus'"),
    ({"signals": {_SIGNAL: True}}, "True is no number, no name of a value and no table"),
    (
        {"signals": {"PackStatus.Mode": "Fly"}},
        r"PackStatus\.Mode: it has no value named 'Fly'; there are Charge, Drive",
    ),
    ({"signals": {_SIGNAL: {"kind": "sin"}}}, "no generator of kind 'sin'; did you mean 'sine'"),
    ({"signals": {_SIGNAL: {"low": 1}}}, "no generator of kind 'None'"),
    ({"signals": {_SIGNAL: {"kind": "sine", "low": 1}}}, "a sine needs high, period_ms"),
    ({"signals": {_SIGNAL: {"kind": "ramp", "lo": 1}}}, "a ramp has no key 'lo'; did you mean 'low'"),
    ({"signals": {_SIGNAL: {"kind": "table", "values": [1, "2"]}}}, r"values: \[1, '2'\] is not a list of numbers"),
    ({"signals": {_SIGNAL: {"kind": "counter", "wrap": 1.5}}}, r"wrap: 1\.5 is not a whole number"),
    ({"signals": {_SIGNAL: {"kind": "constant", "value": 2000}}}, r"PackStatus\.Voltage: 2000 is outside 0"),
    ({"signals": {"PackStatus": {"Volts": 3}}}, "PackStatus has no signal 'Volts'; did you mean 'Voltage'"),
]


@pytest.mark.verifies("REQ_8208", "REQ_8510")
@pytest.mark.parametrize(("settings", "text"), _BAD, ids=[text[:30] for _, text in _BAD])
def test_what_does_not_fit_is_refused_with_its_place(tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    path = write_dbc(tmp_path)

    with pytest.raises(ConfigurationError, match=rf"bench\.toml, \[can\.vehicle\.restbus\].*{text}"):
        restbus_from_settings(fd_bus(), path, settings, where="bench.toml, [can.vehicle.restbus]")
