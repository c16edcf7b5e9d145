"""Names of CAN channels: interface, identifier, mask and frame kind as validated values; opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, IntFlag

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_MAX_BYTES
from taktora.connector.routing import Routing
from taktora.errors import ConfigurationError

__all__ = [
    "EXTENDED_ID_MAX",
    "FULL_MASK",
    "STANDARD_ID_MAX",
    "CanFdFlags",
    "CanFrameKind",
    "CanId",
    "CanIface",
    "CanRouting",
]

STANDARD_ID_MAX = 0x7FF
EXTENDED_ID_MAX = 0x1FFF_FFFF
FULL_MASK = 0x1FFF_FFFF
_IFACE_NAME_MAX_BYTES = 15


@dataclass(frozen=True, slots=True, order=True)
class CanIface:
    """Name of a network interface: 1 to 15 printable ASCII bytes without space and slash (the kernel's IFNAMSIZ).

    Raises:
        ConfigurationError: the name is empty, too long or holds another character, or it is no text.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigurationError(
                f"CAN interface name {self.name!r} is a {type(self.name).__name__}; expected a str such as 'can0'"
            )
        if not self.name:
            raise ConfigurationError("CAN interface name is empty; expected 1 to 15 characters such as 'can0'")
        for index, char in enumerate(self.name):
            if not "!" <= char <= "~" or char == "/":
                raise ConfigurationError(
                    f"CAN interface name {self.name!r} has {char!r} at position {index}; "
                    "allowed are printable ASCII characters without space and '/'"
                )
        if len(self.name) > _IFACE_NAME_MAX_BYTES:
            raise ConfigurationError(
                f"CAN interface name {self.name!r} has {len(self.name)} characters; "
                f"the kernel allows {_IFACE_NAME_MAX_BYTES}"
            )

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class CanId:
    """An identifier of 11 or 29 bits; the flag belongs to its identity, so equal values of both kinds differ.

    Raises:
        ConfigurationError: ``value`` is outside 0..0x7FF (standard) or 0..0x1FFFFFFF (extended), or no int.
    """

    value: int
    is_extended: bool = False

    def __post_init__(self) -> None:
        limit = EXTENDED_ID_MAX if self.is_extended else STANDARD_ID_MAX
        if not _is_int(self.value):
            raise ConfigurationError(
                f"CAN id {self.value!r} is a {type(self.value).__name__}; give an int 0..{limit:#x}"
            )
        if not 0 <= self.value <= limit:
            kind = "an extended (29 bit)" if self.is_extended else "a standard (11 bit)"
            hint = "; use CanId.extended for 29-bit identifiers" if 0 < self.value <= EXTENDED_ID_MAX else ""
            raise ConfigurationError(f"CAN id {self.value:#x} is outside 0..{limit:#x} of {kind} identifier{hint}")

    @classmethod
    def standard(cls, value: int) -> CanId:
        """Return an 11-bit identifier."""
        return cls(value, is_extended=False)

    @classmethod
    def extended(cls, value: int) -> CanId:
        """Return a 29-bit identifier."""
        return cls(value, is_extended=True)

    def __str__(self) -> str:
        return f"{self.value:08X}x" if self.is_extended else f"{self.value:03X}"


# req: REQ_0610, REQ_0611
class CanFrameKind(Enum):
    """Frame kind of a channel; it alone decides the largest payload."""

    CLASSICAL = "classical"
    FD = "fd"

    @property
    def max_payload_bytes(self) -> int:
        """Return the data bytes one frame of this kind can carry."""
        return FD_MAX_BYTES if self is CanFrameKind.FD else CLASSICAL_MAX_BYTES


class CanFdFlags(IntFlag):
    """Flags of a CAN FD frame, with the values of ``linux/can.h``.

    ``BRS`` has the data sent at the data bit rate. ``ESI`` says that the sender is error-passive; a real controller
    decides that itself, so a requested one is honoured by mock, simulated bus and vcan only.
    """

    NONE = 0
    BRS = 1
    ESI = 2


# req: REQ_0224, REQ_0601
@dataclass(frozen=True, slots=True)
class CanRouting(Routing):
    """Address of one channel: interface, identifier, kernel-style mask and frame kind.

    A received frame belongs to the channel when its extended flag equals that of ``can_id`` and all identifier bits
    set in ``mask`` are equal. Writers send with ``can_id`` as it is. ``mask`` is 32 bits wide; only the identifier
    bits of it count, and the default compares the whole identifier.

    A channel of kind ``FD`` gets CAN FD frames only, a classical one no such frame. ``fd_flags`` are those of the
    frames sent; a classical channel has none, whatever is given.

    A CAN FD frame has 0 to 8, 12, 16, 20, 24, 32, 48 or 64 data bytes. What is sent on an FD channel is padded with
    0x00 to the next of these, and the receiving codec is given the padded bytes: use one that bears them (fixed
    layouts and DBC messages do).

    Raises:
        ConfigurationError: a field has another type, ``mask`` is outside 0..0xFFFFFFFF, or ``fd_flags`` outside 0..3.
    """

    iface: CanIface
    can_id: CanId
    mask: int = FULL_MASK
    kind: CanFrameKind = CanFrameKind.CLASSICAL
    fd_flags: CanFdFlags = CanFdFlags.NONE
    head: tuple[int, bool, bool, bool, bool] = field(init=False, repr=False, compare=False)
    """What every frame sent here has: identifier, extended flag, FD, BRS, ESI."""

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.kind is CanFrameKind.CLASSICAL:
            object.__setattr__(self, "fd_flags", CanFdFlags.NONE)
        flags, can_id, is_fd = CanFdFlags(self.fd_flags), self.can_id, self.kind is CanFrameKind.FD
        head = (can_id.value, can_id.is_extended, is_fd, CanFdFlags.BRS in flags, CanFdFlags.ESI in flags)
        object.__setattr__(self, "fd_flags", flags)
        object.__setattr__(self, "head", head)

    def with_fd_flags(self, fd_flags: CanFdFlags) -> CanRouting:
        """Return a copy with other flags of CAN FD."""
        return replace(self, fd_flags=fd_flags)

    def __str__(self) -> str:
        return f"{self.iface}:{self.can_id}/{self.mask:X}"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_fields(routing: CanRouting) -> None:
    expected = (
        ("iface", CanIface, "CanIface('can0')"),
        ("can_id", CanId, "CanId.standard(0x123) or CanId.extended(...)"),
        ("mask", int, "an int 0..0xffffffff"),
        ("kind", CanFrameKind, "CanFrameKind.CLASSICAL or CanFrameKind.FD"),
        ("fd_flags", int, "CanFdFlags.BRS, CanFdFlags.ESI, both or none"),
    )
    for name, cls, way_out in expected:
        value = getattr(routing, name)
        if not isinstance(value, cls) or isinstance(value, bool):
            raise ConfigurationError(f"CanRouting.{name}: {value!r} is a {type(value).__name__}; give {way_out}")
    if not 0 <= routing.mask <= 0xFFFF_FFFF:
        raise ConfigurationError(f"CAN mask {routing.mask:#x} of id {routing.can_id} is outside 0..0xffffffff")
    if not 0 <= routing.fd_flags <= (CanFdFlags.BRS | CanFdFlags.ESI):
        raise ConfigurationError(
            f"CAN FD flags {int(routing.fd_flags):#x} of id {routing.can_id} are outside 0..3 (BRS 1, ESI 2)"
        )
