"""One segment of all kinds of devices, driven in virtual time or by SOEM on the rig: the same calls for both."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from taktora.ethercat.driver import BusDriver, Steps
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.resolve import resolve
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from taktora_sim.ethercat.devices import build_segment
from taktora_sim.ethercat.frame import Datagram, decode_frame
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.ethercat.pcapng import SegmentRecording
from taktora_sim.world import World
from tests.system.ethercat import cell as rig_cell

__all__ = ["SegmentBench", "open_bench"]

T = TypeVar("T")

_PACKET, _OUTBOUND = 6, 2
"""Block type of pcapng, and the flag of a packet that was sent."""


class SegmentBench(Protocol):
    """A segment and whoever drives it, in one of the worlds."""

    spec: EthercatBusSpec
    plan: BusPlan

    def driver(self, plan: BusPlan | None = None) -> BusDriver:
        """Return a new MainDevice, closed at the end of the test."""
        ...

    def run(self, steps: Steps[T]) -> T:
        """Step an operation of a driver to its end."""
        ...

    def pause(self, duration_ns: int) -> None:
        """Let time go by."""
        ...

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return what each SubDevice is doing, by label."""
        ...

    def frames(self) -> list[list[Datagram]]:
        """End the driver and the segment; return the frames that were sent, as their datagrams."""
        ...

    def inject(self, label: str, kind: str, duration_ns: int | None = None, **parameters: Any) -> Any:
        """Begin a fault of a SubDevice and return what ends it."""
        ...

    def end(self, fault: Any) -> None:
        """End a fault."""
        ...


class _VirtualBench:
    def __init__(self, spec: EthercatBusSpec, folder: Path, stack: ExitStack) -> None:
        self.spec = spec
        self.plan = resolve(spec)
        self._world = stack.enter_context(World(1))
        self._segment = build_segment(self._world, "cell", spec, folder)
        self._recording = folder / "bus.pcapng"
        SegmentRecording(self._segment, self._recording)
        self._stack = stack
        self._world.start()

    def driver(self, plan: BusPlan | None = None) -> BusDriver:
        driver = SimulatedMainDevice(self._segment, plan or self.plan)
        self._stack.callback(driver.close)
        return driver

    def run(self, steps: Steps[T]) -> T:
        while True:
            try:
                due_ns = next(steps)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._world.run_for(max(0, due_ns - self._world.now_ns()))

    def pause(self, duration_ns: int) -> None:
        self._world.run_for(duration_ns)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        return {device.label: device.snapshot() for device in self._segment.subdevices}

    def frames(self) -> list[list[Datagram]]:
        self._stack.close()
        return _sent(self._recording)

    def inject(self, label: str, kind: str, duration_ns: int | None = None, **parameters: Any) -> Any:
        return self._world.faults.inject(f"ethercat/cell/{label}", kind, duration_ns, parameters)

    def end(self, fault: Any) -> None:
        fault()


class _RigBench:
    def __init__(self, spec: EthercatBusSpec, folder: Path, stack: ExitStack) -> None:
        self.spec = spec
        self._recording = folder / "bus.pcapng"
        self._rig = stack.enter_context(EthercatRig(spec, folder=folder, record=self._recording))
        self.plan = replace(resolve(spec), network_interface=self._rig.interface)
        self._stack = stack

    def driver(self, plan: BusPlan | None = None) -> BusDriver:
        driver = SoemDriver(plan or self.plan, SoemOptions(frame_timeout_us=rig_cell.STEPPED_FRAME_TIMEOUT_US))
        self._stack.callback(driver.close)
        return driver

    def run(self, steps: Steps[T]) -> T:
        return rig_cell.run(steps)

    def pause(self, duration_ns: int) -> None:
        time.sleep(duration_ns / 1e9)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        return self._rig.control.snapshot()

    def frames(self) -> list[list[Datagram]]:
        self._stack.close()
        return _sent(self._recording)

    def inject(self, label: str, kind: str, duration_ns: int | None = None, **parameters: Any) -> Any:
        return self._rig.control.inject(f"ethercat/cell/{label}", kind, duration_ns, **parameters)

    def end(self, fault: Any) -> None:
        self._rig.control.end(fault)


def _sent(recording: Path) -> list[list[Datagram]]:
    """Return what the packets of a pcapng file hold that were sent, not received."""
    content, found, at = recording.read_bytes(), [], 0
    while at < len(content):
        kind, total = struct.unpack_from("<II", content, at)
        if kind == _PACKET and struct.unpack_from("<I", content, at + total - 12)[0] == _OUTBOUND:
            (size,) = struct.unpack_from("<I", content, at + 20)
            found.append(decode_frame(content[at + 28 : at + 28 + size]))
        at += total
    return found


@contextmanager
def open_bench(world: str, spec: EthercatBusSpec, folder: Path) -> Iterator[SegmentBench]:
    """Give a segment in the world ``sim`` or ``rig``; a machine that has no rig says why."""
    if world == "rig" and (reason := why_no_rig()):
        pytest.skip(reason)
    with ExitStack() as stack:
        yield (_VirtualBench if world == "sim" else _RigBench)(spec, folder, stack)
