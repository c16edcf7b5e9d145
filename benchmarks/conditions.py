"""Under which conditions a figure was measured; without them it says nothing."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

__all__ = ["conditions"]


def conditions() -> str:
    """Return one line: interpreter, kernel, processor, cores, governor, load."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"CPython {platform.python_version()}, {platform.system()} {platform.release()}, {_processor()}, "
        f"{os.cpu_count()} cores, governor {_governor()}, switch interval {sys.getswitchinterval() * 1e3:g} ms, "
        f"load {load:.2f}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _governor() -> str:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text(encoding="utf-8").strip()
    except OSError:
        return "not readable"
