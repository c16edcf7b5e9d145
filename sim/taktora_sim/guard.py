"""The escape guard: in a simulated run, project code that reaches for the real world is caught; it patches no module.

Watched are calls made *by* code of the project and of taktora's simulated parts; the standard library, third parties
and taktora's real back-ends may do what they like. An application that is installed into site-packages counts as a
third party; an editable install does not. Three ways of watching:

* ``monitoring`` (Python 3.12 and later): call events of ``sys.monitoring``, whatever name the function was reached by
  (``from time import time``, a default argument, an attribute, ``functools.partial``). Call sites of other people's
  code and of taktora itself are switched off at their first call, those that call a harmless function by its own name
  (``len(x)``, ``data.append(x)``) too; a call site where a variable holds the function stays watched.
* ``profile`` (any Python): ``sys.setprofile``, with the same view and at the cost of a Python call per call and return.
* ``imports`` (what Python 3.11 does unless asked for ``profile``): project modules see stand-ins for ``time``,
  ``datetime``, ``random``, ``uuid``, ``os`` and the like while the run lasts, and ``Thread.start`` looks at its caller.
  It costs nothing, and misses functions kept in attributes, default arguments and classes before the run began.

In every mode but ``off`` the global generator of ``random`` is seeded for the run and gets its state back afterwards,
so that third parties that draw from it repeat; once the project has called ``random.seed`` it may draw from it too.

Inside ``world.foreign_threads()`` foreign programs may do what they like with time and threads, which are virtual
there; items and models that the World steps meanwhile are watched as ever.

What no way of watching sees: calls from C code (``map(time.time, ...)``, ``sorted(key=...)``), what a third-party
library or an extension module does inside, waiting on locks, events and sockets, the order of sets, ``hash(str)`` and
``id``, and the host's files, environment and locale. The meta-test and ``taktora sim diff`` are for those.
"""

from __future__ import annotations

import random
import sys
import threading
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from taktora.errors import TaktoraError
from taktora_sim.escapes import SEEDING, SLEEP_ADVICE, Rule, ScopeMap
from taktora_sim.redirect import virtual_names
from taktora_sim.watch import Watch, Watching, make_watches

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Escape", "EscapeError", "EscapeGuard", "EscapeWarning", "GuardMode", "Watching"]

GuardMode: TypeAlias = Literal["raise", "warn", "redirect", "off"]


class EscapeError(TaktoraError, RuntimeError):
    """Project code reached for the real world in a simulated run; the message says where, for what and the way out."""


class EscapeWarning(UserWarning):
    """The same, in a run that only warns."""


@dataclass(frozen=True, slots=True)
class Escape:
    """One place in project code that leads out of the simulation."""

    file: str
    line: int
    call: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.call} in a simulated run; {self.advice}"


# req: REQ_8006
class EscapeGuard:
    """Watches project code while the ``with`` block lasts.

    Args:
        world: The run; it is failed by an escape, so that a swallowed exception does not hide it.
        mode: ``raise`` an :class:`EscapeError`, ``warn`` once a place, ``redirect`` to virtual time and seeded random
            bits what can be (threads and processes still raise), or ``off``.
        watching: How, see the module; ``auto`` is ``monitoring``, on Python 3.11 ``imports``.
    """

    def __init__(self, world: World, mode: GuardMode = "raise", watching: Watching = "auto") -> None:
        if mode not in ("raise", "warn", "redirect", "off"):
            msg = f"guard mode {mode!r} is unknown; valid: raise, warn, redirect, off"
            raise ValueError(msg)
        self.mode = mode
        self.escapes: list[Escape] = []
        """Every place found, once."""
        self._world = world
        self._scopes = ScopeMap()
        self._thread = 0
        self._watches = [] if mode == "off" else self._make_watches(watching)
        self._in_force = ExitStack()
        self._random_state: tuple[object, ...] | None = None
        self._is_seeded = mode == "redirect"

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        if self.mode != "off":
            self._random_state = random.getstate()
            random.seed(self._world.stream("guard/random").getrandbits(128))
        try:
            for watch in self._watches:
                watch.install()
                self._in_force.callback(watch.remove)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self._in_force.close()
        finally:
            if self._random_state is not None:
                random.setstate(self._random_state)
                self._random_state = None

    def _make_watches(self, watching: Watching) -> list[Watch]:
        virtual = virtual_names(self._world, self._refuse_sleep) if self.mode == "redirect" else {}
        return make_watches(watching, self._scopes, self._report, virtual)

    def _refuse_sleep(self, call: str) -> None:
        """Fail the run: time cannot pass in the middle of an item."""
        frame = sys._getframe(2)  # noqa: SLF001 - the caller of the stand-in
        self._fail(Escape(frame.f_code.co_filename, frame.f_lineno, call, SLEEP_ADVICE))

    def _report(self, rule: Rule, file: str, line: int) -> None:
        """Act on one call that leads out; called by the watch, on the thread of the caller."""
        if not self._is_watched_now():
            return
        if rule.name == SEEDING:
            self._is_seeded = True
        elif rule.only_self is None or not self._is_seeded:
            self._act(Escape(file, line, rule.name, rule.advice))

    def _is_watched_now(self) -> bool:
        """Return whether the calling thread is in the simulated run.

        Inside ``world.foreign_threads()`` that is whoever steps the World; foreign programs themselves have threads,
        and all they get to see of the clock is virtual.
        """
        if self._world.foreign.is_active:
            return self._world.is_stepping and self._world.foreign.is_here()
        return threading.get_ident() == self._thread

    def _act(self, escape: Escape) -> None:
        is_new = escape not in self.escapes
        if is_new:
            self.escapes.append(escape)
        if self.mode != "warn":
            self._fail(escape)
        if is_new:
            warnings.warn_explicit(str(escape), EscapeWarning, escape.file, escape.line)

    def _fail(self, escape: Escape) -> None:
        error = EscapeError(str(escape))
        self._world.fail(error)
        raise error
