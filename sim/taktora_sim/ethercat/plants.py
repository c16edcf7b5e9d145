"""Plants that a bench file puts behind the devices of a simulated segment; the physics is in ``taktora_sim.plants``.

::

    [ethercat.cell.plant.lift]          # a drive
    kind = "axis"                       # then fields of AxisParameters
    inertia = 0.05
    high = 800.0

    [ethercat.cell.plant.valves]        # a terminal with outputs
    kind = "cylinder"
    output = "out1"
    retracted = "sensors.in1"           # device.entry of an input
    extended = "sensors.in2"
    stroke_ms = 300

    [ethercat.cell.plant.sensors]       # a terminal with inputs
    kind = "light-barrier"
    input = "in8"
    axis = "lift"
    begin = 100.0
    end = 150.0

A device has one plant; more of them are made from Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from taktora.errors import ConfigurationError
from taktora_sim.ethercat.devices import Cia402Drive, SimulatedDevice, device_of
from taktora_sim.plants import Axis, AxisParameters, Cylinder, LightBarrier
from taktora_sim.plants.sensors import SetInput

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["make_axis", "make_cylinder", "make_light_barrier"]

T = TypeVar("T")

_NS_PER_MS: Final = 1e6


class _CylinderSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    output: str
    retract_output: str | None = None
    retracted: str | None = None
    extended: str | None = None
    stroke_ms: float = 400.0
    return_ms: float | None = None


class _BarrierSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    input: str
    axis: str
    begin: float
    end: float
    inverted: bool = False


# req: REQ_8108
def make_axis(segment: SimulatedSegment, label: str, settings: Mapping[str, object], folder: Path = Path()) -> Axis:  # noqa: ARG001 - no axis has a file
    """Put an axis behind the drive ``label``; settings are fields of :class:`AxisParameters`.

    Raises:
        ConfigurationError: no such drive, or settings that are wrong.
    """
    drive = device_of(segment, label, Cia402Drive)
    known = [field.name for field in fields(AxisParameters)]
    for name in settings:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            nearest = f"did you mean {close[0]!r}? " if close else ""
            place = f"[ethercat.{segment.name}.plant.{label}]"
            raise ConfigurationError(f"{place}: no setting {name!r}; {nearest}valid: {', '.join(known)}")
    return drive.mount(_settings(segment, label, settings, AxisParameters))


# req: REQ_8108
def make_cylinder(
    segment: SimulatedSegment,
    label: str,
    settings: Mapping[str, object],
    folder: Path = Path(),  # noqa: ARG001 - no cylinder has a file
) -> Cylinder:
    """Put a cylinder behind an output of the device ``label``; with ``retract_output`` its valve is bistable.

    Raises:
        ConfigurationError: no such device or entry, or settings that are wrong.
    """
    device = device_of(segment, label, SimulatedDevice)
    given = _settings(segment, label, settings, _CylinderSettings)
    back_ms = given.stroke_ms if given.return_ms is None else given.return_ms
    cylinder = Cylinder(
        segment.world,
        f"{segment.name}/{label}",
        _input(segment, given.retracted),
        _input(segment, given.extended),
        stroke_ns=round(given.stroke_ms * _NS_PER_MS),
        return_ns=round(back_ms * _NS_PER_MS),
        is_bistable=given.retract_output is not None,
    )
    device.on_output(lambda _name, value: cylinder.extend(bool(value)), given.output)
    if given.retract_output is not None:
        device.on_output(lambda _name, value: cylinder.retract(bool(value)), given.retract_output)
    return cylinder


# req: REQ_8108
def make_light_barrier(
    segment: SimulatedSegment,
    label: str,
    settings: Mapping[str, object],
    folder: Path = Path(),  # noqa: ARG001 - no light barrier has a file
) -> LightBarrier:
    """Put a light barrier on the way of a drive's axis, at an input of the device ``label``.

    Make it after the axis. Raises ``ConfigurationError`` for no such device or entry, or settings that are wrong.
    """
    given = _settings(segment, label, settings, _BarrierSettings)
    axis = device_of(segment, given.axis, Cia402Drive).axis
    give = _input(segment, f"{label}.{given.input}")
    name = f"{segment.name}/{label}"
    return LightBarrier(segment.world, name, give, axis, given.begin, given.end, is_inverted=given.inverted)


def _input(segment: SimulatedSegment, place: str | None) -> SetInput:
    """Return what sets the input ``device.entry``; for None nothing."""
    if place is None:
        return lambda _is_on: None
    label, dot, entry = place.partition(".")
    if not dot:
        raise ConfigurationError(f"{segment.path}: input {place!r} is not device.entry, such as 'sensors.in1'")
    device = device_of(segment, label, SimulatedDevice)
    device.input(entry)
    return partial(device.set, entry)


def _settings(segment: SimulatedSegment, label: str, settings: Mapping[str, object], kind: type[T]) -> T:
    try:
        return msgspec.convert(dict(settings), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"[ethercat.{segment.name}.plant.{label}]: {error}") from error
