"""Runs a scenario in a World under guard, with virtual logging, and sums up what came out; it prints nothing."""

from __future__ import annotations

import linecache
import shlex
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from simpy.events import EventPriority

from taktora.duration import format_duration
from taktora.errors import ConfigurationError, TaktoraError
from taktora.places import line_of, place_of
from taktora_sim.faults import FaultPlan
from taktora_sim.guard import EscapeGuard, GuardMode
from taktora_sim.itemwatch import ItemFailures
from taktora_sim.report.recorder import Check, RunRecorder
from taktora_sim.report.summary import RunSummary
from taktora_sim.scenario import Scenario, ScenarioError
from taktora_sim.virtual_logging import VirtualLogging
from taktora_sim.watch import Watching
from taktora_sim.world import World, WorldAborted

__all__ = ["DEFAULT_DURATION_NS", "PlayOptions", "play"]

DEFAULT_DURATION_NS = 10_000_000_000
"""Virtual time that a scenario runs which never steps the World itself."""

_AFTER_ALL = EventPriority(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOptions:
    """How one run is asked for.

    Args:
        seed: Seed of the run.
        duration_ns: The run ends at this virtual time, not before and not after; None leaves that to the scenario.
        plan: Faults; None lets the scenario propose some.
        plan_file: Where ``plan`` came from, as the user wrote it.
        rate: Virtual seconds a wall second; None is as fast as possible.
        transport: What carries the messages.
        guard: What happens to project code that reaches for the real world.
        watching: How the guard sees it.
        trace_file: Where to write the trace.
        keep_plan_in: Folder for the plan of a run whose scenario brought its own; None keeps that of a failed run only,
            in the working directory.
        observe: Context in which the World runs; a progress display.
    """

    seed: int = 0
    duration_ns: int | None = None
    plan: FaultPlan | None = None
    plan_file: str = ""
    rate: float | None = None
    transport: Literal["inprocess", "iceoryx2"] = "inprocess"
    guard: GuardMode = "raise"
    watching: Watching = "auto"
    trace_file: Path | None = None
    keep_plan_in: Path | None = None
    observe: Callable[[World], AbstractContextManager[object]] | None = None


class _TimeIsUp(BaseException):
    """Ends a run at the time asked for; no error."""


class _Stopped(BaseException):
    """Ends a run because the user asked for it by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Ending(NamedTuple):
    """What ended a run early: an error in words, a signal by its number, or neither."""

    error: str = ""
    signal: int = 0


def play(scenario: Scenario, options: PlayOptions) -> RunSummary:
    """Run ``scenario`` and return what came out; a failed check or an error in the run is part of that.

    Raises:
        ConfigurationError: something the user gave does not fit: plan, files, names.
    """
    world = World(
        options.seed,
        name=scenario.name,
        trace_file=options.trace_file,
        plan=options.plan,
        transport=options.transport,
    )
    world.rate = options.rate
    with world:
        ending = _run_guarded(scenario, world, options)
        world.part(ItemFailures).conclude()
        closing = _close(world)
    # Closing is part of the run: what connectors record when they go down is in the trace file, so it is in the hash.
    error = ending.error or closing
    failed = bool(error) or not all(check.ok for check in world.recorder.checks)
    folder = Path() if failed and options.keep_plan_in is None else options.keep_plan_in
    plan_file, plan_words = _plan_of(world, scenario, options.plan_file, folder)
    return RunSummary.of(
        world,
        world.recorder,
        scenario=scenario.reference,
        plan=plan_words,
        reproduction=_reproduction(world, scenario, options, plan_file, ending),
        error=error,
        signal=ending.signal,
    )


def _run_guarded(scenario: Scenario, world: World, options: PlayOptions) -> _Ending:
    """Run to the end and return what ended the run early."""
    try:
        with ExitStack() as stack:
            stack.enter_context(_stopped_by_signals(world))
            if options.observe is not None:
                stack.enter_context(options.observe(world))
            stack.enter_context(VirtualLogging(world))
            stack.enter_context(EscapeGuard(world, options.guard, options.watching))
            _run(scenario, world, options.duration_ns)
            world.raise_failure()  # an escape that the scenario has swallowed after its last step
    except AssertionError as failed:
        place, claim = _read_assert(failed)
        world.recorder.finding(str(failed) or claim, ok=False, detail=place)
    except _Stopped as stopped:
        return _Ending(signal=stopped.number)
    except ConfigurationError:
        raise
    except (Exception, WorldAborted) as ended:
        return _Ending(_in_words(ended))
    return _Ending()


@contextmanager
def _stopped_by_signals(world: World) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the run after the event under way; a second one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, _frame: FrameType | None) -> None:
        give_back()
        world.fail(_Stopped(number))

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        give_back()


def _close(world: World) -> str:
    """Close the World and return what came of it in words: often the very error that has ended the run."""
    try:
        world.close()
    except (Exception, WorldAborted) as ended:
        return _in_words(ended)
    return ""


def _in_words(ended: BaseException) -> str:
    if isinstance(ended, TaktoraError):
        return f"{type(ended).__name__}: {ended}"
    return "".join(traceback.format_exception(ended)).rstrip()


def _run(scenario: Scenario, world: World, duration_ns: int | None) -> None:
    if duration_ns is not None:
        world.call_at(duration_ns, lambda: world.fail(_TimeIsUp()), _AFTER_ALL)
    try:
        returned = scenario.play(world)
    except _TimeIsUp:
        world.recorder.notice(
            "the time asked for is up before the scenario is done; its later checks are open", "warning"
        )
        return
    _keep_checks(returned, world.recorder, scenario)
    try:
        if duration_ns is not None:
            world.run_for(duration_ns - world.now_ns())
        elif scenario.is_app or world.now_ns() == 0:
            world.run_for(DEFAULT_DURATION_NS)
    except _TimeIsUp:
        return


def _keep_checks(returned: Any, recorder: RunRecorder, scenario: Scenario) -> None:
    """Record the checks that a scenario has returned, in any of the forms it may choose."""
    if returned is None or scenario.is_app:
        return
    if isinstance(returned, Mapping):
        returned = [Check(str(name), bool(ok)) for name, ok in returned.items()]
    if isinstance(returned, Iterable) and not isinstance(returned, str):
        checks = list(returned)
        if all(isinstance(check, Check) for check in checks):
            for check in checks:
                recorder.check(check.name, ok=check.ok, detail=check.detail)
            return
    msg = f"{scenario.reference}: returned a {type(returned).__name__}, expected None, a list of Check or a dict"
    raise ScenarioError(msg)


def _read_assert(failed: AssertionError) -> tuple[str, str]:
    """Return place and text of the ``assert`` that failed."""
    line = linecache.getline(*(line_of(failed) or ("", 0))).strip()
    return place_of(failed), line.removeprefix("assert ") or "assertion"


def _plan_of(world: World, scenario: Scenario, given_file: str, folder: Path | None) -> tuple[str, str]:
    """Return the plan's file for the command line and the plan in words; a plan of the scenario's own is saved."""
    plan = world.faults.plan
    if not plan.entries:
        return given_file, given_file or "none"
    faults = f"{len(plan.entries)} fault{'' if len(plan.entries) == 1 else 's'}"
    about = f": {plan.about}" if plan.about else ""
    if given_file:
        return given_file, f"{given_file} ({faults}{about})"
    if folder is None:
        return "", f"the scenario's own ({faults}{about})"
    path = folder / f"{scenario.name}-seed{world.seed}.plan.toml"
    plan.save(path)
    return path.as_posix(), f"{path.as_posix()} ({faults}{about})"


# req: REQ_8009
def _reproduction(world: World, scenario: Scenario, options: PlayOptions, plan_file: str, ending: _Ending) -> str:
    """Return one command that repeats the run; what follows the ``#`` is for the eye, the shell ignores it."""
    words = [*scenario.command, "--seed", str(world.seed)]
    if options.duration_ns is not None:
        words += ["--for", format_duration(options.duration_ns)]
    if plan_file:
        words += ["--plan", plan_file]
    if options.transport != "inprocess":
        words += ["--transport", options.transport]
    if options.guard != "raise":
        words += ["--guard", options.guard]
    end = "stopped by hand" if ending.signal else f"trace sha256:{world.trace.sha256()}"
    return f"{shlex.join(words)}  # {end}"
