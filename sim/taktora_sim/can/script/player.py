"""Carries a CAN script out on any bus that is a ``ScriptBench`` and keeps one log per socket; opens nothing itself.

What a log holds, one line each, in the order in which the socket was told:

=========================  ============================================================
``123#1122``               a frame received, as ``candump -L`` writes it
``20000004#00010000...``   an error frame received
``state down``             the interface went away under the socket
``lost N``                 frames that the socket's buffer had no room for
``refused WHAT ERRNO``     a frame that could not be sent, filters or an opening refused
=========================  ============================================================

Both buses deliver frames in the order of the script. A burst of one node goes out without waiting; before anything else
happens, all that was sent has arrived. A refusal stands behind what was received before it; of a node that is held,
behind what leaves it afterwards. A socket that is down, or closed, stays so until the script opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from taktora.can.interface import (
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIfaceState,
    CanInterface,
)
from taktora.errors import BackPressure, LinkDown, PayloadOverflow, StackError
from taktora_sim.can.script import model
from taktora_sim.can.script.cangen import Pattern
from taktora_sim.can.script.text import error_text, frame_text

__all__ = ["ScriptBench", "ScriptLogs", "logs_text", "play_script"]

ScriptLogs = dict[str, list[str]]
"""The lines of each socket, and of each log of candump, by name and in the order of their declaration."""

_BURST: Final = 100
"""Frames after which a burst waits for its receivers, whose buffers hold no more than some hundreds."""
_TRIES: Final = 1000
_BUSY: Final = (model.Inject, model.SendExternally, model.Generate, model.Play)
"""Statements, beside sending, after which frames may be on their way."""


class ScriptBench(Protocol):
    """A bus to carry scripts out on; names are those of the script."""

    def interface(self, declared: model.Socket) -> CanInterface:
        """Return a new interface with the options of a socket, still closed; filters are set later."""
        ...

    def set_link(self, node: str, is_up: bool) -> None: ...

    def hold(self, node: str) -> None: ...

    def release(self, node: str) -> None: ...

    def inject(self, node: str, frame: CanErrorFrame) -> None: ...

    def settle(self) -> None:
        """Return once the buses are quiet and every open interface has told its listener all that there is."""
        ...

    def send_externally(self, bus: str, frames: tuple[CanFrame, ...]) -> None: ...

    def generate(self, bus: str, pattern: Pattern) -> None: ...

    def play(self, statement: model.Play) -> None: ...

    def dumped(self) -> Mapping[str, list[str]]:
        """Return the lines of the logs of candump, without time and interface; called last."""
        ...


# req: REQ_8206
def play_script(script: model.Script, bench: ScriptBench) -> ScriptLogs:
    """Carry ``script`` out and return its logs; every interface is closed again."""
    return _Player(script, bench).play()


def logs_text(logs: Mapping[str, list[str]]) -> str:
    """Return logs as one text: a line ``[name]`` and the lines of its log, for each."""
    return "".join(f"{line}\n" for name, lines in logs.items() for line in (f"[{name}]", *lines))


class _Socket:
    """A socket of the script: its interface and its log; a ``CanInterfaceListener``."""

    def __init__(self, declared: model.Socket, interface: CanInterface) -> None:
        self.declared = declared
        self.interface = interface
        self.lines: list[str] = []
        self.failure: BaseException | None = None

    def on_frame(self, frame: CanFrame) -> None:
        self.lines.append(frame_text(frame))

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.lines.append(error_text(frame))

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        del reason
        self.lines.append(f"state {state.value}")

    def on_receive_overflow(self, lost: int) -> None:
        self.lines.append(f"lost {lost}")

    def on_failure(self, error: BaseException) -> None:
        self.failure = error

    def open(self) -> None:
        self.interface.open(self)
        self.interface.set_filters(self.declared.filters)


class _Player:
    def __init__(self, script: model.Script, bench: ScriptBench) -> None:
        self._script = script
        self._bench = bench
        self._sockets: dict[str, _Socket] = {}
        self._sender = ""
        self._on_hold = False
        self._is_busy = False
        self._late: list[Callable[[], None]] = []
        self._actions: dict[type[model.Statement], Callable[[Any], None]] = {
            model.Socket: self._declare,
            model.Send: self._send,
            model.SetFilters: self._set_filters,
            model.Open: self._open,
            model.Close: self._close,
            model.Link: lambda done: bench.set_link(done.node, done.is_up),
            model.Hold: self._hold,
            model.Release: self._release,
            model.Inject: lambda done: bench.inject(done.node, done.frame),
            model.Settle: lambda _done: None,
            model.SendExternally: lambda done: bench.send_externally(done.bus, done.frames),
            model.Generate: lambda done: bench.generate(done.bus, done.pattern),
            model.Play: bench.play,
            model.Dump: lambda _done: None,
        }

    def play(self) -> ScriptLogs:
        try:
            for statement in self._script.statements:
                self._step(statement)
            self._settle()
        finally:
            for socket in self._sockets.values():
                socket.interface.close()
        for socket in self._sockets.values():
            if socket.failure is not None:
                raise socket.failure
        dumped = self._bench.dumped()
        logs = {name: dumped[name] for name in (dump.name for dump in self._script.dumps)}
        return logs | {name: socket.lines for name, socket in self._sockets.items()}

    def _step(self, statement: model.Statement) -> None:
        sender = self._sockets[statement.socket].declared.node if isinstance(statement, model.Send) else ""
        if not sender or sender != self._sender:
            self._settle()
        self._sender = sender
        self._is_busy = self._is_busy or isinstance(statement, _BUSY)
        self._actions[type(statement)](statement)

    def _settle(self) -> None:
        """Let arrive what was sent, if anything was."""
        if self._is_busy and not self._on_hold:
            self._bench.settle()
            self._is_busy = False

    def _declare(self, declared: model.Socket) -> None:
        self._sockets[declared.name] = socket = _Socket(declared, self._bench.interface(declared))
        self._try(socket, "open", socket.open)

    def _open(self, statement: model.Open) -> None:
        socket = self._sockets[statement.socket]
        self._try(socket, "open", socket.open)

    def _close(self, statement: model.Close) -> None:
        self._sockets[statement.socket].interface.close()

    def _set_filters(self, statement: model.SetFilters) -> None:
        socket = self._sockets[statement.socket]
        filters: tuple[CanFilter, ...] = statement.filters
        self._try(socket, "filter", lambda: socket.interface.set_filters(filters))

    def _hold(self, statement: model.Hold) -> None:
        self._bench.hold(statement.node)
        self._on_hold, self._sender = True, statement.node

    def _release(self, statement: model.Release) -> None:
        self._on_hold = False
        self._bench.release(statement.node)
        self._settle()
        late, self._late = self._late, []
        for tell in late:
            tell()

    def _send(self, statement: model.Send) -> None:
        socket = self._sockets[statement.socket]
        for number, frame in enumerate(statement.frames, 1):
            self._try(socket, f"send {frame_text(frame)}", partial(self._send_one, socket, frame))
            if number % _BURST == 0:
                self._settle()

    def _send_one(self, socket: _Socket, frame: CanFrame) -> None:
        for _ in range(_TRIES):
            try:
                socket.interface.send(frame)
            except BackPressure:
                if self._on_hold:
                    raise
                self._bench.settle()
            else:
                self._is_busy = True
                return
        raise StackError(f"{self._script.place}: no room for a frame of {socket.declared.name!r} on a quiet bus")

    def _try(self, socket: _Socket, what: str, action: Callable[[], None]) -> None:
        """Do what may be refused, and log a refusal behind all that the socket is told before."""
        was = socket.interface.state
        try:
            action()
        except (BackPressure, LinkDown, PayloadOverflow, StackError) as error:
            line = f"refused {what} {_errno_of(error, what, was)}"
            if self._on_hold:
                self._late.append(lambda: socket.lines.append(line))
            else:
                self._settle()
                socket.lines.append(line)


def _errno_of(error: Exception, what: str, was: CanIfaceState) -> str:
    if isinstance(error, BackPressure):
        return "ENOBUFS"
    if isinstance(error, LinkDown):
        return "EBADF" if was is CanIfaceState.CLOSED else "ENETDOWN"
    return "ENETDOWN" if what == "open" else "EINVAL"
