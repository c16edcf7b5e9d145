"""Outcomes of test runs: what one record holds, how files are read, merged and written; it judges no requirement."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from taktora.traceability.errors import ResultError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

__all__ = ["Measurement", "Outcome", "Result", "ResultFile", "Run", "load_results", "merge_results", "update_results"]

Outcome = Literal["passed", "failed", "not run"]

FORMAT = 1


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measured value (None: not finite) with unit, limits (None: no limit) and verdict."""

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    verdict: Literal["passed", "failed"] = "passed"


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all results of one pytest run share: where the code stood and what it ran on."""

    commit: str = ""
    modified: bool = False
    python: str = ""
    platform: str = ""
    versions: dict[str, str] = {}
    application_hash: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one test in one world.

    `node_id` is pytest's without the world; `finished_unix_ns` is the wall clock at its end. `texts` maps each
    requirement to the hash of its text at the time, `linked` to the hash it had when this test was first recorded.
    """

    node_id: str
    world: str
    outcome: Outcome
    finished_unix_ns: int
    run: Run
    verifies: tuple[str, ...] = ()
    realizes: tuple[str, ...] = ()
    reason: str = ""
    duration_s: float = 0.0
    test_hash: str = ""
    texts: dict[str, str] = {}
    linked: dict[str, str] = {}
    seed: str = ""
    trace_hash: str = ""
    fingerprint: dict[str, str] = {}
    measured: tuple[Measurement, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes a result the successor of another: test and world."""
        return self.node_id, self.world

    @property
    def is_verdict(self) -> bool:
        """Tell whether the test ran; a test that did not run proves nothing and disproves nothing."""
        return self.outcome != "not run"


class ResultFile(msgspec.Struct, frozen=True):
    """The content of a result file."""

    taktora_results: int
    runs: list[Run]
    results: list[dict[str, Any]]


def load_results(paths: Iterable[Path]) -> list[Result]:
    """Return the results of all files (folders: every *.json below); raises ResultError naming the file at fault."""
    found: list[Result] = []
    for path in paths:
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            found += _load(file)
    return found


def _load(file: Path) -> list[Result]:
    try:
        content = msgspec.json.decode(file.read_bytes(), type=ResultFile)
    except OSError as error:
        raise ResultError(f"cannot read results {file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        way = "expected a file written by pytest --trace-results"
        raise ResultError(f"{file} is no result file: {error}; {way}") from error
    if content.taktora_results != FORMAT:
        raise ResultError(f"{file} has result format {content.taktora_results}, this version reads {FORMAT}")
    try:
        return [msgspec.convert({**stored, "run": content.runs[stored["run"]]}, Result) for stored in content.results]
    except (msgspec.ValidationError, LookupError, TypeError) as error:
        raise ResultError(f"{file} holds a broken result: {error!r}; record the run again") from error


# req: REQ_8604
def merge_results(results: Iterable[Result]) -> list[Result]:
    """Return, per test and world, the newest verdict and, where newer still, the newest non-run; sorted by key.

    Both are kept because a non-run is no evidence: only the report, which knows what is stale, can tell which counts.
    """
    verdicts: dict[tuple[str, str], Result] = {}
    others: dict[tuple[str, str], Result] = {}
    linked: dict[tuple[str, str], dict[str, str]] = {}
    for result in sorted(results, key=_age):
        (verdicts if result.is_verdict else others)[result.key] = result
        first = linked.setdefault(result.key, {})
        for requirement, text_hash in {**result.texts, **result.linked}.items():
            first.setdefault(requirement, text_hash)
    kept = list(verdicts.values())
    kept += [late for key, late in others.items() if key not in verdicts or _age(verdicts[key]) < _age(late)]
    kept = [msgspec.structs.replace(result, linked=_since(result, linked[result.key])) for result in kept]
    return sorted(kept, key=lambda result: (*result.key, _age(result)))


def _age(result: Result) -> tuple[int, str]:
    """Order by time; equal times, as only hand-made files have them, by content, so that order of files is nothing."""
    return result.finished_unix_ns, f"{result.outcome}\x00{result.reason}\x00{result.trace_hash}\x00{result.run.commit}"


def _since(result: Result, first: dict[str, str]) -> dict[str, str]:
    return {requirement: first[requirement] for requirement in sorted(result.texts) if requirement in first}


def update_results(
    file: Path,
    new: Sequence[Result],
    complete: Collection[tuple[str, str]] = (),
    collected: Collection[str] = (),
    root: Path | None = None,
) -> None:
    """Merge `new` into `file`, replacing it at one stroke; concurrent runs on one machine wait for each other.

    `complete` lists (test file, world) pairs that ran in full: older results of tests that are no longer in such a
    file are dropped. `collected` lists test files that could be collected: their older record of not being so goes.
    With `root`, so do results of test files that are no longer below it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file):
        old = _load(file) if file.is_file() else []
        current = {result.key for result in new}
        old = [past for past in old if past.key in current or not _is_over(past, complete, collected, root)]
        _write(file, merge_results([*old, *new]))


def _is_over(
    past: Result, complete: Collection[tuple[str, str]], collected: Collection[str], root: Path | None
) -> bool:
    file = past.node_id.split("::", 1)[0]
    is_gone = root is not None and not (root / file).exists()
    return is_gone or (file, past.world) in complete or past.node_id in collected


def _write(file: Path, results: Sequence[Result]) -> None:
    runs: dict[bytes, int] = {}
    kept: list[Run] = []
    stored = []
    for result in results:
        packed = msgspec.json.encode(result.run, order="sorted")
        if packed not in runs:
            runs[packed] = len(kept)
            kept.append(result.run)
        stored.append({**msgspec.to_builtins(result), "run": runs[packed]})
    content = msgspec.json.encode(ResultFile(FORMAT, kept, stored), order="sorted")
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "wb") as stream:
        stream.write(msgspec.json.format(content, indent=1) + b"\n")
    Path(name).chmod(0o644)
    Path(name).replace(file)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold an advisory lock beside `file`; where the system has none (Windows), the last writer wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (file.parent / f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
