"""The life of a bus, told once: in virtual time, with SOEM on a rig, and with SOEM on your own segment.

What looks inside a device or breaks something belongs to sim and rig; the rest runs on any cabinet.
"""

from __future__ import annotations

import pytest

from taktora.ethercat.image import Validity
from taktora_hil.ethercat_bench import BusLog, EthercatBench, RunningBus

SIMULATED = pytest.mark.world("sim", "rig")
AXIS = 3

pytestmark = pytest.mark.timeout(240)


def up(log: BusLog) -> bool:
    return log.kinds[-1:] == ["Up"]


def all_fresh(running: RunningBus) -> bytes:
    return bytes([Validity.FRESH]) * len(running.plan.subdevices)


def whole(log: BusLog, running: RunningBus, since: int = 0) -> bool:
    """Return whether an exchange after ``since`` had the expected counter and everybody in it."""
    return any(record.wc_ok and record.validity == all_fresh(running) for record in log.records[since:])


@pytest.mark.verifies("REQ_0313", "REQ_0312", "REQ_8500")
def test_it_comes_up_and_says_so_once(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()

    ethercat_bus.wait(running, lambda log: len(log.records) >= 200)

    assert running.log.kinds == ["Up"]


@SIMULATED
@pytest.mark.verifies("REQ_0313", "REQ_0828", "REQ_8110")
def test_all_devices_are_in_op(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()

    ethercat_bus.wait(running, up)

    assert {label: device["state"] for label, device in ethercat_bus.devices().items()} == dict.fromkeys(
        ("coupler", "buttons", "valves", "axis"), "OP"
    )


@pytest.mark.verifies("REQ_0319", "REQ_0329", "REQ_0265", "REQ_0264")
def test_each_exchange_has_the_counter_of_the_datasheet_and_an_index_of_its_own(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()

    ethercat_bus.wait(running, lambda log: len(log.records) >= 500)

    records = running.log.records[:500]
    exchanged = [record for record in records if record.wire_round_ns is not None]
    assert [record.cycle_index for record in records] == list(range(500))
    assert len(exchanged) >= 495
    assert {(record.wc_ok, record.validity) for record in exchanged} == {(True, all_fresh(running))}


@SIMULATED
@pytest.mark.fault("offset-wkc")
@pytest.mark.verifies("REQ_0319", "REQ_0320", "REQ_8109")
def test_a_low_counter_degrades_and_the_next_match_is_up_again(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus(low_counter_timeout_ns=None)
    ethercat_bus.wait(running, up)

    with ethercat_bus.fault("offset-wkc", "axis", by=-3):
        ethercat_bus.wait(running, lambda log: len(log.healths) >= 2)
    ethercat_bus.wait(running, up)

    assert running.log.kinds == ["Up", "Degraded", "Up"]
    assert running.log.reasons[1].startswith("working counter below expected: cycle ")
    assert running.log.reasons[1].endswith("observed 3, expected 6")


@SIMULATED
@pytest.mark.fault("cut-cable")
@pytest.mark.verifies("REQ_0331", "REQ_0332", "REQ_0333", "REQ_0842")
def test_a_cut_first_cable_is_recovered_by_the_policy_once_it_is_healed(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()
    ethercat_bus.wait(running, up)

    with ethercat_bus.fault("cut-cable", "coupler"):
        ethercat_bus.wait(running, lambda log: log.kinds.count("Connecting") >= 2)
    ethercat_bus.wait(running, up)

    kinds, reasons = running.log.kinds, running.log.reasons
    attempts = kinds.count("Connecting")
    assert kinds == ["Up", *["Degraded", "Connecting"] * attempts, "Up"]
    assert reasons[1].startswith("cycle failed: ")
    assert all(reason.startswith("recover failed: ") for reason in reasons[3:-2:2])
    since = len(running.log.records)
    ethercat_bus.wait(running, lambda log: whole(log, running, since))


@SIMULATED
@pytest.mark.fault("cut-cable")
@pytest.mark.verifies("REQ_0320", "REQ_0331", "REQ_0264")
def test_behind_a_cut_between_two_devices_inputs_are_stale_until_it_is_healed(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus(low_counter_timeout_ns=None)
    ethercat_bus.wait(running, up)

    with ethercat_bus.fault("cut-cable", "axis"):
        ethercat_bus.wait(running, lambda log: len(log.healths) >= 2)
        since = len(running.log.records)
        ethercat_bus.wait(running, lambda log: len(log.records) >= since + 20)
        during = running.log.records[-1].validity
    since = len(running.log.records)
    ethercat_bus.wait(running, lambda log: up(log) and whole(log, running, since))

    assert during == bytes([Validity.FRESH] * 3 + [Validity.STALE])
    assert running.log.kinds[:2] == ["Up", "Degraded"]


@SIMULATED
@pytest.mark.fault("power-cycle")
@pytest.mark.verifies("REQ_0331", "REQ_0333", "REQ_0319")
def test_a_device_that_lost_its_power_is_brought_up_again(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()
    ethercat_bus.wait(running, up)

    with ethercat_bus.fault("power-cycle", "axis"):
        ethercat_bus.wait(running, lambda log: len(log.healths) >= 2)
    ethercat_bus.wait(running, lambda log: "Connecting" in log.kinds and up(log))

    assert running.log.kinds[:2] == ["Up", "Degraded"]
    ethercat_bus.until(lambda: ethercat_bus.devices()["axis"]["state"] == "OP")
    since = len(running.log.records)
    ethercat_bus.wait(running, lambda log: whole(log, running, since))


@SIMULATED
@pytest.mark.verifies("REQ_8150", "REQ_0843")
def test_outputs_that_nobody_renews_become_safe_and_live_again_when_renewed(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()
    ethercat_bus.wait(running, up)
    outputs = b"\x01" + b"\x0f\x00" + b"\x0a\x00\x00\x00"
    marks = b"\1\1\1\1"

    def axis() -> tuple[str, str]:
        device = ethercat_bus.devices()["axis"]
        return str(device["state"]), str(device["outputs"])

    def renewed_until(wanted: tuple[str, str]) -> None:
        def is_there() -> bool:
            running.bus.stage_outputs(outputs, marks)
            return axis() == wanted

        ethercat_bus.until(is_there)

    renewed_until(("OP", "0f000a000000"))
    ethercat_bus.until(lambda: axis() == ("SAFE-OP", "0000feffffff"))
    ethercat_bus.wait(running, lambda log: "Degraded" in log.kinds)
    first = running.log.kinds.index("Degraded")
    renewed_until(("OP", "0f000a000000"))
    ethercat_bus.wait(running, up)

    assert running.log.reasons[first].startswith(
        "outputs of 'valves' (0x1002), 'axis' (0x1003) not renewed for 51 cycles"
    )


@SIMULATED
@pytest.mark.fault("wrong-identity")
@pytest.mark.verifies("REQ_0838", "REQ_0842", "REQ_8510")
def test_a_wrong_device_is_a_final_down_that_names_both(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.make_bus()

    with ethercat_bus.fault("wrong-identity", "valves", product_code=0x2008):
        ethercat_bus.start(running)
        ethercat_bus.wait(running, lambda log: log.healths)

    assert running.log.kinds == ["Down"]
    assert running.log.reasons[0] == (
        "bring-up failed: position 2 ('valves'): found vendor 0x0BADCAFE, product 0x00002008, revision 0x00010000, "
        "expected vendor 0x0BADCAFE, product 0x00002004, revision 0x00010000; put the right device there, or correct "
        "the machine file"
    )


@SIMULATED
@pytest.mark.verifies("REQ_0315", "REQ_0853", "REQ_8104")
def test_objects_are_read_and_written_while_process_data_goes_on(ethercat_bus: EthercatBench) -> None:
    driver = ethercat_bus.make_driver()
    address = 0x1000 + AXIS
    result = ethercat_bus.run(driver.bring_up())

    at_start = ethercat_bus.run(driver.sdo_read(address, 0x8010, 0))
    ethercat_bus.run(driver.sdo_write(address, 0x8010, 0, (77).to_bytes(4, "little")))
    counter = ethercat_bus.run(driver.exchange()).working_counter
    after = ethercat_bus.run(driver.sdo_read(address, 0x8010, 0))

    assert (result.expected_wkc, result.subdevice_count, counter) == (6, 4, 6)
    assert [int.from_bytes(value, "little", signed=True) for value in (at_start, after)] == [-5, 77]


@SIMULATED
@pytest.mark.verifies("REQ_0312")
def test_close_leaves_the_devices_in_init(ethercat_bus: EthercatBench) -> None:
    running = ethercat_bus.open_bus()
    ethercat_bus.wait(running, up)

    running.bus.close()

    assert ethercat_bus.states() <= {"INIT", "SAFE-OP"}
    assert running.log.failures == []
