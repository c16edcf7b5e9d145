"""Faults on a real bench: commands of the bench file that switch a relay, cut the power or ask an operator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError

if TYPE_CHECKING:
    from taktora.app.bench import Bench, Injector

__all__ = ["find_injector", "inject"]


def find_injector(bench: Bench | None, kind: str, label: str = "") -> Injector | None:
    """Return the injector of a fault: ``label:kind`` in the bench file, else ``kind``; None if there is none."""
    known = {} if bench is None else bench.injectors
    return known.get(f"{label}:{kind}") or known.get(kind)


# req: REQ_8509
@contextmanager
def inject(injector: Injector, kind: str) -> Iterator[None]:
    """Hold a fault for the duration of a ``with`` block; its end is tried also where its beginning failed.

    Raises:
        ConfigurationError: a command cannot be started, fails, or is not done in time.
    """
    try:
        _run(injector.begin, injector.timeout_s, f"injector {kind!r}, begin")
        yield
    finally:
        if injector.end:
            _run(injector.end, injector.timeout_s, f"injector {kind!r}, end")


def _run(command: Sequence[str], timeout_s: float, place: str) -> None:
    shown = " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603 - what the owner of the bench has written into its file
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except OSError as error:
        raise ConfigurationError(f"{place}: {shown!r} cannot be started ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{place}: {shown!r} was not done within {timeout_s:g} s (timeout_s)") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        last = f"; it said last: {said[-1]}" if said else ""
        raise ConfigurationError(f"{place}: {shown!r} ended with exit status {done.returncode}{last}")
