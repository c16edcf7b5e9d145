"""Fault kinds of the segment and of each SubDevice, driven through the World's fault board."""

from __future__ import annotations

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.frame import Command, Datagram, decode_frame, encode_frame, position_address
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    MS,
    Options,
    S,
    application,
    ask,
    bring_to_op,
    exchange,
    line,
    read_at,
    word_at,
    write_at,
    write_word,
)

_BUS = "ethercat/cell"
_LRW = encode_frame([Datagram(Command.LRW, 0, b"\x01\x02\0\0\x03\x04\0\0", index=9)])


def _in_op(count: int = 2) -> SimulatedSegment:
    bus = line(count)
    bring_to_op(bus)
    exchange(bus, bytes(4 * count))
    return bus


@pytest.mark.verifies("REQ_8109")
def test_a_frame_lost_on_its_way_out_changes_nothing_and_one_lost_on_its_way_back_does() -> None:
    bus = _in_op()
    taken = application(bus, "d0").taken

    end = bus.world.faults.inject(_BUS, "lose-frames", parameters={"way": "out"})
    out = (bus.frame(_LRW), taken[-1])
    end()
    end = bus.world.faults.inject(_BUS, "lose-frames", parameters={"way": "back"})
    back = (bus.frame(_LRW), taken[-1])
    end()

    assert (out, back) == ((None, b"\0\0"), (None, b"\x01\x02"))
    assert bus.frame(_LRW) is not None


@pytest.mark.verifies("REQ_8109")
def test_faults_choose_frames_by_command_number_and_share() -> None:
    bus = _in_op()
    read = encode_frame([Datagram(Command.BRD, 0, b"\0")])
    every: Options = {"commands": "LRW, FRMW", "every": 3}
    bus.world.faults.inject(_BUS, "lose-frames", parameters=every)

    came_back = [(bus.frame(_LRW) is not None, bus.frame(read) is not None) for _ in range(6)]

    assert came_back == [(True, True), (True, True), (False, True)] * 2


@pytest.mark.verifies("REQ_8109", "REQ_8008")
def test_a_share_of_lost_frames_is_the_plans_choice_and_not_the_seeds() -> None:
    def lost(seed: int, salt: int) -> list[int]:
        bus = line(1, World(seed))
        bus.world.faults.inject(_BUS, "lose-frames", parameters={"percent": 30, "salt": salt})
        return [number for number in range(200) if bus.frame(_LRW) is None]

    assert lost(1, 0) == lost(2, 0) != lost(1, 1)
    assert 30 < len(lost(1, 0)) < 90


@pytest.mark.verifies("REQ_8109")
def test_an_unknown_command_in_a_fault_is_named() -> None:
    bus = line(1)

    with pytest.raises(ConfigurationError, match="'LRX'"):
        bus.world.faults.inject(_BUS, "lose-frames", parameters={"commands": "LRX"})


@pytest.mark.verifies("REQ_8109")
def test_a_late_frame_has_been_processed_and_is_not_there_in_time() -> None:
    bus = _in_op()
    bus.world.faults.inject(_BUS, "delay-frames", parameters={"by_ns": "3ms"})

    (late,) = bus.arrivals(_LRW)

    assert late.after_ns == bus.round_ns(len(_LRW)) + 3 * MS
    assert decode_frame(late.data)[0].working_counter == 6
    assert bus.frame(_LRW) is None


@pytest.mark.verifies("REQ_8109")
def test_duplicated_and_truncated_frames() -> None:
    bus = _in_op()

    end = bus.world.faults.inject(_BUS, "duplicate-frames")
    twice = bus.arrivals(_LRW)
    end()
    bus.world.faults.inject(_BUS, "truncate-frames", parameters={"to_bytes": 30})
    (short,) = bus.arrivals(_LRW)

    assert len(twice) == 2
    assert twice[0] == twice[1]
    assert short.data == twice[0].data[:30]


@pytest.mark.verifies("REQ_8109")
def test_a_stale_frame_has_old_inputs_an_old_counter_and_the_new_index() -> None:
    bus = _in_op()
    application(bus, "d0").next_inputs = b"\x11\x11"
    bus.frame(_LRW)
    application(bus, "d0").next_inputs = b"\x22\x22"
    taken = len(application(bus, "d0").taken)
    bus.world.faults.inject(_BUS, "stale-frames")

    reply = bus.frame(encode_frame([Datagram(Command.LRW, 0, b"\x05\x06\0\0\x07\x08\0\0", index=10)]))

    assert reply is not None
    (datagram,) = decode_frame(reply)
    assert (datagram.index, datagram.working_counter, datagram.data[2:4]) == (10, 6, b"\x11\x11")
    assert len(application(bus, "d0").taken) == taken


@pytest.mark.verifies("REQ_8109")
def test_a_stale_frame_of_a_kind_never_seen_is_a_fresh_one() -> None:
    bus = line(1)
    bus.world.faults.inject(_BUS, "stale-frames")

    assert read_at(bus, 0, 0, 1).working_counter == 1


@pytest.mark.verifies("REQ_8109")
@pytest.mark.parametrize(("by", "expected"), [(-2, 4), (1, 7), (-9, 0)])
def test_working_counters_are_off_for_chosen_commands(by: int, expected: int) -> None:
    bus = _in_op()
    bus.world.faults.inject(_BUS, "offset-wkc", parameters={"by": by, "commands": "LRW"})

    assert exchange(bus, bytes(8)).working_counter == expected
    assert ask(bus, Command.BRD, 0, 1).working_counter == 2


@pytest.mark.verifies("REQ_8109")
def test_the_share_of_one_subdevice_is_off_until_the_fault_ends() -> None:
    bus = _in_op()
    path = "ethercat/cell/d1"

    end = bus.world.faults.inject(path, "offset-wkc", parameters={"by": -3, "commands": "LRW"})
    during = (exchange(bus, bytes(8)).working_counter, ask(bus, Command.BRD, 0, 1).working_counter)
    bus.world.faults.inject(path, "offset-wkc", parameters={"by": -1})
    both = (exchange(bus, bytes(8)).working_counter, ask(bus, Command.BRD, 0, 1).working_counter)
    end()

    assert (during, both) == ((3, 2), (2, 1))
    assert exchange(bus, bytes(8)).working_counter == 5


@pytest.mark.verifies("REQ_8109", "REQ_8107")
def test_cut_and_heal_by_plan() -> None:
    entry = FaultEntry(target="ethercat/cell/d1", kind="cut-cable", at_ns=5 * MS, duration_ns=3 * MS)
    bus = line(3, World(1, plan=FaultPlan.of(entry)))
    counts = []
    for _ in range(10):
        counts.append(ask(bus, Command.BRD, 0, 1).working_counter)
        bus.world.run_for(MS)

    assert counts == [3] * 5 + [1] * 3 + [3] * 2


@pytest.mark.verifies("REQ_8109")
@pytest.mark.parametrize("target", ["ethercat/cell", "ethercat/cell/d1"])
def test_a_fault_at_the_nth_frame_already_holds_for_that_frame(target: str) -> None:
    kind = "lose-frames" if target == _BUS else "cut-cable"
    entry = FaultEntry(target=target, kind=kind, frame=3, duration_ns=MS)
    bus = line(2, World(1, plan=FaultPlan.of(entry)))
    bus.world.start()

    counts = []
    for _ in range(4):
        reply = bus.frame(encode_frame([Datagram(Command.BRD, 0, b"\0")]))
        counts.append(None if reply is None else decode_frame(reply)[0].working_counter)

    assert counts[:2] == [2, 2]
    assert counts[2:] == ([None, None] if target == _BUS else [1, 1])


@pytest.mark.verifies("REQ_8109")
def test_a_vanished_device_is_passed_unseen_and_what_is_behind_stays() -> None:
    bus = _in_op(3)
    end = bus.world.faults.inject("ethercat/cell/d1", "vanish")

    during = (exchange(bus, bytes(12)).working_counter, ask(bus, Command.BRD, 0, 1).working_counter)
    end()

    assert during == (6, 2)
    assert exchange(bus, bytes(12)).working_counter == 9


@pytest.mark.verifies("REQ_8109")
def test_a_power_cycle_ends_in_init() -> None:
    bus = _in_op(2)
    bus.world.faults.inject("ethercat/cell/d1", "power-cycle", 20 * MS)

    during = ask(bus, Command.BRD, 0, 1).working_counter
    bus.world.run_for(21 * MS)

    assert (during, ask(bus, Command.BRD, 0, 1).working_counter) == (1, 2)
    assert (bus["d1"].state, application(bus, "d1").log[-1]) == (AlState.INIT, "power on")


def _sii_word(bus: SimulatedSegment, address: int) -> int:
    write_at(bus, 0, 0x0502, b"\x00\x01" + address.to_bytes(4, "little"))
    return int.from_bytes(read_at(bus, 0, 0x0508, 4).data, "little")


@pytest.mark.verifies("REQ_8109", "REQ_8103")
def test_a_wrong_identity_is_in_the_eeprom_and_told_to_the_device() -> None:
    bus = line(1)
    end = bus.world.faults.inject("ethercat/cell/d0", "wrong-identity", parameters={"product_code": 0x9999})

    wrong = (_sii_word(bus, 8), _sii_word(bus, 0xA), bus["d0"].identity.product_code)
    end()

    assert wrong == (2, 0x9999, 0x9999)
    assert (_sii_word(bus, 0xA), bus["d0"].identity.product_code) == (0x1234, 0x1234)


@pytest.mark.verifies("REQ_8109", "REQ_8102")
def test_a_refused_transition_has_the_code_or_no_answer() -> None:
    bus = line(1)
    path = "ethercat/cell/d0"

    end = bus.world.faults.inject(path, "refuse-transition", parameters={"state": "PRE-OP", "code": 0x0042})
    write_word(bus, 0, 0x0120, 2)
    refused = (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134))
    end()
    end = bus.world.faults.inject(path, "refuse-transition", parameters={"silent": True})
    write_word(bus, 0, 0x0120, 0x12)
    silent = (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134))
    end()
    write_word(bus, 0, 0x0120, 2)

    assert (refused, silent) == ((0x11, 0x0042), (1, 0))
    assert word_at(bus, 0, 0x0130) == 2


@pytest.mark.verifies("REQ_8109", "REQ_8102")
@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("al-error", {"code": 0x0018}, (0x18, 0x0018)),
        ("retreat-to-safe-op", {"code": 0x001A}, (0x14, 0x001A)),
        ("expire-watchdog", {}, (0x14, 0x001B)),
    ],
)
def test_errors_of_the_state_machine(kind: str, parameters: Options, expected: tuple[int, int]) -> None:
    bus = _in_op(1)

    bus.world.faults.inject("ethercat/cell/d0", kind, parameters=parameters)

    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)) == expected


@pytest.mark.verifies("REQ_8109", "REQ_8103")
def test_an_eeprom_may_be_busy_silent_or_damaged() -> None:
    bus = line(1)
    path = "ethercat/cell/d0"

    end = bus.world.faults.inject(path, "busy-sii", parameters={"by_ns": "2ms"})
    _sii_word(bus, 8)
    busy = word_at(bus, 0, 0x0502)
    bus.world.run_for(3 * MS)
    done = word_at(bus, 0, 0x0502)
    end()
    end = bus.world.faults.inject(path, "refuse-sii")
    _sii_word(bus, 8)
    refused = word_at(bus, 0, 0x0502)
    end()
    write_at(bus, 0, 0x0502, b"\0\0")
    end = bus.world.faults.inject(path, "corrupt-sii-checksum")
    damaged = (word_at(bus, 0, 0x0502), word_at(bus, 0, 0x0110))
    end()

    assert (busy & 0x8000, done, refused & 0x2000) == (0x8000, 0x00C0, 0x2000)
    assert damaged == (0x18C0, 0x5610)
    assert (word_at(bus, 0, 0x0502), word_at(bus, 0, 0x0110)) == (0x00C0, 0x5611)


@pytest.mark.verifies("REQ_8109", "REQ_8105")
def test_process_data_stick_or_flip_and_come_right_again() -> None:
    bus = _in_op(1)
    recorder = application(bus, "d0")
    path = "ethercat/cell/d0"
    seen = []

    def cycle(number: int) -> None:
        recorder.next_inputs = bytes((number, 0))
        got = exchange(bus, bytes((number, 1, 0, 0))).data
        seen.append((recorder.taken[-1][0], got[2]))

    cycle(1)
    for kind in ("stick-outputs", "stick-inputs", "flip-outputs", "flip-inputs"):
        end = bus.world.faults.inject(path, kind)
        for number in (2, 3):
            cycle(number)
        end()
        cycle(4)

    stuck_outputs, stuck_inputs = [(1, 2), (1, 3), (4, 4)], [(2, 4), (3, 4), (4, 4)]
    flipped_outputs, flipped_inputs = [(0xFD, 2), (0xFC, 3), (4, 4)], [(2, 0xFD), (3, 0xFC), (4, 4)]
    assert seen == [(1, 1), *stuck_outputs, *stuck_inputs, *flipped_outputs, *flipped_inputs]


@pytest.mark.verifies("REQ_8109")
def test_flipped_inputs_do_not_feed_back_into_a_device_that_changes_nothing() -> None:
    bus = _in_op(1)
    recorder = application(bus, "d0")
    recorder.next_inputs = b"\x0f\x00"
    exchange(bus, bytes(4))
    recorder.next_inputs = b""
    end = bus.world.faults.inject("ethercat/cell/d0", "flip-inputs", parameters={"mask": 1})

    during = [exchange(bus, bytes(4)).data[2] for _ in range(3)]
    end()

    assert (during, exchange(bus, bytes(4)).data[2]) == ([0x0E] * 3, 0x0F)


@pytest.mark.verifies("REQ_8109", "REQ_8007")
def test_every_kind_describes_itself_and_bears_two_at_once() -> None:
    bus = _in_op(2)
    board = bus.world.faults
    given: dict[str, Options] = {
        "delay-frames": {"by_ns": 5},
        "offset-wkc": {"by": 1},
        "al-error": {"code": 1},
    }
    before = exchange(bus, bytes(8))

    for path, kinds in board.catalogue().items():
        for name, kind in kinds.items():
            parameters = kind.complete(given.get(name, {}))
            assert kind.sentence(parameters), f"{path}: {name}"
            if kind.stop is None or name == "power-cycle":
                continue
            ends = [board.inject(path, name, parameters=dict(parameters)) for _ in range(2)]
            bus.arrivals(_LRW)
            for end in ends:
                end()

    assert exchange(bus, bytes(8)) == before
    assert len(board.catalogue()) == 3


@pytest.mark.verifies("REQ_8109", "REQ_8007")
@pytest.mark.parametrize(
    ("kind", "parameters", "sentence"),
    [
        ("al-error", {"code": 0x1B}, "it shows AL status code 0x001B"),
        ("retreat-to-safe-op", {}, "it falls back from OP to SAFE-OP with 0x001B"),
        ("refuse-transition", {"state": "OP", "code": 0x24}, "transitions to OP are refused with 0x0024"),
        ("refuse-transition", {"silent": True}, "transitions to any state are left without an answer"),
        ("wrong-identity", {"revision": 2}, "it says that it is another device: revision 0x00000002"),
        ("flip-inputs", {"byte": 3, "mask": 1}, "bits 0x01 of byte 3 are inverted on the way from it"),
        ("busy-sii", {"by_ns": 2_000_000}, "its EEPROM is busy for 2ms with each command"),
    ],
)
def test_a_fault_is_told_in_the_words_of_the_field(kind: str, parameters: Options, sentence: str) -> None:
    board = line(1).world.faults

    told = board.sentence(FaultEntry(target="ethercat/cell/d0", kind=kind, at_ns=0, parameters=parameters))

    assert told == f"ethercat/cell/d0: {sentence}"


@pytest.mark.verifies("REQ_8109", "REQ_8002")
def test_a_run_with_faults_repeats_byte_for_byte() -> None:
    plan = FaultPlan.of(
        FaultEntry(target=_BUS, kind="lose-frames", at_ns=0, duration_ns=S, parameters={"percent": 20}),
        FaultEntry(target="ethercat/cell/d1", kind="cut-cable", at_ns=20 * MS, duration_ns=300 * MS),
        FaultEntry(target="ethercat/cell/d0", kind="flip-inputs", frame=30, duration_ns=10 * MS),
    )

    def run(seed: int) -> str:
        bus = line(3, World(seed, plan=plan))
        bus.world.start()
        for number in range(400):
            bus.frame(encode_frame([Datagram(Command.LRW, 0, bytes(12), index=number & 0xFF)]))
            bus.frame(encode_frame([Datagram(Command.APRD, position_address(1, 0x0130), bytes(6))]))
            bus.world.run_for(MS)
        return bus.world.trace.component_hashes()[_BUS]

    assert run(1) == run(1) == run(7)
