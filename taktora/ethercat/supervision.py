"""The AL states of the SubDevices while the bus runs: read between exchanges, and put right one by one."""

from __future__ import annotations

from taktora.clock import Clock
from taktora.errors import ConnectorError
from taktora.ethercat.driver import AlState, BusDriver, Steps, SubDeviceState
from taktora.ethercat.health import NotOperational
from taktora.ethercat.options import BusPlan

__all__ = ["RECHECK_NS", "REPAIR_NS", "AlSupervision"]

RECHECK_NS = 1_000_000_000
"""From one look at the AL states to the next while all is well."""
REPAIR_NS = 100_000_000
"""Likewise while somebody is not in the state wanted."""


# req: REQ_0319
class AlSupervision:
    """Which state each SubDevice of the plan is in and which one is wanted: OP, or SAFE-OP while its outputs are aged.

    A working counter that matches does not show OP: a SubDevice that fell back to SAFE-OP (watchdog, a cable that was
    off for a moment) may go on counting. Hence the look at the AL states, and the request that brings it back.

    Args:
        plan: The SubDevices.
        driver: The MainDevice.
        clock: Its clock.
    """

    def __init__(self, plan: BusPlan, driver: BusDriver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._subdevices = plan.subdevices
        self._place_of = {
            place if sub.position is None else sub.position: place for place, sub in enumerate(plan.subdevices)
        }
        count = len(plan.subdevices)
        self.wanted = [AlState.OP] * count
        self._found = [AlState.OP] * count
        self._codes = [0] * count
        self._job: Steps[None] | None = None
        self._hurried = False
        self._is_sure = False
        self._is_outdated = self._has_changed = False
        self._is_overtaken = False
        self._looked_ns = 0
        self.due_ns = 0
        """When :meth:`step` has something to do."""
        self.busy = False
        """A look or a request is under way."""
        self.settled = True
        """Everybody was in the state wanted when last looked at."""

    def want(self, place: int, state: AlState) -> None:
        """Have a SubDevice brought to ``state`` from the next step on."""
        self.wanted[place] = state
        self._is_overtaken = self.busy  # a request under way may still lead elsewhere
        self._compare()
        self.hurry()

    def hurry(self) -> None:
        """Look at the states at once, or right after the look that is under way."""
        self._hurried = True
        if not self.busy:
            self.due_ns = 0

    def doubt(self) -> None:
        """Who did not answer may be back: look again before holding it against anybody."""
        self._is_sure = False
        self.hurry()

    def restart(self) -> None:
        """The segment has been brought up: everybody is in OP."""
        self._hurried = self._is_outdated = self._is_overtaken = False
        self.stop()
        for place in range(len(self.wanted)):
            self.wanted[place] = self._found[place] = AlState.OP
            self._codes[place] = 0
        self.settled = True
        self.due_ns = self._clock.now_ns() + RECHECK_NS

    def stop(self) -> None:
        """Leave off what is under way."""
        if self._job is not None:
            self._job.close()
        self._end()

    def step(self) -> None:
        """Go one step on with a look at all states and the requests that follow from it."""
        if self._job is None:
            self._job = self._put_right()
            self.busy = True
            self._hurried = False
        try:
            self.due_ns = self._job.send(None)
        except (StopIteration, ConnectorError):
            # A lost frame shows in the next exchange; here it only ends this look.
            self._end()

    def look(self, now_ns: int, has_changed: bool) -> Steps[bool]:
        """Read all states, unless that was done a moment ago and nothing has changed since.

        A look takes as long as several exchanges; in a row of low counters that would take the cycle away from those
        who are well. What is under way goes first. Returns whether the states known are those behind the counter: a
        look that was begun before it changed, or that failed, does not say who is missing now.
        """
        if self._job is not None:
            if has_changed:
                self._is_outdated = self._has_changed = True
        elif has_changed or self._is_outdated or (self.settled and now_ns >= self._looked_ns + REPAIR_NS):
            self._looked_ns = now_ns
            self._is_sure, self._is_outdated = False, True
            try:
                self.note((yield from self._driver.survey()))
                self._is_outdated = False
            except ConnectorError:
                return False
            if not self.settled:  # from here on it is the steps that look, and put right what they find
                self.due_ns = min(self.due_ns, now_ns + REPAIR_NS)
        return not self._is_outdated

    def note(self, states: tuple[SubDeviceState, ...]) -> None:
        """Take what a survey found; positions that are not in the plan are no concern."""
        for state in states:
            place = self._place_of.get(state.position)
            if place is not None:
                self._found[place] = state.state
                self._codes[place] = state.al_status_code
        self._compare()

    def is_absent(self, place: int) -> bool:
        """Whether a SubDevice did not answer, or not from a state in which its inputs are good."""
        found = self._found[place]
        return found is not AlState.OP and not (found is AlState.SAFE_OP and self.wanted[place] is AlState.SAFE_OP)

    def is_silent(self, place: int) -> bool:
        """Whether a SubDevice did not answer, or from a state in which it gives no inputs at all."""
        return self._found[place] < AlState.SAFE_OP

    def missing(self) -> tuple[NotOperational, ...]:
        """Return who is absent, in bus order, and how."""
        return tuple(
            NotOperational(str(sub), self._found[place], self._codes[place])
            for place, sub in enumerate(self._subdevices)
            if self.is_absent(place)
        )

    def complaint(self) -> NotOperational | None:
        """Return the first on the bus that is not in OP though it should be; None if there is none.

        Who does not answer counts only when a look since the last low counter says so: the counter itself is the reason
        otherwise.
        """
        for place, found in enumerate(self._found):
            if found is AlState.OP or self.wanted[place] is not AlState.OP:
                continue
            if found is not AlState.NONE or self._is_sure:
                return NotOperational(str(self._subdevices[place]), found, self._codes[place])
        return None

    def _end(self) -> None:
        self._job = None
        self.busy = False
        wait_ns = RECHECK_NS if self.settled else REPAIR_NS
        self.due_ns = self._clock.now_ns() + (0 if self._hurried else wait_ns)

    def _compare(self) -> None:
        self.settled = self._found == self.wanted and not self._is_overtaken

    def _put_right(self) -> Steps[None]:
        self._has_changed = self._is_overtaken = False
        self.note((yield from self._driver.survey()))
        self._is_outdated = self._has_changed
        self._is_sure = True
        for place, wanted in enumerate(self.wanted):
            if self._found[place] not in (wanted, AlState.NONE):
                done = yield from self._driver.request_state(self._subdevices[place].address, wanted)
                if done:
                    self._found[place] = wanted
                    self._compare()
