"""What a person at a terminal sees of a run: progress while it lasts, the story afterwards; it decides nothing."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from taktora.errors import ConfigurationError
from taktora_sim.report.page import StoryLine, abridge, story, story_so_far, write_page
from taktora_sim.report.scale import show_time

if TYPE_CHECKING:
    from taktora_sim.faults import FiredFault
    from taktora_sim.report.recorder import RunRecorder
    from taktora_sim.report.summary import RunSummary
    from taktora_sim.world import World

__all__ = ["LiveStory", "conclude", "observer_of", "report_folder", "tell"]

_PATIENCE_S = 2.0
_REFRESH_S = 0.2
_LOOK_S = 0.1
_MOST_LINES = 60
_MARKS = {"alarm": "!", "fault": "x", "warning": "!", "bad": "x"}


Observation: TypeAlias = "Callable[[World], AbstractContextManager[object]]"


def observer_of(duration_ns: int | None, live: LiveStory | None = None) -> Observation | None:
    """Return what shows a run while it lasts, or None.

    With ``live`` that is its story. A terminal shows the progress of a run that takes longer than 2 s as well, unless
    the story goes to one.
    """
    shows = [] if live is None else [live.follow]
    if sys.stderr.isatty() and not (live is not None and sys.stdout.isatty()):
        shows.append(lambda world: _watched(world, duration_ns))
    return (lambda world: _all_of(shows, world)) if shows else None


@contextmanager
def _all_of(shows: Iterable[Observation], world: World) -> Iterator[None]:
    with ExitStack() as stack:
        for show in shows:
            stack.enter_context(show(world))
        yield


class LiveStory:
    """Prints what happens in a run that keeps pace with the wall clock, and knows what it has told."""

    def __init__(self) -> None:
        self.told: Counter[StoryLine] = Counter()
        self._over = threading.Event()

    @contextmanager
    def follow(self, world: World) -> Iterator[None]:
        """Look ten times a second, from outside; the run does not notice."""
        recorder, faults = world.recorder, world.faults.fired
        watcher = threading.Thread(target=self._watch, args=(recorder, faults), name="taktora-story", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._over.set()
            watcher.join()
            self._look(recorder, faults)

    def untold(self, lines: list[StoryLine]) -> list[StoryLine]:
        """Return ``lines`` without those that have been told; equal ones count one by one."""
        left = self.told.copy()
        found = []
        for line in lines:
            if left[line]:
                left[line] -= 1
            else:
                found.append(line)
        return found

    def _watch(self, recorder: RunRecorder, faults: list[FiredFault]) -> None:
        while not self._over.wait(_LOOK_S):
            self._look(recorder, faults)

    def _look(self, recorder: RunRecorder, faults: list[FiredFault]) -> None:
        fresh = self.untold(story_so_far(recorder, faults))
        self.told.update(fresh)
        sys.stdout.writelines(f"{_in_words(line)}\n" for line in fresh)
        sys.stdout.flush()


@contextmanager
def _watched(world: World, duration_ns: int | None) -> Iterator[None]:
    over = threading.Event()
    watcher = threading.Thread(target=_show, args=(world, duration_ns, over), name="taktora-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _show(world: World, duration_ns: int | None, over: threading.Event) -> None:
    """Read the virtual time now and then, from outside; the run does not notice."""
    if over.wait(_PATIENCE_S) or find_spec("rich") is None:
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=duration_ns)
        while not over.wait(_REFRESH_S):
            now_ns = world.now_ns()
            progress.update(task, completed=now_ns, description=f"{now_ns / 1e9:.1f} virtual s")


def report_folder(path: Path | None) -> Path | None:
    """Return the folder of a report once it is there: before a run, as no run should be lost to a wrong name.

    Raises:
        ConfigurationError: it cannot be made, or nothing can be written into it.
    """
    if path is None:
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--report {path}: cannot be a folder ({error.strerror}); name another one") from error
    if not os.access(path, os.W_OK):
        raise ConfigurationError(f"--report {path}: nothing can be written into this folder; name another one")
    return path


def conclude(summary: RunSummary, report: Path | None = None, live: LiveStory | None = None) -> int:
    """Print what happened, verdict and hash (the last line), write the page if asked to, and return the exit status.

    Args:
        summary: The run.
        report: Folder for the page.
        live: What has told the run while it lasted; only the rest is told then.

    Returns:
        0 if all went well, 1 if a check failed or the run broke off, 128 and the number of the signal (130 for Ctrl-C,
        143 for SIGTERM) if the user stopped it.
    """
    lines = list(tell(summary, report, live))
    if report is not None:
        lines.append(f"  page: {write_page(summary, report).as_posix()}")
    if summary.stopped:
        lines.append(summary.stopped)
    elif not summary.ok:
        lines.append(f"repeat it with: {summary.reproduction}")
    lines.append(f"trace sha256:{summary.sha256}")
    sys.stderr.writelines(f"{complaint}\n" for complaint in _complaints(summary))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
    return 128 + summary.signal if summary.signal else int(not summary.ok)


def _complaints(summary: RunSummary) -> Iterator[str]:
    if summary.error:
        yield f"the run broke off: {summary.error}"
    for check in summary.recorder.checks:
        if not check.ok:
            yield f"check failed: {check.name}{f' ({check.detail})' if check.detail else ''}"


def tell(summary: RunSummary, report: Path | None = None, live: LiveStory | None = None) -> Iterator[str]:
    """Yield what happened in lines for people; faults, alarms, warnings and checks are always among them."""
    lines = story(summary) if live is None else live.untold(story(summary))
    chosen = abridge(lines, _MOST_LINES)
    yield from map(_in_words, chosen)
    left_out = len(lines) - len(chosen)
    if left_out:
        where = "--report DIR writes a page with them" if report is None else "the page has them"
        yield f"  {left_out} more lines (info, health); {where}"
    for entry in summary.unfired:
        yield f"! the fault {entry.trigger()} ({entry.kind} at {entry.target}) never began"
    yield f"  {_counted(summary)}"


def _in_words(line: StoryLine) -> str:
    return f"{_MARKS.get(line.css, ' ')} {show_time(line.t_ns):>14}  {line.sort:<8} {line.text}"


def _counted(summary: RunSummary) -> str:
    published = sum(count for count, _ in summary.messages.values())
    lost = sum(count for _, count in summary.messages.values())
    parts = [f"{summary.duration_ns / 1e9:g} virtual s", f"{summary.records} trace records"]
    if summary.messages:
        parts.append(f"{published} messages on {len(summary.messages)} channels, {lost} lost at full readers")
    return ", ".join(parts)
