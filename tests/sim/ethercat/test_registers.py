"""ESC registers: reset values, access rules, counters, EEPROM interface."""

from __future__ import annotations

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.application import NullApplication
from taktora_sim.ethercat.frame import Command
from taktora_sim.ethercat.subdevice import SubDevice
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    MS,
    ask,
    bring_to_op,
    device,
    line,
    read_at,
    segment,
    sii,
    word_at,
    write_at,
    write_word,
)


class _Window:
    """A clock that remembers what it is asked."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def reset(self) -> None:
        self.calls.append("reset")

    def read(self, offset: int, length: int, at_ns: int) -> bytes:
        self.calls.append(("read", offset, at_ns))
        return b"\x5a" * length

    def write(self, offset: int, data: bytes, at_ns: int) -> None:
        self.calls.append(("write", offset, data, at_ns))

    def latch(self, received_ns: tuple[int | None, int | None, int | None, int | None]) -> None:
        self.calls.append(("latch", received_ns))

    def check_transition(self, new_state: int) -> int:
        return 0x0030 if new_state == 4 else 0

    def snapshot(self) -> dict[str, int | None]:
        return {}


@pytest.mark.verifies("REQ_8101")
@pytest.mark.parametrize(
    ("register", "expected"),
    [
        (0x0000, 0x0011),
        (0x0004, 0x1010),
        (0x0010, 0),
        (0x0100, 0x0001),
        (0x0120, 0),
        (0x0130, 0x0001),
        (0x0134, 0),
        (0x0140, 0x0008),
        (0x0200, 0),
        (0x0400, 2498),
        (0x0410, 1000),
        (0x0420, 1000),
        (0x0440, 1),
        (0x0442, 0),
        (0x0502, 0x00C0),
        (0x0600, 0),
        (0x0800, 0),
    ],
    ids=hex,
)
def test_registers_after_power_up(register: int, expected: int) -> None:
    bus = line(1)

    assert word_at(bus, 0, register) == expected


@pytest.mark.verifies("REQ_8101")
@pytest.mark.parametrize("register", [0x000C, 0x0040, 0x0700, 0x0900, 0x0910, 0x0990, 0x0E00], ids=hex)
def test_a_register_that_does_not_exist_counts_nothing(register: int) -> None:
    bus = line(1)

    read, wrote = read_at(bus, 0, register, 4), write_at(bus, 0, register, b"\1\2\3\4")

    assert (read.working_counter, read.data, wrote.working_counter) == (0, bytes(4), 0)
    assert bytes(bus["d0"].esc.memory[register : register + 4]) == bytes(4)


@pytest.mark.verifies("REQ_8101")
@pytest.mark.parametrize("register", [0x0000, 0x0012, 0x0110, 0x0130, 0x0134, 0x0140, 0x0440], ids=hex)
def test_what_is_read_only_stays(register: int) -> None:
    bus = line(1)
    before = word_at(bus, 0, register)

    assert write_word(bus, 0, register, 0x5A5A) == 0
    assert word_at(bus, 0, register) == before


@pytest.mark.verifies("REQ_8101")
def test_one_datagram_covers_several_registers() -> None:
    bus = line(1)

    status = read_at(bus, 0, 0x0130, 6)
    wrote = write_at(bus, 0, 0x0100, bytes(0x22))

    assert (status.working_counter, status.data) == (1, b"\x01\0\0\0\0\0")
    assert wrote.working_counter == 1
    assert word_at(bus, 0, 0x0100) == 0
    assert word_at(bus, 0, 0x0110) == 0x5611


@pytest.mark.verifies("REQ_8101")
def test_a_read_across_the_end_of_the_memory_gives_what_is_there() -> None:
    bus = line(1)
    end = len(bus["d0"].esc.memory)
    write_at(bus, 0, end - 1, b"\x77")

    read = read_at(bus, 0, end - 1, 3)

    assert (read.working_counter, read.data) == (1, b"\x77\0\0")
    assert read_at(bus, 0, end, 2).working_counter == 0
    assert write_at(bus, 0, end, b"\1").working_counter == 0


@pytest.mark.verifies("REQ_8101")
@pytest.mark.parametrize(
    ("counter", "cleared_by"), [(0x0300, 0x0303), (0x030C, 0x030C), (0x0310, 0x0312), (0x0442, 0x0442)], ids=hex
)
def test_any_write_clears_error_counters(counter: int, cleared_by: int) -> None:
    bus = line(1)
    for _ in range(300):
        bus["d0"].esc.count_error(counter)
    assert read_at(bus, 0, counter, 1).data == b"\xff"

    write_at(bus, 0, cleared_by, b"\x42")

    assert read_at(bus, 0, counter, 1).data == b"\0"


@pytest.mark.verifies("REQ_8101")
def test_a_running_sync_manager_keeps_its_configuration() -> None:
    bus = line(1)
    first = b"\0\x11\x02\0\x64\0\x01\0"
    write_at(bus, 0, 0x0810, first)

    write_at(bus, 0, 0x0810, b"\0\x12\x04\0\x20\xff\x01\xff")
    kept = read_at(bus, 0, 0x0810, 8).data
    write_at(bus, 0, 0x0816, b"\0")
    write_at(bus, 0, 0x0810, b"\0\x12\x04\0\x20\xff\x01\xff")

    assert (kept[:5], kept[6:]) == (first[:5], b"\x01\0")
    assert read_at(bus, 0, 0x0810, 5).data == b"\0\x12\x04\0\x20"


@pytest.mark.verifies("REQ_8101")
def test_a_device_has_the_channels_that_it_says_it_has() -> None:
    world = World(1)
    bus = segment(world, device(world, "small", fmmus=3, sync_managers=4, ram_kb=1))

    assert read_at(bus, 0, 0x0004, 3).data == b"\x03\x04\x01"
    assert read_at(bus, 0, 0x0630, 16).working_counter == 0
    assert write_at(bus, 0, 0x0820, bytes(8)).working_counter == 0
    assert read_at(bus, 0, 0x1400, 1).working_counter == 0


@pytest.mark.verifies("REQ_8101", "REQ_8106")
def test_clock_registers_are_those_of_the_window_and_only_where_the_device_has_a_clock() -> None:
    world = World(1)
    spec = DeviceSpec(label="clocked", distributed_clock=True)
    clocked = SubDevice(world, "ethercat/cell/clocked", spec, NullApplication(), sii())
    window = _Window()
    clocked.set_window(window)
    bus = segment(world, device(world, "first"), clocked)
    world.run_for(1000)

    latched = ask(bus, Command.BWR, 0x0900 << 16, bytes(4))
    read = ask(bus, Command.BRD, 0x0910 << 16, 8)
    ask(bus, Command.BWR, 0x0120 << 16, b"\x02\0")
    ask(bus, Command.BWR, 0x0120 << 16, b"\x04\0")

    assert (latched.working_counter, read.working_counter, read.data) == (1, 1, b"\x5a" * 8)
    arrival_ns = 1000 + 50 + 320 + 50
    assert window.calls == [
        ("latch", (arrival_ns, None, None, None)),
        ("write", 0, bytes(4), arrival_ns),
        ("read", 0x10, arrival_ns),
    ]
    assert word_at(bus, 1, 0x0008) == 0x0C
    assert word_at(bus, 1, 0x0134) == 0x0030
    assert [word_at(bus, position, 0x0130) for position in (0, 1)] == [0x04, 0x12]


@pytest.mark.verifies("REQ_8101", "REQ_8106")
def test_a_clock_is_refused_for_a_device_without_one() -> None:
    with pytest.raises(ConfigurationError, match="distributed_clock"):
        device(World(1), "plain").set_window(_Window())


@pytest.mark.verifies("REQ_8103")
def test_the_eeprom_is_read_by_eight_bytes_through_its_registers() -> None:
    bus = line(1)

    write_at(bus, 0, 0x0502, b"\x00\x01\x08\0\0\0")

    assert word_at(bus, 0, 0x0502) == 0x00C0
    assert read_at(bus, 0, 0x0508, 8).data == (2).to_bytes(4, "little") + (0x1234).to_bytes(4, "little")


@pytest.mark.verifies("REQ_8103")
def test_past_its_end_the_eeprom_reads_ff() -> None:
    bus = line(1)

    write_at(bus, 0, 0x0502, b"\x00\x01\x40\0\0\0")

    assert read_at(bus, 0, 0x0508, 8).data == b"\xff" * 8


@pytest.mark.verifies("REQ_8103")
def test_the_eeprom_is_written_by_words_with_the_enable_bit() -> None:
    bus = line(1)
    write_at(bus, 0, 0x0508, b"\x21\x43")

    write_at(bus, 0, 0x0502, b"\x00\x02\x20\0\0\0")
    refused = word_at(bus, 0, 0x0502)
    before = bytes(bus["d0"].eeprom.image[0x40:0x42])
    write_at(bus, 0, 0x0502, b"\x01\x02\x20\0\0\0")

    assert refused & 0x4000
    assert before == b"\0\0"
    assert word_at(bus, 0, 0x0502) == 0x00C0
    assert bytes(bus["d0"].eeprom.image[0x40:0x42]) == b"\x21\x43"


@pytest.mark.verifies("REQ_8103")
def test_a_busy_eeprom_answers_when_its_time_has_passed() -> None:
    world = World(1)
    bus = segment(world, device(world, "slow", sii_busy_us=500))

    write_at(bus, 0, 0x0502, b"\x00\x01\x08\0\0\0")
    during = word_at(bus, 0, 0x0502)
    write_at(bus, 0, 0x0502, b"\x00\x01\x00\0\0\0")  # ignored while it is busy
    world.run_for(MS)

    assert during & 0x8000
    assert word_at(bus, 0, 0x0502) == 0x00C0
    assert read_at(bus, 0, 0x0508, 2).data == b"\x02\0"


@pytest.mark.verifies("REQ_8103")
def test_the_pdi_owns_the_eeprom_until_it_is_taken_back() -> None:
    bus = line(1)
    write_at(bus, 0, 0x0500, b"\x01")

    refused = write_at(bus, 0, 0x0502, b"\x00\x01\x08\0\0\0").working_counter
    write_at(bus, 0, 0x0500, b"\x02")
    write_at(bus, 0, 0x0500, b"\x00")

    assert refused == 0
    assert write_at(bus, 0, 0x0502, b"\x00\x01\x08\0\0\0").working_counter == 1


@pytest.mark.verifies("REQ_8103")
def test_a_wrong_checksum_leaves_the_configuration_unloaded() -> None:
    world = World(1)
    broken = bytearray(sii(alias=0x77))
    broken[14] ^= 1
    bus = segment(world, device(world, "broken", image=bytes(broken)))

    write_word(bus, 0, 0x0120, 0x0002)

    assert word_at(bus, 0, 0x0502) & 0x1800 == 0x1800
    assert word_at(bus, 0, 0x0012) == 0
    assert word_at(bus, 0, 0x0110) & 1 == 0
    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)) == (0x11, 0x0051)


@pytest.mark.verifies("REQ_8103")
def test_a_reload_takes_over_a_new_alias() -> None:
    bus = line(1)
    image = bytearray(sii(alias=0x99))
    bus["d0"].eeprom.image[:16] = image[:16]

    write_at(bus, 0, 0x0502, b"\x00\x04")

    assert word_at(bus, 0, 0x0012) == 0x99


@pytest.mark.verifies("REQ_8101", "REQ_8105")
def test_a_device_that_keeps_its_watchdog_shows_it() -> None:
    world = World(1)
    bus = segment(world, device(world, "stubborn", watchdog_fixed=True))

    wrote = write_word(bus, 0, 0x0420, 500)

    assert (wrote, word_at(bus, 0, 0x0420)) == (1, 1000)


@pytest.mark.verifies("REQ_8101")
def test_power_up_resets_what_the_main_device_has_written() -> None:
    bus = line(2)
    bring_to_op(bus)
    write_word(bus, 1, 0x0010, 0x1234)

    bus.power_off("d1")
    bus.power_on("d1")

    assert (word_at(bus, 1, 0x0010), word_at(bus, 1, 0x0130), word_at(bus, 1, 0x0810)) == (0, 1, 0)
    assert word_at(bus, 0, 0x0130) == 8
