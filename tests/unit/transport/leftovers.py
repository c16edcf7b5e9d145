"""Finds what a configuration of iceoryx2 has left on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["leftovers", "prefix_of"]


def prefix_of(config: Any) -> str:
    """Return what the names of all files of ``config`` begin with."""
    return str(config.global_cfg.prefix.to_string())


def leftovers(config: Any) -> list[str]:
    """Return every shared-memory segment and file of ``config`` that exists."""
    prefix = prefix_of(config)
    root = Path(config.global_cfg.root_path.to_string())
    segments = [path for path in Path("/dev/shm").iterdir() if path.name.startswith(prefix)]
    files = [path for path in root.rglob("*") if path.name.startswith(prefix)]
    return sorted(str(path) for path in segments + files)
