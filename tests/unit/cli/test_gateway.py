"""``taktora gateway``: refuses in one sentence what it cannot drive. That it drives a bus is shown in tests/system."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora.cli.gateway import app

MACHINE = "machine: cell\nethercat:\n  cell:\n    devices: [{label: coupler}]\n"


@pytest.mark.verifies("REQ_0321", "REQ_8510")
@pytest.mark.parametrize(
    ("bus", "bench", "words"),
    [
        ("cel", "", "no EtherCAT bus 'cel'"),
        ("cell", "[ethercat.cell]\nsimulated = true\n", "simulated by the bench file"),
        ("cell", "[ethercat.other]\nsimulated = true\n", "[ethercat.other] is no EtherCAT bus"),
    ],
)
def test_what_it_cannot_drive_is_refused_in_one_sentence(tmp_path: Path, bus: str, bench: str, words: str) -> None:
    machine, bench_file = tmp_path / "machine.yaml", tmp_path / "bench.toml"
    machine.write_text(MACHINE)
    bench_file.write_text(bench)

    result = CliRunner().invoke(app, [str(machine), "--bus", bus, "--bench", str(bench_file)])

    assert result.exit_code == 2
    assert words in result.output
    assert result.output.startswith("taktora gateway: ")
