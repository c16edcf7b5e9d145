"""FMMUs bit by bit, SyncManagers as buffers and mailboxes, and the watchdog."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.frame import Command, Datagram
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    INPUTS_AT,
    MAILBOX,
    MS,
    OUTPUTS_AT,
    Recorder,
    application,
    ask,
    ask_all,
    bring_to_op,
    device,
    exchange,
    fmmu,
    line,
    read_at,
    segment,
    sii,
    sync_manager,
    word_at,
    write_at,
    write_word,
)


def _bit(data: bytes, number: int) -> int:
    return data[number >> 3] >> (number & 7) & 1


@pytest.mark.verifies("REQ_8105")
@settings(max_examples=150, deadline=None)
@given(
    logical=st.integers(0, 6),
    start_bit=st.integers(0, 7),
    bits=st.integers(1, 40),
    physical_bit=st.integers(0, 7),
    command=st.sampled_from([Command.LRD, Command.LWR, Command.LRW]),
    kind=st.sampled_from([1, 2, 3]),
    first=st.integers(0, 4),
    salt=st.integers(0, 2**32),
)
def test_an_fmmu_copies_exactly_its_bits(
    logical: int, start_bit: int, bits: int, physical_bit: int, command: Command, kind: int, first: int, salt: int
) -> None:
    """Against a bit-by-bit model of our own."""
    draw = random.Random(salt)
    bus = line(1)
    end = start_bit + bits - 1
    write_at(
        bus,
        0,
        0x0600,
        fmmu(logical, end // 8 + 1, 0x1200, kind, start_bit=start_bit, end_bit=end & 7, physical_bit=physical_bit),
    )
    before = draw.randbytes(8)
    write_at(bus, 0, 0x1200, before)
    question = draw.randbytes(10)

    answer = ask(bus, command, first, question)

    after = bytes(bus["d0"].esc.memory[0x1200:0x1208])
    reads, writes = bool(kind & 1) and command != Command.LWR, bool(kind & 2) and command != Command.LRD
    pairs = {  # bit of the datagram -> bit of the memory
        logical * 8 + start_bit + number - first * 8: physical_bit + number
        for number in range(bits)
        if 0 <= logical * 8 + start_bit + number - first * 8 < 80
    }
    backwards = {memory: frame for frame, memory in pairs.items()}
    written = bytes(
        sum(
            (_bit(question, backwards[at]) if writes and at in backwards else _bit(before, at)) << at - 8 * byte
            for at in range(8 * byte, 8 * byte + 8)
        )
        for byte in range(8)
    )
    assert after == written
    for number in range(80):
        wanted = _bit(after, pairs[number]) if reads and number in pairs else _bit(question, number)
        assert _bit(answer.data, number) == wanted
    write_gain = 2 if command == Command.LRW else 1
    assert answer.working_counter == (reads + write_gain * writes if pairs else 0)


@pytest.mark.verifies("REQ_8105")
def test_several_subdevices_share_a_byte_both_ways() -> None:
    world = World(1)
    bus = segment(world, *(device(world, f"d{number}", Recorder(1, 1)) for number in range(3)))
    for position in range(3):
        write_at(bus, position, 0x0800, sync_manager(0x0F00, 1, 0x44))
        write_at(bus, position, 0x0808, sync_manager(INPUTS_AT, 1, 0x00))
        shift = 2 * position
        write_at(bus, position, 0x0600, fmmu(0, 1, 0x0F00, 2, start_bit=shift, end_bit=shift + 1))
        write_at(bus, position, 0x0610, fmmu(1, 1, INPUTS_AT, 1, start_bit=shift, end_bit=shift + 1))
        application(bus, f"d{position}").next_inputs = bytes((position + 1,))
    for state in (2, 4):
        ask(bus, Command.BWR, 0x0120 << 16, state.to_bytes(2, "little"))
    exchange(bus, b"\0\0")
    ask(bus, Command.BWR, 0x0120 << 16, b"\x08\0")

    answer = exchange(bus, b"\x39\x80")

    assert (answer.working_counter, answer.data) == (9, b"\x39\xb9")
    assert [application(bus, f"d{number}").taken[-1] for number in range(3)] == [b"\x01", b"\x02", b"\x03"]


@pytest.mark.verifies("REQ_8105")
def test_an_fmmu_may_map_a_register() -> None:
    bus = line(1)
    write_at(bus, 0, 0x0600, fmmu(0x20, 1, 0x0130, 1, start_bit=4, end_bit=7, physical_bit=0))

    answer = ask(bus, Command.LRD, 0x20, b"\x0f")

    assert (answer.working_counter, answer.data) == (1, b"\x1f")


@pytest.mark.verifies("REQ_8105")
def test_outputs_reach_the_device_in_op_only_and_when_their_last_byte_is_written() -> None:
    bus = line(1)
    bring_to_op(bus)
    recorder = application(bus, "d0")
    recorder.taken.clear()

    ask(bus, Command.LWR, 0, b"\x11")
    partly = list(recorder.taken)
    ask(bus, Command.LWR, 1, b"\x22")
    write_word(bus, 0, 0x0120, 4)
    exchange(bus, b"\x33\x44\0\0")

    assert (partly, recorder.taken) == ([], [b"\x11\x22"])


@pytest.mark.verifies("REQ_8105")
def test_inputs_come_in_safe_op_already() -> None:
    bus = line(1)
    bring_to_op(bus)
    write_word(bus, 0, 0x0120, 4)
    application(bus, "d0").next_inputs = b"\x77\x88"

    assert exchange(bus, bytes(4)).data == b"\0\0\x77\x88"


@pytest.mark.verifies("REQ_8105")
def test_inputs_cannot_be_overwritten() -> None:
    bus = line(1)
    bring_to_op(bus)

    assert write_at(bus, 0, INPUTS_AT, b"\xff").working_counter == 0
    assert read_at(bus, 0, OUTPUTS_AT, 2).working_counter == 1


@pytest.mark.verifies("REQ_8105")
def test_two_output_channels_reach_the_device_as_one_image() -> None:
    world = World(1)
    bus = segment(world, device(world, "wide", Recorder(2, 2)))
    for number, (start, control) in enumerate(((0x0F00, 0x44), (0x0F01, 0x44), (0x1000, 0), (0x1010, 0))):
        write_at(bus, 0, 0x0800 + 8 * number, sync_manager(start, 1, control))
    for number, (logical, start, kind) in enumerate(((0, 0x0F00, 2), (2, 0x1000, 1), (3, 0x1010, 1))):
        write_at(bus, 0, 0x0600 + 16 * number, fmmu(logical, 2 if kind == 2 else 1, start, kind))
    application(bus, "wide").next_inputs = b"\xa1\xa2"
    for state in (2, 4):
        write_word(bus, 0, 0x0120, state)
    exchange(bus, bytes(4))
    write_word(bus, 0, 0x0120, 8)

    answer = exchange(bus, b"\x51\x52\0\0")

    assert answer.data == b"\x51\x52\xa1\xa2"
    assert application(bus, "wide").taken[-1] == b"\x51\x52"


def _mail_bus() -> tuple[SimulatedSegment, Recorder]:
    world = World(1)
    recorder = Recorder()
    bus = segment(world, device(world, "drive", recorder, image=sii(mailbox=True)))
    write_at(bus, 0, 0x0800, sync_manager(MAILBOX[0], MAILBOX[1], 0x26) + sync_manager(MAILBOX[2], MAILBOX[3], 0x22))
    return bus, recorder


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_a_mail_is_there_when_its_last_byte_is_and_the_mailbox_is_empty_again() -> None:
    bus, recorder = _mail_bus()

    half = write_at(bus, 0, 0x1000, b"a" * 64)
    rest = write_at(bus, 0, 0x1040, b"b" * 64)

    assert (half.working_counter, rest.working_counter) == (1, 1)
    assert recorder.mails == [b"a" * 64 + b"b" * 64]
    assert read_at(bus, 0, 0x0805, 1).data[0] & 8 == 0


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_a_full_mailbox_refuses_and_an_empty_one_too() -> None:
    bus, recorder = _mail_bus()
    place = Datagram(Command.APWR, 0x1000 << 16, b"x" * 128)

    first, second = ask_all(bus, [place, place])
    empty = read_at(bus, 0, 0x1080, 128)
    middle = write_at(bus, 0, 0x1010, b"y")
    backwards = read_at(bus, 0, 0x1000, 128)

    assert (first.working_counter, second.working_counter) == (1, 0)
    assert (empty.working_counter, middle.working_counter, backwards.working_counter) == (0, 0, 0)
    assert len(recorder.mails) == 1


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_mail_to_the_main_device_waits_in_order_and_is_padded() -> None:
    bus, recorder = _mail_bus()
    for text in (b"one", b"two"):
        assert recorder.esc.send_mail(text)

    full = read_at(bus, 0, 0x080D, 1).data[0]
    got = [read_at(bus, 0, 0x1080, 128) for _ in range(3)]

    assert full & 8
    assert [each.working_counter for each in got] == [1, 1, 0]
    assert [each.data.rstrip(b"\0") for each in got[:2]] == [b"one", b"two"]
    assert read_at(bus, 0, 0x080D, 1).data[0] & 8 == 0


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_reading_a_part_leaves_the_mail_in_the_mailbox() -> None:
    bus, recorder = _mail_bus()
    recorder.esc.send_mail(b"mail")

    part = read_at(bus, 0, 0x1080, 4)

    assert (part.working_counter, part.data) == (1, b"mail")
    assert read_at(bus, 0, 0x1080, 128).data[:4] == b"mail"


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_a_repeat_request_gives_the_last_mail_again_before_newer_ones() -> None:
    bus, recorder = _mail_bus()
    for text in (b"one", b"two"):
        recorder.esc.send_mail(text)
    read_at(bus, 0, 0x1080, 128)

    write_at(bus, 0, 0x080E, b"\x03")
    acknowledged = read_at(bus, 0, 0x080F, 1).data[0]
    got = [read_at(bus, 0, 0x1080, 128).data.rstrip(b"\0") for _ in range(2)]

    assert (acknowledged & 2, got) == (2, [b"one", b"two"])


@pytest.mark.verifies("REQ_8104", "REQ_8105")
def test_mail_is_refused_without_a_mailbox_when_too_long_or_too_many() -> None:
    bus, recorder = _mail_bus()
    without = line(1)

    assert not application(without, "d0").esc.send_mail(b"x")
    assert not recorder.esc.send_mail(b"x" * 129)
    assert [recorder.esc.send_mail(b"x") for _ in range(18)] == [True] * 17 + [False]
    assert bus["drive"].state is AlState.INIT


@pytest.mark.verifies("REQ_8105")
def test_the_watchdog_makes_outputs_safe_and_leads_to_safe_op() -> None:
    bus = line(1)
    write_word(bus, 0, 0x0420, 500)
    bring_to_op(bus)
    exchange(bus, b"\x01\x02\0\0")

    bus.world.run_for(49 * MS)
    before = (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0440))
    bus.world.run_for(2 * MS)

    assert before == (8, 1)
    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134), word_at(bus, 0, 0x0440)) == (0x14, 0x001B, 0)
    assert read_at(bus, 0, 0x0442, 1).data == b"\x01"
    assert application(bus, "d0").log[-2:] == ["safe: SyncManager watchdog expired", "SAFE-OP"]


@pytest.mark.verifies("REQ_8105")
def test_every_write_of_outputs_feeds_the_watchdog_with_one_timer() -> None:
    bus = line(1)
    bring_to_op(bus)
    for _ in range(500):
        bus.world.run_for(MS)
        exchange(bus, bytes(4))

    timers = len(bus.world._queue)

    assert timers == 1
    assert bus["d0"].state is AlState.OP
    assert read_at(bus, 0, 0x0442, 1).data == b"\0"


@pytest.mark.verifies("REQ_8105")
@pytest.mark.parametrize("how", ["window 0", "channel without trigger"])
def test_without_a_watchdog_outputs_stay(how: str) -> None:
    bus = line(1)
    bring_to_op(bus)
    if how == "window 0":
        write_word(bus, 0, 0x0420, 0)
    else:
        bus = segment(world := World(1), device(world, "d0", Recorder(2, 0)))
        write_at(bus, 0, 0x0810, sync_manager(OUTPUTS_AT, 2, 0x24))
        write_at(bus, 0, 0x0600, fmmu(0, 2, OUTPUTS_AT, 2))
        for state in (2, 4, 8):
            write_word(bus, 0, 0x0120, state)
    exchange(bus, bytes(4))

    bus.world.run_for(1000 * MS)

    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0440)) == (8, 1)


@pytest.mark.verifies("REQ_8105")
def test_a_shorter_window_counts_from_when_it_is_written() -> None:
    bus = line(1)
    bring_to_op(bus)
    bus.world.run_for(50 * MS)

    write_word(bus, 0, 0x0420, 200)
    bus.world.run_for(19 * MS)
    before = bus["d0"].state
    bus.world.run_for(2 * MS)

    assert (before, bus["d0"].state) == (AlState.OP, AlState.SAFE_OP)


@pytest.mark.verifies("REQ_8105")
def test_after_expiry_new_outputs_and_an_acknowledgement_lead_back_to_op() -> None:
    bus = line(1)
    bring_to_op(bus)
    bus.world.run_for(200 * MS)

    write_word(bus, 0, 0x0120, 0x18)
    waiting = word_at(bus, 0, 0x0130)
    exchange(bus, b"\x09\x09\0\0")

    assert (waiting, word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0440)) == (4, 8, 1)
    assert application(bus, "d0").taken[-1] == b"\x09\x09"
