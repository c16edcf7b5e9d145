"""Puts the baton's locks, clocks and threads where foreign programs reach for the real ones, and takes them away again.

Replaced are the parts written in C: the locks of ``threading``, ``queue.SimpleQueue``, the functions of ``time``, the
selectors' ``select``, and start, join and is_alive of ``threading.Thread``. Everything else (Condition, Event,
Semaphore, Barrier, Timer, Queue, futures, pools of threads, asyncio's loops) is Python built on them and stays itself.
Names bound before the block (``from time import sleep``) are rebound in the modules of the project and of the named
packages. For a thread that is not under the baton every replacement does what the real one does.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import datetime as dt
import functools
import itertools
import queue
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import FunctionType, ModuleType
from typing import Any, Final, Self

from taktora_sim.escapes import Scope, ScopeMap
from taktora_sim.foreign.baton import Baton
from taktora_sim.foreign.locks import BatonLock, BatonRLock, SignalLock, set_active
from taktora_sim.foreign.member import Instant, to_ns
from taktora_sim.redirect import virtual_names
from taktora_sim.standins import look_alike

__all__ = ["PACKAGES", "Patches"]

PACKAGES: Final = ("can", "canopen", "cantools", "isotp", "j1939", "udsoncan")
"""Packages whose names are rebound unless others are named."""

_LIBRARY: Final = frozenset({"queue", "sched"})
_NS_CLOCKS: Final = ("monotonic", "perf_counter", "process_time", "thread_time")
_SELECTORS: Final = ("SelectSelector", "PollSelector", "EpollSelector", "DevpollSelector", "KqueueSelector")


class Patches:
    """Replacements that are in place while the ``with`` block lasts.

    Args:
        baton: Who waits, and whose time passes.
        packages: Names of the packages in whose modules names are rebound.
    """

    def __init__(self, baton: Baton, packages: Iterable[str]) -> None:
        self._baton = baton
        self._packages = frozenset(packages) | _LIBRARY
        self._scopes = _scopes()
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        try:
            pairs = [*self._clocks(), *self._civil(), *self._locks()]
            known = {id(vars(module)[name]): stand_in for module, name, stand_in in pairs}
            self._rebind(known | self._dates())
            for module, name, stand_in in pairs:
                self._set(module, name, stand_in)
            self._set(threading, "_allocate_lock", SignalLock)
            self._set(threading, "_CRLock", BatonRLock)
            for module, name in ((threading, "_time"), (queue, "time")):
                self._set(module, name, self._exact_clock())
            self._restart_numbers()
            self._number_futures()
            self._patch_threads()
            self._patch_selectors()
            set_active(self._baton)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        set_active(None)
        while self._undo:
            self._undo.pop()()

    def _set(self, owner: Any, name: str, value: Any) -> None:
        before = vars(owner)[name]
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before))

    def _clocks(self) -> Iterator[tuple[ModuleType, str, Any]]:
        world = self._baton.world
        for name in _NS_CLOCKS:
            yield time, name, self._clock(name, lambda: world.now_ns() / 1e9)
            yield time, f"{name}_ns", self._clock(f"{name}_ns", world.now_ns)
        yield time, "time", self._clock("time", lambda: world.unix_ns() / 1e9)
        yield time, "time_ns", self._clock("time_ns", world.unix_ns)
        yield time, "sleep", self._sleep(time.sleep)

    def _clock(self, name: str, read: Callable[[], Any]) -> Callable[[], Any]:
        real = getattr(time, name)
        baton = self._baton

        @functools.wraps(real)
        def clock() -> Any:
            if baton.is_here():
                baton.poll()
                return read()
            return real()

        return clock

    def _exact_clock(self) -> Callable[[], Any]:
        """Return the clock by which conditions and queues work out how long they have still to wait."""
        real, baton, now_ns = time.monotonic, self._baton, self._baton.world.now_ns

        @functools.wraps(real)
        def clock() -> Any:
            return Instant(now_ns()) if baton.is_here() else real()

        return clock

    def _sleep(self, real: Callable[[float], None]) -> Callable[[float], None]:
        baton = self._baton

        @functools.wraps(real)
        def sleep(seconds: float, /) -> None:
            if not baton.is_here():
                real(seconds)
                return
            if seconds < 0:
                raise ValueError("sleep length must be non-negative")
            baton.sleep(to_ns(seconds))

        return sleep

    def _civil(self) -> Iterator[tuple[ModuleType, str, Any]]:
        """Yield the functions that read the clock when they are given no time; they give UTC then."""
        unix_ns, gmtime, asctime, strftime = self._baton.world.unix_ns, time.gmtime, time.asctime, time.strftime

        def now() -> time.struct_time:
            return gmtime(unix_ns() // 1_000_000_000)

        yield time, "localtime", self._without_time(time.localtime, 0, now)
        yield time, "gmtime", self._without_time(gmtime, 0, now)
        yield time, "asctime", self._without_time(asctime, 0, lambda: asctime(now()))
        yield time, "ctime", self._without_time(time.ctime, 0, lambda: asctime(now()))
        yield time, "strftime", self._without_time(strftime, 1, lambda form: strftime(form, now()))

    def _without_time(self, real: Callable[..., Any], place: int, now: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``real``, but ``now`` for calls that lack the time, which is argument ``place``."""
        baton = self._baton

        @functools.wraps(real)
        def read(*given: Any) -> Any:
            if not baton.is_here() or (len(given) > place and given[place] is not None):
                return real(*given)
            baton.poll()
            return now(*given[:place])

        return read

    def _dates(self) -> dict[int, Any]:
        """Return stand-ins for the classes whose class methods read the clock; only rebound, the module keeps them."""
        virtual = virtual_names(self._baton.world, lambda _call: None)["datetime"]
        return {id(real): self._date_class(real, virtual[real.__name__]) for real in (dt.datetime, dt.date)}

    def _date_class(self, real: type, virtual: type) -> type:
        baton = self._baton

        def either(name: str) -> Any:
            def read(*given: Any, **named: Any) -> Any:
                return getattr(virtual if baton.is_here() else real, name)(*given, **named)

            return staticmethod(read)

        return look_alike(real, **{name: either(name) for name in ("now", "utcnow", "today") if hasattr(real, name)})

    def _locks(self) -> Iterator[tuple[ModuleType, str, Any]]:
        yield threading, "Lock", BatonLock
        yield queue, "SimpleQueue", queue._PySimpleQueue  # type: ignore[attr-defined]  # noqa: SLF001 - on a Semaphore

    def _patch_threads(self) -> None:
        baton, thread = self._baton, threading.Thread
        alive = thread.is_alive

        @functools.wraps(alive)
        def is_alive(self: threading.Thread) -> bool:
            answer = baton.is_alive(self)
            return alive(self) if answer is None else answer

        @functools.wraps(thread.start)
        def start(self: threading.Thread) -> None:
            baton.start(self)

        @functools.wraps(thread.join)
        def join(self: threading.Thread, timeout: float | None = None) -> None:
            baton.join(self, timeout)

        for function in (is_alive, start, join):
            self._set(thread, function.__name__, function)

    def _number_futures(self) -> None:
        """Make sets of futures, which ``as_completed`` and ``wait`` go through, sets of numbers."""
        serial = itertools.count().__next__

        class NumberedFuture(Future[Any]):
            def __init__(self) -> None:
                super().__init__()
                self._serial = serial()

            def __hash__(self) -> int:
                return self._serial

        self._set(concurrent.futures._base, "Future", NumberedFuture)  # noqa: SLF001 - where pools take it from

    def _restart_numbers(self) -> None:
        """Number threads and pools that have no name from the start, as in a process of their own."""
        self._set(threading, "_counter", itertools.count(1).__next__)
        self._set(ThreadPoolExecutor, "_counter", itertools.count().__next__)

    def _patch_selectors(self) -> None:
        for name in _SELECTORS:
            kind = getattr(selectors, name, None)
            if kind is not None and "select" in vars(kind):
                self._set(kind, "select", self._select(kind.select))

    def _select(self, real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """Return ``select`` that waits in virtual time; what is ready is asked of the system before each event."""
        baton = self._baton

        @functools.wraps(real)
        def select(self: Any, timeout: float | None = None) -> list[Any]:
            if not baton.is_here():
                return real(self, timeout)
            found: list[Any] = []

            def ready() -> bool:
                found[:] = real(self, 0)
                return bool(found)

            baton.block(ready, None if timeout is None else to_ns(timeout))
            return found

        return select

    def _rebind(self, values: dict[int, Any]) -> None:
        """Bind stand-ins where modules, classes and defaults hold the real thing."""
        values = values | {id(_thread.allocate_lock): BatonLock, id(_thread.RLock): BatonRLock}
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", None)
            if isinstance(names, dict) and self._is_in_scope(names):
                self._rebind_names(names, values)
                for thing in list(names.values()):
                    if _is_of(thing, names):
                        self._rebind_inside(thing, values)

    def _is_in_scope(self, names: dict[str, Any]) -> bool:
        if str(names.get("__name__")).partition(".")[0] in self._packages:
            return True
        file = names.get("__file__")
        return isinstance(file, str) and self._scopes[file] is Scope.APPLICATION

    def _rebind_names(self, names: dict[str, Any], values: dict[int, Any]) -> None:
        for name, before in list(names.items()):
            if id(before) in values:
                names[name] = values[id(before)]
                self._undo.append(functools.partial(names.__setitem__, name, before))

    def _rebind_inside(self, thing: type | FunctionType, values: dict[int, Any]) -> None:
        if isinstance(thing, FunctionType):
            self._rebind_defaults(thing, values)
            return
        for name, value in list(vars(thing).items()):
            if id(value) in values:
                stand_in = values[id(value)]
                self._set(thing, name, staticmethod(stand_in) if isinstance(stand_in, FunctionType) else stand_in)
            elif isinstance(value, FunctionType):
                self._rebind_defaults(value, values)

    def _rebind_defaults(self, function: FunctionType, values: dict[int, Any]) -> None:
        defaults, named = function.__defaults__, function.__kwdefaults__
        if defaults is not None and any(id(value) in values for value in defaults):
            function.__defaults__ = tuple(values.get(id(value), value) for value in defaults)
            self._undo.append(functools.partial(setattr, function, "__defaults__", defaults))
        if named is not None and any(id(value) in values for value in named.values()):
            function.__kwdefaults__ = {name: values.get(id(value), value) for name, value in named.items()}
            self._undo.append(functools.partial(setattr, function, "__kwdefaults__", named))


@functools.cache
def _scopes() -> ScopeMap:
    """Return whose code each file holds; worked out once a process."""
    return ScopeMap()


def _is_of(thing: object, names: dict[str, Any]) -> bool:
    """Return whether a module with ``names`` has defined this class or function itself; other objects are not asked."""
    if type(thing) is FunctionType:
        return thing.__module__ == names.get("__name__")
    return issubclass(type(thing), type) and vars(thing).get("__module__") == names.get("__name__")
