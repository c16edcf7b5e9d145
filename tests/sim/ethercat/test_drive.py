"""The CiA 402 drive of the device library: power states, modes, supervision, faults, on any mapping."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat.coe import CoeService, SdoAbort, decode_coe, decode_mail
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, EntrySpec, MailboxSpec, PdoSpec, PdosSpec
from taktora.ethercat.sdo import download, upload
from taktora_sim.ethercat.devices import Cia402Drive, build_device
from taktora_sim.ethercat.devices.cia402 import Command, PowerMachine, PowerState, Ramp, command_of
from taktora_sim.ethercat.devices.terminals import drive
from taktora_sim.faults import FaultPlanError
from taktora_sim.plants import AxisParameters
from taktora_sim.world import World
from tests.sim.ethercat.support import MS, BareEsc, Client

pytestmark = pytest.mark.verifies("REQ_8108")

REACHED, SPECIFIC, FOLLOWING, LIMITED = 0x0400, 0x1000, 0x2000, 0x0800
STATE_MASK = 0x6F


class Rig:
    """A drive in OP, mapped for cyclic position, with the MainDevice's outputs at hand."""

    def __init__(self, world: World | None = None, *, axis: AxisParameters | None = None, **options: Any) -> None:
        self.spec = drive("axis", options=options)
        device = build_device(self.spec)
        assert isinstance(device, Cia402Drive)
        self.drive = device
        self.esc = BareEsc(self.spec, device, world)
        self.world = self.esc.world
        if axis is not None:
            device.mount(axis)
        self.client = Client(self.esc)
        self.word, self.target, self.mode = 0, 0, 8
        self.inputs = bytearray(device.input_data.byte_length)
        self.seen: list[int] = []
        """Statuswords in order, without repeats."""

    def cycle(self, count: int = 1, period_ns: int = MS) -> None:
        for _ in range(count):
            self.drive.outputs(memoryview(struct.pack("<Hib", self.word, self.target, self.mode)))
            self.drive.inputs(memoryview(self.inputs))
            if not self.seen or self.seen[-1] != self.status:
                self.seen.append(self.status)
            self.world.run_for(period_ns)

    def until(self, holds: Callable[[], bool], limit_ms: int = 5000) -> None:
        for _ in range(limit_ms):
            if holds():
                return
            self.cycle()
        raise AssertionError(f"it does not happen; statusword 0x{self.status:04X}")

    def go(self, word: int, cycles: int = 2) -> None:
        self.word = word
        self.cycle(cycles)

    def enable(self, mode: int = 8) -> Rig:
        self.esc.go(AlState.OP)
        self.mode = mode
        self.world.run_for(100 * MS)
        for word in (0x06, 0x07, 0x0F):
            self.go(word)
        assert self.state is PowerState.ENABLED
        return self

    def write(self, index: int, value: int, kind: str, subindex: int = 0) -> None:
        self.client.run(download(index, subindex, struct.pack(f"<{kind}", value), 128))

    def read(self, index: int, kind: str, subindex: int = 0) -> int:
        value: int = struct.unpack(f"<{kind}", self.client.run(upload(index, subindex)))[0]
        return value

    def fault(self, kind: str, **parameters: Any) -> Callable[[], None]:
        return self.world.faults.inject(self.esc.path, kind, None, parameters)

    def emergencies(self) -> list[int]:
        """Return the error codes of the emergencies that wait."""
        codes = []
        while self.esc.sent:
            service, body = decode_coe(decode_mail(self.esc.sent.popleft()).data)
            assert service == CoeService.EMERGENCY
            codes.append(int.from_bytes(body[:2], "little"))
        return codes

    @property
    def state(self) -> PowerState:
        return self.drive.state

    @property
    def status(self) -> int:
        return int.from_bytes(self.inputs[:2], "little")

    @property
    def position(self) -> int:
        return int.from_bytes(self.inputs[2:6], "little", signed=True)

    @property
    def velocity(self) -> int:
        return int.from_bytes(self.inputs[6:10], "little", signed=True)

    @property
    def error_code(self) -> int:
        return int.from_bytes(self.inputs[11:13], "little")

    @property
    def following_error(self) -> int:
        return int.from_bytes(self.inputs[13:17], "little", signed=True)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- power states ------------------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_7109")
def test_the_power_walk_up_and_down_shows_the_usual_statuswords(rig: Rig) -> None:
    rig.esc.go(AlState.OP)
    rig.cycle()
    rig.world.run_for(60 * MS)

    for word in (0x00, 0x06, 0x07, 0x0F, 0x07, 0x06, 0x00):
        rig.go(word, 3)

    assert [word & ~SPECIFIC for word in rig.seen] == [
        0x0200,
        0x0250,
        0x0231,
        0x0233,
        0x0237,
        0x0233,
        0x0231,
        0x0250,
    ]


class Host:
    """A drive without anything that moves: a stop lasts until the test says that it is over."""

    def __init__(self) -> None:
        self.options = {0x605A: 2, 0x605B: 0, 0x605C: 1, 0x605E: 2}
        self.ramps: list[Ramp] = []
        self.has_cause = False

    def option(self, index: int) -> int:
        return self.options[index]

    def begin_stop(self, ramp: Ramp) -> None:
        self.ramps.append(ramp)

    def resume(self) -> None:
        pass

    def changed(self, old: PowerState, new: PowerState) -> None:
        pass

    def may_enable(self) -> bool:
        return True

    def has_fault_cause(self) -> bool:
        return self.has_cause


S = PowerState
# The table of IEC 61800-7-201, written down a second time: state, bits 3 to 0 of the controlword, state afterwards.
# 0x605B and 0x605C are 0 here (no ramp), 0x605A is 6 (stay in Quick stop active).
_SHUTDOWNS, _SWITCH_ONS, _ENABLES = (0b0110, 0b1110), (0b0111,), (0b1111,)
_QUICK_STOPS = (0b0010, 0b0011, 0b1010, 0b1011)
_DISABLES = (0b0000, 0b0001, 0b0100, 0b0101, 0b1000, 0b1001, 0b1100, 0b1101)
_TABLE: dict[PowerState, dict[PowerState, tuple[int, ...]]] = {
    S.SWITCH_ON_DISABLED: {S.READY: _SHUTDOWNS},
    S.READY: {
        S.SWITCHED_ON: _SWITCH_ONS,
        S.ENABLED: _ENABLES,
        S.SWITCH_ON_DISABLED: (*_QUICK_STOPS, *_DISABLES),
    },
    S.SWITCHED_ON: {
        S.READY: _SHUTDOWNS,
        S.ENABLED: _ENABLES,
        S.SWITCH_ON_DISABLED: (*_QUICK_STOPS, *_DISABLES),
    },
    S.ENABLED: {
        S.SWITCHED_ON: _SWITCH_ONS,
        S.READY: _SHUTDOWNS,
        S.QUICK_STOP: _QUICK_STOPS,
        S.SWITCH_ON_DISABLED: _DISABLES,
    },
    S.QUICK_STOP: {S.ENABLED: _ENABLES, S.SWITCH_ON_DISABLED: _DISABLES},
    S.FAULT: {},
    S.FAULT_REACTION: {},
    S.NOT_READY: {},
}


def _expected(state: PowerState, word: int) -> PowerState:
    bits = word & 0xF
    return next((new for new, words in _TABLE[state].items() if bits in words), state)


@pytest.mark.realizes("TEST_7106")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.integers(0, 0xFFFF), st.sampled_from(["fault", "stopped"])), max_size=60))
def test_any_controlwords_lead_where_the_table_of_the_profile_says(events: list[int | str]) -> None:
    host = Host()
    host.options |= {0x605A: 6, 0x605C: 0}
    machine = PowerMachine(host)
    machine.start()
    state, last = PowerState.SWITCH_ON_DISABLED, 0

    for event in events:
        if event == "fault":
            machine.fault()
            if state not in (PowerState.FAULT, PowerState.FAULT_REACTION):
                state = PowerState.FAULT_REACTION if state.has_torque else PowerState.FAULT
        elif event == "stopped":
            machine.stopped()
            state = PowerState.FAULT if state is PowerState.FAULT_REACTION else state
        else:
            assert isinstance(event, int)
            machine.control(event)
            if state is PowerState.FAULT and event & 0x80 and not last & 0x80:
                state = PowerState.SWITCH_ON_DISABLED
            else:
                state = _expected(state, event)
            last = event
        assert machine.state is state


@pytest.mark.realizes("TEST_7106")
@pytest.mark.parametrize(
    ("option", "ramp", "after"),
    [
        (0, None, PowerState.SWITCH_ON_DISABLED),
        (1, Ramp.SLOW, PowerState.SWITCH_ON_DISABLED),
        (2, Ramp.QUICK, PowerState.SWITCH_ON_DISABLED),
        (3, Ramp.LIMIT, PowerState.SWITCH_ON_DISABLED),
        (5, Ramp.SLOW, PowerState.QUICK_STOP),
        (6, Ramp.QUICK, PowerState.QUICK_STOP),
        (7, Ramp.LIMIT, PowerState.QUICK_STOP),
    ],
)
def test_quick_stop_ends_as_its_option_says(option: int, ramp: Ramp | None, after: PowerState) -> None:
    host = Host()
    host.options[0x605A] = option
    machine = PowerMachine(host)
    machine.start()
    for word in (0x06, 0x0F, 0x02):
        machine.control(word)

    during = machine.state
    machine.stopped()

    assert host.ramps == ([] if ramp is None else [ramp])
    assert during is (PowerState.SWITCH_ON_DISABLED if ramp is None else PowerState.QUICK_STOP)
    assert machine.state is after


@pytest.mark.verifies("REQ_7109")
def _mapped(entry: EntrySpec, *, is_input: bool = False) -> DeviceSpec:
    pdo = (PdoSpec(index=0x1A00 if is_input else 0x1600, entries=(entry,)),)
    pdos = PdosSpec(tx=pdo) if is_input else PdosSpec(rx=pdo)
    return DeviceSpec(label="axis", profile="cia402", pdos=pdos, mailbox=MailboxSpec())


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            EntrySpec(name="control", index=0x6040, type="u8"),
            "control maps 0x6040:00 (Controlword) as u8, CiA 402 has it as u16",
        ),
        (
            EntrySpec(name="t", index=0x607A, type="u32"),
            "t maps 0x607A:00 (Target position) as u32, CiA 402 has it as i32",
        ),
        (
            EntrySpec(index=0x6041, type="bits", bit_length=8),
            "without a name maps 0x6041:00 (Statusword) as bits of 8 bits, CiA 402 has it as u16",
        ),
        (
            EntrySpec(name="low", index=0x607D, subindex=1, type="i16"),
            "low maps 0x607D:01 (Min position limit) as i16, CiA 402 has it as i32",
        ),
    ],
)
def test_a_mapping_that_contradicts_the_profile_is_refused(entry: EntrySpec, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build_device(_mapped(entry, is_input=entry.index == 0x6041))

    assert str(refused.value) == f"device 'axis': entry {text}; correct type in the machine file"


@pytest.mark.parametrize(
    "entry",
    [
        EntrySpec(name="control", index=0x6040, type="bits", bit_length=16),
        EntrySpec(name="own", index=0x2040, type="u8"),
        EntrySpec(type="bits", bit_length=8),
    ],
)
def test_bits_of_the_right_length_and_objects_of_the_maker_are_mapped(entry: EntrySpec) -> None:
    assert build_device(_mapped(entry)).profile == "cia402"


def test_every_controlword_is_one_command() -> None:
    commands = {word: command_of(word) for word in range(16)}

    assert [word for word in commands if commands[word] is Command.SHUTDOWN] == list(_SHUTDOWNS)
    assert [word for word in commands if commands[word] is Command.QUICK_STOP] == list(_QUICK_STOPS)
    assert [word for word in commands if commands[word] is Command.DISABLE_VOLTAGE] == list(_DISABLES)
    assert (commands[0b0111], commands[0b1111]) == (Command.SWITCH_ON, Command.ENABLE)


@pytest.mark.verifies("REQ_7109")
def test_a_fault_is_reset_by_the_edge_only_and_not_while_its_cause_lasts(rig: Rig) -> None:
    rig.enable()
    end = rig.fault("trip-drive", code=0x2310)
    rig.until(lambda: rig.state is PowerState.FAULT)
    states = []

    rig.go(0x80)
    states.append(rig.state)
    end()
    rig.go(0x80)
    states.append(rig.state)
    rig.go(0x00)
    rig.go(0x80)
    states.append(rig.state)

    assert states == [PowerState.FAULT, PowerState.FAULT, PowerState.SWITCH_ON_DISABLED]
    assert rig.emergencies() == [0x2310, 0]
    assert rig.error_code == 0


@pytest.mark.verifies("REQ_7109")
def test_switching_off_while_moving_ramps_down_first(rig: Rig) -> None:
    rig.enable(mode=3)
    rig.write(0x60FF, 200_000, "i")
    rig.until(lambda: bool(rig.status & REACHED) and rig.velocity > 150_000)

    rig.go(0x07, 1)
    rig.cycle()
    during = rig.state, rig.velocity
    rig.until(lambda: rig.state is PowerState.SWITCHED_ON, 200)

    assert during[0] is PowerState.ENABLED
    assert 0 < during[1] < 200_000
    assert abs(rig.velocity) < 100


@pytest.mark.verifies("REQ_8109")
def test_a_drive_that_refuses_to_be_enabled_stays_switched_on(rig: Rig) -> None:
    end = rig.fault("refuse-enable")
    rig.esc.go(AlState.OP)
    rig.world.run_for(100 * MS)
    rig.go(0x06)
    rig.go(0x0F)
    before = rig.state

    end()

    assert (before, rig.state) == (PowerState.SWITCHED_ON, PowerState.ENABLED)


# --- outputs lost ------------------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_8105")
@pytest.mark.parametrize(
    ("option", "at_once", "at_last"),
    [
        ("quick-stop", PowerState.QUICK_STOP, PowerState.SWITCH_ON_DISABLED),
        ("disable", PowerState.SWITCH_ON_DISABLED, PowerState.SWITCH_ON_DISABLED),
        ("fault", PowerState.FAULT_REACTION, PowerState.FAULT),
        ("none", PowerState.ENABLED, PowerState.ENABLED),
    ],
)
def test_lost_outputs_stop_the_drive_as_its_option_says(option: str, at_once: PowerState, at_last: PowerState) -> None:
    rig = Rig(outputs_lost=option).enable(mode=3)
    rig.write(0x60FF, 200_000, "i")
    rig.until(lambda: rig.velocity > 150_000)

    rig.drive.safe_outputs("SyncManager watchdog expired")
    during = rig.state
    rig.world.run_for(1000 * MS)

    assert (during, rig.state) == (at_once, at_last)
    assert (abs(rig.drive.axis.velocity) < 0.01) is (option != "none")


@pytest.mark.verifies("REQ_8105")
def test_outputs_that_come_back_do_not_start_the_drive_again(rig: Rig) -> None:
    rig.enable()
    rig.drive.safe_outputs("SyncManager watchdog expired")
    rig.world.run_for(100 * MS)

    rig.cycle(10)

    assert rig.word == 0x0F
    assert rig.state is PowerState.SWITCH_ON_DISABLED


@pytest.mark.verifies("REQ_8105")
def test_outputs_that_come_back_unchanged_are_obeyed(rig: Rig) -> None:
    rig.esc.go(AlState.OP)
    rig.world.run_for(100 * MS)
    rig.go(0x06)
    rig.drive.safe_outputs("SyncManager watchdog expired")
    lost = rig.state

    rig.cycle(2)

    assert (lost, rig.state) == (PowerState.SWITCH_ON_DISABLED, PowerState.READY)


def test_power_lost_takes_the_torque_away_and_the_position_is_known_afterwards() -> None:
    rig = Rig(axis=AxisParameters(load=-100.0, brake_force=0.0), outputs_lost="none").enable()

    rig.drive.safe_outputs("power lost")
    rig.world.run_for(100 * MS)
    rig.drive.power_on()
    shown = rig.state
    rig.world.run_for(60 * MS)

    assert shown is PowerState.NOT_READY
    assert rig.state is PowerState.SWITCH_ON_DISABLED
    assert rig.drive.axis.position < -10.0
    assert rig.drive.position == round(rig.drive.axis.position * 1000)


# --- modes -------------------------------------------------------------------------------------------------------


def _sine(rig: Rig, milliseconds: int, amplitude: int = 20_000) -> Iterator[int]:
    for step in range(milliseconds):
        rig.target = round(amplitude * (1 - math.cos(2 * math.pi * step / 500)))
        rig.cycle()
        yield rig.following_error


def test_cyclic_position_follows_with_a_small_error(rig: Rig) -> None:
    rig.enable()

    errors = [abs(error) for error in _sine(rig, 1000)]
    rig.cycle(300)

    assert max(errors) < 500, "half a millimetre of 40"
    assert abs(rig.position - rig.target) <= 1
    assert rig.status & 0xFFF == 0x237
    assert rig.status & (SPECIFIC | FOLLOWING) == SPECIFIC
    assert rig.inputs[10] == 8


def test_cyclic_position_goes_on_where_32_bits_end() -> None:
    rig = Rig(axis=AxisParameters(unit="deg", increments_per_unit=1000.0)).enable(mode=6)
    rig.write(0x607C, 0x7FFF_F000, "i")
    rig.go(0x1F)
    rig.target, rig.mode = 0x7FFF_F000, 8
    rig.go(0x0F, 10)

    for _ in range(1000):
        rig.target = (rig.target + 20 + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        rig.cycle()
    rig.cycle(300)

    assert rig.state is PowerState.ENABLED
    assert rig.target < 0
    assert abs(rig.position - rig.target) <= 1
    assert rig.drive.axis.position == pytest.approx(20.0, abs=0.01)


def test_profile_position_acknowledges_set_points_one_by_one(rig: Rig) -> None:
    rig.enable(mode=1)
    rig.target = 10_000
    rig.go(0x1F, 1)
    first = rig.status
    rig.go(0x0F, 1)
    released = rig.status
    rig.target = 30_000
    rig.go(0x1F, 2)
    rig.go(0x0F, 2)
    waiting = rig.status

    rig.until(lambda: not rig.status & SPECIFIC)
    at_first = rig.position
    rig.until(lambda: bool(rig.status & REACHED))

    assert [word & (SPECIFIC | REACHED) for word in (first, released, waiting)] == [SPECIFIC, 0, SPECIFIC]
    assert abs(at_first - 10_000) < 500, "the second set-point waits for the first"
    assert abs(rig.position - 30_000) <= 10


def test_a_set_point_may_replace_the_one_under_way_and_be_relative(rig: Rig) -> None:
    rig.enable(mode=1)
    rig.target = 100_000
    rig.go(0x1F, 20)
    rig.go(0x0F, 1)

    rig.target = -50_000
    rig.go(0x0F | 0x10 | 0x20 | 0x40, 2)
    rig.go(0x0F, 2)
    rig.until(lambda: bool(rig.status & REACHED))

    assert abs(rig.position - 50_000) <= 10


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(-200_000, 200_000), st.integers(1, 2_000_000), st.integers(1000, 20_000_000), st.integers(1000, 2**31)
)
def test_any_profile_arrives_without_overshoot(target: int, speed: int, acceleration: int, deceleration: int) -> None:
    rig = Rig(following_window=0xFFFF_FFFF, signals=False).enable(mode=1)
    for index, value in ((0x6081, speed), (0x6083, acceleration), (0x6084, deceleration)):
        rig.write(index, value, "I")
    rig.target = target
    rig.go(0x1F, 2)

    furthest, speeds = 0.0, []
    for _ in range(2000):
        rig.cycle()
        reference = rig.drive.servo.reference
        speeds.append(abs(reference.velocity) * 1000)
        furthest = max(furthest, reference.position * (1 if target >= 0 else -1))
        if rig.status & REACHED:
            break

    assert furthest * 1000 <= abs(target) + 1e-3
    assert max(speeds) <= speed * 1.000001


def test_halt_stops_a_profile_and_lets_it_go_on(rig: Rig) -> None:
    rig.enable(mode=1)
    rig.target = 100_000
    rig.go(0x1F, 50)
    rig.go(0x1F | 0x100, 300)
    held = rig.position, rig.status

    rig.word = 0x1F
    rig.until(lambda: rig.position > held[0] + 1000)
    rig.until(lambda: bool(rig.status & REACHED))

    assert 0 < held[0] < 90_000
    assert held[1] & REACHED
    assert abs(rig.position - 100_000) <= 10


def test_profile_velocity_reaches_its_target_and_says_when_it_stands(rig: Rig) -> None:
    rig.enable(mode=3)
    standing = rig.status
    rig.write(0x60FF, -100_000, "i")
    rig.cycle(2)
    underway = rig.status
    rig.cycle(500)

    assert standing & SPECIFIC
    assert not underway & REACHED
    assert rig.status & (REACHED | SPECIFIC) == REACHED
    assert rig.velocity == pytest.approx(-100_000, abs=200)


def test_cyclic_velocity_follows_at_once(rig: Rig) -> None:
    rig.enable(mode=9)
    rig.write(0x60FF, 50_000, "i")
    rig.cycle(100)

    assert rig.velocity == pytest.approx(50_000, abs=500)
    assert rig.inputs[10] == 9


def test_cyclic_torque_accelerates_by_the_inertia(rig: Rig) -> None:
    rig.drive.mount(AxisParameters(inertia=0.05, viscous=0.0, coulomb=0.0, rated_force=100.0))
    rig.enable(mode=10)
    rig.write(0x6071, 500, "h")
    rig.cycle()
    before = rig.drive.axis.velocity
    rig.cycle(100)

    assert rig.drive.axis.velocity - before == pytest.approx(100.0, rel=0.02), "50 N on 0.05 N s^2/mm for 0.1 s"
    assert rig.read(0x6077, "h") == 500


@pytest.mark.parametrize(("method", "switch"), [(17, -50.0), (18, 80.0)])
def test_homing_finds_the_switch_and_sets_the_position(method: int, switch: float) -> None:
    rig = Rig(axis=AxisParameters(low=-60.0, high=90.0, switch_low=-50.0, switch_high=80.0)).enable(mode=6)
    rig.write(0x6098, method, "b")
    rig.write(0x607C, 5000, "i")
    before = rig.status

    rig.go(0x1F, 3)
    underway = rig.status
    rig.until(lambda: bool(rig.status & SPECIFIC))

    assert before & (SPECIFIC | REACHED | FOLLOWING) == REACHED
    assert underway & (SPECIFIC | REACHED | FOLLOWING) == 0
    assert rig.status & (SPECIFIC | REACHED | FOLLOWING) == SPECIFIC | REACHED
    assert rig.position - 5000 == pytest.approx((rig.drive.axis.position - switch) * 1000, abs=100)


def test_homing_where_there_is_no_switch_is_an_error_and_can_be_interrupted_elsewhere() -> None:
    rig = Rig(axis=AxisParameters(switch_high=500.0)).enable(mode=6)
    rig.write(0x6098, 17, "b")
    rig.go(0x1F)
    failed = rig.status
    rig.go(0x0F)
    rig.write(0x6098, 18, "b")
    rig.go(0x1F, 20)
    rig.go(0x0F, 2)

    assert failed & (SPECIFIC | REACHED | FOLLOWING) == REACHED | FOLLOWING
    assert rig.status & (SPECIFIC | REACHED | FOLLOWING) == REACHED


def test_a_mode_that_the_drive_has_not_is_not_shown(rig: Rig) -> None:
    rig.enable()
    rig.mode = 4

    rig.cycle(2)

    assert rig.inputs[10] == 8
    assert rig.read(0x6502, "I") == 1 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9
    with pytest.raises(SdoAbort):
        rig.write(0x6060, 4, "b")


# --- supervision -------------------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_8109")
def test_a_blocked_axis_trips_the_drive_by_its_following_error() -> None:
    rig = Rig(following_window=2000).enable()
    rig.write(0x6066, 20, "H")
    rig.fault("block-axis")
    beyond_ms = 0

    for step in range(200):
        rig.target = 100 * step
        rig.cycle()
        beyond_ms += bool(rig.status & FOLLOWING)
        if rig.state is PowerState.FAULT:
            break

    assert rig.state is PowerState.FAULT
    assert 20 <= beyond_ms <= 23
    assert (rig.error_code, rig.emergencies()) == (0x8611, [0x8611])
    assert rig.read(0x1001, "B") == 0x21


@pytest.mark.verifies("REQ_8109")
def test_a_stuck_encoder_lets_the_axis_run_away_until_the_following_error_trips(rig: Rig) -> None:
    rig.enable()
    rig.fault("stick-encoder")
    shown = rig.position

    for step in range(400):
        rig.target = 500 * step
        rig.cycle()

    assert rig.position == shown
    assert rig.state is PowerState.FAULT
    assert rig.drive.axis.position > 5.0


@pytest.mark.verifies("REQ_8109")
def test_a_force_on_the_axis_pushes_it_aside_and_the_drive_takes_it_back(rig: Rig) -> None:
    rig.enable()
    rig.cycle(200)
    end = rig.fault("load-axis", force=150.0)

    rig.cycle(5)
    pushed = rig.position
    rig.cycle(1000)
    held, torque = rig.position, rig.read(0x6077, "h")
    end()
    rig.cycle(1000)

    assert pushed > 10
    assert abs(held) <= 2
    assert torque == pytest.approx(-750, abs=30)
    assert abs(rig.position) <= 2


def test_a_target_beyond_a_software_limit_ends_at_the_limit(rig: Rig) -> None:
    rig.write(0x607D, -10_000, "i", 1)
    rig.write(0x607D, 10_000, "i", 2)
    rig.enable(mode=1)
    rig.target = 50_000

    rig.go(0x1F, 2)
    rig.until(lambda: bool(rig.status & REACHED))

    assert abs(rig.position - 10_000) <= 10
    assert rig.status & LIMITED


def test_a_velocity_is_slowed_down_in_front_of_a_software_limit(rig: Rig) -> None:
    rig.write(0x607D, -10_000, "i", 1)
    rig.write(0x607D, 10_000, "i", 2)
    rig.enable(mode=3)
    rig.write(0x60FF, 100_000, "i")

    rig.cycle(1000)

    assert 9_000 < rig.position <= 10_200
    assert abs(rig.velocity) < 1000
    assert rig.status & LIMITED


def test_the_torque_limit_holds(rig: Rig) -> None:
    rig.write(0x6072, 100, "H")
    rig.enable(mode=9)
    rig.write(0x60FF, 500_000, "i")
    torques = []

    for _ in range(20):
        rig.cycle()
        torques.append(rig.read(0x6077, "h"))

    assert max(torques) == 100
    assert rig.status & LIMITED


@pytest.mark.verifies("REQ_7109")
def test_a_quick_stop_brakes_harder_than_the_profile(rig: Rig) -> None:
    ways = []
    for option in (1, 2):
        rig = Rig().enable(mode=3)
        rig.write(0x605A, option, "h")
        rig.write(0x6084, 500_000, "I")
        rig.write(0x6085, 2_000_000, "I")
        rig.write(0x60FF, 200_000, "i")
        rig.until(lambda rig=rig: rig.velocity > 195_000)  # type: ignore[misc]
        start = rig.position
        rig.word = 0x02
        rig.until(lambda rig=rig: rig.state is PowerState.SWITCH_ON_DISABLED)  # type: ignore[misc]
        ways.append(rig.position - start)

    assert ways[0] == pytest.approx(200_000**2 / (2 * 500_000), rel=0.1)
    assert ways[1] == pytest.approx(200_000**2 / (2 * 2_000_000), rel=0.15)


# --- objects -----------------------------------------------------------------------------------------------------


def test_any_mapping_works_and_entries_need_no_names() -> None:
    rx = PdoSpec(
        index=0x1610,
        entries=(EntrySpec(index=0x6060, type="i8"), EntrySpec(bit_length=8), EntrySpec(index=0x6040, type="u16")),
    )
    tx = PdoSpec(index=0x1A10, entries=(EntrySpec(index=0x60F4, type="i32"), EntrySpec(index=0x6041, type="u16")))
    spec = DeviceSpec(label="d", profile="cia402", pdos=PdosSpec(rx=(rx,), tx=(tx,)), mailbox=MailboxSpec())
    device = build_device(spec)
    esc = BareEsc(spec, device)
    esc.go(AlState.OP)
    data = bytearray(6)
    statuswords = []

    for word in (0, 6, 7, 15):
        esc.world.run_for(100 * MS)
        device.outputs(memoryview(struct.pack("<bxH", 8, word)))
        device.inputs(memoryview(data))
        statuswords.append(struct.unpack("<iH", data)[1] & STATE_MASK)

    assert statuswords == [0x40, 0x21, 0x23, 0x27]


def test_a_drive_is_driven_by_sdo_as_well(rig: Rig) -> None:
    rig.world.run_for(100 * MS)
    rig.write(0x6060, 1, "b")
    for word in (0x06, 0x07, 0x0F):
        rig.write(0x6040, word, "H")
    rig.write(0x607A, 5000, "i")

    rig.write(0x6040, 0x1F, "H")
    rig.world.run_for(2000 * MS)

    assert rig.read(0x6041, "H") & (REACHED | STATE_MASK) == REACHED | 0x27
    assert abs(rig.read(0x6064, "i") - 5000) <= 10
    assert rig.read(0x6061, "b") == 1


def test_the_interpolation_time_may_be_set() -> None:
    rig = Rig()
    rig.write(0x60C2, 40, "B", 1)
    rig.enable()

    rig.target = 4000
    rig.cycle(20)
    half = rig.read(0x6062, "i")
    rig.cycle(25)

    assert half == pytest.approx(2000, abs=150)
    assert rig.read(0x6062, "i") == 4000


@pytest.mark.parametrize(
    ("index", "value", "kind"), [(0x605A, 9, "h"), (0x605C, -1, "h"), (0x6098, 40, "b"), (0x6041, 0, "H")]
)
def test_values_that_make_no_sense_are_aborted(rig: Rig, index: int, value: int, kind: str) -> None:
    with pytest.raises(SdoAbort):
        rig.write(index, value, kind)


def test_an_option_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="outputs_lost is 'stop', expected one of none, fault, disable"):
        Rig(outputs_lost="stop")


@pytest.mark.verifies("REQ_8109")
def test_a_forced_input_stays_forced_while_the_drive_goes_on(rig: Rig) -> None:
    rig.enable()
    end = rig.fault("force-input", entry="status", value=0.0)
    rig.go(0x07, 3)
    forced = rig.status

    end()
    rig.cycle()

    assert forced == 0
    assert rig.status & STATE_MASK == PowerState.SWITCHED_ON


def test_a_fault_names_what_it_does(rig: Rig) -> None:
    kinds = rig.drive.fault_kinds()

    assert kinds["trip-drive"].sentence({"code": 0x2310}) == "the drive finds error 0x2310"
    with pytest.raises(FaultPlanError):
        rig.fault("trip-drive", code=0)


# --- virtual time ------------------------------------------------------------------------------------------------


@pytest.mark.verifies("REQ_8001")
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 3 * MS), min_size=1, max_size=40), st.integers(1, 13 * MS))
def test_the_way_of_the_axis_does_not_depend_on_who_looks_when(looks: list[int], rest_ns: int) -> None:
    def run(pauses: list[int]) -> tuple[float, float, float]:
        rig = Rig(signals=False).enable(mode=3)
        rig.write(0x60FF, 150_000, "i")
        for pause_ns in pauses:
            rig.world.run_for(pause_ns)
            assert rig.drive.axis.position is not None
        rig.world.run_for(sum(looks) + rest_ns - sum(pauses))
        return rig.drive.axis.position, rig.drive.axis.velocity, rig.drive.servo.force

    assert run(looks) == run([])


def test_an_axis_at_rest_costs_no_steps(rig: Rig) -> None:
    rig.enable()
    rig.cycle(300)
    taken: list[float] = []
    step = rig.drive.axis.step
    rig.drive.axis.step = lambda *given, **more: (taken.append(given[0]), step(*given, **more))[1]  # type: ignore[method-assign,func-returns-value]

    rig.cycle(1000)
    still = len(taken)
    rig.target = 1000
    rig.cycle(10)

    assert still == 0
    assert taken
    assert rig.position > 0


def test_the_drive_tells_what_it_does_to_people(rig: Rig) -> None:
    rig.enable()

    assert rig.drive.snapshot() == {
        "state": "ENABLED",
        "mode": 8,
        "position": 0.0,
        "velocity": 0.0,
        "force": 0.0,
        "error_code": 0,
    }
