"""Whether a test may move something on the bench: only if somebody has said so for this bench; it moves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taktora.app.bench import Bench

__all__ = ["ARMED", "BENCH", "the_bench", "why_no_injector", "why_not_armed"]

ARMED: Final = "TAKTORA_ARMED"
"""Variable that arms a bench: it must equal the bench's id."""

BENCH: Final = "TAKTORA_BENCH"
"""Variable that names the bench file."""


def the_bench(environment: Mapping[str, str]) -> Bench | None:
    """Return the bench file that the environment names, None if it names none.

    Raises:
        ConfigurationError: it is missing or malformed.
    """
    from taktora.app.bench import load_bench

    path = environment.get(BENCH)
    return load_bench(Path(path)) if path else None


# req: REQ_8508
def why_not_armed(moves: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return why a test that moves ``moves`` does not run on the bench, or "" where it may.

    Raises:
        ConfigurationError: the bench file is missing or malformed.
    """
    if not moves:
        return ""
    what = f"not run: it moves {', '.join(moves)}, and "
    bench = the_bench(environment)
    if bench is None:
        return f"{what}{BENCH} is not set: it names the bench file that permits it"
    forbidden = [name for name in moves if name not in bench.permits]
    if forbidden:
        permitted = ", ".join(bench.permits) or "nothing"
        return f"{what}bench {bench.bench!r} permits {permitted}; write {forbidden[0]!r} into permits of its bench file"
    armed = environment.get(ARMED)
    if armed == bench.bench:
        return ""
    found = f"is {armed!r}" if armed else "is not set"
    return f"{what}{ARMED} {found}; look around, then set it to {bench.bench!r}"


# req: REQ_8509
def why_no_injector(faults: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return why a test that needs ``faults`` does not run on the bench, or "" where it may.

    Raises:
        ConfigurationError: the bench file is missing or malformed.
    """
    if not faults:
        return ""
    bench = the_bench(environment)
    known = {name.rpartition(":")[2] for name in (() if bench is None else bench.injectors)}
    missing = [fault for fault in faults if fault not in known]
    if not missing:
        return ""
    where = f"bench {bench.bench!r}" if bench is not None else f"this bench ({BENCH} is not set)"
    return f"not run: no injector for {', '.join(missing)} on {where}"
