"""The segment that the contract suite runs on where there is no real one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def ethercat_machine() -> Path:
    return Path(__file__).parent / "machine.yaml"
