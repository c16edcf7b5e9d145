"""Whether this process may use a network interface for EtherCAT, told apart before the protocol stack is loaded.

The stack itself says the same for a missing interface and for a missing privilege. No frame is sent here.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from taktora.errors import ConfigurationError, StackError

with suppress(ImportError):  # on Windows, which require_linux refuses
    import fcntl

__all__ = [
    "ETHERTYPE",
    "check_interface",
    "has_link",
    "is_promiscuous",
    "leave_promiscuous_mode",
    "require_linux",
]

ETHERTYPE: Final = 0x88A4
"""EtherCAT's EtherType (ETG.1000.4)."""

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_IFF_PROMISC: Final = 0x100
_INTERPRETER: Final = Path(sys.executable).resolve()
"""The file behind the links of a virtual environment: setcap takes no symbolic link."""
_REQUEST: Final = struct.Struct("16sH14x")


def require_linux(place: str) -> None:
    """Return on a platform that has raw packet sockets, whatever is installed.

    Raises:
        ConfigurationError: it has none; the text begins with ``place``.
    """
    if sys.platform != "linux":
        raise ConfigurationError(f"{place}: EtherCAT needs raw packet sockets of Linux, this is {sys.platform}")


# req: REQ_0325
def check_interface(name: str) -> None:
    """Return when an EtherCAT MainDevice can be opened on the interface ``name``.

    Raises:
        ConfigurationError: this platform has no raw packet sockets.
        StackError: no such interface, no privilege (the ``PermissionError`` is chained), or the interface is down.
    """
    place = f"network interface {name!r}"
    require_linux(place)
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        there = ", ".join(sorted(known for _index, known in socket.if_nameindex())) or "none"
        raise StackError(f"{place}: no such interface, there is {there}; 'ip link' lists them") from error
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) as probe:
            flags = _flags(probe, name)
            # The stack switches to promiscuous mode: setting the flags that are set already asks for the same right.
            fcntl.ioctl(probe, _SIOCSIFFLAGS, _REQUEST.pack(name.encode(), flags))
    except PermissionError as error:
        raise StackError(
            f"{place}: no permission for a raw socket; the process that drives EtherCAT needs CAP_NET_RAW and "
            f"CAP_NET_ADMIN: run it as root, or 'setcap cap_net_raw,cap_net_admin+ep {_INTERPRETER}'"
        ) from error
    except OSError as error:
        raise StackError(f"{place}: a raw socket cannot be opened ({error.strerror})") from error
    if not flags & _IFF_UP:
        raise StackError(f"{place}: the interface is down; 'ip link set {name} up' brings it up")


def has_link(name: str) -> bool:
    """Return whether the interface has a link partner."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            return bool(_flags(probe, name) & _IFF_RUNNING)
        except OSError:
            return False


def is_promiscuous(name: str) -> bool:
    """Return whether somebody has switched the interface to promiscuous mode for good, as SOEM does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return bool(_flags(probe, name) & _IFF_PROMISC)


def leave_promiscuous_mode(name: str) -> None:
    """Take the flag of promiscuous mode back; an interface that has gone, or a right that has, is left alone."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        flags = _flags(probe, name)
        fcntl.ioctl(probe, _SIOCSIFFLAGS, _REQUEST.pack(name.encode(), flags & ~_IFF_PROMISC))


def _flags(probe: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, _REQUEST.pack(name.encode(), 0))
    flags: int = _REQUEST.unpack(answer)[1]
    return flags
