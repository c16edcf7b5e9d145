"""What a result on a rig or a bench was got with: kernel, interface, driver, versions; it judges nothing."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["fingerprint"]

_LIBRARIES: Final = {"ethercat": ("pysoem",), "can": ("python-can",)}
_NET: Final = Path("/sys/class/net")


# req: REQ_8503
def fingerprint(protocol: str | None = None, interface: str | None = None) -> dict[str, str]:
    """Return facts by name, for the property ``fingerprint`` of a test.

    Args:
        protocol: ``ethercat`` or ``can``: adds the versions of its library.
        interface: Network interface: adds its driver, speed and address.
    """
    facts = {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "taktora": _version("taktora"),
    }
    if "PREEMPT_RT" in platform.version():
        facts["kernel"] += " PREEMPT_RT"
    facts |= {library: _version(library) for library in _LIBRARIES.get(protocol or "", ())}
    if interface is not None:
        facts["interface"] = interface
        facts |= _facts_of(interface) if sys.platform == "linux" else {}
        facts |= _can_facts_of(interface) if protocol == "can" else {}
    return facts


def _can_facts_of(interface: str) -> dict[str, str]:
    """Return bit rates, sample point, restart-ms, controller state and error counters, as far as the system tells."""
    from taktora.can.linkinfo import read_link

    link = read_link(interface)
    return {} if link is None else link.facts()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _facts_of(interface: str) -> dict[str, str]:
    folder = _NET / interface
    driver = folder / "device" / "driver"
    facts = {"driver": driver.resolve().name if driver.exists() else "virtual"}
    for name, file in (("speed_mbit_s", "speed"), ("mtu", "mtu")):
        try:
            facts[name] = (folder / file).read_text(encoding="ascii").strip()
        except OSError:
            continue  # an interface without a link tells no speed
    module = driver.resolve() / "module" / "version"
    if module.is_file():
        facts["driver"] += f" {module.read_text(encoding='ascii').strip()}"
    return facts
