"""The command line of one application: ``app.main()``; worlds are found by entry point, none is imported here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from taktora.app.files import nearest
from taktora.app.needs import require_extras
from taktora.duration import parse_duration
from taktora.errors import ConfigurationError, TaktoraError

if TYPE_CHECKING:
    from taktora.app.app import App

__all__ = ["RunOptions", "read_duration_ns", "read_rate", "run_main"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run of an application was asked for."""

    machine: Path | None = None
    bench: Path | None = None
    duration_ns: int | None = None
    seed: int | None = None
    plan: Path | None = None
    rate: float | None = None
    report: Path | None = None
    transport: str | None = None
    trace: Path | None = None
    guard: str | None = None


def read_duration_ns(text: str) -> int:
    """Return the value of ``--for`` in ns.

    Raises:
        ConfigurationError: no duration above 0.
    """
    try:
        duration_ns = parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--for {error}") from error
    if duration_ns == 0:
        raise ConfigurationError(f"--for {text!r}: expected more than 0")
    return duration_ns


def read_rate(text: str) -> float | None:
    """Return virtual seconds per wall second; None for ``max``.

    Raises:
        ConfigurationError: neither ``max`` nor a number above 0.
    """
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        msg = f"--rate {text!r}: expected 1 for real time, another number above 0, or max"
        raise ConfigurationError(msg)
    return rate


def run_main(app: App, arguments: list[str] | None) -> int:
    """Run ``app`` as the command line says and return the exit status: 0 ok, 1 the run failed, 2 usage."""
    found = _parser(app).parse_args(arguments)
    try:
        require_extras(app, found.world, bench=found.bench)
        return _world(found.world)(app, _options(found))
    except ConfigurationError as error:
        print(f"{app.name}: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    except TaktoraError as error:
        print(f"{app.name}: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1


def _world(name: str) -> Callable[[App, RunOptions], int]:
    found = {point.name: point for point in entry_points(group="taktora.worlds")}
    if name not in found:
        msg = f"--world {name!r}: there is no such world; {nearest(name, sorted(found))}"
        raise ConfigurationError(msg)
    try:
        return found[name].load()  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        msg = f"--world {name!r} needs {error.name!r}; pip install 'taktora[all]'"
        raise ConfigurationError(msg) from error


def _options(found: argparse.Namespace) -> RunOptions:
    return RunOptions(
        machine=found.machine,
        bench=found.bench,
        duration_ns=None if found.duration is None else read_duration_ns(found.duration),
        seed=found.seed,
        plan=found.plan,
        rate=read_rate(found.rate or "max"),
        report=found.report,
        transport=found.transport,
        trace=found.trace,
        guard=found.guard,
    )


def _parser(app: App) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=app.name, description=f"Run the application {app.name!r}.")
    add = parser.add_argument
    add("--world", default="system", help="sim: virtual time and simulated buses; system: the real ones (default)")
    add("--machine", type=Path, help="machine file in place of the application's own")
    add("--bench", type=Path, help="bench file: what stands behind each name of the machine")
    add("--for", dest="duration", metavar="10s", help="how long to run; until SIGINT or SIGTERM unless given")
    add("--seed", type=int, help="sim: seed of all randomness (default 0)")
    add("--plan", type=Path, help="sim: fault plan")
    add("--rate", help="sim: 1 for real time, N for N times that, max (default)")
    add("--report", type=Path, help="sim: directory for the page of the run")
    add("--trace", type=Path, metavar="FILE", help="sim: write the trace, for 'taktora sim diff'")
    guards = ["raise", "warn", "redirect", "off"]
    add("--guard", choices=guards, help="sim: what happens to code that reads the wall clock and such (default raise)")
    add("--transport", choices=["inprocess", "iceoryx2"], help="what carries the messages (default: the world's)")
    return parser
