"""The system world of an App: wall clock, threads, shared memory and real interfaces; ends on SIGINT and SIGTERM."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, cast

from taktora.connector.health import Down
from taktora.errors import ConfigurationError
from taktora.executor.signals import stop_on_signals
from taktora.runtime import Runtime

if TYPE_CHECKING:
    from taktora.app.app import App
    from taktora.app.bound import BoundApp
    from taktora.app.main import RunOptions

__all__ = ["run_system"]


def run_system(app: App, options: RunOptions) -> int:
    """Run ``app`` until its time is over or a signal asks it to stop.

    Returns:
        0, or 1 when an item failed unexpectedly, or a task was faulted or a connector down at the end.

    Raises:
        ConfigurationError: an option that only a simulated run has.
    """
    for name, given in (
        ("--plan", options.plan),
        ("--report", options.report),
        ("--rate", options.rate),
        ("--seed", options.seed),
        ("--trace", options.trace),
        ("--guard", options.guard),
    ):
        if given is not None:
            msg = f"{name} belongs to a simulated run; add --world sim or leave it out"
            raise ConfigurationError(msg)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    transport = cast('Literal["auto", "iceoryx2", "inprocess"]', options.transport or "auto")
    runtime = Runtime.system(transport=transport)
    try:
        bound = app.bind(runtime, machine=options.machine, bench=options.bench)
        try:
            bound.run(options.duration_ns)
            troubles = [*bound.troubles, *_connectors_down(bound)]
        finally:
            with _deaf_to_signals():
                bound.close()
    finally:
        runtime.close()
    for trouble in troubles:
        logging.getLogger("taktora.app").error("%s", trouble)
    return 1 if troubles else 0


def _deaf_to_signals() -> AbstractContextManager[None]:
    """Return what keeps another SIGTERM, and one SIGINT, from cutting the end short; a second SIGINT ends all."""
    return stop_on_signals(()) if threading.current_thread() is threading.main_thread() else nullcontext()


def _connectors_down(bound: BoundApp) -> list[str]:
    """Return which connectors are down, and why: an application without its bus has not done its work."""
    health = bound.health.items()
    return [f"{name} is down at the end: {each.reason}" for name, each in health if isinstance(each, Down)]
