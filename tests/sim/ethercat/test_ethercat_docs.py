"""docs/ethercat.md: its first run prints what it shows, its texts are those that come, its blocks of code run."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taktora.ethercat
from taktora.app import App
from taktora.app.machine import load_machine
from taktora.connector.drops import InboundDrops
from taktora.connector.reconnect import EXHAUSTED
from taktora.errors import StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.al_status import al_status_text
from taktora.ethercat.driver import AlState, SubDeviceState
from taktora.ethercat.health import (
    AgedOutputs,
    LowWorkingCounter,
    NotOperational,
    bring_up_failed,
    cycle_failed,
    recover_failed,
)
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap
from taktora.ethercat.resolve import resolve
from taktora.ethercat.telemetry import BusCycleSnapshot
from taktora.ethercat.watchdog import check_read_back
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.sim.fresh import ROOT

PAGE = (ROOT / "docs" / "ethercat.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in Path(taktora.ethercat.__file__).parent.glob("*.py"))
VALVES = SubDeviceMap(address=0x1002, label="valves", output_bits=2, identity=ExpectedIdentity(0x7E57, 0x304))
AXIS = SubDeviceMap(address=0x1003, label="axis1", output_bits=2)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def rows(heading: str, column: str) -> list[str]:
    """Return the texts in the first column of the table of a section; `...` in them stands for anything."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = section.partition(f"\n| {column} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


def fits(row: str, said: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, row.split("..."))), said, re.DOTALL) is not None


def to_the_ms(story: str) -> str:
    """Return what a run told with its times cut: a frame more or less in a bring-up makes no other story."""
    return re.sub(r"(\d\.\d{3})\d{3} s  ", r"\1 s  ", story)


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """Write the files of the first run and return their folder."""
    (tmp_path / "machine.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    (tmp_path / "clamp.py").write_text(blocks("python")[0], encoding="utf-8")
    (tmp_path / "scenario.py").write_text(blocks("python")[1], encoding="utf-8")
    (tmp_path / "cut.toml").write_text(blocks("toml")[0], encoding="utf-8")
    return tmp_path


@pytest.mark.verifies("REQ_8151", "REQ_8152", "REQ_8109")
def test_the_first_run_prints_what_is_shown(cell: Path) -> None:
    shown = blocks("console")[0].partition("--plan cut.toml\n")[2].partition("$ python")[0]
    command = [sys.executable, "-m", "taktora", "sim", "run", "scenario.py", "--plan", "cut.toml"]

    done = subprocess.run(command, cwd=cell, capture_output=True, text=True, check=True, timeout=PATIENCE_S)

    assert to_the_ms(done.stdout).startswith(to_the_ms(shown))
    assert done.stdout.count("\n") == shown.count("\n") + 2, "besides the summary and the hash there is nothing more"


@pytest.mark.verifies("REQ_0320", "REQ_0331", "REQ_0333", "REQ_0842", "REQ_8150")
def test_every_reason_of_the_bus_is_in_the_table_word_for_word() -> None:
    table = rows("Health", "reason")
    said = [
        str(LowWorkingCounter(400, 0, 3)),
        str(NotOperational(str(AXIS), AlState.SAFE_OP, 0x1B)),
        str(NotOperational(str(AXIS), AlState.NONE)),
        str(AgedOutputs((str(VALVES),), 4)),
        cycle_failed(StackError("no frame came back")),
        recover_failed(StackError("no SubDevice answers")),
        bring_up_failed(StackError("no SubDevice answers")),
        EXHAUSTED,
        str(InboundDrops(3)),
    ]

    assert [reason for reason in said if not any(fits(row, reason) for row in table)] == []
    assert len(table) == len(said) + 2, "the two others are shown by the tests of the processes"


@pytest.mark.verifies("REQ_8510", "REQ_0838", "REQ_0846")
def test_every_sentence_of_a_failed_bring_up_is_in_the_table() -> None:
    table = rows("Errors at start-up", "text")
    wire = "interface 'eth1'"
    asked = (VALVES, SubDeviceState(2, AlState.PRE_OP, True, 0x1D), al_status_text(0x1D))
    with pytest.raises(StackError) as refused:
        check_read_back(str(VALVES), 0x0400, 2498, 0)
    said = [
        text.no_answer(wire),
        text.wrong_count(wire, [SubDeviceMap(address=1), SubDeviceMap(address=2), VALVES], 2),
        text.wrong_identity(2, VALVES, ExpectedIdentity(0x7E57, 5), [VALVES]),
        text.wrong_alias(2, dataclasses.replace(VALVES, station_alias=7), 0),
        text.wrong_size(2, VALVES, "outputs", 2, 1),
        text.sdo_failed(str(AXIS), "write", 0x8010, 1, 0x06090030),
        text.state_not_reached(AlState.SAFE_OP, [asked], 10.0),
        text.state_not_reached(AlState.OP, [asked], 10.0),
        text.no_distributed_clock(wire),
        refused.value,
    ]
    matched = {row: [each for each in said if fits(row, str(each))] for row in table}

    assert [str(each) for each in said if not any(each in found for found in matched.values())] == []
    for row in (row for row, found in matched.items() if not found):  # made where they happen: their words are there
        words = max(re.split(r"\.\.\.|'[^']*'|\(0x\w+\)", row), key=len).strip(" :;")
        assert words in SOURCES, row


@pytest.mark.verifies("REQ_0262", "REQ_0263", "REQ_0264", "REQ_0266")
def test_every_figure_of_the_cycle_is_in_the_table() -> None:
    section = PAGE.partition("\n## Figures of the cycle\n")[2].partition("\n## ")[0]

    assert set(re.findall(r"`(\w+)`", section.partition("| figure |")[2])) - {"telemetry_window"} == {
        field.name for field in dataclasses.fields(BusCycleSnapshot)
    }


@pytest.mark.verifies("REQ_0265", "REQ_0267")
def test_the_blocks_about_figures_run(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    observe, read = (block for block in blocks("python") if "observe" in block or "statistics" in block)
    app = App("figures", machine=cell / "machine.yaml")
    names: dict[str, object] = {"cell": app.ethercat("cell")}
    exec(observe, names)

    with World(1) as world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(50_000_000)
        end = world.faults.inject("ethercat/cell", "lose-frames")
        world.run_for(20_000_000)
        end()
        exec(read, names)

    assert len(names["bad_cycles"]) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().out.endswith(" 1 (1, 1, 1)\n")


@pytest.mark.verifies("REQ_0312")
def test_the_block_about_a_mock_makes_a_connector(cell: Path) -> None:
    plan = resolve(load_machine(cell / "machine.yaml").ethercat["cell"])
    (block,) = (block for block in blocks("python") if "MockBusDriver" in block)
    with World(1) as world:
        names: dict[str, object] = {"world": world, "options": EthercatConnectorOptions.of_plan(plan)}
        exec(block, names)

        assert names["connector"].health().kind.value == "Connecting"  # type: ignore[attr-defined]
        names["connector"].close()  # type: ignore[attr-defined]


@pytest.mark.verifies("REQ_8150", "REQ_0844")
def test_the_bounds_of_the_times_are_those_of_the_plan(cell: Path) -> None:
    plan = resolve(load_machine(cell / "machine.yaml").ethercat["cell"])
    watchdog = plan.subdevices[2].sm_watchdog

    assert "`(max_output_age_cycles + 2) * cycle_time_ms`" in PAGE
    assert plan.safe_after_ns == (plan.max_output_age_cycles + 2) * plan.cycle_time_ns
    assert watchdog is not None
    assert watchdog.window_ns == plan.ftti_ns // 2


@pytest.mark.verifies("REQ_8021")
def test_the_pages_that_are_linked_are_there() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)(?:#[\w-]+)?\)", PAGE)

    assert linked
    assert [name for name in linked if not (ROOT / "docs" / name).exists()] == []
