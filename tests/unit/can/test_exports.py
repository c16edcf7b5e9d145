"""The public list of the package is what it holds."""

from __future__ import annotations

import pytest

import taktora.can


@pytest.mark.verifies("REQ_0600")
def test_the_public_list_is_sorted_and_complete() -> None:
    public = {name for name, value in vars(taktora.can).items() if not name.startswith("_") and not _is_module(value)}

    assert public - {"annotations"} == set(taktora.can.__all__)
    assert list(taktora.can.__all__) == sorted(taktora.can.__all__)


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"
