"""Tests of the `taktora` command itself: it lists what is installed and stays usable when a part is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from taktora.cli import group
from taktora.cli.main import missing_extra
from tests.patience import PATIENCE_S

INSTALL = "which is not installed: python -m pip install"
ALL = "or 'taktora[all]' for everything"

BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from taktora.cli.main import main
main({args!r})
"""


def run_without(blocked: set[str], *args: str) -> subprocess.CompletedProcess[str]:
    source = BLOCK.format(blocked=blocked, args=list(args))
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("trace", "taktora.cli.trace:app", group.GROUP),
        EntryPoint("ghost", "taktora.no_such_module:app", group.GROUP),
        EntryPoint("empty", "taktora.cli.main:no_such_name", group.GROUP),
    ]
    monkeypatch.setattr(group, "_installed", lambda: {point.name: point for point in points})


def invoke(*args: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(group.build_app(), list(args))
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.verifies("REQ_8605")
@pytest.mark.usefixtures("commands")
def test_help_lists_every_command_with_its_line_even_a_broken_one() -> None:
    code, output, _ = invoke("--help")

    assert code == 0
    assert "Requirements: report, check, show, confirm." in output
    assert "Not available here: cannot be loaded:" in output


@pytest.mark.verifies("REQ_8605")
@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ghost", "taktora ghost cannot be loaded: No module named 'taktora.no_such_module'\n"),
        ("empty", "taktora empty cannot be loaded: module 'taktora.cli.main' has no attribute 'no_such_name'\n"),
    ],
)
def test_a_command_that_cannot_be_loaded_says_why_with_exit_status_2(name: str, reason: str) -> None:
    assert invoke(name, "run", "--seed", "3") == (2, "", reason)


@pytest.mark.verifies("REQ_8605")
@pytest.mark.usefixtures("commands")
def test_an_unknown_command_is_refused_with_exit_status_2() -> None:
    code, _, errors = invoke("tracee")

    assert code == 2
    assert "tracee" in errors


@pytest.mark.verifies("REQ_8605")
def test_without_typer_one_sentence_names_the_extra() -> None:
    done = run_without({"typer"}, "trace", "report")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "taktora needs the module typer, which is not installed: python -m pip install 'taktora[cli]', "
        "or 'taktora[all]' for everything\n"
    )


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("blocked", "named"),
    [
        pytest.param({"typer", "simpy"}, "modules typer and simpy, which are", id="before-the-group"),
        pytest.param({"simpy"}, "module simpy, which is", id="one"),
    ],
)
def test_all_that_a_command_lacks_is_named_at_once(blocked: set[str], named: str) -> None:
    done = run_without(blocked, "sim", "run", "app.py")

    extras = "cli,sim" if len(blocked) > 1 else "sim"
    assert (done.returncode, done.stdout) == (2, "")
    assert f"needs the {named} not installed: python -m pip install 'taktora[{extras}]', {ALL}\n" in done.stderr


@pytest.mark.verifies("REQ_8510")
def test_the_help_shows_the_whole_extra_of_a_command_that_cannot_be_loaded() -> None:
    done = run_without({"simpy"}, "--help")

    shown = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", done.stdout).split())
    assert "'taktora[sim]', or 'taktora[all]' for everything." in shown


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("simpy.core", f"needs the module simpy, {INSTALL} 'taktora[sim]', {ALL}"),
        ("can", f"needs the module can, {INSTALL} 'taktora[can]', {ALL}"),
        ("other", "cannot be loaded: No module named 'other'"),
    ],
)
def test_a_missing_module_names_the_extra_that_brings_it(module: str, sentence: str) -> None:
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)

    assert missing_extra(error) == sentence


@pytest.mark.verifies("REQ_8605")
def test_the_installed_command_shows_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taktora.cli.main", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0
    assert done.stdout.startswith("taktora 0.")
