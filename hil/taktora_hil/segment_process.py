"""The process that answers as an EtherCAT segment on a rig: a network namespace of its own and a World on wall time.

``python -m taktora_hil.segment_process``, started by :class:`taktora_hil.rig_ethercat.EthercatRig` only. It leaves the
network namespace of its parent first; when it ends, however it ends, the kernel takes the namespace down and both ends
of the cable with it. Lines of JSON on standard input and output, as :mod:`taktora_sim.ethercat.serve` has them, with a
first line that says what to be, and two requests more::

    {"do": "outputs", "label": "axis1"}  -> {"ok": true, "changes": [[monotonic_ns, "c0ff", null], ...]}
    {"do": "faults"}                     -> {"ok": true, "now_ns": ..., "lines": [[since_start_ns, "what"], ...]}

What it was told to be and cannot, it answers with ``{"ready": false, "error": ...}`` and ends with status 2.
The end of standard input, which is the parent's end as well, ends the process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from time import monotonic_ns
from typing import Any

import msgspec

from taktora.errors import TaktoraError
from taktora.ethercat.network import EthercatBusSpec
from taktora.executor.attributes import ThreadAttributes, apply_attributes
from taktora_sim.ethercat.application import Application
from taktora_sim.ethercat.backend import attach_plants
from taktora_sim.ethercat.devices import build_segment
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.serve import ControlChannel, open_interface, serve
from taktora_sim.plan import FaultPlan
from taktora_sim.report.page import fault_lines
from taktora_sim.world import World

__all__ = ["main"]

_CLONE_NEWNET = 0x40000000
_CHANGES_KEPT = 4096


class OutputWatch:
    """Notes when the outputs of one device change: the figures that safety is judged by.

    It takes the place of two methods of the device, so that whoever looks for the device finds it as it is.
    """

    def __init__(self, application: Application) -> None:
        self._take = application.outputs
        self._make_safe = application.safe_outputs
        self._last: bytes | None = None
        self.changes: deque[tuple[int, str, str | None]] = deque(maxlen=_CHANGES_KEPT)
        """When (monotonic ns of this machine), the outputs in hex, and why they became safe if they did."""
        setattr(application, "outputs", self._outputs)  # noqa: B010 - a method of an instance
        setattr(application, "safe_outputs", self._safe_outputs)  # noqa: B010 - likewise

    def _outputs(self, data: memoryview) -> None:
        value = bytes(data)
        if value != self._last:
            self._last = value
            self.changes.append((monotonic_ns(), value.hex(), None))
        self._take(data)

    def _safe_outputs(self, reason: str) -> None:
        self._last = None
        self.changes.append((monotonic_ns(), "", reason))
        self._make_safe(reason)


class RigControl(ControlChannel):
    """The control channel of the simulated segment, with the history of outputs."""

    def __init__(self, segment: SimulatedSegment, reads: int, writes: int) -> None:
        super().__init__(segment, reads, writes)
        self._world = segment.world
        self._watches = {device.label: OutputWatch(device.application) for device in segment.subdevices}

    def _do(self, request: dict[str, Any]) -> dict[str, object]:
        if request["do"] == "outputs":
            return {"changes": list(self._watches[request["label"]].changes)}
        if request["do"] == "faults":
            lines = sorted((line.t_ns, line.text) for line in fault_lines(self._world.faults.fired))
            return {"now_ns": self._world.now_ns(), "lines": lines}
        return super()._do(request)


def main() -> int:
    """Leave the namespace, become the segment that the first line describes, and answer until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means, and ends this by its own end
    reads = sys.stdin.fileno()
    _leave_namespace()
    print(json.dumps({"unshared": True}), flush=True)  # noqa: T201 - the control channel
    wanted = json.loads(_first_line(reads))
    try:
        _become(wanted, reads)
    except TaktoraError as error:
        print(json.dumps({"ready": False, "error": str(error)}), flush=True)  # noqa: T201 - likewise
        return 2
    return 0


def _become(wanted: dict[str, Any], reads: int) -> None:
    """Be the segment until told to end. Raises ``TaktoraError`` where it cannot be what is wanted."""
    _bring_up(wanted["interface"])
    scheduling = apply_attributes(ThreadAttributes(priority=wanted["priority"]))
    spec = msgspec.convert(wanted["spec"], EthercatBusSpec)
    plan = None if wanted["plan"] is None else FaultPlan.load(Path(wanted["plan"]))
    with World(wanted["seed"], name=wanted["bus"], plan=plan) as world, open_interface(wanted["interface"]) as end:
        segment = build_segment(world, wanted["bus"], spec, folder=Path(wanted["folder"]))
        attach_plants(segment, wanted["plants"], Path(wanted["plants_folder"]))
        world.faults.hints.append(_not_here)
        if wanted["record"] is not None:
            _record(segment, Path(wanted["record"]))
        control = RigControl(segment, reads, sys.stdout.fileno())
        world.start()
        gc.collect()
        gc.freeze()  # a pause of the collector in the middle of a frame is a late frame
        control.announce(bus=wanted["bus"], policy=scheduling.policy, refused=list(scheduling.refused))
        serve(segment, world, end, lambda: False, control)


def _not_here(path: str) -> str:
    """Say why a target of a simulated run is none here; a hint of the fault board."""
    if not path.startswith("app/"):
        return ""
    return (
        "on the rig an application is a process of its own and no target: take the fault out of the plan, and stop or "
        "end the process itself (kill -STOP, kill -KILL)"
    )


def _leave_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "unshare of the network namespace")


def _first_line(fd: int) -> bytes:
    """Read one line without taking more: the control channel reads the same descriptor."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return bytes(line)


def _bring_up(interface: str) -> None:
    Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")
    subprocess.run(["ip", "link", "set", interface, "up"], check=True)  # noqa: S603, S607 - a name of our own


def _record(segment: SimulatedSegment, path: Path) -> None:
    from taktora_sim.ethercat.pcapng import SegmentRecording

    SegmentRecording(segment, path)


if __name__ == "__main__":
    sys.exit(main())
