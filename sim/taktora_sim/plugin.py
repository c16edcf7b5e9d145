"""The pytest side of simulated runs: failed items fail their test, seed and hash are evidence, a guard watches.

The seed (several: all of them, in order) and the trace hash (several Worlds: the hash of their hashes) go into the
test's ``user_properties``, where the traceability report finds them. A test that would pass fails if an item of one of
its Worlds raised or was faulted, unless that World tolerates it. With ``--sim-guard`` (ini: ``sim_guard``) code that
reaches for the real world is caught from the making of a World to its closing or the end of the test. Nothing is
imported and nothing is done for a test that makes no World.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taktora_sim.itemwatch import ItemFailure
    from taktora_sim.world import World

__all__ = [
    "pytest_addoption",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
]

_KEY = pytest.StashKey[tuple[str, str]]()
_FOLLOWED = pytest.StashKey["_Followed"]()
_GUARDS = ("raise", "warn", "redirect", "off")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the ini value that put tests under the escape guard."""
    text = "what happens to code that reads the wall clock and such while a simulated World is open"
    parser.getgroup("taktora").addoption("--sim-guard", choices=_GUARDS, help=f"{text} (default: off)")
    parser.addini("sim_guard", help=f"{text}: {', '.join(_GUARDS)}", default="off")


class _Followed:
    """The Worlds that one test and its fixtures make, and the guard of the latest."""

    def __init__(self, guard: str) -> None:
        self.worlds: list[World] = []
        self._guard = guard
        self._in_force = ExitStack()

    def add(self, world: World) -> None:
        self.worlds.append(world)
        if self._guard != "off":
            self._watch(world)

    def _watch(self, world: World) -> None:
        from taktora_sim.guard import EscapeGuard

        self._in_force.close()  # one at a time: both would answer the same calls
        guard = self._in_force.enter_context(EscapeGuard(world, self._guard))  # type: ignore[arg-type]
        world.on_close(guard.__exit__)

    def end(self) -> None:
        self._in_force.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Follow the Worlds that the test makes, from its fixtures on."""
    guard = _guard_of(item.config)
    module = sys.modules.get("taktora_sim.world")
    if module is not None:
        followed = item.stash[_FOLLOWED] = _Followed(guard)
        module.on_new_world.append(followed.add)
    return (yield)


def _guard_of(config: pytest.Config) -> str:
    guard: str = config.getoption("--sim-guard") or config.getini("sim_guard")
    if guard not in _GUARDS:
        msg = f"sim_guard = {guard!r} in {config.inipath}: expected one of {', '.join(_GUARDS)}"
        raise pytest.UsageError(msg)
    return guard


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Keep the evidence, and fail a test whose items have failed unnoticed."""
    followed = item.stash.get(_FOLLOWED, None)
    if followed is None:
        return (yield)
    try:
        outcome = yield
    finally:
        if followed.worlds:
            _keep(item, followed.worlds)
    _refuse_failed_items(followed.worlds)
    return outcome


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Follow no longer; the guard ends before other fixtures are taken down."""
    followed = item.stash.get(_FOLLOWED, None)
    if followed is not None:
        sys.modules["taktora_sim.world"].on_new_world.remove(followed.add)
        followed.end()
    return (yield)


def _refuse_failed_items(worlds: list[World]) -> None:
    module = sys.modules.get("taktora_sim.itemwatch")
    found = [] if module is None else [each for world in worlds for each in world.part(module.ItemFailures).unnoticed]
    if found:
        lines = "\n".join(map(_in_words, found))
        pytest.fail(
            f"{lines}\na test that provokes this says so: world.recorder.tolerates_item_errors = True", pytrace=False
        )


def _in_words(failure: ItemFailure) -> str:
    count = "" if failure.count == 1 else f", {failure.count} times in all"
    return f"not true: {failure.rule}; at {failure.first_ns / 1e9:.6f} s: {failure.what}{count}"


def _keep(item: pytest.Item, worlds: list[World]) -> None:
    seeds = ",".join(dict.fromkeys(str(world.seed) for world in worlds))
    hashes = [world.trace.sha256() for world in worlds]
    trace_hash = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    item.stash[_KEY] = (seeds, trace_hash)
    item.user_properties += [("seed", seeds), ("trace_hash", trace_hash)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failed simulated test with the command that repeats it (REQ_8009)."""
    report = yield
    if report.when == "call" and report.failed and _KEY in item.stash:
        seeds, trace_hash = item.stash[_KEY]
        command = shlex.join(["python", "-m", "pytest", item.nodeid])
        line = f"repeat it with: {command}  # seed {seeds}, trace sha256:{trace_hash}"
        report.sections.append(("Simulated run", line))
    return report
