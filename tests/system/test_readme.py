"""What the README shows is what a reader gets."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _example(folder: Path) -> Path:
    match = re.search(r"```python\n(from msgspec.*?)```", README, re.DOTALL)
    assert match is not None
    path = folder / "thermostat.py"
    path.write_text(match.group(1), encoding="utf-8")
    return path


@pytest.mark.verifies("REQ_8021", "REQ_8002")
def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    shown = README.partition("$ taktora sim run thermostat.py --for 2s\n")[2].partition("$ python")[0]
    _example(tmp_path)
    command = [sys.executable, "-m", "taktora", "sim", "run", "thermostat.py", "--for", "2s"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE_S)

    assert done.stdout == shown


@pytest.mark.verifies("REQ_8013")
def test_the_same_file_runs_on_the_wall_clock(tmp_path: Path) -> None:
    path = _example(tmp_path)
    command = [sys.executable, str(path), "--for", "1s", "--transport", "inprocess"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE_S)

    assert "INFO    22.0 degC: heating off" in done.stderr


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("command", ["nox -s sim", "nox -s tests"])
def test_the_two_commands_are_the_ones_that_the_gate_runs(command: str) -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert f"$ python -m pip install nox && python -m {command}\n" in README
    assert f"python -m {command}" in gate


@pytest.mark.verifies("REQ_8021")
def test_the_pages_it_names_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)

    assert linked
    assert [link for link in linked if not (ROOT / link).exists()] == []


# What a new user types is `pip install` as written, then `pytest` in an example's folder.
@pytest.mark.verifies("REQ_8021", "REQ_8510")
def test_who_is_told_to_type_pytest_is_told_to_install_it() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*/README.md"))]
    typed = [page for page in pages if re.search(r"^\$ .*\bpytest\b", page.read_text(encoding="utf-8"), re.MULTILINE)]

    assert len(typed) == 3
    assert [page for page in typed if "pip install -e '.[all,test]'" not in page.read_text(encoding="utf-8")] == []


@pytest.mark.verifies("REQ_8021", "REQ_8510")
def test_the_rest_bus_records_what_it_is_told_to_and_says_in_a_line_what_it_cannot_open(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "examples" / "battery_monitor" / "rest_bus.py"), "--for", "2"]
    good, bad = ([*program, *more] for more in (["--log", "mine.log"], ["--interface", "nowhere"]))

    made, refused = (
        subprocess.run(one, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        for one in (good, bad)
    )

    assert (made.returncode, made.stderr) == (0, "")
    assert "can0 180#" in (tmp_path / "mine.log").read_text(encoding="utf-8")
    assert refused.returncode == 1
    assert refused.stderr.startswith("rest_bus.py: nowhere can0: ")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.verifies("REQ_8021")
def test_the_extra_test_knows_every_pytest_option_of_the_examples() -> None:
    extra = _toml(ROOT)["project"]["optional-dependencies"]["test"]
    brought = {re.split("[>=]", each)[0] for each in extra}
    options = {
        name for page in (ROOT / "examples").glob("*/pyproject.toml") for name in _toml(page.parent)["tool"]["pytest"]
    }

    assert options == {"addopts", "filterwarnings", "strict", "timeout"}
    assert {"pytest", "pytest-timeout", "hypothesis"} <= brought
    assert set(extra) <= set(_toml(ROOT)["dependency-groups"]["test"])


def _toml(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
