"""Plants from a Python file that a bench file names, and what a wrong name is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.network import EthercatBusSpec
from taktora_sim.ethercat.backend import attach_plants
from taktora_sim.ethercat.devices import DigitalInputs, build_segment, device_of
from taktora_sim.ethercat.devices.terminals import digital_inputs
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.world import World

BUS = EthercatBusSpec(devices=(digital_inputs("sensors", 8),))
PLANT = """
from neighbour import CHANNEL
from taktora_sim.ethercat.devices import DigitalInputs, device_of

def attach(segment, label, settings):
    device_of(segment, label, DigitalInputs).set(CHANNEL, settings["value"])
"""


@pytest.fixture
def segment() -> SimulatedSegment:
    return build_segment(World(1), "cell", BUS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    (tmp_path / "plant.py").write_text(PLANT)
    (tmp_path / "neighbour.py").write_text("CHANNEL = 'in3'\n")
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    return tmp_path


@pytest.mark.verifies("REQ_8108")
def test_the_function_of_the_file_gets_segment_label_and_settings(segment: SimulatedSegment, folder: Path) -> None:
    attach_plants(segment, {"sensors": {"kind": "python", "file": "plant.py", "value": True}}, folder)

    assert device_of(segment, "sensors", DigitalInputs).input("in3") is True


@pytest.mark.verifies("REQ_8108")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, 'needs file = "plant.py"'),
        ({"file": "nowhere.py"}, r"nowhere\.py: no such file"),
        ({"file": "plant.py", "function": "build"}, "has no function 'build'; write def build"),
        ({"file": "broken.py"}, r"broken\.py cannot be imported: ModuleNotFoundError.*nowhere_to_be_found"),
    ],
    ids=["no file", "file missing", "function missing", "broken"],
)
def test_what_cannot_be_called_is_refused_with_its_place(
    segment: SimulatedSegment, folder: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[ethercat\.cell\.plant\.sensors\].*{words}"):
        attach_plants(segment, {"sensors": {"kind": "python", **settings}}, folder)
