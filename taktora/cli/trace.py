"""`taktora trace`: reports, gates and look-ups on requirements; it runs no test and changes only what it is told to."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktora.cli.show import show_item
from taktora.traceability import (
    TOTAL,
    Confirmation,
    Project,
    TraceError,
    coverage,
    find_root,
    load_baseline,
    load_confirmations,
    load_thresholds,
    lost,
    missed,
    parse_threshold,
    save_confirmations,
    trace_data,
    write_reports,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taktora.traceability import Threshold, Trace

__all__ = ["app"]

app = typer.Typer(help="Requirements: report, check, show, confirm.", no_args_is_help=True, add_completion=False)

Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Project folder (default: the nearest one above that has a pyproject.toml).", show_default=False
    ),
]
Catalogues = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalogue", "-c", help="Folder or file of requirements, repeatable (default: the project's settings)."
    ),
]
Results = Annotated[
    list[Path] | None,
    typer.Option(
        "--results", "-r", help="Result file, or folder of them, repeatable: several runs and machines merge."
    ),
]


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what cannot be used into one sentence on stderr and exit status 2."""
    try:
        yield
    except TraceError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


def _project(root: Path | None, catalogues: list[Path] | None, results: list[Path] | None) -> Project:
    folder = find_root(Path.cwd()) if root is None else root.resolve()
    here = Path.cwd()
    return Project(folder, [here / path for path in catalogues or ()], [here / path for path in results or ()])


@app.command()
def report(
    root: Root = None,
    catalogue: Catalogues = None,
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write into (default: reports/trace).", show_default=False),
    ] = None,
) -> None:
    """Write the report: index.html (one self-contained page), trace.json, trace.csv, junit.xml, needs.json."""
    with _refusals():
        project = _project(root, catalogue, results)
        trace = project.trace()
        data = trace_data(trace, project.code_links(), project.config.project)
        folder = project.config.at_root(project.config.reports) if out is None else out
        try:
            written = write_reports(data, folder)
        except OSError as error:
            raise TraceError(f"cannot write the report into {folder}: {error.strerror}") from error
    for line in (*_summary(trace), *_no_results(trace), *_suspects(trace), *_gone(trace)):
        typer.echo(line)
    typer.echo(f"Open {_near(written[0])}")


def _summary(trace: Trace) -> Iterator[str]:
    """Yield a line per world: how much is verified, and what became of the rest that has tests there."""
    for world in trace.worlds:
        have = coverage(trace, TOTAL, world)
        statuses = [cells[world].status for cells in trace.requirements.values()]
        rest = [f"{count} {status}" for status in ("failed", "stale", "not run") if (count := statuses.count(status))]
        figures = f"{have.verified} of {have.total} requirements verified ({have.shown.partition(' (')[0]})"
        yield "; ".join([f"{world:>4}: {figures}", *filter(None, [", ".join(rest)])])


def _near(path: Path) -> Path:
    """Return a path as one types it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _no_results(trace: Trace) -> Iterator[str]:
    """Yield one sentence where nothing has been run, or nothing of it recorded."""
    if not trace.results:
        yield "No results yet: run pytest with --trace-results FILE, or set record = true in [tool.taktora.trace]."


# req: REQ_8604
def _stale(trace: Trace) -> Iterator[str]:
    """Yield one sentence where tests passed and do not count, because they are about something older."""
    count = sum(any(cell.status == "stale" for cell in cells.values()) for cells in trace.requirements.values())
    if count:
        what = "1 requirement is stale" if count == 1 else f"{count} requirements are stale"
        yield f"{what}: test, text or application changed since it was verified; run the tests again"


# req: REQ_8609
def _suspects(trace: Trace) -> Iterator[str]:
    """Yield one sentence where tests passed and do not count, because nobody looked at them since a text changed."""
    names = [name for name, cells in trace.requirements.items() if any(cell.suspect for cell in cells.values())]
    if names:
        named = " ".join(names) if len(names) <= 3 else "--all"
        what = "1 requirement is suspect" if len(names) == 1 else f"{len(names)} requirements are suspect"
        why = "text changed since tests were linked to it, and suspect is not verified"
        yield f"{what}: {why}; look at both, then run: taktora trace confirm {named} --by NAME"


def _gone(trace: Trace) -> Iterator[str]:
    """Yield one sentence where results belong to tests that are no longer there."""
    drop = "a recorded run of the whole project drops"
    if len(trace.gone) == 1:
        gone = trace.gone[0].node_id
        yield f"1 result counts for nothing: {gone} is not in this project; {drop} it."
    elif trace.gone:
        what = f"{len(trace.gone)} results count for nothing: their tests are not in this project (see Findings)"
        yield f"{what}; {drop} them."


@app.command()
def check(
    root: Root = None,
    catalogue: Catalogues = None,
    results: Results = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min", help="AREA/WORLD=PERCENT, repeatable; AREA may be * or total, WORLD may be any: can/sim=80."
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(help="TOML file with a table per area (default: requirements/thresholds.toml where it exists)."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier trace.json: coverage that it had and that is gone is listed.")
    ] = None,
) -> None:
    """Check coverage against thresholds and a baseline; exit status 1 where one is missed, 2 on wrong usage."""
    with _refusals():
        project = _project(root, catalogue, results)
        wanted = _thresholds(project, minimum or [], thresholds)
        before = load_baseline(baseline) if baseline is not None else None
        if not wanted and before is None:
            raise TraceError("nothing to check: give --min can/sim=80, --thresholds FILE or --baseline FILE")
        trace = project.trace()
        failures = missed(trace, wanted)
        gone = lost(trace, before) if before is not None else []
    for threshold, have in failures:
        typer.echo(f"below threshold: {have.area}/{have.world} has {have.shown}, wanted {threshold.percent:g} %")
    for name, world, now in gone:
        typer.echo(f"lost coverage: {name} in {world}, now {now}")
    if failures or gone:
        for line in (*_no_results(trace), *(_stale(trace) if failures else ()), *_suspects(trace)):
            typer.echo(line)
        raise typer.Exit(1)
    met = [f"{len(wanted)} threshold{'s' if len(wanted) != 1 else ''} met"] if wanted else []
    typer.echo("ok: " + ", ".join([*met, *(() if before is None else ("nothing lost",))]))


def _thresholds(project: Project, minimum: list[str], file: Path | None) -> list[Threshold]:
    default = project.config.at_root(project.config.thresholds)
    path = file or (default if default.is_file() and not minimum else None)
    return [*(load_thresholds(path) if path is not None else ()), *(parse_threshold(text) for text in minimum)]


@app.command()
def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="Any id of the catalogue, as in REQ_0310 or FEAT_0046.")],
    root: Root = None,
    catalogue: Catalogues = None,
    results: Results = None,
) -> None:
    """Show one item: text, links up and down, tests with their outcome per world, code links."""
    with _refusals():
        project = _project(root, catalogue, results)
        trace = project.trace()
        lines = show_item(trace, item, project.code_links())
    typer.echo("\n".join(lines))


@app.command()
def confirm(
    items: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Requirements whose tests you looked at.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who looked: a name, kept in the file.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Confirm all requirements that have a test.")] = False,
    date: Annotated[str, typer.Option(help="Day of the look, YYYY-MM-DD (default: today).", show_default=False)] = "",
    root: Root = None,
    catalogue: Catalogues = None,
    results: Results = None,
) -> None:
    """Confirm that the tests of requirements still fit their text: ends their being suspect, until the text changes."""
    with _refusals():
        if not by.strip():
            raise TraceError("confirm needs the person who looked: --by NAME")
        project = _project(root, catalogue, results)
        trace = project.trace()
        names = _tested(trace) if every else list(items or ())
        if not names:
            raise TraceError("name the requirements to confirm, as in: taktora trace confirm REQ_0310 --by NAME")
        file = project.config.at_root(project.config.confirmations)
        confirmed = load_confirmations(file)
        confirmed.update({name: _confirmation(trace, name, by.strip(), _day(date)) for name in names})
        save_confirmations(file, confirmed.values())
    typer.echo(f"{len(names)} confirmed by {by.strip()} in {file}; commit this file")


def _tested(trace: Trace) -> list[str]:
    cells = trace.requirements.items()
    return [name for name, worlds in cells if any(cell.evidence for cell in worlds.values())]


def _confirmation(trace: Trace, name: str, by: str, date: str) -> Confirmation:
    item = trace.catalogue[name]
    if item.table != "requirement":
        raise TraceError(f"{name} is a {item.table}; only requirements are confirmed")
    return Confirmation(name, item.text_hash, by, date)


def _day(text: str) -> str:
    if not text:
        return datetime.now(UTC).astimezone().date().isoformat()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise TraceError(f"--date {text}: expected a day as in 2026-11-21") from None
