"""Identifiers, interface names and routings as validated values."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.can import CanConnectorOptions, CanFdFlags, CanFrameKind, CanId, CanIface, CanRouting, can_channel
from taktora.connector.reconnect import ExponentialBackoff
from taktora.errors import ConfigurationError

_NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=15)
_IDS = st.one_of(
    st.integers(0, 0x7FF).map(CanId.standard),
    st.integers(0, 0x1FFF_FFFF).map(CanId.extended),
)
_ROUTINGS = st.builds(
    CanRouting,
    _NAMES.map(CanIface),
    _IDS,
    st.integers(0, 0xFFFF_FFFF),
    st.sampled_from(CanFrameKind),
    st.integers(0, 3).map(CanFdFlags),
)


@pytest.mark.realizes("TEST_0501")
@given(_ROUTINGS)
def test_a_copy_of_a_routing_is_equal_and_prints_alike(routing: CanRouting) -> None:
    for twin in (copy.copy(routing), copy.deepcopy(routing), pickle.loads(pickle.dumps(routing)), replace(routing)):
        assert twin == routing
        assert hash(twin) == hash(routing)
        assert repr(twin) == repr(routing)
        assert twin.head == routing.head


@pytest.mark.realizes("TEST_0501")
@given(_ROUTINGS, _ROUTINGS)
def test_routings_are_equal_exactly_when_they_print_alike(one: CanRouting, other: CanRouting) -> None:
    assert (one == other) == (repr(one) == repr(other))


@pytest.mark.verifies("REQ_0601", "REQ_0611")
def test_flags_belong_to_can_fd_and_are_dropped_by_a_classical_routing() -> None:
    both = CanFdFlags.BRS | CanFdFlags.ESI
    classical = CanRouting(CanIface("can0"), CanId(1), fd_flags=both)
    fd = CanRouting(CanIface("can0"), CanId(1), kind=CanFrameKind.FD)

    assert (CanFdFlags.BRS, CanFdFlags.ESI) == (1, 2)
    assert classical.fd_flags is CanFdFlags.NONE
    assert classical.with_fd_flags(both) == classical
    assert fd.with_fd_flags(both).fd_flags == both
    assert fd.with_fd_flags(CanFdFlags.BRS) != fd


@pytest.mark.realizes("TEST_0501")
def test_identifiers_of_equal_value_and_other_width_differ() -> None:
    assert CanId.standard(0x123) != CanId.extended(0x123)


@pytest.mark.realizes("TEST_0501")
@pytest.mark.parametrize(
    ("value", "is_extended", "limit"),
    [
        pytest.param(0x800, False, "0x7ff", id="standard"),
        pytest.param(-1, False, "0x7ff", id="negative"),
        pytest.param(0x2000_0000, True, "0x1fffffff", id="extended"),
    ],
)
def test_an_identifier_out_of_range_is_refused_with_its_range(value: int, is_extended: bool, limit: str) -> None:
    with pytest.raises(ConfigurationError, match=limit):
        CanId(value, is_extended)


@pytest.mark.realizes("TEST_0501")
def test_an_interface_name_of_15_characters_is_the_longest() -> None:
    assert CanIface("c" * 15).name == "c" * 15
    with pytest.raises(ConfigurationError, match="16 characters"):
        CanIface("c" * 16)


@pytest.mark.realizes("TEST_0501")
@pytest.mark.parametrize("name", ["", "can 0", "can/0", "can\n", "kän0", "\x7f"], ids=ascii)
def test_an_interface_name_with_other_characters_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        CanIface(name)


@pytest.mark.verifies("REQ_0601")
def test_a_mask_of_more_than_32_bits_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0x100000000"):
        CanRouting(CanIface("can0"), CanId(1), 0x1_0000_0000)


@pytest.mark.verifies("REQ_0642")
def test_there_are_two_frame_kinds_and_none_carries_more_than_64_bytes() -> None:
    assert [(kind.value, kind.max_payload_bytes) for kind in CanFrameKind] == [("classical", 8), ("fd", 64)]


@pytest.mark.verifies("REQ_0610", "REQ_0611", "REQ_0612")
@pytest.mark.parametrize(("kind", "size"), [(CanFrameKind.CLASSICAL, 8), (CanFrameKind.FD, 64)])
def test_the_kind_fixes_the_payload(kind: CanFrameKind, size: int) -> None:
    assert kind.max_payload_bytes == size
    assert can_channel("a", CanRouting(CanIface("can0"), CanId(1), kind=kind)).max_payload_size == size


@pytest.mark.verifies("REQ_0606", "REQ_0608")
def test_options_below_one_count_as_one() -> None:
    options = CanConnectorOptions(
        ifaces=(CanIface("can0"),),
        outbound_bridge_capacity=0,
        inbound_bridge_capacity=-3,
        inbound_drop_threshold=0,
        recovery_window_ns=0,
    )

    assert (options.outbound_bridge_capacity, options.inbound_bridge_capacity) == (1, 1)
    assert (options.inbound_drop_threshold, options.recovery_window_ns) == (1, 1)


@pytest.mark.verifies("REQ_0606", "REQ_0634")
def test_option_defaults_are_those_of_the_specification() -> None:
    options = CanConnectorOptions(ifaces=(CanIface("can0"),))

    assert (options.outbound_bridge_capacity, options.inbound_bridge_capacity) == (256, 256)
    assert options.reconnect_policy is ExponentialBackoff


@pytest.mark.verifies("REQ_0621")
def test_options_refuse_no_interface_and_a_repeated_one() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        CanConnectorOptions(ifaces=())
    with pytest.raises(ConfigurationError, match="can0 is named twice"):
        CanConnectorOptions(ifaces=(CanIface("can0"), CanIface("can0")))
