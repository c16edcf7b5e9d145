"""Finds what a configuration of iceoryx2 has left on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["files_named", "leftovers", "prefix_of"]


def prefix_of(config: Any) -> str:
    """Return what the names of all files of ``config`` begin with."""
    return str(config.global_cfg.prefix.to_string())


def leftovers(config: Any) -> list[str]:
    """Return every shared-memory segment and file of ``config`` that exists."""
    prefix = prefix_of(config)
    root = Path(config.global_cfg.root_path.to_string())
    segments = [path for path in Path("/dev/shm").iterdir() if path.name.startswith(prefix)]
    return sorted(str(path) for path in segments + files_named(root, prefix))


def files_named(root: Path, prefix: str) -> list[Path]:
    """Return the files and folders below ``root`` that begin with ``prefix``; other programs may remove theirs."""
    walk = os.walk(root)  # passes over a folder that is gone by the time it is looked into, unlike Path.rglob
    return [Path(folder, name) for folder, *names in walk for name in (*names[0], *names[1]) if name.startswith(prefix)]
