"""The pytest side of worlds and gates: one test runs once per selected world it allows; it opens no device itself.

A test belongs to worlds in one of four ways: the marker `world("sim", "rig")` says so; or it uses the fixture
`world_name` (itself, or through a fixture that does) and then all worlds are allowed; or it has a `gate` and then
`hil` is meant; or it is a plain test, which belongs to `sim` and runs once, with an unchanged node id.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import pytest

from taktora_hil.arming import ARMED, BENCH
from taktora_hil.fixtures import FIXTURE_GATES, ethercat_bus, ethercat_machine, real_segment
from taktora_hil.worlds import GATED_WORLD, WORLDS, Needs, UnknownWorld, parse_worlds, why_not_run

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["ethercat_bus", "ethercat_machine", "real_segment", "world_name"]

_FIXTURE = "world_name"
_SELECTED = pytest.StashKey[tuple[str, ...]]()
_STRICT = pytest.StashKey[tuple[str, ...]]()
_SET_GATES = pytest.StashKey[tuple[tuple[str, str], ...]]()
_PROBLEMS = pytest.StashKey[dict[tuple[tuple[str, str], ...], str]]()
"""What is wrong with gates and their values, found once in a run: a test may take down an interface for a while."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of worlds."""
    group = parser.getgroup("taktora worlds")
    group.addoption(
        "--world",
        action="append",
        metavar="WORLD",
        help="world to run in: sim, rig or hil; repeatable or a comma list (default: sim)",
    )
    group.addoption(
        "--no-unrun",
        action="append",
        metavar="WORLD",
        help="turn every non-run in WORLD into a failure; repeatable or a comma list",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known and read which worlds are selected."""
    config.addinivalue_line("markers", "world(*names): the worlds in which this test may run")
    config.addinivalue_line("markers", "moves(*actuators): what this test moves or energises; in hil only when armed")
    config.addinivalue_line(
        "markers", "fault(*kinds): faults that this test needs; in hil from an injector of the bench"
    )
    config.addinivalue_line("markers", "gate(*variables): environment variables that a hil run of this test needs")
    problems: dict[tuple[tuple[str, str], ...], str] = {(): ""}
    config.stash[_PROBLEMS] = problems
    try:
        config.stash[_SELECTED] = parse_worlds(config.getoption("--world") or ["sim"])
        config.stash[_STRICT] = parse_worlds(config.getoption("--no-unrun") or [], "--no-unrun")
    except UnknownWorld as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def world_name(request: pytest.FixtureRequest) -> str:
    """Return the world that this test runs in: sim, rig or hil."""
    name: str = getattr(request, "param", "sim")
    return name


# req: REQ_8500
@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each selected world that the function allows; with none, one that will say why it cannot run."""
    needs = _needs(metafunc.definition, metafunc.fixturenames)
    if needs is None:
        return
    selected = metafunc.config.stash[_SELECTED]
    if _FIXTURE not in metafunc.fixturenames:
        metafunc.fixturenames.append(_FIXTURE)
    worlds = [world for world in needs.worlds if world in selected] or needs.worlds[:1]
    metafunc.parametrize(_FIXTURE, worlds, indirect=True, scope="session")


def _needs(item: pytest.Item, fixtures: list[str]) -> Needs | None:
    """Return what a test asks for, or None for a plain test; raises UsageError-like errors at the test's place."""
    gates = _named(item, "gate")
    gates += tuple(gate for name in fixtures for gate in FIXTURE_GATES.get(name, ()) if gate not in gates)
    wants = {"gates": gates, "moves": _named(item, "moves"), "faults": _named(item, "fault")}
    mark = item.get_closest_marker("world")
    if mark is not None:
        try:
            return Needs(parse_worlds([str(name) for name in mark.args], "@pytest.mark.world"), **wants)
        except UnknownWorld as error:
            raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from error
    if _FIXTURE in fixtures:
        return Needs(WORLDS, **wants)
    return Needs((GATED_WORLD,), **wants) if gates else None


def _named(item: pytest.Item, marker: str) -> tuple[str, ...]:
    """Return the arguments of all markers of one name, each once."""
    return tuple(dict.fromkeys(str(name) for mark in item.iter_markers(marker) for name in mark.args))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write the world into each test's properties, and skip, with the reason, what cannot run."""
    selected = config.stash[_SELECTED]
    for item in items:
        _place(item, selected)


def _place(item: pytest.Item, selected: tuple[str, ...]) -> None:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if _FIXTURE in parameters:
        needs = _needs(item, [_FIXTURE, *getattr(item, "fixturenames", ())]) or Needs()
        world = str(parameters[_FIXTURE])
        item.user_properties.append(("node_id", _without_world(item.nodeid, world)))
    else:  # a plain test, or one that pytest cannot parametrize, as a method of unittest.TestCase
        needs = _needs(item, []) or Needs()
        world = next((name for name in needs.worlds if name in selected), needs.worlds[0])
    item.user_properties.append(("world", world))
    try:
        reason = why_not_run(world, selected, needs, os.environ)
    except ValueError as error:  # a ConfigurationError: the bench file cannot be used
        raise pytest.UsageError(f"{BENCH}={os.environ.get(BENCH)}: {error}") from error
    if world == GATED_WORLD and world in selected:
        item.stash[_SET_GATES] = tuple((gate, os.environ[gate]) for gate in needs.gates if os.environ.get(gate))
    if reason:
        item.add_marker(pytest.mark.skip(reason=reason), append=False)
    elif world != "sim":
        item.user_properties.append(("fingerprint", _facts(world, needs)))


# req: REQ_8502
@pytest.hookimpl(wrapper=True, trylast=True)  # before the skips, which is why it wraps, and after pytest's own wrappers
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test one of whose gates names something that is not there, though it may open nothing or be left out."""
    gates = item.stash.get(_SET_GATES, ())
    known = item.config.stash[_PROBLEMS]
    if gates not in known:
        known[gates] = _problem(gates)
    if known[gates]:
        pytest.fail(known[gates], pytrace=False)
    yield


def _problem(gates: tuple[tuple[str, str], ...]) -> str:
    """Return what is wrong with the resources of gates."""
    from taktora_hil.gates import why_unusable  # when a gate is set: it looks at devices

    return why_unusable(dict(gates), os.environ)


# req: REQ_8503, REQ_8508
def _facts(world: str, needs: Needs) -> dict[str, str]:
    """Return what a result outside the simulation was got with; that it was armed is part of it."""
    armed = os.environ.get(ARMED) if world == GATED_WORLD and needs.moves else None
    return _kernel_and_versions() | ({"armed": f"{armed}: {', '.join(needs.moves)}"} if armed else {})


@cache
def _kernel_and_versions() -> dict[str, str]:
    from taktora_hil.fingerprint import fingerprint  # by the first test outside the simulation

    return fingerprint()


def _without_world(node_id: str, world: str) -> str:
    """Return the node id as it is in every world: `test_x[sim]` is `test_x`, `test_x[a-sim]` is `test_x[a]`."""
    for ending, rest in ((f"[{world}]", ""), (f"-{world}]", "]")):
        if node_id.endswith(ending):
            return node_id.removesuffix(ending) + rest
    return node_id


# req: REQ_8507
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a non-run into a failure where --no-unrun forbids it; the record still says that it did not run."""
    report = yield
    world = str(dict(item.user_properties).get("world", "sim"))
    if not report.skipped or world not in item.config.stash[_STRICT]:
        return report
    expected = getattr(report, "wasxfail", None)
    if expected is not None and not expected.startswith("[NOTRUN]"):
        return report
    reason = expected or (report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr))
    reason = reason.removeprefix("Skipped: ")
    if expected is not None:
        del report.wasxfail
    report.user_properties = [*report.user_properties, ("not_run", reason)]
    report.outcome = "failed"
    report.longrepr = f"--no-unrun {world}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a file that is skipped as a whole into a failure where --no-unrun is given."""
    report = yield
    strict = collector.config.stash[_STRICT]
    if report.skipped and strict:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"--no-unrun {','.join(strict)}: {reason.removeprefix('Skipped: ')}"
    return report
