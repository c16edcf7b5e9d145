"""The command `taktora sim`: options, exit statuses, the last line, the reproduction line."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from taktora_sim.cli import app
from taktora_sim.faults import FaultPlan
from taktora_sim.trace import read_trace
from tests.patience import PATIENCE_S

SHELL = CliRunner()
SCENARIO = """
import os, signal
from taktora_sim.campaign import draw_plan
from taktora_sim.faults import FaultKind

def quiet(world):
    tank = world.trace.channel("tank", "level")
    draws = world.stream("tank")
    def tick():
        tank(draws.getrandbits(32).to_bytes(4, "little"))
        world.call_after(1_000_000, tick)
    world.call_soon(tick)
    world.run_for(10_000_000)
    world.check("the tank is sealed", True)

def leaky(world):
    world.faults.target("tank", {"leak": FaultKind(lambda _: None, lambda _: None, describe="the tank leaks")})
    world.faults.propose(draw_plan(world))
    world.recorder.event("the pump starts", "warning")
    world.run_for(11_000_000_000)
    world.check("the tank is sealed", not world.faults.fired, "a leak")

def broken(world):
    world.call_at(5, lambda: {}["x"])
    world.run_for(10)

def interrupted(world):
    world.call_at(1_870_000_000, lambda: os.kill(os.getpid(), world.number))
    world.recorder.event("it began")
    world.call_at(2_000_000_000, lambda: world.recorder.event("too late"))
    world.run_for(10_000_000_000)

def terminated(world):
    world.number = signal.SIGTERM
    interrupted(world)

def by_hand(world):
    world.number = signal.SIGINT
    interrupted(world)

def asleep(world):
    world.call_at(3_600_000_000_000, lambda: None)
    world.run_for(7_200_000_000_000)

def escaping(world):
    import time
    time.time()
"""


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    paths, modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tank_demo.py").write_text(SCENARIO)
    yield "tank_demo.py"
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def run(*arguments: str) -> Result:
    return SHELL.invoke(app, ["run", *arguments])


def hash_of(done: Result) -> str:
    last: str = done.stdout.splitlines()[-1]
    assert last.startswith("trace sha256:")
    return last


@pytest.mark.verifies("REQ_8002")
def test_a_run_ends_with_its_hash_and_status_0(scenario: str) -> None:
    first, second, other = run(f"{scenario}:quiet"), run(f"{scenario}:quiet"), run(f"{scenario}:quiet", "--seed", "2")

    assert (first.exit_code, first.stderr) == (0, "")
    assert hash_of(first) == hash_of(second) != hash_of(other)
    assert "holds: the tank is sealed" in first.stdout
    assert "repeat it with" not in first.stdout


@pytest.mark.verifies("REQ_8009")
def test_a_failed_check_ends_with_1_and_a_command_that_repeats_it(scenario: str) -> None:
    failed = run(f"{scenario}:leaky", "--seed", "3", "--for", "12s")

    (line,) = [line for line in failed.stdout.splitlines() if line.startswith("repeat it with: ")]
    words = shlex.split(line.removeprefix("repeat it with: "), comments=True)
    again = SHELL.invoke(app, words[2:])
    assert words[:2] == ["taktora", "sim"]
    assert line.endswith(f"# {hash_of(failed)}")
    assert again.exit_code == failed.exit_code
    assert hash_of(again) == hash_of(failed)


@pytest.mark.verifies("REQ_8009", "REQ_8008")
def test_the_reproduction_line_names_scenario_seed_and_the_saved_plan(scenario: str) -> None:
    failed = run(f"{scenario}:leaky", "--seed", "3")

    assert failed.exit_code == 1
    assert "check failed: the tank is sealed (a leak)" in failed.stderr
    expected = "taktora sim run tank_demo.py:leaky --seed 3 --plan tank_demo-leaky-seed3.plan.toml  # trace sha256:"
    assert f"repeat it with: {expected}" in failed.stdout
    assert FaultPlan.load(Path("tank_demo-leaky-seed3.plan.toml")).about == "drawn from seed 3"


@pytest.mark.verifies("REQ_8007")
def test_a_given_plan_goes_before_the_scenarios_own(scenario: str) -> None:
    Path("mine.toml").write_text('[[fault]]\nat = "2s"\ntarget = "tank"\nkind = "leak"\nduration = "1s"\n')

    done = run(f"{scenario}:leaky", "--plan", "mine.toml")

    assert "2.000000 s  fault    tank: the tank leaks for 1s" in done.stdout
    assert "3.000000 s  fault    tank: leak is over" in done.stdout
    assert "--plan mine.toml" in done.stdout
    assert not list(Path().glob("*.plan.toml"))


@pytest.mark.verifies("REQ_8007")
def test_a_plan_that_does_not_fit_ends_with_2_and_the_valid_names(scenario: str) -> None:
    Path("mine.toml").write_text('[[fault]]\nat = "2s"\ntarget = "tnak"\nkind = "leak"\n')

    done = run(f"{scenario}:leaky", "--plan", "mine.toml")

    assert done.exit_code == 2
    assert "no such target; did you mean 'tank'? valid: tank" in done.stderr


@pytest.mark.verifies("REQ_8009")
def test_an_error_in_the_run_ends_with_1_a_traceback_and_the_hash(scenario: str) -> None:
    done = run(f"{scenario}:broken")

    assert done.exit_code == 1
    assert "KeyError: 'x'" in done.stderr
    assert "tank_demo.py" in done.stderr
    assert hash_of(done)


@pytest.mark.verifies("REQ_8006")
def test_the_guard_is_on_unless_told_otherwise(scenario: str) -> None:
    caught, off = run(f"{scenario}:escaping"), run(f"{scenario}:escaping", "--guard", "off")
    profiled = run(f"{scenario}:escaping", "--watch", "profile")

    assert caught.exit_code == 1
    assert "tank_demo.py:47: time.time() in a simulated run" in caught.stderr
    assert profiled.stderr == caught.stderr
    assert off.exit_code == 0


@pytest.mark.verifies("REQ_8009")
def test_a_run_that_ends_before_the_scenarios_checks_says_so(scenario: str) -> None:
    done = run(f"{scenario}:leaky", "--for", "10500ms")

    assert done.exit_code == 0
    assert "10.500000 s  warning  the time asked for is up before the scenario is done" in done.stdout


@pytest.mark.verifies("REQ_8004")
def test_the_trace_file_holds_what_was_hashed(scenario: str) -> None:
    done = run(f"{scenario}:quiet", "--trace", "t.trace")

    assert done.exit_code == 0
    assert [record.path for record in read_trace(Path("t.trace"))] == ["world", *["tank"] * 11, "world/check"]


@pytest.mark.verifies("REQ_8014")
def test_report_writes_the_page(scenario: str) -> None:
    done = run(f"{scenario}:leaky", "--seed", "3", "--report", "out/page")

    page = Path("out/page/index.html").read_text()
    assert "page: out/page/index.html" in done.stdout
    assert hash_of(done).removeprefix("trace ") in page
    assert Path("out/page/tank_demo-leaky-seed3.plan.toml").is_file()


@pytest.mark.verifies("REQ_8019")
def test_a_rate_does_not_change_the_hash(scenario: str) -> None:
    assert hash_of(run(f"{scenario}:quiet", "--rate", "1")) == hash_of(run(f"{scenario}:quiet"))


@pytest.mark.verifies("REQ_8007")
def test_a_fault_that_never_began_is_told(scenario: str) -> None:
    Path("mine.toml").write_text('[[fault]]\nmilestone = "full"\ntarget = "tank"\nkind = "leak"\n')

    done = run(f"{scenario}:leaky", "--plan", "mine.toml")

    assert done.exit_code == 0
    assert "! the fault at milestone full (leak at tank) never began" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="not run: there is no pseudo-terminal")
@pytest.mark.parametrize(
    ("how_long", "is_shown"),
    [
        pytest.param(("--rate", "1", "--for", "100s"), True, id="long"),
        pytest.param(("--for", "1ms"), False, id="short"),
    ],
)
@pytest.mark.verifies("REQ_8019")
def test_a_terminal_shows_progress_of_a_run_that_takes_longer_than_two_seconds(
    scenario: str, how_long: tuple[str, ...], is_shown: bool
) -> None:
    import pty

    main_end, terminal = pty.openpty()
    code = "from taktora_sim.cli import app; app()"
    words = [sys.executable, "-c", code, "run", f"{scenario}:quiet", *how_long]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        shown = _read_until(main_end, "virtual s")
        process.send_signal(signal.SIGINT)  # it has shown what it is to show, or has ended
        stdout, _ = process.communicate(timeout=PATIENCE_S)
    os.close(main_end)

    assert ("virtual s" in shown) is is_shown
    assert "virtual s  " not in stdout
    assert stdout.splitlines()[-1].startswith("trace sha256:")


def _read_until(descriptor: int, wanted: str) -> str:
    """Return what was written to the other end of a pseudo-terminal until ``wanted``, or its end: an error on Linux."""
    found = b""
    try:
        while wanted.encode() not in found and (chunk := os.read(descriptor, 65536)):
            found += chunk
    except OSError:
        pass
    return found.decode(errors="replace")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nowhere.py"], "nowhere.py: no such file", id="no-file"),
        pytest.param(["tank_demo.py"], "defines neither scenario(world)", id="no-function"),
        pytest.param(["tank_demo.py:quiet", "--for", "soon"], "--for 'soon' is no duration", id="duration"),
        pytest.param(["tank_demo.py:quiet", "--for", "0s"], "expected more than 0", id="no-time"),
        pytest.param(["tank_demo.py:quiet", "--rate", "fast"], "--rate 'fast': expected 1 for real time", id="rate"),
        pytest.param(["tank_demo.py:quiet", "--rate", "0"], "--rate '0'", id="rate-0"),
        pytest.param(["tank_demo.py:quiet", "--guard", "maybe"], "expected raise or warn or", id="guard"),
        pytest.param(["tank_demo.py:quiet", "--watch", "out"], "--watch 'out': expected auto or profile", id="watch"),
        pytest.param(["tank_demo.py:quiet", "--transport", "pigeon"], "expected inprocess or iceoryx2", id="transport"),
        pytest.param(["tank_demo.py:quiet", "--plan", "no.toml"], "no.toml: fault plan cannot be read", id="plan"),
        pytest.param(["tank_demo.py:quiet", "--trace", "no/t"], "there is no directory no", id="trace"),
        pytest.param(
            ["tank_demo.py:quiet", "--report", "tank_demo.py/out"],
            "--report tank_demo.py/out: cannot be a folder (Not a directory); name another one",
            id="report",
        ),
    ],
)
@pytest.mark.verifies("REQ_8009")
def test_wrong_usage_ends_with_2_and_one_clear_message(scenario: str, arguments: list[str], message: str) -> None:
    assert scenario

    done = run(*arguments)

    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.verifies("REQ_8007")
def test_schema_prints_the_schema_of_a_plan() -> None:
    done = SHELL.invoke(app, ["schema"])

    assert done.exit_code == 0
    assert '"PlanFault"' in done.stdout


@pytest.mark.parametrize("command", ["run", "diff", "schema"])
@pytest.mark.verifies("REQ_8009")
def test_every_help_text_has_an_example(command: str) -> None:
    done = SHELL.invoke(app, [command, "--help"])

    assert done.exit_code == 0
    assert f"Example: taktora sim {command}" in " ".join(done.stdout.split())


@pytest.mark.verifies("REQ_8013", "REQ_8014")
@pytest.mark.parametrize(("function", "name", "status"), [("by_hand", "SIGINT", 130), ("terminated", "SIGTERM", 143)])
def test_a_signal_ends_a_run_with_what_happened_so_far(scenario: str, function: str, name: str, status: int) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    stopped = run(f"{scenario}:{function}", "--report", "out")

    assert stopped.exit_code == status
    assert f"stopped at 1.870000 s by {name}" in stopped.stdout
    assert "it began" in stopped.stdout
    assert "too late" not in stopped.stdout
    assert hash_of(stopped)
    assert "stopped at 1.870000 s" in Path("out/index.html").read_text()
    assert "Traceback" not in stopped.output
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.verifies("REQ_8019")
def test_a_signal_ends_a_run_that_waits_for_the_wall_clock(scenario: str) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) is before:  # not before the run owns the signal
            time.sleep(0.005)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()

    stopped = run(f"{scenario}:asleep", "--rate", "1")

    sender.join()
    assert stopped.exit_code == 130
    assert "stopped at 0.000000 s by SIGINT" in stopped.stdout


BATTERY = Path(__file__).parents[3] / "examples" / "battery_monitor"


@pytest.mark.verifies("REQ_8021", "REQ_8009")
@pytest.mark.usefixtures("scenario")
def test_an_app_is_bound_with_the_files_of_the_command_line() -> None:
    files = ("--bench", str(BATTERY / "bench.toml"), "--machine", str(BATTERY / "machine.yaml"))
    reference, plan = f"{BATTERY / 'app.py'}:build", ("--plan", str(BATTERY / "plan.toml"))

    with_recording = run(reference, "--for", "21s", *plan, *files)
    without = run(reference, "--for", "21s", *plan)

    assert with_recording.exit_code == 0
    assert "can/vehicle/replay/BMS" in with_recording.stdout
    assert without.exit_code == 2
    assert "no recording is replayed on CAN bus 'vehicle' in this run; give a bench file" in without.stderr


@pytest.mark.verifies("REQ_8009")
def test_the_reproduction_line_names_the_files_an_app_was_bound_with(scenario: str) -> None:
    Path(scenario).write_text(
        "from taktora.app import App\n"
        "def build():\n"
        "    app = App('tank')\n"
        "    app.cyclic(every_ms=10)(lambda ctx: 1 / 0)\n"
        "    return app\n"
    )
    Path("bench.toml").write_text('bench = "empty"\n')

    failed = run(scenario, "--for", "20ms", "--bench", "bench.toml")

    command = f"repeat it with: taktora sim run {scenario} --bench bench.toml --seed 0 --for 20ms  # trace"
    assert command in failed.stdout


@pytest.mark.verifies("REQ_8021")
def test_a_function_of_a_world_takes_no_files(scenario: str) -> None:
    refused = run(f"{scenario}:quiet", "--bench", "bench.toml")

    assert refused.exit_code == 2
    assert "--bench: tank_demo.py:quiet is a function of a World and binds its App itself" in refused.stderr


BUSY = """
def scenario(world):
    note = world.recorder.event
    for number in range(100):
        world.call_at(number, lambda number=number: note(f"step {number}"))
        world.call_at(number, lambda number=number: note(f"alarm {number}", "alarm"))
        world.call_at(number, lambda number=number: world.check(f"check {number}", True))
    world.run_for(200)
"""


@pytest.mark.verifies("REQ_8014")
def test_what_matters_is_never_left_out_of_the_console(scenario: str) -> None:
    Path(scenario).write_text(BUSY)

    bare, reported = run(scenario), run(scenario, "--report", "out")

    assert (bare.stdout.count("alarm    alarm "), bare.stdout.count("holds: check ")) == (100, 100)
    assert "  100 more lines (info, health); --report DIR writes a page with them\n" in bare.stdout
    assert "  100 more lines (info, health); the page has them\n" in reported.stdout


@pytest.mark.verifies("REQ_8019")
def test_a_run_with_a_rate_tells_each_line_when_it_happens_and_once(scenario: str) -> None:
    Path(scenario).write_text(
        "from pathlib import Path\n"
        "def scenario(world):\n"
        "    world.recorder.event('it begins', 'warning')\n"
        "    world.run_for(500_000_000)\n"
        "    while not Path('read.txt').exists():\n"
        "        pass\n"
        "    world.check('it ends', True)\n"
    )
    words = [sys.executable, "-c", "from taktora_sim.cli import app; app()", "run", scenario, "--rate", "1"]

    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        Path("read.txt").write_text("the scenario does not go on before the line has been read")
        rest = process.stdout.read()

    assert first.split() == ["!", "0.000000", "s", "warning", "it", "begins"]
    assert rest.count("it begins") == 0
    assert rest.count("holds: it ends") == 1
    assert rest.splitlines()[-1].startswith("trace sha256:")
