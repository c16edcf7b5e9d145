"""What receiving a frame from the kernel's CAN costs: our receive path against plain python-can's, processor time.

python benchmarks/bench_can_kernel.py [--frames 5000] [--guest]

Needs vcan and root; ``--guest`` boots a guest in QEMU that has both. Each figure is the processor time of the receiving
thread, the kernel's part included, per frame; ours ends in a listener that counts, python-can's in a ``Message``. In
bursts: 50 frames are there when reading begins. One a wake: each frame is sent when the one before has been taken. A
guest's processor is emulated, and what this machine does beside it counts too: there only the ratios say something.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import can
from conditions import conditions

from taktora.can import CanFrame
from taktora.can.socketcan import SocketCanInterface
from taktora_hil.guest import Guest, why_no_guest
from taktora_hil.rig_can import CanRig, why_no_rig

_ROUND: Final = 50
"""Frames of a round: so few that some rounds are not interrupted by what else this machine does."""
_PATIENCE_S: Final = 60.0
_GUEST_LIMIT_S: Final = 300.0
_FRAMES: Final = {
    "classical, 8 bytes": struct.pack("=IB3x8s", 0x123, 8, bytes(8)),
    "CAN FD, 64 bytes": struct.pack("=IBB2x64s", 0x123, 64, 1, bytes(64)),
}


class Sink:
    """A listener that counts, with the reader's processor time from the first to the last frame of a round."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken = threading.Event()
        self.rounds_us: list[float] = []
        """Microseconds per frame of each round."""
        self._left = 0
        self._is_held = False
        self._begin_ns = 0

    def expect(self, *, is_held: bool) -> None:
        """Begin a round; ``is_held``: at its first frame the reader stands still until ``go``."""
        self._left = _ROUND
        self._is_held = is_held
        self.go.clear()
        self.taken.clear()

    def on_frame(self, _frame: CanFrame) -> None:
        left = self._left
        self._left = left - 1
        if left == _ROUND:
            if self._is_held:
                self.go.wait()
            self._begin_ns = time.thread_time_ns()
        elif left == 1:
            self.rounds_us.append((time.thread_time_ns() - self._begin_ns) / (_ROUND - 1) / 1e3)
        if left == 1 or not self._is_held:
            self.taken.set()

    def on_error_frame(self, _frame: object) -> None: ...

    def on_receive_overflow(self, lost: int) -> None:
        raise RuntimeError(f"{lost} frames lost: a round does not fit")

    def on_state(self, _state: object, reason: str) -> None:
        raise RuntimeError(reason)

    def on_failure(self, error: BaseException) -> None:
        print(f"receiving failed: {error!r}", file=sys.stderr)


class Bench:
    """One interface and who sends on it; each measurement is one round, in microseconds per frame."""

    def __init__(self, name: str, raw: bytes) -> None:
        self._raw = raw
        self._sender = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self._sender.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        self._sender.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
        self._sender.bind((name,))
        self._name = name

    def ours(self, *, singly: bool) -> float:
        """Measure our reader thread."""
        interface, sink = SocketCanInterface(self._name), Sink()
        sink.expect(is_held=not singly)
        interface.open(sink)
        for _ in range(_ROUND):
            if singly:
                sink.taken.clear()
            self._sender.send(self._raw)
            if singly:
                assert sink.taken.wait(_PATIENCE_S)
        sink.go.set()
        assert sink.taken.wait(_PATIENCE_S)
        interface.close()
        return sink.rounds_us[0]

    def python_can(self, *, singly: bool) -> float:
        """Measure a thread in ``Bus.recv``."""
        go, taken, round_us = threading.Event(), threading.Event(), list[float]()

        def receive(bus: can.BusABC) -> None:
            bus.recv(_PATIENCE_S)
            if not singly:
                go.wait()
            begin_ns = time.thread_time_ns()
            taken.set()
            for _ in range(_ROUND - 1):
                assert bus.recv(_PATIENCE_S) is not None
                taken.set()
            round_us.append((time.thread_time_ns() - begin_ns) / (_ROUND - 1) / 1e3)

        with can.Bus(interface="socketcan", channel=self._name, fd=True) as bus:
            reader = threading.Thread(target=receive, args=(bus,))
            reader.start()
            for _ in range(_ROUND):
                taken.clear()
                self._sender.send(self._raw)
                if singly:
                    assert taken.wait(_PATIENCE_S)
            go.set()
            reader.join(_PATIENCE_S)
        return round_us[0]

    def bare_socket(self) -> float:
        """Measure ``socket.recv`` alone: bytes without time stamps, which are there when reading begins."""
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as raw:
            raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
            raw.bind((self._name,))
            for _ in range(_ROUND):
                self._sender.send(self._raw)
            begin_ns = time.thread_time_ns()
            for _ in range(_ROUND):
                raw.recv(72)
            return (time.thread_time_ns() - begin_ns) / _ROUND / 1e3

    def close(self) -> None:
        """Close the sender."""
        self._sender.close()


def compare(frames: int) -> None:
    """Print one line a comparison: of each the best round of ``frames / 50``, taken in turn."""
    with CanRig(1) as rig:
        for kind, raw in _FRAMES.items():
            bench = Bench(rig.interfaces[0], raw)
            for singly in (False, True):
                rounds = [
                    (bench.ours(singly=singly), bench.python_can(singly=singly), bench.bare_socket())
                    for _ in range(max(1, frames // _ROUND))
                ]
                own_us, other_us, bare_us = (min(values) for values in zip(*rounds, strict=True))
                print(
                    f"{'one a wake' if singly else 'in bursts'}, {kind:<20} {own_us:8.2f} us   "
                    f"python-can Bus.recv {other_us:8.2f} us   ratio {own_us / other_us:5.2f}   "
                    f"(socket.recv alone {bare_us:.2f} us)"
                )
            bench.close()


def in_guest(frames: int) -> int:
    """Run this program in a guest; return its exit status."""
    reason = why_no_guest()
    if reason:
        print(reason)
        return 0
    with TemporaryDirectory() as shared:
        guest = Guest(shared=Path(shared), limit_s=_GUEST_LIMIT_S)
        return guest.run([sys.executable, str(Path(__file__).resolve()), "--frames", str(frames)], Path.cwd())


def main() -> int:
    """Compare here, or in a guest; say why not where neither can be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--guest", action="store_true", help="run it in a guest where this kernel has no CAN")
    arguments = parser.parse_args()
    reason = why_no_rig()
    if reason and arguments.guest:
        return in_guest(arguments.frames)
    if reason:
        print(reason)
        return 0
    print(conditions())
    compare(arguments.frames)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
