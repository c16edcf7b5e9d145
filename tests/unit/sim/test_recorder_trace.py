"""What a user looks at is in the trace: signals, events, checks; what the framework quotes is not."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import pytest

from taktora import App, Context
from taktora.errors import ConfigurationError
from taktora_sim.itemwatch import ItemFailures
from taktora_sim.trace import TraceRecord, read_trace
from taktora_sim.world import World

MS = 1_000_000


class Mode(IntEnum):
    IDLE = 0
    WORK = 3


def traced(path: Path, script: Callable[[World], None], seed: int = 1) -> list[TraceRecord]:
    """Return what a run left in its trace."""
    with World(seed, trace_file=path) as world:
        script(world)
    return list(read_trace(path))


def run(app: App, world: World, duration_ns: int = 3 * MS) -> None:
    with app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(duration_ns)


@pytest.mark.verifies("REQ_8002", "REQ_8004")
def test_each_value_of_a_signal_is_a_record_of_its_own(tmp_path: Path) -> None:
    app = App("telling")
    level = app.signal("level", unit="mm", initial=-1)

    @app.cyclic(every_ms=1)
    def tell(ctx: Context) -> None:
        level.set(ctx.now_ns / MS / 2)

    records = traced(tmp_path / "t", lambda world: run(app, world))

    of_level = [record for record in records if record.path == "app/telling/signal/level"]
    assert [record.kind for record in of_level] == ["unit"] + ["signal"] * 4
    assert of_level[0].payload == b"mm"
    assert [(record.t_ns, record.payload) for record in of_level[1:]] == [
        (at * MS, struct.pack("<d", value)) for at, value in enumerate((-1, 0.5, 1, 1.5))
    ]


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        pytest.param(True, struct.pack("<d", 1), id="bool"),
        pytest.param(-7, struct.pack("<d", -7), id="int"),
        pytest.param(Mode.WORK, struct.pack("<d", 3), id="enum"),
        pytest.param(math.inf, struct.pack("<d", math.inf), id="infinity"),
        pytest.param(-math.nan, struct.pack("<Q", 0x7FF8_0000_0000_0000), id="any-nan-is-one"),
    ],
)
@pytest.mark.verifies("REQ_8004")
def test_a_value_is_a_little_endian_float64_whatever_it_was(tmp_path: Path, value: float, payload: bytes) -> None:
    records = traced(tmp_path / "t", lambda world: world.recorder.signal("v")(value))

    assert records[-1] == TraceRecord(0, "world/signal/v", "signal", payload)


@pytest.mark.verifies("REQ_8002", "REQ_8004")
def test_an_event_of_an_item_is_a_record_with_its_severity_and_text(tmp_path: Path) -> None:
    app = App("telling")

    @app.cyclic(every_ms=1)
    def tell(ctx: Context) -> None:
        ctx.event("zu heiß", "alarm")
        ctx.event("cooled")

    records = traced(tmp_path / "t", lambda world: run(app, world, MS))

    assert [record for record in records if record.path.startswith("app/")] == [
        TraceRecord(MS, "app/telling/event", "event", b"\x02" + "zu heiß".encode()),
        TraceRecord(MS, "app/telling/event", "event", b"\x00cooled"),
    ]


@pytest.mark.verifies("REQ_8002")
def test_events_and_signals_of_a_scenario_are_recorded_as_the_world_s(tmp_path: Path) -> None:
    def script(world: World) -> None:
        world.recorder.signal("speed", "km/h")(12.5)
        world.recorder.event("off we go \udcff", "warning")

    assert traced(tmp_path / "t", script)[-3:] == [
        TraceRecord(0, "world/signal/speed", "unit", b"km/h"),
        TraceRecord(0, "world/signal/speed", "signal", struct.pack("<d", 12.5)),
        TraceRecord(0, "world/event", "event", b"\x01off we go \\udcff"),
    ]


@pytest.mark.verifies("REQ_8002", "REQ_8004")
def test_a_check_of_a_scenario_is_a_record_with_its_outcome_and_words(tmp_path: Path) -> None:
    def script(world: World) -> None:
        world.check("it stops", ok=True, detail="after 3 ms")
        world.recorder.check("it starts", ok=False)

    assert traced(tmp_path / "t", script)[-2:] == [
        TraceRecord(0, "world/check", "check", b"\x01it stops\0after 3 ms"),
        TraceRecord(0, "world/check", "check", b"\x00it starts\0"),
    ]


@pytest.mark.verifies("REQ_8002")
def test_apps_of_one_world_have_components_of_their_own() -> None:
    with World() as world:
        for name, value in (("left", 1), ("right", 2)):
            app = App(name)
            signal = app.signal("level")
            with app.bind(world.runtime):
                signal.set(value)

        ours = [path for path in world.trace.component_hashes() if path.startswith("app/")]
    assert ours == ["app/left/signal/level", "app/right/signal/level"]


@pytest.mark.verifies("REQ_8002")
def test_the_order_in_which_signals_are_declared_is_in_the_hash() -> None:
    def hash_of(names: str) -> str:
        app = App("plots")
        for name in names:
            app.signal(name)
        with World() as world, app.bind(world.runtime):
            return world.trace.sha256()

    assert hash_of("ab") == hash_of("ab") != hash_of("ba")


@pytest.mark.verifies("REQ_8002", "REQ_8004")
def test_what_an_exception_says_is_shown_and_reaches_no_trace(tmp_path: Path) -> None:
    def fails_with(text: str) -> list[TraceRecord]:
        app = App("broken")

        @app.cyclic(every_ms=1)
        def fail(ctx: Context) -> None:
            raise ValueError(text)

        def script(world: World) -> None:
            run(app, world)
            world.recorder.tolerates_item_errors = False
            world.part(ItemFailures).conclude()
            assert text in world.recorder.events[0].text
            assert text in world.recorder.checks[0].detail

        return traced(tmp_path / text, script)

    assert fails_with("object at 0x7f01") == fails_with("object at 0x7f02")


@pytest.mark.verifies("REQ_8004")
def test_an_application_without_signals_and_events_leaves_no_component_of_its_own() -> None:
    app = App("silent")
    app.cyclic(every_ms=1)(lambda _ctx: None)
    with World() as world:
        run(app, world)

        paths = list(world.trace.component_hashes())
    assert [path for path in paths if path.startswith("app/") or path == "world/event"] == []
    assert any(path.startswith("executor/silent") for path in paths)


@pytest.mark.verifies("REQ_8002")
def test_an_unknown_severity_is_refused_with_those_there_are() -> None:
    with World(1) as world, pytest.raises(ConfigurationError, match="severity 'bad' is none; give one of info"):
        world.recorder.event("x", "bad")  # type: ignore[arg-type]
