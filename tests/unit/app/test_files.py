"""Machine and bench files: what they hold, what they refuse and how they say so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import taktora.app
from taktora.app.bench import bench_schema, load_bench
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
    ("text", "message"),
    [
        pytest.param("machine: a\ncanbus: {}\n", r"unknown field `canbus` \(did you mean can\?\)", id="unknown-field"),
        pytest.param(
            "machine: a\ncan: {w: {}, v: {bitrate: 5}}\n",
            r"can.v.bitrate: Expected `int` >= 10000, found 5",
            id="range",
        ),
        pytest.param("machine: a\ncan: {v: {bitrate: fast}}\n", "Expected `int`, got `str`, found 'fast'", id="type"),
        pytest.param(
            "machine: a\ncan: {w: {}, v: {bitrat: 5}}\n",
            r"can\.v: Object contains unknown field `bitrat` \(did you mean bitrate\?\)",
            id="field-of-a-bus",
        ),
        pytest.param("machine: a\ncan: {v: 3}\n", r"can\.v: Expected `object`, got `int`, found 3", id="no-bus"),
        pytest.param("machine: a\ncan: {3: {}}\n", r"Expected `str`, got `int`", id="bus-is-a-number"),
        pytest.param("can: {}\n", "missing required field `machine`", id="no-name"),
        pytest.param("", "missing required field `machine`", id="empty"),
        pytest.param("machine: a\nmachine: b\n", "key 'machine' stands twice.*line 2", id="twice"),
        pytest.param("machine: [a\n", "line 2", id="syntax"),
        pytest.param("machine: a\ncan: {v: {dbc: no.dbc}}\n", r"can\.v\.dbc names 'no\.dbc'.*: no such file", id="dbc"),
        pytest.param(
            "machine: a\ncan: {v: {dbc: .}}\n", r"can\.v\.dbc names '\.'.*: is a folder", id="dbc-is-a-folder"
        ),
    ],
)
def test_a_wrong_machine_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = _machine(tmp_path, text)

    with pytest.raises(ConfigurationError, match=rf"(?s){re.escape(str(path))}: .*{message}"):
        load_machine(path)


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
        pytest.param("[can.vehicle\n", "line 1", id="syntax"),
    ],
)
def test_a_wrong_bench_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    machine = load_machine(_machine(tmp_path))
    path = _bench(tmp_path, text)

    with pytest.raises(ConfigurationError, match=rf"(?s){re.escape(str(path))}: .*{message}"):
        load_bench(path, machine)


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize(("name", "schema"), [("machine", machine_schema()), ("bench", bench_schema())])
def test_the_published_schema_is_that_of_the_code(name: str, schema: dict[str, object]) -> None:
    published = json.loads((Path(taktora.app.__file__).parent / f"{name}.schema.json").read_text())

    published.pop("$schema")
    assert published == schema
