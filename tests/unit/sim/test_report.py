"""The page of a run: self-contained, the same bytes for the same run, small, and true."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import partial
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.app.handles import Signal
from taktora.connector.health import Degraded, Down, HealthMonitor, Up
from taktora_sim import report
from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan
from taktora_sim.report import HealthChange, RunRecorder, RunSummary, Samples, render_page, write_page
from taktora_sim.report.drawing import health_bands, signal_plot, value_axis
from taktora_sim.report.page import story
from taktora_sim.report.scale import LEFT, RIGHT, WIDTH, TimeAxis, ValueAxis
from taktora_sim.world import World


class Step(IntEnum):
    REST = 0
    GRIP = 1
    LIFT = 2


S = 1_000_000_000
VOID = {"meta", "br", "line", "path", "rect", "input"}
PLAN = FaultPlan.of(
    FaultEntry(target="bus/bms", kind="silence", at_ns=2 * S, duration_ns=S),
    FaultEntry(target="bus/bms", kind="silence", milestone="never"),
)


def run(seed: int = 1, *, seconds: int = 6, ok: bool = True) -> RunSummary:
    """Return a run with something of everything."""
    with World(seed, plan=PLAN) as world:
        recorder = world.recorder
        silence = FaultKind(lambda _: None, lambda _: None, describe="the <sender> is silent")
        world.faults.target("bus/bms", {"silence": silence})
        monitor = HealthMonitor("vehicle", world)
        recorder.watch(monitor)
        speed = recorder.signal("speed & more", "km/h")
        recorder.signal("unused", "V")
        draws = world.stream("speed")

        def tick() -> None:
            speed(draws.integer(0, 100))
            world.call_after(10_000_000, tick)

        world.call_soon(tick)
        world.call_at(S, lambda: monitor.transition_to(Up()))
        world.call_at(2 * S + 5, lambda: recorder.event("no <frame> for 100 ms", "alarm"))
        world.call_at(2 * S + 5, lambda: monitor.transition_to(Degraded("no frames")))
        world.call_at(4 * S, lambda: monitor.transition_to(Down("given up", world.now_ns())))
        world.transport.message_counts["bms.in"] = [400, 3]
        world.run_for(seconds * S)
        recorder.check("it stops", ok, "after 100 ms")
    return RunSummary.of(
        world, recorder, scenario="demo/scenario.py", plan="plan.toml", reproduction="taktora sim run demo/scenario.py"
    )


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects what refers to the outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "poster")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in VOID:
            self.open.pop()
        if tag not in VOID:
            assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    return parser


@pytest.mark.verifies("REQ_8014")
def test_the_page_is_self_contained_and_well_formed() -> None:
    page = render_page(run())

    found = outline(page)
    assert found.open == []
    assert found.references == []
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.verifies("REQ_8014")
def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = [write_page(run(), tmp_path / name).read_bytes() for name in "ab"]

    assert pages[0] == pages[1]
    assert render_page(run(2)).encode() != pages[0]


@pytest.mark.verifies("REQ_8014")
def test_the_page_shows_what_identifies_the_run() -> None:
    summary = run()

    page = render_page(summary)

    for text in (
        "demo/scenario.py",
        "plan.toml",
        f"sha256:{summary.sha256}",
        "taktora sim run demo/scenario.py",
        ">6s<",
    ):
        assert text in page
    for path, digest in summary.component_hashes.items():
        assert f"<td>{escape(path)}</td>" in page
        assert digest in page


@pytest.mark.verifies("REQ_8014")
def test_the_page_shows_health_faults_events_signals_and_counts() -> None:
    page = render_page(run())

    assert "Degraded from 2.000000 s to 4.000000 s: no frames" in page
    assert "Down from 4.000000 s to 6.000000 s: given up" in page
    assert "2.000000 s: bus/bms: the &lt;sender&gt; is silent for 1s" in page
    assert "no &lt;frame&gt; for 100 ms" in page
    assert 'class="mark alarm"' in page
    assert "speed &amp; more" in page
    assert "Without a value in this run: unused." in page
    assert '<td>bms.in</td><td class="number">400</td><td class="number lost">3</td>' in page
    assert "at milestone never: silence at bus/bms" in page


@pytest.mark.parametrize(("ok", "verdict"), [(True, "all 1 checks hold"), (False, "1 of 1 checks failed")])
@pytest.mark.verifies("REQ_8014")
def test_the_verdict_follows_the_checks(ok: bool, verdict: str) -> None:
    assert verdict in render_page(run(ok=ok))


@pytest.mark.verifies("REQ_8014")
def test_a_run_with_nothing_recorded_has_a_page_too() -> None:
    with World() as world:
        world.run_for(5)
        summary = RunSummary.of(world, world.recorder, scenario="empty.py")

    page = render_page(summary)

    assert outline(page).open == []
    assert "No connector, fault or event was recorded." in page
    assert "ran to the end, no checks" in page


@pytest.mark.verifies("REQ_8014")
def test_the_story_is_in_order_with_the_cause_first() -> None:
    lines = story(run())

    assert [line.t_ns for line in lines] == sorted(line.t_ns for line in lines)
    assert [line.sort for line in lines] == ["health", "health", "fault", "alarm", "health", "fault", "health", "check"]


@pytest.mark.verifies("REQ_8014")
def test_a_minute_at_100_hz_stays_small() -> None:
    axis = TimeAxis(60 * S)
    samples = Samples("noise", "V")
    with World(5) as world:
        draws = world.stream("noise")
        for number in range(6_000):
            samples.add(number * 10_000_000, draws.uniform(-1, 1))

    assert len(signal_plot(samples, [], axis)) < 40_000


@given(st.lists(st.tuples(st.integers(0, 10 * S), st.floats(-1e9, 1e9)), min_size=1, max_size=400))
@pytest.mark.verifies("REQ_8014")
def test_thinning_out_keeps_the_extremes_in_the_drawing(points: list[tuple[int, float]]) -> None:
    samples = Samples("any", "")
    for t_ns, value in sorted(points, key=lambda point: point[0]):
        samples.add(t_ns, value)

    drawing = signal_plot(samples, [], TimeAxis(10 * S))

    axis = value_axis(samples)
    (path,) = re.findall(r'class="line" d="([^"]*)"', drawing)
    heights = [
        float(number) for number in re.findall(r"V(-?[\d.]+)|M[\d.]+ (-?[\d.]+)", path) for number in number if number
    ]
    assert min(heights) == pytest.approx(axis.y(max(samples.values)), abs=0.06)
    assert max(heights) == pytest.approx(axis.y(min(samples.values)), abs=0.06)
    places = [float(number) for number in re.findall(r"[HM](-?[\d.]+)", path)]
    assert all(LEFT <= place <= WIDTH - RIGHT for place in places)


@pytest.mark.verifies("REQ_8014")
def test_a_signal_without_new_values_for_long_is_dashed() -> None:
    samples = Samples("gap", "")
    for number in [*range(100), *range(300, 400)]:
        samples.add(number * 10_000_000, float(number))

    drawing = signal_plot(samples, [], TimeAxis(4 * S))

    (held,) = re.findall(r'class="held" d="([^"]*)"', drawing)
    begin, end = TimeAxis(4 * S).x(990_000_000), TimeAxis(4 * S).x(3 * S)
    assert [float(number) for number in re.findall(r"M([\d.]+) .*?H([\d.]+)", held)[0]] == pytest.approx(
        [begin, end], abs=1
    )


@pytest.mark.verifies("REQ_8014")
def test_many_samples_are_bounded_and_keep_their_extremes() -> None:
    samples = Samples("long", "")

    for number in range(300_000):
        samples.add(number, 1e6 if number == 77_777 else -1e6 if number == 200_001 else float(number % 7))

    assert len(samples.values) <= 131_072
    assert (max(samples.values), min(samples.values)) == (1e6, -1e6)
    assert list(samples.times_ns) == sorted(samples.times_ns)


@pytest.mark.verifies("REQ_8014")
def test_health_bands_cover_the_run_without_gaps() -> None:
    changes = [
        HealthChange(0, "a", "Connecting", ""),
        HealthChange(5, "a", "Up", ""),
        HealthChange(7, "b", "Down", "x"),
    ]

    bands = health_bands(changes, 10)

    assert bands == {"a": [(0, 5, "Connecting", ""), (5, 10, "Up", "")], "b": [(7, 10, "Down", "x")]}


@pytest.mark.verifies("REQ_8014")
def test_health_moves_are_in_the_trace_without_their_reasons() -> None:
    def digest(reason: str, *, moves: bool = True) -> str:
        with World() as world:
            monitor = HealthMonitor("vehicle", world)
            RunRecorder(world).watch(monitor)
            if moves:
                monitor.transition_to(Degraded(reason))
            return world.trace.sha256()

    assert digest("one") == digest("other") != digest("", moves=False)


@pytest.mark.verifies("REQ_8014")
def test_the_public_list_is_what_the_package_offers() -> None:
    offered = {name for name, value in vars(report).items() if not name.startswith("_") and callable(value)}

    assert offered == set(report.__all__)


def _samples(*values: tuple[int, float], signal: Signal | None = None) -> Samples:
    """Return what a run of 6 s recorded of one signal."""
    with World(1) as world:
        signal = signal or Signal("lamp")
        signal.attach(world.recorder)
        for t_ns, value in values:
            world.call_at(t_ns, partial(signal.set, value))
        world.run_for(6 * S)
        return world.recorder.signals[signal.name]


@pytest.mark.verifies("REQ_8014")
def test_a_boolean_has_both_its_values_on_the_axis_whichever_occurred() -> None:
    plot = signal_plot(_samples((S // 2, True)), [], TimeAxis(6 * S))

    assert re.findall(r'class="value"[^>]*>([^<]+)<', plot) == ["0", "1"]
    (line,) = re.findall(r'class="line" d="([^"]*)"', plot)
    axis = ValueAxis.boolean(10, 96)
    assert line.startswith(f"M{TimeAxis(6 * S).x(S // 2):.1f} {axis.y(1):.1f}V")


@pytest.mark.verifies("REQ_8014")
def test_an_initial_value_is_drawn_from_the_start_with_the_edge() -> None:
    samples = _samples((S // 2, True), signal=Signal("lamp", initial=False))
    plot = signal_plot(samples, [], TimeAxis(6 * S))

    assert list(zip(samples.times_ns, samples.values, strict=True)) == [(0, 0.0), (S // 2, 1.0)]
    (line,) = re.findall(r'class="line" d="([^"]*)"', plot)
    axis, x = ValueAxis.boolean(10, 96), TimeAxis(6 * S).x(S // 2)
    low, high = f"{axis.y(0):.1f}", f"{axis.y(1):.1f}"
    assert line == f"M{LEFT:.1f} {low}V{low}H{x:.1f}V{high}"


@pytest.mark.verifies("REQ_8014")
def test_numbers_and_enumerations_keep_an_axis_of_their_own() -> None:
    number = signal_plot(_samples((0, 2.5)), [], TimeAxis(6 * S))
    step = _samples((0, Step.REST), (S, Step.LIFT))
    named = signal_plot(step, [], TimeAxis(6 * S))

    assert re.findall(r'class="value"[^>]*>([^<]+)<', number) == ["2.4", "2.6"]
    assert step.labels == {0: "REST", 1: "GRIP", 2: "LIFT"}
    assert re.findall(r'class="named"[^>]*>([^<]+)<', named) == ["REST", "LIFT"]  # those that occurred
    assert "last LIFT" in named
    assert 'class="named"' not in number


@pytest.mark.verifies("REQ_8014")
def test_checks_and_what_happened_come_before_the_plots() -> None:
    page = render_page(run())

    assert re.findall(r"<h2>([^<]+)</h2>", page)[:4] == ["Timeline", "Checks", "What happened", "Signals"]
