"""Reads ``DeviceSpec.options`` for the device library; what other parts read from there is theirs."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from taktora.errors import ConfigurationError
from taktora.ethercat.network import DeviceSpec

__all__ = ["ESC_OPTIONS", "check_names", "flag", "integer", "number"]

ESC_OPTIONS: Final = frozenset(
    (
        "device_emulation",
        "transition_delay_ms",
        "safe_op_delay_ms",
        "op_wait_ms",
        "has_boot",
        "watchdog_to_safe_op",
        "watchdog_fixed",
        "fmmus",
        "sync_managers",
        "ram_kb",
        "sii_busy_us",
        "hot_connect",
        "clock_drift_ppm",
    )
)
"""What the ESC of every device reads (see :mod:`taktora_sim.ethercat.subdevice`)."""

_SII_OPTIONS: Final = frozenset(("no_lrw", "ebus_ma"))


def check_names(spec: DeviceSpec, known: frozenset[str]) -> None:
    """Refuse options that nobody reads.

    Args:
        spec: The device.
        known: What its kind reads, beside the ESC and the SII.

    Raises:
        ConfigurationError: an unknown option; the nearest known one is named.
    """
    valid = sorted(known | ESC_OPTIONS | _SII_OPTIONS)
    for name in spec.options:
        if name not in valid:
            close = get_close_matches(name, valid, n=1)
            nearest = f"did you mean {close[0]!r}? " if close else ""
            msg = f"device {spec.label!r}: no option {name!r}; {nearest}valid: {', '.join(valid)}"
            raise ConfigurationError(msg)


def flag(spec: DeviceSpec, name: str, default: bool = False) -> bool:
    """Return an option that is true or false. Raises ``ConfigurationError`` for anything else."""
    value = spec.options.get(name, default)
    if not isinstance(value, bool):
        raise _refusal(spec, name, "true or false")
    return value


def integer(spec: DeviceSpec, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``. Raises ``ConfigurationError`` for anything else."""
    value = spec.options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _refusal(spec, name, f"an integer from {low} to {high}")
    return value


def number(spec: DeviceSpec, name: str, default: float) -> float:
    """Return a number. Raises ``ConfigurationError`` for anything else."""
    value = spec.options.get(name, default)
    if isinstance(value, (bool, str)):
        raise _refusal(spec, name, "a number")
    return float(value)


def _refusal(spec: DeviceSpec, name: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"device {spec.label!r}: option {name} is {spec.options[name]!r}, expected {expected}")
