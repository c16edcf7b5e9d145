from __future__ import annotations

import types

import pytest

import taktora.connector


@pytest.mark.verifies("REQ_0220")
def test_public_list_is_what_the_package_holds() -> None:
    held = {
        name
        for name, value in vars(taktora.connector).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }

    assert held == set(taktora.connector.__all__)
