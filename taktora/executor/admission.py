"""The cold-start admission gate: what a check is told and what it answers; the loop asks it before any dispatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Admission", "AdmissionContext", "AdmissionFault"]


@dataclass(frozen=True, slots=True)
class AdmissionFault:
    """Why an executor may not run.

    Args:
        reason: One sentence for people.
    """

    reason: str


Admission: TypeAlias = AdmissionFault | None
"""None admits."""


# req: TSR_0011
@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """What an admission check is told (TSR_0011).

    Args:
        executor: Name of the executor.
        integrity_level: Level the executor is pinned to, None when it is not.
        task_count: Registered tasks.
    """

    executor: str
    integrity_level: str | None
    task_count: int
