"""docs/ethercat-on-a-nic.md: every option of its commands is there, its variables are read, its blocks of code run."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main

from taktora.app.bench import load_bench
from taktora.cli import ethercat as ethercat_cli
from taktora.ethercat.backend import DriverSettings
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.soem_options import SoemOptions
from taktora_hil.arming import ARMED, BENCH
from taktora_hil.cli import hil as hil_cli
from taktora_hil.cli import rig as rig_cli
from taktora_hil.fixtures import FIXTURE_GATES
from taktora_hil.rig_ethercat import why_no_rig
from taktora_sim.ethercat.devices import terminals

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ethercat-on-a-nic.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def options(app: typer.Typer, command: str) -> list[str]:
    group: Any = typer.main.get_command(app)
    found = [option for parameter in group.commands[command].params for option in parameter.opts]
    return [option for option in found if option.startswith("-")]


@pytest.mark.verifies("REQ_8153", "REQ_8505", "REQ_8502")
@pytest.mark.parametrize(
    ("app", "command"),
    [(ethercat_cli.app, "scan"), (rig_cli.app, "ethercat"), (hil_cli.app, "status")],
    ids=["ethercat scan", "rig ethercat", "hil status"],
)
def test_every_option_is_on_the_page(app: typer.Typer, command: str) -> None:
    found = options(app, command)

    assert found
    assert [option for option in found if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", PAGE)] == []


@pytest.mark.verifies("REQ_8501", "REQ_8508")
def test_every_variable_is_in_the_table() -> None:
    table = PAGE.partition("| variable |")[2].partition("\n\n")[0]

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {*FIXTURE_GATES["ethercat_bus"], BENCH, ARMED}


@pytest.mark.verifies("REQ_0312", "REQ_8152")
def test_the_settings_of_the_driver_are_on_the_page_with_their_defaults(tmp_path: Path) -> None:
    table = PAGE.partition("| setting | default |")[2].partition("\n\n")[0]
    told = {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE)}
    path = tmp_path / "bench.toml"
    path.write_text(blocks("toml")[1], encoding="utf-8")
    backing, defaults = load_bench(path).ethercat["cell"], SoemOptions()

    assert told.keys() == {each.name for each in fields(DriverSettings)}
    assert all(getattr(backing, name) is not None for name in told), "the block above the table shows each of them"
    for name in SoemOptions.__slots__:
        default = getattr(defaults, name)
        assert told.get(name) == str(default) or f"`{name}` ({default})" in PAGE


@pytest.mark.verifies("REQ_8152")
def test_the_bench_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")

    assert load_bench(path).ethercat["cell"].interface == "eth1"


@pytest.mark.verifies("REQ_0321")
def test_the_block_about_settings_names_what_there_is() -> None:
    (block,) = (block for block in blocks("python") if "SoemOptions" in block)
    names: dict[str, Any] = {}

    exec(block, names)

    made = names["runtime"].backends["ethercat"]
    names["runtime"].close()
    assert made.keywords == {"soem": SoemOptions(emergency_poll_cycles=1000)}


@pytest.mark.world("rig")
@pytest.mark.verifies("REQ_8505")
def test_the_block_about_the_rig_runs() -> None:
    if reason := why_no_rig():
        pytest.skip(reason)
    (block,) = (block for block in blocks("python") if "EthercatRig" in block)
    devices = (terminals.coupler("coupler"), terminals.digital_inputs("sensors"), terminals.digital_outputs("valves"))
    names: dict[str, Any] = {"spec": EthercatBusSpec(devices=devices)}

    exec(block, names)

    assert (names["state"], names["changes"]) == ("INIT", [])


@pytest.mark.verifies("REQ_8500")
def test_the_block_about_the_suite_is_a_suite(pytester: pytest.Pytester) -> None:
    (block,) = (block for block in blocks("python") if "ethercat_machine" in block)
    head = "from pathlib import Path\n\nimport pytest\n\nfrom taktora_hil.ethercat_bench import EthercatBench\n\n\n"
    pytester.makepyfile(test_cell=head + block)
    machine = (ROOT / "docs" / "ethercat.md").read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    (pytester.path / "machine.yaml").write_text(machine, encoding="utf-8")

    done = pytester.runpytest_subprocess("--world", "sim")

    done.assert_outcomes(passed=1)


@pytest.mark.verifies("REQ_8021")
def test_the_pages_that_are_linked_are_there() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)(?:#[\w-]+)?\)", PAGE)

    assert linked
    assert [name for name in linked if not (ROOT / "docs" / name).exists()] == []
