"""docs/python-can.md: its programs run and print what is shown, and every option of bus and server is in a table."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import shutil
import signal
from pathlib import Path

import can
import pytest

from taktora_sim.can import serve
from taktora_sim.can.python_can.bus import TaktoraSimBus
from tests.patience import PATIENCE_S
from tests.sim.fresh import ROOT, hash_of, run_fresh
from tests.system.can.parts import started

pytestmark = pytest.mark.verifies("REQ_8203")

PAGE = (ROOT / "docs" / "python-can.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
_HERE = Path(__file__).parent
_posix = pytest.mark.skipif(os.name != "posix", reason="not run: signals as POSIX has them")


def _program(folder: Path, words: str) -> Path:
    """Write the block of the page that has ``words`` as a program."""
    (found,) = (each for each in BLOCKS if words in each)
    shutil.copy(_HERE / "device.eds", folder)
    path = folder / "program.py"
    path.write_text(found, encoding="utf-8")
    return path


def _names(heading: str) -> set[str]:
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    first = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    return {name.split()[0] for name in re.findall(r"`([^`]+)`", first)}


def test_the_program_in_real_time_prints_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _program(tmp_path, 'channel="vcan7"')
    (shown,) = re.findall(r"# (taktora_sim channel .*)", path.read_text(encoding="utf-8"))

    runpy.run_path(str(path))

    assert capsys.readouterr().out == f"{shown}\n"


def test_the_program_in_virtual_time_prints_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(_program(tmp_path, "bitrate=250_000")))

    assert capsys.readouterr().out == re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_canopen_program_gives_one_hash(tmp_path: Path) -> None:
    path = _program(tmp_path, "canopen")
    code = path.read_text(encoding="utf-8")
    runs = [run_fresh(command=code, folder=tmp_path, hash_seed=seed) for seed in ("1", "2")]

    assert hash_of(runs[0]) == hash_of(runs[1])
    assert runs[0].stdout.startswith("4711 after ")


def test_the_program_beside_an_application_hears_it(tmp_path: Path) -> None:
    code = _program(tmp_path, "from app import build").read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]

    done = run_fresh(
        command=f"import can\nfrom taktora_sim.world import World\n{code}",
        folder=ROOT / "examples" / "battery_monitor",
    )

    assert done.stdout == shown, done.stderr


def test_the_isotp_program_carries_all_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(_program(tmp_path, "isotp")))

    assert re.fullmatch(r"4095 bytes after \d+ ms\n", capsys.readouterr().out)


def test_every_argument_of_a_bus_is_in_the_table() -> None:
    assert _names("of `can.Bus`") == set(inspect.signature(TaktoraSimBus).parameters) - {"kwargs"}


def test_every_option_of_the_server_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.main(["--help"])

    offered = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert _names("option") == offered


@_posix
def test_the_server_with_a_rest_bus_says_what_is_shown_and_is_ended_as_told(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "battery_monitor" / "battery.dbc", tmp_path)
    command, says = re.findall(r"^\$ python (-m taktora_sim\.can\.serve .*)\n(.*)$", PAGE, re.MULTILINE)[0]

    with started(command.split(), cwd=tmp_path) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == f"{says}\n"
        with can.Bus(interface="taktora_sim", channel="vcan7", ignore_config=True) as bus:
            assert bus.recv(PATIENCE_S) is not None
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE_S) == 0

    assert (tmp_path / "out.log").stat().st_size > 0


def test_the_pages_that_are_linked_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)", PAGE)

    assert linked
    assert [name for name in linked if not (ROOT / "docs" / name).exists()] == []
