"""The escape guard: what project code may not do in a simulated run, in every way of watching."""

from __future__ import annotations

# ruff: noqa: DTZ001, DTZ002, DTZ005, DTZ011
import datetime as dt
import functools
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import time as wall_time

import pytest

import taktora.clock
import taktora.errors
import taktora_sim.faults
import taktora_sim.world
from taktora_sim.escapes import Scope, ScopeMap
from taktora_sim.guard import EscapeError, EscapeGuard, EscapeWarning, GuardMode
from taktora_sim.watch import Watching
from taktora_sim.world import EPOCH_UNIX_NS, World

HERE = Path(__file__).name
WAYS: list[Watching] = ["imports", "profile"]
if sys.version_info >= (3, 12):
    WAYS.append("monitoring")
each_way = pytest.mark.parametrize("way", WAYS)


def where_monitoring_is(test: Callable[..., None]) -> Callable[..., None] | None:
    """Leave out a test of what an older Python has not; newer ones are tested in tests/sim/test_determinism.py too."""
    return test if sys.version_info >= (3, 12) else None


def start_a_thread() -> None:
    threading.Thread(target=len, args=("",)).start()


def start_a_subclass() -> None:
    Worker().start()


class Worker(threading.Thread):
    def run(self) -> None:
        """Do nothing."""


def sleep_a_little() -> None:
    time.sleep(1e-6)


ESCAPES: dict[str, Callable[[], object]] = {
    "time.time()": lambda: time.time(),
    "time.time() by from-import": lambda: wall_time(),
    "time.time_ns()": lambda: time.time_ns(),
    "time.monotonic()": lambda: time.monotonic(),
    "time.monotonic_ns()": lambda: time.monotonic_ns(),
    "time.perf_counter()": lambda: time.perf_counter(),
    "time.sleep()": sleep_a_little,
    "datetime.now()": lambda: dt.datetime.now(),
    "datetime.now() with a zone": lambda: dt.datetime.now(dt.UTC),
    "datetime.datetime.today()": lambda: dt.datetime.today(),
    "datetime.today()": lambda: dt.date.today(),
    "random.random()": lambda: random.random(),
    "random.randint()": lambda: random.randint(1, 6),
    "random.choice()": lambda: random.choice([1, 2]),
    "uuid.uuid1()": lambda: uuid.uuid1(),
    "uuid.uuid4()": lambda: uuid.uuid4(),
    "os.urandom()": lambda: os.urandom(4),
    "secrets.token_hex()": lambda: secrets.token_hex(4),
    "secrets.choice()": lambda: secrets.choice([1, 2]),
    "threading.Thread.start()": start_a_thread,
    "threading.Thread.start() of a subclass": start_a_subclass,
    "concurrent.futures.ThreadPoolExecutor()": lambda: ThreadPoolExecutor(1),
}


@contextmanager
def guarded(mode: GuardMode, way: Watching = "auto", seed: int = 0) -> Iterator[tuple[World, EscapeGuard]]:
    with World(seed) as world, EscapeGuard(world, mode, way) as guard:
        yield world, guard


@each_way
@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.verifies("REQ_8006")
def test_an_escape_raises_and_names_file_and_line(way: Watching, escape: str) -> None:
    call = ESCAPES[escape]

    with pytest.raises(EscapeError) as caught, guarded("raise", way):
        call()

    line = call.__code__.co_firstlineno
    assert any(f"{HERE}:{number}: " in str(caught.value) for number in (line, line + 1))
    assert " in a simulated run; " in str(caught.value)
    assert "()" in str(caught.value)


@each_way
@pytest.mark.verifies("REQ_8006")
def test_an_escape_in_an_event_ends_the_run_even_if_the_application_swallows_it(way: Watching) -> None:
    def item() -> None:
        try:
            time.time()
        except RuntimeError:
            return

    with guarded("raise", way) as (world, _guard):
        world.call_at(5, item)

        with pytest.raises(EscapeError, match=r"time\.time\(\)"):
            world.run_for(10)


@each_way
@pytest.mark.verifies("REQ_8006")
def test_warn_lets_the_call_pass_and_warns_once_a_place(way: Watching) -> None:
    def read() -> float:
        return time.time()

    with guarded("warn", way) as (_world, guard), pytest.warns(EscapeWarning, match=HERE) as warned:
        values = [read() for _ in range(3)]

    assert abs(values[-1] - time.time()) < 3600
    assert len(warned) == 1
    assert [escape.call for escape in guard.escapes] == ["time.time()"]


@each_way
@pytest.mark.verifies("REQ_8006")
def test_redirect_answers_with_virtual_time(way: Watching) -> None:
    with guarded("redirect", way) as (world, _guard):
        world.run_for(1_500_000_000)
        seen = (time.time_ns(), wall_time(), time.monotonic_ns(), time.perf_counter(), dt.datetime.now(dt.UTC))
        day = dt.date.today()
        is_date = isinstance(dt.datetime(2020, 1, 2), dt.datetime) and isinstance(day, dt.date)

    unix_ns = EPOCH_UNIX_NS + 1_500_000_000
    assert seen[:4] == (unix_ns, unix_ns / 1e9, 1_500_000_000, 1.5)
    assert seen[4].isoformat() == "2026-01-01T00:00:01.500000+00:00"
    assert (day, is_date) == (dt.date(2026, 1, 1), True)


@each_way
@pytest.mark.verifies("REQ_8006")
def test_redirect_draws_from_the_seed(way: Watching) -> None:
    def draw(seed: int) -> list[object]:
        with guarded("redirect", way, seed):
            import secrets as later

            return [uuid.uuid4(), os.urandom(8), secrets.token_hex(4), random.random(), later.token_bytes(2)]

    first, second, other = draw(1), draw(1), draw(2)

    assert first == second
    assert not any(one == two for one, two in zip(first, other, strict=True))


@pytest.mark.verifies("REQ_8006")
def test_redirect_gives_the_stand_in_to_imports_inside_functions() -> None:
    def read() -> int:
        from time import time_ns

        return time_ns()

    with guarded("redirect") as (world, _guard):
        seen = read()

        assert seen == world.unix_ns()


@pytest.mark.verifies("REQ_8006")
def test_imports_by_keyword_work_while_the_guard_lasts() -> None:
    with guarded("redirect"):
        text = b"caf\xe9".decode("cp1252")
        module = __import__("encodings.cp437", fromlist=["x"], level=0)

    assert (text, module.__name__) == ("caf\u00e9", "encodings.cp437")


@pytest.mark.verifies("REQ_8006")
def test_redirected_sleep_lets_virtual_time_pass_in_a_scenario_and_is_refused_in_an_item() -> None:
    with guarded("redirect") as (world, _guard):
        time.sleep(2.5)
        slept_ns = world.now_ns()
        world.call_after(1, sleep_a_little)

        with pytest.raises(EscapeError, match=r"time\.sleep\(\).*cyclic trigger"):
            world.run_for(10)

    assert slept_ns == 2_500_000_000


@each_way
@pytest.mark.verifies("REQ_8006")
def test_threads_cannot_be_redirected(way: Watching) -> None:
    with pytest.raises(EscapeError, match=r"runtime\.start\(executor\)"), guarded("redirect", way):
        start_a_thread()


@each_way
@pytest.mark.verifies("REQ_8006")
def test_third_parties_and_the_standard_library_are_exempt(way: Watching) -> None:
    with guarded("raise", way):
        name = pytest.approx(1.0)
        token = threading.Event().wait(1e-9)

    assert (name == 1.0, token) == (True, False)


@each_way
@pytest.mark.verifies("REQ_8006")
def test_seeded_and_own_generators_are_no_escape(way: Watching) -> None:
    with guarded("raise", way) as (world, _guard):
        own = random.Random(5).random()
        stream = world.stream("x").random()
        random.seed(5)
        seeded = random.random()

    assert own == seeded != stream


@pytest.mark.parametrize("mode", ["raise", "warn", "redirect"])
@pytest.mark.verifies("REQ_8002", "REQ_8006")
def test_the_global_generator_repeats_for_code_that_is_exempt(mode: GuardMode) -> None:
    def draw(seed: int) -> float:
        names: dict[str, float] = {}
        with guarded(mode, seed=seed):
            exec(compile("import random\nvalue = random.random()", "<third party>", "exec"), names)
        return names["value"]

    assert draw(1) == draw(1) != draw(2)


@where_monitoring_is
@pytest.mark.verifies("REQ_8006")
def test_without_a_free_tool_number_the_guard_says_so_and_leaves_nothing_behind() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    taken = [number for number in (2, 3, 4, 5) if monitoring.get_tool(number) is None]
    state = random.getstate()
    for number in taken:
        monitoring.use_tool_id(number, "test")
    try:
        with pytest.raises(RuntimeError, match=r"no tool number of sys\.monitoring is free"), guarded("redirect"):
            pass
    finally:
        for number in taken:
            monitoring.free_tool_id(number)

    assert (random.getstate(), time.time.__module__) == (state, "time")


@each_way
@pytest.mark.parametrize("mode", ["raise", "warn", "redirect"])
@pytest.mark.verifies("REQ_8006")
def test_everything_is_as_before_when_the_run_is_over(way: Watching, mode: GuardMode) -> None:
    def snapshot() -> tuple[object, ...]:
        names = dict(globals())
        return (sys.getprofile(), __import__, threading.Thread.start, random.getstate(), names, tools())

    def tools() -> list[object]:
        monitoring = getattr(sys, "monitoring", None)
        return [] if monitoring is None else [monitoring.get_tool(number) for number in range(6)]

    random.seed(2026)  # or the state might be what an earlier guard has left
    before = snapshot()

    with pytest.raises(ZeroDivisionError), guarded(mode, way):
        raise ZeroDivisionError

    assert snapshot() == before
    assert abs(time.time() - wall_time()) < 3600


@where_monitoring_is
@pytest.mark.verifies("REQ_8006")
def test_monitoring_sees_functions_kept_before_the_run() -> None:
    kept: list[Callable[[], float]] = [time.time, functools.partial(time.time)]

    def read(index: int, clock: Callable[[], float] = time.monotonic) -> float:
        return clock() if index < 0 else kept[index]()

    for index in (-1, 0, 1):
        with pytest.raises(EscapeError), guarded("raise", "monitoring"):
            read(index)


@where_monitoring_is
@pytest.mark.verifies("REQ_8006")
def test_monitoring_keeps_watching_a_call_site_that_was_harmless_once() -> None:
    def call(function: Callable[[], object]) -> object:
        return function()

    with guarded("raise", "monitoring"):
        call(dict)

        with pytest.raises(EscapeError):
            call(time.time)


@pytest.mark.verifies("REQ_8006")
def test_off_watches_nothing() -> None:
    with guarded("off") as (_world, guard):
        now = time.time()

    assert now > 0
    assert guard.escapes == []


@pytest.mark.verifies("REQ_8006")
def test_an_unknown_mode_is_refused_with_the_valid_ones() -> None:
    with World() as world, pytest.raises(ValueError, match="valid: raise, warn, redirect, off"):
        EscapeGuard(world, "loud")  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_8006")
def test_an_unknown_way_of_watching_is_refused_with_the_valid_ones() -> None:
    with World() as world, pytest.raises(ValueError, match="valid: auto, monitoring, profile, imports"):
        EscapeGuard(world, "raise", "stare")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "scope"),
    [
        pytest.param(__file__, Scope.APPLICATION, id="project"),
        pytest.param(threading.__file__, Scope.EXEMPT, id="standard-library"),
        pytest.param(pytest.__file__, Scope.EXEMPT, id="third-party"),
        pytest.param("<string>", Scope.EXEMPT, id="generated"),
        pytest.param(taktora.errors.__file__, Scope.FRAMEWORK, id="framework"),
        pytest.param(taktora.clock.__file__, Scope.EXEMPT, id="real-world-module"),
        pytest.param(taktora_sim.world.__file__, Scope.EXEMPT, id="world"),
        pytest.param(taktora_sim.faults.__file__, Scope.FRAMEWORK, id="simulation"),
    ],
)
@pytest.mark.verifies("REQ_8006")
def test_scope_tells_project_code_from_the_rest(file: str, scope: Scope) -> None:
    assert ScopeMap()[file] is scope
