"""What a test may move on a bench, which faults it may ask for, and what is said when it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora.errors import ConfigurationError
from taktora_hil.arming import why_no_injector, why_not_armed
from taktora_hil.cli.hil import app
from taktora_hil.worlds import Needs, why_not_run

MOVES = ("cell.axis1",)


@pytest.fixture
def bench(tmp_path: Path) -> str:
    path = tmp_path / "bench.toml"
    path.write_text('bench = "lab-3"\npermits = ["cell.axis1", "cell.valves"]\n')
    return str(path)


@pytest.mark.verifies("REQ_8508", "REQ_8510")
def test_nothing_moves_without_bench_file_and_arming(bench: str) -> None:
    assert why_not_armed((), {}) == ""
    assert why_not_armed(MOVES, {}) == (
        "not run: it moves cell.axis1, and TAKTORA_BENCH is not set: it names the bench file that permits it"
    )
    assert why_not_armed(MOVES, {"TAKTORA_BENCH": bench}) == (
        "not run: it moves cell.axis1, and TAKTORA_ARMED is not set; look around, then set it to 'lab-3'"
    )
    assert why_not_armed(MOVES, {"TAKTORA_BENCH": bench, "TAKTORA_ARMED": "lab-2"}) == (
        "not run: it moves cell.axis1, and TAKTORA_ARMED is 'lab-2'; look around, then set it to 'lab-3'"
    )
    assert why_not_armed(MOVES, {"TAKTORA_BENCH": bench, "TAKTORA_ARMED": "lab-3"}) == ""


@pytest.mark.verifies("REQ_8508", "REQ_8510")
def test_what_the_bench_file_does_not_permit_does_not_move_though_armed(bench: str) -> None:
    armed = {"TAKTORA_BENCH": bench, "TAKTORA_ARMED": "lab-3"}

    assert why_not_armed(("cell.axis1", "cell.axis2"), armed) == (
        "not run: it moves cell.axis1, cell.axis2, and bench 'lab-3' permits cell.axis1, cell.valves; "
        "write 'cell.axis2' into permits of its bench file"
    )


@pytest.mark.verifies("REQ_8508")
def test_a_bench_file_that_is_missing_is_an_error_and_no_reason() -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        why_not_armed(MOVES, {"TAKTORA_BENCH": "nowhere/bench.toml", "TAKTORA_ARMED": "bench"})


@pytest.mark.verifies("REQ_8509", "REQ_8510")
def test_a_bench_without_the_injector_does_not_run_the_test(bench: str) -> None:
    assert why_no_injector((), {}) == ""
    assert why_no_injector(("cut-cable",), {}) == (
        "not run: no injector for cut-cable on this bench (TAKTORA_BENCH is not set)"
    )
    assert why_no_injector(("cut-cable",), {"TAKTORA_BENCH": bench}) == (
        "not run: no injector for cut-cable on bench 'lab-3'"
    )


@pytest.mark.verifies("REQ_8508", "REQ_8509")
def test_arming_and_injectors_count_on_a_bench_only() -> None:
    needs = Needs(("sim", "rig", "hil"), moves=MOVES, faults=("cut-cable",))
    everywhere = ("sim", "rig", "hil")

    assert [bool(why_not_run(world, everywhere, needs, {})) for world in everywhere] == [False, False, True]


@pytest.mark.verifies("REQ_8508")
def test_status_says_whether_the_bench_is_armed(bench: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKTORA_BENCH", bench)
    monkeypatch.delenv("TAKTORA_ARMED", raising=False)
    before = CliRunner().invoke(app, ["status"]).stdout
    monkeypatch.setenv("TAKTORA_ARMED", "lab-3")
    after = CliRunner().invoke(app, ["status"]).stdout

    assert "    bench 'lab-3' permits cell.axis1, cell.valves\n" in before
    assert before.endswith("    nothing moves; to arm: lab-3\n")
    assert after.endswith("    armed: tests may move what the bench permits\n")
