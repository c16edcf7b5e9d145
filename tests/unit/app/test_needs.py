"""What an App lacks in a world: all of it in one sentence, before anything is opened."""

from __future__ import annotations

import sys

import pytest

from taktora.app import App
from taktora.app.main import run_main
from taktora.app.needs import require_extras
from taktora.errors import ConfigurationError
from taktora_sim.world import World


def _app(with_can: bool = True) -> App:
    app = App("pick")
    if with_can:
        app.can("vehicle")
    return app


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold back every module that an extra brings."""
    for module in ("simpy", "can", "cantools", "pysoem"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.verifies("REQ_8510")
@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("world", "injected", "modules", "extras"),
    [
        pytest.param("sim", (), "modules simpy and cantools, which are", "sim,can", id="sim"),
        pytest.param("system", (), "modules cantools and can, which are", "can", id="system"),
        pytest.param("system", ("can",), "module cantools, which is", "can", id="injected"),
    ],
)
def test_all_that_is_missing_is_named_with_one_command(
    world: str, injected: tuple[str, ...], modules: str, extras: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_extras(_app(), world, injected)

    assert str(caught.value) == (
        f"App 'pick' in the world '{world}' needs the {modules} not installed: "
        f"python -m pip install 'taktora[{extras}]', or 'taktora[all]' for everything"
    )


@pytest.mark.verifies("REQ_8510")
@pytest.mark.usefixtures("bare")
def test_what_an_app_does_not_use_is_not_asked_for() -> None:
    require_extras(_app(with_can=False), "system")


@pytest.mark.verifies("REQ_8510")
def test_the_command_line_and_a_binding_say_it(capsys: pytest.CaptureFixture[str], bare: None) -> None:
    status = run_main(_app(), ["--world", "sim"])

    assert status == 2
    assert "pick: App 'pick' in the world 'sim' needs the modules simpy and cantools" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="needs the modules simpy and cantools"), World() as world:
        _app().bind(world.runtime)
