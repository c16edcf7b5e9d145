"""What python-can's documentation promises of any bus, on ours: in virtual time and in real time."""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import can
import pytest

from taktora_sim.can.python_can.runtime_folder import FOLDER_VARIABLE
from tests.patience import PATIENCE_S
from tests.system.can.conftest import Open

pytestmark = pytest.mark.verifies("REQ_8203")


def _standard(arbitration_id: int, *data: int) -> can.Message:
    return can.Message(arbitration_id=arbitration_id, data=data, is_extended_id=False)


def _next(bus: can.BusABC) -> can.Message:
    message = bus.recv(PATIENCE_S)
    assert message is not None
    return message


def _until(bus: can.BusABC, last_id: int) -> list[int]:
    """Return the identifiers that come before ``last_id``."""
    found: list[int] = []
    while (message := _next(bus)).arbitration_id != last_id:
        found.append(message.arbitration_id)
    return found


def _waiting(bus: can.BusABC) -> list[int]:
    """Return the identifiers that are there already."""
    found = []
    while (message := bus.recv(0)) is not None:
        found.append(message.arbitration_id)
    return found


@pytest.mark.parametrize(
    "sent",
    [
        can.Message(arbitration_id=0x7FF, data=[1, 2, 3], is_extended_id=False),
        can.Message(arbitration_id=0x1FFFFFFF, data=bytes(8), is_extended_id=True),
        can.Message(arbitration_id=0x0, is_extended_id=False),
        can.Message(arbitration_id=0x123, is_extended_id=False, is_remote_frame=True, dlc=5),
    ],
    ids=["standard", "extended", "empty", "remote"],
)
def test_a_message_arrives_as_it_was_sent(open_bus: Open, sent: can.Message) -> None:
    sender, receiver = open_bus(bitrate=500_000), open_bus(bitrate=500_000)

    sender.send(sent)
    received = _next(receiver)

    assert received.equals(sent, timestamp_delta=None, check_channel=False)
    assert received.channel == receiver.channel  # type: ignore[attr-defined]
    assert received.is_rx


def test_a_can_fd_message_arrives_with_its_flags_and_padded_to_the_next_length(open_bus: Open) -> None:
    sender, receiver = (open_bus(fd=True, data_bitrate=2_000_000) for _ in range(2))

    sender.send(can.Message(arbitration_id=0x18DAF110, data=bytes(range(13)), is_fd=True, bitrate_switch=True, dlc=13))
    received = _next(receiver)

    assert (received.is_fd, received.bitrate_switch, received.error_state_indicator) == (True, True, False)
    assert (received.dlc, bytes(received.data)) == (16, bytes(range(13)) + bytes(3))
    assert sender.protocol is can.CanProtocol.CAN_FD


def test_a_classical_socket_sees_no_can_fd_frame(open_bus: Open) -> None:
    sender, receiver = open_bus(fd=True), open_bus()

    sender.send(can.Message(arbitration_id=1, data=bytes(64), is_fd=True))
    sender.send(_standard(2))

    assert _next(receiver).arbitration_id == 2
    assert receiver.protocol is can.CanProtocol.CAN_20


def test_time_stamps_are_seconds_of_civil_time_and_keep_the_order_of_the_wire(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    for number in range(20):
        sender.send(_standard(0x100 - number))
    stamps = [_next(receiver).timestamp for _ in range(20)]

    shortest = min(later - earlier for earlier, later in itertools.pairwise(stamps))
    assert stamps[0] > 1_700_000_000
    assert shortest > 93e-6  # 47 bits at 500 kbit/s, less what a float rounds away


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_recv_returns_none_when_nothing_came_in_time(open_bus: Open, timeout: float) -> None:
    bus = open_bus()

    assert bus.recv(timeout) is None


def test_recv_without_a_timeout_waits_until_a_message_comes(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()
    sender.send_periodic(_standard(0x10), 0.05)

    message = receiver.recv()

    assert message is not None
    assert message.arbitration_id == 0x10


def test_a_bus_is_iterated_over_its_messages(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()
    for number in range(3):
        sender.send(_standard(number))

    found = [message.arbitration_id for _, message in zip(range(3), receiver, strict=False)]

    assert found == [0, 1, 2]


def test_a_bus_gets_its_own_messages_only_where_it_asked_for_them(open_bus: Open) -> None:
    deaf, hearing, other = open_bus(), open_bus(receive_own_messages=True), open_bus()

    hearing.send(_standard(1))
    deaf.send(_standard(2))
    other.send(_standard(3))

    own = _next(hearing)
    assert (own.arbitration_id, own.is_rx) == (1, False)
    assert _until(deaf, 3) == [1]
    assert _until(hearing, 3) == [2]


def test_sockets_of_one_node_hear_each_other_as_transmitted(open_bus: Open) -> None:
    first, second, silent = open_bus(node="ecu"), open_bus(node="ecu"), open_bus(node="ecu", local_loopback=False)

    silent.send(_standard(1))
    first.send(_standard(2))

    heard = _next(second)
    assert (heard.arbitration_id, heard.is_rx) == (2, False)
    assert _next(silent).arbitration_id == 2


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, [0x100, 0x101, 0x200, 0x100, 0x18FF0100]),
        ([], [0x100, 0x101, 0x200, 0x100, 0x18FF0100]),
        ([{"can_id": 0x100, "can_mask": 0x7FF}], [0x100, 0x100, 0x18FF0100]),
        ([{"can_id": 0x100, "can_mask": 0x1FFFFFFF}], [0x100, 0x100]),
        ([{"can_id": 0x100, "can_mask": 0x7FF, "extended": False}], [0x100]),
        ([{"can_id": 0x100, "can_mask": 0x7FF, "extended": True}], [0x100, 0x18FF0100]),
        (
            [{"can_id": 0x100, "can_mask": 0x7FE, "extended": False}, {"can_id": 0x200, "can_mask": 0x7FF}],
            [0x100, 0x101, 0x200],
        ),
        ([{"can_id": 0x18FF0100, "can_mask": 0x1FFFFFFF, "extended": False}], []),
    ],
    ids=["none", "empty", "no-kind", "all-bits", "standard", "extended", "two", "never"],
)
def test_filters_pass_what_the_documentation_says(
    open_bus: Open, filters: list[dict[str, int]] | None, expected: list[int]
) -> None:
    sender, receiver, witness = open_bus(), open_bus(can_filters=[{"can_id": 0x7, "can_mask": 0x7}]), open_bus()
    receiver.set_filters(filters)  # type: ignore[arg-type]

    for number in (0x100, 0x101, 0x200):
        sender.send(_standard(number))
    for number in (0x100, 0x18FF0100):
        sender.send(can.Message(arbitration_id=number, is_extended_id=True))
    _until(witness, 0x18FF0100)

    assert _waiting(receiver) == expected
    assert receiver.filters == (filters or None)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (can.Message(arbitration_id=0x800, is_extended_id=False), "0x800 is outside 0..0x7ff"),
        (can.Message(arbitration_id=0x20000000, is_extended_id=True), "outside 0..0x1fffffff"),
        (can.Message(arbitration_id=1, data=bytes(9)), "dlc 9 is outside 0..8"),
        (can.Message(arbitration_id=1, data=bytes(9), is_fd=True), "fd=True"),
        (can.Message(arbitration_id=1, is_error_frame=True), "error frames"),
    ],
    ids=["11-bit", "29-bit", "too-long", "fd-on-classical", "error-frame"],
)
def test_a_message_that_cannot_be_sent_is_refused_with_its_range(
    open_bus: Open, message: can.Message, words: str
) -> None:
    bus = open_bus()

    with pytest.raises(can.CanOperationError, match=words) as refused:
        bus.send(message)

    assert refused.value.error_code == errno.EINVAL


def test_a_full_transmit_queue_is_enobufs_at_once_with_timeout_zero_and_in_time_with_another(open_bus: Open) -> None:
    bus = open_bus(acknowledge=False, txqueuelen=3)
    for number in range(3):
        bus.send(_standard(number))

    for timeout in (0, 0.05):
        with pytest.raises(can.CanOperationError, match="ENOBUFS") as full:
            bus.send(_standard(9), timeout)
        assert full.value.error_code == errno.ENOBUFS


def test_send_waits_for_room(open_bus: Open) -> None:
    sender, receiver = open_bus(txqueuelen=2), open_bus()

    for number in range(50):
        sender.send(_standard(number), PATIENCE_S)

    assert [_next(receiver).arbitration_id for _ in range(50)] == list(range(50))


def test_flushing_drops_what_waits_but_not_what_is_on_the_wire(open_bus: Open) -> None:
    lonely = open_bus(acknowledge=False, txqueuelen=4)
    for number in range(4):
        lonely.send(_standard(number))
    _next(lonely)  # an error frame: the first message has been tried

    lonely.flush_tx_buffer()
    listener = open_bus()
    lonely.send(_standard(9))

    assert set(_until(listener, 9)) <= {0}


def test_a_lone_node_without_a_listener_becomes_error_passive_and_stays_there(open_bus: Open) -> None:
    bus = open_bus(acknowledge=False)
    states = [bus.state]

    bus.send(_standard(1))
    errors = [_next(bus) for _ in range(2)]

    assert all(error.is_error_frame for error in errors)
    states.append(bus.state)
    assert states == [can.BusState.ACTIVE, can.BusState.PASSIVE]


def test_error_frames_can_be_left_out(open_bus: Open) -> None:
    bus = open_bus(acknowledge=False, ignore_rx_error_frames=True)

    bus.send(_standard(1))

    assert bus.recv(0.3) is None
    assert bus.state is can.BusState.PASSIVE


def test_a_bus_set_passive_only_listens_until_it_is_set_active(open_bus: Open) -> None:
    listener, other = open_bus(), open_bus()

    listener.state = can.BusState.PASSIVE
    other.send(_standard(1))
    listener.send(_standard(2))
    listener.state = can.BusState.ACTIVE
    other.send(_standard(3))
    listener.send(_standard(4))

    assert _until(listener, 3) == [1]
    assert _next(other).arbitration_id == 4
    with pytest.raises(ValueError, match="ERROR"):
        listener.state = can.BusState.ERROR


def _periods(bus: can.BusABC, number: int) -> list[int]:
    stamps = [_next(bus).timestamp for _ in range(number)]
    return [round((later - earlier) * 1e6) for earlier, later in itertools.pairwise(stamps)]


def test_periodic_messages_come_at_exactly_their_period(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    task = sender.send_periodic([_standard(5, 1), _standard(5, 2)], 0.01)
    periods = _periods(receiver, 11)
    task.stop()

    assert isinstance(task, can.ModifiableCyclicTaskABC)
    assert isinstance(task, can.RestartableCyclicTaskABC)
    assert sum(periods) == pytest.approx(100_000, abs=300)


def test_a_periodic_task_ends_after_its_duration_and_can_be_started_again(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    task = sender.send_periodic(_standard(5), 0.01, duration=0.05, autostart=False)
    assert receiver.recv(0.05) is None
    for _ in range(2):
        task.start()  # type: ignore[attr-defined]
        assert [_next(receiver).arbitration_id for _ in range(5)] == [5] * 5
        assert receiver.recv(0.1) is None


def test_data_of_a_periodic_task_can_be_modified(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()
    task = sender.send_periodic(_standard(5, 1), 0.01)
    assert isinstance(task, can.ModifiableCyclicTaskABC)
    assert _next(receiver).data == bytes([1])

    task.modify_data(_standard(5, 2))
    while _next(receiver).data != bytes([2]):
        pass

    with pytest.raises(ValueError, match="arbitration ID"):
        task.modify_data(_standard(6, 2))


def test_a_periodic_task_calls_its_modifier_before_each_message(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    def count_up(message: can.Message) -> None:
        message.data[0] += 1

    sender.send_periodic(_standard(5, 0), 0.01, modifier_callback=count_up)

    assert [_next(receiver).data[0] for _ in range(4)] == [1, 2, 3, 4]


def test_all_periodic_tasks_are_stopped_together(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()
    for number in (5, 6):
        sender.send_periodic(_standard(number), 0.01)
    assert {_next(receiver).arbitration_id for _ in range(2)} == {5, 6}

    sender.stop_all_periodic_tasks()
    sender.send(_standard(7))

    _until(receiver, 7)
    assert receiver.recv(0.05) is None


def test_a_closed_bus_refuses_and_closing_twice_does_nothing(open_bus: Open, caplog: pytest.LogCaptureFixture) -> None:
    bus = open_bus()

    bus.shutdown()
    bus.shutdown()

    calls: list[Callable[[], object]] = [lambda: bus.send(_standard(1)), lambda: bus.recv(0.1)]
    for call in calls:
        with pytest.raises(can.CanOperationError, match="closed"):
            call()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_queued_when_a_bus_is_shut_down_is_still_sent(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    for number in range(5):
        sender.send(_standard(number))
    sender.shutdown()

    assert [_next(receiver).arbitration_id for _ in range(5)] == list(range(5))


def test_a_bus_that_was_not_shut_down_is_told_of_in_the_log(open_bus: Open, caplog: pytest.LogCaptureFixture) -> None:
    bus = can.Bus(interface="taktora_sim", channel="forgotten", ignore_config=True)

    bus.__del__()

    assert "TaktoraSimBus was not properly shut down" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channel": "seventeen letters"}, "' '"),
        ({"bitrate": 7}, "bitrate 7 is outside 1000..1000000"),
        ({"txqueuelen": 0}, "txqueuelen 0"),
        ({"rx_queue_size": 0}, "rx_queue_size 0"),
        ({"fd": True, "data_bitrate": 9_000_000}, "data_bitrate"),
    ],
)
def test_a_value_out_of_its_range_is_a_value_error(open_bus: Open, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        can.Bus(interface="taktora_sim", ignore_config=True, **{"channel": "x", **arguments})


def test_a_bus_that_is_another_one_than_asked_for_is_refused(open_bus: Open) -> None:
    open_bus(bitrate=500_000)

    with pytest.raises(can.CanInitializationError, match="runs at 500000 bit/s"):
        open_bus(bitrate=250_000)
    with pytest.raises(can.CanInitializationError, match="fd=True"):
        open_bus(fd=True)
    with pytest.raises(can.CanInitializationError, match="acknowledge"):
        open_bus(acknowledge=False)


def test_bit_rates_can_be_given_as_a_timing(open_bus: Open) -> None:
    timing = can.BitTiming.from_sample_point(f_clock=16_000_000, bitrate=250_000, sample_point=87.5)
    open_bus(timing=timing)

    with pytest.raises(can.CanInitializationError, match="runs at 250000 bit/s"):
        open_bus(bitrate=500_000)


def test_open_buses_are_found(open_bus: Open, channel: str) -> None:
    open_bus()

    found = can.detect_available_configs("taktora_sim")

    assert {"interface": "taktora_sim", "channel": channel} in found


def test_a_folder_that_cannot_be_had_spoils_no_search_for_interfaces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "no-folder"
    file.touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(file))

    assert can.detect_available_configs("taktora_sim") == [{"interface": "taktora_sim", "channel": "vcan0"}]


def test_a_thread_safe_bus_is_one_of_ours(open_bus: Open, channel: str) -> None:
    receiver = open_bus()

    with can.ThreadSafeBus(channel=channel, interface="taktora_sim", ignore_config=True) as bus:
        bus.send(_standard(3))

    assert _next(receiver).arbitration_id == 3


def test_a_program_that_names_no_interface_takes_it_from_its_configuration(
    open_bus: Open, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = open_bus(bitrate=250_000)
    monkeypatch.setenv("CAN_INTERFACE", "taktora_sim")
    monkeypatch.setenv("CAN_CHANNEL", channel)
    monkeypatch.setenv("CAN_BITRATE", "250000")

    with can.Bus() as bus:
        bus.send(_standard(3))

    assert _next(receiver).arbitration_id == 3


def test_a_periodic_task_without_a_period_is_refused_and_the_bus_goes_on(open_bus: Open) -> None:
    sender, receiver = open_bus(), open_bus()

    with pytest.raises(ValueError, match="period 0 s is not above 0"):
        sender.send_periodic(_standard(5), 0)
    sender.send(_standard(6))

    assert _next(receiver).arbitration_id == 6
