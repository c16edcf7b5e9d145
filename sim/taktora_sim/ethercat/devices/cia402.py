"""Power state machine of a CiA 402 drive (IEC 61800-7-201), as the drive goes through it; it moves nothing.

The drive tells it the controlword and when a ramp has come to its end; it tells the drive when to ramp down and which
state it is in.

========================  ==========================================================================================
transition                what causes it
========================  ==========================================================================================
0, 1                      start-up, by itself
2, 3, 4                   shutdown, switch on, enable operation (with 0x000F in Ready to switch on: 3 and 4)
5, 6, 8                   disable operation, shutdown (5 and 8 ramp down first by 0x605C and 0x605B)
7, 9, 10, 12              disable voltage, or quick stop where there is nothing to stop
11, 12, 16                quick stop, its end by 0x605A, enable operation out of it (0x605A = 5 to 8)
13, 14                    a fault, and the end of its reaction by 0x605E
15                        rising edge of bit 7, while no cause of a fault lasts
========================  ==========================================================================================
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, Protocol

__all__ = ["Command", "PowerHost", "PowerMachine", "PowerState", "Ramp", "command_of"]

FAULT_RESET: Final = 0x80

QUICK_STOP_OPTION: Final = 0x605A
SHUTDOWN_OPTION: Final = 0x605B
DISABLE_OPTION: Final = 0x605C
HALT_OPTION: Final = 0x605D
FAULT_OPTION: Final = 0x605E


class PowerState(IntEnum):
    """The states, with their bits of the statusword (0 to 3, 5 and 6)."""

    NOT_READY = 0x00
    SWITCH_ON_DISABLED = 0x40
    READY = 0x21
    SWITCHED_ON = 0x23
    ENABLED = 0x27
    QUICK_STOP = 0x07
    FAULT_REACTION = 0x0F
    FAULT = 0x08

    @property
    def has_torque(self) -> bool:
        """The motor is under power."""
        return self in _TORQUE


class Command(Enum):
    """What bits 0 to 3 of the controlword ask for."""

    DISABLE_VOLTAGE = 0
    QUICK_STOP = 1
    SHUTDOWN = 2
    SWITCH_ON = 3
    ENABLE = 4


class Ramp(Enum):
    """How to come to a stop."""

    NONE = 0
    """Not at all: torque off."""
    SLOW = 1
    """With the deceleration of profiles (0x6084)."""
    QUICK = 2
    """With that of quick stop (0x6085)."""
    LIMIT = 3
    """With all the torque there is."""


_TORQUE: Final = (PowerState.ENABLED, PowerState.QUICK_STOP, PowerState.FAULT_REACTION)
_RAMPS: Final = {0: Ramp.NONE, 1: Ramp.SLOW, 2: Ramp.QUICK, 3: Ramp.LIMIT, 4: Ramp.LIMIT}
_UP: Final = {
    (PowerState.SWITCH_ON_DISABLED, Command.SHUTDOWN): PowerState.READY,
    (PowerState.READY, Command.SWITCH_ON): PowerState.SWITCHED_ON,
    (PowerState.READY, Command.ENABLE): PowerState.SWITCHED_ON,
    (PowerState.SWITCHED_ON, Command.SHUTDOWN): PowerState.READY,
    (PowerState.SWITCHED_ON, Command.ENABLE): PowerState.ENABLED,
}
_OFF: Final = (PowerState.READY, PowerState.SWITCHED_ON)


def command_of(word: int) -> Command:
    """Return what a controlword asks for."""
    if not word & 0x02:
        return Command.DISABLE_VOLTAGE
    if not word & 0x04:
        return Command.QUICK_STOP
    if not word & 0x01:
        return Command.SHUTDOWN
    return Command.ENABLE if word & 0x08 else Command.SWITCH_ON


def ramp_of(option: int) -> Ramp:
    """Return the ramp of an option code (0x605A to 0x605E); 5 to 8 ramp as 1 to 4."""
    return _RAMPS.get(option - 4 if option > 4 else option, Ramp.NONE)


class PowerHost(Protocol):
    """What the machine asks of its drive."""

    def option(self, index: int) -> int:
        """Return an option code, objects 0x605A to 0x605E."""
        ...

    def begin_stop(self, ramp: Ramp) -> None:
        """Come to a stop, then call :meth:`PowerMachine.stopped`."""
        ...

    def resume(self) -> None:
        """Go on as before :meth:`begin_stop`."""
        ...

    def changed(self, old: PowerState, new: PowerState) -> None:
        """Take note of a new state."""
        ...

    def may_enable(self) -> bool:
        """Return whether operation can be enabled now."""
        ...

    def has_fault_cause(self) -> bool:
        """Return whether what caused a fault is still there."""
        ...


# req: REQ_7109
class PowerMachine:
    """The states of one drive."""

    def __init__(self, host: PowerHost) -> None:
        self.state = PowerState.NOT_READY
        self._host = host
        self._word = 0
        self._after_stop: PowerState | None = None

    def reset(self) -> None:
        """Lose the power: transition 0 comes again with :meth:`start`."""
        self._word, self._after_stop = 0, None
        self._go(PowerState.NOT_READY)

    def start(self) -> None:
        """Have passed the self-test: transition 1."""
        if self.state is PowerState.NOT_READY:
            self._go(PowerState.SWITCH_ON_DISABLED)

    # req: REQ_7109
    def control(self, word: int) -> None:
        """Take a controlword; the same one again asks again."""
        is_edge = bool(word & FAULT_RESET and not self._word & FAULT_RESET)
        self._word = word
        if self.state is PowerState.FAULT:
            if is_edge and not self._host.has_fault_cause():
                self._go(PowerState.SWITCH_ON_DISABLED)
        elif self.state not in (PowerState.NOT_READY, PowerState.FAULT_REACTION):
            self._obey(command_of(word))

    def disable(self) -> None:
        """Take the torque away now, whatever the controlword says; fault states stay."""
        if self.state in (*_OFF, PowerState.ENABLED, PowerState.QUICK_STOP):
            self._leave(PowerState.SWITCH_ON_DISABLED)

    def quick_stop(self) -> None:
        """Act as if the controlword asked for a quick stop."""
        if self.state in (*_OFF, PowerState.ENABLED):
            self._obey(Command.QUICK_STOP)

    def fault(self) -> None:
        """Begin the reaction to a fault: 13, and 14 once it is over."""
        if self.state in (PowerState.FAULT, PowerState.FAULT_REACTION):
            return
        had_torque = self.state.has_torque
        self._after_stop = PowerState.FAULT
        self._go(PowerState.FAULT_REACTION)
        self._stop(ramp_of(self._host.option(FAULT_OPTION)) if had_torque else Ramp.NONE)

    def stopped(self) -> None:
        """Have come to the end of a ramp."""
        state, self._after_stop = self._after_stop, None
        if state is not None:
            self._go(state)

    @property
    def is_stopping(self) -> bool:
        """On a ramp that ends in another state."""
        return self._after_stop is not None

    def _obey(self, command: Command) -> None:
        if self.state is PowerState.ENABLED:
            self._obey_enabled(command)
        elif self.state is PowerState.QUICK_STOP:
            self._obey_quick_stop(command)
        elif command in (Command.DISABLE_VOLTAGE, Command.QUICK_STOP):
            if self.state in _OFF:
                self._go(PowerState.SWITCH_ON_DISABLED)
        else:
            self._climb(command)

    def _climb(self, command: Command) -> None:
        new = _UP.get((self.state, command))
        if new is None or (new is PowerState.ENABLED and not self._host.may_enable()):
            return
        self._go(new)
        if command is Command.ENABLE and new is PowerState.SWITCHED_ON:
            self._climb(command)

    def _obey_enabled(self, command: Command) -> None:
        if command is Command.ENABLE:
            if self._after_stop is not None:
                self._after_stop = None
                self._host.resume()
        elif command is Command.DISABLE_VOLTAGE:
            self._leave(PowerState.SWITCH_ON_DISABLED)
        elif command is Command.QUICK_STOP:
            option = self._host.option(QUICK_STOP_OPTION)
            self._after_stop = None if option > 4 else PowerState.SWITCH_ON_DISABLED
            self._go(PowerState.QUICK_STOP)
            self._stop(ramp_of(option))
        else:
            is_shutdown = command is Command.SHUTDOWN
            after = PowerState.READY if is_shutdown else PowerState.SWITCHED_ON
            if self._after_stop is not after:
                self._after_stop = after
                self._stop(ramp_of(self._host.option(SHUTDOWN_OPTION if is_shutdown else DISABLE_OPTION)))

    def _obey_quick_stop(self, command: Command) -> None:
        if command is Command.DISABLE_VOLTAGE:
            self._leave(PowerState.SWITCH_ON_DISABLED)
        elif command is Command.ENABLE and self._after_stop is None:
            self._go(PowerState.ENABLED)

    def _stop(self, ramp: Ramp) -> None:
        if ramp is Ramp.NONE:
            self.stopped()
        else:
            self._host.begin_stop(ramp)

    def _leave(self, state: PowerState) -> None:
        self._after_stop = None
        self._go(state)

    def _go(self, state: PowerState) -> None:
        old, self.state = self.state, state
        if old is not state:
            self._host.changed(old, state)
