"""One MainDevice at a time on a network interface, and the interface afterwards as it was before.

Two MainDevices on one segment configure each other's SubDevices away, and neither sees why. The hold is the name of an
abstract Unix socket: the kernel keeps such names apart by network namespace, as it does interfaces, and frees one with
the process that has it, however that ends. It binds those who ask: this package's driver and scan.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from taktora.errors import StackError
from taktora.ethercat.driver import Steps
from taktora.ethercat.nic import is_promiscuous, leave_promiscuous_mode

__all__ = ["InterfaceHold"]

_PATIENCE_NS: Final = 3_000_000_000
"""How long a process that is just ending has for its way out: safe outputs, SAFE-OP, INIT."""
_POLL_NS: Final = 20_000_000
_CREDENTIALS: Final = struct.Struct("3i")
_DRIVER_PROCESS: Final = "taktora.ethercat.bus_process"
_WORDS_SHOWN: Final = 6


# req: REQ_0312
class InterfaceHold:
    """The exclusive use of one network interface of this namespace, from :meth:`take` to :meth:`release`.

    Args:
        interface: Its name.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._place = f"interface {interface!r}"
        self._socket: socket.socket | None = None
        self._was_promiscuous = True

    def take(self, now_ns: Callable[[], int]) -> Steps[None]:
        """Wait until nobody else holds the interface, 3 s at most.

        Args:
            now_ns: Monotonic time of the instants that are yielded.

        Raises:
            StackError: somebody holds it for longer, the text names the process; or the interface has gone.
        """
        give_up_ns = now_ns() + _PATIENCE_NS
        while not self._try():
            if now_ns() >= give_up_ns:
                raise StackError(self._refusal())
            yield now_ns() + _POLL_NS

    # req: REQ_0325
    def release(self) -> None:
        """Give it back, without the promiscuous mode that SOEM has switched on; idempotent."""
        held, self._socket = self._socket, None
        if held is None:
            return
        try:
            if not self._was_promiscuous:
                leave_promiscuous_mode(self._interface)
        finally:
            held.close()

    def _try(self) -> bool:
        name = self._name()
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(name)
            held.listen(socket.SOMAXCONN)  # who is refused asks the kernel here whose it is
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._socket = held
        self._was_promiscuous = is_promiscuous(self._interface)
        return True

    def _name(self) -> str:
        try:
            return f"\0taktora-ethercat-{socket.if_nametoindex(self._interface)}"
        except OSError as error:
            raise StackError(f"{self._place}: it has been removed; start again once it is back") from error

    def _refusal(self) -> str:
        holder = _application(self._holder())
        if not holder:
            return f"{self._place} is driven by another process; stop it first"
        if holder == _application(os.getpid()):
            return f"{self._place} is driven by another bus of this application; give each bus an interface of its own"
        return (
            f"{self._place} is driven by process {holder} ({' '.join(_command(holder)[:_WORDS_SHOWN])}); stop it first"
        )

    def _holder(self) -> int:
        """Return the process that holds the interface, 0 where this one may not know."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            try:
                asking.connect(self._name())
                answer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            except OSError:  # it has gone meanwhile, or many have asked
                return 0
        pid: int = _CREDENTIALS.unpack(answer)[0]
        return pid


def _application(pid: int) -> int:
    """Return the process that somebody has started: the parent, where ``pid`` is the driver's process of a bus."""
    if _DRIVER_PROCESS not in _command(pid):
        return pid
    for line in _read(pid, "status").splitlines():
        if line.startswith("PPid:"):
            parent = int(line.split()[1])
            return parent if parent > 1 else pid
    return pid


def _command(pid: int) -> list[str]:
    return _read(pid, "cmdline").rstrip("\0").split("\0")


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
