"""An App on the wall clock, started by its own command line: what goes wrong is said and is in the exit status."""

from __future__ import annotations

import logging
import time

import pytest

from taktora.app import App, Context
from taktora.app.bound import BoundApp
from taktora.app.main import run_main
from taktora.connector.health import Down, Up
from taktora.errors import ConfigurationError
from taktora_sim.world import World

ARGUMENTS = ["--transport", "inprocess", "--for", "400ms"]


@pytest.fixture(autouse=True)
def _logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)


@pytest.mark.verifies("REQ_8021")
def test_a_run_in_which_all_went_well_ends_with_0(caplog: pytest.LogCaptureFixture) -> None:
    app = App("fine")
    app.cyclic(every_ms=10)(_do_nothing)

    assert run_main(app, ARGUMENTS) == 0
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == []


def _do_nothing(_ctx: Context) -> None:
    """Be an item."""


@pytest.mark.verifies("REQ_0073", "REQ_8021")
def test_an_item_killed_by_its_budget_is_said_and_ends_with_1(caplog: pytest.LogCaptureFixture) -> None:
    app = App("slow")

    @app.cyclic(every_ms=10, budget_us=100)
    def control(_ctx: Context) -> None:
        time.sleep(0.005)

    status = run_main(app, ARGUMENTS)

    assert status == 1
    assert "task 'control' is faulted: it took " in caplog.text
    assert "main/control is faulted and no longer runs" in caplog.text


@pytest.mark.verifies("REQ_0124", "REQ_8021")
def test_an_item_that_raises_is_said_and_ends_with_1(caplog: pytest.LogCaptureFixture) -> None:
    app = App("broken")

    @app.cyclic(every_ms=10, executor="side")
    def control(_ctx: Context) -> None:
        msg = "boom"
        raise ValueError(msg)

    status = run_main(app, ARGUMENTS)

    assert status == 1
    assert "ValueError: boom" in caplog.text
    assert "side/control failed " in caplog.text


@pytest.mark.verifies("REQ_8021")
def test_a_connector_that_is_down_at_the_end_is_said_and_ends_with_1(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = {"cell": Down("bring-up failed: no such interface", 0), "vehicle": Up()}
    monkeypatch.setattr(BoundApp, "health", property(lambda _bound: health))

    status = run_main(App("alone"), ["--transport", "inprocess", "--for", "10ms"])

    assert status == 1
    assert "cell is down at the end: bring-up failed: no such interface" in caplog.text
    assert "vehicle" not in caplog.text


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("option", ["--seed 1", "--rate 1", "--plan p", "--report r", "--trace t", "--guard off"])
def test_options_of_a_simulated_run_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = run_main(App("x"), [*ARGUMENTS, *option.split()])

    assert status == 2
    assert f"x: {option.split()[0]} belongs to a simulated run; add --world sim" in capsys.readouterr().err


@pytest.mark.verifies("REQ_8021")
def test_a_world_that_is_not_there_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(App("x"), ["--world", "sin"]) == 2
    assert "--world 'sin': there is no such world; did you mean sim?" in capsys.readouterr().err


@pytest.mark.verifies("REQ_8021")
def test_a_reader_that_heard_nothing_is_named_at_the_end() -> None:
    app = App("deaf")
    app.channel("c", int)
    with World() as world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(1_000)
        bound.close()

        assert [(event.severity, event.text) for event in world.recorder.events] == [
            ("warning", "nothing was received on deaf.c in this run")
        ]


@pytest.mark.verifies("REQ_8021")
def test_an_unknown_severity_is_refused() -> None:
    app, refused = App("loud"), []

    @app.cyclic(every_ms=1)
    def tell(ctx: Context) -> None:
        try:
            ctx.event("fire", severity="alrm")  # type: ignore[arg-type]
        except ConfigurationError as error:
            refused.append(str(error))

    with World() as world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(1_000_000)

    assert refused == ["event 'fire': severity 'alrm' is none of info, warning, alarm"]
