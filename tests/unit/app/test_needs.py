"""What an App lacks in a world: all of it in one sentence, before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taktora.app import App
from taktora.app.bench import Bench, EthercatBacking
from taktora.app.main import run_main
from taktora.app.needs import require_extras
from taktora.errors import ConfigurationError
from taktora.runtime import Runtime
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


FAR, NEAR = EthercatBacking(gateway="separate"), EthercatBacking(interface="eth1")


@pytest.mark.verifies("REQ_8510", "REQ_0321")
@pytest.mark.usefixtures("bare")
@pytest.mark.skipif(sys.platform != "linux", reason="not run: the real driver needs Linux")
@pytest.mark.parametrize(
    "bench",
    [
        pytest.param(None, id="no-bench"),
        pytest.param(Bench(ethercat={"cell": FAR}), id="one-not-mentioned"),
        pytest.param(Bench(ethercat={"cell": FAR, "press": NEAR}), id="one-here"),
    ],
)
def test_a_bus_that_is_driven_from_here_needs_its_driver(bench: Bench | None) -> None:
    with pytest.raises(ConfigurationError, match="needs the module pysoem, which is not installed"):
        require_extras(_two_segments(), "system", (), bench)


@pytest.mark.verifies("REQ_8510", "REQ_0321")
@pytest.mark.usefixtures("bare")
def test_buses_that_another_process_drives_need_no_driver_here(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text('[ethercat.cell]\ngateway = "separate"\n[ethercat.press]\ngateway = "separate"\n')

    require_extras(_two_segments(), "system", (), Bench(ethercat={"cell": FAR, "press": FAR}))
    require_extras(_two_segments(), "system", (), path)


@pytest.mark.verifies("REQ_8510", "REQ_0321")
def test_the_command_line_and_a_binding_ask_the_bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bare: None
) -> None:
    path = tmp_path / "bench.toml"
    path.write_text('[ethercat.cell]\ngateway = "separate"\n[ethercat.press]\ngateway = "separate"\n')

    # Both go on to what comes next: there is no machine file.
    status = run_main(_two_segments(), ["--world", "system", "--bench", str(path)])

    assert status == 2
    assert "machine" in (told := capsys.readouterr().err)
    assert "pysoem" not in told
    with pytest.raises(ConfigurationError, match="machine") as caught:
        _two_segments().bind(Runtime.system(transport="inprocess"), bench=path)
    assert "pysoem" not in str(caught.value)


def _two_segments() -> App:
    app = App("pick")
    app.ethercat("cell")
    app.ethercat("press")
    return app
