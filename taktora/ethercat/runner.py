"""The one cycle of an EtherCAT bus for every world: a generator over a driver that says when it wants to go on.

Whoever steps it decides how the time passes: an executor's alarm on virtual time, or an absolute sleep in a process of
its own. It holds no thread and reads no clock but the one given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from taktora.clock import Clock
from taktora.connector.health import ConnectorHealthKind, Degraded, Down, Up
from taktora.connector.reconnect import ReconnectPolicy
from taktora.errors import ConfigurationError, ConnectorError
from taktora.ethercat.copies import OutputCopies
from taktora.ethercat.driver import AlState, BringUp, BusDriver, Steps
from taktora.ethercat.health import (
    AgedOutputs,
    BusHealth,
    LowWorkingCounter,
    NotOperational,
    bring_up_failed,
    cycle_failed,
)
from taktora.ethercat.image import BusListener, CycleRecord, Validity
from taktora.ethercat.options import BusPlan
from taktora.ethercat.output_age import OutputAges
from taktora.ethercat.recovery import recover_bus
from taktora.ethercat.scheduler import CycleScheduler
from taktora.ethercat.supervision import AlSupervision
from taktora.ethercat.wkc import LowCounterPolicy

__all__ = ["CycleRunner", "OutputSource", "run_bus"]

_UP, _DEGRADED = ConnectorHealthKind.UP, ConnectorHealthKind.DEGRADED
_OUTPUT_INCREMENT: Final = 2
# What a NamedTuple's own constructor does in the end, in half the time; for what is made once per cycle.
_new_tuple = tuple.__new__
_ALL: Final = slice(None)


class OutputSource(Protocol):
    """Where the runner takes the outputs from that were staged for it; asked once per cycle, in the runner's thread."""

    def collect(self, outputs: bytearray, renewed: bytearray) -> None:
        """Copy in what was staged last.

        Args:
            outputs: The whole output image; left alone when nothing was staged since the last call.
            renewed: One byte per SubDevice; set to non-zero for those renewed since the last call, to 0 for the rest.
        """
        ...


def run_bus(
    plan: BusPlan,
    driver: BusDriver,
    clock: Clock,
    listener: BusListener,
    source: OutputSource,
    make_policy: Callable[[], ReconnectPolicy],
) -> Steps[None]:
    """Bring the bus up and run its cycle until that ends for good; yields absolute ns of ``clock`` to go on at.

    Returns after a final Down: first bring-up failed, policy exhausted, or interface gone. Closing the generator leaves
    the driver open.
    """
    return CycleRunner(plan, driver, clock, listener, source, make_policy).run()


class CycleRunner:
    """State of :func:`run_bus`; buffers are made once and reused in every cycle.

    Args:
        plan: What the bus consists of and how it is run.
        driver: The MainDevice; not brought up yet.
        clock: The driver's clock.
        listener: Told of every cycle attempt and every move of health.
        source: Staged outputs.
        make_policy: A fresh policy for each recovery episode.
    """

    def __init__(
        self,
        plan: BusPlan,
        driver: BusDriver,
        clock: Clock,
        listener: BusListener,
        source: OutputSource,
        make_policy: Callable[[], ReconnectPolicy],
    ) -> None:
        layout = plan.layout()
        count = len(layout.subdevices)
        self._plan = plan
        self._driver = driver
        self._clock = clock
        self._now = clock.now_ns
        self._listener = listener
        self._source = source
        self._make_policy = make_policy
        self._layout = layout
        self._staged = bytearray(plan.safe_outputs())
        self._renewed = bytearray(count)
        self._written = bytearray(self._staged)
        self._written_live = bytearray((2,)) * count  # like nothing: the first cycle writes
        self._inputs = bytearray(layout.input_bytes)
        self._validity = bytearray(count)
        self._all_fresh = bytes((Validity.FRESH,)) * count
        self._outputs: tuple[tuple[int, memoryview, memoryview, bytes], ...] = ()
        self._sources: tuple[tuple[int, memoryview, memoryview], ...] = ()
        self._images: tuple[memoryview, memoryview] | None = None
        with_outputs = [place.position for place in layout.subdevices if place.output_bits]
        self._all_live = bytes(bool(place.output_bits) for place in layout.subdevices)
        self._ages = OutputAges(count, with_outputs, plan.max_output_age_cycles, plan.max_output_age_slots)
        self._copies = OutputCopies(plan.copies, layout)
        self._slots = 1
        self._counter = LowCounterPolicy(plan.degraded_after_cycles)
        self._supervision = AlSupervision(plan, driver, clock)
        self._health = BusHealth(listener.on_health, self._now())
        self._found = BringUp(0, 0)
        self._expected = self._expected_at_least = 0
        self._looked_at: int | None = None
        self._low: LowWorkingCounter | None = None
        self._missing: tuple[NotOperational, ...] = ()
        self._trouble_ns: int | None = None
        self._troubled = False
        self.scheduler: Final = CycleScheduler(plan.cycle_time_ns)
        self.cycle_index = 0
        """Index of the next attempt at an exchange."""

    # req: REQ_0842
    def run(self) -> Steps[None]:
        """Return the generator; once."""
        self._driver.on_emergency = self._listener.on_emergency
        try:
            self._adopt((yield from self._driver.bring_up()))
        except ConnectorError as error:
            self._health.move(Down(bring_up_failed(error), self._now(), is_final=True))
            return
        self._health.move(Up())
        try:
            while True:
                yield from self._cycles()
                if not (yield from self._recover()):
                    return
        finally:
            self._supervision.stop()

    # req: REQ_0265, REQ_0267, REQ_0317
    def _cycles(self) -> Steps[None]:
        """Exchange in every slot of the grid until the segment must be brought up again.

        One loop and names of its own for what every cycle uses: this runs some thousand times a second.
        """
        now, supervision, scheduler, inputs = self._now, self._supervision, self.scheduler, self._inputs
        exchange, on_cycle, all_fresh = self._driver.exchange, self._listener.on_cycle, self._all_fresh
        source = None if self._images is None else self._images[1]
        while True:
            arrived_ns = begun_ns = now()
            due_ns = arrived_ns if scheduler.due_ns is None else scheduler.due_ns
            if supervision.due_ns <= arrived_ns:
                begun_ns = self._supervise()
            while begun_ns < due_ns:
                yield due_ns if not supervision.busy or due_ns < supervision.due_ns else supervision.due_ns
                begun_ns = now()
                if supervision.busy and supervision.due_ns <= begun_ns:
                    begun_ns = self._supervise()
            self._slots = 1 + (scheduler.poll(begun_ns) or 0)
            phase_wait_ns = begun_ns - arrived_ns if due_ns > arrived_ns else None
            self._compose()
            index = self.cycle_index
            self.cycle_index = index + 1
            try:
                working_counter, wire_round_ns = yield from exchange()
            except ConnectorError as error:
                self._report_fault(index, phase_wait_ns, error)
                return
            at_ns = now()
            matches = plain = working_counter >= self._expected and not self._troubled
            if plain:
                if source is not None:
                    inputs[_ALL] = source
                else:
                    for _, view, target in self._sources:
                        target[_ALL] = view
                validity = all_fresh
            else:
                matches = self._counter.judge(working_counter, self._expected)
                validity = yield from self._take_what_is_fresh(working_counter, matches, at_ns)
            seen = (index, at_ns, bytes(inputs), validity, wire_round_ns, phase_wait_ns, matches)
            on_cycle(_new_tuple(CycleRecord, seen))
            if not plain and not self._review(index, working_counter, matches, at_ns):
                return

    # req: REQ_8150, REQ_8154
    def _compose(self) -> None:
        """Write the outputs of the coming exchange: the staged ones, the safe ones of who is not live, the copies."""
        staged, live = self._staged, self._ages.live
        self._source.collect(staged, self._renewed)
        if self._ages.advance(self._renewed, self._slots):
            self._follow_ages()
        if staged != self._written or live != self._written_live:
            if self._images is not None and live == self._all_live:
                self._images[0][_ALL] = staged
            else:
                for place, view, wanted, safe in self._outputs:
                    view[:] = wanted if live[place] else safe
            self._written[_ALL] = staged
            self._written_live[_ALL] = live
        if self._copies.is_any:
            self._copies.run(self._inputs)

    def _follow_ages(self) -> None:
        """Want SAFE-OP for those whose outputs are aged and OP for the rest; an exchange comes before the request."""
        aged = self._ages.aged()
        for place in range(len(self._layout.subdevices)):
            wanted = AlState.SAFE_OP if place in aged else AlState.OP
            if self._supervision.wanted[place] is not wanted:
                self._supervision.want(place, wanted)
                self._expected_at_least = 0
        self._troubled = True
        self._expect()

    def _supervise(self) -> int:
        """Go a step on with the AL states; return the time after it."""
        self._supervision.step()
        if not self._supervision.settled or self._troubled:
            self._troubled = True
            self._settle()
        return self._now()

    def _take_what_is_fresh(self, working_counter: int, matches: bool, at_ns: int) -> Steps[bytes]:
        """Read the inputs of those who took part; where the counter does not say who that is, the AL states do."""
        supervision, validity = self._supervision, self._validity
        count, stale = len(validity), set[int]()
        if matches and self._expected == self._found.expected_wkc:
            self._looked_at = None
        else:  # low, or a match that proves nothing while somebody is held in SAFE-OP and may count or not
            has_changed, self._looked_at = self._looked_at != working_counter, working_counter
            is_known = yield from supervision.look(at_ns, has_changed)
            self._missing = supervision.missing() if is_known and not matches else ()
            is_missing = supervision.is_silent if matches else supervision.is_absent
            stale = {place for place in range(count) if is_missing(place)}
            if matches:
                stale &= {place for place, _, _ in self._sources}
            if not is_known or not (matches or stale):
                stale.update(place for place, _, _ in self._sources)
        for place in range(count):
            if place not in stale:
                validity[place] = Validity.FRESH
            elif validity[place]:
                validity[place] = Validity.STALE
        for place, view, target in self._sources:
            if validity[place] == Validity.FRESH:
                target[:] = view
        return bytes(validity)

    # req: REQ_0320
    def _review(self, cycle_index: int, working_counter: int, matches: bool, at_ns: int) -> bool:
        """Draw the conclusions from a cycle that is not plainly good; False when it has been bad for too long."""
        if matches:
            if self._low is not None and not self._supervision.settled:
                self._supervision.doubt()  # those who were away are seen again: in which state?
            self._low = None
            if self._supervision.settled:  # who is held in SAFE-OP has shown whether it counts its outputs there
                self._expected_at_least = min(working_counter, self._found.expected_wkc)
        else:
            self._low = LowWorkingCounter(cycle_index, working_counter, self._expected, self._missing)
        self._troubled = True
        self._settle()
        if matches and self._supervision.complaint() is None:
            self._trouble_ns = None
            self._troubled = self._health.kind is not _UP
            return True
        if self._trouble_ns is None:
            self._trouble_ns = at_ns
        timeout_ns = self._plan.low_counter_timeout_ns
        return timeout_ns is None or at_ns - self._trouble_ns < timeout_ns or self._health.kind is not _DEGRADED

    # req: REQ_0319, REQ_0320, REQ_8150
    def _settle(self) -> None:
        """Make health say what is the matter, or Up when nothing is any more."""
        self._expect()
        low = self._low if self._counter.degraded else None
        reason = low or self._aged() or self._supervision.complaint()
        if reason is not None:
            if self._health.kind is _UP:
                self._health.move(Degraded(reason))
        elif self._low is None and self._supervision.settled:
            self._health.move(Up())

    def _aged(self) -> AgedOutputs | None:
        aged = self._ages.aged()
        if not aged:
            return None
        names = tuple(str(self._plan.subdevices[place]) for place in aged)
        return AgedOutputs(names, max(self._ages.age(place) or 0 for place in aged))

    def _expect(self) -> None:
        """A SubDevice held in SAFE-OP may stop counting its outputs; that is no low counter.

        One that goes on counting must not hide somebody else who is missing.
        """
        expected = self._found.expected_wkc
        for place, wanted in enumerate(self._supervision.wanted):
            if wanted is AlState.SAFE_OP:
                expected -= min(_OUTPUT_INCREMENT, self._plan.subdevices[place].expected_wkc)
        self._expected = max(0, expected, self._expected_at_least)

    # req: REQ_0331
    def _report_fault(self, cycle_index: int, phase_wait_ns: int | None, error: ConnectorError) -> None:
        validity = self._validity
        for place, value in enumerate(validity):
            if value == Validity.FRESH:
                validity[place] = Validity.STALE
        self._listener.on_cycle(
            CycleRecord(cycle_index, self._now(), bytes(self._inputs), bytes(validity), None, phase_wait_ns, False)
        )
        if self._health.kind is _UP:
            self._health.move(Degraded(cycle_failed(error)))

    def _recover(self) -> Steps[bool]:
        self._supervision.stop()
        for _, view, _, safe in self._outputs:
            view[:] = safe  # what the driver sends while it waits for OP
        recovered = yield from recover_bus(self._driver, self._clock, self._make_policy(), self._health, self._adopt)
        self.scheduler.resume(self._now())
        return recovered

    def _adopt(self, found: BringUp) -> None:
        """Take over a segment that has just been brought up: images, expectation, and outputs that nobody renewed."""
        outputs: list[tuple[int, memoryview, memoryview, bytes]] = []
        sources: list[tuple[int, memoryview, memoryview]] = []
        staged, inputs = memoryview(self._staged), memoryview(self._inputs)
        for place, sub in zip(self._layout.subdevices, self._plan.subdevices, strict=True):
            if place.output_bits:
                view = _fitting(self._driver.outputs(place.address), place.output_bytes, f"outputs of {sub}")
                start = place.output_offset
                outputs.append((place.position, view, staged[start : start + place.output_bytes], sub.safe_outputs))
            if place.input_bits:
                view = _fitting(self._driver.inputs(place.address), place.input_bytes, f"inputs of {sub}")
                start = place.input_offset
                sources.append((place.position, view, inputs[start : start + place.input_bytes]))
        self._outputs, self._sources = tuple(outputs), tuple(sources)
        self._images = self._fitting_images()
        self._copies.bind({self._layout.subdevices[place].address: view for place, view, _, _ in outputs})
        self._found = found
        self._begin_anew()

    def _fitting_images(self) -> tuple[memoryview, memoryview] | None:
        """Return the driver's images in one piece where they are as long as ours."""
        images = self._driver.images()
        sizes = self._layout.output_bytes, self._layout.input_bytes
        return images if images is not None and (len(images[0]), len(images[1])) == sizes else None

    def _begin_anew(self) -> None:
        self._source.collect(self._staged, self._renewed)  # what was staged during the outage is an old command
        self._ages.restart()
        self._written_live[:] = bytes((2,)) * len(self._written_live)
        self._counter.reset()
        self._supervision.restart()
        self._low = self._trouble_ns = self._looked_at = None
        self._troubled = True
        self._expected_at_least = 0
        self._expect()


def _fitting(view: memoryview | None, size: int, what: str) -> memoryview:
    if view is None:
        raise ConfigurationError(f"{what}: mapped, but the SubDevice is not on the bus; correct the PDO map or the bus")
    if len(view) != size:
        raise ConfigurationError(f"{what}: {len(view)} bytes on the bus and {size} in the PDO map; correct the map")
    return view
