"""Draws timeline and signal plots as inline SVG, thinned out to what the page's pixels can show; text in, text out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from statistics import median
from typing import TYPE_CHECKING

from taktora_sim.report.lanes import Group, end_ns, lanes
from taktora_sim.report.recorder import Event, HealthChange, Samples
from taktora_sim.report.scale import LEFT, RIGHT, WIDTH, TimeAxis, ValueAxis, show_time

if TYPE_CHECKING:
    from taktora_sim.faults import FiredFault

__all__ = ["Band", "health_bands", "signal_plot", "timeline", "value_axis"]

_ROW = 26
_BAR = 18
_PLOT_TOP = 10
_PLOT_BOTTOM = 96
_PLOT_HEIGHT = 116
_LINE_OF_TEXT = 10
_CHARACTER = 6.2
"""Width of a character of the smallest text, about."""

Band = tuple[int, int, str, str]
"""Begin and end in ns, state, reason."""


def health_bands(changes: Sequence[HealthChange], end_ns: int) -> dict[str, list[Band]]:
    """Return, by connector, the spans of its states up to the end of the run."""
    bands: dict[str, list[Band]] = {}
    for change in changes:
        own = bands.setdefault(change.connector, [])
        if own:
            begin_ns, _, state, reason = own[-1]
            own[-1] = (begin_ns, change.t_ns, state, reason)
        own.append((change.t_ns, end_ns, change.state, change.reason))
    return bands


def timeline(
    bands: dict[str, list[Band]], faults: Sequence[FiredFault], events: Sequence[Event], axis: TimeAxis
) -> str:
    """Return the drawing of health bands, fault bars and events over one time axis."""
    rows: list[str] = []
    for connector, spans in bands.items():
        rows.append(_row(len(rows), connector, "".join(_health(span, axis) for span in spans)))
    for target in dict.fromkeys(fault.entry.target for fault in faults):
        own = [fault for fault in faults if fault.entry.target == target]
        for number, lane in enumerate(lanes(own, axis)):
            label = target if number == 0 else ""
            rows.append(_row(len(rows), label, "".join(_group(group, axis) for group in lane)))
    if events:
        rows.append(_row(len(rows), "events", _ticks_of(events, axis)))
    height = len(rows) * _ROW + 34
    grid = _time_grid(axis, 4, height - 22)
    return _svg(height, grid + "".join(rows), "health, faults and events over virtual time", "timeline")


def value_axis(samples: Samples) -> ValueAxis:
    """Return the axis of a signal's values: 0 and 1 for one that is nothing else, else what occurred."""
    if samples.is_boolean:
        return ValueAxis.boolean(_PLOT_TOP, _PLOT_BOTTOM)
    return ValueAxis.around(min(samples.values), max(samples.values), _PLOT_TOP, _PLOT_BOTTOM)


def signal_plot(samples: Samples, faults: Sequence[FiredFault], axis: TimeAxis) -> str:
    """Return the plot of one signal: a step at each new value, dashed where none came for long, faults shaded."""
    if not samples.values:
        return ""
    values = value_axis(samples)
    parts = [_shade(fault, axis) for fault in faults]
    parts.append(_time_grid(axis, _PLOT_TOP, _PLOT_BOTTOM))
    parts.append(_value_grid(_value_ticks(samples, values)))
    fresh, held = _paths(samples, axis, values)
    parts.append(f'<path class="held" d="{held}"/>' if held else "")
    parts.append(f'<path class="line" d="{fresh}"/>')
    parts.append(_names_of_values(samples, values))
    parts.append(_plot_label(samples))
    data = f' data-low="{values.low!r}" data-high="{values.high!r}" data-unit="{escape(samples.unit)}"'
    if samples.labels:
        data += f' data-labels="{escape(json.dumps(samples.labels))}"'
    return _svg(_PLOT_HEIGHT, "".join(parts), f"{samples.name} over virtual time", "plot", data)


def _svg(height: int, content: str, label: str, kind: str, data: str = "") -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}"{data}>'
        f'{content}<line class="hair" x1="0" x2="0" y1="0" y2="{height - 18}"/></svg>\n'
    )


def _row(number: int, label: str, content: str) -> str:
    y = 8 + number * _ROW
    shown = label if len(label) <= 25 else f"\u2026{label[-24:]}"
    title = f"<title>{escape(label)}</title>"
    return (
        f'<g transform="translate(0 {y})"><text class="label" x="{LEFT - 10}" y="13">{title}{escape(shown)}</text>'
        f"{content}</g>\n"
    )


def _bar(begin_ns: int, end_ns: int, css: str, text: str, title: str, axis: TimeAxis) -> str:
    x = axis.x(begin_ns)
    width = max(2.0, axis.x(end_ns) - x)
    fits = text and len(text) * _CHARACTER + 8 < width
    inside = f'<text x="{x + 5:.1f}" y="13">{escape(text)}</text>' if fits else ""
    return (
        f'<g class="bar {css}"><title>{escape(title)}</title>'
        f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="{_BAR}" rx="2"/>{inside}</g>'
    )


def _health(span: Band, axis: TimeAxis) -> str:
    begin_ns, end_ns, state, reason = span
    because = f": {reason}" if reason else ""
    title = f"{state} from {show_time(begin_ns)} to {show_time(end_ns)}{because}"
    return _bar(begin_ns, end_ns, state.lower(), f"{state}{because}", title, axis) + _short_text(span, axis)


def _short_text(span: Band, axis: TimeAxis) -> str:
    """Return the bare state where the reason does not fit and the state does."""
    begin_ns, end_ns, state, reason = span
    width = axis.x(end_ns) - axis.x(begin_ns)
    if not reason or len(f"{state}: {reason}") * _CHARACTER + 8 < width or len(state) * _CHARACTER + 8 >= width:
        return ""
    return f'<g class="bar {state.lower()}"><text x="{axis.x(begin_ns) + 5:.1f}" y="13">{escape(state)}</text></g>'


def _group(group: Group, axis: TimeAxis) -> str:
    """Return the bars of faults of one kind, and their name; the name is the last, so that no bar hides it."""
    return "".join(_fault(fault, axis) for fault in group.faults) + _name_of(group)


def _fault(fault: FiredFault, axis: TimeAxis) -> str:
    title = f"{show_time(fault.started_ns)}: {fault.sentence}"
    return _bar(fault.started_ns, end_ns(fault, axis), "fault", "", title, axis)


def _name_of(group: Group) -> str:
    x, style = group.begin + 5, ""
    if group.place == "after":
        x = group.end + 6
    elif group.place == "before":
        x, style = group.begin - 6, ' style="text-anchor:end"'
    plate = f'<rect class="plate" x="{x - 3:.1f}" y="2" width="{group.name_width + 4:.1f}" height="14" rx="2"/>'
    name = f'<text class="{group.place}" x="{x:.1f}" y="13"{style}>{escape(group.name)}</text>'
    return plate + name if group.place == "over" else name


def _shade(fault: FiredFault, axis: TimeAxis) -> str:
    x = axis.x(fault.started_ns)
    width = max(1.0, axis.x(end_ns(fault, axis)) - x)
    return (
        f'<rect class="shade" x="{x:.1f}" y="{_PLOT_TOP}" width="{width:.1f}" height="{_PLOT_BOTTOM - _PLOT_TOP}">'
        f"<title>{escape(fault.sentence)}</title></rect>"
    )


def _ticks_of(events: Sequence[Event], axis: TimeAxis) -> str:
    """Return one mark an event; of several at one pixel and of one severity the first speaks for all."""
    groups: dict[tuple[int, str], list[Event]] = {}
    for event in events:
        groups.setdefault((round(axis.x(event.t_ns)), event.severity), []).append(event)
    marks = sorted(groups.items(), key=lambda group: (_RANKS[group[0][1]], group[0][0]))
    return "".join(_mark(x, severity, group) for (x, severity), group in marks)


_RANKS = {"info": 0, "warning": 1, "alarm": 2}


def _mark(x: int, severity: str, events: list[Event]) -> str:
    more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
    title = f"{show_time(events[0].t_ns)}: {events[0].text}{more}"
    shape = f"M{x - 4} 16L{x} 3L{x + 4} 16Z" if severity == "alarm" else f"M{x - 1} 2h2v14h-2Z"
    return f'<path class="mark {severity}" d="{shape}"><title>{escape(title)}</title></path>'


def _time_grid(axis: TimeAxis, top: int, bottom: int) -> str:
    parts = []
    for x, label in axis.ticks():
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        anchor = ' style="text-anchor:end"' if x > WIDTH - RIGHT - 12 else ""
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 14}"{anchor}>{label}</text>')
    return "".join(parts)


def _value_grid(ticks: Iterable[tuple[float, str]]) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="value" x="{LEFT - 6}" y="{y + 3.5:.1f}">{label}</text>'
        for y, label in ticks
    )


def _value_ticks(samples: Samples, values: ValueAxis) -> Iterable[tuple[float, str]]:
    if samples.is_boolean:
        return [(values.y(value), str(value)) for value in (0, 1)]
    return values.ticks()


def _names_of_values(samples: Samples, values: ValueAxis) -> str:
    """Return the names of the values that occurred, at the left end of the plot; none where two would overlap."""
    places = [
        (values.y(value), samples.labels[value])
        for value in sorted(set(map(int, samples.values)) & set(samples.labels))
    ]
    if any(below - above < _LINE_OF_TEXT for (below, _), (above, _) in itertools.pairwise(places)):
        return ""
    return "".join(f'<text class="named" x="{LEFT + 5}" y="{y - 3:.1f}">{escape(name)}</text>' for y, name in places)


def _plot_label(samples: Samples) -> str:
    low, high = min(samples.values), max(samples.values)
    unit = f" {samples.unit}" if samples.unit else ""
    spread = f"{low:.4g} \u2026 {high:.4g}{unit}"
    name = samples.name if len(samples.name) <= 23 else f"{samples.name[:22]}\u2026"
    last = samples.labels.get(int(samples.values[-1]), f"{samples.values[-1]:.4g}{unit}")
    lines = [("name", name), ("spread", spread), ("spread", f"last {last}")]
    texts = (
        f'<text class="{css}" x="2" y="{22 + 17 * row}">{escape(text)}</text>' for row, (css, text) in enumerate(lines)
    )
    return "".join(texts) + '<text class="readout" x="2" y="80"></text>'


def _paths(samples: Samples, axis: TimeAxis, values: ValueAxis) -> tuple[str, str]:
    """Return the path of the signal and the path of the stretches without a new value for long."""
    times_ns = samples.times_ns
    gaps = [after - before for before, after in itertools.pairwise(times_ns)]
    long_ns = max(5 * median(gaps), axis.duration_ns / 200) if gaps else axis.duration_ns
    fresh: list[str] = []
    held: list[str] = []
    last_x, last_y = -1.0, 0.0
    for begin_ns, points in _columns(samples, axis):
        x = axis.x(begin_ns)
        places = [values.y(value) for value in points]
        if last_x < 0 or axis.duration_ns * (x - last_x) / (WIDTH - LEFT - RIGHT) > long_ns:
            if last_x >= 0:
                held.append(f"M{last_x:.1f} {last_y:.1f}H{x:.1f}")
            fresh.append(f"M{x:.1f} {places[0]:.1f}")
        else:
            fresh.append(f"H{x:.1f}")
        fresh += [f"V{y:.1f}" for y in places]
        last_x, last_y = x, places[-1]
    end_x = axis.x(axis.duration_ns)
    if end_x - last_x > 1:
        held.append(f"M{last_x:.1f} {last_y:.1f}H{end_x:.1f}")
    return "".join(fresh), "".join(held)


def _columns(samples: Samples, axis: TimeAxis) -> Iterator[tuple[int, list[float]]]:
    """Yield instant and values to draw: each sample by itself, or first, extremes and last of each pixel."""
    group: list[float] = []
    column, begin_ns = -1, 0
    for t_ns, value in zip(samples.times_ns, samples.values, strict=True):
        place = int(axis.x(t_ns))
        if place != column and group:
            yield begin_ns, _outline(group)
            group = []
        if not group:
            column, begin_ns = place, t_ns
        group.append(value)
    if group:
        yield begin_ns, _outline(group)


def _outline(group: Sequence[float]) -> list[float]:
    outline = [group[0], min(group), max(group), group[-1]]
    return list(_without_repeats(outline))


def _without_repeats(values: Iterable[float]) -> Iterator[float]:
    last: float | None = None
    for value in values:
        if value != last:
            yield value
        last = value
