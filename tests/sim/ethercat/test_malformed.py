"""Frames that no MainDevice should send: nothing breaks, nothing changes beyond what the standard says."""

from __future__ import annotations

import os
import random

import pytest

from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.devices import build_segment
from taktora_sim.ethercat.frame import Command, Datagram, encode_frame, position_address
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.world import World
from tests.sim.ethercat import cell
from tests.sim.ethercat.segments import (
    MAILBOX,
    MS,
    Recorder,
    ask,
    bring_to_op,
    device,
    exchange,
    line,
    read_at,
    segment,
    sii,
    sync_manager,
    write_at,
)

_FRAMES = int(os.environ.get("TAKTORA_FUZZ_FRAMES", "100000"))
"""Frames of the fuzz run: some seconds; TAKTORA_FUZZ_FRAMES gives another number."""

_WRITE = encode_frame([Datagram(Command.BWR, 0x1200 << 16, b"\x42" * 4)])


@pytest.mark.verifies("REQ_8112")
@pytest.mark.parametrize("size", [0, 1, 6, 12, 13, 14, 15])
def test_a_frame_shorter_than_its_headers_passes_or_is_destroyed(size: int) -> None:
    bus = line(2)

    assert bus.frame(_WRITE[:size]) is None
    write_at(bus, 0, 0x0100, b"\0")
    write_at(bus, 1, 0x0100, b"\0")
    passed = bus.frame(_WRITE[:size])

    assert passed is not None
    assert len(passed) == size


@pytest.mark.verifies("REQ_8112")
@pytest.mark.parametrize("size", range(16, len(_WRITE)))
def test_a_datagram_that_is_cut_off_is_not_processed(size: int) -> None:
    bus = line(2)

    answer = bus.frame(_WRITE[:size])

    assert answer is not None
    assert answer[7:] == _WRITE[7:size]
    assert [each.esc.memory[0x1200] for each in bus.subdevices] == [0, 0]
    assert read_at(bus, 0, 0x030C, 1).data == bytes((1 if size == 16 else 2,))


@pytest.mark.verifies("REQ_8112")
def test_what_is_whole_in_front_of_a_damaged_datagram_counts() -> None:
    bus = line(1)
    good, bad = Datagram(Command.BWR, 0x1200 << 16, b"\x42"), Datagram(Command.BWR, 0x1210 << 16, b"\x43")
    frame = bytearray(encode_frame([good, bad]))
    frame[16 + 13 + 6] = 0xFF  # length of the second

    bus.frame(bytes(frame))

    assert (bus["d0"].esc.memory[0x1200], bus["d0"].esc.memory[0x1210]) == (0x42, 0)


@pytest.mark.verifies("REQ_8112")
@pytest.mark.parametrize("command", [15, 16, 99, 255])
def test_an_unknown_command_passes(command: int) -> None:
    bus = line(2)
    frame = bytearray(_WRITE)
    frame[16] = command

    answer = bus.frame(bytes(frame))

    assert answer is not None
    assert answer[16:] == bytes(frame[16:])
    assert bus["d0"].esc.memory[0x1200] == 0


@pytest.mark.verifies("REQ_8112")
def test_a_foreign_frame_passes_only_where_dl_control_lets_it() -> None:
    bus = line(2)
    foreign = b"\xff" * 6 + b"\x01" * 6 + b"\x08\x00" + bytes(range(46))

    destroyed = bus.frame(foreign)
    ask(bus, Command.BWR, 0x0100 << 16, b"\0")
    passed = bus.frame(foreign)

    assert destroyed is None
    assert passed is not None
    assert passed[12:] == foreign[12:]


@pytest.mark.verifies("REQ_8112")
def test_an_ethercat_header_of_another_type_is_not_processed() -> None:
    bus = line(1)
    frame = bytearray(_WRITE)
    frame[15] = frame[15] & 0x0F | 0x50

    answer = bus.frame(bytes(frame))

    assert answer is not None
    assert answer[14:] == bytes(frame[14:])


@pytest.mark.verifies("REQ_8112")
def test_the_circulating_bit_of_a_sender_changes_nothing_on_an_open_line() -> None:
    bus = line(2)

    answer = ask(bus, Command.BRD, 0, 1)
    circulating = bus.frame(encode_frame([Datagram(Command.BRD, 0, b"\0", circulating=True)]))

    assert answer.working_counter == 2
    assert circulating is not None
    assert circulating[-2:] == b"\x02\0"


@pytest.mark.verifies("REQ_8112")
def test_a_datagram_without_data_counts_nothing() -> None:
    bus = line(1)
    bring_to_op(bus)

    for command in Command:
        assert ask(bus, command, 0, b"").working_counter == 0


def _busy_segment() -> SimulatedSegment:
    world = World(1)
    recorder = Recorder()
    drive = device(world, "drive", recorder, image=sii(mailbox=True), transition_delay_ms=1, sii_busy_us=50)
    bus = segment(world, device(world, "a"), drive, device(world, "b", Recorder(), image=sii(emulated=True)))
    mailbox = sync_manager(MAILBOX[0], MAILBOX[1], 0x26) + sync_manager(MAILBOX[2], MAILBOX[3], 0x22)
    write_at(bus, 1, 0x0800, mailbox)
    return bus


def _seeds() -> list[bytes]:
    """Return frames worth damaging."""
    return [
        encode_frame([Datagram(Command.LRW, 0, bytes(12)), Datagram(Command.FRMW, 0x0910_1000, bytes(8))]),
        encode_frame([Datagram(Command.BWR, 0x0120 << 16, b"\x08\0"), Datagram(Command.BRD, 0x0130 << 16, bytes(6))]),
        encode_frame([Datagram(Command.APWR, position_address(1, 0x0800), bytes(32))]),
        encode_frame([Datagram(Command.BWR, 0x0600 << 16, bytes(48))]),
        encode_frame([Datagram(Command.APWR, position_address(1, 0x1000), b"\x0a\0\0\0\0\x13" + bytes(122))]),
        encode_frame([Datagram(Command.APRW, position_address(1, 0x0500), bytes(16))]),
        encode_frame([Datagram(Command.BRW, 0x0100 << 16, bytes(64)), Datagram(Command.LRD, 4, bytes(4))]),
    ]


def _damage(draw: random.Random, frame: bytes) -> bytes:
    """Return the frame with some bytes changed, cut off, put in or doubled."""
    data = bytearray(frame)
    for _ in range(draw.randint(0, 6)):
        data[draw.randrange(12, len(data))] = draw.randrange(256)
    kind = draw.randrange(8)
    if kind == 0:
        del data[draw.randrange(len(data)) :]
    elif kind == 1:
        at = draw.randrange(len(data))
        data[at:at] = draw.randbytes(draw.randint(1, 20))
    elif kind == 2:
        data = bytearray(draw.randbytes(draw.randint(0, 80)))
        data[12:14] = b"\x88\xa4"
    elif kind == 3:  # a sound datagram to a random place
        address = draw.choice((0, 0xFFFF, 0x1000)) | draw.randrange(0x0000, 0x3000) << 16
        data = bytearray(encode_frame([Datagram(draw.randrange(16), address, draw.randbytes(draw.randint(0, 64)))]))
    return bytes(data)


@pytest.mark.verifies("REQ_8112")
@pytest.mark.timeout(600)
def test_damaged_frames_leave_the_segment_alive_and_its_states_legal() -> None:
    draw = random.Random(8112)
    bus = _busy_segment()
    seeds = _seeds()

    for number in range(_FRAMES):
        data = _damage(draw, draw.choice(seeds))
        for arrival in bus.arrivals(data):
            assert len(arrival.data) == len(data)
        if number % 16 == 0:
            bus.world.run_for(MS)
        for each in bus.subdevices:
            assert each.state in tuple(AlState)[1:]
            assert each.esc.memory[0x0130] & 0x0F in (each.state, each.esc.memory[0x0120] & 0x0F)

    for each in bus.subdevices:
        bus.power_off(each.label)
    for each in bus.subdevices:
        bus.power_on(each.label)
    _check_that_it_works(bus)


def _check_that_it_works(bus: SimulatedSegment) -> None:
    """After a power cycle everything works as ever."""
    mailbox = sync_manager(MAILBOX[0], MAILBOX[1], 0x26) + sync_manager(MAILBOX[2], MAILBOX[3], 0x22)
    write_at(bus, 1, 0x0800, mailbox)
    for state in (2, 4, 8):
        ask(bus, Command.APWR, position_address(2, 0x0120), state.to_bytes(2, "little"))
    assert bus["b"].state is AlState.OP
    assert ask(bus, Command.BRD, 0, 1).working_counter == 3
    assert exchange(bus, bytes(4)).working_counter == 0


@pytest.mark.verifies("REQ_8112", "REQ_8104")
@pytest.mark.timeout(600)
def test_a_bring_up_with_damaged_frames_in_it_breaks_no_device_of_the_library() -> None:
    """The frames of a real bring-up in their order, mails and process data included, one in ten damaged."""
    draw = random.Random(2118)
    mixed = cell.Cell(cell.MIXED)
    frames: list[bytes] = []
    mixed.segment.observe(lambda _at_ns, data, is_reply: None if is_reply else frames.append(data))
    mixed.run(mixed.main.bring_up())
    mixed.cycles(20)
    bus = build_segment(World(2), "cell", cell.MIXED)
    reached = set()

    for number in range(_FRAMES):
        data = frames[number % len(frames)]
        if draw.randrange(10) == 0:
            data = _damage(draw, data)
        for arrival in bus.arrivals(data):
            assert len(arrival.data) == len(data)
        if number % 8 == 0:
            bus.world.run_for(MS // 4)
        if number % len(frames) == 0:
            reached |= {each.state for each in bus.subdevices}
            for each in bus.subdevices:
                bus.power_off(each.label)
            for each in bus.subdevices:
                bus.power_on(each.label)

    assert reached >= {AlState.INIT, AlState.OP}
