"""What a scenario reference may name, and what is said when it names nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taktora.app import App
from taktora_sim.play import DEFAULT_DURATION_NS, PlayOptions, play
from taktora_sim.report.summary import RunSummary
from taktora_sim.scenario import ScenarioError, app_scenario, load_scenario

MS = 1_000_000
APP = """
from taktora.app import App
app = App("counter")
seen = []
@app.cyclic(every_ms=100)
def count(ctx):
    seen.append(ctx.now_ns)
"""


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    paths, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "play_it.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def run(reference: str, **options: object) -> RunSummary:
    return play(load_scenario(reference), PlayOptions(**options))  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_8013")
def test_a_file_runs_its_scenario_and_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "NS = 7", "neighbour_of_play_it.py")
    reference = write(tmp_path, "from neighbour_of_play_it import NS\ndef scenario(world): world.run_for(NS)")

    assert run(reference).duration_ns == 7


@pytest.mark.verifies("REQ_8013")
def test_a_file_and_function_runs_that_function(tmp_path: Path) -> None:
    reference = write(tmp_path, "def scenario(world): world.run_for(1)\ndef other(world): world.run_for(2)")

    summary = run(f"{reference}:other")

    assert summary.duration_ns == 2
    assert load_scenario(f"{reference}:other").name == "play_it-other"


@pytest.mark.verifies("REQ_8013")
def test_a_module_and_function_runs_that_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "def other(world): world.run_for(3)", "module_to_play.py")

    assert run("module_to_play:other").duration_ns == 3


@pytest.mark.verifies("REQ_8013", "REQ_8021")
def test_an_app_runs_unchanged_for_the_time_asked_for(tmp_path: Path) -> None:
    reference = write(tmp_path, APP, "app_to_play.py")

    summary = run(reference, duration_ns=1_000 * MS)

    assert summary.ok
    assert summary.duration_ns == 1_000 * MS
    assert "executor/counter.main/count" in summary.component_hashes or any(
        path.endswith("/count") for path in summary.component_hashes
    )


@pytest.mark.verifies("REQ_8013", "REQ_8021")
def test_a_function_that_builds_an_app_is_enough(tmp_path: Path) -> None:
    reference = write(tmp_path, APP.replace("app =", "App_ =").replace("@app", "@App_") + "def build(): return App_\n")

    summary = run(reference)

    assert summary.ok
    assert summary.duration_ns == DEFAULT_DURATION_NS


@pytest.mark.verifies("REQ_8009", "REQ_8021")
def test_an_app_object_runs_with_a_command_line_of_its_own() -> None:
    app = App("own")
    app.cyclic(every_ms=10)(lambda ctx: None)
    words = ("python", "own.py", "--world", "sim")

    summary = play(app_scenario(app, "own", words, bench=None), PlayOptions(seed=4, duration_ns=50 * MS))

    assert summary.ok
    assert summary.reproduction.startswith("python own.py --world sim --seed 4 --for 50ms  # trace sha256:")


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        pytest.param("x = 1", "", "defines neither scenario", id="nothing-to-run"),
        pytest.param("def go(world): ...", "", r"functions there: go", id="lists-functions"),
        pytest.param("def go(world): ...", ":goo", r"no 'goo'; did you mean 'go'\?", id="nearest"),
        pytest.param("x = 1", ":x", "is a int, expected a function of a World, or an App", id="no-function"),
        pytest.param("def scenario(a, b): ...", "", "needs 2 arguments", id="too-many-arguments"),
        pytest.param("import no_such_module_here", "", "cannot be imported: ModuleNotFoundError", id="import-fails"),
        pytest.param("def scenario(world) ...", "", "cannot be imported: SyntaxError", id="syntax"),
        pytest.param("x = 1\ny = z", "", r"NameError: name 'z' is not defined \(play_it\.py:2\)", id="import-raises"),
        pytest.param("import json\njson.loads('{')", "", r"JSONDecodeError: .* \(play_it\.py:2\)", id="library-raises"),
        pytest.param("def build(): return 3", "", "returned a int, expected an App", id="builds-no-app"),
        pytest.param("def scenario(world): return 3", "", "returned a int, expected None", id="returns-nonsense"),
    ],
)
@pytest.mark.verifies("REQ_8013")
def test_what_cannot_be_run_is_refused(tmp_path: Path, text: str, suffix: str, message: str) -> None:
    reference = write(tmp_path, text)

    with pytest.raises(ScenarioError, match=message) as caught:
        run(reference + suffix)

    assert reference in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param("nowhere.py", "no such file", id="no-file"),
        pytest.param("nowhere_at_all:go", "module 'nowhere_at_all' cannot be imported", id="no-module"),
        pytest.param("nowhere", "is no scenario; write path/to/file.py", id="neither"),
    ],
)
@pytest.mark.verifies("REQ_8013")
def test_a_reference_to_nothing_is_refused(reference: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(reference)


@pytest.mark.verifies("REQ_8009")
def test_checks_come_by_call_by_assert_and_by_return(tmp_path: Path) -> None:
    text = """
from taktora_sim.report import Check
def by_call(world):
    world.check("first", 1 == 1, "fine")
    world.check("second", 1 == 2)
def by_assert(world):
    world.run_for(5)
    level = 3
    assert level == 4
def by_return(world):
    return [Check("returned", False, "so it is")]
def by_mapping(world):
    return {"mapped": True}
"""
    reference = write(tmp_path, text)

    found = {
        name: [(check.name, check.ok, check.detail) for check in run(f"{reference}:{name}").recorder.checks]
        for name in ("by_call", "by_assert", "by_return", "by_mapping")
    }

    assert found == {
        "by_call": [("first", True, "fine"), ("second", False, "")],
        "by_assert": [("level == 4", False, "play_it.py:9")],
        "by_return": [("returned", False, "so it is")],
        "by_mapping": [("mapped", True, "")],
    }


@pytest.mark.verifies("REQ_8510")
def test_an_assertion_inside_a_library_names_the_line_of_the_scenario(tmp_path: Path) -> None:
    text = """
from unittest.mock import Mock
def scenario(world):
    world.run_for(5)
    Mock(name="pump").assert_called_once()
"""

    (check,) = run(write(tmp_path, text)).recorder.checks

    assert not check.ok
    assert check.detail == "play_it.py:5"
    assert "pump" in check.name


@pytest.mark.parametrize("asked_ns", [1 * MS, 7 * MS, 20 * MS])
@pytest.mark.verifies("REQ_8019")
def test_the_time_asked_for_ends_the_run_not_before_and_not_after(tmp_path: Path, asked_ns: int) -> None:
    text = """
def scenario(world):
    ticks = world.trace.channel("tick", "tick")
    def tick():
        ticks(b"")
        world.call_after(1_000_000, tick)
    world.call_soon(tick)
    world.run_for(3_000_000)
    world.run_for(4_000_000)
"""

    summary = run(write(tmp_path, text), duration_ns=asked_ns)

    assert (summary.duration_ns, summary.ok) == (asked_ns, True)
    assert summary.records == 1 + asked_ns // MS + 1


@pytest.mark.verifies("REQ_8009")
def test_an_error_in_the_run_is_part_of_the_outcome(tmp_path: Path) -> None:
    text = "def scenario(world):\n    world.call_at(5, lambda: 1 / 0)\n    world.run_for(10)"

    summary = run(write(tmp_path, text))

    assert not summary.ok
    assert "ZeroDivisionError" in summary.error
    assert summary.duration_ns == 5


FAILING = """
from taktora.app import App
app = App("failing")
@app.cyclic(every_ms=100)
def control(ctx):
    if ctx.now_ns > 300_000_000:
        raise ValueError("tank empty")
def tolerant(world):
    world.recorder.tolerates_item_errors = True
    with app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(1_000_000_000)
"""


@pytest.mark.verifies("REQ_8510")
def test_an_exception_from_below_an_item_names_the_line_of_the_application(tmp_path: Path) -> None:
    text = FAILING.replace(
        'raise ValueError("tank empty")', '__import__("taktora.duration").duration.parse_duration("soon")'
    )

    summary = run(write(tmp_path, text, "failing_app.py"), duration_ns=1_000 * MS)

    assert summary.recorder.events[0].text.endswith("(failing_app.py:7)")


@pytest.mark.verifies("REQ_8009", "REQ_8014")
def test_an_exception_in_an_item_is_told_once_and_fails_the_run(tmp_path: Path) -> None:
    summary = run(write(tmp_path, FAILING, "failing_app.py"), duration_ns=1_000 * MS)

    (event,) = summary.recorder.events
    (check,) = summary.recorder.checks
    assert (event.t_ns, event.severity) == (400 * MS, "alarm")
    assert event.text.endswith("control raised ValueError: tank empty (failing_app.py:7)")
    assert (check.ok, check.detail) == (False, "ValueError: tank empty (failing_app.py:7), 7 times")


@pytest.mark.verifies("REQ_8009")
def test_a_scenario_that_provokes_exceptions_can_say_so(tmp_path: Path) -> None:
    summary = run(f"{write(tmp_path, FAILING, 'failing_app.py')}:tolerant")

    assert summary.ok
    assert len(summary.recorder.events) == 1


@pytest.mark.verifies("REQ_8011", "REQ_8014")
def test_an_overrun_is_told_and_fails_the_run_unless_it_is_tolerated(tmp_path: Path) -> None:
    text = """
from taktora.app import App
app = App("slow")
@app.cyclic(every_ms=100, budget_us=5000)
def control(ctx):
    pass
def scenario(world):
    world.executions.set("control", 7_000_000)
    with app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(150_000_000)
"""

    tolerant = text.replace("(world):", "(world):\n    world.recorder.tolerates_item_errors = True")

    summary = run(write(tmp_path, text, "slow_app.py"))
    tolerated = run(write(tmp_path, tolerant, "tolerant_app.py"))

    (check,) = summary.recorder.checks
    told = [event.text.rpartition("/")[2] for event in summary.recorder.events]
    assert told == ["control is faulted: one run took 7 ms of 5 ms"]
    assert (summary.ok, check.name) == (False, "slow/control stays within its budget")
    assert tolerated.ok


@pytest.mark.verifies("REQ_8009")
def test_an_item_that_ends_the_run_of_its_app_is_part_of_the_outcome(tmp_path: Path) -> None:
    text = """
from taktora.app import App
from taktora.errors import ItemError
app = App("deliberate")
@app.cyclic(every_ms=10)
def control(ctx):
    raise ItemError("enough")
"""

    summary = run(write(tmp_path, text), duration_ns=50 * MS)

    assert "enough" in summary.error
    assert "--for 50ms" in summary.reproduction


@pytest.mark.verifies("REQ_8009")
def test_what_fails_to_close_fails_the_run(tmp_path: Path) -> None:
    text = """
def scenario(world):
    def broken():
        raise OSError("cannot close")
    world.on_close(broken)
"""

    summary = run(write(tmp_path, text), duration_ns=1 * MS)

    assert "cannot close" in summary.error


@pytest.mark.verifies("REQ_8006")
def test_an_escape_that_the_scenario_swallows_after_its_last_step_fails_the_run(tmp_path: Path) -> None:
    text = """
import time
def scenario(world):
    world.run_for(1000)
    try:
        time.time()
    except RuntimeError:
        pass
"""

    summary = run(write(tmp_path, text))

    assert "time.time()" in summary.error
