"""Machine and bench files: what they hold, what they refuse and how they say so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

import taktora.app
from taktora.app.bench import bench_schema, load_bench
from taktora.app.files import place_in, read_file
from taktora.app.machine import Machine, load_machine, machine_schema
from taktora.errors import ConfigurationError

MACHINE = "machine: desk\ncan:\n  vehicle: {bitrate: 250000, dbc: v.dbc, interface: can0}\n"


def _machine(folder: Path, text: str = MACHINE) -> Path:
    (folder / "v.dbc").write_text("")
    path = folder / "machine.yaml"
    path.write_text(text)
    return path


def _bench(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


@pytest.mark.verifies("REQ_8021")
def test_machine_file_names_the_buses(tmp_path: Path) -> None:
    machine = load_machine(_machine(tmp_path))

    assert machine.machine == "desk"
    assert machine.can["vehicle"].bitrate == 250_000
    assert machine.can["vehicle"].interface == "can0"


@pytest.mark.verifies("REQ_8021", "REQ_8510")
@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        pytest.param(
            2, "machine: a\ncanbus: {}\n", r"Object.* unknown field `canbus` \(did you mean can\?\)", id="unknown-field"
        ),
        pytest.param(
            4,
            "machine: a\ncan:\n  w: {}\n  v: {bitrate: 5}\n",
            r"can\.v\.bitrate: Expected `int` >= 10000, found 5",
            id="range",
        ),
        pytest.param(
            4, "machine: a\ncan:\n  v:\n    bitrate: fast\n", "can.v.bitrate: .* got `str`, found 'fast'", id="type"
        ),
        pytest.param(
            5,
            "machine: a\ncan:\n  w: {}\n  v:\n    bitrat: 5\n",
            r"can\.v: Object contains unknown field `bitrat` \(did you mean bitrate",
            id="field-of-a-bus",
        ),
        pytest.param(2, "machine: a\ncan: {v: 3}\n", r"can\.v: Expected `object`, got `int`, found 3", id="no-bus"),
        pytest.param(
            3, "machine: a\ncan:\n  3: {}\n", r"can: Expected `str`, got `int`, found 3", id="bus-is-a-number"
        ),
        pytest.param(1, "can: {}\n", "Object missing required field `machine`", id="no-name"),
        pytest.param(1, "", "Object missing required field `machine`", id="empty"),
        pytest.param(1, "- 3\n", "Expected `object`, got `array`", id="a-list"),
        pytest.param(3, "machine: a\n\nmachine: b\n", "key 'machine' stands twice", id="twice"),
        pytest.param(2, "machine: [a\n", "while parsing a flow sequence, expected", id="syntax"),
        pytest.param(
            4, "machine: a\ncan:\n  v:\n    dbc: no.dbc\n", r"can\.v\.dbc names 'no\.dbc'.*: no such file", id="dbc"
        ),
        pytest.param(
            2, "machine: a\ncan: {v: {dbc: .}}\n", r"can\.v\.dbc names '\.'.*: is a folder", id="dbc-is-a-folder"
        ),
        pytest.param(
            4,
            "machine: a\ncan:\n  v:\n    interface: can 0\n",
            r"can\.v\.interface: CAN interface name 'can 0' has ' ' at position 3; allowed are printable ASCII",
            id="no-interface-name",
        ),
        pytest.param(
            4,
            "machine: a\ncan:\n  w: {interface: can0}\n  v: {interface: can0}\n",
            r"can\.v\.interface: 'can0' is the interface of 'w' too; each bus has an interface of its own",
            id="one-interface-twice",
        ),
        pytest.param(
            4,
            "machine: a\ncan:\n  v:\n    data_bitrate: 250000\n",
            r"can\.v\.data_bitrate is 250000, below the bitrate 500000; the data phase",
            id="slow-data-phase",
        ),
        pytest.param(
            4,
            "machine: a\ncan:\n  v:\n    data_bitrate: 12000000\n",
            r"can\.v\.data_bitrate: Expected `int` <= 8000000, found 12000000",
            id="data-rate-range",
        ),
    ],
)
def test_a_wrong_machine_file_is_refused_with_its_line(tmp_path: Path, line: int, text: str, message: str) -> None:
    path = _machine(tmp_path, text)

    with pytest.raises(ConfigurationError, match=rf"(?s)^{re.escape(str(path))}:{line}: {message}"):
        load_machine(path)


class _Slot(msgspec.Struct, forbid_unknown_fields=True):
    bits: list[Annotated[int, msgspec.Meta(ge=0)]] = []
    window: tuple[int, str] = (0, "")


class _Rack(msgspec.Struct, forbid_unknown_fields=True):
    slots: dict[str, list[_Slot]] | None = None


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        pytest.param(
            4, "slots:\n  a: []\n  b:\n  - bits: [1, -1]\n", r"slots\.b\[0\]\.bits\[1\]: .*, found -1", id="item"
        ),
        pytest.param(
            5,
            "slots:\n  b:\n  - bits: []\n  - bits: []\n    bit: 1\n",
            r"slots\.b\[1\]: .*did you mean bits\?",
            id="field-of-an-item",
        ),
        pytest.param(
            4, "slots:\n  b:\n  -\n    window: [1, 2]\n", r"slots\.b\[0\]\.window\[1\]: .*, found 2", id="tuple"
        ),
        pytest.param(2, "slots:\n  b: 7\n", r"slots\.b: Expected `array`, got `int`, found 7", id="no-list"),
    ],
)
def test_a_place_deep_in_a_file_is_named_with_its_line(tmp_path: Path, line: int, text: str, message: str) -> None:
    path = tmp_path / "rack.yaml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=rf"^{re.escape(str(path))}:{line}: {message}"):
        read_file(path, _Rack)


_TYPES = "bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, bits"
_PROFILES = "coupler, digital-inputs, digital-outputs, analog-inputs, analog-outputs, cia402, generic"
_REFERENCE = "; the file's format is described by its JSON Schema (see docs/machine-file.md)"


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("type: uint16", f"found 'uint16', expected one of {_TYPES} (did you mean 'u16'?)"),
        ("type: UDINT", f"found 'UDINT', expected one of {_TYPES} (did you mean 'u32'?)"),
        ("type: int32_t", f"found 'int32_t', expected one of {_TYPES} (did you mean 'i32'?)"),
        ("type: bitfield", f"found 'bitfield', expected one of {_TYPES}"),
        (
            "profile: digital_input",
            f"found 'digital_input', expected one of {_PROFILES} (did you mean 'digital-inputs'?)",
        ),
        ("profile: servo", f"found 'servo', expected one of {_PROFILES}"),
    ],
)
def test_a_value_that_is_none_of_those_allowed_is_answered_with_them(tmp_path: Path, field: str, text: str) -> None:
    is_type = field.startswith("type")
    path = _machine(
        tmp_path,
        "machine: a\nethercat:\n  cell:\n    devices:\n    - label: d\n"
        f"      {'profile: generic' if is_type else field}\n"
        "      pdos: {tx: [{index: 0x1A00, entries: [{name: x, index: 0x6000,\n"
        f"        {field if is_type else 'type: u8'}}}]}}]}}\n",
    )

    with pytest.raises(ConfigurationError) as refused:
        load_machine(path)

    place = (
        "8: ethercat.cell.devices[0].pdos.tx[0].entries[0].type" if is_type else "6: ethercat.cell.devices[0].profile"
    )
    assert str(refused.value) == f"{path}:{place}: {text}{_REFERENCE}"


@pytest.mark.verifies("REQ_8510")
def test_a_place_is_the_file_alone_where_its_lines_are_not_known(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")

    assert place_in(tmp_path / "bench.toml", "can") == str(tmp_path / "bench.toml")
    assert place_in(tmp_path / "gone.yaml", "can") == str(tmp_path / "gone.yaml")
    assert place_in(broken, "a") == str(broken)


@pytest.mark.verifies("REQ_8021")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: no such file; check the path"):
        load_machine(tmp_path / "nowhere.yaml")


@pytest.mark.verifies("REQ_8510")
def test_a_folder_and_a_text_of_another_encoding_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_bytes(b"machine: \xff")

    with pytest.raises(ConfigurationError, match="is a folder, expected a file"):
        load_machine(tmp_path)
    with pytest.raises(ConfigurationError, match=r"machine\.yaml: byte 9 is no UTF-8 text; save the file as UTF-8"):
        load_machine(path)


@pytest.mark.verifies("REQ_8021")
def test_an_unknown_bus_is_answered_with_the_nearest() -> None:
    machine = Machine(machine="desk", can={})

    with pytest.raises(ConfigurationError, match="machine 'desk' has no CAN bus 'vehicel'; known: none"):
        machine.can_bus("vehicel", "machine.yaml")


@pytest.mark.verifies("REQ_8021", "REQ_8510")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('[can.vehicle]\nreplay = "no.log"\n', "names 'no.log'.*no.log: no such file", id="no-log"),
        pytest.param('[can.vehicle]\nreplay = "."\n', "names '.'.*: is a folder, expected a file", id="folder"),
        pytest.param("[can.vehicel]\nsimulated = true\n", "did you mean vehicle", id="unknown-bus"),
        pytest.param('[can.vehicle]\nsimulated = true\ninterface = "can0"\n', "keep one of both", id="both"),
        pytest.param(
            "[can.vehicle]\nsimulate = true\n",
            r"can.vehicle: .*unknown field `simulate` \(did you mean simulated\?\)",
            id="unknown-field",
        ),
        pytest.param('[can.vehicle]\ninterface = "can0"\n[can.vehicle.restbus]\n', "keep one of both", id="restbus"),
        pytest.param('[can.vehicle]\nacknowledge = true\ninterface = "can0"\n', "keep one of both", id="listener"),
        pytest.param('[can.vehicle]\ninterface = "a/b"\n', "interface name 'a/b' has '/' at position 1", id="name"),
        pytest.param("[can.vehicle\n", "line 1", id="syntax"),
    ],
)
def test_a_wrong_bench_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    machine = load_machine(_machine(tmp_path))
    path = _bench(tmp_path, text)

    with pytest.raises(ConfigurationError, match=rf"(?s){re.escape(str(path))}: .*{message}"):
        load_bench(path, machine)


CELL = """\
machine: cell
ethercat:
  cell:
    cycle_time_ms: 1
    devices:
      - label: coupler
        identity: {vendor_id: 2, product_code: 0x044C2C52}
      - label: valves
        sm_watchdog_enabled: true
        pdos:
          rx:
            - index: 0x1600
              entries: [{name: gripper, type: bool}, {type: bits, bit_length: 3}]
        safe: {gripper: 1}
    channels:
      - {name: grip, device: valves, direction: rx, bit_offset: 0, bit_length: 1}
"""


@pytest.mark.verifies("REQ_8152")
def test_machine_file_describes_a_segment(tmp_path: Path) -> None:
    machine = load_machine(_machine(tmp_path, CELL))

    bus = machine.ethercat_bus("cell", "App 'x'")
    assert [device.label for device in bus.devices] == ["coupler", "valves"]
    assert bus.devices[0].identity is not None
    assert bus.devices[0].identity.product_code == 0x044C2C52
    with pytest.raises(ConfigurationError, match=r"App 'x': machine 'cell' has no EtherCAT bus 'sell'; did you mean"):
        machine.ethercat_bus("sell", "App 'x'")


@pytest.mark.verifies("REQ_8152")
@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "type: bool",
            "type: boo",
            13,
            r"ethercat\.cell\.devices\[1\]\.pdos\.rx\[0\]\.entries\[0\]\.type: .*found 'boo'",
        ),
        (
            "device: valves",
            "device: valve",
            16,
            r"ethercat\.cell\.channels\[0\]\.device: no device 'valve' on this bus",
        ),
        ("gripper: 1", "gripper: 2", 14, r"ethercat\.cell\.devices\[1\]\.safe: .*gripper = 2\.0 is not in"),
        ("label: valves", "label: coupler", 8, r"ethercat\.cell\.devices\[1\]\.label: label 'coupler' stands twice"),
        ("label: coupler", "label: coupler\n        sii: x.bin", 7, r"devices\[0\]\.sii names 'x.bin'; .*no such file"),
        ("label: coupler", "label: coupler\n        dictionary: .", 7, r"\.dictionary names '\.'; .*is a folder"),
        ("bits, bit_length: 3", "bits", 13, r"\.entries\[1\]\.bit_length: type 'bits' has no length"),
    ],
)
def test_a_contradiction_in_a_segment_is_refused_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    path = _machine(tmp_path, CELL.replace(old, new, 1))

    with pytest.raises(ConfigurationError, match=rf"(?s)^{re.escape(str(path))}:{line}: .*{message}"):
        load_machine(path)


@pytest.mark.verifies("REQ_0822")
def test_one_entry_is_one_bus_on_one_interface_and_one_file_one_machine(tmp_path: Path) -> None:
    two = "machine: m\nethercat:\n  a: {default_nic: eth1}\n  b: {default_nic: eth1}\n"

    with pytest.raises(ConfigurationError, match=r":4: ethercat\.b\.default_nic: 'eth1' is the interface of 'a' too"):
        load_machine(_machine(tmp_path, two))
    with pytest.raises(ConfigurationError, match="expected a single document"):
        load_machine(_machine(tmp_path, f"{CELL}---\n{CELL}"))


@pytest.mark.verifies("REQ_0312")
def test_two_buses_cannot_have_one_interface_on_a_bench(tmp_path: Path) -> None:
    machine = load_machine(_machine(tmp_path, "machine: m\nethercat: {a: {}, b: {}}\n"))
    text = '[ethercat.a]\ninterface = "eth1"\n[ethercat.b]\ninterface = "eth1"\n'

    with pytest.raises(ConfigurationError, match=r"\[ethercat\.b\] and \[ethercat\.a\] name one interface, 'eth1'"):
        load_bench(_bench(tmp_path, text), machine)


@pytest.mark.verifies("REQ_8152")
def test_bench_file_says_what_stands_behind_a_segment(tmp_path: Path) -> None:
    machine = load_machine(_machine(tmp_path, CELL))

    bench = load_bench(
        _bench(tmp_path, '[ethercat.cell]\nsimulated = true\n[ethercat.cell.plant.valves]\nkind = "clamp"\nmass = 2\n'),
        machine,
    )

    assert bench.ethercat["cell"].simulated
    assert bench.ethercat["cell"].gateway == "in-process"
    assert bench.ethercat["cell"].plant == {"valves": {"kind": "clamp", "mass": 2}}


@pytest.mark.verifies("REQ_8152")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ethercat.sell]\n", r"\[ethercat\.sell\] is no EtherCAT bus of machine 'cell'; did you mean cell\?"),
        ('[ethercat.cell]\nsimulated = true\ninterface = "eth1"\n', "names interface 'eth1' and is simulated too"),
        (
            "[ethercat.cell.plant.valve]\n",
            r"\[ethercat\.cell\.plant\.valve\] is no device of this bus; did you mean valves",
        ),
        ('[ethercat.cell]\ngateway = "far"\n', "ethercat.cell.gateway: .*found 'far'"),
        ("[ethercat.cell]\npriority = 0\n", "ethercat.cell.priority: .*found 0"),
        ("[ethercat.cell]\npriority = 100\n", "ethercat.cell.priority: .*found 100"),
        ("[ethercat.cell]\ncpu = -1\n", "ethercat.cell.cpu: .*found -1"),
        ('[ethercat.cell]\ncpu = "1"\n', "ethercat.cell.cpu: .*found '1'"),
        ('[ethercat.cell]\nmapping = "packed"\n', "ethercat.cell.mapping: .*found 'packed'"),
        ("[ethercat.cell]\nframe_timeout_us = 99\n", "ethercat.cell.frame_timeout_us: .*found 99"),
        ("[ethercat.cell]\nframe_timeout_us = 2000000\n", "ethercat.cell.frame_timeout_us: .*found 2000000"),
        (
            "[ethercat.cell]\nsimulated = true\npriority = 60\ncpu = 1\n",
            r"\[ethercat\.cell\] is simulated and sets priority, cpu of a real driver; name an interface",
        ),
    ],
)
def test_a_bench_file_that_does_not_fit_the_segment_is_refused(tmp_path: Path, text: str, message: str) -> None:
    machine = load_machine(_machine(tmp_path, CELL))

    with pytest.raises(ConfigurationError, match=message):
        load_bench(_bench(tmp_path, text), machine)


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize(("name", "schema"), [("machine", machine_schema()), ("bench", bench_schema())])
def test_the_published_schema_is_that_of_the_code(name: str, schema: dict[str, object]) -> None:
    published = json.loads((Path(taktora.app.__file__).parent / f"{name}.schema.json").read_text())

    published.pop("$schema")
    assert published == schema
