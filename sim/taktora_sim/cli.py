"""The command ``taktora sim``: run a scenario in virtual time, compare traces; it holds no logic of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

import typer

from taktora.app.main import read_duration_ns, read_rate
from taktora.errors import ConfigurationError
from taktora_sim.console import LiveStory, conclude, observer_of, report_folder
from taktora_sim.diff import Divergence, compare_files, render
from taktora_sim.faults import FaultPlan
from taktora_sim.guard import GuardMode
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from taktora_sim.trace import TraceFormatError
from taktora_sim.watch import Watching

__all__ = ["app"]

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run applications in virtual time.")


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="path/to/file.py[:function] or module:function.")],
    seed: Annotated[int, typer.Option(help="Seed of all randomness of the run.")] = 0,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="10s", help="Virtual time at which the run ends (ns us ms s min h).")
    ] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Fault plan, TOML or JSON.")] = None,
    rate: Annotated[
        str, typer.Option(metavar="1|N|max", help="Virtual seconds per second: 1 is real time, max as fast as it goes.")
    ] = "max",
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the page of the run to DIR.")] = None,
    transport: Annotated[str, typer.Option(metavar="inprocess|iceoryx2", help="What carries messages.")] = "inprocess",
    guard: Annotated[
        str,
        typer.Option(
            metavar="raise|warn|redirect|off", help="What happens to code that reads the wall clock and such."
        ),
    ] = "raise",
    watch: Annotated[
        str,
        typer.Option(
            metavar="auto|monitoring|profile|imports",
            help="How the guard sees it; profile sees more on Python 3.11 and is slow.",
        ),
    ] = "auto",
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the trace to FILE.")] = None,
    machine: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Machine file in place of the App's own.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bench file: what stands behind each name of the machine.")
    ] = None,
) -> None:
    """Run SCENARIO in virtual time and print what happened and the hash of its trace.

    A scenario is a function that takes a World, a file with scenario(world), or a file with an App called app.
    Exit status: 0 ok, 1 a check failed or the run broke off, 2 wrong usage, 130 or 143 stopped by Ctrl-C or SIGTERM.

    Example: taktora sim run examples/battery_monitor/scenario.py --plan plan.toml --report out
    """
    live = None if _usage(lambda: read_rate(rate)) is None else LiveStory()
    options = _usage(
        lambda: PlayOptions(
            seed=seed,
            duration_ns=None if duration is None else read_duration_ns(duration),
            plan=None if plan is None else FaultPlan.load(plan),
            plan_file="" if plan is None else plan.as_posix(),
            rate=read_rate(rate),
            transport=cast('Literal["inprocess", "iceoryx2"]', _one_of("--transport", transport, _TRANSPORTS)),
            guard=cast("GuardMode", _one_of("--guard", guard, _GUARDS)),
            watching=cast("Watching", _one_of("--watch", watch, _WATCHES)),
            trace_file=_writable("--trace", trace),
            keep_plan_in=report_folder(report),
            observe=observer_of(None if duration is None else read_duration_ns(duration), live),
        )
    )
    summary = _usage(lambda: play(load_scenario(scenario, machine=machine, bench=bench), options))
    status = _usage(lambda: conclude(summary, report, live))
    if status:
        raise typer.Exit(status)


# req: REQ_8005
@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A trace file, written by --trace.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other one.")],
    neighbours: Annotated[int, typer.Option(min=0, help="Records to show before and after.")] = 3,
) -> None:
    """Compare two traces and show the first record in which they differ.

    Exit status: 0 equal, 1 different, 2 a file cannot be read.

    Example: taktora sim diff a.trace b.trace, after two runs with --trace a.trace and --trace b.trace
    """
    found = _usage(lambda: compare_files(first, second, neighbours))
    if isinstance(found, Divergence):
        typer.echo(render(found, str(first), str(second)))
        raise typer.Exit(1)
    typer.echo(f"equal: {found} records")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a fault plan.

    Example: taktora sim schema > plan.schema.json
    """
    typer.echo(json.dumps(FaultPlan.schema(), indent=2))


@app.command("can-script")
def can_script(
    scripts: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scripts of CAN frames, filters, faults.")],
) -> None:
    """Carry scripts out on simulated CAN buses and print what each socket received.

    The kernel's virtual CAN gives the same: python -m taktora_hil.can_script FILE... compares.
    Exit status: 0 ok, 2 a script cannot be read.

    Example: taktora sim can-script tests/contract/can/scripts/filters.can
    """
    for script in scripts:
        typer.echo(_usage(partial(_logs_of, script)), nl=False)


def _logs_of(script: Path) -> str:
    from taktora_sim.can.script import logs_text, run_script  # few runs have a CAN bus

    return logs_text(run_script(script))


_TRANSPORTS = ("inprocess", "iceoryx2")
_WATCHES = ("auto", "profile", "imports", *(("monitoring",) if sys.version_info >= (3, 12) else ()))
_GUARDS = ("raise", "warn", "redirect", "off")


def _usage(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; what the user got wrong ends the command with status 2 and one clear message."""
    try:
        return call()
    except (ConfigurationError, TraceFormatError) as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    typer.echo(f"taktora sim: {message}", err=True)
    raise typer.Exit(2)


def _one_of(option: str, value: str, valid: tuple[str, ...]) -> str:
    if value not in valid:
        raise ConfigurationError(f"{option} {value!r}: expected {' or '.join(valid)}")
    return value


def _writable(option: str, path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise ConfigurationError(f"{option} {path}: there is no directory {path.parent}; make it first")
    return path
