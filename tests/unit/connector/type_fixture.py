"""Runs mypy over a snippet and compares its errors with the lines that are marked; it executes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

__all__ = ["assert_errors_where_marked"]

_ROOT = Path(__file__).parents[3]
_MARK = re.compile(r"# error: ([a-z-]+)$")


def assert_errors_where_marked(folder: Path, source: str) -> None:
    """Check that mypy finds, in ``source``, an error of the named code in each line ending in ``# error: code``, and
    no other."""
    fixture = folder / "fixture.py"
    fixture.write_text(dedent(source), encoding="utf-8")
    marked = {
        (number, mark[1])
        for number, line in enumerate(fixture.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := _MARK.search(line))
    }

    options = ["--follow-imports=silent", f"--cache-dir={folder / 'cache'}", "--hide-error-context"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(fixture)], capture_output=True, text=True, check=False, cwd=_ROOT
    )
    found = {
        (int(error[1]), error[2])
        for error in re.finditer(r"fixture\.py:(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    }

    assert found == marked, run.stdout + run.stderr
