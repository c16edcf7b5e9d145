"""Random campaigns: draws a fault plan from a seed before the run; the run itself takes faults from the plan alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan, FaultPlanError, Param
from taktora_sim.plan import ParamValue
from taktora_sim.streams import Stream

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Campaign", "draw_plan"]

_GRID_NS = 1_000_000
_UNBOUNDED = 1_000
_APPLICATION = "app/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What a random plan may hold.

    Args:
        enabled: Patterns ``target:kind`` with ``*`` and ``?``; nothing that matches none of them is drawn. Faults of
            the application itself (``app/...``) need a pattern that begins with ``app/``.
        faults: Smallest and largest number of faults.
        begin_ns: Earliest and latest beginning; whole milliseconds are drawn.
        duration_ns: Shortest and longest duration of kinds that have an end.
    """

    enabled: Sequence[str] = ("*:*",)
    faults: tuple[int, int] = (1, 3)
    begin_ns: tuple[int, int] = (0, 10_000_000_000)
    duration_ns: tuple[int, int] = (10_000_000, 2_000_000_000)


_ANYTHING = Campaign()


# req: REQ_8008
def draw_plan(
    source: World | int,
    campaign: Campaign = _ANYTHING,
    catalogue: Mapping[str, Mapping[str, FaultKind]] | None = None,
) -> FaultPlan:
    """Return a plan drawn from the seed; the same seed, campaign and catalogue give the same plan.

    Args:
        source: The World (its seed and what is registered in it), or a seed.
        campaign: What may be drawn.
        catalogue: Targets and kinds to draw from; needed with a bare seed.

    Raises:
        FaultPlanError: nothing matches ``campaign.enabled``.
    """
    seed = source if isinstance(source, int) else source.seed
    offered = catalogue if catalogue is not None or isinstance(source, int) else source.faults.catalogue()
    choices = list(_enabled(offered or {}, campaign.enabled))
    if not choices:
        known = ", ".join(f"{path}:{kind}" for path, kinds in (offered or {}).items() for kind in kinds) or "none"
        msg = f"no fault kind matches {', '.join(campaign.enabled)}; offered: {known}"
        raise FaultPlanError(msg)
    stream = Stream(seed, "faults/campaign")
    entries = [_draw(stream, campaign, *stream.choice(choices)) for _ in range(stream.integer(*campaign.faults))]
    return FaultPlan(tuple(sorted(entries, key=lambda entry: entry.at_ns or 0)), f"drawn from seed {seed}")


def _enabled(
    catalogue: Mapping[str, Mapping[str, FaultKind]], patterns: Sequence[str]
) -> Iterable[tuple[str, str, FaultKind]]:
    for path in sorted(catalogue):
        for name, kind in sorted(catalogue[path].items()):
            if any(_matches(f"{path}:{name}", pattern) for pattern in patterns):
                yield path, name, kind


def _matches(fault: str, pattern: str) -> bool:
    is_meant = pattern.startswith(_APPLICATION) or not fault.startswith(_APPLICATION)
    return is_meant and fnmatchcase(fault, pattern)


def _draw(stream: Stream, campaign: Campaign, target: str, name: str, kind: FaultKind) -> FaultEntry:
    at_ns = _draw_grid(stream, campaign.begin_ns)
    duration_ns = _draw_grid(stream, campaign.duration_ns)
    parameters = {parameter: _draw_value(stream, kind.param(parameter)) for parameter in kind.params}
    return FaultEntry(
        target=target,
        kind=name,
        at_ns=at_ns,
        duration_ns=None if kind.stop is None else max(1, duration_ns),
        parameters=parameters,
    )


def _draw_grid(stream: Stream, limits_ns: tuple[int, int]) -> int:
    """Draw whole milliseconds where the limits have room for them: a plan is to be read by people."""
    low_ns, high_ns = limits_ns
    steps = (high_ns - low_ns) // _GRID_NS
    return low_ns + stream.integer(0, steps) * _GRID_NS if steps else stream.integer(low_ns, high_ns)


def _draw_value(stream: Stream, param: Param) -> ParamValue:
    if param.choices:
        return stream.choice(param.choices)
    if param.type is bool:
        return stream.chance(0.5)
    if param.type is str:
        return param.default if param.default is not None else ""
    if param.default is not None and param.low is None and param.high is None:
        return param.default
    low, high = param.drawn or (param.low, param.high)
    low = low if low is not None else 0
    high = high if high is not None else low + _UNBOUNDED
    if param.type is int:
        return stream.integer(int(low), int(high))
    return round(stream.uniform(low, high), 6)
