"""The log viewer on good and on broken input: a clear message, everything counted, nothing else lost."""

from __future__ import annotations

import runpy
from pathlib import Path

import can
import pytest

from taktora.errors import ConfigurationError
from taktora_sim.world import World

HERE = Path(__file__).parent
DRIVE = HERE.parent / "battery_monitor" / "recordings" / "drive.log"
DBC = HERE.parent / "battery_monitor" / "battery.dbc"
show = runpy.run_path(str(HERE / "scenario.py"))["show"]


@pytest.fixture
def lines() -> list[str]:
    """The first 600 frames of the drive: 2.8 s."""
    return DRIVE.read_text().splitlines()[:600]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.verifies("REQ_8205", "REQ_8021")
@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf", ".csv"])
def test_every_message_of_a_log_is_decoded_and_plotted(tmp_path: Path, lines: list[str], suffix: str) -> None:
    source, log = write(tmp_path / "source.log", lines), tmp_path / f"drive{suffix}"
    with can.Logger(log) as logger:
        for message in can.LogReader(source):
            logger(message)

    with World() as world:
        census = show(world, log, DBC)

        speeds = world.recorder.signals["Speed (VehicleMotion)"].values
        assert census.messages.total() + census.unknown.total() == 600
        assert census.unknown.keys() == {"3A5", "4F1", "7DF"}
        assert len(speeds) == census.messages["VehicleMotion"]
        assert world.recorder.signals["Module3Temp (ModuleStatus)"].unit == "degC"


@pytest.mark.verifies("REQ_8205")
def test_bad_lines_and_short_frames_are_named_and_cost_nothing_else(
    tmp_path: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = [number for number, line in enumerate(lines) if " 180#" in line]
    lines[status[50]] = lines[status[50]].split("#")[0] + "#0011"
    lines[status[60]] = "not a frame"
    log = write(tmp_path / "bad.log", lines)

    with World() as world:
        show(world, log, DBC)

        told = capsys.readouterr().out
        plotted = world.recorder.signals["PackVoltage (PackStatus)"].values
        assert "wrong length: PackStatus (180, 8 bytes) with 2" in told
        assert "bad line: 1" in told
        assert f"line {status[60] + 1}" in told
        assert len(plotted) == len(status) - 2


@pytest.mark.verifies("REQ_8205")
def test_a_bad_dbc_ends_the_run_with_its_line(tmp_path: Path) -> None:
    dbc = tmp_path / "bad.dbc"
    dbc.write_text(DBC.read_text().replace("SG_ PackVoltage : 0|16@1+", "SG_ PackVoltage : 0|16@1?"))

    with World() as world, pytest.raises(ConfigurationError, match=r"bad\.dbc, line 1\d"):
        show(world, DRIVE, dbc)


@pytest.mark.verifies("REQ_8205")
def test_a_missing_log_and_an_unknown_channel_end_the_run_with_a_way_out() -> None:
    with World() as world:
        with pytest.raises(ConfigurationError, match="no such file; give the path of a recorded log"):
            show(world, DRIVE.with_name("nowhere.log"), DBC)
        with pytest.raises(ConfigurationError, match="no channel 'can7'; channels of this log: can0"):
            show(world, DRIVE, DBC, channel="can7")


@pytest.mark.verifies("REQ_8205")
def test_frames_that_find_no_room_on_a_slow_bus_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "crowded.log", [f"(1.000000) can0 181#{number:012X}" for number in range(1100)])

    with World() as world:
        show(world, log, DBC, bitrate=10_000)

    assert "100 frames found no room on a bus of 10000 bit/s" in capsys.readouterr().out


@pytest.mark.verifies("REQ_8205")
def test_a_log_and_a_dbc_of_can_fd_are_shown_alike(tmp_path: Path) -> None:
    dbc = tmp_path / "wide.dbc"
    dbc.write_text('BU_: BMS\n\nBO_ 512 Cells: 18 BMS\n SG_ Last : 128|16@1+ (1,0) [0|5000] "mV" BMS\n')
    padded = 16 * "00" + "420E" + 2 * "00"
    log = write(tmp_path / "wide.log", [f"(1.000000) can0 200##1{padded}", "(1.010000) can0 123#01"])

    with World() as world:
        census = show(world, log, dbc)

        assert census.messages == {"Cells": 1}
        assert list(world.recorder.signals["Last (Cells)"].values) == [3650]
