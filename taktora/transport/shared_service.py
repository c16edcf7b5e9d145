"""What all ports in shared memory have in common; it works on iceoryx2 objects that it is given and imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_ubyte
from typing import Any

__all__ = ["SharedPort", "SharedService", "view_of"]


def view_of(address: int, size_bytes: int) -> memoryview:
    return memoryview((c_ubyte * size_bytes).from_address(address)).cast("B")


class SharedService:
    """One service handle and how many ports need it."""

    __slots__ = ("handle", "iox", "kept", "key", "name", "ports", "publishers", "subscribers")

    def __init__(self, iox: Any, key: tuple[str, str], handle: Any, *, kept: bool) -> None:
        self.iox = iox
        self.key = key
        self.name = key[1]
        self.handle = handle
        self.kept = kept
        self.ports = 0
        self.publishers: dict[int, Any] = {}
        self.subscribers: dict[int, Any] = {}


class SharedPort:
    """What every port shares: a name, a native port to delete, and who is told of the end."""

    __slots__ = ("_closed", "_iox", "_on_close", "_port", "service")

    def __init__(self, service: SharedService, port: Any, on_close: Callable[[], None]) -> None:
        self.service = service.name
        self._iox = service.iox
        self._port = port
        self._on_close = on_close
        self._closed = False

    def _before_close(self) -> None:
        """Give back what the port still holds."""

    def close(self) -> None:
        if self._closed:
            return
        self._before_close()
        self._closed = True
        self._port.delete()
        self._port = None
        self._on_close()
