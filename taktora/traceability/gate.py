"""Coverage figures, thresholds and the comparison with a baseline: the numbers a build can fail on."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from taktora.traceability.errors import ConfigError
from taktora.traceability.ids import nearest
from taktora.traceability.verdict import ANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from taktora.traceability.verdict import Trace

__all__ = [
    "TOTAL",
    "Coverage",
    "Threshold",
    "coverage",
    "load_baseline",
    "load_thresholds",
    "lost",
    "missed",
    "parse_threshold",
]

TOTAL = "total"
"""The name that stands for all areas together."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Verified requirements of an area in a world, of those that a test can verify there."""

    area: str
    world: str
    verified: int
    total: int

    @property
    def percent(self) -> float:
        """Return 0 .. 100; an area without such requirements is fully covered."""
        return 100.0 * self.verified / self.total if self.total else 100.0

    @property
    def shown(self) -> str:
        """Return the figures as text; the percentage is rounded down, so that 100.0 % always means all."""
        tenths = 1000 * self.verified // self.total if self.total else 1000
        return f"{tenths / 10:.1f} % ({self.verified} of {self.total})"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least coverage, in percent, of an area (or `total`, or `*` for each area) in a world (or `any`)."""

    area: str
    world: str
    percent: float


def coverage(trace: Trace, area: str, world: str) -> Coverage:
    """Return the coverage of one area, or of all with TOTAL, in one world, or over all with ANY."""
    inside = [item for item in trace.catalogue.requirements if area in (TOTAL, item.area)]
    counted = [item for item in inside if trace.counted(item, world)]
    verified = sum(trace.requirements[item.id][world].is_verified for item in counted)
    return Coverage(area, world, verified, len(counted))


def parse_threshold(text: str) -> Threshold:
    """Return the threshold in `can/sim=80`; raises ConfigError with the expected form."""
    place, equals, number = text.partition("=")
    area, slash, world = place.partition("/")
    try:
        percent = float(number.rstrip("% "))
    except ValueError:
        percent = -1.0
    if not (equals and area.strip() and (world.strip() or not slash) and 0 <= percent <= 100):
        raise ConfigError(f"threshold '{text}': expected AREA/WORLD=PERCENT with 0 .. 100, as in can/sim=80")
    return Threshold(area.strip(), world.strip() or ANY, percent)


def load_thresholds(file: Path) -> list[Threshold]:
    """Return the thresholds of a TOML file, a table per area with `world = percent`; raises ConfigError."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
        wanted = msgspec.convert(tables, dict[str, dict[str, float]])
    except OSError as error:
        raise ConfigError(f"cannot read thresholds {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        form = "expected a table per area, as in [can] with sim = 80"
        raise ConfigError(f"{file}: not a file of thresholds: {error}; {form}") from error
    return [
        parse_threshold(f"{area}/{world}={percent}")
        for area, worlds in wanted.items()
        for world, percent in worlds.items()
    ]


# req: REQ_8606
def missed(trace: Trace, thresholds: Iterable[Threshold]) -> list[tuple[Threshold, Coverage]]:
    """Return the thresholds that are not met, with what was found; raises ConfigError for unknown areas or worlds."""
    found = []
    for threshold in thresholds:
        for area in _areas(trace, threshold):
            have = coverage(trace, area, _world(trace, threshold.world))
            if have.percent < threshold.percent:
                found.append((threshold, have))
    return found


def _areas(trace: Trace, threshold: Threshold) -> Sequence[str]:
    if threshold.area == "*":
        return trace.catalogue.areas
    return [_known(threshold.area, [*trace.catalogue.areas, TOTAL], "area")]


def _world(trace: Trace, world: str) -> str:
    return _known(world, [*trace.worlds, ANY], "world")


def _known(name: str, names: Sequence[str], word: str) -> str:
    if name in names:
        return name
    near = nearest(name, names)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise ConfigError(f"unknown {word} '{name}' in a threshold; {hint}")


def load_baseline(file: Path) -> dict[str, Any]:
    """Return an earlier trace.json; raises ConfigError where it is none."""
    try:
        content = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ConfigError(f"cannot read the baseline {file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} is no baseline: {error}; expected a trace.json of an earlier report") from error
    if "requirements" not in content or "taktora_trace" not in content:
        raise ConfigError(f"{file} is no baseline; expected a trace.json of an earlier report")
    return content


# req: REQ_8606
def lost(trace: Trace, baseline: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (requirement, world, status now) for everything that the baseline had verified and today has not."""
    found = []
    for entry in baseline["requirements"]:
        for world, cell in entry["worlds"].items():
            if cell["status"] == "passed" and not cell.get("suspect"):
                now = _now(trace, entry["id"], world)
                found += [(entry["id"], world, now)] if now else []
    return found


def _now(trace: Trace, name: str, world: str) -> str:
    cells = trace.requirements.get(name)
    if cells is None:
        return "no longer in the catalogue"
    cell = cells.get(world)
    if cell is None:
        return "never"
    if cell.is_verified:
        return ""
    return "suspect" if cell.status == "passed" else f"{cell.status}: {cell.why}".removesuffix(": ")
