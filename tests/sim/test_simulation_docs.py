"""The examples of docs/simulation.md run as they stand there."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from taktora_sim.cli import app
from taktora_sim.faults import FaultPlan
from taktora_sim.foreign.patches import PACKAGES
from taktora_sim.play import PlayOptions, play
from taktora_sim.report import Check, Event, HealthChange
from taktora_sim.scenario import load_scenario
from tests.sim.fresh import ROOT

PAGE = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.verifies("REQ_8013")
def test_the_first_scenario_runs_and_its_check_holds(tmp_path: Path) -> None:
    path = tmp_path / "greenhouse_of_the_docs.py"
    path.write_text(blocks("python")[0])

    summary = play(load_scenario(str(path)), PlayOptions())

    assert summary.ok, summary.error
    assert [check.name for check in summary.recorder.checks] == ["it stays warm"]
    assert len(summary.recorder.signals["warmth"].values) >= 50


@pytest.mark.verifies("REQ_8007", "REQ_8008")
def test_the_component_and_the_campaign_run_together(tmp_path: Path) -> None:
    path = tmp_path / "pump_of_the_docs.py"
    path.write_text("\n".join(blocks("python")[1:3]))

    summary = play(load_scenario(str(path)), PlayOptions(keep_plan_in=tmp_path))

    assert summary.ok, summary.error
    assert summary.faults
    assert "the pump is clogged by" in summary.faults[0].sentence


@pytest.mark.verifies("REQ_8203")
def test_the_program_with_a_thread_prints_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "blink_of_the_docs.py"
    path.write_text(blocks("python")[3])
    (shown,) = re.findall(r"# (\[0\.5.*)", path.read_text())

    runpy.run_path(str(path))

    assert capsys.readouterr().out == f"{shown}\n"


@pytest.mark.verifies("REQ_8203")
def test_the_packages_whose_names_are_rebound_are_those_that_are_told() -> None:
    (told,) = re.findall(r"in `packages` \((.*?) unless given\)", PAGE)

    assert tuple(re.findall(r"`(\w+)`", told)) == PACKAGES


@pytest.mark.verifies("REQ_8007")
def test_the_plan_is_a_plan() -> None:
    plan = FaultPlan.parse(blocks("toml")[0])

    assert [(entry.at_ns, entry.frame) for entry in plan.entries] == [(20_000_000_000, None), (None, 4000)]


@pytest.mark.verifies("REQ_8013")
@pytest.mark.parametrize(("name", "kind"), [("events", Event), ("health", HealthChange), ("checks", Check)])
def test_every_field_of_what_is_recorded_is_in_the_table(name: str, kind: type) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| .*$", PAGE, re.MULTILINE)

    missing = [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in row]
    assert missing == []


@pytest.mark.verifies("REQ_8009")
def test_every_option_of_run_is_in_the_table() -> None:
    import typer.main

    group = typer.main.get_command(app)
    options = [option for parameter in group.commands["run"].params for option in parameter.opts]  # type: ignore[attr-defined]

    missing = [option for option in options if option.startswith("--") and f"`{option}" not in PAGE]
    assert missing == []
