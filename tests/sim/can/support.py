"""What the tests of the simulated bus share: a listener that remembers, and short ways to build a bus."""

from __future__ import annotations

from pathlib import Path

from taktora.can import CanErrorFrame, CanFrame, CanIfaceState
from taktora_sim.can import CanNode, SimulatedCanBus, SimulatedCanInterface
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


def bus(bitrate: int = 500_000, seed: int = 1) -> SimulatedCanBus:
    return SimulatedCanBus(World(seed), "vehicle", bitrate)


def socket(node: CanNode, log: Log | None = None, *, receive_own: bool = False) -> SimulatedCanInterface:
    interface = node.interface(receive_own=receive_own)
    interface.open(log or Log())
    return interface


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="ascii")
    return path
