"""Objects of a CiA 402 drive: what they are called, their types, defaults and access; nothing happens here."""

from __future__ import annotations

from typing import Final, NamedTuple

from taktora.errors import ConfigurationError
from taktora.ethercat.datatypes import DataType
from taktora.ethercat.dictionary import READ_ONLY, READ_WRITE, Access, ObjectDictionary, ObjectEntry
from taktora.ethercat.network import DeviceSpec

__all__ = [
    "COMMANDS",
    "FEEDBACK",
    "MODES",
    "SIGNED",
    "Mode",
    "add_drive_objects",
    "check_mapping",
]

CONTROLWORD, STATUSWORD, ERROR_CODE, ERROR_REGISTER = 0x6040, 0x6041, 0x603F, 0x1001
MODE, MODE_DISPLAY = 0x6060, 0x6061
POSITION_DEMAND, POSITION = 0x6062, 0x6064
FOLLOWING_WINDOW, FOLLOWING_TIME, FOLLOWING_ERROR = 0x6065, 0x6066, 0x60F4
POSITION_WINDOW, POSITION_TIME = 0x6067, 0x6068
VELOCITY_DEMAND, VELOCITY, VELOCITY_WINDOW = 0x606B, 0x606C, 0x606D
TARGET_TORQUE, MAX_TORQUE, TORQUE = 0x6071, 0x6072, 0x6077
TARGET_POSITION, HOME_OFFSET, POSITION_LIMITS = 0x607A, 0x607C, 0x607D
PROFILE_VELOCITY, PROFILE_ACCELERATION, PROFILE_DECELERATION = 0x6081, 0x6083, 0x6084
QUICK_STOP_DECELERATION = 0x6085
HOMING_METHOD, HOMING_SPEEDS, HOMING_ACCELERATION = 0x6098, 0x6099, 0x609A
INTERPOLATION_TIME, DIGITAL_INPUTS, TARGET_VELOCITY = 0x60C2, 0x60FD, 0x60FF
ABORT_CONNECTION = 0x6007

SIGNED: Final = frozenset(
    (
        MODE,
        TARGET_POSITION,
        TARGET_VELOCITY,
        TARGET_TORQUE,
        HOME_OFFSET,
        POSITION_LIMITS,
        HOMING_METHOD,
        ABORT_CONNECTION,
        *range(0x605A, 0x605F),
    )
)
"""Those whose values may be below 0."""


class Mode:
    """Modes of operation, objects 0x6060 and 0x6061."""

    NONE: Final = 0
    PROFILE_POSITION: Final = 1
    PROFILE_VELOCITY: Final = 3
    HOMING: Final = 6
    CYCLIC_POSITION: Final = 8
    CYCLIC_VELOCITY: Final = 9
    CYCLIC_TORQUE: Final = 10


MODES: Final = (
    Mode.PROFILE_POSITION,
    Mode.PROFILE_VELOCITY,
    Mode.HOMING,
    Mode.CYCLIC_POSITION,
    Mode.CYCLIC_VELOCITY,
    Mode.CYCLIC_TORQUE,
)
"""What object 0x6502 says: bit mode - 1."""


class _Kind(NamedTuple):
    name: str
    data_type: int
    bits: int
    low: int
    high: int


_U8 = _Kind("u8", DataType.UNSIGNED8, 8, 0, 0xFF)
_U16 = _Kind("u16", DataType.UNSIGNED16, 16, 0, 0xFFFF)
_U32 = _Kind("u32", DataType.UNSIGNED32, 32, 0, 0xFFFF_FFFF)
_I8 = _Kind("i8", DataType.INTEGER8, 8, -0x80, 0x7F)
_I16 = _Kind("i16", DataType.INTEGER16, 16, -0x8000, 0x7FFF)
_I32 = _Kind("i32", DataType.INTEGER32, 32, -0x8000_0000, 0x7FFF_FFFF)

COMMANDS: Final[dict[int, tuple[str, _Kind, int]]] = {
    CONTROLWORD: ("Controlword", _U16, 0),
    MODE: ("Modes of operation", _I8, 0),
    TARGET_POSITION: ("Target position", _I32, 0),
    TARGET_VELOCITY: ("Target velocity", _I32, 0),
    TARGET_TORQUE: ("Target torque", _I16, 0),
    MAX_TORQUE: ("Max torque", _U16, 3000),
    PROFILE_VELOCITY: ("Profile velocity", _U32, 0),
    PROFILE_ACCELERATION: ("Profile acceleration", _U32, 0),
    PROFILE_DECELERATION: ("Profile deceleration", _U32, 0),
    QUICK_STOP_DECELERATION: ("Quick stop deceleration", _U32, 0),
}
"""What the MainDevice sets, by PDO or SDO: name, type, default. Speeds default to the options of the drive."""

_SETTINGS: Final[dict[int, tuple[str, _Kind, int]]] = {
    ABORT_CONNECTION: ("Abort connection option code", _I16, 3),
    0x605A: ("Quick stop option code", _I16, 2),
    0x605B: ("Shutdown option code", _I16, 0),
    0x605C: ("Disable operation option code", _I16, 1),
    0x605D: ("Halt option code", _I16, 1),
    0x605E: ("Fault reaction option code", _I16, 2),
    FOLLOWING_WINDOW: ("Following error window", _U32, 0xFFFF_FFFF),
    FOLLOWING_TIME: ("Following error time out", _U16, 10),
    POSITION_WINDOW: ("Position window", _U32, 10),
    POSITION_TIME: ("Position window time", _U16, 2),
    VELOCITY_WINDOW: ("Velocity window", _U16, 1000),
    HOME_OFFSET: ("Home offset", _I32, 0),
    HOMING_METHOD: ("Homing method", _I8, 37),
    HOMING_ACCELERATION: ("Homing acceleration", _U32, 0),
}

FEEDBACK: Final[dict[int, tuple[str, _Kind]]] = {
    ERROR_CODE: ("Error code", _U16),
    STATUSWORD: ("Statusword", _U16),
    MODE_DISPLAY: ("Modes of operation display", _I8),
    POSITION_DEMAND: ("Position demand value", _I32),
    POSITION: ("Position actual value", _I32),
    VELOCITY_DEMAND: ("Velocity demand value", _I32),
    VELOCITY: ("Velocity actual value", _I32),
    TORQUE: ("Torque actual value", _I16),
    FOLLOWING_ERROR: ("Following error actual value", _I32),
    DIGITAL_INPUTS: ("Digital inputs", _U32),
}
"""What the drive gives: name, type."""

_PAIRS: Final[dict[int, tuple[str, str, str, _Kind, _Kind, int, int]]] = {
    POSITION_LIMITS: ("Software position limit", "Min position limit", "Max position limit", _I32, _I32, 0, 0),
    HOMING_SPEEDS: ("Homing speeds", "Speed to the switch", "Speed to zero", _U32, _U32, 0, 0),
    INTERPOLATION_TIME: ("Interpolation time period", "Value", "Exponent", _U8, _I8, 0, -3),
}

_OPTION_RANGES: Final = {
    ABORT_CONNECTION: (0, 3),
    0x605A: (0, 8),
    0x605B: (0, 1),
    0x605C: (0, 1),
    0x605D: (1, 4),
    0x605E: (0, 4),
    HOMING_METHOD: (0, 37),
    INTERPOLATION_TIME: (0, 0xFF),
}


# req: REQ_8108
def check_mapping(spec: DeviceSpec) -> None:
    """Refuse a mapping in which an object of the profile has another type than IEC 61800-7-201 gives it.

    A real drive refuses it too, or takes the bytes for something else. ``bits`` of the same length is fine.

    Raises:
        ConfigurationError: it names the entry, its type and the right one.
    """
    for entry in (entry for pdo in (*spec.pdos.rx, *spec.pdos.tx) for entry in pdo.entries):
        title, kind = _known(entry.index, entry.subindex)
        if kind is None or entry.type == kind.name or (entry.type == "bits" and entry.bit_length == kind.bits):
            continue
        found = f"{entry.type} of {entry.bit_length} bits" if entry.type == "bits" else entry.type
        mapped = f"maps 0x{entry.index:04X}:{entry.subindex:02X} ({title}) as {found}, CiA 402 has it as {kind.name}"
        raise ConfigurationError(
            f"device {spec.label!r}: entry {entry.name or 'without a name'} {mapped}; correct type in the machine file"
        )


def _known(index: int, subindex: int) -> tuple[str, _Kind | None]:
    """Return title and type of an object that the profile describes."""
    if index in _PAIRS and subindex in (1, 2):
        pair = _PAIRS[index]
        return (pair[1], pair[3]) if subindex == 1 else (pair[2], pair[4])
    found = None if subindex else COMMANDS.get(index) or _SETTINGS.get(index) or FEEDBACK.get(index)
    return ("", None) if found is None else (found[0], found[1])


def add_drive_objects(dictionary: ObjectDictionary, defaults: dict[tuple[int, int], int], *, keep: bool) -> None:
    """Add what a drive has and ``dictionary`` lacks.

    Args:
        dictionary: The drive's; what it maps is there already.
        defaults: Values by index and subindex, instead of those of the profile.
        keep: What is there has its values from a file, and keeps them.
    """

    def add(index: int, sub: int, name: str, title: str, kind: _Kind, access: Access, value: int) -> None:
        low, high = _OPTION_RANGES.get(index, (kind.low, kind.high)) if sub < 2 else (kind.low, kind.high)
        made = ObjectEntry(title, kind.data_type, kind.bits, access, low=low, high=high)
        is_new = dictionary.get(index, sub) is None
        entry = dictionary.ensure(index, sub, name, made)
        entry.access |= access
        if is_new or not keep:
            wanted = defaults.get((index, sub), value)
            entry.value = (wanted & (1 << entry.bits) - 1).to_bytes(entry.byte_length, "little")

    for index, (name, kind, value) in COMMANDS.items():
        add(index, 0, name, name, kind, READ_WRITE | Access.RX_MAPPABLE, value)
    for index, (name, kind, value) in _SETTINGS.items():
        add(index, 0, name, name, kind, READ_WRITE, value)
    for index, (name, kind) in FEEDBACK.items():
        add(index, 0, name, name, kind, READ_ONLY | Access.TX_MAPPABLE, 0)
    for index, (name, first, second, kind1, kind2, value1, value2) in _PAIRS.items():
        add(index, 1, name, first, kind1, READ_WRITE, value1)
        add(index, 2, name, second, kind2, READ_WRITE, value2)
    supported = sum(1 << mode - 1 for mode in MODES)
    add(0x6502, 0, "Supported drive modes", "Supported drive modes", _U32, READ_ONLY, supported)
    add(ERROR_REGISTER, 0, "Error register", "Error register", _U8, READ_ONLY, 0)
