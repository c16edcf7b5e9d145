"""The names that are imported from the top: lists that only change on purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest

import taktora
import taktora.app
import taktora.testing
import taktora_sim
from tests.patience import PATIENCE_S


@pytest.mark.verifies("REQ_8021")
def test_the_top_level_names_are_the_app_and_what_it_is_bound_to() -> None:
    from taktora import App, Context, Runtime

    assert taktora.__all__ == ["App", "Context", "Runtime"]
    assert (App, Context) == (taktora.app.App, taktora.app.Context)
    assert callable(Runtime.system)
    with pytest.raises(AttributeError, match="module 'taktora' has no attribute 'Ap'"):
        _ = taktora.Ap


@pytest.mark.verifies("REQ_8020")
def test_importing_taktora_imports_no_room_and_its_pytest_plugin_no_simpy() -> None:
    code = (
        "import sys, taktora, taktora_sim.plugin; "
        "print([name for name in sys.modules if name.startswith('taktora.') or name == 'simpy'])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)

    assert done.stdout.strip() == "[]"


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("module", [taktora.app, taktora.testing, taktora_sim], ids=["app", "testing", "sim"])
def test_every_listed_name_is_there(module: object) -> None:
    listed = module.__all__  # type: ignore[attr-defined]

    assert listed == sorted(listed)
    assert all(hasattr(module, name) for name in listed)


@pytest.mark.verifies("REQ_8021")
def test_the_check_kits_are_functions() -> None:
    assert all(
        callable(getattr(taktora.testing, name)) for name in taktora.testing.__all__ if name.startswith("check_")
    )
