"""docs/can-scripts.md: its script gives the log that is shown, and every statement and option is in a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from taktora_sim.can.script import logs_text, parse_script
from taktora_sim.can.script.drawn import random_script
from taktora_sim.can.script.parser import ScriptError
from taktora_sim.cli import app
from tests.sim.fresh import ROOT

pytestmark = pytest.mark.verifies("REQ_8206")

PAGE = (ROOT / "docs" / "can-scripts.md").read_text(encoding="utf-8")
TEXTS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
SCRIPTS = ROOT / "tests" / "contract" / "can" / "scripts"


def _first_cells(heading: str) -> list[str]:
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0].replace(r"\|", "or")
    return [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]


def test_the_script_gives_the_log_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive.can").write_text(TEXTS[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shown = PAGE.partition("$ taktora sim can-script drive.can\n")[2].partition("$ ")[0]

    done = CliRunner().invoke(app, ["can-script", "drive.can"])

    assert done.output == shown
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    assert logs_text(names["logs"]) == shown
    assert f"drive.can: {sum(map(len, names['logs'].values()))} lines, no difference\n" in PAGE


@pytest.mark.parametrize(
    ("statement", "wrong", "place"),
    [("send ecu 123#1122 ", "send ecu 123#1 ", 0), ("release vehicle\n", "settle\n", 1)],
)
def test_a_mistake_is_told_as_is_shown(statement: str, wrong: str, place: int) -> None:
    with pytest.raises(ScriptError) as told:
        parse_script(TEXTS[0].replace(statement, wrong), "drive.can")

    assert str(told.value) == TEXTS[1].splitlines()[place]


def test_every_statement_is_in_the_table() -> None:
    told = {word for cell in _first_cells("statement") for word in re.findall(r"`((?:external )?[a-z]+)[ `]", cell)}
    with pytest.raises(ScriptError) as verbs:
        parse_script("nothing")
    with pytest.raises(ScriptError) as programs:
        parse_script("external nothing")

    expected = str(verbs.value).rpartition("expected ")[2].split(", ")
    external = str(programs.value).rpartition("expected external ")[2].split(", ")
    assert told == {*expected, *(f"external {each}" for each in external)} - {"external"} | {"none"}


def test_every_option_of_a_socket_is_in_the_table() -> None:
    told = {name for cell in _first_cells("option of a socket") for name in re.findall(r"`([\w-]+)", cell)} - {"none"}
    with pytest.raises(ScriptError) as options:
        parse_script("bus a\nsocket b on a nothing")

    assert told == {each.partition("=")[0] for each in str(options.value).rpartition("expected ")[2].split(", ")}


def test_the_number_of_scripts_is_the_one_that_is_told() -> None:
    assert len(list(SCRIPTS.glob("*.can"))) == 10
    assert len((SCRIPTS / "random.sha256").read_text(encoding="ascii").splitlines()) == 200
    assert parse_script(random_script(1)).sockets
