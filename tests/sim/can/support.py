"""What the tests of the simulated bus share: a listener that remembers, and short ways to build a bus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taktora.can import CanErrorFrame, CanFrame, CanIfaceState
from taktora_sim.can import (
    Attempt,
    BusError,
    CanNode,
    SimulatedCanBus,
    SimulatedCanInterface,
    WireError,
    WireErrorKind,
)
from taktora_sim.world import World

MS = 1_000_000
S = 1_000_000_000


class Log:
    """A listener that remembers everything."""

    def __init__(self) -> None:
        self.frames: list[CanFrame] = []
        self.errors: list[CanErrorFrame] = []
        self.states: list[tuple[CanIfaceState, str]] = []

    def on_frame(self, frame: CanFrame) -> None:
        self.frames.append(frame)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.errors.append(frame)

    def on_receive_overflow(self, lost: int) -> None:
        raise AssertionError(f"{lost} frames lost unread")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self.states.append((state, reason))

    def on_failure(self, error: BaseException) -> None:
        raise error

    @property
    def ids(self) -> list[int]:
        return [frame.can_id for frame in self.frames]

    @property
    def times(self) -> list[int]:
        return [frame.timestamp_ns for frame in self.frames]


class SlowLog(Log):
    """One that may lose frames unread."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[int] = []

    def on_receive_overflow(self, lost: int) -> None:
        self.lost.append(lost)


def bus(
    bitrate: int = 500_000, seed: int = 1, *, data_bitrate: int | None = None, acknowledge: bool = False
) -> SimulatedCanBus:
    return SimulatedCanBus(World(seed), "vehicle", bitrate, data_bitrate=data_bitrate, acknowledge=acknowledge)


def socket(node: CanNode, log: Log | None = None, *, receive_own: bool = False) -> SimulatedCanInterface:
    interface = node.interface(receive_own=receive_own)
    interface.open(log or Log())
    return interface


def errors_of(segment: SimulatedCanBus) -> list[BusError]:
    """Return a list that all destroyed attempts from now on are added to."""
    errors: list[BusError] = []
    segment.observe_errors(errors.append)
    return errors


def strike(
    segment: SimulatedCanBus,
    node: str,
    by: tuple[str, ...] | None = None,
    *,
    bit: int = 20,
    when: Callable[[int], bool] = lambda _count: True,
) -> None:
    """Have attempts of ``node`` meet a bit error: all, or those whose number (from 1) ``when`` agrees to."""
    count = 0

    def fault(attempt: Attempt) -> WireError | None:
        nonlocal count
        if attempt.node != node:
            return None
        count += 1
        return WireError(WireErrorKind.BIT, bit, by) if when(count) else None

    segment.wire_faults.append(fault)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="ascii")
    return path
