"""SOEM in a process of its own on the rig: ten thousand cycles, cuts, power cycles and recovery by the policy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from taktora.connector.health import Connecting, ConnectorHealth, Degraded, Down, Up
from taktora.ethercat.image import Validity
from taktora.ethercat.process import ProcessBus
from taktora.ethercat.watchdog import SmWatchdog
from taktora.testing import BusLog
from taktora.traceability.measure import Measure
from tests.system.ethercat.cell import bus_on, wait_for
from tests.system.ethercat.conftest import Cell

pytestmark = pytest.mark.world("rig")


@pytest.fixture
def running(cell: Cell) -> Iterator[tuple[ProcessBus, BusLog]]:
    """The bus of the cell, in OP."""
    bus, listener = bus_on(cell.rig, cell.plan), BusLog()
    try:
        bus.start(listener)
        listener.wait(lambda got: got.healths)
        assert listener.healths == [Up()]
        yield bus, listener
    finally:
        bus.close()


def kinds(healths: list[ConnectorHealth]) -> list[type]:
    return [type(health) for health in healths]


def fresh(validity: bytes) -> list[int]:
    return [place for place, value in enumerate(validity) if value == Validity.FRESH]


@pytest.mark.timeout(120)
@pytest.mark.verifies("REQ_8110", "REQ_0265", "REQ_0329")
def test_ten_thousand_cycles_have_the_expected_working_counter(
    running: tuple[ProcessBus, BusLog], measure: Measure
) -> None:
    _bus, listener = running

    listener.wait(lambda got: len(got.records) >= 10_000)

    exchanged = [record for record in listener.records if record.wire_round_ns is not None]
    # A frame that was away for too long, or a cycle that began late, says something about this machine's load.
    measure("cycles_with_a_lost_frame", len(listener.records) - len(exchanged), "cycles")
    measure("cycles_late", sum(record.phase_wait_ns is None for record in exchanged), "cycles")
    assert [record.cycle_index for record in exchanged if not record.wc_ok] == []
    assert {record.validity for record in exchanged} == {bytes([Validity.FRESH]) * 16}
    assert [record.cycle_index for record in listener.records] == list(range(len(listener.records)))


@pytest.mark.verifies("REQ_0331", "REQ_0332", "REQ_0333", "REQ_0842")
def test_a_cut_of_the_whole_cable_is_recovered_by_the_policy(cell: Cell, running: tuple[ProcessBus, BusLog]) -> None:
    _bus, listener = running
    with cell.rig.control.fault("ethercat/cell/coupler", "cut-cable"):
        listener.wait(lambda got: kinds(got.healths).count(Connecting) >= 2)

    listener.wait(lambda got: got.healths[-1] == Up())

    found = kinds(listener.healths)
    assert found[:3] == [Up, Degraded, Connecting]
    assert found[-2:] == [Connecting, Up]
    assert set(found[2:-1:2]) == {Connecting}
    assert str(listener.healths[1].reason).startswith("cycle failed: interface 'tk")  # type: ignore[union-attr]
    assert str(listener.healths[3].reason).startswith("recover failed: interface 'tk")  # type: ignore[union-attr]
    cycles = len(listener.records)
    listener.wait(lambda got: len(got.records) > cycles + 100 and got.records[-1].wc_ok)
    assert {device["state"] for device in cell.rig.control.snapshot().values()} == {"OP"}


@pytest.mark.verifies("REQ_0320", "REQ_0319", "REQ_0331")
def test_a_cut_between_two_devices_degrades_and_heals(cell: Cell, running: tuple[ProcessBus, BusLog]) -> None:
    _bus, listener = running
    with cell.rig.control.fault("ethercat/cell/axis1", "cut-cable"):
        listener.wait(lambda got: len(got.healths) >= 2)
        seen = len(listener.records)
        listener.wait(lambda got: len(got.records) > seen + 20)
        during = listener.records[seen + 10]

    assert isinstance(listener.healths[1], Degraded)
    assert "working counter below expected" in str(listener.healths[1].reason)
    assert fresh(during.validity) == list(range(12))

    listener.wait(lambda got: got.healths[-1] == Up() and fresh(got.records[-1].validity) == list(range(16)))
    wait_for(lambda: {device["state"] for device in cell.rig.control.snapshot().values()} == {"OP"})


@pytest.mark.verifies("REQ_0331", "REQ_0319")
def test_a_power_cycle_of_one_device_ends_in_op_again(cell: Cell, running: tuple[ProcessBus, BusLog]) -> None:
    _bus, listener = running
    with cell.rig.control.fault("ethercat/cell/large", "power-cycle"):
        listener.wait(lambda got: len(got.healths) >= 2)

    listener.wait(lambda got: Connecting in kinds(got.healths) and got.healths[-1] == Up())

    wait_for(lambda: cell.rig.control.snapshot()["large"]["state"] == "OP")
    cycles = len(listener.records)
    listener.wait(lambda got: len(got.records) > cycles + 100 and got.records[-1].wc_ok)


@pytest.mark.verifies("REQ_0842", "REQ_0838")
def test_a_wrong_device_is_a_final_down_with_the_driver_s_text(cell: Cell) -> None:
    cell.rig.control.inject("ethercat/cell/do16", "wrong-identity", product_code=0x2010 + 1)
    bus, listener = bus_on(cell.rig, cell.plan), BusLog()
    try:
        bus.start(listener)
        listener.wait(lambda got: got.healths)
    finally:
        bus.close()

    (health,) = listener.healths
    assert isinstance(health, Down)
    assert str(health.reason).startswith(
        "bring-up failed: position 8 ('do16'): found vendor 0x0BADCAFE, product 0x00002011"
    )


@pytest.mark.verifies("REQ_8104")
def test_an_emergency_reaches_the_listener(cell: Cell, running: tuple[ProcessBus, BusLog]) -> None:
    _bus, listener = running

    cell.rig.control.inject("ethercat/cell/axis1", "send-emergency", code=0x5441)

    listener.wait(lambda got: got.emergencies)
    assert (listener.emergencies[0].position, listener.emergencies[0].error_code) == (12, 0x5441)


@pytest.mark.verifies("REQ_8150", "REQ_8105")
def test_the_watchdogs_make_outputs_safe_when_the_driver_is_stopped(cell: Cell, measure: Measure) -> None:
    watchdog = SmWatchdog.from_timeout_us(40_000)
    subs = tuple(replace(sub, sm_watchdog=watchdog if sub.output_bits else None) for sub in cell.plan.subdevices)
    plan = replace(cell.plan, subdevices=subs, max_output_age_cycles=1_000_000)
    bus, listener = bus_on(cell.rig, plan), BusLog()
    try:
        bus.start(listener)
        listener.wait(lambda got: got.healths)
        bus.stage_outputs(b"\x0f" * bus.layout.output_bytes, b"\1" * 16)
        wait_for(lambda: cell.rig.control.snapshot()["do16"]["outputs"] == "0f0f")
        assert bus.pid is not None

        os.kill(bus.pid, signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        wait_for(lambda: cell.rig.control.output_changes("do16")[-1].safe_because)
        change = cell.rig.control.output_changes("do16")[-1]
        os.kill(bus.pid, signal.SIGCONT)

        assert change.safe_because == "SyncManager watchdog expired"
        measure("safe_after_driver_stopped", (change.at_ns - stopped_ns) / 1e6, "ms", high=50)
        listener.wait(lambda got: got.healths[-1] == Up() and len(got.healths) > 1)
    finally:
        bus.close()


@pytest.mark.verifies("REQ_0312")
def test_close_takes_the_segment_down(cell: Cell, running: tuple[ProcessBus, BusLog]) -> None:
    bus, listener = running

    bus.close()

    assert {device["state"] for device in cell.rig.control.snapshot().values()} == {"INIT"}
    assert listener.failures == []
