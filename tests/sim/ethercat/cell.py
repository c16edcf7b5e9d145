"""A cell for the tests of the MainDevice: a segment of all kinds of devices, its plan, and a pacer for generators."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from taktora.ethercat.driver import Steps
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.resolve import resolve
from taktora_sim.ethercat.devices import SimulatedDevice, build_segment, device_of
from taktora_sim.ethercat.frame import Command, Datagram, decode_frame
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.world import World

T = TypeVar("T")

MS = 1_000_000
S = 1_000_000_000


def entry(name: str, type: str, **more: Any) -> dict[str, Any]:  # noqa: A002
    return {"name": name, "type": type, **more}


def coupler(label: str = "coupler", **more: Any) -> dict[str, Any]:
    return {"label": label, "identity": _identity(0x100), **more}


def inputs(label: str, bits: int, **more: Any) -> dict[str, Any]:
    pdos = {"tx": [{"index": 0x1A00, "entries": [entry("value", "bits", bit_length=bits)]}]}
    return {"label": label, "identity": _identity(0x200 + bits), "pdos": pdos, **more}


def outputs(label: str, bits: int, **more: Any) -> dict[str, Any]:
    pdos = {"rx": [{"index": 0x1600, "entries": [entry("value", "bits", bit_length=bits)]}]}
    return {
        "label": label,
        "identity": _identity(0x300 + bits),
        "pdos": pdos,
        "sm_watchdog_enabled": True,
        **more,
    }


def drive(label: str, **more: Any) -> dict[str, Any]:
    rx = [
        {"index": 0x1600, "entries": [entry("control", "u16", index=0x6040), entry("target", "i32", index=0x607A)]},
        {"index": 0x1601, "entries": [entry("mode", "i8", index=0x6060)]},
    ]
    tx = [{"index": 0x1A00, "entries": [entry("status", "u16", index=0x6041), entry("position", "i32", index=0x6064)]}]
    return {
        "label": label,
        "identity": _identity(0x400),
        "pdos": {"rx": rx, "tx": tx},
        "sm_watchdog_enabled": True,
        "mailbox": {},
        **more,
    }


def _identity(product_code: int) -> dict[str, int]:
    return {"vendor_id": 0x7E57, "product_code": product_code, "revision": 1}


def bus(*devices: dict[str, Any], **more: Any) -> EthercatBusSpec:
    return msgspec.convert({"cycle_time_ms": 1, "devices": list(devices), **more}, EthercatBusSpec)


MIXED = bus(
    coupler(),
    inputs("di4", 4),
    inputs("di6", 6),
    outputs("do4", 4),
    outputs("do6", 6),
    drive("axis1"),
    drive("axis2", mailbox={"complete_access": False}),
    drive("fixed", mailbox={"pdo_assign": False}),
    drive("simple", mailbox=None),
    inputs("di12", 12),
    outputs("do2", 2),
)


class Cell:
    """A segment and a MainDevice that expects ``expected`` on it (the segment itself unless given)."""

    def __init__(
        self, spec: EthercatBusSpec, expected: EthercatBusSpec | None = None, world: World | None = None
    ) -> None:
        self.world = world or World(1)
        self.segment = build_segment(self.world, "cell", spec)
        self.devices = {device.label: device_of(self.segment, device.label, SimulatedDevice) for device in spec.devices}
        self.plan: BusPlan = resolve(expected or spec)
        self.main = SimulatedMainDevice(self.segment, self.plan)
        self.sent: list[Datagram] = []
        self.segment.observe(self._note)
        self.world.start()

    def _note(self, _at_ns: int, data: bytes, is_reply: bool) -> None:
        if not is_reply:
            self.sent += decode_frame(data)

    def run(self, steps: Steps[T], limit_ns: int = 60 * S) -> T:
        """Pace a generator on virtual time."""
        give_up_ns = self.world.now_ns() + limit_ns
        while True:
            try:
                due_ns = steps.send(None)
            except StopIteration as end:
                result: T = end.value
                return result
            assert due_ns <= give_up_ns, "the operation does not end"
            if due_ns > self.world.now_ns():
                self.world.run_for(due_ns - self.world.now_ns())

    def cycles(self, count: int, period_ns: int = MS) -> list[int]:
        """Exchange ``count`` times and return the working counters."""
        counters = []
        for _ in range(count):
            begin_ns = self.world.now_ns()
            counters.append(self.run(self.main.exchange()).working_counter)
            self.world.run_for(max(0, begin_ns + period_ns - self.world.now_ns()))
        return counters

    def address(self, label: str) -> int:
        return next(sub.address for sub in self.plan.subdevices if sub.label == label)

    def output(self, label: str) -> memoryview:
        found = self.main.outputs(self.address(label))
        assert found is not None
        return found

    def input(self, label: str) -> bytes:
        found = self.main.inputs(self.address(label))
        assert found is not None
        return bytes(found)

    def writes(self, register: int) -> list[Datagram]:
        """Return the datagrams sent so far that wrote to ``register``."""
        kinds = (Command.APWR, Command.FPWR, Command.BWR, Command.ARMW, Command.FRMW)
        return [each for each in self.sent if each.command in kinds and each.ado == register]
