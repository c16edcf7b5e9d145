"""Runs the CAN tests of the rig world on the kernel's virtual CAN: here, or in a guest where this kernel has none.

``python -m taktora_hil.vcan [pytest's arguments]``, from the root of the checkout; other tests than the suite's where
the arguments name a file. ``--check`` only says why it cannot be. Outcomes go to
``reports/results/rig-can.json``, a candump log per interface to ``reports/recordings/can``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from taktora.errors import ConfigurationError
from taktora_hil.guest import Guest, needs_kernel, why_no_guest
from taktora_hil.guest_kernel import DOWNLOAD, download_kernel, why_no_download
from taktora_hil.rig_can import RECORDINGS, why_no_rig

__all__ = ["NOT_RUN", "main", "why_not_run"]

RESULTS: Final = Path("reports/results/rig-can.json")
SUITE: Final = ("tests/contract/can", "tests/hil/test_can.py")
_LIMIT_S: Final = 900.0
_TEST_LIMIT_S: Final = 150.0
_CANNOT_COLLECT: Final = (2, 4)
"""Exit statuses of pytest for files that it cannot import, and for wrong usage."""
NOT_RUN: Final = 77
"""Exit status where neither rig nor guest can be had; pytest has none like it."""


# req: REQ_8506
def main(arguments: Sequence[str], root: Path | None = None) -> int:
    """Run the suite and return pytest's exit status; 77 with a sentence where neither rig nor guest can be had."""
    root = (root or Path.cwd()).resolve()
    if why_no_rig() and needs_kernel():
        _get_kernel()
    reason = why_not_run()
    if reason:
        _say(reason)
        return NOT_RUN
    if list(arguments) == ["--check"]:
        return 0
    reports = root / "reports"
    environment = {RECORDINGS: str(reports / "recordings/can"), "PYTHONDONTWRITEBYTECODE": "1"}
    (root / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    pytest = [sys.executable, "-m", "pytest", "--world", "rig", "-p", "no:cacheprovider"]
    tests = [*([] if _names_tests(arguments, root) else SUITE), *arguments]
    command = [*pytest, "--no-unrun", "rig", "--timeout", f"{_TEST_LIMIT_S:g}"]
    command += ["--trace-results", str(root / RESULTS), *tests]
    if not why_no_rig():
        return subprocess.run(command, cwd=root, env={**os.environ, **environment}, check=False).returncode  # noqa: S603
    return _collect([*pytest, "--collect-only", "-q", *tests], root) or _in_guest(command, root, reports, environment)


def _collect(command: Sequence[str], root: Path) -> int:
    """Collect the tests here, which keeps them compiled for the guest; return pytest's status where that is wrong."""
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode not in _CANNOT_COLLECT:
        return 0
    sys.stderr.write(found.stdout + found.stderr)
    return found.returncode


def _get_kernel() -> None:
    """Download the kernel that a guest lacks; where that is not possible, say why and leave it to who asks next."""
    reason = why_no_download()
    if reason:
        _say(f"the guest has no kernel, and {reason}")
        return
    _say(f"downloading the distribution's kernel package for the guest, once; {DOWNLOAD}=0 forbids it")
    try:
        _say(f"its kernel is in {download_kernel()}; nothing was installed")
    except ConfigurationError as error:
        _say(str(error))


def _names_tests(arguments: Sequence[str], root: Path) -> bool:
    return any((root / argument.partition("::")[0]).exists() for argument in arguments if argument)


def why_not_run() -> str:
    """Return why neither this kernel nor a guest can run the suite, as ``not run: ...``; empty when one can."""
    here = why_no_rig()
    return here and why_no_guest()


def _in_guest(command: Sequence[str], root: Path, reports: Path, environment: dict[str, str]) -> int:
    _say(f"{why_no_rig().removeprefix('not run: ').partition(';')[0]}; booting a guest")
    begin_s = time.monotonic()
    guest = Guest(shared=reports, limit_s=_LIMIT_S)
    try:
        status = guest.run(command, root, environment)
    except ConfigurationError as error:
        _say(str(error))
        return 1
    _say(f"Linux {guest.facts['kernel']} in a guest, {time.monotonic() - begin_s:.0f} s from boot to power-off")
    return status


def _say(text: str) -> None:
    sys.stderr.write(f"vcan: {text}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
