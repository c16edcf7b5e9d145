"""The process data as classes, one per SubDevice and direction: names and units are those of machine.yaml."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AxisIn", "AxisOut", "Lamps", "Sensors", "Valves"]


@dataclass(slots=True)
class AxisIn:
    """What the drive reports; mm and mm/s."""

    statusword: int = 0
    mode_display: int = 0
    position: float = 0.0
    velocity: float = 0.0
    following_error: float = 0.0
    error_code: int = 0


@dataclass(slots=True)
class AxisOut:
    """What the drive is told; mm."""

    controlword: int = 0
    mode: int = 0
    target: float = 0.0


@dataclass(slots=True)
class Sensors:
    """Buttons and sensors; `stop_ok`, `estop_ok` and `air_ok` are on as long as all is well."""

    start: bool = False
    stop_ok: bool = False
    reset: bool = False
    estop_ok: bool = False
    part_there: bool = False
    """The light barrier at the end of the chute is interrupted."""
    gripper_open: bool = False
    part_held: bool = False
    """The jaws are closed, and on something: they go further when they close on nothing."""
    air_ok: bool = False


@dataclass(slots=True)
class Valves:
    """The two coils of the gripper's valve; it stays where it is while both are off."""

    close_gripper: bool = False
    open_gripper: bool = False


@dataclass(slots=True)
class Lamps:
    """The stack light."""

    red: bool = False
    yellow: bool = False
    green: bool = False
    white: bool = False
