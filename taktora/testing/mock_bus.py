"""A scripted EtherCAT MainDevice for unit tests: answers as told and counts what it is asked; it has no wire.

Without a script each exchange answers the expected working counter and every SubDevice is in OP. For frames, registers
and devices that behave use ``taktora_sim.ethercat``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Self, TypeAlias

from taktora.clock import Clock
from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.driver import AlState, BringUp, Emergency, Exchange, Steps, SubDeviceState
from taktora.ethercat.options import BusPlan

__all__ = ["CycleKind", "MockBusDriver"]

_KINDS_KEPT = 4096

Answer: TypeAlias = int | str
"""A working counter, or the text of the ``StackError`` that the exchange raises."""


class CycleKind(Enum):
    """What kind of exchange was asked for."""

    PLAIN = "Plain"
    DC = "Dc"
    """With the reference clock distributed along (FRMW to 0x0910)."""


class _MockSubDevice:
    def __init__(self, position: int, outputs: bytes = b"", inputs: bytes = b"") -> None:
        self.position = position
        self.outputs = bytearray(outputs)
        self.inputs = bytearray(inputs)
        self.state = AlState.OP
        self.al_status_code = 0


# req: REQ_0330
class MockBusDriver:
    """A ``BusDriver`` in memory; the ``with_...`` methods set it up before it is used and return it.

    Args:
        distributed_clocks: Exchanges are of kind ``Dc``.
        clock: With a clock, a bring-up, a recovery and a wire round take the times below; without one, none.
        bring_up_ns: Duration of a bring-up or recovery.
        wire_round_ns: Duration of an exchange.
    """

    def __init__(
        self,
        *,
        distributed_clocks: bool = False,
        clock: Clock | None = None,
        bring_up_ns: int = 0,
        wire_round_ns: int = 0,
    ) -> None:
        self.on_emergency: Callable[[Emergency], None] | None = None
        self.bring_up_calls = 0
        self.cycle_calls = 0
        self.recover_calls = 0
        self.survey_calls = 0
        self.close_calls = 0
        self.cycle_kinds: deque[CycleKind] = deque(maxlen=_KINDS_KEPT)
        """Kinds of the latest exchanges, failing ones included."""
        self.state_requests: list[tuple[int, AlState]] = []
        """What ``request_state`` was asked for: address and state, in order."""
        self.sdo_writes: list[tuple[int, int, int, bytes]] = []
        """Address, index, subindex, data, in order."""
        self._kind = CycleKind.DC if distributed_clocks else CycleKind.PLAIN
        self._clock = clock
        self._bring_up_ns = bring_up_ns
        self._wire_round_ns = wire_round_ns
        self._found = BringUp(3, 1)
        self._failure: str | None = None
        self._survey_failure: str | None = None
        self._answers: deque[Answer] = deque()
        self._default_wkc: int | None = None
        self._recoveries: deque[BringUp | str] = deque()
        self._refusals: set[tuple[int, AlState]] = set()
        self._subdevices: dict[int, _MockSubDevice] = {}
        self._objects: dict[tuple[int, int, int], bytes] = {}
        self._emergencies: deque[Emergency] = deque()
        self._loopback = False
        self._is_up = False
        self._was_asked = False

    @classmethod
    def for_plan(cls, plan: BusPlan, *, clock: Clock | None = None, wire_round_ns: int = 0) -> Self:
        """Return a mock of the segment that ``plan`` describes: its SubDevices, images and working counter."""
        mock = cls(distributed_clocks=plan.distributed_clocks, clock=clock, wire_round_ns=wire_round_ns)
        count = 0
        for place, sub in enumerate(plan.subdevices):
            position = place if sub.position is None else sub.position
            mock._subdevices[sub.address] = _MockSubDevice(position, sub.safe_outputs, bytes((sub.input_bits + 7) // 8))
            count = max(count, position + 1)
        return mock.with_bring_up(plan.expected_wkc(count), count)

    def with_bring_up(self, expected_wkc: int, subdevice_count: int) -> Self:
        """Let a bring-up, and a recovery without a script, find this."""
        self._found = BringUp(expected_wkc, subdevice_count)
        return self

    def failing_bring_up(self, reason: str) -> Self:
        """Let the bring-up raise ``StackError(reason)``."""
        self._failure = reason
        return self

    def with_wkc_sequence(self, answers: Iterable[Answer]) -> Self:
        """Let the next exchanges answer these working counters; a text makes one raise ``StackError``."""
        self._answers.extend(answers)
        return self

    def with_default_cycle_wkc(self, working_counter: int) -> Self:
        """Answer this after the sequence, instead of the expected one."""
        self._default_wkc = working_counter
        return self

    def with_recovery_sequence(self, outcomes: Iterable[BringUp | str]) -> Self:
        """Let the next recoveries find this; a text makes one raise ``StackError``."""
        self._recoveries.extend(outcomes)
        return self

    def with_subdevice_outputs(self, address: int, data: bytes) -> Self:
        """Give a SubDevice an output image with this content."""
        self._subdevice(address).outputs = bytearray(data)
        return self

    def with_subdevice_inputs(self, address: int, data: bytes) -> Self:
        """Give a SubDevice an input image with this content."""
        self._subdevice(address).inputs = bytearray(data)
        return self

    def with_loopback(self) -> Self:
        """Copy the outputs of each SubDevice to its inputs in every exchange."""
        self._loopback = True
        return self

    def with_object(self, address: int, index: int, subindex: int, data: bytes) -> Self:
        """Give a SubDevice an object; reading any other raises an SDO abort."""
        self._objects[address, index, subindex] = data
        return self

    def with_failing_surveys(self, reason: str = "no frame came back") -> Self:
        """Let every ``survey`` raise ``StackError(reason)`` from now on."""
        self._survey_failure = reason
        return self

    def with_refused_state(self, address: int, state: AlState) -> Self:
        """Let ``request_state`` of this end with False."""
        self._refusals.add((address, state))
        return self

    def set_inputs(self, address: int, data: bytes) -> None:
        """Change what a SubDevice measures; of the same length as before."""
        self._subdevices[address].inputs[:] = data

    def set_state(self, address: int, state: AlState, al_status_code: int = 0) -> None:
        """Change what the survey says of a SubDevice; NONE: it does not answer."""
        subdevice = self._subdevices[address]
        subdevice.state, subdevice.al_status_code = state, al_status_code

    def emit_emergency(self, emergency: Emergency) -> None:
        """Have an emergency reported in the next exchange."""
        self._emergencies.append(emergency)

    def snapshot_outputs(self, address: int) -> bytes:
        """Return the output image of a SubDevice as it is now."""
        return bytes(self._subdevices[address].outputs)

    def snapshot_inputs(self, address: int) -> bytes:
        """Return the input image of a SubDevice as it is now."""
        return bytes(self._subdevices[address].inputs)

    # req: REQ_0312
    def bring_up(self) -> Steps[BringUp]:
        self.bring_up_calls += 1
        if self._was_asked:
            raise ConfigurationError("MockBusDriver.bring_up: called a second time; one driver has one MainDevice")
        self._was_asked = True
        if self._clock is not None:
            yield self._clock.now_ns() + self._bring_up_ns
        if self._failure is not None:
            raise StackError(self._failure)
        self._is_up = True
        return self._found

    def exchange(self) -> Steps[Exchange]:
        self.cycle_calls += 1
        self.cycle_kinds.append(self._kind)
        if self._clock is not None:
            yield self._clock.now_ns() + self._wire_round_ns
        while self._emergencies and self.on_emergency is not None:
            self.on_emergency(self._emergencies.popleft())
        answer = self._answers.popleft() if self._answers else self._default_wkc
        if isinstance(answer, str):
            raise StackError(answer)
        if self._loopback:
            for subdevice in self._subdevices.values():
                size = min(len(subdevice.outputs), len(subdevice.inputs))
                subdevice.inputs[:size] = subdevice.outputs[:size]
        return Exchange(self._found.expected_wkc if answer is None else answer, self._wire_round_ns)

    def recover(self) -> Steps[BringUp]:
        self.recover_calls += 1
        if not self._was_asked:
            raise ConfigurationError("MockBusDriver.recover: called before bring_up; bring the segment up first")
        if self._clock is not None:
            yield self._clock.now_ns() + self._bring_up_ns
        outcome = self._recoveries.popleft() if self._recoveries else self._found
        if isinstance(outcome, str):
            raise StackError(outcome)
        self._found = outcome
        return outcome

    def outputs(self, address: int) -> memoryview | None:
        subdevice = self._subdevices.get(address) if self._is_up else None
        return None if subdevice is None else memoryview(subdevice.outputs)

    def inputs(self, address: int) -> memoryview | None:
        subdevice = self._subdevices.get(address) if self._is_up else None
        return None if subdevice is None else memoryview(subdevice.inputs).toreadonly()

    def images(self) -> tuple[memoryview, memoryview] | None:
        return None

    def survey(self) -> Steps[tuple[SubDeviceState, ...]]:
        self.survey_calls += 1
        if self._clock is not None:
            yield self._clock.now_ns() + self._wire_round_ns
        if self._survey_failure is not None:
            raise StackError(self._survey_failure)
        found = [
            SubDeviceState(
                subdevice.position, subdevice.state, bool(subdevice.al_status_code), subdevice.al_status_code
            )
            for subdevice in self._subdevices.values()
        ]
        return tuple(sorted(found))

    def request_state(self, address: int, state: AlState) -> Steps[bool]:
        self.state_requests.append((address, state))
        if self._clock is not None:
            yield self._clock.now_ns() + self._wire_round_ns
        if (address, state) in self._refusals:
            return False
        self.set_state(address, state)
        return True

    def sdo_read(self, address: int, index: int, subindex: int) -> Steps[bytes]:
        if self._clock is not None:
            yield self._clock.now_ns() + self._wire_round_ns
        data = self._objects.get((address, index, subindex))
        if data is None:
            raise StackError(
                f"SDO read of {index:#06x}:{subindex} at {address:#06x}: abort 0x06020000, object does not exist"
            )
        return data

    def sdo_write(self, address: int, index: int, subindex: int, data: bytes) -> Steps[None]:
        if self._clock is not None:
            yield self._clock.now_ns() + self._wire_round_ns
        self.sdo_writes.append((address, index, subindex, data))
        self._objects[address, index, subindex] = data

    def close(self) -> None:
        self.close_calls += 1

    def _subdevice(self, address: int) -> _MockSubDevice:
        return self._subdevices.setdefault(address, _MockSubDevice(len(self._subdevices)))
