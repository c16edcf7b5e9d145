"""What identifies a run on its page: scenario, seed, plan, hash, versions; read from the World when the run is over."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from signal import Signals
from typing import TYPE_CHECKING

from taktora_sim.plan import FaultEntry

if TYPE_CHECKING:
    from taktora_sim.faults import FiredFault
    from taktora_sim.report.recorder import RunRecorder
    from taktora_sim.world import World

__all__ = ["RunSummary"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One finished run.

    Args:
        scenario: As it was named on the command line.
        seed: Seed of the run.
        plan: Plan file, or in words where the plan came from.
        transport: What carried the messages.
        duration_ns: Virtual time at the end.
        sha256: Hash of the trace.
        records: Records in the trace.
        component_hashes: Hash by component path.
        messages: By service: published, lost.
        faults: Faults that fired.
        unfired: Faults of the plan that never began.
        recorder: Signals, events, health and checks.
        reproduction: The command that repeats the run.
        versions: Of Python and of what the run depends on.
        error: What ended the run early, in words; empty if nothing did.
        signal: Number of the signal by which the user stopped the run; 0 if nobody did.
    """

    scenario: str
    seed: int
    plan: str
    transport: str
    duration_ns: int
    sha256: str
    records: int
    component_hashes: dict[str, str]
    messages: dict[str, tuple[int, int]]
    faults: list[FiredFault]
    unfired: list[FaultEntry]
    recorder: RunRecorder
    reproduction: str
    versions: dict[str, str]
    error: str = ""
    signal: int = 0

    @property
    def ok(self) -> bool:
        """Whether every check held and nothing ended the run early."""
        return not self.error and not self.signal and all(check.ok for check in self.recorder.checks)

    @property
    def stopped(self) -> str:
        """When and by what the user stopped the run, in words; empty if nobody did."""
        return f"stopped at {self.duration_ns / 1e9:.6f} s by {Signals(self.signal).name}" if self.signal else ""

    @classmethod
    def of(
        cls,
        world: World,
        recorder: RunRecorder,
        *,
        scenario: str,
        plan: str = "",
        reproduction: str = "",
        error: str = "",
        signal: int = 0,
    ) -> RunSummary:
        """Return the summary of ``world`` as it stands."""
        return cls(
            scenario=scenario,
            seed=world.seed,
            plan=plan,
            transport=world.transport_name,
            duration_ns=world.now_ns(),
            sha256=world.trace.sha256(),
            records=world.trace.records,
            component_hashes=world.trace.component_hashes(),
            messages={name: (counts[0], counts[1]) for name, counts in sorted(_counts(world).items())},
            faults=list(world.faults.fired),
            unfired=world.faults.unfired(),
            recorder=recorder,
            reproduction=reproduction,
            versions=_versions(),
            error=error,
            signal=signal,
        )


def _counts(world: World) -> dict[str, list[int]]:
    """Return the message counts without opening a transport that the run did not need."""
    return world.transport.message_counts if "transport" in vars(world) else {}


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in ("taktora", "simpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
