"""The rig's command as a script starts it: in the background, where a shell has it ignore SIGINT."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora_hil.cli.rig import app
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
MACHINE = ROOT / "tests/contract/ethercat/machine.yaml"
pytestmark = [pytest.mark.world("rig"), pytest.mark.timeout(240)]


@pytest.mark.verifies("REQ_8505")
def test_sigterm_ends_the_command_as_ctrl_c_does_and_its_help_says_so(tmp_path: Path) -> None:
    recording = tmp_path / "frames.pcapng"
    command = [sys.executable, "-m", "taktora.cli.main", "rig", "ethercat", str(MACHINE), "--record", str(recording)]
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with subprocess.Popen(ignoring, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = []
        while (line := process.stdout.readline()) not in ("Ctrl-C ends it.\n", ""):
            said.append(line)
        process.send_signal(signal.SIGINT)  # comes to nothing
        process.send_signal(signal.SIGTERM)
        _rest, errors = process.communicate(timeout=PATIENCE_S)

    interface = said[0].split()[-1]
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True, timeout=50).stdout
    assert (process.returncode, errors) == (0, "")
    assert f"{interface}@" not in links
    assert recording.stat().st_size > 0
    told = CliRunner().invoke(app, ["ethercat", "--help"], env={"COLUMNS": "200"}).stdout
    assert "ignore SIGINT, end it with SIGTERM: kill $!; wait $!" in told
