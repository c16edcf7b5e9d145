"""Reads the language of CAN scripts; what does not fit is refused with file, line and what is expected there.

One statement a line; ``#`` as a word of its own starts a comment. The statements::

    bus NAME [classical]                      a bus; without "classical" it carries CAN FD
    node NAME on BUS                          a host on it, one or two; without, the bus has one of its own name
    socket NAME on NODE [OPTION ...]          a socket, open from here on
        filter=ID:MASK,ID~MASK,... | none     what it lets through; without, everything
        receive-own                           it gets what it sends
        no-loopback                           the other sockets of its node do not
        errors=HEX | none                     classes of error frames that it gets; without, all
        no-fd                                 it neither sends nor gets CAN FD frames
    send SOCKET FRAME ... [x N]               frames, one after the other without waiting
    filter SOCKET all | none | FILTER,... [x N]   other filters from here on
    close SOCKET                              and "open SOCKET": as it was declared
    down NODE                                 its interface; and "up NODE"
    hold NODE                                 nothing leaves it until "release NODE"
    error NODE CLASSES [DATA]                 an error frame of its controller
    settle                                    wait until all is quiet
    external send BUS FRAME ...               frames of cansend
    external cangen BUS OPTION ...            frames of cangen, with -n, -I, -L, -D, -e, -f, -b, -R
    external play BUS FILE [CHANNEL]          a candump log by canplayer, at once; FILE beside the script
    external dump NAME on BUS                 the log of candump, from the start
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from taktora.can.filter import ACCEPT_ALL
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFilter, CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can.script import model
from taktora_sim.can.script.cangen import parse_pattern
from taktora_sim.can.script.text import parse_filter, parse_frame

__all__ = ["HOLD_QUEUE", "ScriptError", "parse_script"]

HOLD_QUEUE: Final = 10
"""Frames that wait in a node that is held; the next one is refused."""

_NODES_MAX: Final = 2
_REPEATS_MAX: Final = 1000
_ERROR_BYTES: Final = 8


class ScriptError(ConfigurationError):
    """A script cannot be read; the text names file, line, what is there and what is expected."""


# req: REQ_8206
def parse_script(text: str, place: str = "script", folder: Path | None = None) -> model.Script:
    """Return the script in ``text``.

    Args:
        text: Statements, one a line.
        place: What errors call it, its file name as a rule.
        folder: Where the logs that it plays are; default: the current one.

    Raises:
        ScriptError: a line is wrong, names what is not there, or cannot be carried out where it stands.
    """
    return _Parser(place, folder or Path()).parse(text)


class _Parser:
    """Goes through the lines and keeps what is declared, down, and held at each."""

    def __init__(self, place: str, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._line = 0
        self._buses: dict[str, model.Bus] = {}
        self._sockets: dict[str, model.Socket] = {}
        self._statements: list[model.Statement] = []
        self._names: set[str] = set()
        self._down: set[str] = set()
        self._held: str | None = None
        self._verbs: dict[str, Callable[[list[str]], None]] = {
            "bus": self._bus,
            "node": self._node,
            "socket": self._socket,
            "send": self._send,
            "filter": self._filter,
            "open": self._open,
            "close": self._close,
            "down": self._link_down,
            "up": self._link_up,
            "hold": self._hold,
            "release": self._release,
            "error": self._error,
            "settle": self._settle,
            "external": self._external,
        }
        self._programs: dict[str, Callable[[list[str]], None]] = {
            "send": self._cansend,
            "cangen": self._cangen,
            "play": self._canplayer,
            "dump": self._candump,
        }

    def parse(self, text: str) -> model.Script:
        for self._line, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if "#" in words:
                words = words[: words.index("#")]
            if words:
                self._statement(words)
        if self._held is not None:
            self._fail(f"the script ends while {self._held!r} is held; expected 'release {self._held}'")
        if not self._sockets:
            self._fail("the script has no socket; expected 'socket NAME on NODE'")
        return model.Script(
            self._place, tuple(self._buses.values()), tuple(self._sockets.values()), tuple(self._statements)
        )

    def _statement(self, words: list[str]) -> None:
        verb, *rest = words
        if verb not in self._verbs:
            self._fail(f"{verb!r} is no statement; expected {_listed(self._verbs)}")
        if self._held is not None and verb not in ("send", "release"):
            self._fail(f"'{verb}' while {self._held!r} is held; expected 'send' or 'release {self._held}'")
        try:
            self._verbs[verb](rest)
        except ScriptError:
            raise
        except ValueError as error:
            self._fail(str(error))

    def _bus(self, words: list[str]) -> None:
        name, *rest = self._counted(words, 1, 2, "bus NAME [classical]")
        if rest not in ([], ["classical"]):
            self._fail(f"{rest[0]!r} after the name of a bus; expected 'classical' or nothing")
        self._declare(name)
        self._buses[name] = model.Bus(line=self._line, name=name, fd=not rest, nodes=(name,))

    def _node(self, words: list[str]) -> None:
        name, _, bus_name = self._with_on(words, "node NAME on BUS")
        bus = self._known_bus(bus_name)
        nodes = tuple(node for node in bus.nodes if node != bus.name)
        if any(self._sockets[socket].node == bus.name for socket in self._sockets):
            self._fail(f"bus {bus_name!r} has a socket already; expected its nodes before")
        if len(nodes) == _NODES_MAX:
            self._fail(f"bus {bus_name!r} has the nodes {_listed(nodes)}; expected no more than {_NODES_MAX}")
        self._declare(name)
        self._buses[bus_name] = model.Bus(line=bus.line, name=bus.name, fd=bus.fd, nodes=(*nodes, name))

    def _socket(self, words: list[str]) -> None:
        name, options, node = self._with_on(words, "socket NAME on NODE [OPTION ...]")
        self._known_node(node)
        self._declare(name)
        chosen = self._options(options)
        socket = model.Socket(line=self._line, name=name, node=node, **chosen)
        dumped = [dump.bus for dump in self._statements if isinstance(dump, model.Dump)]
        if not socket.loopback and self._bus_of(node).name in dumped:
            self._fail("a socket without loopback on a bus that candump reads, which would not hear it; expected one")
        self._sockets[name] = socket
        self._statements.append(socket)

    def _options(self, words: Sequence[str]) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "filters": ACCEPT_ALL,
            "receive_own": False,
            "loopback": True,
            "error_mask": model.ALL_ERRORS,
            "fd": True,
        }
        flags = {"receive-own": ("receive_own", True), "no-loopback": ("loopback", False), "no-fd": ("fd", False)}
        for word in words:
            key, _, value = word.partition("=")
            if word in flags:
                name, setting = flags[word]
                chosen[name] = setting
            elif key == "filter" and value:
                chosen["filters"] = _filters(value)
            elif key == "errors" and value:
                chosen["error_mask"] = 0 if value == "none" else _classes(value)
            else:
                self._fail(f"{word!r} is no option of a socket; expected filter=..., errors=..., {', '.join(flags)}")
        return chosen

    def _send(self, words: list[str]) -> None:
        form = "send SOCKET FRAME ... [x N]"
        name, *frames = self._counted(words, 2, None, form)
        socket = self._known_socket(name)
        if self._held is not None and socket.node != self._held:
            self._fail(f"socket {name!r} sends while {self._held!r} is held; expected a socket of that node")
        sent = self._frames(frames, form)
        if self._held is not None and any(frame.fd for frame in sent):
            self._fail("a CAN FD frame while a node is held; expected classical ones, whose queue is counted in frames")
        self._add(model.Send, socket=name, frames=sent)

    def _frames(self, words: list[str], form: str) -> tuple[CanFrame, ...]:
        words, repeats = self._repeated(words, form)
        return tuple(parse_frame(word) for word in words) * repeats

    def _repeated(self, words: list[str], form: str) -> tuple[list[str], int]:
        """Return the words before ``x N``, and N; 1 without."""
        if len(words) < 3 or words[-2] != "x":
            return words, 1
        *words, _, number = words
        if not number.isdecimal() or not 1 <= int(number) <= _REPEATS_MAX:
            self._fail(f"'x {number}'; expected 'x' and 1 to {_REPEATS_MAX}, as in '{form}'")
        return words, int(number)

    def _filter(self, words: list[str]) -> None:
        form = "filter SOCKET all | none | FILTER,... [x N]"
        words, repeats = self._repeated(words, form)
        name, filters = self._counted(words, 2, 2, form)
        self._add(model.SetFilters, socket=self._known_socket(name).name, filters=_filters(filters) * repeats)

    def _open(self, words: list[str]) -> None:
        (name,) = self._counted(words, 1, 1, "open SOCKET")
        self._add(model.Open, socket=self._known_socket(name).name)

    def _close(self, words: list[str]) -> None:
        (name,) = self._counted(words, 1, 1, "close SOCKET")
        self._add(model.Close, socket=self._known_socket(name).name)

    def _link_down(self, words: list[str]) -> None:
        (node,) = self._counted(words, 1, 1, "down NODE")
        self._known_node(node)
        if node in self._down:
            self._fail(f"{node!r} is down already; expected 'up {node}' before")
        self._down.add(node)
        self._add(model.Link, node=node, is_up=False)

    def _link_up(self, words: list[str]) -> None:
        (node,) = self._counted(words, 1, 1, "up NODE")
        self._known_node(node)
        if node not in self._down:
            self._fail(f"{node!r} is up already; expected 'down {node}' before")
        self._down.remove(node)
        self._add(model.Link, node=node, is_up=True)

    def _hold(self, words: list[str]) -> None:
        (node,) = self._counted(words, 1, 1, "hold NODE")
        self._known_node(node)
        self._refuse_down(node)
        if len(self._bus_of(node).nodes) > 1:
            self._fail(f"{node!r} is held on a bus of two nodes; expected a bus with one")
        self._held = node
        self._add(model.Hold, node=node)

    def _release(self, words: list[str]) -> None:
        (node,) = self._counted(words, 1, 1, "release NODE")
        if node != self._held:
            self._fail(f"{node!r} is not held; expected {f'release {self._held}' if self._held else 'hold NODE'!r}")
        self._held = None
        self._add(model.Release, node=node)

    def _error(self, words: list[str]) -> None:
        node, classes, *data = self._counted(words, 2, 3, "error NODE CLASSES [DATA]")
        self._known_node(node)
        self._refuse_down(node)
        if len(self._bus_of(node).nodes) > 1:
            self._fail(f"an error frame at {node!r} on a bus of two nodes; expected a bus with one")
        frame = CanErrorFrame(CanErrorClass(_classes(classes)), _error_data(data[0] if data else ""))
        self._add(model.Inject, node=node, frame=frame)

    def _settle(self, words: list[str]) -> None:
        self._counted(words, 0, 0, "settle")
        self._add(model.Settle)

    def _external(self, words: list[str]) -> None:
        if not words or words[0] not in self._programs:
            self._fail(f"'external {' '.join(words[:1])}'; expected external {_listed(self._programs)}")
        self._programs[words[0]](words[1:])

    def _cansend(self, words: list[str]) -> None:
        form = "external send BUS FRAME ..."
        name, *frames = self._counted(words, 2, None, form)
        bus = self._reachable_bus(name)
        sent = self._frames(frames, form)
        if not bus.fd and any(frame.fd for frame in sent):
            self._fail(f"a CAN FD frame of cansend on the classical bus {name!r}; expected a classical one")
        self._add(model.SendExternally, bus=name, frames=sent)

    def _cangen(self, words: list[str]) -> None:
        name, *options = self._counted(words, 1, None, "external cangen BUS OPTION ...")
        bus, pattern = self._reachable_bus(name), parse_pattern(options)
        if not bus.fd and (pattern.fd or pattern.brs):
            self._fail(f"CAN FD frames of cangen on the classical bus {name!r}; expected neither -f nor -b")
        if pattern.can_id is not None and pattern.can_id > (0x1FFFFFFF if pattern.extended else 0x7FF):
            self._fail(f"'-I {pattern.can_id:X}' is too large; expected up to 7FF, or up to 1FFFFFFF with -e")
        self._add(model.Generate, bus=name, pattern=pattern)

    def _canplayer(self, words: list[str]) -> None:
        name, file, *channel = self._counted(words, 2, 3, "external play BUS FILE [CHANNEL]")
        self._reachable_bus(name)
        path = self._folder / file
        if not path.is_file():
            self._fail(f"there is no log {path}; expected a file of candump -L beside the script")
        self._add(model.Play, bus=name, path=path, channel=channel[0] if channel else name)

    def _candump(self, words: list[str]) -> None:
        name, rest, bus = self._with_on(words, "external dump NAME on BUS")
        self._counted(rest, 0, 0, "external dump NAME on BUS")
        self._known_bus(bus)
        if any(not isinstance(statement, model.Dump) for statement in self._statements):
            self._fail("candump starts with the script; expected 'external dump' before the first socket")
        self._declare(name)
        self._add(model.Dump, name=name, bus=bus)

    def _add(self, kind: Callable[..., model.Statement], **fields: object) -> None:
        self._statements.append(kind(line=self._line, **fields))

    def _declare(self, name: str) -> None:
        if not name.replace("_", "").replace("-", "").isalnum():
            self._fail(f"{name!r} is no name; expected letters, digits, '_' and '-'")
        if name in self._names:
            self._fail(f"the name {name!r} is taken; expected another one")
        self._names.add(name)

    def _with_on(self, words: list[str], form: str) -> tuple[str, list[str], str]:
        """Return the name before ``on``, the words behind, and the name after it."""
        if len(words) < 3 or words[1] != "on":
            self._fail(f"{' '.join(words)!r}; expected '{form}'")
        return words[0], words[3:], words[2]

    def _counted(self, words: list[str], least: int, most: int | None, form: str) -> list[str]:
        if len(words) < least or (most is not None and len(words) > most):
            self._fail(f"{len(words)} words; expected '{form}'")
        return words

    def _known_bus(self, name: str) -> model.Bus:
        if name not in self._buses:
            self._fail(f"there is no bus {name!r}; expected {_listed(self._buses) or 'a bus declared above'}")
        return self._buses[name]

    def _reachable_bus(self, name: str) -> model.Bus:
        bus = self._known_bus(name)
        self._refuse_down(bus.nodes[0])
        return bus

    def _known_node(self, name: str) -> None:
        nodes = [node for bus in self._buses.values() for node in bus.nodes]
        if name not in nodes:
            self._fail(f"there is no node {name!r}; expected {_listed(nodes) or 'a bus or node declared above'}")

    def _bus_of(self, node: str) -> model.Bus:
        return next(bus for bus in self._buses.values() if node in bus.nodes)

    def _known_socket(self, name: str) -> model.Socket:
        if name not in self._sockets:
            self._fail(f"there is no socket {name!r}; expected {_listed(self._sockets) or 'one declared above'}")
        return self._sockets[name]

    def _refuse_down(self, node: str) -> None:
        if node in self._down:
            self._fail(f"{node!r} is down here; expected 'up {node}' before")

    def _fail(self, text: str) -> None:
        raise ScriptError(f"{self._place}, line {self._line}: {text}")


def _listed(names: Any) -> str:
    return ", ".join(names)


def _filters(text: str) -> tuple[CanFilter, ...]:
    if text in ("all", "none"):
        return ACCEPT_ALL if text == "all" else ()
    return tuple(parse_filter(entry) for entry in text.split(","))


def _classes(text: str) -> int:
    try:
        classes = int(text, 16)
    except ValueError:
        classes = 0
    if not 0 < classes <= model.ALL_ERRORS:
        raise ValueError(f"error classes {text!r}; expected hexadecimal 1 to {model.ALL_ERRORS:X}")
    return classes


def _error_data(text: str) -> bytes:
    try:
        data = bytes.fromhex(text.replace(".", ""))
    except ValueError:
        data = bytes(_ERROR_BYTES + 1)
    if len(data) > _ERROR_BYTES:
        raise ValueError(f"data {text!r} of an error frame; expected up to {_ERROR_BYTES} bytes in hexadecimal digits")
    return data.ljust(_ERROR_BYTES, b"\0")
