"""Which world a test runs in and why it cannot: decisions on names, variables and bench file; it opens no device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taktora_hil.arming import why_no_injector, why_not_armed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["GATED_WORLD", "WORLDS", "Needs", "UnknownWorld", "parse_worlds", "why_not_run"]

WORLDS = ("sim", "rig", "hil")
"""All worlds, in the order in which they run (REQ_8500)."""

GATED_WORLD = "hil"
"""The world in which gates count: the others bring their own resources."""


class UnknownWorld(ValueError):
    """A world that does not exist was named; `name` holds it."""

    def __init__(self, name: object, place: str) -> None:
        self.name = name
        super().__init__(f"{place} names the unknown world {name!r}; there are {', '.join(WORLDS)}")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one test asks for: the worlds it allows, and what it needs in `hil`: gates, actuators, fault injectors."""

    worlds: tuple[str, ...] = ("sim",)
    gates: tuple[str, ...] = ()
    moves: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


# req: REQ_8500
def parse_worlds(values: Iterable[str], place: str = "--world") -> tuple[str, ...]:
    """Return the worlds in repeated or comma-separated values, each once, in the order of WORLDS.

    Raises UnknownWorld for any other name, and for none at all.
    """
    names = [name.strip() for value in values for name in value.split(",")]
    for name in names:
        if name not in WORLDS:
            raise UnknownWorld(name, place)
    return tuple(world for world in WORLDS if world in names)


# req: REQ_8501, REQ_8508, REQ_8509
def why_not_run(world: str, selected: tuple[str, ...], needs: Needs, environment: Mapping[str, str]) -> str:
    """Return why a test does not run in `world`, or "" where it may; an empty variable counts as unset (REQ_8501)."""
    if world not in selected:
        return f"not run: belongs to {' and '.join(needs.worlds)}, but --world {','.join(selected)} was given"
    if world != GATED_WORLD:
        return ""
    unset = [gate for gate in needs.gates if not environment.get(gate)]
    if unset:
        return f"not run: {' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set"
    return why_no_injector(needs.faults, environment) or why_not_armed(needs.moves, environment)
