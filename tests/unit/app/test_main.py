"""The command line of an application: durations, rates and usage errors."""

from __future__ import annotations

import pytest

from taktora.app.main import read_rate
from taktora.errors import ConfigurationError


@pytest.mark.verifies("REQ_8019")
def test_rate_is_a_factor_or_max() -> None:
    assert [read_rate(text) for text in ("max", "1", "0.5")] == [None, 1.0, 0.5]


@pytest.mark.verifies("REQ_8019")
@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf"])
def test_a_wrong_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--rate '{text}': expected 1 for real time"):
        read_rate(text)
