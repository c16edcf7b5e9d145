"""Turns pytest's reports into results: one per test and world, worst phase wins; it knows no catalogue file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from taktora.traceability.results import Measurement, Outcome, Result, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pytest

__all__ = ["Known", "Recorder"]

DEFAULT_WORLD = "sim"
_REASON_LENGTH = 400


class Known(msgspec.Struct, frozen=True):
    """What is known of a test once it is collected; plain values, so that a worker can send it to its controller."""

    node_id: str
    world: str
    verifies: tuple[str, ...] = ()
    realizes: tuple[str, ...] = ()
    test_hash: str = ""


@dataclass(slots=True)
class _Course:
    """The phases of one test so far."""

    outcome: Outcome | None = None
    reason: str = ""
    duration_s: float = 0.0
    stop_s: float = 0.0
    properties: dict[str, Any] = field(default_factory=dict)
    measured: list[Any] = field(default_factory=list)


_RANK: dict[Outcome | None, int] = {None: 0, "passed": 1, "not run": 2, "failed": 3}


# req: REQ_8602, REQ_8507
class Recorder:
    """Collects reports of tests and of files that could not be collected, and makes results of them."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def add_test(self, report: pytest.TestReport) -> None:
        """Note one phase of a test; of all phases and sub-tests the worst outcome stays, the first of its kind."""
        course = self._courses.setdefault(report.nodeid, _Course())
        course.duration_s += getattr(report, "duration", 0.0)
        course.stop_s = max(course.stop_s, getattr(report, "stop", 0.0))
        if report.user_properties:
            course.properties = {name: value for name, value in report.user_properties if name != "measured"}
            course.measured = [value for name, value in report.user_properties if name == "measured"]
        outcome, reason = _outcome(report, course.properties)
        if _RANK[outcome] > _RANK[course.outcome]:
            course.outcome, course.reason = outcome, reason

    def add_file(self, report: pytest.CollectReport, stop_s: float) -> None:
        """Note a test file that was skipped as a whole or could not be collected."""
        outcome: Outcome = "failed" if report.failed else "not run"
        reason = ("not collected: " if report.failed else "") + _first_line(report)
        self._courses.setdefault(report.nodeid, _Course(outcome, reason, stop_s=stop_s))

    def results(
        self,
        known: Mapping[str, Known],
        run: Run,
        texts: Mapping[str, str],
        unreached: str = "",
        now_s: float = 0.0,
    ) -> list[Result]:
        """Return the results; with `unreached`, tests that never began are not run for that reason, as of `now_s`."""
        found = [
            self._result(known.get(name) or _guess(name, course), course, run, texts)
            for name, course in self._courses.items()
        ]
        if unreached:
            course = _Course("not run", unreached, stop_s=now_s)
            left = (info for name, info in known.items() if name not in self._courses)
            found += [self._result(info, course, run, texts) for info in left]
        return found

    def _result(self, info: Known, course: _Course, run: Run, texts: Mapping[str, str]) -> Result:
        known_texts = {name: texts[name] for name in info.verifies if name in texts}
        return Result(
            node_id=info.node_id,
            world=info.world,
            outcome=course.outcome or "not run",
            finished_unix_ns=round(course.stop_s * 1000) * 1_000_000,
            run=run,
            verifies=info.verifies,
            realizes=info.realizes,
            reason=_reason(course),
            duration_s=round(course.duration_s, 6),
            test_hash=info.test_hash,
            texts=known_texts,
            linked=known_texts,
            seed=_text(course.properties.get("seed")),
            trace_hash=_text(course.properties.get("trace_hash")),
            fingerprint=_texts(course.properties.get("fingerprint")),
            measured=tuple(msgspec.convert(value, Measurement) for value in course.measured),
        )


def _reason(course: _Course) -> str:
    if course.outcome is None:
        return "began and did not come to an end"
    return course.reason.removeprefix("not run: ")[:_REASON_LENGTH]


def _outcome(report: pytest.TestReport, properties: Mapping[str, Any]) -> tuple[Outcome | None, str]:
    if "not_run" in properties:
        return "not run", _text(properties["not_run"])
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        return _expected(report, str(expected))
    if report.failed:
        place = "" if report.when == "call" else f"{report.when}: "
        return "failed", place + _first_line(report)
    if report.skipped:
        return "not run", _first_line(report)
    return ("passed", "") if report.passed and report.when == "call" else (None, "")


def _expected(report: pytest.TestReport, reason: str) -> tuple[Outcome | None, str]:
    """Judge a test marked xfail: a failure stays one though it was expected, and one that was not tried did not run."""
    if reason.startswith("[NOTRUN]"):
        return "not run", reason.removeprefix("[NOTRUN]").strip() or "xfail(run=False)"
    if report.passed:
        return "passed", f"passed though expected to fail: {reason}".removesuffix(": ")
    return "failed", f"expected failure: {reason}".removesuffix(": ")


def _first_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the sentence of a report: the reason of a skip, the message of the crash, never a machine's path."""
    text: object = report.longrepr
    if isinstance(text, tuple):
        text = str(text[2]).removeprefix("Skipped: ")
    crash = getattr(text, "reprcrash", None)
    lines = str(crash.message if crash is not None else text or "").strip().splitlines()
    if crash is None and lines and not isinstance(report.longrepr, tuple):
        lines = [next((line[4:] for line in reversed(lines) if line.startswith("E   ")), lines[0])]
    return " ".join(lines[0].split()) if lines else ""


def _guess(name: str, course: _Course) -> Known:
    """Describe a test that no process told of, as after a crash of its worker, by what its reports carry."""
    world = _text(course.properties.get("world")) or DEFAULT_WORLD
    return Known(_text(course.properties.get("node_id")) or name, world)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _texts(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}


def plain(known: Iterable[tuple[str, Known]]) -> dict[str, Any]:
    """Return what a worker can send: names and built-in values only."""
    return {name: msgspec.to_builtins(info) for name, info in known}
