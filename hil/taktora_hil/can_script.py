"""Carries CAN scripts out on this kernel's virtual CAN, through our own driver, and compares with the simulated bus.

A bus of one node is a vcan interface; one of two is a pair of vxcan interfaces, whose ends hear each other as two hosts
do. The sockets are ``SocketCanInterface``; the options that it has no name for are set on its socket. Other programs
are those of can-utils. vcan has no wire: an error frame is sent as a frame, by a socket that stands for the controller.

What is on its way has arrived when a frame sent after it has: an error frame of a class that does not exist, which no
other program asks for. That holds because one processor carries the whole script.

``python -m taktora_hil.can_script FILE ...`` prints the differences; ``--write`` keeps the kernel's logs.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, Self

from taktora.can.interface import (
    CanErrorFrame,
    CanFrame,
    CanIfaceState,
    CanInterfaceListener,
)
from taktora.can.socketcan import SocketCanInterface
from taktora.errors import ConfigurationError
from taktora_hil import net_device
from taktora_hil.rig_can import CanPair, CanRig, why_no_rig
from taktora_sim.can.script import Script, ScriptError, ScriptLogs, load_script, logs_text, model
from taktora_sim.can.script import run_script as simulate
from taktora_sim.can.script.bench import contents_of
from taktora_sim.can.script.cangen import Pattern
from taktora_sim.can.script.parser import HOLD_QUEUE
from taktora_sim.can.script.player import play_script
from taktora_sim.can.script.text import frame_text

__all__ = ["KernelScripts", "differences", "main", "run_script"]

_PATIENCE_S: Final = 120.0
_SOL_CAN_RAW: Final = 101
_CAN_RAW_ERR_FILTER: Final = 2
_CAN_RAW_FD_FRAMES: Final = 5
_ERR_FLAG: Final = 0x2000_0000
_FENCE_CLASS: Final = 0x1000_0000
_FENCE: Final = b"fence"
_FRAME: Final = struct.Struct("=IB3x8s")
_CLASSICAL_MTU: Final = 16
_FD_MTU: Final = 72


class KernelScripts:
    """A context manager: interfaces that are lent to one script after the other, since making them takes its time."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._rigs: dict[int, CanRig] = {}
        self._pairs: list[CanPair] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    # req: REQ_8206
    def run(self, source: Script | Path | str) -> ScriptLogs:
        """Carry a script out and return the log of each socket.

        Raises:
            ScriptError: a line of it is wrong.
            ConfigurationError: can-utils are missing, or an interface cannot be made.
        """
        script = source if isinstance(source, Script) else load_script(source)
        _require_programs(script)
        with ExitStack() as stack, _one_processor():
            rig, folder = self._rig_for(script, stack)
            singles, pairs = iter(rig.interfaces), iter(self._pairs_for(script))
            names: dict[str, str] = {}
            for bus in script.buses:
                names |= zip(
                    bus.nodes, (next(singles),) if len(bus.nodes) == 1 else next(pairs).interfaces, strict=True
                )
            bench = _KernelBench(script, rig, names, folder)
            stack.callback(bench.close)
            return play_script(script, bench)

    def _rig_for(self, script: Script, stack: ExitStack) -> tuple[CanRig, Path]:
        count = sum(len(bus.nodes) == 1 for bus in script.buses)
        if script.dumps:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="taktora-script-")))
            return stack.enter_context(CanRig(count, record=folder)), folder
        if count not in self._rigs:
            self._rigs[count] = self._stack.enter_context(CanRig(count))
        return self._rigs[count], Path()

    def _pairs_for(self, script: Script) -> list[CanPair]:
        while len(self._pairs) < sum(len(bus.nodes) > 1 for bus in script.buses):
            self._pairs.append(self._stack.enter_context(CanPair()))
        return self._pairs


# req: REQ_8206
def run_script(source: Script | Path | str, world: Literal["sim", "rig"] = "rig") -> ScriptLogs:
    """Carry a script out in a world and return the log of each socket.

    Args:
        source: A parsed script, a file, or a text of several lines.
        world: ``rig`` is this kernel's virtual CAN, ``sim`` the simulated bus.

    Raises:
        ScriptError: a line of it is wrong.
        ConfigurationError: this machine cannot do it.
    """
    if world == "sim":
        return simulate(source)
    with KernelScripts() as kernel:
        return kernel.run(source)


def differences(expected: Mapping[str, list[str]], found: Mapping[str, list[str]], names: tuple[str, str]) -> str:
    """Return what differs in two runs' logs, as ``diff -u`` writes it; empty when nothing does."""
    before, after = (logs_text(logs).splitlines(keepends=True) for logs in (expected, found))
    return "".join(difflib.unified_diff(before, after, *names))


class _ScriptInterface(SocketCanInterface):
    """Our driver with the options of a script's socket, which tells when it has come to a fence."""

    def __init__(self, name: str, declared: model.Socket) -> None:
        super().__init__(name, receive_own=declared.receive_own, loopback=declared.loopback)
        self._declared = declared
        self._fence = b""
        self._reached, self._ended = threading.Event(), threading.Event()

    def open(self, listener: CanInterfaceListener) -> None:
        self._ended.clear()
        super().open(_FencedListener(listener, self))

    def _prepare(self, bus: Any) -> Any:
        reception = super()._prepare(bus)
        bus.socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, self._declared.error_mask | _FENCE_CLASS)
        if not self._declared.fd:
            bus.socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 0)
        return reception

    @property
    def is_reading(self) -> bool:
        return self.state in (CanIfaceState.ACTIVE, CanIfaceState.BUS_OFF)

    def expect(self, fence: bytes) -> None:
        self._fence = fence
        self._reached.clear()

    def wait_for_fence(self) -> None:
        self._wait(self._reached)

    def wait_for_end(self) -> None:
        """Wait until the listener has been told that the interface is down."""
        self._wait(self._ended)

    def _wait(self, event: threading.Event) -> None:
        if not event.wait(_PATIENCE_S):
            raise ConfigurationError(f"CAN interface {self.name!r}: its reader has done nothing for {_PATIENCE_S:g} s")

    def pass_fence(self, frame: CanErrorFrame) -> bool:
        """Say whether an error frame is a fence, and nothing for the listener."""
        if frame.data == self._fence:
            self._reached.set()
        return frame.data.startswith(_FENCE)

    def end(self) -> None:
        """Take note that the listener has been told of the end."""
        self._ended.set()


class _FencedListener:
    """Hands on everything but fences."""

    def __init__(self, inner: CanInterfaceListener, interface: _ScriptInterface) -> None:
        self._inner = inner
        self._interface = interface
        self.on_frame = inner.on_frame
        self.on_receive_overflow = inner.on_receive_overflow
        self.on_failure = inner.on_failure

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        if not self._interface.pass_fence(frame):
            self._inner.on_error_frame(frame)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self._inner.on_state(state, reason)
        self._interface.end()


class _KernelBench:
    """The interfaces of one script; a ``ScriptBench``."""

    def __init__(self, script: Script, rig: CanRig, names: dict[str, str], recordings: Path) -> None:
        self._script = script
        self._rig = rig
        self._names = names
        self._recordings = recordings
        self._fences = 0
        self._open: list[tuple[str, _ScriptInterface]] = []
        self._undo = ExitStack()
        self._controllers: dict[str, socket.socket] = {}
        try:
            for bus in script.buses:
                self._prepare(bus)
        except BaseException:
            self.close()
            raise

    def _prepare(self, bus: model.Bus) -> None:
        for node in bus.nodes:
            name = self._names[node]
            if not bus.fd:
                _set_mtu(name, _CLASSICAL_MTU)
                self._undo.callback(_restore, name, _FD_MTU)
            controller = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            self._controllers[node] = self._undo.enter_context(controller)
            controller.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            controller.bind((name,))

    def interface(self, declared: model.Socket) -> _ScriptInterface:
        interface = _ScriptInterface(self._names[declared.node], declared)
        self._open.append((declared.node, interface))
        return interface

    def set_link(self, node: str, is_up: bool) -> None:
        reading = [interface for at, interface in self._open if at == node and interface.is_reading]
        name = self._names[node]
        self._rig.set_up(name, is_up)
        if not is_up:
            self._undo.callback(_restore, name, None)
            self._controllers[node].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # else its next frame is refused
            for interface in reading:
                interface.wait_for_end()

    def hold(self, node: str) -> None:
        self._rig.plug(self._names[node], HOLD_QUEUE)

    def release(self, node: str) -> None:
        self._rig.unplug_at_once(self._names[node])

    def inject(self, node: str, frame: CanErrorFrame) -> None:
        self._controllers[node].send(_FRAME.pack(_ERR_FLAG | frame.classes, len(frame.data), frame.data))

    def settle(self) -> None:
        for node, controller in self._controllers.items():
            waiting = [interface for at, interface in self._open if at == node and interface.is_reading]
            if waiting:
                self._pass_fence(controller, waiting)

    def _pass_fence(self, controller: socket.socket, waiting: Sequence[_ScriptInterface]) -> None:
        self._fences += 1
        fence = _FENCE + self._fences.to_bytes(3, "little")
        for interface in waiting:
            interface.expect(fence)
        controller.send(_FRAME.pack(_ERR_FLAG | _FENCE_CLASS, len(fence), fence))
        for interface in waiting:
            interface.wait_for_fence()

    def send_externally(self, bus: str, frames: tuple[CanFrame, ...]) -> None:
        for frame in frames:
            _run("cansend", self._external(bus), frame_text(frame))

    def generate(self, bus: str, pattern: Pattern) -> None:
        _run("cangen", *pattern.options(), self._external(bus))

    def play(self, statement: model.Play) -> None:
        assignment = f"{self._external(statement.bus)}={statement.channel}"
        _run("canplayer", "-t", "-I", str(statement.path), assignment)

    def _external(self, bus: str) -> str:
        """Return where other programs send: the node of a bus, or the first of two."""
        return self._names[next(declared.nodes[0] for declared in self._script.buses if declared.name == bus)]

    def dumped(self) -> Mapping[str, list[str]]:
        if self._script.dumps:
            names = {dump.name: self._external(dump.bus) for dump in self._script.dumps}
            self._rig.close()
            return {name: contents_of(self._recordings / f"{at}.log") for name, at in names.items()}
        return {}

    def close(self) -> None:
        """Leave the interfaces as they were lent."""
        self._undo.close()


@contextmanager
def _one_processor() -> Iterator[None]:
    """Have this thread, and the threads and programs that it starts, run on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _require_programs(script: Script) -> None:
    kinds = {model.SendExternally: "cansend", model.Generate: "cangen", model.Play: "canplayer", model.Dump: "candump"}
    wanted = dict.fromkeys(kinds[type(done)] for done in script.statements if type(done) in kinds)
    missing = [program for program in wanted if shutil.which(program) is None]
    if missing:
        raise ConfigurationError(f"not run: {script.place} needs {', '.join(missing)} (package can-utils)")


def _restore(name: str, mtu: int | None) -> None:
    """Have an interface be up as before; one that was recorded has gone with its rig."""
    if net_device.exists(name):
        if mtu is not None:
            _set_mtu(name, mtu)
        net_device.set_up(name, True)


def _set_mtu(name: str, mtu: int) -> None:
    net_device.set_up(name, False)
    net_device.set_mtu(name, mtu)
    net_device.set_up(name, True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ConfigurationError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run scripts on kernel and simulation; return 1 where their logs differ, 2 where one cannot be run."""
    parser = argparse.ArgumentParser(
        prog="python -m taktora_hil.can_script", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("files", nargs="+", type=Path, help="scripts")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep the kernel's logs there, as NAME.logs")
    options = parser.parse_args(arguments)
    try:
        return _compare(options.files, options.write)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ScriptError as error:
        reason = str(error)
    except ConfigurationError as error:
        reason = why_no_rig() or str(error)
    sys.stderr.write(f"{parser.prog}: {reason}\n")
    return 2


def _compare(files: Sequence[Path], write: Path | None) -> int:
    differing = 0
    with KernelScripts() as kernel:
        for path in files:
            found = kernel.run(path)
            if write is not None:
                write.mkdir(parents=True, exist_ok=True)
                (write / f"{path.stem}.logs").write_text(logs_text(found), encoding="ascii")
            text = differences(found, simulate(path), (f"{path.name} on the kernel", f"{path.name} simulated"))
            differing += bool(text)
            sys.stdout.write(text or f"{path.name}: {sum(map(len, found.values()))} lines, no difference\n")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
