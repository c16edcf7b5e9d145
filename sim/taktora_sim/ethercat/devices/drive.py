"""A CiA 402 drive with an axis behind it, on any mapping: what a PDO means is decided by the index of its entries.

Modelled: the power states with their option codes, quick stop, halt, fault reaction and reset by the rising edge of
bit 7; modes 1, 3, 6, 8, 9 and 10 (see :mod:`.drive_modes`); target reached, set-point acknowledge, internal limit;
following error with window and time (error code 0x8611, emergency); software position limits; torque limit; encoder,
control loops and mechanics in steps of ``step_us`` on a fixed grid of virtual time, so that the way of the axis does
not depend on who looks at it when; a multi-turn encoder that knows its position after a power cycle, homing included.

Simplified: SYNC0 is not used, targets are taken as frames bring them; the current loop is ideal, no temperature, no
supply voltage, no touch probe, no gear ratio or unit objects (0x608F to 0x6096): positions are increments, speeds
increments per second; a following error between cycles is seen at the next frame.

Objects whose value 0 says "what the axis is good for": profile velocity, accelerations, decelerations and homing
speeds. 0x60C2:01 = 0 (the default): the time between two frames is measured.

Options: ``outputs_lost`` (``quick-stop``; what the drive does when its outputs are made safe: ``none``, ``fault``,
``disable``, ``quick-stop``: default of 0x6007), ``start_ms`` (50, time from power to Switch on disabled), ``step_us``
(500), ``following_window`` (10000 increments, default of 0x6065), ``position_gain`` and ``velocity_gain`` (100 and 500
1/s).

Faults: ``trip-drive`` (``code``; the cause lasts as long as the fault), ``stick-encoder`` (the position shown stays),
``block-axis``, ``load-axis`` (``force`` in N), ``refuse-enable`` (it does not get beyond Switched on).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from taktora.ethercat.coe import Abort
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import ObjectDictionary
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.application import EscPort
from taktora_sim.ethercat.devices import drive_objects as od
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.ethercat.devices.cia402 import PowerMachine, PowerState, Ramp
from taktora_sim.ethercat.devices.drive_faults import DriveFaults
from taktora_sim.ethercat.devices.drive_feedback import Feedback
from taktora_sim.ethercat.devices.drive_following import FollowingError
from taktora_sim.ethercat.devices.drive_modes import MODE_KINDS, REACHED, START, Operation
from taktora_sim.ethercat.devices.drive_options import DRIVE_OPTIONS, OutputsLost, read_options
from taktora_sim.ethercat.devices.servo import Servo
from taktora_sim.ethercat.devices.values import NamedEntry
from taktora_sim.faults import FaultKind
from taktora_sim.plants.axis import Axis, AxisParameters
from taktora_sim.plants.stepping import LazySteps

__all__ = ["FOLLOWING_ERROR_CODE", "Cia402Drive"]

FOLLOWING_ERROR_CODE: Final = 0x8611
CONNECTION_ERROR_CODE: Final = 0x7500
"""Communication: the outputs were lost while 0x6007 says that this is a fault."""

_VOLTAGE: Final = 0x0010
_REMOTE: Final = 0x0200
_LIMITED: Final = 0x0800
_FOLLOWING_BIT: Final = 0x2000
_PROFILE_REGISTER: Final = 0x20
_GENERIC_REGISTER: Final = 0x01
_U32 = 0xFFFF_FFFF
_CALM_NS: Final = 100_000_000
_STOP_LIMIT_S: Final = 2.0
"""A ramp that has not brought the axis to rest so long after its end is taken as ended."""
_MS: Final = 1_000_000


# req: REQ_8108, REQ_7109
class Cia402Drive(SimulatedDevice):
    """A drive; ``drive.axis.position`` is where its axis is, ``drive.state`` its power state."""

    profile: ClassVar[str] = "cia402"
    option_names: ClassVar[frozenset[str]] = SimulatedDevice.option_names | DRIVE_OPTIONS

    def __init__(self, spec: DeviceSpec, dictionary: ObjectDictionary | None = None) -> None:
        if dictionary is None:  # else a drive that says itself what its objects are
            od.check_mapping(spec)
        objects = build_dictionary(spec) if dictionary is None else dictionary
        options = read_options(spec)
        defaults = {
            (od.ABORT_CONNECTION, 0): int(options.outputs_lost),
            (od.FOLLOWING_WINDOW, 0): options.following_window,
        }
        od.add_drive_objects(objects, defaults, keep=dictionary is not None)
        super().__init__(spec, objects)
        self._step_ns = options.step_ns
        self._dt_s = self._step_ns / 1e9
        self._steps = LazySteps(self._step_ns, self._step, _CALM_NS, self._come_to_rest, self._tell_way)
        self._start_steps = options.start_ns // self._step_ns
        self._gains = options.gains
        self.power = PowerMachine(self)
        self.axis = Axis(options.axis)
        self.servo = Servo(self.axis, self._gains, self._dt_s)
        self.limits: tuple[float, float] | None = None
        self.is_limited = False
        self.error_code = 0
        """Object 0x603F."""
        self.faults = DriveFaults(self)
        self._ready_at = 0
        self._is_lost = self._is_shown = False
        self._stopping: Ramp | None = None
        self._stop_steps = 0
        self._word = self._offset = 0
        self._following = FollowingError()
        self._last_frame_ns = self._cycle_ns = 0
        self._feedback = Feedback(self, self.inputs_by_name.values(), self._is_forced, self._draw)
        self.mode = od.Mode.NONE
        """Object 0x6061."""
        self._operation: Operation = Operation(self)
        self._take_settings()

    # --- for scenarios and plants -------------------------------------------------------------------------------

    @property
    def state(self) -> PowerState:
        """The power state now."""
        self._advance()
        return self.power.state

    @property
    def position(self) -> int:
        """What the encoder shows, in increments, without the limit of 32 bits."""
        self._advance()
        return self.shown_position()

    @property
    def statusword(self) -> int:
        """Object 0x6041 now."""
        self._advance()
        return self.shown_statusword()

    def mount(self, parameters: AxisParameters) -> Axis:
        """Put another axis behind the drive, and return it; the old one's listeners stay with the old one."""
        self._advance()
        self.axis = Axis(parameters)
        self.servo = Servo(self.axis, self._gains, self._dt_s)
        self._operation = MODE_KINDS[self.mode](self)
        self._offset = 0
        self.axis.bind(self._advance, self._wake)
        self._take_settings()
        self.servo.begin()
        self._wake()
        return self.axis

    def trip(self, code: int) -> None:
        """Have the drive find an error by itself, once."""
        self._advance()
        self._fault(code)
        self._wake()

    def wake(self) -> None:
        """Bring the drive to now, before something about it changes, and have it look at it."""
        self._advance()
        self._wake()

    def ask_again(self) -> None:
        """Obey the controlword once more, as the drive does whenever what kept it from it is over."""
        self._advance()
        if not self._is_lost:
            self._obey()

    def snapshot(self) -> dict[str, bool | int | float | str]:
        self._advance()
        return {
            "state": self.power.state.name,
            "mode": self.mode,
            "position": round(self.axis.x, 6),
            "velocity": round(self.axis.v, 6),
            "force": round(self.servo.force, 3),
            "error_code": self.error_code,
        }

    # --- Application --------------------------------------------------------------------------------------------

    def attach(self, esc: EscPort) -> None:
        super().attach(esc)
        self._steps.bind(esc.world)
        self.axis.bind(self._advance, self._wake)

    def power_on(self) -> None:
        self._advance()
        super().power_on()
        self._word, self._is_lost, self.error_code = 0, False, 0
        self._last_frame_ns = self._cycle_ns = 0
        self._take_settings()
        self._set_mode(od.Mode.NONE)
        self.power.reset()
        self._ready_at = self._steps.number + self._start_steps
        self._wake()
        self._feedback.show_all()

    def outputs(self, data: memoryview) -> None:
        self._advance()
        now_ns = self._steps.now_ns()
        if now_ns != self._last_frame_ns:
            self._cycle_ns, self._last_frame_ns = now_ns - self._last_frame_ns, now_ns
        before = self.output_data.image
        super().outputs(data)
        if self._is_lost or self.output_data.image is not before:
            self._is_lost = False
            self._obey()

    def outputs_in_effect(self) -> bytes | None:
        return None  # it acts by its power state, and its snapshot tells that

    def safe_outputs(self, reason: str) -> None:
        self._advance()
        self._is_lost = True
        option = self.value(od.ABORT_CONNECTION)
        if reason == "power lost" or option == OutputsLost.DISABLE:
            self.power.disable()
        elif option == OutputsLost.QUICK_STOP:
            self.power.quick_stop()
        elif option == OutputsLost.FAULT and self.power.state.has_torque:
            self._fault(CONNECTION_ERROR_CODE)
        self._wake()

    def inputs(self, data: memoryview) -> bool:
        self._advance()
        if not self._is_shown:
            self._feedback.show_mapped()
            self._is_shown = self._steps.rests
        return super().inputs(data)

    def refresh(self, index: int, subindex: int) -> None:
        super().refresh(index, subindex)
        self._advance()
        self._feedback.show_all()

    def check_object(self, index: int, subindex: int, value: bytes) -> int:
        if index == od.MODE and int.from_bytes(value, "little", signed=True) not in MODE_KINDS:
            return Abort.RANGE
        return super().check_object(index, subindex, value)

    def object_written(self, index: int, subindex: int) -> None:  # noqa: ARG002 - all of them are read again
        self._advance()
        self._take_settings()
        if index in od.COMMANDS:
            self._obey()
        self._wake()

    def state_changed(self, state: AlState) -> None:
        super().state_changed(state)
        if state is AlState.OP:
            self._cycle_ns = 0

    def show(self, entry: NamedEntry) -> None:
        if self._feedback.renew(entry.index) and not self._is_forced(entry):
            self._feedback.show_all()
        else:
            super().show(entry)

    def fault_kinds(self) -> Mapping[str, FaultKind]:
        return {**super().fault_kinds(), **self.faults.kinds()}

    def _rebuild(self) -> None:
        super()._rebuild()
        self._feedback.find_mapped()
        self._is_shown = False

    # --- PowerHost ----------------------------------------------------------------------------------------------

    def option(self, index: int) -> int:
        return self.value(index)

    def begin_stop(self, ramp: Ramp) -> None:
        self._stopping, self._stop_steps = ramp, 0

    def resume(self) -> None:
        self._restart()

    def changed(self, old: PowerState, new: PowerState) -> None:
        if old is PowerState.FAULT and new is PowerState.SWITCH_ON_DISABLED:
            self.error_code = 0
            self._set_register(0)
            self.emergency(0, 0)
        if new is PowerState.ENABLED or not new.has_torque or not old.has_torque:
            self._restart()

    def may_enable(self) -> bool:
        return not self.faults.refusals

    def has_fault_cause(self) -> bool:
        return bool(self.faults.causes)

    # --- DriveCore ----------------------------------------------------------------------------------------------

    @property
    def increments_per_unit(self) -> float:
        return self.axis.parameters.increments_per_unit

    @property
    def acceleration(self) -> float:
        return self._rate_of(od.PROFILE_ACCELERATION, 0.5)

    @property
    def homing_acceleration(self) -> float:
        return self._rate_of(od.HOMING_ACCELERATION, 0.25)

    def value(self, index: int, subindex: int = 0) -> int:
        """Return an object as a number."""
        entry = self.dictionary.objects[index].entries[subindex]
        word = int.from_bytes(entry.value, "little")
        return word - (1 << entry.bits) if index in od.SIGNED and word >> entry.bits - 1 else word

    def setpoint(self, increments: int) -> float:
        scale = self.increments_per_unit
        demand = round(self.servo.reference.position * scale) + self._offset
        ahead = (increments - demand + (1 << 31) & _U32) - (1 << 31)
        return (demand + ahead - self._offset) / scale

    def speed(self, index: int, subindex: int = 0) -> float:
        value = self.value(index, subindex)
        if value:
            return value / self.increments_per_unit
        fastest = self.axis.parameters.rated_force / self.axis.parameters.inertia * 0.05
        return fastest / (20.0 if (index, subindex) == (od.HOMING_SPEEDS, 2) else 5.0 if subindex else 1.0)

    def rate(self, ramp: Ramp) -> float:
        if ramp is Ramp.LIMIT:
            return self.servo.max_force / self.axis.parameters.inertia or self._rate_of(od.PROFILE_DECELERATION, 0.5)
        if ramp is Ramp.QUICK:
            return self._rate_of(od.QUICK_STOP_DECELERATION, 1.0)
        return self._rate_of(od.PROFILE_DECELERATION, 0.5)

    def cycle_steps(self) -> int:
        value = self.value(od.INTERPOLATION_TIME, 1)
        if value:
            exponent = self.dictionary.entry(od.INTERPOLATION_TIME, 2).number
            cycle_ns = value * 10 ** (9 + exponent) if exponent >= -9 else 0
        else:
            cycle_ns = self._cycle_ns
        return min(max(1, -(-cycle_ns // self._step_ns)), 1000)

    def steps_of_ms(self, index: int) -> int:
        return self.value(index) * _MS // self._step_ns

    def set_home(self) -> None:
        here = round(self.servo.seen_position * self.increments_per_unit)
        self._offset = self.value(od.HOME_OFFSET) - here
        self._take_settings()

    # --- inside: what is asked for -------------------------------------------------------------------------------

    def _obey(self) -> None:
        """Act on controlword, mode and targets as they are now."""
        word, before = self.value(od.CONTROLWORD), self._word
        self._word = word
        self.servo.max_force = self.value(od.MAX_TORQUE) / 1000.0 * self.axis.parameters.rated_force
        mode = self.value(od.MODE)
        if mode != self.mode and mode in MODE_KINDS:
            self._set_mode(mode)
        self.power.control(word)
        if self.power.state is PowerState.ENABLED and self._stopping is None:
            self._operation.command(word, is_new=bool(word & ~before & START))
        self._wake()

    def _set_mode(self, mode: int) -> None:
        self.mode = mode
        self._operation = MODE_KINDS[mode](self)
        if self._stopping is None:
            self._restart()

    def _restart(self) -> None:
        """Begin anew from what the axis does now."""
        self._stopping = None
        self._following.restart()
        self.is_limited = False
        self.servo.begin()
        self._operation.begin()

    def _take_settings(self) -> None:
        """Read what stays as it is for many steps."""
        scale = self.increments_per_unit
        low, high = self.value(od.POSITION_LIMITS, 1), self.value(od.POSITION_LIMITS, 2)
        self.limits = ((low - self._offset) / scale, (high - self._offset) / scale) if low < high else None
        window = self.value(od.FOLLOWING_WINDOW)
        patience_steps = self.steps_of_ms(od.FOLLOWING_TIME)
        self._following.set_window(None if window == _U32 else window / scale, patience_steps)
        self.servo.max_force = self.value(od.MAX_TORQUE) / 1000.0 * self.axis.parameters.rated_force

    def _rate_of(self, index: int, share: float) -> float:
        value = self.value(index)
        if value:
            return value / self.increments_per_unit
        return share * self.axis.parameters.rated_force / self.axis.parameters.inertia

    # --- inside: time ---------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take the steps that are due."""
        self._steps.advance()

    def _come_to_rest(self) -> None:
        self.axis.v = 0.0

    def _tell_way(self) -> None:
        for listener in self.axis.listeners:
            listener(self.axis.x)

    def _step(self) -> bool:
        """Take one step; False when nothing moves and nothing is waited for."""
        state, servo = self.power.state, self.servo
        if not state.has_torque:
            servo.coast()
            if state is PowerState.NOT_READY and self._steps.number >= self._ready_at:
                self.power.start()
            return state is PowerState.NOT_READY or not self.axis.sticks(has_brake=True)
        if self._stopping is not None:
            self._slow_down(self._stopping)
            return True
        if state is PowerState.ENABLED:
            is_busy = self._operation.step()
            is_busy |= self._supervise()
        else:  # held after a quick stop
            servo.track(with_position=True)
            is_busy = False
        return is_busy or not self._is_calm()

    def _is_calm(self) -> bool:
        servo, scale = self.servo, self.increments_per_unit
        error = servo.reference.position - servo.seen_position if self._operation.is_supervised else 0.0
        return abs(error) * scale <= 0.5 and abs(servo.axis.v) * scale < 1.0

    def _slow_down(self, ramp: Ramp) -> None:
        reference = self.servo.reference
        moves = reference.ramp(0.0, self.rate(ramp))
        self.servo.track(with_position=False)
        self._stop_steps = 0 if moves else self._stop_steps + 1
        is_still = abs(self.servo.seen_velocity) * self.increments_per_unit < 100.0
        if not moves and (is_still or self._stop_steps * self._dt_s > _STOP_LIMIT_S):
            self._stopping = None
            reference.begin_at(self.servo.seen_position, 0.0)
            self.power.stopped()

    def _supervise(self) -> bool:
        """Watch the following error; True while it is beyond its window."""
        following = self._following
        if not self._operation.is_supervised:
            following.is_beyond = False
            return False
        is_beyond = following.look(self.servo.reference.position - self.servo.seen_position)
        if following.is_overdue:
            self._fault(FOLLOWING_ERROR_CODE)
        return is_beyond

    def _fault(self, code: int) -> None:
        if self.power.state in (PowerState.FAULT, PowerState.FAULT_REACTION):
            return
        self.error_code = code
        register = _GENERIC_REGISTER | (_PROFILE_REGISTER if code >= 0x8000 else 0)
        self._set_register(register)
        self.emergency(code, register)
        self.power.fault()

    def _set_register(self, value: int) -> None:
        self.dictionary.entry(od.ERROR_REGISTER).number = value

    def _wake(self) -> None:
        """Go on with the steps, and tell of the way of the axis while it moves, if anybody listens."""
        self._is_shown = False
        self._steps.is_watched = bool(self.axis.listeners)
        self._steps.wake()

    # --- inside: what is shown ------------------------------------------------------------------------------------

    def shown_position(self) -> int:
        """Return what the encoder shows, as of the last step."""
        return round(self.servo.seen_position * self.increments_per_unit) + self._offset

    def shown_demand(self) -> int:
        """Return where the axis is to be; where it is while it has no torque."""
        if not self.power.state.has_torque:
            return self.shown_position()
        return round(self.servo.reference.position * self.increments_per_unit) + self._offset

    def shown_following_error(self) -> int:
        """Return demand less position, 0 in modes that control no position."""
        return self.shown_demand() - self.shown_position() if self._operation.is_supervised else 0

    def _is_forced(self, entry: NamedEntry) -> bool:
        return bool(self._forced.get(entry.name))

    def shown_statusword(self) -> int:
        """Return object 0x6041 as of the last step."""
        state = self.power.state
        word = int(state) | _REMOTE
        if state is not PowerState.NOT_READY:
            word |= _VOLTAGE
        if state is PowerState.ENABLED:
            word |= self._operation.bits
            word |= _FOLLOWING_BIT if self._following.is_beyond else 0
            word |= _LIMITED if self.is_limited or self.servo.is_limited else 0
        elif state is PowerState.QUICK_STOP and self._stopping is None:
            word |= REACHED
        return word
