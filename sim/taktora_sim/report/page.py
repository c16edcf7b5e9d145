"""The page of one run as a single HTML file without requests; the same run gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taktora.duration import format_duration
from taktora_sim.report.drawing import Band, health_bands, signal_plot, timeline
from taktora_sim.report.scale import TimeAxis, show_time
from taktora_sim.report.summary import RunSummary

if TYPE_CHECKING:
    from taktora_sim.faults import FiredFault
    from taktora_sim.report.recorder import RunRecorder

__all__ = ["StoryLine", "abridge", "render_page", "story", "story_so_far", "write_page"]

_MOST_LINES = 2_000
_HERE = Path(__file__).parent


class StoryLine(NamedTuple):
    """One line of what happened: when, what sort of thing, how it is coloured, and in words."""

    t_ns: int
    sort: str
    css: str
    text: str


def write_page(summary: RunSummary, folder: Path) -> Path:
    """Write ``index.html`` into ``folder``, which is made if it is not there, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(render_page(summary), encoding="utf-8", newline="\n")
    return path


# req: REQ_8014
def render_page(summary: RunSummary) -> str:
    """Return the whole page."""
    sections = (_header, _drawings, _checks, _happened, _signals, _messages, _trace)
    title = f"{summary.scenario}, seed {summary.seed}: simulated run"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n"
        f'<body data-duration="{summary.duration_ns}">\n'
        + "".join(section(summary) for section in sections)
        + f"<footer>Written by taktora {escape(summary.versions.get('taktora', ''))}. "
        "All times are virtual; the page makes no request.</footer>\n"
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def story(summary: RunSummary) -> list[StoryLine]:
    """Return what happened in order of time: faults, health, events and checks."""
    return story_so_far(summary.recorder, summary.faults)


def story_so_far(recorder: RunRecorder, faults: Iterable[FiredFault]) -> list[StoryLine]:
    """Return the story of a run that may go on."""
    lines = [StoryLine(event.t_ns, event.severity, event.severity, event.text) for event in recorder.events]
    for change in recorder.health:
        because = f", {change.reason}" if change.reason else ""
        text = f"connector {change.connector} is {change.state}{because}"
        lines.append(StoryLine(change.t_ns, "health", change.state.lower(), text))
    lines += fault_lines(faults)
    for check in recorder.checks:
        detail = f" ({check.detail})" if check.detail else ""
        css = "good" if check.ok else "bad"
        lines.append(StoryLine(check.t_ns, "check", css, f"{'holds' if check.ok else 'FAILED'}: {check.name}{detail}"))
    # Stable: lines of one instant keep the order above, cause (fault) aside.
    return sorted(lines, key=lambda line: (line.t_ns, line.sort != "fault"))


def fault_lines(faults: Iterable[FiredFault]) -> list[StoryLine]:
    """Return when faults began, and when those that last were over."""
    lines = []
    for fault in faults:
        lines.append(StoryLine(fault.started_ns, "fault", "fault", fault.sentence))
        if fault.over_ns is not None and fault.over_ns > fault.started_ns:
            over = f"{fault.entry.target}: {fault.entry.kind} is over"
            lines.append(StoryLine(fault.over_ns, "fault", "fault", over))
    return lines


def abridge(lines: list[StoryLine], most: int) -> list[StoryLine]:
    """Return ``lines``, beyond ``most`` without the later of those that matter least: info, then health.

    Faults, alarms, warnings and checks are never left out, however many they are.
    """
    excess = len(lines) - most
    left_out: set[int] = set()
    for sort in ("info", "health"):
        places = [place for place, line in enumerate(lines) if line.sort == sort]
        number = min(len(places), max(0, excess - len(left_out)))
        left_out.update(places[len(places) - number :])
    return [line for place, line in enumerate(lines) if place not in left_out]


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _header(summary: RunSummary) -> str:
    css, text = _verdict(summary)
    facts = [
        ("virtual time", format_duration(summary.duration_ns)),
        ("seed", str(summary.seed)),
        ("transport", summary.transport),
        ("trace", f"{summary.records} records"),
        ("versions", ", ".join(f"{name} {number}" for name, number in summary.versions.items())),
    ]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    wide = (
        f'<div class="wide"><dt>fault plan</dt><dd>{escape(summary.plan or "none")}</dd></div>'
        f'<div class="wide"><dt>trace hash</dt><dd class="hash">sha256:{summary.sha256}</dd></div>'
    )
    return (
        f'<header><div><p class="what">simulated run</p><h1>{escape(summary.scenario)}</h1></div>'
        f'<span class="verdict {css}">{escape(text)}</span></header>\n<dl class="facts">{items}{wide}</dl>\n'
    )


def _verdict(summary: RunSummary) -> tuple[str, str]:
    checks = summary.recorder.checks
    failed = sum(not check.ok for check in checks)
    if summary.error:
        return "bad", "ended early"
    if failed:
        return "bad", f"{failed} of {len(checks)} checks failed"
    if summary.stopped:
        return "none", summary.stopped
    return ("good", f"all {len(checks)} checks hold") if checks else ("none", "ran to the end, no checks")


def _drawings(summary: RunSummary) -> str:
    recorder = summary.recorder
    bands = health_bands(recorder.health, summary.duration_ns)
    if not (bands or summary.faults or recorder.events):
        return '<h2>Timeline</h2>\n<p class="empty">No connector, fault or event was recorded.</p>\n'
    drawing = timeline(bands, summary.faults, recorder.events, TimeAxis(summary.duration_ns))
    return f"<h2>Timeline</h2>\n{drawing}{_legend(bool(bands), bool(summary.faults))}{_health_table(bands)}"


def _legend(has_health: bool, has_faults: bool) -> str:
    states = ("Up", "Connecting", "Degraded", "Down") if has_health else ()
    names = [(state, state.lower()) for state in states] + ([("fault", "fault")] if has_faults else [])
    swatches = "".join(f'<span><i style="background:var(--{css})"></i>{name}</span>' for name, css in names)
    return f'<p class="legend">{swatches}<span>\u25b2 alarm</span><span>\u2502 warning, info</span></p>\n'


def _health_table(bands: dict[str, list[Band]]) -> str:
    if not bands:
        return ""
    states = ("Up", "Connecting", "Degraded", "Down")
    rows = []
    for connector, spans in bands.items():
        shares = [sum(end - begin for begin, end, state, _ in spans if state == name) for name in states]
        cells = "".join(f'<td class="number">{show_time(share) if share else ""}</td>' for share in shares)
        rows.append(f'<tr><td>{escape(connector)}</td>{cells}<td class="number">{len(spans) - 1}</td></tr>')
    heads = "".join(f'<th class="number">{name}</th>' for name in (*states, "changes"))
    return f"<details><summary>Time in each state</summary>{_table(f'<th>connector</th>{heads}', rows)}</details>\n"


def _signals(summary: RunSummary) -> str:
    axis = TimeAxis(summary.duration_ns)
    plots = [signal_plot(samples, summary.faults, axis) for samples in summary.recorder.signals.values()]
    drawn = "".join(plots)
    silent = [name for name, samples in summary.recorder.signals.items() if not samples.values]
    note = f'<p class="empty">Without a value in this run: {escape(", ".join(silent))}.</p>\n' if silent else ""
    return f"<h2>Signals</h2>\n{drawn}{note}" if drawn or note else ""


def _checks(summary: RunSummary) -> str:
    checks = summary.recorder.checks
    error = f"<p>The run ended early: {escape(summary.error)}</p>\n" if summary.error else ""
    if not checks:
        return f"<h2>Result</h2>\n{error}" if error else ""
    rows = [
        f'<tr class="{"good" if check.ok else "bad"}"><td class="time">{show_time(check.t_ns)}</td>'
        f'<td class="sort">{"holds" if check.ok else "failed"}</td><td>{escape(check.name)}</td>'
        f"<td>{escape(check.detail)}</td></tr>"
        for check in checks
    ]
    head = '<th class="time">at</th><th></th><th>check</th><th>found</th>'
    return f"<h2>Checks</h2>\n{error}{_table(head, rows)}"


def _happened(summary: RunSummary) -> str:
    lines = [line for line in story(summary) if line.sort != "check"]
    if not lines:
        return ""
    sorts = list(dict.fromkeys(line.sort for line in lines))
    choices = "".join(
        f'<label><input type="checkbox" value="{sort}" checked> {sort}</label>' for sort in sorts if len(sorts) > 1
    )
    rows = [
        f'<tr class="{line.css}" data-sort="{line.sort}"><td class="time">{show_time(line.t_ns)}</td>'
        f'<td class="sort">{line.sort}</td><td>{escape(line.text)}</td></tr>'
        for line in abridge(lines, _MOST_LINES)
    ]
    left_out = len(lines) - len(rows)
    note = f'<p class="empty">{left_out} lines (info, health) are not shown.</p>\n' if left_out else ""
    chooser = f'<p class="choose">{choices}</p>\n' if choices else ""
    table = _table('<th class="time">at</th><th></th><th></th>', rows)
    return f'<h2>What happened</h2>\n{chooser}<div class="scroll">{table}</div>{note}'


def _messages(summary: RunSummary) -> str:
    if not summary.messages:
        return ""
    rows = [
        f'<tr class="{"bad" if lost else ""}"><td>{escape(name)}</td><td class="number">{published}</td>'
        f'<td class="number lost">{lost}</td></tr>'
        for name, (published, lost) in summary.messages.items()
    ]
    head = '<th>channel</th><th class="number">published</th><th class="number">lost at a full reader</th>'
    return f"<h2>Messages</h2>\n{_table(head, rows)}"


def _trace(summary: RunSummary) -> str:
    never = "".join(_unfired(summary))
    rows = [
        f'<tr><td>{escape(path)}</td><td class="hash">{digest}</td></tr>'
        for path, digest in summary.component_hashes.items()
    ]
    parts = _table("<th>component</th><th>sha256 of its records</th>", rows)
    return (
        f'{never}<h2>Repeat this run</h2>\n<pre id="again">{escape(summary.reproduction)}</pre>\n'
        '<button data-copy="again" hidden>copy</button>\n'
        f"<details><summary>Hash of each component ({len(rows)})</summary>{parts}</details>\n"
    )


def _unfired(summary: RunSummary) -> Iterator[str]:
    if summary.unfired:
        items = (f"{entry.trigger()}: {entry.kind} at {entry.target}" for entry in summary.unfired)
        yield f'<h2>Faults that never began</h2>\n<p class="empty">{"<br>".join(map(escape, items))}</p>\n'


def _table(head: str, rows: Iterable[str]) -> str:
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>\n"
