"""An EtherCAT segment made of software behind a virtual cable: for the real driver, on a machine without hardware.

The far end of a veth pair lies in the network namespace of the process that answers
(:mod:`taktora_hil.segment_process`), the near end is a network interface here, to be used like ``eth1``. The kernel
removes both with that process, and that process ends with this one: nothing is left after a kill either.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from taktora.errors import ConfigurationError
from taktora.ethercat.network import EthercatBusSpec
from taktora.extras import missing_text, not_installed

__all__ = ["EthercatRig", "FaultLine", "OutputChange", "SegmentControl", "why_no_rig"]

_CAP_NET_ADMIN, _CAP_NET_RAW, _CAP_SYS_ADMIN = 12, 13, 21
_ANSWER_PATIENCE_S: Final = 20.0
_END_PATIENCE_S: Final = 5.0
_NUMBERS = count()
_OUR_NAME: Final = re.compile(r"tk(\d+)[vp]\d+")


# req: REQ_8507
def why_no_rig() -> str:
    """Return why this machine cannot run the rig, as ``not run: ...``; empty when it can."""
    if sys.platform != "linux":
        return f"not run: the EtherCAT rig needs Linux, this is {sys.platform}"
    if shutil.which("ip") is None:
        return "not run: the EtherCAT rig needs the command ip (package iproute2)"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = int(re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE).group(1), 16)  # type: ignore[union-attr]
    names = {_CAP_NET_ADMIN: "CAP_NET_ADMIN", _CAP_NET_RAW: "CAP_NET_RAW", _CAP_SYS_ADMIN: "CAP_SYS_ADMIN"}
    missing = [name for bit, name in names.items() if not held >> bit & 1]
    if missing:
        return f"not run: the EtherCAT rig needs {' and '.join(missing)}; run as root, or under 'unshare -Urn'"
    lacks = not_installed(("pysoem", "simpy"))
    return f"not run: the EtherCAT rig {missing_text(lacks)}" if lacks else ""


class OutputChange(NamedTuple):
    """One change of a simulated device's outputs.

    Args:
        at_ns: CLOCK_MONOTONIC of this machine, as the segment's process read it.
        data: The output image; empty when the outputs were made safe.
        safe_because: Why they were; None when the MainDevice wrote them.
    """

    at_ns: int
    data: bytes
    safe_because: str | None


class FaultLine(NamedTuple):
    """The beginning or the end of a fault.

    Args:
        at_ns: Since the segment began to answer, as a plan counts.
        unix_ns: Civil time, within some milliseconds.
        text: What happened.
    """

    at_ns: int
    unix_ns: int
    text: str


class SegmentControl:
    """Talks with the process behind the rig: faults and what its devices do. Not for several threads at once."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._rest = b""

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return state, process data and values of each SubDevice, by label."""
        return {device["label"]: device for device in self.ask({"do": "snapshot"})["subdevices"]}

    def frames(self) -> int:
        """Return how many frames were answered or lost so far."""
        return int(self.ask({"do": "snapshot"})["frames"])

    def output_changes(self, label: str) -> list[OutputChange]:
        """Return the latest changes of the outputs of ``label``, the oldest first."""
        changes = self.ask({"do": "outputs", "label": label})["changes"]
        return [OutputChange(at_ns, bytes.fromhex(data), because) for at_ns, data, because in changes]

    def faults(self) -> list[FaultLine]:
        """Return when faults have begun and ended so far, the oldest first."""
        answer = self.ask({"do": "faults"})
        start_unix_ns = time.time_ns() - answer["now_ns"]
        return [FaultLine(at_ns, start_unix_ns + at_ns, text) for at_ns, text in answer["lines"]]

    def inject(self, target: str, kind: str, duration_ns: int | None = None, **parameters: Any) -> int:
        """Begin a fault and return its number, for :meth:`end`.

        Raises:
            ConfigurationError: unknown target, kind or parameter.
        """
        request = {"do": "inject", "target": target, "kind": kind, "parameters": parameters}
        return int(self.ask({**request, "duration_ns": duration_ns})["fault"])

    def end(self, fault: int) -> None:
        """End a fault."""
        self.ask({"do": "end", "fault": fault})

    @contextmanager
    def fault(self, target: str, kind: str, **parameters: Any) -> Iterator[None]:
        """Hold a fault for the duration of a ``with`` block."""
        number = self.inject(target, kind, **parameters)
        try:
            yield
        finally:
            self.end(number)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            ConfigurationError: it was refused, or the process is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ConfigurationError(self._gone()) from None
        answer = self.read()
        if not answer.get("ok"):
            raise ConfigurationError(f"the rig's segment refused {request}: {answer.get('error')}")
        return answer

    def read(self) -> dict[str, Any]:
        """Return the next line that the process says.

        Raises:
            ConfigurationError: it says nothing in time, or is gone.
        """
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        give_up_s = time.monotonic() + _ANSWER_PATIENCE_S
        while b"\n" not in self._rest:
            if not select.select([fd], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
                raise ConfigurationError(f"the rig's segment did not answer within {_ANSWER_PATIENCE_S:g} s")
            data = os.read(fd, 65536)
            if not data:
                raise ConfigurationError(self._gone())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _gone(self) -> str:
        try:
            status = self._process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "the rig's segment has closed its control channel"
        return f"the rig's segment ended with exit status {status}; its standard error says why"


# req: REQ_8505
class EthercatRig:
    """A context manager: segment, cable and control for as long as the ``with`` block lasts.

    Args:
        spec: What is on the segment, as the machine file says it.
        bus: Name of the bus; fault targets are ``ethercat/<bus>`` and ``ethercat/<bus>/<label>``.
        folder: Folder that paths inside ``spec`` are relative to.
        seed: Seed of the World behind the segment.
        plan: Fault plan of that World; times count from its start.
        plants: What the devices move, by label, as ``[ethercat.BUS.plant.LABEL]`` of a bench file says it.
        plants_folder: Folder of that bench file.
        record: pcapng file to write.
        interface: Name of the near end of the cable; one of its own unless given.
        priority: SCHED_FIFO priority of the segment's process, where the system allows it: hardware is never late
            because somebody compiles. None: ordinary.
    """

    def __init__(
        self,
        spec: EthercatBusSpec,
        bus: str = "cell",
        *,
        folder: Path | None = None,
        seed: int = 0,
        plan: Path | None = None,
        plants: Mapping[str, Mapping[str, object]] | None = None,
        plants_folder: Path | None = None,
        record: Path | None = None,
        interface: str | None = None,
        priority: int | None = 60,
    ) -> None:
        number = next(_NUMBERS)
        self.bus: Final = bus
        self.interface: Final = interface or f"tk{os.getpid()}v{number}"
        """The near end of the cable: what ``interface`` of a bench file names."""
        self._far = f"tk{os.getpid()}p{number}"
        self._wanted = {
            "interface": self._far,
            "bus": bus,
            "spec": msgspec.to_builtins(spec),
            "folder": str((folder or Path()).absolute()),
            "seed": seed,
            "plan": None if plan is None else str(plan.absolute()),
            "plants": {label: dict(settings) for label, settings in (plants or {}).items()},
            "plants_folder": str((plants_folder or Path()).absolute()),
            "record": None if record is None else str(record.absolute()),
            "priority": priority,
        }
        self.facts: dict[str, Any] = {}
        """What the segment's process said when it was ready: its scheduling policy, and what was refused of it."""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: SegmentControl | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the segment's process while the rig runs."""
        return None if self._process is None else self._process.pid

    @property
    def control(self) -> SegmentControl:
        """The way to the segment's process; inside the ``with`` block."""
        if self._control is None:
            raise ConfigurationError("the rig is not running; use it as a context manager")
        return self._control

    @property
    def is_alive(self) -> bool:
        """Whether the segment's process runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        reason = why_no_rig()
        if reason:
            raise ConfigurationError(reason)
        _check_name(self.interface)
        reap_leftovers()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the segment and remove the cable; within a few seconds, idempotent."""
        process, self._process, self._control = self._process, None, None
        if process is not None:
            _end(process)
        give_up_s = time.monotonic() + _END_PATIENCE_S
        while _exists(self.interface):  # the kernel takes a namespace down a moment later
            if time.monotonic() > give_up_s:
                _ip("link", "del", self.interface)
                return
            time.sleep(0.005)

    def _start(self) -> None:
        _ip("link", "add", self.interface, "type", "veth", "peer", "name", self._far)
        Path(f"/proc/sys/net/ipv6/conf/{self.interface}/disable_ipv6").write_text("1", encoding="utf-8")
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "taktora_hil.segment_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C at a terminal is for this process; the other one ends with it
        )
        control = SegmentControl(process)
        control.read()  # it is in its own namespace now
        _ip("link", "set", self._far, "netns", str(process.pid))
        _ip("link", "set", self.interface, "up")
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._wanted).encode() + b"\n")
        process.stdin.flush()
        facts = control.read()
        if not facts["ready"]:
            raise ConfigurationError(facts["error"])
        self.facts = facts  # frames are answered from now on
        self._control = control


def namespace_hint(pid: int) -> str:
    """Return how another terminal gets to the interfaces that ``pid`` sees; empty where every process sees them."""
    has_users = Path("/proc/self/uid_map").read_text(encoding="utf-8").split() != ["0", "0", str(2**32 - 1)]
    if not has_users and _namespace("1") in (_namespace("self"), ""):
        return ""
    users = " -U --preserve-credentials" if has_users else ""
    return f"nsenter -t {pid} -n{users}"


def _namespace(process: str) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return ""


def _check_name(interface: str) -> None:
    if not re.fullmatch(r"[^\s/:]{1,15}", interface) or interface in (".", ".."):
        raise ConfigurationError(
            f"interface {interface!r}: a name has 1 to 15 characters, no blank, no slash, no colon"
        )
    if _exists(interface):
        raise ConfigurationError(f"interface {interface!r} is there already; give the rig another name")


def reap_leftovers() -> None:
    """Remove cables of rigs whose process is gone: one that was killed before it had handed over the far end."""
    for _index, name in socket.if_nameindex():  # not /sys/class/net: that may show another namespace
        found = _OUR_NAME.fullmatch(name)
        if found and not Path(f"/proc/{found.group(1)}").exists():
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)  # noqa: S603, S607


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    try:
        process.wait(_END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _exists(interface: str) -> bool:
    return any(name == interface for _index, name in socket.if_nameindex())


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise ConfigurationError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
