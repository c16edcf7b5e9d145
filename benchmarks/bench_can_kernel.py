"""What receiving a frame from the kernel's CAN costs: our receive path against plain python-can's, processor time.

python benchmarks/bench_can_kernel.py [--frames 5000] [--guest]

Needs vcan and root; ``--guest`` boots a guest in QEMU that has both. Each figure is the processor time of the receiving
thread, the kernel's part included, per frame; ours ends in a listener that counts, python-can's in a ``Message``. In
bursts: 200 frames are there when reading begins. Singly: each frame is sent when the one before has been taken, so that
there is one wake per frame. A guest's processor is emulated, so there only the ratios say something.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import can
from conditions import conditions

from taktora.can import CanFrame
from taktora.can.socketcan import SocketCanInterface
from taktora_hil.guest import Guest, why_no_guest
from taktora_hil.rig_can import CanRig, why_no_rig

_BURST: Final = 200
"""Frames that every receive buffer holds."""
_PATIENCE_S: Final = 60.0
_GUEST_LIMIT_S: Final = 300.0
_REPEATS: Final = 3
_FRAMES: Final = {
    "classical, 8 bytes": struct.pack("=IB3x8s", 0x123, 8, bytes(8)),
    "CAN FD, 64 bytes": struct.pack("=IBB2x64s", 0x123, 64, 1, bytes(64)),
}


class Sink:
    """A listener that counts, with the reader's processor time at the first and the last frame of a round."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.done = threading.Event()
        self.cpu_ns = 0
        self._wanted = self._left = 0
        self._waits = False
        self._begin_ns = 0

    def expect(self, frames: int, *, waits: bool) -> None:
        """Begin a round of ``frames`` after its first one; ``waits``: have the reader stand still until ``go``."""
        self._wanted = self._left = frames
        self._waits = waits
        self.go.clear()
        self.done.clear()

    def on_frame(self, _frame: CanFrame) -> None:
        left = self._left
        if left == self._wanted:
            if self._waits:
                self.go.wait()
            self._begin_ns = time.thread_time_ns()
        self._left = left - 1
        if left == 1:
            self.cpu_ns += time.thread_time_ns() - self._begin_ns
            self.done.set()

    def on_error_frame(self, _frame: object) -> None: ...

    def on_receive_overflow(self, lost: int) -> None:
        raise RuntimeError(f"{lost} frames lost: the burst does not fit")

    def on_state(self, _state: object, reason: str) -> None:
        raise RuntimeError(reason)

    def on_failure(self, error: BaseException) -> None:
        print(f"receiving failed: {error!r}", file=sys.stderr)


def ours_in_bursts(name: str, send: Callable[[], object], rounds: int) -> float:
    """Return microseconds per frame of our reader thread."""
    interface, sink = SocketCanInterface(name), Sink()
    interface.open(sink)
    for _ in range(rounds):
        sink.expect(_BURST, waits=True)
        for _ in range(_BURST):
            send()
        sink.go.set()
        assert sink.done.wait(_PATIENCE_S)
    interface.close()
    return sink.cpu_ns / (rounds * (_BURST - 1)) / 1e3


def python_can_in_bursts(name: str, send: Callable[[], object], rounds: int) -> float:
    """Return microseconds per frame of ``Bus.recv``."""
    cpu_ns = 0
    with can.Bus(interface="socketcan", channel=name, fd=True) as bus:
        for _ in range(rounds):
            for _ in range(_BURST):
                send()
            bus.recv(0)
            begin_ns = time.thread_time_ns()
            for _ in range(_BURST - 1):
                assert bus.recv(0) is not None
            cpu_ns += time.thread_time_ns() - begin_ns
    return cpu_ns / (rounds * (_BURST - 1)) / 1e3


def socket_in_bursts(name: str, send: Callable[[], object], rounds: int) -> float:
    """Return microseconds per frame of ``socket.recv`` alone: bytes, no time stamp."""
    cpu_ns = 0
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as raw:
        raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        raw.bind((name,))
        for _ in range(rounds):
            for _ in range(_BURST):
                send()
            begin_ns = time.thread_time_ns()
            for _ in range(_BURST):
                raw.recv(72)
            cpu_ns += time.thread_time_ns() - begin_ns
    return cpu_ns / (rounds * _BURST) / 1e3


def ours_singly(name: str, send: Callable[[], object], frames: int) -> float:
    """Return microseconds per frame of our reader thread, one wake each; the sender waits for each."""
    interface, sink = SocketCanInterface(name), _Answering(frames)
    interface.open(sink)
    for _ in range(frames):
        sink.taken.clear()
        send()
        assert sink.taken.wait(_PATIENCE_S)
    interface.close()
    return sink.cpu_ns / (frames - 1) / 1e3


class _Answering(Sink):
    """Tells the sender that it has each frame."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.taken = threading.Event()
        self.expect(frames, waits=False)

    def on_frame(self, frame: CanFrame) -> None:
        super().on_frame(frame)
        self.taken.set()


def python_can_singly(name: str, send: Callable[[], object], frames: int) -> float:
    """Return microseconds per frame of a thread in ``Bus.recv``, one wake each; the sender waits for each."""
    taken = threading.Event()
    cpu_ns: list[int] = []

    def receive(bus: can.BusABC) -> None:
        begin_ns = 0
        for number in range(frames):
            assert bus.recv(_PATIENCE_S) is not None
            if number == 0:
                begin_ns = time.thread_time_ns()
            elif number == frames - 1:
                cpu_ns.append(time.thread_time_ns() - begin_ns)
            taken.set()

    with can.Bus(interface="socketcan", channel=name, fd=True) as bus:
        reader = threading.Thread(target=receive, args=(bus,))
        reader.start()
        for _ in range(frames):
            taken.clear()
            send()
            assert taken.wait(_PATIENCE_S)
        reader.join(_PATIENCE_S)
    return cpu_ns[0] / (frames - 1) / 1e3


def compare(frames: int) -> None:
    """Print one line a comparison, each figure the best of three."""
    with CanRig(1) as rig, socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sender:
        name = rig.interfaces[0]
        sender.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        sender.bind((name,))
        rounds = max(1, frames // _BURST)

        def best(measure: Callable[[str, Callable[[], object], int], float], raw: bytes, count: int) -> float:
            return min(measure(name, lambda: sender.send(raw), count) for _ in range(_REPEATS))

        for kind, raw in _FRAMES.items():
            own, other = best(ours_in_bursts, raw, rounds), best(python_can_in_bursts, raw, rounds)
            show(f"receive in bursts, {kind}", own, other)
            print(f"{'':<44} {best(socket_in_bursts, raw, rounds):8.2f} us   of which socket.recv alone")
        raw, count = _FRAMES["classical, 8 bytes"], max(2, frames // 5)
        show("receive singly, classical, 8 bytes", best(ours_singly, raw, count), best(python_can_singly, raw, count))


def show(what: str, own_us: float, other_us: float) -> None:
    """Print processor time per frame, python-can's, and the ratio."""
    print(f"{what:<44} {own_us:8.2f} us   python-can Bus.recv {other_us:8.2f} us   ratio {own_us / other_us:5.2f}")


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
