"""What leads out of a simulated run and whose code may not do it: tables only; nothing here is called or patched."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import datetime as dt
import multiprocessing
import os
import random
import secrets
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import taktora
import taktora_sim

__all__ = ["CLOCK_METHODS", "RULES", "SEEDING", "SLEEP_ADVICE", "Rule", "Scope", "ScopeMap"]

_CLOCK = "read the clock you were given: ctx.now_ns in an item, runtime.clock.now_ns() or unix_ns() elsewhere"
SLEEP_ADVICE: Final = (
    "never wait inside an item: use a cyclic trigger or a deadline; a scenario calls world.run_for(ns)"
)
_RANDOM = "draw from runtime.entropy, or in a model from world.stream(path)"
_NAMES = "take runtime.entropy.name(prefix), or runtime.entropy.getrandbits(bits)"
_THREADS = "let an executor do it and start it by runtime.start(executor); a model uses world.process(generator)"
_PROCESSES = "a simulated run cannot see other processes; put what they do behind a seam with a simulated back-end"


SEEDING: Final = "random.seed()"
"""Name of the one rule that is no escape: from this call on the functions of ``random`` may be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One call that leads out.

    Args:
        name: As people write it.
        advice: What to use in its place.
        target: What is called.
        only_self: The call counts only on this instance (the hidden one behind the functions of ``random``).
        bare: The call counts only without arguments (``random.Random()``, ``time.localtime()``).
    """

    name: str
    advice: str
    target: Any
    only_self: object = None
    bare: bool = False


def _functions(module: Any, names: str, advice: str, *, bare: bool = False) -> Iterator[Rule]:
    for name in names.split():
        target = getattr(module, name, None)
        if target is not None:
            yield Rule(f"{module.__name__}.{name}()", advice, target, bare=bare)


def _global_random() -> Iterator[Rule]:
    hidden = random._inst  # noqa: SLF001 - the generator behind random.random()
    for name in random.__all__:
        bound = getattr(random, name)
        if getattr(bound, "__self__", None) is hidden and name not in {"seed", "getstate", "setstate"}:
            yield Rule(f"random.{name}()", _RANDOM, getattr(bound, "__func__", bound), only_self=hidden)
    yield Rule(SEEDING, "", random.Random.seed, only_self=hidden)


def _rules() -> Iterator[Rule]:
    clocks = "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns"
    yield from _functions(time, f"{clocks} thread_time thread_time_ns clock_gettime clock_gettime_ns", _CLOCK)
    yield from _functions(time, "localtime gmtime ctime asctime", _CLOCK, bare=True)
    yield from _functions(time, "sleep", SLEEP_ADVICE)
    yield from _global_random()
    yield from _functions(random, "Random", _RANDOM, bare=True)
    yield from _functions(random, "SystemRandom", _RANDOM)
    yield from _functions(uuid, "uuid1 uuid4 uuid6 uuid7 uuid8 getnode", _NAMES)
    yield from _functions(os, "urandom getrandom", _NAMES)
    yield from _functions(secrets, "token_bytes token_hex token_urlsafe randbelow", _NAMES)
    for name in ("choice", "randbits"):
        bound: Any = getattr(secrets, name)
        yield Rule(f"secrets.{name}()", _NAMES, bound.__func__, only_self=bound.__self__)
    yield Rule("threading.Thread.start()", _THREADS, threading.Thread.start)
    yield from _functions(_thread, "start_new_thread start_joinable_thread", _THREADS)
    yield from _functions(concurrent.futures, "ThreadPoolExecutor", _THREADS)
    yield from _functions(asyncio, "run sleep", _THREADS)
    yield from _functions(concurrent.futures, "ProcessPoolExecutor", _PROCESSES)
    yield Rule("multiprocessing.Process.start()", _PROCESSES, multiprocessing.Process.start)
    yield from _functions(os, "fork", _PROCESSES)
    yield from _functions(subprocess, "Popen run call check_call check_output", _PROCESSES)


RULES: Final = tuple(_rules())
"""Every call that leads out, but for the methods in :data:`CLOCK_METHODS`."""

CLOCK_METHODS: Final = {
    name: Rule(f"datetime.{name}()", _CLOCK, getattr(dt.datetime, name)) for name in ("now", "utcnow", "today")
}
"""Class methods of ``datetime`` and ``date``, and of what derives from them, by name."""


class Scope(IntEnum):
    """Whose code a file holds."""

    EXEMPT = 0
    """The standard library, third parties, and the modules of taktora that are made for the real world."""
    FRAMEWORK = 1
    """The rest of taktora."""
    APPLICATION = 2
    """Everything else: the project under test."""


_REAL_WORLD = (
    "taktora/app/system.py",
    "taktora/can/socketcan.py",
    "taktora/cli/",
    "taktora/clock.py",
    "taktora/executor/portable.py",
    "taktora/executor/waitset.py",
    "taktora/runtime.py",
    "taktora/testing/",
    "taktora/traceability/",
    "taktora/transport/iceoryx.py",
    "taktora_sim/cli.py",
    "taktora_sim/console.py",
    "taktora_sim/escapes.py",
    "taktora_sim/foreign",
    "taktora_sim/guard.py",
    "taktora_sim/pace.py",
    "taktora_sim/play.py",
    "taktora_sim/redirect.py",
    "taktora_sim/report/",
    "taktora_sim/standins.py",
    "taktora_sim/watch.py",
    "taktora_sim/world.py",
)
"""Modules of ours that may read the wall clock: real back-ends, and what drives a run from outside."""


class ScopeMap(dict[str, Scope]):
    """The scope of each file name; worked out once a file."""

    def __init__(self) -> None:
        super().__init__()
        self._packages = [_folder(taktora), _folder(taktora_sim)]
        paths = sysconfig.get_paths()
        self._library = tuple(f"{paths[name]}{os.sep}" for name in ("stdlib", "platstdlib"))

    def __missing__(self, file: str) -> Scope:
        scope = self[file] = self._find(file)
        return scope

    def _find(self, file: str) -> Scope:
        for folder in self._packages:
            if file.startswith(f"{folder}{os.sep}"):
                within = Path(file).relative_to(folder.parent).as_posix()
                return Scope.EXEMPT if within.startswith(_REAL_WORLD) else Scope.FRAMEWORK
        is_foreign = "site-packages" in file or "dist-packages" in file or file.startswith(self._library)
        return Scope.EXEMPT if is_foreign or file.startswith("<") else Scope.APPLICATION


def _folder(package: Any) -> Path:
    return Path(package.__file__).parent
