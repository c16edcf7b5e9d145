"""The AL state machine of a simulated SubDevice (ETG.1000.6), registers 0x0120, 0x0130, 0x0134; it checks nothing.

What a transition depends on is asked of the :class:`AlHost`: mailbox and process-data SyncManagers, the application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taktora.ethercat.driver import AlState

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["AL_CONTROL", "AL_STATUS", "AL_STATUS_CODE", "AlHost", "AlMachine", "AlOptions", "AlStatusCode"]

AL_CONTROL = 0x0120
AL_STATUS = 0x0130
AL_STATUS_CODE = 0x0134
_ERROR = 0x10
_ID_REQUEST = 0x20


class AlStatusCode:
    """The codes of register 0x0134 that the ESC itself gives."""

    INVALID_REQUEST = 0x0011
    UNKNOWN_STATE = 0x0012
    NO_BOOTSTRAP = 0x0013
    INVALID_BOOT_MAILBOX = 0x0015
    INVALID_MAILBOX = 0x0016
    WATCHDOG = 0x001B
    INVALID_OUTPUTS = 0x001D
    INVALID_INPUTS = 0x001E
    EEPROM_ERROR = 0x0051


_ALLOWED: dict[AlState, tuple[AlState, ...]] = {
    AlState.INIT: (AlState.INIT, AlState.PRE_OP, AlState.BOOT),
    AlState.PRE_OP: (AlState.INIT, AlState.PRE_OP, AlState.SAFE_OP),
    AlState.BOOT: (AlState.INIT, AlState.BOOT),
    AlState.SAFE_OP: (AlState.INIT, AlState.PRE_OP, AlState.SAFE_OP, AlState.OP),
    AlState.OP: (AlState.INIT, AlState.PRE_OP, AlState.SAFE_OP, AlState.OP),
}
_STATES = {int(state): state for state in _ALLOWED}


class AlOptions(NamedTuple):
    """How a device walks its states.

    Args:
        emulated: The ESC copies AL control to AL status, bit 4 as sent (register 0x0141 bit 0; simple terminals).
        has_boot: BOOT is supported.
        delay_ns: Time that each step upwards takes.
        safe_op_delay_ns: Time from PRE-OP to SAFE-OP instead, if above 0.
        op_wait_ns: How long OP waits for the first outputs before it is refused with 0x001B.
    """

    emulated: bool = False
    has_boot: bool = False
    delay_ns: int = 0
    safe_op_delay_ns: int = 0
    op_wait_ns: int = 100_000_000


class AlHost(Protocol):
    """What the state machine asks and tells."""

    def check(self, old: AlState, new: AlState) -> int:
        """Return 0 to accept a step upwards, an AL status code to refuse it, -1 to leave it without an answer."""
        ...

    def lacks_outputs(self) -> bool:
        """Return whether OP has to wait because no outputs have come yet."""
        ...

    def entered(self, old: AlState, new: AlState) -> None:
        """Take note of a state reached; not called for a request of the state it is in."""
        ...

    def al_event(self) -> None:
        """Take note of a change of AL status."""
        ...

    def station_alias(self) -> int: ...


# req: REQ_8102
class AlMachine:
    """Holds the state and walks it.

    Args:
        world: Timers.
        memory: Registers of the ESC.
        host: Who checks.
        options: How the device walks.
    """

    def __init__(self, world: World, memory: bytearray, host: AlHost, options: AlOptions) -> None:
        self._world = world
        self._memory = memory
        self._host = host
        self._options = options
        self.state = AlState.INIT
        self.has_error = False
        self.code = 0
        self.requested: int | None = None
        """AL control as written in this frame, to be looked at when the frame has passed."""
        self._generation = 0
        self._awaits_outputs = False

    def reset(self) -> None:
        """Start in INIT, as after power-up."""
        self._abandon()
        self.state, self.has_error, self.code, self.requested = AlState.INIT, False, 0, None
        self._show()

    def process(self) -> None:
        """Act on AL control, after the frame that wrote it."""
        value, self.requested = self.requested, None
        if value is None:
            return
        if self._options.emulated:
            self._copy(value)
            return
        target = value & 0x0F
        if self.has_error and not value & _ERROR and target != AlState.INIT:
            return
        self._abandon()
        self.has_error, self.code = False, 0
        self._show()
        if value & _ID_REQUEST:
            self._memory[AL_STATUS] |= _ID_REQUEST
            self._memory[AL_STATUS_CODE : AL_STATUS_CODE + 2] = self._host.station_alias().to_bytes(2, "little")
        self._request(target)

    def retreat(self, state: AlState, code: int) -> None:
        """Go to ``state`` and show the error ``code``."""
        self._abandon()
        self.has_error, self.code = True, code
        self._enter(state)

    def outputs_arrived(self) -> None:
        """Go on to OP if it has only waited for outputs."""
        if self._awaits_outputs:
            self._abandon()
            self._enter(AlState.OP)

    def _copy(self, value: int) -> None:
        state = _STATES.get(value & 0x0F)
        self.has_error, self.code = bool(value & _ERROR), 0
        if state is not None:
            self._enter(state)
        self._memory[AL_STATUS] = value & 0x1F

    def _request(self, target: int) -> None:
        state = _STATES.get(target)
        if state is None:
            self.retreat(self.state, AlStatusCode.UNKNOWN_STATE)
        elif state not in _ALLOWED[self.state]:
            self.retreat(min(self.state, AlState.SAFE_OP), AlStatusCode.INVALID_REQUEST)
        elif state is AlState.BOOT and not self._options.has_boot:
            self.retreat(self.state, AlStatusCode.NO_BOOTSTRAP)
        elif state > self.state:
            self._climb(state)
        elif state is not self.state:
            self._enter(state)

    def _climb(self, target: AlState) -> None:
        delay_ns = self._options.delay_ns
        if target is AlState.SAFE_OP and self._options.safe_op_delay_ns:
            delay_ns = self._options.safe_op_delay_ns
        if delay_ns:
            self._later(delay_ns, lambda: self._arrive(target))
        else:
            self._arrive(target)

    def _arrive(self, target: AlState) -> None:
        code = self._host.check(self.state, target)
        if code > 0:
            self.retreat(self.state, code)
        elif code == 0 and target is AlState.OP and self._host.lacks_outputs():
            self._awaits_outputs = True
            self._later(self._options.op_wait_ns, lambda: self.retreat(self.state, AlStatusCode.WATCHDOG))
        elif code == 0:
            self._enter(target)

    def _later(self, delay_ns: int, call: Callable[[], None]) -> None:
        generation = self._generation

        def act() -> None:
            if generation == self._generation:
                call()

        self._world.post_at(self._world.now_ns() + delay_ns, act)

    def _abandon(self) -> None:
        """Forget a step under way."""
        self._generation += 1
        self._awaits_outputs = False

    def _enter(self, state: AlState) -> None:
        old, self.state = self.state, state
        self._show()
        if old is not state:
            self._host.entered(old, state)

    def _show(self) -> None:
        # The code first: a MainDevice that polls the status must not find the code of before.
        self._memory[AL_STATUS_CODE : AL_STATUS_CODE + 2] = self.code.to_bytes(2, "little")
        status = self.state | (_ERROR if self.has_error else 0)
        self._memory[AL_STATUS : AL_STATUS + 2] = status.to_bytes(2, "little")
        self._host.al_event()
