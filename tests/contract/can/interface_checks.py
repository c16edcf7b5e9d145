"""What every ``CanInterface`` must do, as functions over two interfaces of one bus; they know no back-end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from taktora.can import CanErrorFrame, CanFilter, CanFrame, CanIfaceState, CanInterface
from taktora.errors import LinkDown, PayloadOverflow

_FRAMES = [
    CanFrame(0x123, b""),
    CanFrame(0x123, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    CanFrame(0x7FF, b"\xff"),
    CanFrame(0x123, b"x", extended=True),
    CanFrame(0x1FFFFFFF, b"yy", extended=True),
    CanFrame(0x100, b"", remote=True, dlc=4),
]


@dataclass
class Received:
    """A listener that remembers."""

    frames: list[CanFrame] = field(default_factory=list)
    states: list[CanIfaceState] = field(default_factory=list)

    def on_frame(self, frame: CanFrame) -> None:
        self.frames.append(frame._replace(timestamp_ns=0))

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        raise AssertionError(f"an error frame on a quiet bus: {frame}")

    def on_receive_overflow(self, lost: int) -> None:
        raise AssertionError(f"{lost} frames lost unread")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        del reason
        self.states.append(state)

    def on_failure(self, error: BaseException) -> None:
        raise error


@dataclass
class Pair:
    """Two closed interfaces on one bus; ``settle`` lets what is under way arrive."""

    left: CanInterface
    right: CanInterface
    settle: Callable[[], None]
    close: Callable[[], None]

    def opened(self) -> tuple[Received, Received]:
        """Open both."""
        received = Received(), Received()
        self.left.open(received[0])
        self.right.open(received[1])
        return received


def check_frames_cross_unchanged_and_do_not_come_back(pair: Pair) -> None:
    left, right = pair.opened()

    for frame in _FRAMES:
        pair.left.send(frame)
        pair.settle()

    assert right.frames == _FRAMES
    assert left.frames == []


def check_filters_let_through_what_the_kernel_would(pair: Pair) -> None:
    _, right = pair.opened()
    pair.right.set_filters([CanFilter(0x120, 0xC00007F0), CanFilter(0x80000123, 0xDFFFFFFF)])

    for frame in _FRAMES:
        pair.left.send(frame)
        pair.settle()

    assert right.frames == [_FRAMES[0], _FRAMES[1], _FRAMES[3]]


def check_no_filter_lets_nothing_through(pair: Pair) -> None:
    _, right = pair.opened()
    pair.right.set_filters([])

    pair.left.send(_FRAMES[0])
    pair.settle()

    assert right.frames == []


def check_a_reopened_interface_accepts_everything_again(pair: Pair) -> None:
    pair.opened()
    pair.right.set_filters([])
    again = Received()

    pair.right.close()
    pair.right.open(again)
    pair.left.send(_FRAMES[0])
    pair.settle()

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

    pair.left.send(_FRAMES[0])
    pair.settle()

    assert right.frames == []
    with pytest.raises(LinkDown):
        pair.right.send(_FRAMES[0])


def check_nine_bytes_are_refused_before_they_are_sent(pair: Pair) -> None:
    _, right = pair.opened()

    with pytest.raises(PayloadOverflow):
        pair.left.send(CanFrame(1, bytes(9)))
    pair.settle()

    assert right.frames == []


CHECKS: list[Callable[[Pair], None]] = [
    check_frames_cross_unchanged_and_do_not_come_back,
    check_filters_let_through_what_the_kernel_would,
    check_no_filter_lets_nothing_through,
    check_a_reopened_interface_accepts_everything_again,
    check_state_follows_open_and_close,
    check_a_closed_interface_refuses_to_send_and_receives_nothing,
    check_nine_bytes_are_refused_before_they_are_sent,
]
