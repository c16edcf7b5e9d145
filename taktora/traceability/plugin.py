"""The pytest side of traceability: markers, refusal of unknown ids, a record of every outcome; it never deselects."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taktora.traceability.catalogue import load_catalogue
from taktora.traceability.config import TraceConfig, load_config
from taktora.traceability.errors import TraceError
from taktora.traceability.markers import Marked, literal_ids, misspelt, resolve
from taktora.traceability.measure import Measure
from taktora.traceability.model import Catalogue
from taktora.traceability.recorder import DEFAULT_WORLD, Known, Recorder, plain
from taktora.traceability.results import Result, Run, load_results, update_results
from taktora.traceability.runinfo import describe_run, sources_of_tests

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from taktora.traceability.hashing import TestSources

_MARKS = ("verifies", "realizes")
_WORKER_KEY = "taktora_trace"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of traceability."""
    group = parser.getgroup("taktora traceability")
    group.addoption("--require-ids", action="store_true", help="fail collection where a test names no requirement")
    group.addoption(
        "--trace-catalogue",
        action="append",
        metavar="PATH",
        help="folder or file of requirements, repeatable (default: [tool.taktora.trace] catalogues, or requirements/)",
    )
    group.addoption(
        "--trace-results",
        metavar="FILE",
        help="merge the outcomes of this run into FILE (default with 'record = true' in [tool.taktora.trace]: "
        "reports/results/<world>.json)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known and start the recorder."""
    config.addinivalue_line("markers", "verifies(*ids): requirements of the catalogue that this test verifies")
    config.addinivalue_line(
        "markers", "realizes(*ids): test specifications of the catalogue that this test carries out"
    )
    config.pluginmanager.register(TracePlugin(config), "taktora-trace")


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Record a measured value: `measure("stop_time", 41.5, "ms", high=50)`; a broken limit fails the test."""
    properties = request.node.user_properties
    return Measure(lambda measured: properties.append(("measured", measured)))


class TracePlugin:
    """The state of one pytest process; in an xdist run each worker collects and the controller records."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.root = config.rootpath
        self.is_worker = hasattr(config, "workerinput")
        self.recorder = Recorder()
        self.known: dict[str, Known] = {}
        self.marked: dict[str, Marked] = {}
        self.partial: set[str] = set()
        self.received: dict[str, Known] = {}
        self.run: Run | None = None

    @cached_property
    def settings(self) -> TraceConfig:
        """Return the project's settings; raises UsageError, which ends pytest with the sentence."""
        try:
            return load_config(self.root)
        except TraceError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def sources(self) -> TestSources:
        """Return the hashes of the project's tests."""
        return sources_of_tests(self.settings)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the catalogue, empty where the project has none; raises UsageError with every problem in it."""
        named: list[str] | None = self.config.getoption("--trace-catalogue")
        start = self.config.invocation_params.dir
        paths = [start / path for path in named] if named else self.settings.catalogue_paths()
        try:
            return load_catalogue(paths, self.root)
        except TraceError as error:
            raise pytest.UsageError(str(error)) from error

    @property
    def records(self) -> bool:
        """Tell whether this process writes results."""
        wanted = self.config.getoption("--trace-results") or self.settings.record
        return bool(wanted) and not self.is_worker and not self.config.option.collectonly

    def pytest_sessionstart(self) -> None:
        """Read settings and catalogue first: a broken one ends the run before any test.

        A project that says nothing of traceability may keep other things in a folder called requirements: there the
        catalogue is read only when a test names an id.
        """
        if not self.is_worker:
            if self.settings.is_declared or self.config.getoption("--trace-catalogue"):
                self.catalogue  # noqa: B018 - reading it is the check
            if self.records:
                self._check_targets()
                self.run = describe_run(self.settings)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Fail the collection of a file whose tests name ids that are not in the catalogue."""
        report = yield
        below = report.result or ()
        problems = [problem for item in below if isinstance(item, pytest.Item) for problem in self._check(item)]
        if problems:
            problems += [problem for item in _items_in_groups(below) for problem in self._check(item)]
            report.outcome = "failed"
            report.result = []
            report.longrepr = "\n".join(problems)
        return report

    def _check(self, item: pytest.Item) -> Iterable[str]:
        marks = [(mark.name, mark.args) for name in _MARKS for mark in item.iter_markers(name)]
        marked = self._resolve(marks)
        self.marked[item.nodeid] = marked
        item.user_properties += [(name, " ".join(ids)) for name in _MARKS if (ids := getattr(marked, name))]
        others = (mark.name for mark in item.iter_markers() if mark.name not in self.registered)
        problems = [*misspelt(others), *marked.problems]
        if self.config.getoption("--require-ids") and not marks:
            problems.append('names no requirement, and --require-ids demands one: add @pytest.mark.verifies("...")')
        file, line, _ = item.location
        return [f"{file}:{(line or 0) + 1}: {item.nodeid}: {problem}" for problem in problems]

    @cached_property
    def registered(self) -> frozenset[str]:
        """Return the names of all markers that the project or a plugin has made known."""
        lines: list[str] = self.config.getini("markers")
        return frozenset(line.partition(":")[0].partition("(")[0].strip() for line in lines)

    def _resolve(self, marks: Sequence[tuple[str, Sequence[object]]]) -> Marked:
        if marks and not self.catalogue.items:
            looked = ", ".join(self.config.getoption("--trace-catalogue") or self.settings.catalogues)
            way = "name a folder of requirement files with --trace-catalogue or [tool.taktora.trace] catalogues"
            return Marked(
                problems=(f"names ids, but there is no catalogue: looked for {looked} in {self.root}; {way}",)
            )
        return resolve(marks, self.catalogue) if marks else Marked()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember the files that run in part only: what they leave out is still valid."""
        self.partial.update(_file_of(item.nodeid) for item in items)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is known of each test that is about to run."""
        for item in session.items:
            self.known[item.nodeid] = self._describe(item)
        for arg in self.config.args:
            file, _, inner = arg.partition("::")
            if inner:
                self.partial.add(_name_of(self.config.invocation_params.dir / file, self.root))

    def _describe(self, item: pytest.Item) -> Known:
        properties = dict(item.user_properties)
        marked = self.marked.get(item.nodeid, Marked())
        node_id = str(properties.get("node_id", item.nodeid))
        return Known(
            node_id=node_id,
            world=str(properties.get("world", DEFAULT_WORLD)),
            verifies=marked.verifies,
            realizes=marked.realizes,
            test_hash=self.sources.hash_of(node_id) or "",
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that is skipped as a whole or cannot be collected, under the ids written in it."""
        if not report.passed and report.nodeid.endswith(".py"):
            self.recorder.add_file(report, time.time())
            file = self.root / report.nodeid
            source = file.read_text("utf-8", "replace") if file.is_file() else ""
            marked = resolve(literal_ids(source), self.catalogue)
            test_hash = self.sources.hash_of(report.nodeid) or ""
            self.received[report.nodeid] = Known(
                report.nodeid, DEFAULT_WORLD, marked.verifies, marked.realizes, test_hash
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a phase of a test."""
        if not self.is_worker:
            self.recorder.add_test(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what an xdist worker knows of its tests."""
        sent = getattr(node, "workeroutput", {}).get(_WORKER_KEY, {})
        for name, info in sent.get("known", {}).items():
            self.known[name] = msgspec.convert(info, Known)
        self.partial.update(sent.get("partial", ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send or write what was recorded."""
        if self.is_worker:
            sent = {"known": plain(self.known.items()), "partial": sorted(self.partial)}
            self.config.workeroutput[_WORKER_KEY] = sent  # type: ignore[attr-defined]
        elif self.run is not None:
            self._write(self.run, _why_unreached(session))

    def _write(self, run: Run, unreached: str) -> None:
        texts = {item.id: item.text_hash for item in self.catalogue.requirements}
        results = self.recorder.results({**self.received, **self.known}, run, texts, unreached, time.time())
        by_file: dict[Path, list[Result]] = {}
        for result in results:
            by_file.setdefault(self._target(result.world), []).append(result)
        collected = {_file_of(name) for name in self.known}
        complete = {(_file_of(info.node_id), info.world) for info in self.known.values()}
        complete = {(file, world) for file, world in complete if file not in self.partial}
        for file, group in by_file.items():
            update_results(file, group, complete, collected, self.root)

    def _check_targets(self) -> None:
        """Refuse what results cannot be merged into before the tests run, and not when their time is spent."""
        named: str | None = self.config.getoption("--trace-results")
        file = self._target(DEFAULT_WORLD)
        if named and file.is_dir():
            raise pytest.UsageError(f"--trace-results {file}: is a folder; name a file, as in {file / 'sim.json'}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not named:
                load_results([file.parent])
            elif file.exists():
                load_results([file])
        except OSError as error:
            raise pytest.UsageError(f"--trace-results {file}: cannot be written: {error.strerror}") from error
        except TraceError as error:
            raise pytest.UsageError(str(error)) from error

    def _target(self, world: str) -> Path:
        named: str | None = self.config.getoption("--trace-results")
        if named:
            return self.config.invocation_params.dir / named
        return self.settings.at_root(self.settings.results) / f"{world}.json"


def _items_in_groups(nodes: Iterable[pytest.Item | pytest.Collector]) -> Iterator[pytest.Item]:
    """Yield the tests inside classes, which pytest would no longer look at once their file has failed."""
    for node in nodes:
        if isinstance(node, pytest.Collector):
            below = list(node.collect())
            yield from (item for item in below if isinstance(item, pytest.Item))
            yield from _items_in_groups(below)


def _file_of(node_id: str) -> str:
    return node_id.split("::", 1)[0]


def _name_of(path: Path, root: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _why_unreached(session: pytest.Session) -> str:
    """Return why collected tests may not have begun, or nothing where the session came to its end."""
    stopped = session.shouldfail or session.shouldstop
    if stopped:
        return f"the session ended before this test: {stopped}"
    return "the session was interrupted before this test" if session.exitstatus in (2, 3) else ""
