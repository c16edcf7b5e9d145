"""A kernel for a guest, from the distribution's own package: downloaded once, unpacked, kept; nothing is installed.

``apt-get download`` needs no privilege. What it gets is what ``linux-image-amd64`` depends on, some 70 MB; unpacked,
some 400 MB stay in the user's cache folder, below ``taktora/guest-kernel``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from taktora.errors import ConfigurationError

__all__ = ["DOWNLOAD", "cached_kernels", "download_kernel", "why_no_download"]

DOWNLOAD: Final = "TAKTORA_GUEST_DOWNLOAD"
"""Environment variable: ``0`` forbids downloading a kernel package."""

_PACKAGE: Final = "linux-image-amd64"
_PROGRAMS: Final = ("apt-cache", "apt-get", "dpkg-deb")
_LIMIT_S: Final = 600.0


def cached_kernels(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders of the packages that were unpacked before."""
    cache = _cache(environment)
    return sorted(path for path in cache.iterdir() if not path.suffix) if cache.is_dir() else []


def why_no_download(environment: Mapping[str, str] = os.environ) -> str:
    """Return why no kernel can be downloaded, as part of a sentence; empty when it can be tried."""
    if environment.get(DOWNLOAD) == "0":
        return f"{DOWNLOAD}=0 forbids to download one"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    return f"none can be downloaded without {', '.join(missing)}" if missing else ""


# req: REQ_8506
def download_kernel(environment: Mapping[str, str] = os.environ) -> Path:
    """Download and unpack the distribution's kernel package and return its folder.

    Raises:
        ConfigurationError: the package is unknown or cannot be had; the text says what was tried.
    """
    package = _newest_package()
    folder = _cache(environment) / package.replace(".", "_")
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        _run(partial, "apt-get", "download", "-qq", package)
        (archive,) = partial.glob("*.deb")
        _run(partial, "dpkg-deb", "-x", archive.name, "kernel")
        (partial / "kernel").rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _newest_package() -> str:
    listed = _run(Path(), "apt-cache", "depends", "--important", _PACKAGE)
    for line in listed.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise ConfigurationError(f"apt knows no kernel that {_PACKAGE} depends on; 'apt-get update' may be due")


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache", "taktora/guest-kernel")


def _run(folder: Path, *command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"'{' '.join(command)}' has not ended after {_LIMIT_S:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ConfigurationError(f"'{' '.join(command)}' failed: {said[-1]}; 'apt-get update' may be due")
    return done.stdout
