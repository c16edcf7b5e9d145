"""A thread that runs one executor; it installs no signal handlers and swallows no error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Flag
from types import TracebackType
from typing import Self

from taktora.errors import RunnerJoinError
from taktora.executor.executor import Executor

__all__ = ["Runner", "RunnerFlags"]

_LOG = logging.getLogger("taktora.executor")


class RunnerFlags(Flag):
    """How a runner begins."""

    NONE = 0
    DEFERRED = 1
    """Wait for ``start``."""


class Runner:
    """Runs ``executor`` in a thread named ``taktora-runner``, once: an executor is single-use after ``stop``.

    As a context manager it stops at the end of the block, and raises the run's error unless another is under way.

    Args:
        executor: What to run.
        flags: ``DEFERRED`` leaves the start to ``start``.
        run: Another way to run it, for example ``lambda executor: executor.run_n(10)``.
    """

    def __init__(
        self,
        executor: Executor,
        flags: RunnerFlags = RunnerFlags.NONE,
        run: Callable[[Executor], None] = Executor.run,
    ) -> None:
        self._executor = executor
        self._run = run
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="taktora-runner", daemon=True)
        if RunnerFlags.DEFERRED not in flags:
            self.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; a second call is refused by ``threading`` with RuntimeError."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop the executor, wait for the thread and raise what its run raised; idempotent.

        Raises:
            RunnerJoinError: the thread still runs after ``timeout_s``.
        """
        self._executor.stop()
        self.join(timeout_s)

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the end of the run without asking for it; raises like ``stop``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise RunnerJoinError(f"executor {self._executor.name!r} still runs {timeout_s} s after it was to end")
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except Exception:
            if kind is None:
                raise
            _LOG.exception("executor %r failed while its runner was given up", self._executor.name)

    def _serve(self) -> None:
        try:
            self._run(self._executor)
        except BaseException as error:
            self._error = error
