"""A run with faults repeats byte for byte, the recording included, wherever it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.fresh import ROOT, hash_of, run_fresh

_CELL = str(ROOT / "tests" / "sim" / "scenarios" / "ethercat_cell.py")


@pytest.mark.verifies("REQ_8002", "REQ_8109", "REQ_8111")
def test_a_segment_with_faults_gives_one_trace_and_one_recording(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    hashes = set()
    for folder, hash_seed in zip(folders, ("1", "random"), strict=True):
        folder.mkdir()
        hashes.add(hash_of(run_fresh("run", _CELL, hash_seed=hash_seed, folder=folder)))

    records = [(folder / "cell.pcapng").read_bytes() for folder in folders]
    assert len(hashes) == 1
    assert len(records[0]) > 100_000
    assert records[0] == records[1]
