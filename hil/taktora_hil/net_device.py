"""Network devices of this machine's kernel, by system call: a command for each would cost a guest most of its time."""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from pathlib import Path
from typing import Final

from taktora.errors import ConfigurationError

__all__ = ["exists", "set_mtu", "set_up"]

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFMTU: Final = 0x8922
_IFF_UP: Final = 1
_FLAGS: Final = struct.Struct("16sh22x")
_MTU: Final = struct.Struct("16si20x")


def exists(name: str) -> bool:
    """Say whether there is a device of that name."""
    return Path("/sys/class/net", name).exists()


def set_up(name: str, is_up: bool) -> None:
    """Bring a device up or down, as an administrator does.

    Raises:
        ConfigurationError: there is none, or it is not permitted.
    """
    _, flags = _FLAGS.unpack(_call(name, _SIOCGIFFLAGS, _FLAGS.pack(name.encode(), 0)))
    wanted = flags | _IFF_UP if is_up else flags & ~_IFF_UP
    _call(name, _SIOCSIFFLAGS, _FLAGS.pack(name.encode(), wanted))


def set_mtu(name: str, mtu: int) -> None:
    """Set the longest frame of a device in bytes; CAN devices are to be down.

    Raises:
        ConfigurationError: the kernel refuses it.
    """
    _call(name, _SIOCSIFMTU, _MTU.pack(name.encode(), mtu))


def _call(name: str, request: int, argument: bytes) -> bytes:
    from fcntl import ioctl  # of Unix only

    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as any_socket:
        try:
            return ioctl(any_socket, request, argument)
        except OSError as error:
            raise ConfigurationError(f"network device {name!r}: {error.strerror}") from error
