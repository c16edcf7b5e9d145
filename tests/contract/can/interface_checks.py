"""What every ``CanInterface`` must do, as functions over two interfaces of one bus; they know no back-end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import pytest

from taktora.can import CanErrorFrame, CanFilter, CanFrame, CanIfaceState, CanInterface
from taktora.can.dlc import FD_LENGTHS
from taktora.errors import BackPressure, LinkDown, PayloadOverflow, StackError
from tests.patience import PATIENCE_S

_FRAMES = [
    CanFrame(0x123, b""),
    CanFrame(0x123, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    CanFrame(0x7FF, b"\xff"),
    CanFrame(0x123, b"x", extended=True),
    CanFrame(0x1FFFFFFF, b"yy", extended=True),
    CanFrame(0x100, b"", remote=True, dlc=4),
]
_ALL_QUEUED = 1000
"""More frames than any queue that a test holds."""


@dataclass
class Received:
    """A listener that remembers."""

    frames: list[CanFrame] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    states: list[CanIfaceState] = field(default_factory=list)

    def on_frame(self, frame: CanFrame) -> None:
        self.frames.append(frame._replace(timestamp_ns=0))
        self.stamps.append(frame.timestamp_ns)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        raise AssertionError(f"an error frame on a quiet bus: {frame}")

    def on_receive_overflow(self, lost: int) -> None:
        raise AssertionError(f"{lost} frames lost unread")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        del reason
        self.states.append(state)

    def on_failure(self, error: BaseException) -> None:
        raise error


class _OpensBeside(Protocol):
    def __call__(self, *, receive_own: bool = False, loopback: bool = True) -> CanInterface: ...


@dataclass
class Pair:
    """Two closed interfaces on one bus; ``settle`` lets what is under way arrive.

    ``now_ns`` is what time stamps are on. ``beside_left`` makes a further socket on the host of ``left``. ``hold`` has
    nothing leave ``left`` until ``release``. None where the world cannot do it: a check then says so. ``sets_esi``: the
    sender chooses ESI.
    """

    left: CanInterface
    right: CanInterface
    settle: Callable[[], None]
    close: Callable[[], None]
    now_ns: Callable[[], int] | None = None
    beside_left: _OpensBeside | None = None
    hold: Callable[[], None] | None = None
    release: Callable[[], None] | None = None
    sets_esi: bool = True

    def opened(self) -> tuple[Received, Received]:
        """Open both."""
        received = Received(), Received()
        self.left.open(received[0])
        self.right.open(received[1])
        return received

    def carry(self, frames: Iterable[CanFrame]) -> None:
        """Send frames from left, one after the other."""
        for frame in frames:
            self.left.send(frame)
            self.settle()


def _needs_fd(pair: Pair) -> None:
    if not pair.left.carries_fd:
        pytest.skip(f"not run: {pair.left.name} carries classical frames only")


@contextmanager
def _beside(pair: Pair, *, receive_own: bool = False, loopback: bool = True) -> Iterator[tuple[CanInterface, Received]]:
    if pair.beside_left is None:
        pytest.skip("not run: a host here has one socket only")
    interface, received = pair.beside_left(receive_own=receive_own, loopback=loopback), Received()
    interface.open(received)
    try:
        yield interface, received
    finally:
        interface.close()


def check_frames_cross_unchanged_and_do_not_come_back(pair: Pair) -> None:
    left, right = pair.opened()

    pair.carry(_FRAMES)

    assert right.frames == _FRAMES
    assert left.frames == []


def check_remote_frames_keep_what_they_ask_for(pair: Pair) -> None:
    _, right = pair.opened()
    frames = [CanFrame(0x100 + dlc, b"", extended=dlc % 2 == 1, remote=True, dlc=dlc) for dlc in range(9)]

    pair.carry(frames)

    assert right.frames == frames


def check_can_fd_frames_of_every_length_cross_unchanged(pair: Pair) -> None:
    _needs_fd(pair)
    _, right = pair.opened()
    frames = [
        CanFrame(0x100 + length, bytes(range(length)), extended=length > 8, fd=True, brs=length % 3 == 0)
        for length in FD_LENGTHS
    ]

    pair.carry(frames)

    assert right.frames == frames


def check_can_fd_flags_cross_unchanged(pair: Pair) -> None:
    _needs_fd(pair)
    _, right = pair.opened()
    frames = [
        CanFrame(0x123, bytes(12), fd=True, brs=brs, esi=esi)
        for brs in (False, True)
        for esi in ((False, True) if pair.sets_esi else (False,))
    ]

    pair.carry(frames)

    assert right.frames == frames


def check_frames_of_both_kinds_keep_their_order_on_one_socket(pair: Pair) -> None:
    _needs_fd(pair)
    _, right = pair.opened()
    frames = [CanFrame(0x123, bytes((number,)), fd=number % 2 == 1) for number in range(8)]

    pair.carry(frames)

    assert right.frames == frames


def check_time_stamps_are_in_order_between_opening_and_now(pair: Pair) -> None:
    if pair.now_ns is None:
        pytest.skip("not run: nothing here has a clock")
    begin_ns = pair.now_ns()
    _, right = pair.opened()

    pair.carry([_FRAMES[1]] * 5)

    stamps = [begin_ns, *right.stamps, pair.now_ns()]
    assert len(right.stamps) == 5
    assert all(one <= other for one, other in pairwise(stamps)), stamps


def check_filters_let_through_what_the_kernel_would(pair: Pair) -> None:
    _, right = pair.opened()
    pair.right.set_filters([CanFilter(0x120, 0xC00007F0), CanFilter(0x80000123, 0xDFFFFFFF)])

    pair.carry(_FRAMES)

    assert right.frames == [_FRAMES[0], _FRAMES[1], _FRAMES[3]]


def _ids_passed(pair: Pair, *filters: CanFilter) -> list[str]:
    """Return which of some frames pass: ``s`` 11 bit, ``x`` 29 bit, ``r`` remote."""
    _, right = pair.opened()
    pair.right.set_filters(filters)
    pair.carry(
        CanFrame(can_id, b"", extended, remote)
        for can_id, extended in ((0x123, False), (0x124, False), (0x123, True), (0x40123, True))
        for remote in (False, True)
    )
    return [f"{f.can_id:x}{'x' if f.extended else 's'}{'r' if f.remote else ''}" for f in right.frames]


def check_an_inverted_filter_lets_through_all_others(pair: Pair) -> None:
    passed = _ids_passed(pair, CanFilter(0x20000123, 0xC00007FF))

    assert passed == ["123sr", "124s", "124sr", "123x", "123xr", "40123x", "40123xr"]


def check_an_inverted_filter_without_flags_compares_identifiers_only(pair: Pair) -> None:
    assert _ids_passed(pair, CanFilter(0x20000123, 0x7FF)) == ["124s", "124sr"]


def check_a_filter_for_remote_frames_lets_through_no_data(pair: Pair) -> None:
    assert _ids_passed(pair, CanFilter(0x40000123, 0xC00007FF)) == ["123sr"]


def check_a_filter_whose_mask_has_no_remote_flag_lets_through_both(pair: Pair) -> None:
    assert _ids_passed(pair, CanFilter(0x80000123, 0x9FFFFFFF)) == ["123x", "123xr"]


def check_a_filter_whose_mask_has_no_extended_flag_lets_through_the_29_bit_twin(pair: Pair) -> None:
    assert _ids_passed(pair, CanFilter(0x123, 0x400007FF)) == ["123s", "123x", "40123x"]


def check_a_frame_that_two_filters_match_comes_once(pair: Pair) -> None:
    assert _ids_passed(pair, CanFilter(0x123, 0xC00007FF), CanFilter(0x120, 0xC00007F8)) == ["123s", "124s"]


def check_no_filter_lets_nothing_through(pair: Pair) -> None:
    _, right = pair.opened()
    pair.right.set_filters([])

    pair.carry(_FRAMES)

    assert right.frames == []


def check_can_fd_frames_pass_filters_like_classical_ones(pair: Pair) -> None:
    _needs_fd(pair)
    _, right = pair.opened()
    pair.right.set_filters([CanFilter(0x123, 0xC00007FF)])
    frames = [CanFrame(can_id, bytes(12), fd=True) for can_id in (0x122, 0x123)]

    pair.carry(frames)

    assert right.frames == [frames[1]]


def check_a_reopened_interface_accepts_everything_again(pair: Pair) -> None:
    pair.opened()
    pair.right.set_filters([])
    again = Received()

    pair.right.close()
    pair.right.open(again)
    pair.carry([_FRAMES[0]])

    assert again.frames == [_FRAMES[0]]


def check_state_follows_open_and_close(pair: Pair) -> None:
    before = pair.left.state
    received, _ = pair.opened()
    opened = pair.left.state

    pair.left.close()
    pair.left.close()

    assert (before, opened, pair.left.state) == (CanIfaceState.CLOSED, CanIfaceState.ACTIVE, CanIfaceState.CLOSED)
    assert received.states == []


def check_a_closed_interface_refuses_to_send_and_receives_nothing(pair: Pair) -> None:
    _, right = pair.opened()
    pair.right.close()

    pair.carry([_FRAMES[0]])

    assert right.frames == []
    with pytest.raises(LinkDown):
        pair.right.send(_FRAMES[0])


def check_nine_bytes_are_refused_before_they_are_sent(pair: Pair) -> None:
    _, right = pair.opened()

    with pytest.raises(PayloadOverflow):
        pair.left.send(CanFrame(1, bytes(9)))
    pair.settle()

    assert right.frames == []


def check_65_bytes_of_can_fd_are_refused_before_they_are_sent(pair: Pair) -> None:
    _needs_fd(pair)
    _, right = pair.opened()

    with pytest.raises(PayloadOverflow):
        pair.left.send(CanFrame(1, bytes(65), fd=True))
    pair.settle()

    assert right.frames == []


def check_can_fd_is_refused_where_it_is_not_carried(pair: Pair) -> None:
    if pair.left.carries_fd:
        pytest.skip(f"not run: {pair.left.name} carries CAN FD")
    _, right = pair.opened()

    with pytest.raises(StackError):
        pair.left.send(CanFrame(1, b"", fd=True))
    pair.settle()

    assert right.frames == []


def _send_often(interface: CanInterface) -> None:
    for _ in range(_ALL_QUEUED):
        interface.send(_FRAMES[1])


def check_a_full_queue_is_back_pressure_until_room_is_told(pair: Pair) -> None:
    if pair.hold is None or pair.release is None:
        pytest.skip("not run: the queue here cannot be held")
    _, right = pair.opened()
    told = threading.Event()
    pair.left.on_transmit_ready(told.set)

    pair.hold()
    try:
        with pytest.raises(BackPressure):
            _send_often(pair.left)
    finally:
        pair.release()
    pair.settle()
    right.frames.clear()
    pair.carry([_FRAMES[0]])

    assert told.wait(PATIENCE_S)
    assert right.frames == [_FRAMES[0]]


def check_the_sockets_of_a_host_hear_each_other_and_not_themselves(pair: Pair) -> None:
    left, _ = pair.opened()
    with _beside(pair) as (_, beside):
        pair.carry(_FRAMES)

    assert beside.frames == _FRAMES
    assert left.frames == []


def check_a_socket_hears_itself_when_it_asks_for_that_and_its_filters_hold(pair: Pair) -> None:
    pair.opened()
    with _beside(pair, receive_own=True) as (interface, own):
        interface.set_filters([CanFilter(0x7FF, 0xC00007FF)])
        for frame in _FRAMES:
            interface.send(frame)
            pair.settle()

    assert own.frames == [_FRAMES[2]]


def check_without_loopback_the_host_hears_nothing(pair: Pair) -> None:
    left, _ = pair.opened()
    with _beside(pair, receive_own=True, loopback=False) as (interface, own):
        interface.send(_FRAMES[0])
        pair.settle()

    assert left.frames == []
    assert own.frames == []


CHECKS: list[Callable[[Pair], None]] = [
    check_frames_cross_unchanged_and_do_not_come_back,
    check_remote_frames_keep_what_they_ask_for,
    check_can_fd_frames_of_every_length_cross_unchanged,
    check_can_fd_flags_cross_unchanged,
    check_frames_of_both_kinds_keep_their_order_on_one_socket,
    check_filters_let_through_what_the_kernel_would,
    check_an_inverted_filter_lets_through_all_others,
    check_an_inverted_filter_without_flags_compares_identifiers_only,
    check_a_filter_for_remote_frames_lets_through_no_data,
    check_a_filter_whose_mask_has_no_remote_flag_lets_through_both,
    check_a_filter_whose_mask_has_no_extended_flag_lets_through_the_29_bit_twin,
    check_a_frame_that_two_filters_match_comes_once,
    check_no_filter_lets_nothing_through,
    check_can_fd_frames_pass_filters_like_classical_ones,
    check_a_reopened_interface_accepts_everything_again,
    check_state_follows_open_and_close,
    check_a_closed_interface_refuses_to_send_and_receives_nothing,
    check_nine_bytes_are_refused_before_they_are_sent,
    check_65_bytes_of_can_fd_are_refused_before_they_are_sent,
]
"""For every back-end, the mock included."""

HOST_CHECKS: list[Callable[[Pair], None]] = [
    check_time_stamps_are_in_order_between_opening_and_now,
    check_a_full_queue_is_back_pressure_until_room_is_told,
    check_the_sockets_of_a_host_hear_each_other_and_not_themselves,
    check_a_socket_hears_itself_when_it_asks_for_that_and_its_filters_hold,
    check_without_loopback_the_host_hears_nothing,
]
"""For back-ends with a host: a clock, a transmit queue and several sockets."""

CLASSICAL_CHECKS: list[Callable[[Pair], None]] = [check_can_fd_is_refused_where_it_is_not_carried]
"""For interfaces that carry classical frames only."""
