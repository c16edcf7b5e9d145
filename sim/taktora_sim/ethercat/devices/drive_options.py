"""The options of a simulated drive, and the axis that the machine file's scaling tells of."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from taktora.errors import ConfigurationError
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.devices import drive_objects as od
from taktora_sim.ethercat.devices.options import integer, number
from taktora_sim.ethercat.devices.servo import Gains
from taktora_sim.plants.axis import AxisParameters

__all__ = ["DRIVE_OPTIONS", "DriveOptions", "OutputsLost", "read_options"]

DRIVE_OPTIONS: Final = frozenset(
    ("outputs_lost", "start_ms", "step_us", "following_window", "position_gain", "velocity_gain")
)
_MS_NS: Final = 1_000_000
_US_NS: Final = 1_000
_U32: Final = 0xFFFF_FFFF


class OutputsLost(IntEnum):
    """What a drive does when its outputs are made safe: values of object 0x6007."""

    NONE = 0
    FAULT = 1
    DISABLE = 2
    QUICK_STOP = 3


class DriveOptions(NamedTuple):
    """What ``DeviceSpec.options`` says of a drive; :mod:`.drive` tells what each means."""

    outputs_lost: OutputsLost
    start_ns: int
    step_ns: int
    following_window: int
    gains: Gains
    axis: AxisParameters


def read_options(spec: DeviceSpec) -> DriveOptions:
    """Return the options of ``spec``, with what holds where it says nothing.

    Raises:
        ConfigurationError: a value is out of its range.
    """
    return DriveOptions(
        outputs_lost=_outputs_lost(spec),
        start_ns=integer(spec, "start_ms", 50, 0, 60_000) * _MS_NS,
        step_ns=integer(spec, "step_us", 500, 50, 2000) * _US_NS,
        following_window=integer(spec, "following_window", 10_000, 0, _U32),
        gains=Gains(number(spec, "position_gain", 100.0), number(spec, "velocity_gain", 500.0)),
        axis=_axis_of(spec),
    )


def _outputs_lost(spec: DeviceSpec) -> OutputsLost:
    known = {each.name.lower().replace("_", "-"): each for each in OutputsLost}
    value = spec.options.get("outputs_lost", "quick-stop")
    if value not in known:
        raise ConfigurationError(
            f"device {spec.label!r}: option outputs_lost is {value!r}, expected one of {', '.join(known)}"
        )
    return known[str(value)]


def _axis_of(spec: DeviceSpec) -> AxisParameters:
    """Return an axis whose increments are those by which the machine file scales the position."""
    for pdo in spec.pdos.tx:
        for entry in pdo.entries:
            if entry.index == od.POSITION and entry.factor != 1.0:
                return AxisParameters(unit=entry.unit or "mm", increments_per_unit=abs(1.0 / entry.factor))
    return AxisParameters()
