"""Carries CAN scripts out on simulated buses in virtual time; what a kernel's virtual CAN does not have is left out.

The bus is driven as vcan is by nature: every frame is acknowledged, nothing disturbs the wire, and nobody waits. Other
programs (cansend, cangen, canplayer) are a node of their own; what candump would write is a recording of the bus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame
from taktora_sim.can.bus import SimulatedCanBus
from taktora_sim.can.logs.recording import CanRecording
from taktora_sim.can.logs.replay import CanReplay
from taktora_sim.can.node import CanNode, SimulatedCanInterface
from taktora_sim.can.script import model
from taktora_sim.can.script.cangen import Pattern
from taktora_sim.can.script.parser import HOLD_QUEUE
from taktora_sim.world import World

__all__ = ["SimulatedScriptBench", "contents_of"]

_BITRATE: Final = 500_000
_DATA_BITRATE: Final = 2_000_000
_PLAYED_AT_ONCE: Final = 1e6
_FOREIGN_QUEUE: Final = 100
_FDF: Final = 4
_SETTLE_LIMIT_NS: Final = 60_000_000_000


class SimulatedScriptBench:
    """The buses of one script in a World of their own; a ``ScriptBench``."""

    def __init__(self, script: model.Script, seed: int = 1) -> None:
        self._world = World(seed)
        self._folder = TemporaryDirectory(prefix="taktora-script-")
        self._buses: dict[str, SimulatedCanBus] = {}
        self._nodes: dict[str, CanNode] = {}
        self._foreign: dict[str, CanNode] = {}
        self._replays: list[CanReplay] = []
        self._recordings: dict[str, CanRecording] = {}
        for declared in script.buses:
            self._add(declared)
        for dump in script.dumps:
            path = Path(self._folder.name, f"{dump.name}.log")
            self._recordings[dump.name] = CanRecording(self._buses[dump.bus], path)

    def _add(self, declared: model.Bus) -> None:
        data_bitrate = _DATA_BITRATE if declared.fd else None
        bus = SimulatedCanBus(self._world, declared.name, _BITRATE, data_bitrate=data_bitrate, acknowledge=True)
        self._buses[declared.name] = bus
        for name in declared.nodes:
            self._nodes[name] = bus.node(name, queue_length=HOLD_QUEUE, fd=declared.fd)
        self._foreign[declared.name] = bus.node("external", queue_length=_FOREIGN_QUEUE, fd=declared.fd)

    def interface(self, declared: model.Socket) -> SimulatedCanInterface:
        return self._nodes[declared.node].interface(
            receive_own=declared.receive_own,
            loopback=declared.loopback,
            error_mask=CanErrorClass(declared.error_mask),
            fd=declared.fd,
        )

    def set_link(self, node: str, is_up: bool) -> None:
        self._nodes[node].set_up(is_up)

    def hold(self, node: str) -> None:
        """Hold a node by letting no time pass: there is nothing between here and the release but sending."""

    def release(self, node: str) -> None:
        """Let time pass again."""

    def inject(self, node: str, frame: CanErrorFrame) -> None:
        self._nodes[node].report(frame)

    def settle(self) -> None:
        self._world.run_until(self._is_quiet, _SETTLE_LIMIT_NS)

    def _is_quiet(self) -> bool:
        nodes: Iterable[CanNode] = (node for bus in self._buses.values() for node in bus.nodes)
        return all(replay.finished for replay in self._replays) and not any(node.queued for node in nodes)

    def send_externally(self, bus: str, frames: Iterable[CanFrame]) -> None:
        for number, frame in enumerate(frames, 1):
            self._foreign[bus].transmit(frame)
            if number % _FOREIGN_QUEUE == 0:
                self.settle()

    def generate(self, bus: str, pattern: Pattern) -> None:
        self.send_externally(bus, pattern.frames())

    def play(self, statement: model.Play) -> None:
        bus, number = self._buses[statement.bus], len(self._replays)
        replay = CanReplay(
            bus,
            statement.path,
            node=f"player{number}",
            channels=[statement.channel],
            speed=_PLAYED_AT_ONCE,
            start_at_ns=self._world.now_ns(),
            on_bad="raise",
        )
        self._replays.append(replay)

    def dumped(self) -> Mapping[str, list[str]]:
        for recording in self._recordings.values():
            recording.close()
        return {name: contents_of(recording.path) for name, recording in self._recordings.items()}

    def close(self) -> None:
        """End the world and remove its recordings."""
        self._world.close()
        self._folder.cleanup()


def contents_of(log: Path) -> list[str]:
    """Return the frames of a candump log without their times, interfaces and directions.

    Kernels since 5.14 mark frames of CAN FD with a flag of its own (CANFD_FDF), older ones do not: it is left out.
    """
    return [_without_fdf(line.split()[2]) for line in log.read_text(encoding="ascii").splitlines()]


def _without_fdf(content: str) -> str:
    identifier, mark, rest = content.partition("##")
    return f"{identifier}##{int(rest[0], 16) & ~_FDF:X}{rest[1:]}" if mark else content
