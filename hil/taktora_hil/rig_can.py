"""Virtual CAN interfaces of this machine's kernel: for the real driver, without hardware.

They are called ``vcan0``, ``vcan1`` ... like an administrator's, the first numbers that are free. They go with the
``with`` block; those of a process that was killed go when the next rig starts, which knows them by their alias.
A kernel without CAN runs the same in a guest: ``python -m taktora_hil.vcan``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from taktora.errors import ConfigurationError
from taktora_hil import net_device

__all__ = ["RECORDINGS", "CanPair", "CanRig", "why_no_rig"]

RECORDINGS: Final = "TAKTORA_CAN_RECORDINGS"
"""Environment variable: the folder in which the rig of a test run records what was on its interfaces."""

_CAP_NET_ADMIN: Final = 12
_HIGHEST: Final = 999
_QUEUE: Final = 10
"""Frames in the transmit queue of an ordinary CAN interface."""
_COUNTED_BYTES: Final = 16
"""What a classical frame counts in a queue, whatever its length."""
_CLASSICAL_MTU: Final = 16
_FD_MTU: Final = 72
_START_PATIENCE_S: Final = 20.0
_END_PATIENCE_S: Final = 5.0
_ALIAS: Final = re.compile(r"taktora rig of process (\d+)")
_pairs = count()
_GUEST: Final = "'nox -s vcan' runs the CAN rig in a guest"


# req: REQ_8507, REQ_8510
def why_no_rig() -> str:
    """Return why this machine cannot run the rig itself, as ``not run: ...``; empty when it can."""
    if sys.platform != "linux":
        return f"not run: the CAN rig needs Linux, this is {sys.platform}"
    if shutil.which("ip") is None:
        return "not run: the CAN rig needs the command ip (package iproute2)"
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError as error:
        return f"not run: this kernel has no CAN (AF_CAN: {error.strerror}); load can-raw and vcan, or {_GUEST}"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = int(re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE).group(1), 16)  # type: ignore[union-attr]
    if not held >> _CAP_NET_ADMIN & 1:
        return f"not run: the CAN rig needs CAP_NET_ADMIN; run as root, or under 'unshare -Urn', or {_GUEST}"
    try:
        CanRig(1).__enter__().close()
    except ConfigurationError as error:
        return f"not run: this kernel makes no vcan interface ({error}); 'modprobe vcan', or {_GUEST}"
    return ""


# req: REQ_8505
class CanRig:
    """A context manager: virtual CAN interfaces that are up and carry CAN FD, each a bus of its own.

    Args:
        count: How many.
        record: Folder for a candump log per interface, ``<interface>.log``; needs candump (package can-utils).
    """

    def __init__(self, count: int = 2, *, record: Path | None = None) -> None:
        self._count = count
        self._record = record
        self._stack = ExitStack()
        self.interfaces: tuple[str, ...] = ()
        """Names of the interfaces inside the ``with`` block."""

    def __enter__(self) -> Self:
        _reap_leftovers()
        try:
            for _ in range(self._count):
                self._add()
            if self._record is not None:
                for name in self.interfaces:
                    self._start_recording(name, self._record)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the recordings and remove the interfaces; idempotent."""
        self._stack.close()
        self.interfaces = ()

    def set_up(self, interface: str, is_up: bool) -> None:
        """Bring one of the interfaces up or down, as an administrator does."""
        net_device.set_up(interface, is_up)

    # req: REQ_0611
    def carry_fd(self, interface: str, is_fd: bool) -> None:
        """Have one of the interfaces carry CAN FD or classical frames only; it is down for a moment."""
        self.set_up(interface, False)
        _ip("link", "set", interface, "mtu", str(_FD_MTU if is_fd else _CLASSICAL_MTU), "up")

    def remove(self, interface: str) -> None:
        """Take one of the interfaces away, as the end of a USB adapter does."""
        _ip("link", "del", interface)

    # req: REQ_0607
    def plug(self, interface: str, queue: int = _QUEUE) -> None:
        """Let nothing leave ``interface``: ``queue`` frames wait, the next finds the transmit queue full (ENOBUFS).

        The host's own sockets get a frame when it is queued, as ever on vcan. Needs the module sch_plug.
        """
        limit = str(queue * _COUNTED_BYTES)
        _run("tc", "qdisc", "replace", "dev", interface, "root", "plug", "limit", limit)
        _run("tc", "qdisc", "change", "dev", interface, "root", "plug", "block")

    def unplug(self, interface: str, frames_per_s: int = 200) -> None:
        """Drop what :meth:`plug` has held, and let what follows go at the pace of a bus. Needs the module sch_tbf."""
        queue = str(_QUEUE * _COUNTED_BYTES)
        pace = ("rate", f"{frames_per_s * _COUNTED_BYTES}bps", "burst", queue, "limit", queue)
        _run("tc", "qdisc", "replace", "dev", interface, "root", "tbf", *pace)

    def unplug_at_once(self, interface: str) -> None:
        """Drop what :meth:`plug` has held, and let what follows go as fast as ever."""
        _run("tc", "qdisc", "del", "dev", interface, "root")

    def _add(self) -> None:
        name = _add_first_free("type", "vcan")
        self.interfaces += (name,)
        self._stack.callback(_remove_if_there, name)
        _raise(name)

    def _start_recording(self, name: str, folder: Path) -> None:
        if shutil.which("candump") is None:
            raise ConfigurationError(f"recording {name} needs the command candump (package can-utils)")
        folder.mkdir(parents=True, exist_ok=True)
        log = self._stack.enter_context((folder / f"{name}.log").open("wb"))
        before = _receivers(name)
        recorder = subprocess.Popen(["candump", "-D", "-L", name], stdout=log)  # noqa: S603, S607
        self._stack.callback(_end, recorder)
        give_up_s = time.monotonic() + _START_PATIENCE_S
        while _receivers(name) == before:
            if recorder.poll() is not None or time.monotonic() > give_up_s:
                raise ConfigurationError(f"candump does not record {name}; its standard error says why")
            time.sleep(0.005)


class CanPair:
    """A context manager: two interfaces that hear each other as two hosts on one bus do. Needs the module vxcan."""

    def __init__(self) -> None:
        self.interfaces: tuple[str, ...] = ()
        """Both names inside the ``with`` block."""

    def __enter__(self) -> Self:
        _reap_leftovers()
        far = f"vp{os.getpid()}n{next(_pairs)}"
        near = _add_first_free("type", "vxcan", "peer", "name", far)
        self.interfaces = (near, far)
        try:
            for name in self.interfaces:
                _raise(name)
        except BaseException:
            _remove_if_there(near)
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        near, *_ = self.interfaces
        self.interfaces = ()
        _remove_if_there(near)  # and the other end with it


def _raise(name: str) -> None:
    alias = f"taktora rig of process {os.getpid()}"
    _ip("link", "set", name, "mtu", str(_FD_MTU), "alias", alias, "up")


def _add_first_free(*kind: str) -> str:
    """Make the first ``vcanN`` that is free; the kernel decides between two who try at once."""
    for number in range(_HIGHEST):
        name = f"vcan{number}"
        if net_device.exists(name):
            continue
        try:
            _ip("link", "add", name, *kind)
        except ConfigurationError:
            if not net_device.exists(name):
                raise
            continue
        return name
    raise ConfigurationError(f"vcan0 to vcan{_HIGHEST - 1} are all taken; 'ip link' lists them")


def _reap_leftovers() -> None:
    """Remove interfaces of rigs whose process is gone."""
    for path in Path("/sys/class/net").glob("vcan*"):
        try:
            found = _ALIAS.fullmatch((path / "ifalias").read_text(encoding="utf-8").strip())
        except OSError:  # it went meanwhile
            continue
        if found and not Path(f"/proc/{found.group(1)}").exists():
            _remove_if_there(path.name)


def _remove_if_there(name: str) -> None:
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)  # noqa: S603, S607


def _receivers(interface: str) -> int:
    """Count the sockets that take every frame of ``interface``, as the kernel lists them."""
    listed = Path("/proc/net/can/rcvlist_all").read_text(encoding="ascii").splitlines()
    return sum(line.split()[0] == interface for line in listed if line.strip())


def _end(recorder: subprocess.Popen[Any]) -> None:
    give_up_s = time.monotonic() + _END_PATIENCE_S
    while not _sleeps(recorder.pid) and time.monotonic() < give_up_s:
        time.sleep(0.005)  # it still has frames to write, and a signal would end it without them
    recorder.terminate()
    try:
        recorder.wait(_END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        recorder.kill()
        recorder.wait()


def _sleeps(pid: int) -> bool:
    """Say whether a process waits for something (or has ended), by the state in /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "SZ"
    except OSError:
        return True


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ConfigurationError(f"{' '.join(command)}: {done.stderr.strip()}")
