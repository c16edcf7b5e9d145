"""python-can programs in a World: exact times, one hash, faults and applications beside them."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator

import can
import pytest

from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFilter, CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can import SimulatedCanBus
from taktora_sim.can.backend import bus_of
from taktora_sim.can.python_can.periodic import PeriodicSending
from taktora_sim.can.python_can.port import CanPort, Wish
from taktora_sim.can.python_can.wire import (
    JSON,
    RECORD_BYTES,
    Received,
    message,
    message_bytes,
    pack_received,
    pack_send,
    split_messages,
    unpack_received,
    unpack_send,
)
from taktora_sim.can.timing import frame_bits
from taktora_sim.foreign import ForeignDeadlock, ForeignStuck, ForeignThreadsLeft
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S
from tests.sim.fresh import hash_of, run_fresh

pytestmark = pytest.mark.verifies("REQ_8203")


@pytest.fixture
def world() -> Iterator[World]:
    with World(1) as made, made.as_current():
        yield made


def _open(**more: object) -> can.BusABC:
    return can.Bus(interface="taktora_sim", channel="vcan7", ignore_config=True, **more)  # type: ignore[arg-type]


def _message(arbitration_id: int, *data: int) -> can.Message:
    return can.Message(arbitration_id=arbitration_id, data=data, is_extended_id=False)


def _received(bus: can.BusABC, timeout: float = 1.0) -> can.Message:
    found = bus.recv(timeout)
    assert found is not None
    return found


def test_a_frame_takes_the_time_of_its_bits(world: World) -> None:
    with _open(bitrate=250_000) as sender, _open() as receiver:
        sender.send(_message(0x123, 0x11, 0x22, 0x33, 0x44))
        found = _received(receiver)

    bits = frame_bits(0x123, bytes((0x11, 0x22, 0x33, 0x44))) - 3  # received before the intermission
    assert world.now_ns() == bits * 4_000
    assert found.timestamp == pytest.approx((world.epoch_unix_ns + bits * 4_000) * 1e-9, abs=1e-6)


@pytest.mark.parametrize("timeout", [0.25, 3600.0])
def test_waiting_takes_virtual_time_and_exactly_as_much_as_asked(world: World, timeout: float) -> None:
    with _open() as bus:
        assert bus.recv(timeout) is None

    assert world.now_ns() == round(timeout * S)


def test_looking_takes_no_time(world: World) -> None:
    with _open() as bus:
        assert bus.recv(0) is None
        assert bus.recv(-1) is None

    assert world.now_ns() == 0


def test_waiting_for_ever_for_nothing_is_told(world: World) -> None:
    with _open() as bus, pytest.raises(ForeignDeadlock, match="waits for ever"):
        bus.recv()


def test_a_program_that_is_alone_on_its_bus_waits_no_longer_than_the_patience_lasts(world: World) -> None:
    world.foreign.patience_s = 0.01
    words = "of node 'python-can-1' on CAN bus 'vcan7'.*put another node on the bus, or open it with acknowledge=True"
    with _open(acknowledge=False, txqueuelen=1) as bus:
        bus.send(_message(1))
        errors = [bus.recv(), bus.recv()]  # the warning, then error-passive
        with pytest.raises(ForeignStuck, match=f"a message in the inbox {words}"):
            bus.recv()
        with pytest.raises(ForeignStuck, match=f"room in the transmit queue {words}"):
            bus.send(_message(1))

    assert all(error is not None and error.is_error_frame for error in errors)


def test_threads_that_are_alone_on_their_bus_wait_no_longer_than_the_patience_lasts(world: World) -> None:
    world.foreign.patience_s = 0.01

    def program() -> None:
        bus.send(_message(1))
        reader = threading.Thread(target=lambda: [bus.recv() for _ in range(3)], name="reader")
        reader.start()
        reader.join()

    words = (
        r"for one of its threads .* set world.foreign.patience_s higher\n(.*\n)* +thread 'reader' waits(.*\n)*.*recv"
    )
    with _open(acknowledge=False) as bus, pytest.raises(ForeignStuck, match=words), world.foreign_threads():
        program()


def test_a_reader_that_is_left_is_told_with_the_line_that_started_it(world: World) -> None:
    words = rf"'reader', started at {re.escape(__file__)}:\d+, in test_a_reader"
    with _open() as bus, pytest.raises(ForeignThreadsLeft, match=words), world.foreign_threads():
        threading.Thread(target=bus.recv, args=(10.0,), name="reader").start()


def test_waiting_for_room_takes_the_time_of_the_frames_before(world: World) -> None:
    with _open(txqueuelen=1) as sender, _open() as receiver:
        sender.send(_message(0x555))
        sender.send(_message(0x555), timeout=1.0)
        waited_ns = world.now_ns()
        first = _received(receiver)

    assert waited_ns == (frame_bits(0x555, b"") - 3) * 2_000
    assert first.timestamp == pytest.approx((world.epoch_unix_ns + waited_ns) * 1e-9, abs=1e-6)


def test_a_send_without_room_gives_up_at_its_time_limit(world: World) -> None:
    with _open(acknowledge=False, txqueuelen=1) as bus:
        bus.send(_message(1))
        with pytest.raises(can.CanOperationError, match="ENOBUFS"):
            bus.send(_message(2), timeout=0.125)

    assert world.now_ns() == S // 8


def test_periodic_messages_stand_on_an_absolute_grid(world: World) -> None:
    with _open() as sender, _open() as receiver:
        sender.send_periodic(_message(0x10), 0.001)
        stamps = [_received(receiver).timestamp for _ in range(1001)]

    assert round((stamps[-1] - stamps[0]) * 1e6) == 1_000_000


def test_the_bus_is_the_one_of_the_application(world: World) -> None:
    with _open(bitrate=125_000, fd=True, data_bitrate=1_000_000) as bus:
        simulated = bus_of(world, "vcan7")
        log = Log()
        simulated.node("ecu").interface().open(log)
        bus.send(_message(0x42, 1))
        world.run_for(S)

    assert (simulated.bitrate, simulated.data_bitrate) == (125_000, 1_000_000)
    assert log.ids == [0x42]
    assert [node.name for node in simulated.nodes] == ["python-can-1", "ecu"]


def test_a_number_is_a_channel_too(world: World) -> None:
    with can.Bus(interface="taktora_sim", channel=3, ignore_config=True):
        assert bus_of(world, "3").bitrate == 500_000


def test_a_node_that_was_given_back_serves_the_next_program(world: World) -> None:
    for _ in range(3):
        with _open() as first, _open() as second:
            first.send(_message(1))
            assert _received(second).arbitration_id == 1

    assert len(bus_of(world, "vcan7").nodes) == 2


def test_a_closed_bus_acknowledges_nothing_any_more(world: World) -> None:
    with _open(acknowledge=False) as lonely:
        _open().shutdown()
        lonely.send(_message(1))
        found = _received(lonely)

    assert found.is_error_frame


def test_what_a_closed_bus_cannot_send_is_given_up_after_a_second(world: World) -> None:
    bus = _open(acknowledge=False)
    bus.send(_message(1))
    bus.shutdown()

    world.run_for(2 * S)

    assert not bus_of(world, "vcan7").nodes[0].is_up


def test_faults_reach_the_node_of_a_program_by_its_name(world: World) -> None:
    with _open(node="tool") as sender, _open() as receiver:
        world.faults.inject("can/vcan7/tool", "silence", None, {})
        sender.send(_message(1))
        assert receiver.recv(0.1) is None


def test_a_controller_that_is_bus_off_says_so_and_is_restarted_by_being_set_active(world: World) -> None:
    with _open(node="tool") as bus, _open() as other:
        bus_of(world, "vcan7").nodes[0].controller.set_counters(256, 0)
        found = _received(bus)
        states = [bus.state]
        with pytest.raises(can.CanOperationError, match="set the bus to ACTIVE"):
            bus.send(_message(4))
        bus.state = can.BusState.ACTIVE
        world.run_for(10 * MS)
        states.append(bus.state)
        bus.send(_message(5))
        assert _received(other).arbitration_id == 5

    assert found.is_error_frame
    assert found.arbitration_id & 0x040
    assert states == [can.BusState.ERROR, can.BusState.ACTIVE]


def test_an_interface_that_goes_down_is_enetdown_and_carries_frames_again_when_it_is_up(world: World) -> None:
    with _open(node="tool", can_filters=[{"can_id": 7, "can_mask": 0x7FF}]) as bus, _open() as other:
        node = bus_of(world, "vcan7").nodes[0]
        node.set_up(False)
        calls: list[Callable[[], object]] = [lambda: bus.recv(1), lambda: bus.send(_message(1))]
        for call in calls:
            with pytest.raises(can.CanOperationError, match="ENETDOWN") as down:
                call()
            assert down.value.error_code == errno.ENETDOWN
        node.set_up(True)
        bus.send(_message(2))
        assert _received(other).arbitration_id == 2
        other.send(_message(6))
        other.send(_message(7))
        assert _received(bus).arbitration_id == 7


def test_who_only_reads_hears_again_when_the_interface_is_up(world: World) -> None:
    with _open(node="tool", can_filters=[{"can_id": 7, "can_mask": 0x7FF}]) as bus, _open() as other:
        node = bus_of(world, "vcan7").nodes[0]
        node.set_up(False)
        with pytest.raises(can.CanOperationError, match="ENETDOWN"):
            bus.recv(0)
        node.set_up(True)

        other.send(_message(6))
        other.send(_message(7))

        assert _received(bus).arbitration_id == 7


def test_a_bus_that_could_not_be_opened_leaves_no_node_behind(world: World) -> None:
    with _open(node="tool") as bus, _open():
        node = bus_of(world, "vcan7").nodes[0]
        with pytest.raises(can.CanInitializationError, match="CAN FD"):
            _open(node="tool", fd=True)
        bus.shutdown()

        assert not node.is_up


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {"listen_only": True}, "has listen_only=False and this program asks for True"),
        ({"listen_only": True}, {"listen_only": False}, "has listen_only=True and this program asks for False"),
        ({"txqueuelen": 20}, {"txqueuelen": 30}, "has txqueuelen=20 and this program asks for 30"),
    ],
)
def test_another_wish_for_a_node_that_is_in_use_is_refused(
    world: World, first: dict[str, object], second: dict[str, object], words: str
) -> None:
    way_out = "leave it out, or give this Bus a node of its own"
    with (
        _open(node="tool", **first),
        pytest.raises(can.CanInitializationError, match=f"'can/vcan7/tool' {words}; {way_out}"),
    ):
        _open(node="tool", **second)


def test_who_says_nothing_takes_a_node_as_it_is(world: World) -> None:
    with _open(node="tool", listen_only=True, txqueuelen=3), _open(node="tool"):
        tool = bus_of(world, "vcan7").nodes[0]

        assert (tool.options.listen_only, tool.queue_length) == (True, 3)


def test_a_node_that_nobody_has_any_more_is_what_the_next_program_asks_for(world: World) -> None:
    _open(node="tool", listen_only=True, txqueuelen=3).shutdown()
    tool = bus_of(world, "vcan7").nodes[0]

    with _open(node="tool"), _open() as other:
        assert (tool.options.listen_only, tool.queue_length) == (False, 10)
    with _open(node="tool", txqueuelen=4) as bus, _open() as other:
        bus.send(_message(1))
        assert _received(other).arbitration_id == 1
        assert tool.queue_length == 4


def test_a_data_bit_rate_without_can_fd_is_refused(world: World) -> None:
    with pytest.raises(can.CanInitializationError, match=r"data_bitrate 2000000 is for CAN FD and fd is False; .*True"):
        _open(data_bitrate=2_000_000)


def test_what_a_slow_reader_loses_is_marked_once_by_an_error_frame(world: World) -> None:
    with _open() as sender, _open(rx_queue_size=3) as reader:
        for number in range(9):
            sender.send(_message(number), timeout=1.0)
        world.run_for(10 * MS)
        found = [_received(reader) for _ in range(4)]
        sender.send(_message(0x99))
        after = _received(reader)

    assert [item.arbitration_id for item in found] == [0, 1, 2, 0x004]
    assert found[-1].is_error_frame
    assert found[-1].data[1] == 0x01
    assert after.arbitration_id == 0x99


def test_a_port_counts_what_its_full_inbox_lost(world: World) -> None:
    port = CanPort(world, Wish("vcan7", rx_queue_size=2, error_frames=False))
    other = CanPort(world, Wish("vcan7", txqueuelen=20))
    for number in range(10):
        other.send(CanFrame(number, b""))

    world.run_for(S)

    assert [getattr(received.frame, "can_id", None) for received in port.inbox] == [0, 1]
    assert port.lost == 8


def test_two_worlds_have_buses_of_their_own() -> None:
    with World(1) as first, first.as_current(), _open(bitrate=125_000), World(2) as second, second.as_current():
        with _open(bitrate=250_000) as inner:
            assert inner.recv(0) is None

        assert bus_of(second, "vcan7").bitrate == 250_000
        assert bus_of(first, "vcan7").bitrate == 125_000


def test_the_end_of_a_world_closes_its_buses() -> None:
    with World(1) as world, world.as_current():
        bus = _open()

    with pytest.raises(can.CanOperationError, match="closed"):
        bus.send(_message(1))
    bus.shutdown()


_PROGRAM = """
import can
from taktora_sim.world import World
with World(3) as world, world.as_current():
    with (
        can.Bus(interface="taktora_sim", channel="vcan7", fd=True, ignore_config=True) as left,
        can.Bus(interface="taktora_sim", channel="vcan7", fd=True, node="right", ignore_config=True) as right,
    ):
        left.send_periodic(can.Message(arbitration_id=0x10, is_extended_id=False), 0.003)
        for number in range(200):
            right.send(can.Message(arbitration_id=number, data=bytes(number % 9)))
            message = left.recv(0.001)
            if message is not None and not number % 5:
                left.send(can.Message(arbitration_id=number, data=bytes(64), is_fd=True, bitrate_switch=True), 1.0)
print("trace sha256:" + world.trace.sha256())
"""


def test_a_single_threaded_program_gives_one_hash() -> None:
    hashes = {hash_of(run_fresh(command=_PROGRAM, hash_seed=seed)) for seed in ("1", "2", "1")}

    assert len(hashes) == 1


@pytest.mark.parametrize(
    "frame",
    [
        CanFrame(0x7FF, b"12345678"),
        CanFrame(0x1FFFFFFF, b"", True),
        CanFrame(0x1, b"", False, True, 5),
        CanFrame(0x1, bytes(64), fd=True, brs=True, esi=True),
        CanErrorFrame(CanErrorClass.BUS_OFF | CanErrorClass.CONTROLLER, bytes(8)),
        None,
    ],
    ids=["standard", "extended", "remote", "fd", "error", "down"],
)
def test_what_goes_over_the_wire_comes_back_as_it_was(frame: CanFrame | CanErrorFrame | None) -> None:
    received = Received(1_767_225_600_123_456_789, frame is not None, frame)
    if isinstance(frame, CanErrorFrame):
        received = received._replace(is_own=False)

    record = pack_received(received)

    assert len(record) == RECORD_BYTES
    assert unpack_received(record) == received


def test_requests_are_split_where_they_end() -> None:
    whole = message(JSON, b"{}") + pack_send(CanFrame(5, b"x"), None) + pack_send(CanFrame(6, b""), 7)
    data = bytearray(whole[:-1])

    first = split_messages(data)
    data += whole[-1:]
    second = split_messages(data)

    assert first[0] == (JSON, b"{}")
    assert unpack_send(first[1][1]) == (CanFrame(5, b"x"), None)
    assert [unpack_send(body) for _, body in second] == [(CanFrame(6, b""), 7)]
    assert message_bytes(whole[:5]) == 7
    assert data == b""


def test_a_message_of_no_possible_length_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        split_messages(bytearray(b"\xff\xff\xff\xff\x00"))


def test_an_error_frame_cannot_be_asked_for() -> None:
    from taktora_sim.can.python_can.wire import SEND, pack_frame

    body = bytes(8) + pack_frame(CanErrorFrame(CanErrorClass.NO_ACK, bytes(8)))

    with pytest.raises(ValueError, match="made by controllers"):
        unpack_send(split_messages(bytearray(message(SEND, body)))[0][1])


@pytest.mark.parametrize(
    ("frames", "period_ns", "words"), [([CanFrame(1, b"")], 0, "period 0 ns"), ([], 1, "no frame")]
)
def test_a_periodic_sender_needs_a_period_and_a_frame(
    world: World, frames: list[CanFrame], period_ns: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PeriodicSending(world, lambda _frame: None, frames, period_ns)


def test_a_periodic_frame_without_room_is_left_out_and_counted(world: World) -> None:
    port = CanPort(world, Wish("vcan7", acknowledge=False, txqueuelen=2))
    sending = port.send_periodically([CanFrame(1, b"")], MS, 10 * MS)

    sending.start()
    world.run_for(S)

    assert sending.skipped == 8


def test_filters_of_a_port_outlive_an_interface_that_was_down(world: World) -> None:
    port, other = CanPort(world, Wish("vcan7")), CanPort(world, Wish("vcan7"))
    port.set_filters([CanFilter(2, 0x7FF)])
    port.node.set_up(False)
    port.node.set_up(True)
    port.send(CanFrame(9, b""))
    for number in (1, 2, 3):
        other.send(CanFrame(number, b""))

    world.run_for(S)

    assert [getattr(received.frame, "can_id", None) for received in port.inbox] == [None, 2]


def test_a_bus_made_by_hand_is_taken_as_it_is(world: World) -> None:
    from taktora_sim.can.backend import SimulatedCan

    SimulatedCan.of(world).buses["vcan7"] = SimulatedCanBus(world, "vcan7", 125_000)

    with _open() as bus, pytest.raises(can.CanInitializationError, match="acknowledge=False"):
        _open(acknowledge=True)
    assert bus.channel_info == "taktora_sim channel 'vcan7', node 'python-can-1', virtual time"


def test_a_wish_out_of_its_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"bitrate 1000001 is outside 1000..1000000"):
        Wish("vcan7", bitrate=1_000_001)
