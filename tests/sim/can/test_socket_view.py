"""What a program sees of the simulated bus through its socket: as SocketCAN shows it, error frames byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from taktora.can import CanErrorClass, CanErrorFrame, CanFilter, CanFrame, CanIfaceState
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError
from taktora_sim.can import Attempt, FrameLoss, SimulatedCanBus, WireError, WireErrorKind
from taktora_sim.can.timing import field_position, wire_image
from tests.sim.can.support import MS, Log, S, SlowLog, bus, errors_of, socket, strike

FRAME = CanFrame(0x123, bytes.fromhex("11223344"))
_CRTL = CanErrorClass.CONTROLLER | CanErrorClass.COUNTERS
_PROT = CanErrorClass.PROTOCOL | CanErrorClass.BUS_ERROR | CanErrorClass.COUNTERS


def _told(log: Log) -> list[tuple[CanErrorClass, str]]:
    """Return classes and data of the error frames, the data in hexadecimal."""
    return [(frame.classes, frame.data.hex(" ")) for frame in log.errors]


@pytest.mark.verifies("REQ_8202", "REQ_8201")
def test_a_sender_on_its_way_to_bus_off_and_back_tells_each_change_of_state_once() -> None:
    segment, log = bus(), Log()
    strike(segment, "a", when=lambda count: count <= 32)
    node = segment.node("a", restart_ms=10)
    segment.node("b")
    socket(node, log).send(FRAME)

    segment.world.run_for(50 * MS)

    assert _told(log) == [
        (_CRTL, "00 08 00 00 00 00 60 00"),  # transmit warning at 96
        (_CRTL, "00 20 00 00 00 00 80 00"),  # transmit passive at 128
        (CanErrorClass.BUS_OFF, "00 00 00 00 00 00 00 00"),
        (CanErrorClass.RESTARTED, "00 00 00 00 00 00 00 00"),
    ]
    assert log.errors[3].timestamp_ns - log.errors[2].timestamp_ns == 10 * MS


@pytest.mark.verifies("REQ_8202", "REQ_8201")
def test_a_receiver_tells_its_own_side_and_the_way_back_passes_through_warning() -> None:
    segment, log = bus(), Log()
    strike(segment, "a", ("b",), when=lambda count: count <= 15)
    node = segment.node("a", queue_length=100)
    receiver = segment.node("b")
    socket(receiver, log)
    segment.node("c")

    for number in range(60):
        node.transmit(CanFrame(number, b""))
    segment.world.run_for(50 * MS)

    assert _told(log) == [
        (_CRTL, "00 04 00 00 00 00 00 63"),  # receive warning: 11 errors of 9 are 99
        (_CRTL, "00 10 00 00 00 00 00 87"),  # receive passive: 15 of them are 135
        (_CRTL, "00 04 00 00 00 00 00 7f"),  # the first good frame: 127
        (_CRTL, "00 40 00 00 00 00 00 5f"),  # active again at 95
    ]


@pytest.mark.verifies("REQ_8202")
@pytest.mark.parametrize(
    ("tec", "rec", "detail"),
    [(96, 0, 0x08), (0, 96, 0x04), (96, 96, 0x0C), (128, 96, 0x20), (96, 130, 0x10), (130, 130, 0x30)],
)
def test_the_side_that_leads_sets_its_flag_and_both_if_they_are_equal(tec: int, rec: int, detail: int) -> None:
    node, log = bus().node("a"), Log()
    socket(node, log)

    node.controller.set_counters(tec, rec)
    node.controller.set_counters(0, 0)

    assert _told(log) == [
        (_CRTL, bytes((0, detail, 0, 0, 0, 0, tec, rec)).hex(" ")),
        (_CRTL, "00 40 00 00 00 00 00 00"),
    ]


@pytest.mark.verifies("REQ_8202")
def test_the_error_frame_of_a_frame_comes_before_any_later_data_frame() -> None:
    segment = bus()
    seen: list[str] = []

    class Order(Log):
        def on_frame(self, frame: CanFrame) -> None:
            seen.append(f"{frame.can_id:x}")

        def on_error_frame(self, frame: CanErrorFrame) -> None:
            seen.append(f"error {frame.data[1]:02x}")

    sender, receiver = segment.node("a"), segment.node("b")
    socket(receiver, Order())
    receiver.controller.set_counters(0, 129)
    for number in range(1, 4):
        sender.transmit(CanFrame(number, b""))
    segment.world.run_for(MS)

    assert seen == ["error 10", "error 04", "1", "2", "3"]


def _places(segment: SimulatedCanBus, errors: Sequence[WireError]) -> None:
    """Have the attempts of node a meet these errors, one after the other."""
    left = list(errors)
    segment.wire_faults.append(lambda attempt: left.pop(0) if left and attempt.node == "a" else None)


@pytest.mark.verifies("REQ_8202")
@pytest.mark.parametrize(
    ("field", "bit", "kind", "sender", "receiver"),
    [
        ("id", 2, WireErrorKind.BIT, "90 02", "04 02"),  # ID8, recessive: bit1
        ("id", 9, WireErrorKind.BIT, "90 06", "04 06"),
        ("data", 0, WireErrorKind.BIT, "88 0a", "04 0a"),  # dominant: bit0
        ("dlc", 0, WireErrorKind.STUFF, "84 0b", "04 0b"),
        ("crc", 3, WireErrorKind.FORM, "82 08", "04 08"),
        ("ack_delimiter", 0, WireErrorKind.FORM, "82 1b", "02 1a"),
        ("eof", 3, WireErrorKind.FORM, "82 1a", "02 1a"),
    ],
)
def test_with_bus_error_reporting_each_error_tells_its_type_and_place(
    field: str, bit: int, kind: WireErrorKind, sender: str, receiver: str
) -> None:
    segment, logs = bus(), [Log(), Log()]
    nodes = [segment.node(name, berr_reporting=True) for name in "ab"]
    for node, log in zip(nodes, logs, strict=True):
        socket(node, log)
    _places(segment, [WireError(kind, field_position(FRAME, field) + bit)])

    nodes[0].transmit(FRAME)
    segment.world.run_for(MS)

    assert _told(logs[0]) == [(_PROT, f"00 00 {sender} 00 00 08 00")]
    assert _told(logs[1]) == [(_PROT, f"00 00 {receiver} 00 00 00 01")]


@pytest.mark.verifies("REQ_8202")
def test_errors_that_receivers_see_first_are_told_from_either_side() -> None:
    segment, logs = bus(), [Log(), Log(), Log()]
    nodes = [segment.node(name, berr_reporting=True) for name in "abc"]
    for node, log in zip(nodes, logs, strict=True):
        socket(node, log)
    _places(segment, [WireError(WireErrorKind.CRC, field_position(FRAME, "data"), ("b",))])

    nodes[0].transmit(FRAME)
    segment.world.run_for(MS)

    assert _told(logs[0]) == [(_PROT, "00 00 90 1a 00 00 08 00")]  # its recessive end of frame came out dominant
    assert _told(logs[1]) == [(_PROT, "00 00 00 08 00 00 00 09")]
    assert _told(logs[2]) == [(_PROT, "00 00 02 1a 00 00 00 01")]


@pytest.mark.verifies("REQ_8202")
def test_a_missing_acknowledge_is_told_with_its_class_and_slot() -> None:
    segment, log = bus(), Log()
    node = segment.node("a", berr_reporting=True)
    socket(node, log).send(FRAME)

    segment.world.run_until(lambda: bool(log.errors))

    assert _told(log) == [(_PROT | CanErrorClass.NO_ACK, "00 00 80 19 00 00 08 00")]


@pytest.mark.verifies("REQ_8202")
def test_without_bus_error_reporting_errors_on_the_wire_tell_nothing() -> None:
    segment, log = bus(), Log()
    strike(segment, "a", when=lambda count: count <= 5)
    node = segment.node("a")
    segment.node("b")
    errors = errors_of(segment)
    socket(node, log).send(FRAME)

    segment.world.run_for(MS)

    assert (len(errors), log.errors) == (5, [])


@pytest.mark.verifies("REQ_8202")
@pytest.mark.parametrize(
    ("winner", "loser", "bit"),
    [
        (CanFrame(0x000, b""), CanFrame(0x400, b""), 1),  # the first bit of the identifier
        (CanFrame(0x122, b""), CanFrame(0x123, b""), 11),
        (CanFrame(0x123, b""), CanFrame(0x123, b"", remote=True), 12),
        (CanFrame(0x123, b""), CanFrame(0x123 << 18, b"", True), 12),
        (CanFrame(0x123 << 18, b"", True), CanFrame(0x123 << 18 | 1, b"", True), 31),
    ],
)
def test_a_lost_arbitration_tells_its_bit_where_that_is_reported(winner: CanFrame, loser: CanFrame, bit: int) -> None:
    segment, log = bus(), Log()
    node = segment.node("a", report_lost_arbitration=True)
    other = segment.node("b")
    socket(node, log).send(loser)
    other.transmit(winner)

    segment.world.run_for(MS)

    assert _told(log) == [(CanErrorClass.LOST_ARBITRATION, bytes((bit, 0, 0, 0, 0, 0, 0, 0)).hex(" "))]
    assert node.sent == 1


@pytest.mark.verifies("REQ_8202")
def test_each_socket_gets_the_error_classes_of_its_mask_whatever_its_filters() -> None:
    segment, logs = bus(), [Log() for _ in range(4)]
    node = segment.node("a")
    masks = [CanErrorClass(0), CanErrorClass.BUS_OFF, CanErrorClass.CONTROLLER, CanErrorClass(0x3FF)]
    for log, mask in zip(logs, masks, strict=True):
        interface = node.interface(error_mask=mask)
        interface.open(log)
        interface.set_filters([])

    node.controller.set_counters(128, 0)
    node.controller.set_counters(256, 0)

    assert [[frame.classes for frame in log.errors] for log in logs] == [
        [],
        [CanErrorClass.BUS_OFF],
        [_CRTL],
        [_CRTL, CanErrorClass.BUS_OFF],
    ]


@pytest.mark.verifies("REQ_8202")
def test_a_controller_that_overflows_loses_frames_and_says_so_for_each() -> None:
    segment, log = bus(), Log()
    sender, receiver = segment.node("a"), segment.node("b")
    socket(receiver, log)
    receiver.overflow(2)

    for number in range(4):
        sender.transmit(CanFrame(number, b""))
    segment.world.run_for(MS)

    assert log.ids == [2, 3]
    assert _told(log) == [(_CRTL, "00 01 00 00 00 00 00 00")] * 2


@pytest.mark.verifies("REQ_8202", "REQ_8201")
def test_while_bus_off_a_write_succeeds_and_the_frame_is_lost() -> None:
    segment, log = bus(), Log()
    node, deaf_to_errors = segment.node("a"), Log()
    told = socket(node, log)
    untold = node.interface(error_mask=CanErrorClass(0))
    untold.open(deaf_to_errors)
    socket(segment.node("b"), received := Log())

    node.transmit(FRAME)
    node.controller.set_counters(256, 0)
    untold.send(FRAME)
    with pytest.raises(LinkDown, match="bus-off"):
        told.send(FRAME)
    segment.world.run_for(S)

    assert (received.frames, node.queued, node.lost[FrameLoss.BUS_OFF]) == ([], 0, 2)
    assert (told.state, untold.state) == (CanIfaceState.BUS_OFF, CanIfaceState.ACTIVE)


@pytest.mark.verifies("REQ_8202", "REQ_8201")
def test_after_a_restart_the_same_socket_works_again_and_reopening_would_not_have_helped() -> None:
    segment, log = bus(), Log()
    node = segment.node("a")
    interface = socket(node, log)
    socket(segment.node("b"), received := Log())
    node.controller.set_counters(256, 0)

    interface.open(log)
    with pytest.raises(LinkDown, match="is bus-off"):
        interface.send(CanFrame(1, b""))
    node.controller.restart()
    interface.send(CanFrame(2, b""))
    segment.world.run_for(S)

    assert received.ids == [2]
    assert interface.state is CanIfaceState.ACTIVE


@pytest.mark.verifies("REQ_8202")
@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        ([CanFilter(0x123, 0x7FF)], [0, 1, 2, 3]),  # neither format nor remote flag is compared
        ([CanFilter(0x123, 0xC00007FF)], [0, 3]),
        ([CanFilter(0x80000123, 0xDFFFFFFF)], [1]),
        ([CanFilter(0x40000123, 0xC00007FF)], [2]),
        ([CanFilter(0x20000123, 0xC00007FF)], [1, 2, 4]),  # inverted
        ([CanFilter(0x124, 0xC00007FF), CanFilter(0x123, 0xC00007FF)], [0, 3, 4]),
        ([], []),
    ],
)
def test_filters_pass_what_the_kernel_passes(filters: list[CanFilter], passing: list[int]) -> None:
    segment, log = bus(data_bitrate=2_000_000), Log()
    sender, receiver = segment.node("a"), socket(segment.node("b"), log)
    frames = [
        FRAME,
        CanFrame(0x123, b"x", extended=True),
        CanFrame(0x123, b"", remote=True, dlc=2),
        CanFrame(0x123, bytes(12), fd=True, brs=True),
        CanFrame(0x124, b""),
    ]
    receiver.set_filters(filters)

    for frame in frames:
        sender.transmit(frame)
    segment.world.run_for(10 * MS)

    assert [frame._replace(timestamp_ns=0) for frame in log.frames] == [frames[index] for index in passing]


@pytest.mark.verifies("REQ_8202")
def test_own_messages_pass_the_sockets_own_filters() -> None:
    segment, log = bus(), Log()
    interface = socket(segment.node("a"), log, receive_own=True)
    segment.node("b")
    interface.set_filters([CanFilter(0x200, 0x7FF)])

    interface.send(CanFrame(0x100, b""))
    interface.send(CanFrame(0x200, b""))
    segment.world.run_for(MS)

    assert log.ids == [0x200]


@pytest.mark.verifies("REQ_8202")
def test_a_socket_without_loopback_is_heard_by_other_hosts_only() -> None:
    segment, own, other, remote = bus(), Log(), Log(), Log()
    node = segment.node("a")
    quiet = node.interface(loopback=False, receive_own=True)
    quiet.open(own)
    socket(node, other)
    socket(segment.node("b"), remote)

    quiet.send(FRAME)
    segment.world.run_for(MS)

    assert (own.ids, other.ids, remote.ids) == ([], [], [0x123])


@pytest.mark.verifies("REQ_8202")
def test_a_frame_of_the_own_host_is_marked_while_it_is_handed_over() -> None:
    segment = bus()
    node = segment.node("a")
    marks: list[tuple[int, bool]] = []

    class Marks(Log):
        def on_frame(self, frame: CanFrame) -> None:
            marks.append((frame.can_id, listener.is_own_host))

    listener = socket(node, Marks())
    node.transmit(CanFrame(1, b""))
    segment.node("b").transmit(CanFrame(2, b""))
    segment.world.run_for(MS)

    assert marks == [(1, True), (2, False)]


@pytest.mark.verifies("REQ_8202", "REQ_8200")
def test_a_classical_socket_never_sees_fd_frames_and_may_not_send_them() -> None:
    segment, both, classical = bus(data_bitrate=2_000_000), Log(), Log()
    sender, receiver = segment.node("a"), segment.node("b")
    socket(receiver, both)
    old = receiver.interface(fd=False)
    old.open(classical)

    sender.transmit(CanFrame(0x123, bytes(64), fd=True, brs=True))
    sender.transmit(FRAME)
    segment.world.run_for(MS)

    assert ([frame.fd for frame in both.frames], classical.ids) == ([True, False], [0x123])
    assert not old.carries_fd
    with pytest.raises(StackError, match="classical socket"):
        old.send(CanFrame(1, b"", fd=True))


@pytest.mark.verifies("REQ_8202", "REQ_8200")
def test_what_the_kernel_refuses_is_refused_with_the_reason() -> None:
    classical_bus, fd_bus = bus(), bus(data_bitrate=2_000_000)
    on_classical_bus, old, new = classical_bus.node("a"), fd_bus.node("old", fd=False), fd_bus.node("new")

    assert [node.interface().carries_fd for node in (on_classical_bus, old, new)] == [False, False, True]
    with pytest.raises(StackError, match="no data bit rate"):
        on_classical_bus.transmit(CanFrame(1, b"", fd=True))
    with pytest.raises(StackError, match=r"EINVAL\); its controller"):
        old.transmit(CanFrame(1, b"", fd=True))
    with pytest.raises(StackError, match="9 bytes"):
        new.transmit(CanFrame(1, bytes(9), fd=True))
    with pytest.raises(StackError, match="remote"):
        new.transmit(CanFrame(1, b"", remote=True, fd=True))
    with pytest.raises(PayloadOverflow, match="65"):
        new.transmit(CanFrame(1, bytes(65), fd=True))
    with pytest.raises(PayloadOverflow, match="9 bytes"):
        new.transmit(CanFrame(1, bytes(9)))


@pytest.mark.verifies("REQ_8202")
def test_a_queue_by_identifier_sends_the_most_urgent_first_and_leaves_the_frame_on_the_wire() -> None:
    segment, log = bus(), Log()
    node = segment.node("a", queue_order="id", queue_length=4)
    socket(segment.node("b"), log)

    for can_id in (0x300, 0x500):
        node.transmit(CanFrame(can_id, b""))
    segment.world.call_at(10_000, partial(node.transmit, CanFrame(0x100, b"")))
    segment.world.call_at(20_000, partial(node.transmit, CanFrame(0x400, b"")))
    segment.world.run_for(30_000)
    with pytest.raises(BackPressure, match="4 frames"):
        node.transmit(CanFrame(0x200, b""))
    segment.world.run_for(S)

    assert log.ids == [0x300, 0x100, 0x400, 0x500]


@pytest.mark.verifies("REQ_8202", "REQ_8201")
def test_a_destroyed_frame_gives_way_to_a_more_urgent_one_in_a_queue_by_identifier_only() -> None:
    orders: list[list[int]] = []
    for order in ("id", "fifo"):
        segment, log = bus(), Log()
        strike(segment, "a", when=lambda count: count == 1)
        node = segment.node("a", queue_order=order)
        socket(segment.node("b"), log)
        node.transmit(CanFrame(0x300, b""))
        segment.world.call_at(10_000, partial(node.transmit, CanFrame(0x100, b"")))
        segment.world.run_for(MS)
        orders.append(log.ids)

    assert orders == [[0x100, 0x300], [0x300, 0x100]]


@pytest.mark.verifies("REQ_8202")
def test_a_reader_that_does_not_read_loses_what_its_buffer_cannot_keep_and_hears_how_much() -> None:
    segment, log = bus(), SlowLog()
    sender, receiver = segment.node("a", queue_length=20), segment.node("b")
    interface = receiver.interface(receive_buffer=3)
    interface.open(log)

    interface.pause_reading()
    for number in range(8):
        sender.transmit(CanFrame(number, b""))
    segment.world.run_for(10 * MS)
    meanwhile = list(log.frames)
    interface.resume_reading()
    sender.transmit(CanFrame(0x100, b""))
    segment.world.run_for(MS)

    assert (meanwhile, log.ids, log.lost, interface.overflowed) == ([], [0, 1, 2, 0x100], [5], 5)
    assert log.times[2] < 10 * MS


@pytest.mark.verifies("REQ_8202")
def test_error_frames_wait_in_the_buffer_in_their_order_and_a_reader_may_pause_again() -> None:
    segment = bus()
    node, seen = segment.node("a"), list[str]()

    class Reluctant(SlowLog):
        def on_frame(self, frame: CanFrame) -> None:
            seen.append(f"{frame.can_id:x}")
            interface.pause_reading()

        def on_error_frame(self, frame: CanErrorFrame) -> None:
            seen.append("error")

    interface = node.interface()
    interface.open(Reluctant())
    interface.pause_reading()
    other = segment.node("b")
    other.transmit(CanFrame(1, b""))
    segment.world.run_for(MS)
    node.controller.set_counters(0, 96)
    other.transmit(CanFrame(2, b""))
    segment.world.run_for(MS)

    interface.resume_reading()
    first = list(seen)
    interface.resume_reading()

    assert (first, seen) == (["1"], ["1", "error", "error", "2"])


@pytest.mark.verifies("REQ_8202")
def test_a_buffer_of_nothing_and_a_closed_socket_are_refused() -> None:
    node = bus().node("a")

    with pytest.raises(ConfigurationError, match="receive buffer 0"):
        node.interface(receive_buffer=0)
    with pytest.raises(LinkDown, match="open it"):
        node.interface().pause_reading()


@pytest.mark.verifies("REQ_8207")
def test_the_load_is_told_by_identifier() -> None:
    segment = bus(500_000)
    sender = segment.node("a")
    segment.node("b")
    extended = CanFrame(0x123, b"", extended=True)

    for frame in (FRAME, FRAME, extended, CanFrame(0x050, b"")):
        sender.transmit(frame)
    segment.world.run_for(MS)
    shares = segment.load_by_id(MS)

    bits = len(wire_image(extended).bits)
    assert list(shares) == [(0x050, False), (0x123, False), (0x123, True)]
    assert shares[0x123, False] == pytest.approx(160 * 2000 / MS)
    assert shares[0x123, True] == pytest.approx(bits * 2000 / MS)
    assert sum(shares.values()) == pytest.approx(segment.load(MS))


@pytest.mark.verifies("REQ_8202")
def test_attempts_are_numbered_for_whoever_decides_about_them() -> None:
    segment = bus()
    asked: list[Attempt] = []

    def fault(attempt: Attempt) -> WireError | None:
        asked.append(attempt)
        return WireError(WireErrorKind.BIT, 15) if attempt.number < 3 else None

    segment.wire_faults.append(fault)
    node = segment.node("a")
    segment.node("b")
    node.transmit(FRAME)
    node.transmit(CanFrame(0x200, b""))
    segment.world.run_for(2 * MS)

    assert [(attempt.frame.can_id, attempt.number) for attempt in asked] == [
        (0x123, 1),
        (0x123, 2),
        (0x123, 3),
        (0x200, 1),
        (0x200, 2),
        (0x200, 3),
    ]
