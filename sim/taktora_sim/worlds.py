"""The sim world of an App's own command line (``app.main()``); the same run as ``taktora sim run``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, cast

from taktora_sim.console import LiveStory, conclude, observer_of, report_folder
from taktora_sim.faults import FaultPlan
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import app_scenario

if TYPE_CHECKING:
    from taktora.app import App
    from taktora.app.main import RunOptions
    from taktora_sim.guard import GuardMode

__all__ = ["run_sim"]


def run_sim(app: App, options: RunOptions) -> int:
    """Run ``app`` in a World, print what happened, and return the exit status: 0 ok, 1 the run failed.

    Raises:
        ConfigurationError: a file or name does not fit.
    """
    command = ["python", sys.argv[0], "--world", "sim"]
    for name, given in (("--machine", options.machine), ("--bench", options.bench)):
        command += [] if given is None else [name, given.as_posix()]
    scenario = app_scenario(app, app.name, tuple(command), machine=options.machine, bench=options.bench)
    live = None if options.rate is None else LiveStory()
    summary = play(
        scenario,
        PlayOptions(
            seed=options.seed or 0,
            duration_ns=options.duration_ns,
            plan=None if options.plan is None else FaultPlan.load(options.plan),
            plan_file="" if options.plan is None else options.plan.as_posix(),
            rate=options.rate,
            transport=cast('Literal["inprocess", "iceoryx2"]', options.transport or "inprocess"),
            guard=cast("GuardMode", options.guard or "raise"),
            trace_file=options.trace,
            keep_plan_in=report_folder(options.report),
            observe=observer_of(options.duration_ns, live),
        ),
    )
    return conclude(summary, options.report, live)
