"""Where a run takes place: commit, Python, platform, libraries, hash of the application; it sends nothing out."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING

from taktora.traceability.hashing import TestSources, application_hash, source_files
from taktora.traceability.results import Run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taktora.traceability.config import TraceConfig

__all__ = ["describe_run", "sources_of_tests", "today_hash"]


def describe_run(config: TraceConfig) -> Run:
    """Return the evidence that all results of a run share; outside a git checkout the commit is empty."""
    commit = _git(config.root, "rev-parse", "HEAD")
    return Run(
        commit=commit,
        modified=bool(commit and _git(config.root, "status", "--porcelain", "--untracked-files=no")),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=_versions(config.libraries),
        application_hash=today_hash(config),
    )


def today_hash(config: TraceConfig) -> str:
    """Return the hash of the configured application as it is now."""
    return application_hash(config.application_paths(), config.root, config.hide)


def sources_of_tests(config: TraceConfig) -> TestSources:
    """Return the hashes of the project's tests; what is application has a hash of its own."""
    files = source_files(config.application_paths(), config.root, config.hide)
    names = [file.relative_to(config.root).as_posix() for file in files if file.is_relative_to(config.root)]
    return TestSources(config.root, names, config.hide)


def _git(root: Path, *args: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, *args], cwd=root, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
