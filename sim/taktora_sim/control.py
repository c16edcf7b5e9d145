"""The control channel of a server that holds a World to the wall clock: JSON lines in, JSON lines out; for its parent.

::

    {"do": "snapshot"}                                        -> {"ok": true, "now_ns": ..., ...}
    {"do": "inject", "target": "can/vcan7/ecu", "kind": "silence", "parameters": {}, "duration_ns": null}
                                                              -> {"ok": true, "fault": 1}
    {"do": "end", "fault": 1}                                 -> {"ok": true}
    {"do": "quit"}                                            -> {"ok": true}

The first line, unasked, is ``{"ready": true, ...}``. What is refused is answered with ``{"ok": false, "error": ...}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from taktora.errors import TaktoraError
from taktora_sim.faults import FaultPlanError
from taktora_sim.world import World

__all__ = ["ControlChannel"]


class ControlChannel:
    """Reads JSON lines from one file descriptor and answers on another.

    Args:
        world: Where faults are injected.
        reads: Where lines come from; its end ends the server.
        writes: Where answers go.
        snapshot: Returns what is shown besides the time.
    """

    def __init__(self, world: World, reads: int, writes: int, snapshot: Callable[[], dict[str, object]]) -> None:
        self.has_ended = False
        self._world = world
        self._reads = reads
        self._writes = writes
        self._snapshot = snapshot
        self._rest = b""
        self._ends: list[Callable[[], None]] = []

    def fileno(self) -> int:
        return self._reads

    def announce(self, **facts: object) -> None:
        """Say that the server serves from now on."""
        self._say({"ready": True, **facts})

    def take(self) -> None:
        """Read what is there and answer each whole line."""
        data = os.read(self._reads, 65536)
        if not data:
            self.has_ended = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._say(self._answer(line))

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            return {"ok": True, **self._do(request)}
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, TaktoraError, FaultPlanError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _do(self, request: dict[str, Any]) -> dict[str, object]:
        what = request["do"]
        if what == "snapshot":
            return {"now_ns": self._world.now_ns(), **self._snapshot()}
        if what == "inject":
            board = self._world.faults
            parameters = request.get("parameters") or {}
            self._ends.append(board.inject(request["target"], request["kind"], request.get("duration_ns"), parameters))
            return {"fault": len(self._ends)}
        if what == "end":
            if not 0 < request["fault"] <= len(self._ends):
                raise ValueError(f"no fault {request['fault']}; {len(self._ends)} have been injected")
            self._ends[request["fault"] - 1]()
            return {}
        if what == "quit":
            self.has_ended = True
            return {}
        raise ValueError(f"unknown request {what!r}; valid: snapshot, inject, end, quit")

    def _say(self, answer: dict[str, object]) -> None:
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[os.write(self._writes, data) :]
