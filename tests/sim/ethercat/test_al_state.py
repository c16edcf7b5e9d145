"""The AL state machine: transitions, checks, refusals, acknowledgement, device options."""

from __future__ import annotations

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    MS,
    Recorder,
    application,
    bring_to_op,
    device,
    exchange,
    line,
    map_process_data,
    segment,
    sii,
    sync_manager,
    word_at,
    write_at,
    write_word,
)

_REACH = {1: (), 2: (2,), 3: (3,), 4: (2, 4), 8: (2, 4, 8)}
_LEGAL = {1: {1, 2, 3}, 2: {1, 2, 4}, 3: {1, 3}, 4: {1, 2, 4, 8}, 8: {1, 2, 4, 8}}


def _request(bus: SimulatedSegment, value: int) -> tuple[int, int]:
    """Write AL control; return status and code."""
    write_word(bus, 0, 0x0120, value)
    return word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)


def _device_in(state: int, **options: bool | float | str) -> SimulatedSegment:
    world = World(1)
    bus = segment(world, device(world, "d0", Recorder(), has_boot=True))
    map_process_data(bus, 0, 0)
    for step in _REACH[state]:
        write_word(bus, 0, 0x0120, step)
        if step == 4:
            exchange(bus, bytes(4))
    assert bus["d0"].state == state
    return bus


@pytest.mark.verifies("REQ_8102")
@pytest.mark.parametrize("old", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("new", [1, 2, 3, 4, 8])
def test_every_transition_is_taken_or_refused_as_the_standard_says(old: int, new: int) -> None:
    bus = _device_in(old)

    status, code = _request(bus, new)
    if status == 4 and new == 8:
        exchange(bus, bytes(4))
        status = word_at(bus, 0, 0x0130)

    if new in _LEGAL[old]:
        assert (status, code) == (new, 0)
    else:
        assert (status, code) == (0x10 | min(old, 4), 0x0011)


@pytest.mark.verifies("REQ_8102")
@pytest.mark.parametrize("state", [0, 5, 15])
def test_an_unknown_state_is_refused(state: int) -> None:
    assert _request(_device_in(2), state) == (0x12, 0x0012)


@pytest.mark.verifies("REQ_8102")
def test_boot_is_refused_where_there_is_none() -> None:
    assert _request(line(1), 3) == (0x11, 0x0013)


@pytest.mark.verifies("REQ_8102")
def test_an_error_stays_until_it_is_acknowledged() -> None:
    bus = _device_in(2)
    _request(bus, 8)

    ignored = _request(bus, 4)
    acknowledged = _request(bus, 0x12)
    onwards = _request(bus, 4)

    assert (ignored, acknowledged, onwards) == ((0x12, 0x0011), (2, 0), (4, 0))


@pytest.mark.verifies("REQ_8102")
def test_init_needs_no_acknowledgement() -> None:
    bus = _device_in(4)
    _request(bus, 3)

    assert _request(bus, 1) == (1, 0)


@pytest.mark.verifies("REQ_8102")
def test_pre_op_needs_the_mailbox_of_the_eeprom() -> None:
    world = World(1)
    bus = segment(world, device(world, "drive", Recorder(), image=sii(mailbox=True)))

    missing = _request(bus, 2)
    write_at(bus, 0, 0x0800, sync_manager(0x1000, 64, 0x26) + sync_manager(0x1080, 128, 0x22))
    too_short = _request(bus, 0x12)
    write_at(bus, 0, 0x0806, b"\0")
    write_at(bus, 0, 0x0800, sync_manager(0x1000, 128, 0x26))
    fits = _request(bus, 0x12)

    assert (missing, too_short, fits) == ((0x11, 0x0016), (0x11, 0x0016), (2, 0))


@pytest.mark.verifies("REQ_8102")
def test_losing_the_mailbox_leads_to_init_and_losing_process_data_to_pre_op() -> None:
    world = World(1)
    bus = segment(world, device(world, "drive", Recorder(), image=sii(mailbox=True)))
    write_at(bus, 0, 0x0800, sync_manager(0x1000, 128, 0x26) + sync_manager(0x1080, 128, 0x22))
    bring_to_op(bus)
    exchange(bus, bytes(4))

    write_at(bus, 0, 0x0816, b"\0")
    without_outputs = (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134))
    write_at(bus, 0, 0x0806, b"\0")

    assert without_outputs == (0x12, 0x001D)
    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)) == (0x11, 0x0016)
    assert application(bus, "drive").log[-3:] == ["safe: left OP for PRE-OP", "PRE-OP", "INIT"]


@pytest.mark.verifies("REQ_8102")
@pytest.mark.parametrize(("lengths", "code"), [((3, 2), 0x001D), ((2, 3), 0x001E), ((0, 2), 0x001D)])
def test_safe_op_needs_channels_of_the_assigned_lengths(lengths: tuple[int, int], code: int) -> None:
    bus = _device_in(2)
    application(bus, "d0").lengths = lengths

    assert _request(bus, 4) == (0x12, code)


@pytest.mark.verifies("REQ_8102")
def test_the_device_may_refuse_with_a_code_of_its_own() -> None:
    bus = _device_in(2)
    application(bus, "d0").refuse[AlState.SAFE_OP] = 0x0024

    assert _request(bus, 4) == (0x12, 0x0024)


@pytest.mark.verifies("REQ_8102")
def test_op_waits_for_outputs_and_is_refused_when_none_come() -> None:
    bus = _device_in(2)
    _request(bus, 4)

    asked = _request(bus, 8)
    bus.world.run_for(99 * MS)
    waiting = word_at(bus, 0, 0x0130)
    bus.world.run_for(2 * MS)

    assert (asked, waiting) == ((4, 0), 4)
    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)) == (0x14, 0x001B)


@pytest.mark.verifies("REQ_8102")
def test_op_is_reached_with_the_first_outputs() -> None:
    bus = _device_in(2)
    _request(bus, 4)
    _request(bus, 8)

    exchange(bus, b"\x01\x02\0\0")

    assert word_at(bus, 0, 0x0130) == 8
    assert application(bus, "d0").taken == [b"\x01\x02"]


@pytest.mark.verifies("REQ_8102")
def test_steps_upwards_take_their_time_and_a_new_request_replaces_the_old_one() -> None:
    bus = segment(world := World(1), device(world, "slow", Recorder(), transition_delay_ms=10, safe_op_delay_ms=30))
    map_process_data(bus, 0, 0)

    seen = [_request(bus, 2)[0]]
    world.run_for(11 * MS)
    seen += [word_at(bus, 0, 0x0130), _request(bus, 4)[0]]
    world.run_for(11 * MS)
    seen += [word_at(bus, 0, 0x0130), _request(bus, 1)[0]]
    world.run_for(100 * MS)

    assert seen == [1, 2, 2, 2, 1]
    assert word_at(bus, 0, 0x0130) == 1


@pytest.mark.verifies("REQ_8102")
def test_an_emulated_device_copies_what_is_written() -> None:
    world = World(1)
    bus = segment(world, device(world, "terminal", Recorder(), image=sii(emulated=True)))

    assert [_request(bus, value) for value in (2, 8, 0x14, 1)] == [(2, 0), (8, 0), (0x14, 0), (1, 0)]
    assert word_at(bus, 0, 0x0140) >> 8 == 1
    assert application(bus, "terminal").log[1:] == ["PRE-OP", "OP", "SAFE-OP", "INIT"]


@pytest.mark.verifies("REQ_8102", "REQ_8105")
@pytest.mark.parametrize(("to_safe_op", "expected"), [(False, 8), (True, 0x14)])
def test_an_emulated_device_may_or_may_not_show_its_watchdog(to_safe_op: bool, expected: int) -> None:
    world = World(1)
    terminal = device(world, "t", Recorder(), image=sii(emulated=True), watchdog_to_safe_op=to_safe_op)
    bus = segment(world, terminal)
    bring_to_op(bus)
    exchange(bus, b"\x01\x01\0\0")

    world.run_for(200 * MS)

    assert word_at(bus, 0, 0x0130) == expected
    assert "safe: SyncManager watchdog expired" in application(bus, "t").log


@pytest.mark.verifies("REQ_8102")
def test_a_device_falls_back_by_itself() -> None:
    bus = _device_in(8)
    exchange(bus, b"\x01\x01\0\0")

    application(bus, "d0").esc.retreat(AlState.SAFE_OP, 0x001A)

    assert (word_at(bus, 0, 0x0130), word_at(bus, 0, 0x0134)) == (0x14, 0x001A)
    assert application(bus, "d0").log[-2:] == ["safe: left OP for SAFE-OP", "SAFE-OP"]


@pytest.mark.verifies("REQ_8102")
def test_leaving_op_makes_outputs_safe_once() -> None:
    bus = _device_in(8)
    exchange(bus, b"\x01\x01\0\0")

    for value in (4, 1):
        _request(bus, value)

    assert [entry for entry in application(bus, "d0").log if entry.startswith("safe")] == ["safe: left OP for SAFE-OP"]


@pytest.mark.verifies("REQ_8102")
def test_an_id_request_is_answered_with_the_alias() -> None:
    world = World(1)
    bus = segment(world, device(world, "d0", image=sii(alias=0x0321)))

    assert _request(bus, 0x21) == (0x21, 0x0321)


@pytest.mark.verifies("REQ_8102")
@pytest.mark.parametrize(("name", "value"), [("fmmus", 17), ("transition_delay_ms", "soon"), ("has_boot", 1)])
def test_an_option_that_cannot_be_is_named(name: str, value: float | str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        device(World(1), "d0", options={name: value})
