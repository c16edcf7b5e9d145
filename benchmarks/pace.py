"""How fast virtual time runs beside the wall clock, in the one form in which every benchmark reports it."""

from __future__ import annotations

__all__ = ["pace"]

_TICK_S = 0.001
"""A coarse clock of the processor reads 0 for a run of a few cycles; the pace is then told for one tick of it."""


def pace(what: str, simulated_s: float, wall_s: float, bar: str = "") -> str:
    """Return one line: simulated seconds per wall second, and the bar that is set for it."""
    line = f"{what:<44} {simulated_s / max(wall_s, _TICK_S):9.1f} simulated s per wall s"
    return f"{line}  (bar: {bar})" if bar else line
