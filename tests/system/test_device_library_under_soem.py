"""The device library before a strange judge: SOEM by itself, without our driver, on a segment of all kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from taktora.ethercat.datatypes import DataType
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import READ_WRITE, ObjectEntry
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec, MailboxSpec
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from taktora_sim.ethercat.devices.terminals import (
    analog_inputs,
    analog_outputs,
    coupler,
    digital_inputs,
    digital_outputs,
    generic,
)

pytestmark = [pytest.mark.world("rig"), pytest.mark.verifies("REQ_8108", "REQ_8110")]

_RECIPE = 0x2000
_TIMEOUT_US = 100_000
_PATIENCE_S = 30.0
# SOEM gives a SubDevice the mailbox of the one before it with the same identity: another mailbox, another revision.
_SMALL = {"mailbox": MailboxSpec(out_bytes=48, in_address=0x1030, in_bytes=40, complete_access=False)}

DEVICES = (
    coupler("coupler"),
    digital_inputs("di4", 4),
    digital_inputs("di2", 2),
    digital_outputs("do4", 4),
    digital_outputs("do16", 16),
    analog_inputs("ai", 4),
    analog_outputs("ao", 2),
    generic("loop", 8, 8, options={"loopback": True}),
    generic("small", 3, 5, order="TK-9001", **_SMALL),
    generic("fixed", 2, 2, order="TK-9002", mailbox=MailboxSpec(pdo_assign=False)),
    generic("simple", 2, 2, order="TK-9003", mailbox=None),
)


class _Bus(NamedTuple):
    rig: EthercatRig
    master: Any
    pysoem: Any

    def subdevice(self, label: str) -> Any:
        return self.master.slaves[[device.label for device in DEVICES].index(label)]


def _distinct(device: DeviceSpec, number: int) -> DeviceSpec:
    """Give each device an identity of its own."""
    fields = {name: getattr(device, name) for name in device.__struct_fields__}
    assert device.identity is not None
    identity = type(device.identity)(vendor_id=device.identity.vendor_id, product_code=number, revision=1)
    return DeviceSpec(**{**fields, "identity": identity})


@pytest.fixture
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Bus]:
    if reason := why_no_rig():
        pytest.skip(reason)
    import pysoem

    folder = tmp_path_factory.mktemp("library")
    devices = [_distinct(device, 0x100 + number) for number, device in enumerate(DEVICES)]
    for place, device in enumerate(devices):
        if device.label in ("loop", "small"):
            dictionary = build_dictionary(device)
            recipe = ObjectEntry("Recipe", DataType.OCTET_STRING, 8 * 1800, READ_WRITE)
            dictionary.add_variable(_RECIPE, "Recipe", recipe)
            dictionary.save(folder / f"{device.label}.json")
            fields = {name: getattr(device, name) for name in device.__struct_fields__}
            devices[place] = DeviceSpec(**{**fields, "dictionary": f"{device.label}.json"})
    with EthercatRig(EthercatBusSpec(devices=tuple(devices)), folder=folder) as rig:
        master = pysoem.Master()
        timeouts = pysoem.settings.timeouts
        before_us, timeouts.ret = timeouts.ret, _TIMEOUT_US
        master.open(rig.interface)
        try:
            assert master.config_init() == len(DEVICES)
            yield _Bus(rig, master, pysoem)
        finally:
            master.state = pysoem.INIT_STATE
            master.write_state()
            master.close()
            timeouts.ret = before_us


def _exchange_until(exchange: Callable[[], int], holds: Callable[[], bool]) -> int:
    """Exchange process data until something holds, and return the working counter of that exchange."""
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:
        counter = exchange()
        if holds():
            return counter
        assert time.monotonic() < give_up_s, "it does not come to that"


def _to_op(bus: _Bus, overlap: bool) -> tuple[Callable[[], int], int]:
    """Bring the bus to OP and return the exchange and its working counter."""
    master, pysoem = bus.master, bus.pysoem
    (master.config_overlap_map if overlap else master.config_map)()
    send = master.send_overlap_processdata if overlap else master.send_processdata

    def exchange() -> int:
        send()
        return int(master.receive_processdata(_TIMEOUT_US))

    assert master.state_check(pysoem.SAFEOP_STATE, 10_000_000) == pysoem.SAFEOP_STATE
    exchange()
    master.state = pysoem.OP_STATE
    master.write_state()
    return exchange, _exchange_until(exchange, lambda: master.state_check(pysoem.OP_STATE, 1000) == pysoem.OP_STATE)


@pytest.mark.parametrize("overlap", [False, True], ids=["sequential", "overlap"])
def test_every_kind_of_device_reaches_op_and_exchanges_its_data(bus: _Bus, overlap: bool) -> None:
    exchange, counter = _to_op(bus, overlap)
    bus.subdevice("do16").output = b"\x01\x80"
    bus.subdevice("ao").output = b"\xff\x7f\x01\x00"
    bus.subdevice("loop").output = b"loopback"
    bus.subdevice("simple").output = b"\x12\x34"

    _exchange_until(exchange, lambda: bus.subdevice("loop").input == b"loopback")

    assert counter == 3 * 1 + 3 * 2 + 4 * 3
    found = bus.rig.control.snapshot()
    assert {label: found[label]["outputs"] for label in ("do16", "ao", "simple")} == {
        "do16": "0180",
        "ao": "ff7f0100",
        "simple": "1234",
    }


def test_inputs_that_share_a_byte_reach_soem_each_at_its_place(bus: _Bus) -> None:
    exchange, _ = _to_op(bus, overlap=True)
    bus.rig.control.inject("ethercat/cell/di4", "force-input", entry="in3", value=1.0)
    bus.rig.control.inject("ethercat/cell/di2", "force-input", entry="in2", value=1.0)

    exchange()

    assert (bus.subdevice("di4").input, bus.subdevice("di2").input) == (b"\x04", b"\x02")


@pytest.mark.verifies("REQ_8104")
@pytest.mark.parametrize("label", ["loop", "small"])
def test_soem_reads_back_what_it_wrote_in_segments(bus: _Bus, label: str) -> None:
    bus.master.config_map()
    recipe = bytes(range(256)) * 7

    bus.subdevice(label).sdo_write(_RECIPE, 0, recipe)

    assert bus.subdevice(label).sdo_read(_RECIPE, 0, 2000) == recipe


@pytest.mark.verifies("REQ_8104")
def test_soem_reads_a_whole_object_where_the_device_allows_it(bus: _Bus) -> None:
    bus.master.config_map()

    whole = bus.subdevice("loop").sdo_read(0x1018, 0, ca=True)

    assert whole[:10] == bytes.fromhex("0400 fecaad0b 07010000")
    with pytest.raises(bus.pysoem.SdoError) as refusal:
        bus.subdevice("small").sdo_read(0x1018, 0, ca=True)
    assert refusal.value.abort_code == 0x0601_0004


@pytest.mark.verifies("REQ_8104")
def test_soem_sees_a_refusal_and_not_a_success(bus: _Bus) -> None:
    _to_op(bus, overlap=False)

    with pytest.raises(bus.pysoem.SdoError) as refusal:
        bus.subdevice("loop").sdo_write(0x1C12, 0, b"\0")

    assert refusal.value.abort_code == 0x0800_0022


@pytest.mark.verifies("REQ_8104")
def test_soem_reads_the_object_dictionary(bus: _Bus) -> None:
    bus.master.config_map()

    objects = {found.index: found for found in bus.subdevice("small").od}

    assert list(objects) == sorted(objects)
    assert {0x1000, 0x1008, 0x1018, 0x1600, 0x1A00, 0x1C00, 0x1C12, 0x1C13, _RECIPE, 0x6000, 0x7000} <= set(objects)
    assert objects[0x1018].name == b"Identity"
    assert [(entry.bit_length, entry.name) for entry in objects[0x1018].entries][1] == (32, b"Vendor id")


@pytest.mark.verifies("REQ_8104", "REQ_8109")
def test_soem_hears_an_emergency(bus: _Bus) -> None:
    bus.master.config_map()
    heard: list[tuple[int, int]] = []
    bus.subdevice("loop").add_emergency_callback(lambda found: heard.append((found.slave_pos, found.error_code)))
    bus.rig.control.inject("ethercat/cell/loop", "send-emergency", code=0x8130)

    bus.subdevice("loop").sdo_read(0x1018, 1)

    assert heard == [(8, 0x8130)]
