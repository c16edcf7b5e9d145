"""The distributed clock of a simulated ESC, registers 0x0900 to 0x09FF (Beckhoff ESC datasheet, sections I and II).

Modelled: a local clock with a start of its own and a drift; receive times at the ports and at the processing unit;
system time with offset and delay; the control loop that a write to 0x0910 feeds, with mean difference (0x092C, filter
depth 0x0934), speed counter start and difference (0x0930, 0x0932); SYNC0 and SYNC1 with start time, cycle, activation
and the time of the next pulse; AL status codes for settings that cannot work. All in integers: rates are parts of
10^12, so that nothing drifts but what is meant to.

Simplified: one proportional and integral loop instead of the counter steps of the hardware (about 16 writes to halve a
difference); pulses have no length and need no acknowledge; no latch inputs (0x09A8 and on are memory), no buffered
system time for the PDI side.

Faults: ``drift-clock`` (``ppm`` more than it has), ``jump-clock`` (``by_ns``, once).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from taktora_sim.ethercat.esc import PortTimes
from taktora_sim.faults import FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora_sim.world import Timer, World

__all__ = ["DistributedClock", "SyncListener"]

_BYTES: Final = 256
_UNIT_TIME, _OFFSET, _DELAY, _DIFFERENCE = 0x18, 0x20, 0x28, 0x2C
_SYSTEM_TIME: Final = 0x10
_SPEED_START, _SPEED_DIFFERENCE, _DEPTH = 0x30, 0x32, 0x34
_OWNER, _ACTIVATION, _PULSE, _STATUS = 0x80, 0x81, 0x82, 0x84
_START, _NEXT_SYNC1, _SYNC0_CYCLE, _SYNC1_CYCLE = 0x90, 0x98, 0xA0, 0xA4
_WRITABLE: Final = (
    (_OFFSET, _DIFFERENCE),
    (_SPEED_START, _SPEED_DIFFERENCE),
    (_DEPTH, _DEPTH + 2),
    (_OWNER, _PULSE),
    (_START, _START + 8),
    (_SYNC0_CYCLE, 0xAA),
)
_CYCLIC, _SYNC0, _SYNC1 = 0x01, 0x02, 0x04
_SYNC0_WAITS, _SYNC1_WAITS, _START_IMPLAUSIBLE = 0x01, 0x02, 0x04

_ONE: Final = 10**12
_PPM: Final = 10**6
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_PHASE_SHARE: Final = 16
_SPEED_SHARE: Final = 1024
_SHORTEST_NS, _LONGEST_NS = 10_000, 10_000_000
_MOST_SPEED: Final = _ONE // 100
_MAX_DIFFERENCE: Final = 0x7FFF_FFFF

_SAFE_OP: Final = 4
_OP: Final = 8
INVALID_SYNC_CONFIGURATION: Final = 0x0030
SYNC_TIMEOUT: Final = 0x0034
INVALID_SYNC0_CYCLE: Final = 0x0036

SyncListener: TypeAlias = Callable[[int], object]
"""Told of a pulse: its system time in ns."""


# req: REQ_8106
class DistributedClock:
    """The DC unit of one SubDevice.

    Args:
        world: Time and timers.
        path: ``ethercat/<bus>/<label>``; where its clock begins is drawn from the stream ``<path>/clock``.
        drift_ppm: How much faster than virtual time it runs, in parts per million; negative is slower.
    """

    def __init__(self, world: World, path: str, drift_ppm: float = 0.0) -> None:
        self._world = world
        self._memory = bytearray(_BYTES)
        self._base_ns = 0
        self._local_ns = 0
        self._rest = 0
        self._drift = round(drift_ppm * _PPM)
        self._extra = 0
        self._speed = 0
        # A difference is made up for at the rate ``slew`` for ``slew_ns`` since the base, whatever comes then.
        self._slew = self._slew_ns = 0
        self._mean = 0
        self._last_write_ns: int | None = None
        self._sync0_listeners: list[SyncListener] = []
        self._sync1_listeners: list[SyncListener] = []
        self._timer: Timer | None = None
        self._told_sync0 = self._told_sync1 = -1
        self._is_implausible = False
        self.reset()
        self._local_ns = world.stream(f"{path}/clock").integer(0, 1_000_000_000)

    # --- RegisterWindow -----------------------------------------------------------------------------------------

    def reset(self) -> None:
        self._memory[:] = bytes(_BYTES)
        self._memory[_SPEED_START : _SPEED_START + 2] = b"\x00\x10"
        self._memory[_DEPTH : _DEPTH + 2] = b"\x04\x0c"
        self._is_implausible = False
        self._base_ns, self._local_ns, self._rest = self._world.now_ns(), 0, 0
        self._reset_loop(self._base_ns)
        self._plan()

    def read(self, offset: int, length: int, at_ns: int) -> bytes:
        self._show(at_ns)
        if self._is_active and offset < _START + 8 and offset + length > _START:
            content = bytearray(self._memory)  # the start stays known, what is read is the next pulse
            content[_START : _START + 8] = self._next(self.system_ns(at_ns)).to_bytes(8, "little")
            return bytes(content[offset : offset + length])
        return bytes(self._memory[offset : offset + length])

    def write(self, offset: int, data: bytes, at_ns: int) -> None:
        end = offset + len(data)
        for first, last in _WRITABLE:
            low, high = max(first, offset), min(last, end)
            if low < high:
                self._memory[low:high] = data[low - offset : high - offset]
        if offset <= _SYSTEM_TIME and end >= _SYSTEM_TIME + 4:
            received = int.from_bytes(data[_SYSTEM_TIME - offset :][:4], "little")
            self._compare(received, at_ns)
        if offset < _SPEED_DIFFERENCE and end > _SPEED_START:
            self._reset_loop(at_ns)
        if offset <= _ACTIVATION < end:
            self._activate(at_ns)
        if offset < _DIFFERENCE and end > _OFFSET:
            self._plan()

    def latch(self, received_ns: PortTimes) -> None:
        for port, at_ns in enumerate(received_ns):
            if at_ns is not None:
                self._put(4 * port, 4, self.local_ns(at_ns) & _U32)
        arrival_ns = received_ns[0]
        if arrival_ns is None:
            arrival_ns = min(each for each in received_ns if each is not None)
        self._put(_UNIT_TIME, 8, self.local_ns(arrival_ns) & _U64)

    def check_transition(self, new_state: int) -> int:
        activation = self._memory[_ACTIVATION]
        if not activation & (_SYNC0 | _SYNC1):
            return 0
        if new_state == _SAFE_OP:
            if not activation & _CYCLIC or not activation & _SYNC0:
                return INVALID_SYNC_CONFIGURATION
            return 0 if self._number(_SYNC0_CYCLE, 4) else INVALID_SYNC0_CYCLE
        return SYNC_TIMEOUT if new_state == _OP and self._is_implausible else 0

    # --- for devices, tests and people --------------------------------------------------------------------------

    def local_ns(self, at_ns: int) -> int:
        """Return what the local clock shows at a virtual instant, not before the last change of its speed."""
        passed = at_ns - self._base_ns
        return self._local_ns + passed + (self._gained(passed) + self._rest) // _ONE

    def system_ns(self, at_ns: int) -> int:
        """Return the local copy of the system time at a virtual instant, in ns since 2000-01-01."""
        return self.local_ns(at_ns) + self._number(_OFFSET, 8) & _U64

    @property
    def difference_ns(self) -> int:
        """The mean difference: local copy minus system time received."""
        depth = min(self._memory[_DEPTH], 15)
        return self._mean >> depth

    def snapshot(self) -> dict[str, int | None]:
        """Return what it is doing now, all in ns.

        ``system_ns`` (0x0910), ``offset_ns`` (0x0920), ``delay_ns`` (0x0928), ``difference_ns`` (0x092C with its sign),
        ``sync0_cycle_ns`` (0x09A0) and ``sync0_next_ns``, the system time of the next pulse; both None without SYNC0.
        """
        system_ns = self.system_ns(self._world.now_ns())
        return {
            "system_ns": system_ns,
            "offset_ns": self._number(_OFFSET, 8),
            "delay_ns": self._number(_DELAY, 4),
            "difference_ns": self.difference_ns,
            "sync0_cycle_ns": self._number(_SYNC0_CYCLE, 4) if self._is_active else None,
            "sync0_next_ns": self._next(system_ns) if self._is_active else None,
        }

    def on_sync0(self, listener: SyncListener) -> None:
        """Have ``listener`` told of each SYNC0 pulse when it comes."""
        self._sync0_listeners.append(listener)
        self._plan()

    def on_sync1(self, listener: SyncListener) -> None:
        """Likewise for SYNC1."""
        self._sync1_listeners.append(listener)
        self._plan()

    def fault_kinds(self) -> dict[str, FaultKind]:
        """Return what can go wrong with the clock."""
        return {
            "drift-clock": FaultKind(
                start=lambda given: self._change_drift(float(given["ppm"])),
                stop=lambda given: self._change_drift(-float(given["ppm"])),
                params={"ppm": Param(float, default=100.0, low=-5000.0, high=5000.0, unit="ppm")},
                describe="its clock drifts by {ppm} ppm more",
            ),
            "jump-clock": FaultKind(
                start=self._jump,
                params={"by_ns": Param(int, default=100_000, low=-(10**9), high=10**9, unit="ns")},
                describe="its clock jumps by {by_ns}",
            ),
        }

    # --- inside: the clock --------------------------------------------------------------------------------------

    @property
    def _rate(self) -> int:
        """How much faster than virtual time the clock runs, in parts of 10^12."""
        return self._drift + self._extra + self._speed

    def _gained(self, passed_ns: int) -> int:
        """Return what the clock is ahead of virtual time after ``passed_ns``, in 10^-12 ns."""
        gained = passed_ns * self._rate
        if self._slew:
            gained += min(passed_ns, self._slew_ns) * self._slew
        return gained

    def _rebase(self, at_ns: int) -> None:
        """Make ``at_ns`` the instant that the clock is counted from; what was less than a nanosecond is kept."""
        passed = at_ns - self._base_ns
        whole, self._rest = divmod(self._gained(passed) + self._rest, _ONE)
        self._local_ns += passed + whole
        self._base_ns = at_ns
        self._slew_ns = max(0, self._slew_ns - max(0, passed))

    def _reset_loop(self, at_ns: int) -> None:
        self._rebase(at_ns)
        self._speed = self._slew = self._slew_ns = self._mean = 0
        self._last_write_ns = None

    # req: REQ_8106
    def _compare(self, received: int, at_ns: int) -> None:
        """Take the system time that a frame brings, 32 bits of it, and steer towards it."""
        wanted = received + self._number(_DELAY, 4)
        difference = (self.system_ns(at_ns) - wanted + (1 << 31) & _U32) - (1 << 31)
        depth = min(self._memory[_DEPTH], 15)
        if self._last_write_ns is None:
            self._mean = difference << depth
        else:
            self._mean += difference - (self._mean >> depth)
            self._steer(difference, at_ns, at_ns - self._last_write_ns)
        self._last_write_ns = at_ns

    def _steer(self, difference: int, at_ns: int, since_ns: int) -> None:
        """Change the speed so that a part of the difference is gone by the next write."""
        self._rebase(at_ns)
        period_ns = min(max(since_ns, _SHORTEST_NS), _LONGEST_NS)
        error = difference * _ONE
        self._speed = _within(self._speed - error // (_SPEED_SHARE * period_ns))
        self._slew = _within(-error // (_PHASE_SHARE * period_ns))
        self._slew_ns = period_ns
        self._plan()

    def _change_drift(self, ppm: float) -> None:
        self._rebase(self._world.now_ns())
        self._extra += round(ppm * _PPM)
        self._plan()

    def _jump(self, given: Parameters) -> None:
        self._local_ns += int(given["by_ns"])
        self._plan()

    # --- inside: pulses -----------------------------------------------------------------------------------------

    @property
    def _is_active(self) -> bool:
        wanted = _CYCLIC | _SYNC0
        return self._memory[_ACTIVATION] & wanted == wanted and not self._is_implausible

    def _activate(self, at_ns: int) -> None:
        """Take 0x0981; a start that has passed does not come any more."""
        is_on = self._memory[_ACTIVATION] & _CYCLIC
        self._is_implausible = bool(is_on and self._number(_START, 8) <= self.system_ns(at_ns))
        self._told_sync0 = self._told_sync1 = -1
        self._plan()

    def _next(self, system_ns: int, delay_ns: int = 0) -> int:
        """Return the system time of the next pulse after ``system_ns``, ``delay_ns`` behind each SYNC0."""
        first, cycle_ns = self._number(_START, 8) + delay_ns, self._number(_SYNC0_CYCLE, 4)
        if system_ns < first or not cycle_ns:
            return first
        return first + ((system_ns - first) // cycle_ns + 1) * cycle_ns

    @property
    def _sync1_delay_ns(self) -> int:
        """SYNC1 comes so long after SYNC0: its cycle time, while that is shorter than the cycle of SYNC0."""
        return self._number(_SYNC1_CYCLE, 4)

    def _plan(self) -> None:
        """Have a timer at the next pulse, if anybody listens; it is set anew whenever the clock changes its pace."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_active or not (self._sync0_listeners or self._sync1_listeners):
            return
        # Counted from the pulse told last: one that is due at this very instant is still to come.
        pulses = [(self._next(self._told_sync0), self._told_sync0)]
        if self._has_sync1:
            pulses.append((self._next(self._told_sync1, self._sync1_delay_ns), self._told_sync1))
        ahead = [due_ns for due_ns, told_ns in pulses if due_ns > told_ns]
        if not ahead:
            return  # without a cycle there is one pulse
        now_ns = self._world.now_ns()
        ahead_ns = min(ahead) - self.system_ns(now_ns)
        wait_ns = max(0, -(-ahead_ns * _ONE // (_ONE + self._rate + (self._slew if self._slew_ns else 0))))
        self._timer = self._world.call_at(now_ns + wait_ns, self._pulse)

    @property
    def _has_sync1(self) -> bool:
        return bool(self._memory[_ACTIVATION] & _SYNC1 and self._sync1_listeners)

    def _pulse(self) -> None:
        """Give the pulses that are due, then wait for the next."""
        self._timer = None
        system_ns = self.system_ns(self._world.now_ns())
        due = self._last(system_ns, 0)
        if due > self._told_sync0:
            self._told_sync0 = due
            for listener in self._sync0_listeners:
                listener(due)
        if self._has_sync1 and (due := self._last(system_ns, self._sync1_delay_ns)) > self._told_sync1:
            self._told_sync1 = due
            for listener in self._sync1_listeners:
                listener(due)
        self._plan()

    def _last(self, system_ns: int, delay_ns: int) -> int:
        """Return the system time of the last pulse up to ``system_ns``, -1 before the first."""
        first, cycle_ns = self._number(_START, 8) + delay_ns, self._number(_SYNC0_CYCLE, 4)
        if system_ns < first:
            return -1
        return first + (system_ns - first) // cycle_ns * cycle_ns if cycle_ns else first

    # --- inside: registers --------------------------------------------------------------------------------------

    def _show(self, at_ns: int) -> None:
        """Bring what can be read up to date."""
        system_ns = self.system_ns(at_ns)
        self._put(_SYSTEM_TIME, 8, system_ns)
        mean = self.difference_ns
        self._put(_DIFFERENCE, 4, min(abs(mean), _MAX_DIFFERENCE) | (0x8000_0000 if mean < 0 else 0))
        # A count of the speed counter is 1 / (5 (start + 2)^2) of the speed.
        counts = self._speed * 5 * (self._number(_SPEED_START, 2) + 2) ** 2 // _ONE
        self._put(_SPEED_DIFFERENCE, 2, min(max(counts, -0x8000), 0x7FFF) & 0xFFFF)
        if self._is_active and self._memory[_ACTIVATION] & _SYNC1:
            self._put(_NEXT_SYNC1, 8, self._next(system_ns, self._sync1_delay_ns))
        status = 0
        if self._is_active and system_ns < self._number(_START, 8):
            status = _SYNC0_WAITS | (_SYNC1_WAITS if self._memory[_ACTIVATION] & _SYNC1 else 0)
        self._memory[_STATUS] = status | (_START_IMPLAUSIBLE if self._is_implausible else 0)

    def _number(self, offset: int, length: int) -> int:
        return int.from_bytes(self._memory[offset : offset + length], "little")

    def _put(self, offset: int, length: int, value: int) -> None:
        self._memory[offset : offset + length] = value.to_bytes(length, "little")


def _within(speed: int) -> int:
    return min(max(speed, -_MOST_SPEED), _MOST_SPEED)
