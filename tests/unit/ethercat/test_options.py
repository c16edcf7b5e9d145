"""Routings, the PDO map and the options: validated, frozen, and carried to another process unchanged."""

from __future__ import annotations

import dataclasses
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.connector.routing import Routing, check_routing
from taktora.errors import ConfigurationError
from taktora.ethercat.options import BusPlan, EthercatConnectorOptions, SliceCopy
from taktora.ethercat.pdo import ExpectedIdentity, PdoEntry, SdoValue, StartupSdo, SubDeviceMap
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora.ethercat.watchdog import SmWatchdog

_RX, _TX = PdoDirection.RX, PdoDirection.TX
_COUPLER = SubDeviceMap(
    address=0x1001,
    label="io",
    rx_pdos=(PdoEntry(0x16FF, 0, 32), PdoEntry(0x1601, 32, 8), PdoEntry(0x1701, 40, 8)),
    tx_pdos=(PdoEntry(0x1AFF, 0, 32), PdoEntry(0x1A00, 32, 8)),
    sm_watchdog=SmWatchdog.from_timeout_us(50_000),
    startup_sdos=(StartupSdo(0x8010, 1, SdoValue("i16", -7)),),
    safe_outputs=b"\x01",
    identity=ExpectedIdentity(0x21, 0x07500354, 2),
    station_alias=42,
)


@pytest.mark.realizes("TEST_0201")
@given(st.integers(0, 0xFFFF), st.sampled_from(PdoDirection), st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF))
def test_a_routing_survives_serialisation_and_is_a_value(
    address: int, direction: PdoDirection, offset: int, length: int
) -> None:
    routing = EthercatRouting(address, direction, offset, length)

    assert pickle.loads(pickle.dumps(routing)) == routing
    assert msgspec.json.decode(msgspec.json.encode(routing), type=EthercatRouting) == routing
    assert hash(routing) == hash(EthercatRouting(address, direction, offset, length))
    assert routing.byte_length == -(-length // 8)


@pytest.mark.realizes("TEST_0201")
def test_a_routing_carries_the_marker_and_cannot_be_changed() -> None:
    routing = EthercatRouting(0x1003, _RX, 12, 4)

    check_routing(routing, "axis.out")
    assert isinstance(routing, Routing)
    assert str(routing) == "0x1003.rx[12:16]"
    assert "subdevice_address=4099" in repr(routing)
    with pytest.raises(dataclasses.FrozenInstanceError):
        routing.bit_offset = 3  # type: ignore[misc]


@pytest.mark.verifies("REQ_0311")
@pytest.mark.parametrize(
    ("address", "offset", "length", "text"),
    [
        (0x10000, 0, 0, "subdevice_address is 65536; expected 0..0xffff"),
        (-1, 0, 0, "subdevice_address is -1"),
        (0, 2**32, 0, "bit_offset is 4294967296; expected 0..0xffffffff"),
        (0, 0, 2**16, "bit_length is 65536"),
    ],
)
def test_a_routing_outside_of_its_ranges_is_refused(address: int, offset: int, length: int, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        EthercatRouting(address, _RX, offset, length)


@pytest.mark.verifies("REQ_0311")
def test_a_routing_needs_a_direction() -> None:
    with pytest.raises(ConfigurationError, match=r"direction is 'rx'; expected PdoDirection.RX"):
        EthercatRouting(0x1000, "rx", 0, 8)  # type: ignore[arg-type]


@pytest.mark.realizes("TEST_0204")
def test_the_map_keeps_order_and_offsets_and_cannot_be_changed() -> None:
    options = EthercatConnectorOptions(pdo_map=(_COUPLER,))

    assert [(pdo.index, pdo.bit_offset) for pdo in options.pdo_map[0].rx_pdos] == [
        (0x16FF, 0),
        (0x1601, 32),
        (0x1701, 40),
    ]
    assert (options.pdo_map[0].output_bits, options.pdo_map[0].input_bits) == (48, 40)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.pdo_map = ()  # type: ignore[misc]


@pytest.mark.realizes("TEST_0204")
def test_pdos_beyond_the_capacity_of_the_subdevice_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="PDOs of 'io' end at bit 48 and output_bits is 40"):
        dataclasses.replace(_COUPLER, output_bits=40, safe_outputs=b"")


@pytest.mark.realizes("TEST_0206")
@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, 2_000_000), (1_000_000, 1_000_000), (999_999, 1_000_000), (0, 1_000_000), (7_500_000, 7_500_000)],
)
def test_the_cycle_time_is_2_ms_and_never_below_1_ms(asked: int | None, given: int) -> None:
    options = EthercatConnectorOptions() if asked is None else EthercatConnectorOptions(cycle_time_ns=asked)

    assert options.cycle_time_ns == options.plan().cycle_time_ns == given


@pytest.mark.verifies("REQ_0318", "REQ_0322", "REQ_8150", "REQ_0324")
def test_the_defaults_are_those_of_the_requirements_and_zero_counts_as_one() -> None:
    options = EthercatConnectorOptions()
    none = EthercatConnectorOptions(
        outbound_capacity=0,
        inbound_capacity=-3,
        inbound_drop_threshold=0,
        max_output_age_cycles=0,
        degraded_after_cycles=0,
    )

    assert (options.outbound_capacity, options.inbound_capacity, options.inbound_drop_threshold) == (256, 256, 1)
    assert (options.distributed_clocks, options.max_output_age_cycles) == (False, 3)
    assert (none.outbound_capacity, none.inbound_capacity, none.inbound_drop_threshold) == (1, 1, 1)
    assert (none.max_output_age_cycles, none.degraded_after_cycles) == (1, 1)


@pytest.mark.verifies("REQ_0314")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"address": 0x1001}, "two SubDevices have address 0x1001"),
        ({"label": "io"}, "two SubDevices have label 'io'"),
        ({"position": 0}, "two SubDevices have position 0"),
    ],
)
def test_two_subdevices_are_never_one(changes: dict[str, int | str], text: str) -> None:
    other = dataclasses.replace(SubDeviceMap(address=0x1002, label="other"), **changes)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=text):
        EthercatConnectorOptions(pdo_map=(_COUPLER, other))


@pytest.mark.verifies("REQ_8150")
def test_safe_outputs_fill_up_with_zeros_and_may_not_be_longer_than_the_image() -> None:
    plan = EthercatConnectorOptions(
        pdo_map=(_COUPLER, SubDeviceMap(address=0x1002, output_bits=3, safe_outputs=b"\x04"))
    ).plan()

    assert plan.safe_outputs() == b"\x01\0\0\0\0\0\x04"
    assert [place.output_offset for place in plan.layout().subdevices] == [0, 6]
    with pytest.raises(ConfigurationError, match=r"safe_outputs of '0x1002': 2 bytes for 1 bytes"):
        SubDeviceMap(address=0x1002, output_bits=3, safe_outputs=b"\x04\0")


@pytest.mark.verifies("REQ_8150")
def test_outputs_that_would_be_safe_too_late_are_refused() -> None:
    just = EthercatConnectorOptions(pdo_map=(_COUPLER,), cycle_time_ns=10_000_000)
    EthercatConnectorOptions(cycle_time_ns=11_000_000)  # no outputs, nothing to make safe

    assert just.plan().safe_after_ns == just.ftti_ns // 2 == 50_000_000
    with pytest.raises(ConfigurationError, match=r"safe after 55 ms .*; half of ftti_ns is 50 ms"):
        dataclasses.replace(just, cycle_time_ns=11_000_000)


@pytest.mark.verifies("REQ_8154")
@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ((0x1001, _RX, 0, 8), (0x1001, _RX, 0, 8), "from inputs .tx. to outputs .rx."),
        ((0x1001, _TX, 0, 8), (0x1001, _RX, 0, 7), "the two lengths differ"),
        ((0x1001, _TX, 33, 8), (0x1001, _RX, 0, 8), "of 'io' ends beyond its 40 bits"),
        ((0x1001, _TX, 0, 8), (0x1001, _RX, 41, 8), "of 'io' ends beyond its 48 bits"),
        ((0x1009, _TX, 0, 8), (0x1001, _RX, 0, 8), r"no SubDevice 0x1009 in pdo_map; there is 'io' \(0x1001\)"),
    ],
)
def test_a_copy_that_makes_no_sense_is_refused(
    source: tuple[int, PdoDirection, int, int], target: tuple[int, PdoDirection, int, int], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        EthercatConnectorOptions(
            pdo_map=(_COUPLER,), copies=(SliceCopy(EthercatRouting(*source), EthercatRouting(*target)),)
        )


@pytest.mark.verifies("REQ_0321", "REQ_0314")
def test_a_plan_reaches_another_process_unchanged() -> None:
    copy = SliceCopy(EthercatRouting(0x1001, _TX, 32, 8), EthercatRouting(0x1001, _RX, 32, 8))
    plan = EthercatConnectorOptions(pdo_map=(_COUPLER,), copies=(copy,), network_interface="eth1").plan()

    assert pickle.loads(pickle.dumps(plan)) == plan
    assert msgspec.json.decode(msgspec.json.encode(plan), type=BusPlan) == plan
