"""Reads ``DeviceSpec.options`` for the device library; what other parts read from there is theirs."""

from __future__ import annotations

from taktora.errors import ConfigurationError
from taktora.ethercat.network import DeviceSpec

__all__ = ["flag", "integer", "number"]


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
