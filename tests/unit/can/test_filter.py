"""Kernel filters compiled from readers, and the software matcher that must agree with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.can import CanFilter, CanFrame, CanFrameKind, CanId, CanIface, CanRouting
from taktora.can.filter import (
    ACCEPT_ALL,
    EFF_FLAG,
    FILTERS_MAX,
    INVERTED_FLAG,
    RTR_FLAG,
    compile_filters,
    filter_for,
    kernel_id,
    matches,
    passes_filters,
    passes_word,
)

_IFACE = CanIface("can0")
_IDS = st.one_of(st.integers(0, 0x7FF).map(CanId.standard), st.integers(0, 0x1FFF_FFFF).map(CanId.extended))
_MASKS = st.one_of(st.sampled_from([0, 0x7FF, 0x7F0, 0x1FFF_FFFF, 0xFFFF_FFFF]), st.integers(0, 0xFFFF_FFFF))
_KINDS = st.sampled_from(CanFrameKind)
_ROUTINGS = st.builds(lambda can_id, mask, kind: CanRouting(_IFACE, can_id, mask, kind), _IDS, _MASKS, _KINDS)


def _frames() -> st.SearchStrategy[CanFrame]:
    def build(can_id: CanId, form: str) -> CanFrame:
        return CanFrame(can_id.value, b"", can_id.is_extended, remote=form == "remote", fd=form == "fd")

    return st.builds(build, _IDS, st.sampled_from(["data", "remote", "fd"]))


def _standard(value: int, mask: int = 0x7FF) -> CanRouting:
    return CanRouting(_IFACE, CanId.standard(value), mask)


@pytest.mark.verifies("REQ_0622")
def test_flags_are_folded_into_identifier_and_mask() -> None:
    extended = CanRouting(_IFACE, CanId.extended(0x123), 0x1FFF_FFFF)

    assert filter_for(_standard(0x123)) == CanFilter(0x123, 0x7FF | EFF_FLAG | RTR_FLAG)
    assert filter_for(extended) == CanFilter(0x123 | EFF_FLAG, 0x1FFF_FFFF | EFF_FLAG | RTR_FLAG)


@pytest.mark.verifies("REQ_0622")
def test_the_union_keeps_the_order_and_drops_duplicates() -> None:
    filters, widened = compile_filters([_standard(3), _standard(1), _standard(3)])

    assert [entry.can_id for entry in filters] == [3, 1]
    assert not widened


@pytest.mark.verifies("REQ_0622")
def test_no_reader_gives_no_filter_and_lets_nothing_pass() -> None:
    filters, _ = compile_filters([])

    assert filters == ()
    assert not passes_filters(filters, CanFrame(0x123, b""))


@pytest.mark.verifies("REQ_0622")
def test_above_the_kernels_limit_everything_is_accepted() -> None:
    at_limit = compile_filters([_standard(value) for value in range(FILTERS_MAX)])
    above = compile_filters([_standard(value) for value in range(FILTERS_MAX + 1)])

    assert (len(at_limit[0]), at_limit[1]) == (FILTERS_MAX, False)
    assert above == (ACCEPT_ALL, True)


@pytest.mark.verifies("REQ_0624", "REQ_0615", "REQ_0622")
@given(st.lists(_ROUTINGS, max_size=6), _frames())
def test_the_kernel_passes_exactly_what_some_reader_matches(routings: list[CanRouting], frame: CanFrame) -> None:
    filters, _ = compile_filters(routings)
    of_any_kind = [replace(routing, kind=kind) for routing in routings for kind in CanFrameKind]

    assert passes_filters(filters, frame) == any(matches(routing, frame) for routing in of_any_kind)
    assert passes_filters(filters, frame) or not any(matches(routing, frame) for routing in routings)


@pytest.mark.verifies("REQ_0624")
@given(_ROUTINGS, _IDS)
def test_a_frame_matches_when_flag_and_masked_bits_are_equal(routing: CanRouting, can_id: CanId) -> None:
    equal_bits = all(
        routing.can_id.value >> bit & 1 == can_id.value >> bit & 1 for bit in range(29) if routing.mask >> bit & 1
    )

    expected = equal_bits and routing.can_id.is_extended == can_id.is_extended
    frame = CanFrame(can_id.value, b"", can_id.is_extended, fd=routing.kind is CanFrameKind.FD)
    assert matches(routing, frame) == expected


@pytest.mark.verifies("REQ_0611", "REQ_0624")
@given(_ROUTINGS, _IDS)
def test_a_frame_of_the_other_kind_never_matches(routing: CanRouting, can_id: CanId) -> None:
    is_other = routing.kind is CanFrameKind.CLASSICAL

    assert not matches(routing, CanFrame(can_id.value, b"", can_id.is_extended, fd=is_other))


@pytest.mark.verifies("REQ_0611", "REQ_0622")
def test_readers_of_both_kinds_and_one_identifier_share_an_entry() -> None:
    filters, _ = compile_filters([_standard(1), replace(_standard(1), kind=CanFrameKind.FD)])

    assert filters == (filter_for(_standard(1)),)


@pytest.mark.verifies("REQ_0613")
def test_a_remote_frame_matches_no_reader() -> None:
    assert not matches(_standard(0x123, 0), CanFrame(0x123, b"", remote=True))


@pytest.mark.verifies("REQ_0622")
@pytest.mark.parametrize(
    ("entry", "frame", "passes"),
    [
        pytest.param(CanFilter(0x123, 0x7FF), CanFrame(0x123, b""), True, id="equal"),
        pytest.param(CanFilter(0x123, 0x7FF), CanFrame(0x10123, b"", True), True, id="no EFF in mask"),
        pytest.param(CanFilter(0x123, 0x7FF | EFF_FLAG), CanFrame(0x123, b"", True), False, id="EFF in mask"),
        pytest.param(CanFilter(0x123, 0x7FF), CanFrame(0x123, b"", remote=True), True, id="no RTR in mask"),
        pytest.param(CanFilter(0x123, 0x7FF | RTR_FLAG), CanFrame(0x123, b"", remote=True), False, id="RTR in mask"),
        pytest.param(CanFilter(0, INVERTED_FLAG), CanFrame(0x123, b""), False, id="for error frames only"),
        pytest.param(CanFilter(0x123, 0xFFFF_FFFF), CanFrame(0x123, b""), False, id="all bits: for error frames only"),
        pytest.param(CanFilter(0x123 | INVERTED_FLAG, 0x7FF), CanFrame(0x123, b""), False, id="inverted, equal"),
        pytest.param(CanFilter(0x123 | INVERTED_FLAG, 0x7FF), CanFrame(0x124, b""), True, id="inverted, other"),
        pytest.param(
            CanFilter(0x123, 0x1FFF_FFFF | EFF_FLAG), CanFrame(0x123, b""), True, id="mask is trimmed to 11 bits"
        ),
    ],
)
def test_filters_follow_the_kernel(entry: CanFilter, frame: CanFrame, passes: bool) -> None:
    assert passes_filters([entry], frame) == passes
    assert passes_word([entry], kernel_id(frame)) == passes
