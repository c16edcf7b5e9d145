"""The machine file of docs/machine-file.md is read as it stands there, and means what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taktora.app.machine import load_machine
from taktora.errors import ConfigurationError
from taktora.ethercat import network
from taktora.ethercat.options import BusPlan
from taktora.ethercat.resolve import resolve, unmapped_gaps
from taktora.ethercat.watchdog import SmWatchdog

PAGE = (Path(__file__).parents[3] / "docs" / "machine-file.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "machine.yaml"
    path.write_text(_block("yaml"), encoding="utf-8")
    return path


@pytest.fixture
def plan(path: Path) -> BusPlan:
    return resolve(load_machine(path).ethercat["cell"])


@pytest.mark.verifies("REQ_8152", "REQ_0827", "REQ_0828", "REQ_0844", "REQ_8154")
def test_the_example_means_what_the_table_says(plan: BusPlan) -> None:
    ram = plan.subdevices[2]

    assert [sub.address for sub in plan.subdevices] == [0x1000, 0x1001, 0x1002]
    assert [sub.expected_wkc for sub in plan.subdevices] == [0, 1, 3]
    assert (ram.output_bits, ram.input_bits) == (56, 48)
    assert ram.sm_watchdog == SmWatchdog(2498, 500)
    assert ram.safe_outputs == bytes(6) + b"\x04"
    assert [str(copy.target) for copy in plan.copies] == ["0x1002.rx[0:16]"]


@pytest.mark.verifies("REQ_0837")
def test_the_example_leaves_no_bit_unnamed(path: Path) -> None:
    assert unmapped_gaps(load_machine(path).ethercat["cell"]) == ()


@pytest.mark.verifies("REQ_8152")
@pytest.mark.parametrize("name", [name for name in network.__all__ if name.endswith("Spec")])
def test_every_key_is_on_the_page(name: str) -> None:
    keys = PAGE.partition("\n## All keys\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", keys))

    assert set(getattr(network, name).__struct_fields__) - told == set()


@pytest.mark.verifies("REQ_8152", "REQ_8510")
def test_the_message_on_the_page_is_the_one_that_comes(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace("device: buttons", "device: button"), encoding="utf-8")

    with pytest.raises(ConfigurationError) as caught:
        load_machine(path)

    assert str(caught.value).removeprefix(f"{path.parent}/") == _block("text").strip()
