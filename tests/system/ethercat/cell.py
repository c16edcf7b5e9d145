"""A cell of all kinds of SubDevices for the rig, and what the tests on it share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from taktora.connector.reconnect import ExponentialBackoff, RandomSource
from taktora.ethercat.datatypes import DataType
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import READ_WRITE, ObjectEntry
from taktora.ethercat.driver import Steps
from taktora.ethercat.network import DeviceSpec, EntrySpec, EthercatBusSpec, MailboxSpec, PdoSpec, PdosSpec, SdoSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.process import BusSetup, ProcessBus
from taktora.ethercat.resolve import resolve
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora.executor.attributes import ThreadAttributes
from taktora_hil.rig_ethercat import EthercatRig, OutputChange
from taktora_sim.ethercat.devices.terminals import (
    analog_inputs,
    analog_outputs,
    coupler,
    digital_inputs,
    digital_outputs,
    generic,
)

T = TypeVar("T")

PATIENCE_S: Final = 40.0
LONG_OBJECT: Final = 0x2000
PARAMETER: Final = 0x8010
FRAME_TIMEOUT_US: Final = 45_000
"""Generous, because this machine may be busy; below the watchdogs' 50 ms."""
STEPPED_FRAME_TIMEOUT_US: Final = 200_000
"""For a driver that is stepped in the test's own process, which has no priority."""
STEPPED_FTTI_MS: Final = 4000.0
"""Likewise: watchdogs of 2 s do not bite when this process is away for a while."""

WATCHED: Final[dict[str, Any]] = {"sm_watchdog_enabled": True}
FIXED: Final = MailboxSpec(pdo_assign=False)
PLAIN: Final = MailboxSpec(complete_access=False)


def axis(label: str, **more: Any) -> DeviceSpec:
    """A CoE device with two RxPDOs and one TxPDO, startup SDO and loopback."""
    entry = partial(EntrySpec)
    pdos = PdosSpec(
        rx=(
            PdoSpec(
                index=0x1600,
                entries=(
                    entry(name="control", index=0x6040, type="u16"),
                    entry(name="target", index=0x607A, type="i32"),
                ),
            ),
            PdoSpec(index=0x1601, entries=(entry(name="mode", index=0x6060, type="i8"),)),
        ),
        tx=(
            PdoSpec(
                index=0x1A00,
                entries=(
                    entry(name="status", index=0x6041, type="u16"),
                    entry(name="actual", index=0x6064, type="i32"),
                ),
            ),
        ),
    )
    return replace_spec(generic(label), pdos=pdos, options={"loopback": True}, **WATCHED, **more)


def replace_spec(spec: DeviceSpec, **more: Any) -> DeviceSpec:
    """Return ``spec`` with other fields."""
    return DeviceSpec(**{name: getattr(spec, name) for name in spec.__struct_fields__} | more)


def devices() -> tuple[DeviceSpec, ...]:
    """Sixteen SubDevices: with and without mailbox, sharing bytes, fixed PDOs, no complete access, no LRW-blockers."""
    return (
        coupler("coupler"),
        digital_inputs("di8", 8),
        digital_inputs("di4", 4),
        digital_inputs("di2", 2),
        digital_inputs("di2b", 2),
        digital_outputs("do4", 4, **WATCHED),
        digital_outputs("do2", 2, **WATCHED),
        digital_outputs("do2b", 2, **WATCHED),
        digital_outputs("do16", 16, **WATCHED),
        digital_inputs("di16", 16),
        analog_inputs("ai2", 2),
        analog_outputs("ao2", 2, **WATCHED),
        axis("axis1", startup_sdos=(SdoSpec(index=PARAMETER, subindex=0, type="i32", value=-5),)),
        axis("axis2", mailbox=PLAIN),
        replace_spec(
            generic("fixed", 6, 6), mailbox=FIXED, options={"loopback": True}, safe={"out0": 170.0}, **WATCHED
        ),
        generic("large", 40, 60, **WATCHED),
    )


def cell(folder: Path, **more: Any) -> EthercatBusSpec:
    """The cell, with a dictionary for the first axis that has a long object and a parameter."""
    bus = EthercatBusSpec(**{"cycle_time_ms": 1.0, "devices": devices(), **more})
    first = next(device for device in bus.devices if device.label == "axis1")
    dictionary = build_dictionary(first)
    dictionary.add_variable(LONG_OBJECT, "Recipe", ObjectEntry("Recipe", DataType.OCTET_STRING, 8 * 400, READ_WRITE))
    dictionary.add_variable(PARAMETER, "Limit", ObjectEntry("Limit", DataType.INTEGER32, 32, READ_WRITE))
    dictionary.save(folder / "axis1.objects.yaml")
    with_file = tuple(
        replace_spec(device, dictionary="axis1.objects.yaml") if device is first else device for device in bus.devices
    )
    return EthercatBusSpec(**{"cycle_time_ms": 1.0, **more, "devices": with_file})


def plan_of(rig: EthercatRig, spec: EthercatBusSpec, **more: Any) -> BusPlan:
    """The plan of the cell on the rig's interface."""
    return replace(resolve(spec), network_interface=rig.interface, **more)


def address(spec: EthercatBusSpec, label: str) -> int:
    return 0x1000 + [device.label for device in spec.devices].index(label)


def run(steps: Steps[T]) -> T:
    """Step an operation of a driver to its end, as its process does."""
    while True:
        try:
            due_ns = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)


def quick_policy(random: RandomSource) -> ExponentialBackoff:
    return ExponentialBackoff(random, initial_ns=20_000_000, max_ns=100_000_000)


def bus_on(rig: EthercatRig, plan: BusPlan) -> ProcessBus:
    """The bus as an application gets it: SOEM in a process of its own, with real-time priority where possible."""
    return ProcessBus(
        BusSetup(
            name=rig.bus,
            plan=plan,
            make_driver=partial(SoemDriver, options=SoemOptions(frame_timeout_us=FRAME_TIMEOUT_US)),
            make_policy=quick_policy,
            attributes=ThreadAttributes(priority=50),
            records=8192,  # this process has no priority: it may be away for a while
        )
    )


def wait_for(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    give_up_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not come about in time"
        time.sleep(0.01)


def safe_after_ms(rig: EthercatRig, label: str, safe: bytes, since_ns: int) -> float:
    """Wait for outputs of ``label`` that are safe and stay so; return when they were, in ms after ``since_ns``."""

    def is_safe(change: OutputChange) -> bool:
        return change.safe_because is not None or change.data == safe

    wait_for(lambda: is_safe(rig.control.output_changes(label)[-1]))
    time.sleep(0.2)
    changes = rig.control.output_changes(label)
    live = [number for number, change in enumerate(changes) if not is_safe(change)]
    assert live[-1] + 1 < len(changes), "the outputs became live again"
    return max(0.0, (changes[live[-1] + 1].at_ns - since_ns) / 1e6)
