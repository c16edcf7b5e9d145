"""Serves a simulated CAN bus to foreign programs in real time.

``python -m taktora_sim.can.serve --channel vcan7 [--bitrate N] [--fd] [--data-bitrate N] [--dbc FILE [--exclude NAME]
...] [--replay FILE [--loop]] [--record FILE] [--seed N] [--plan FILE] [--control]``

Programs of the same user on this machine open it by ``can.Bus(interface="taktora_sim", channel="vcan7")``. The server
runs until it is interrupted. Without one, the first program to open a channel starts a server of its own
(``--background``), which ends 5 s after the last program has gone.

A recording given by ``--replay`` starts when the first program has opened the bus; the rest-bus of ``--dbc`` and a
fault plan at once. With ``--control`` (POSIX) standard input and output are a control channel for faults and
snapshots, see :mod:`taktora_sim.control`; the end of standard input ends the server then.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from taktora.can.routing import CanIface
from taktora.errors import ConfigurationError, TaktoraError
from taktora_sim.can.python_can.runtime_folder import ChannelLock, Endpoint, RuntimeFolder

if TYPE_CHECKING:
    from taktora_sim.can.python_can.server import CanServer
    from taktora_sim.control import ControlChannel
    from taktora_sim.world import World

__all__ = ["main", "run"]

_LINGER_S = 5.0
"""How long a server in the background waits for the next program."""
_LOCK_S = 3.0
"""How long it waits for a server that is about to end."""
_POLL_S = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a channel; returns the exit status."""
    wanted = _parse(arguments)
    if wanted.background:
        _leave_parent()
    try:
        run(wanted)
    except KeyboardInterrupt:
        return 0
    except (TaktoraError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except Exception:
        if wanted.background:  # nobody sees it there
            RuntimeFolder().complaint(wanted.channel).write_text(traceback.format_exc(), encoding="utf-8")
        raise
    return 0


def run(wanted: argparse.Namespace) -> None:
    """Take the channel, build the World and its bus, and serve.

    Raises:
        ConfigurationError: another server has the channel.
    """
    CanIface(wanted.channel)
    folder = RuntimeFolder()
    lock = ChannelLock(folder, wanted.channel)
    with ExitStack() as stack:
        stack.callback(lock.release)
        # A server in the background whose last program has just gone is there for some seconds more.
        if not _take(lock, _LOCK_S if wanted.background else _LINGER_S + _LOCK_S):
            if wanted.background:
                return  # another one was faster: programs find that one
            msg = f"CAN channel {wanted.channel!r} is served already; end the programs that use it, then start this"
            raise ConfigurationError(msg)
        _serve(wanted, folder, stack)


def _serve(wanted: argparse.Namespace, folder: RuntimeFolder, stack: ExitStack) -> None:
    # Imported only now: of two processes that race for a channel, one is to give up early.
    from taktora_sim.can.python_can.server import CanServer
    from taktora_sim.can.python_can.wire import package_version
    from taktora_sim.plan import FaultPlan
    from taktora_sim.world import World

    plan = None if wanted.plan is None else FaultPlan.load(wanted.plan)
    world = stack.enter_context(World(wanted.seed, name=wanted.channel, epoch_unix_ns=time.time_ns(), plan=plan))
    world.item_limit_s = None
    server = CanServer(world, wanted.channel, _LINGER_S if wanted.background else None)
    stack.callback(server.close)
    _build(world, wanted)
    control = _control(server) if wanted.control else None
    if wanted.replay is not None:
        server.on_client = _Replay(world, wanted)
    world.faults.hints.append(hint := _plan_hint(world, wanted.channel))
    world.start()
    world.faults.hints.remove(hint)
    folder.complaint(wanted.channel).unlink(missing_ok=True)
    stack.callback(folder.withdraw, wanted.channel)
    publish = _Publisher(folder, wanted.channel, Endpoint(server.port, server.token, os.getpid(), package_version()))
    publish()
    if wanted.background:
        server.run(lambda: server.empty_for_s > _LINGER_S and _has_withdrawn(server.accept, folder, publish))
    elif control is not None:
        control.announce(channel=wanted.channel)
        server.run(lambda: control.has_ended)
    else:
        print(f"serving CAN channel {wanted.channel}; Ctrl-C ends it", flush=True)  # noqa: T201 - the command's output
        server.run(lambda: False)


def _plan_hint(world: World, channel: str) -> Callable[[str], str]:
    """Say why a plan cannot name the node of a program: it is checked before the first one comes."""
    node = f"can/{channel}/"

    def hint(target: str) -> str:
        if not target.startswith(node) or "/" in target.removeprefix(node):
            return ""
        there = ", ".join(path for path in world.faults.catalogue() if path.count("/") == node.count("/")) or "nothing"
        return (
            f"a plan can name what the server itself puts on the bus, here {there}; nodes of programs come later, and "
            "faults at them by --control"
        )

    return hint


def _control(server: CanServer) -> ControlChannel:
    from taktora_sim.control import ControlChannel

    if os.name != "posix":
        raise ConfigurationError("--control needs POSIX: elsewhere standard input cannot be waited for; use --plan")
    control = ControlChannel(server.world, sys.stdin.fileno(), sys.stdout.fileno(), server.snapshot)
    server.control_by(control)
    return control


class _Publisher:
    def __init__(self, folder: RuntimeFolder, channel: str, endpoint: Endpoint) -> None:
        self.channel = channel
        self._folder = folder
        self._endpoint = endpoint

    def __call__(self) -> None:
        self._folder.publish(self.channel, self._endpoint)


def _has_withdrawn(accept: Callable[[], bool], folder: RuntimeFolder, publish: _Publisher) -> bool:
    """Take the word back that this server can be reached; False when somebody has followed it just before."""
    folder.withdraw(publish.channel)
    if accept():
        publish()
        return False
    return True


class _Replay:
    """Starts the recording with the first program."""

    def __init__(self, world: World, wanted: argparse.Namespace) -> None:
        self._world = world
        self._wanted = wanted
        self._has_begun = False

    def __call__(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        from taktora_sim.can.backend import bus_of
        from taktora_sim.can.logs.replay import CanReplay

        CanReplay(bus_of(self._world, self._wanted.channel), self._wanted.replay, loop=self._wanted.loop)


def _build(world: World, wanted: argparse.Namespace) -> None:
    """Make the bus where the command says what it is; else the first program does."""
    from taktora_sim.can.logs.logfile import CanLog
    from taktora_sim.can.logs.recording import CanRecording
    from taktora_sim.can.python_can.port import Wish, open_bus

    wish = Wish(wanted.channel, wanted.bitrate, wanted.data_bitrate, wanted.fd, acknowledge=wanted.acknowledge)
    if wanted.background:
        return
    bus = open_bus(world, wish)
    if wanted.record is not None:
        CanRecording(bus, wanted.record)
    if wanted.dbc is not None:
        from taktora.codec.dbc import load_dbc
        from taktora_sim.can.restbus.bus import RestBus

        RestBus(bus, load_dbc(wanted.dbc), exclude=wanted.exclude)
    if wanted.replay is not None:
        CanLog(wanted.replay)  # refused now, not when the first program comes


def _take(lock: ChannelLock, patience_s: float) -> bool:
    until_s = time.monotonic() + patience_s
    while not lock.take():
        if time.monotonic() >= until_s:
            return False
        time.sleep(_POLL_S)
    return True


def _leave_parent() -> None:
    """Become a process that no program waits for, in no folder that somebody may want to remove."""
    if os.name == "posix" and os.fork():
        os._exit(0)
    os.chdir(Path(sys.executable).anchor)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m taktora_sim.can.serve", description="Serve a simulated CAN bus.")
    parser.add_argument("--channel", required=True, help="name of the bus, as of a network interface (vcan7)")
    parser.add_argument("--bitrate", type=int, help="bit/s; default 500000")
    parser.add_argument("--fd", action="store_true", help="let the bus carry CAN FD")
    parser.add_argument("--data-bitrate", type=int, help="bit/s of the data phase; default 2000000")
    parser.add_argument(
        "--real-acknowledge",
        dest="acknowledge",
        action="store_false",
        help="a frame that no node "
        "acknowledges is repeated for ever, as on a wire; else an invisible listener acknowledges it",
    )
    parser.add_argument("--dbc", type=Path, help="send what the nodes of this DBC send, with its cycle times")
    parser.add_argument("--exclude", action="append", default=[], metavar="NAME", help="node or message to leave out")
    parser.add_argument("--replay", type=Path, help="candump log or ASC file, from the first program's coming on")
    parser.add_argument("--loop", action="store_true", help="replay it for ever")
    parser.add_argument(
        "--record", type=Path, help="candump log (.log), ASC (.asc) or Wireshark (.pcapng) file to write"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the World")
    parser.add_argument(
        "--plan", type=Path, help="faults at what the server itself puts on the bus; times count from the start"
    )
    parser.add_argument("--control", action="store_true", help="take faults by JSON lines on standard input (POSIX)")
    parser.add_argument("--background", action="store_true", help="end 5 s after the last program has gone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # Connections and recording are finished, whoever ends this process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    sys.exit(main())
