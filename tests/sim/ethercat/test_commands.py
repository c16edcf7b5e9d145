"""Datagram commands and their working counters, as the ESC datasheet has them."""

from __future__ import annotations

import pytest

from taktora_sim.ethercat.frame import Command, Datagram, FrameError, decode_frame, encode_frame, position_address
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    Recorder,
    application,
    ask,
    ask_all,
    bring_to_op,
    device,
    exchange,
    give_addresses,
    line,
    read_at,
    segment,
    word_at,
    write_at,
    write_word,
)

_RAM = 0x1200


@pytest.mark.verifies("REQ_8100")
def test_position_commands_meet_the_one_that_finds_the_position_at_zero() -> None:
    bus = line(3)

    wrote = write_at(bus, 1, _RAM, b"\x11\x22")
    read = read_at(bus, 1, _RAM, 2)

    assert (wrote.working_counter, read.working_counter, read.data) == (1, 1, b"\x11\x22")
    assert [bytes(each.esc.memory[_RAM : _RAM + 2]) for each in bus.subdevices] == [b"\0\0", b"\x11\x22", b"\0\0"]
    assert read.adp == 2  # -1 counted up three times


@pytest.mark.verifies("REQ_8100")
@pytest.mark.parametrize("position", [3, 7])
def test_nobody_answers_a_position_behind_the_last(position: int) -> None:
    bus = line(3)

    read = read_at(bus, position, 0, 2)

    assert (read.working_counter, read.data) == (0, b"\0\0")


@pytest.mark.verifies("REQ_8100")
def test_position_read_write_returns_the_old_value_and_counts_three() -> None:
    bus = line(2)
    write_at(bus, 1, _RAM, b"\xaa")

    both = ask(bus, Command.APRW, position_address(1, _RAM), b"\x55")

    assert (both.working_counter, both.data) == (3, b"\xaa")
    assert bus["d1"].esc.memory[_RAM] == 0x55


@pytest.mark.verifies("REQ_8100")
def test_station_commands_meet_the_configured_address() -> None:
    bus = line(3)
    give_addresses(bus)

    wrote = ask(bus, Command.FPWR, 0x1002 | _RAM << 16, b"\x77")
    read = ask(bus, Command.FPRD, 0x1002 | _RAM << 16, 1)
    both = ask(bus, Command.FPRW, 0x1002 | _RAM << 16, b"\x78")
    nobody = ask(bus, Command.FPRD, 0x1003 | _RAM << 16, 1)

    assert (wrote.working_counter, read.working_counter, both.working_counter, nobody.working_counter) == (1, 1, 3, 0)
    assert (read.data, both.data, bus["d2"].esc.memory[_RAM]) == (b"\x77", b"\x77", 0x78)
    assert read.adp == 0x1002


@pytest.mark.verifies("REQ_8100", "REQ_8101")
def test_the_alias_counts_once_dl_control_says_so() -> None:
    from tests.sim.ethercat.segments import sii

    world = World(1)
    bus = segment(world, device(world, "a"), device(world, "b", image=sii(alias=0x4242)))
    give_addresses(bus)

    before = ask(bus, Command.FPRD, 0x4242, 1).working_counter
    write_at(bus, 1, 0x0103, b"\x01")

    assert (before, ask(bus, Command.FPRD, 0x4242, 1).working_counter) == (0, 1)
    assert word_at(bus, 1, 0x0012) == 0x4242


@pytest.mark.verifies("REQ_8100")
def test_broadcast_read_counts_everybody_and_merges_what_they_have() -> None:
    bus = line(3)
    write_at(bus, 0, _RAM, b"\x01")
    write_at(bus, 2, _RAM, b"\x84")

    read = ask(bus, Command.BRD, _RAM << 16, b"\x10")

    assert (read.working_counter, read.data, read.adp) == (3, b"\x95", 3)


@pytest.mark.verifies("REQ_8100")
def test_broadcast_write_reaches_everybody() -> None:
    bus = line(3)

    wrote = ask(bus, Command.BWR, _RAM << 16, b"\x5a")

    assert wrote.working_counter == 3
    assert [each.esc.memory[_RAM] for each in bus.subdevices] == [0x5A] * 3


@pytest.mark.verifies("REQ_8100")
def test_broadcast_read_write_writes_the_data_as_they_arrive_and_counts_three_each() -> None:
    bus = line(2)
    write_at(bus, 0, _RAM, b"\x01")
    write_at(bus, 1, _RAM, b"\x02")

    both = ask(bus, Command.BRW, _RAM << 16, b"\x80")

    assert (both.working_counter, both.data) == (6, b"\x83")
    assert [each.esc.memory[_RAM] for each in bus.subdevices] == [0x80, 0x81]


@pytest.mark.verifies("REQ_8100")
@pytest.mark.parametrize("command", [Command.ARMW, Command.FRMW], ids=lambda each: str(each.name))
def test_read_multiple_write_hands_one_value_to_all_behind(command: Command) -> None:
    bus = line(3)
    give_addresses(bus)
    write_at(bus, 1, _RAM, b"\x99")
    address = position_address(1, _RAM) if command is Command.ARMW else 0x1001 | _RAM << 16

    relayed = ask(bus, command, address, b"\x11")

    assert (relayed.working_counter, relayed.data) == (3, b"\x99")
    assert [each.esc.memory[_RAM] for each in bus.subdevices] == [0x11, 0x99, 0x99]


@pytest.mark.verifies("REQ_8100")
def test_logical_read_write_counts_one_for_inputs_and_two_for_outputs() -> None:
    bus = line(2)
    bring_to_op(bus)
    application(bus, "d0").next_inputs = b"\x0a\x0b"
    application(bus, "d1").next_inputs = b"\x1a\x1b"

    both = exchange(bus, b"\x01\x02\xff\xff\x03\x04\xff\xff")

    assert (both.working_counter, both.data) == (6, b"\x01\x02\x0a\x0b\x03\x04\x1a\x1b")
    assert (application(bus, "d0").taken[-1], application(bus, "d1").taken[-1]) == (b"\x01\x02", b"\x03\x04")


@pytest.mark.verifies("REQ_8100")
def test_logical_read_and_logical_write_count_one_each() -> None:
    bus = line(2)
    bring_to_op(bus)

    wrote = ask(bus, Command.LWR, 0, b"\x05\x06\0\0\x07\x08\0\0")
    read = ask(bus, Command.LRD, 0, 8)

    assert (wrote.working_counter, read.working_counter) == (2, 2)
    assert application(bus, "d1").taken[-1] == b"\x07\x08"
    assert read.data == bytes(8)


@pytest.mark.verifies("REQ_8100")
def test_a_logical_range_that_nobody_maps_counts_nothing() -> None:
    bus = line(1)
    bring_to_op(bus)

    assert ask(bus, Command.LRW, 0x10000, b"\x01\x02").working_counter == 0
    assert ask(bus, Command.LRW, 2, b"\0\0").working_counter == 1


@pytest.mark.verifies("REQ_8100")
def test_a_subdevice_counts_once_a_direction_however_many_fmmus_hit() -> None:
    from tests.sim.ethercat.segments import INPUTS_AT, fmmu

    bus = line(1)
    bring_to_op(bus)
    write_at(bus, 0, 0x0620, fmmu(0x100, 2, INPUTS_AT, 1))
    write_at(bus, 0, 0x0610, fmmu(0x102, 2, INPUTS_AT, 1))

    assert ask(bus, Command.LRD, 0x100, 4).working_counter == 1


@pytest.mark.verifies("REQ_8100")
def test_nop_passes_and_counts_nothing() -> None:
    bus = line(2)

    passed = ask(bus, Command.NOP, 0x1234_5678, b"\x42")

    assert (passed.working_counter, passed.data, passed.address) == (0, b"\x42", 0x1234_5678)


@pytest.mark.verifies("REQ_8100")
def test_datagrams_of_a_frame_are_processed_in_order() -> None:
    bus = line(1)
    place = position_address(0, _RAM)

    first, second, third = ask_all(
        bus,
        [
            Datagram(Command.APWR, place, b"\x01", index=7),
            Datagram(Command.APRD, place, b"\0", index=8),
            Datagram(Command.BRD, 0, b"\0", index=9),
        ],
    )

    assert (first.working_counter, second.data, third.data) == (1, b"\x01", b"\x11")
    assert (first.index, second.index, third.index) == (7, 8, 9)


@pytest.mark.verifies("REQ_8100")
def test_the_answer_has_the_length_of_the_question_and_a_locally_administered_source() -> None:
    bus = line(1)
    question = encode_frame([Datagram(Command.BRD, 0, b"\0")])

    answer = bus.frame(question)

    assert answer is not None
    assert (len(question), len(answer)) == (29, 29)
    assert (question[6], answer[6]) == (0x01, 0x03)
    assert answer[:6] == question[:6]


@pytest.mark.verifies("REQ_8100")
def test_padding_comes_back_untouched() -> None:
    bus = line(1)
    question = encode_frame([Datagram(Command.BRD, 0, b"\0")]).ljust(60, b"\x5a")

    answer = bus.frame(question)

    assert answer is not None
    assert answer[29:] == b"\x5a" * 31


@pytest.mark.verifies("REQ_8100")
def test_the_interrupt_field_says_what_a_subdevice_wants_to_be_asked() -> None:
    bus = line(2)
    write_word(bus, 1, 0x0200, 0x0008)
    write_word(bus, 1, 0x0120, 0x0002)

    during = ask(bus, Command.NOP, 0, 1).interrupt
    read_at(bus, 1, 0x0130, 2)

    assert (during, ask(bus, Command.NOP, 0, 1).interrupt) == (0x0008, 0)


@pytest.mark.verifies("REQ_8100")
def test_inputs_are_asked_for_once_a_frame_and_outputs_are_handed_over_once() -> None:
    bus = line(1)
    bring_to_op(bus)
    recorder: Recorder = application(bus, "d0")
    asked, taken = recorder.asked, len(recorder.taken)

    ask_all(bus, [Datagram(Command.LRW, 0, bytes(4))] * 3)

    assert (recorder.asked - asked, len(recorder.taken) - taken) == (1, 1)


@pytest.mark.verifies("REQ_8100")
def test_a_frame_of_our_own_reads_back_as_it_was_built() -> None:
    datagrams = [Datagram(Command.LRW, 0x0102_0304, b"abc", 5, 6, 7, True), Datagram(Command.FPRD, 0x0130_1001, b"\0")]

    assert decode_frame(encode_frame(datagrams)) == datagrams


@pytest.mark.verifies("REQ_8112")
@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 12 + b"\x08\0" + b"\0" * 40], ids=["empty", "short", "ip"])
def test_what_is_no_ethercat_frame_is_refused_by_the_reader(data: bytes) -> None:
    with pytest.raises(FrameError, match="no EtherCAT frame"):
        decode_frame(data)
