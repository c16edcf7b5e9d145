"""Writes what ``candump`` logs on one node's interface: what that host sees, its controller's error frames included.

A :class:`~taktora_sim.can.logs.recording.CanRecording` hears the wire; this is a raw socket. It gets what the node
receives, what other sockets of the node send, and error frames on changes of the controller's state (bus errors one by
one only where the node reports them). It ends when the interface goes down, as candump does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from taktora.can.interface import CanErrorFrame, CanFrame, CanIfaceState
from taktora_sim.can.logs.candump import candump_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taktora.can.interface import CanFilter
    from taktora_sim.can.node import CanNode

__all__ = ["CanSocketRecording"]


# req: REQ_8205, REQ_8202
class CanSocketRecording:
    """Records one node's interface as candump log until ``close``, the interface goes down, or the World ends.

    Args:
        node: The node to listen on.
        path: The candump log.
        channel: Interface name in the log; default: the node's name.
        filters: Kernel filters of the socket; None takes all frames.

    Raises:
        StackError: the node's interface is down.
    """

    def __init__(
        self, node: CanNode, path: Path | str, *, channel: str | None = None, filters: Sequence[CanFilter] | None = None
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.errors = 0
        """Error frames recorded."""
        self._channel = channel or node.name
        self._epoch_ns = node.bus.world.epoch_unix_ns
        self._interface = node.interface()
        self._interface.open(self)
        if filters is not None:
            self._interface.set_filters(filters)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = self.path.open("w", encoding="ascii", newline="\n")
        node.bus.world.on_close(self.close)

    def close(self) -> None:
        """Finish the file; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._interface.close()

    def on_frame(self, frame: CanFrame) -> None:
        """Write a frame; called by the socket."""
        self.frames += self._write(frame)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        """Write an error frame; called by the socket."""
        self.errors += self._write(frame)

    def on_state(self, state: CanIfaceState, _reason: str) -> None:
        """End where candump ends: when the interface is down; called by the socket."""
        if state is CanIfaceState.DOWN:
            self.close()

    def on_receive_overflow(self, lost: int) -> None:
        """Never called: the socket's buffer is not bounded."""

    def on_failure(self, error: BaseException) -> None:
        """Never called: a simulated socket has no thread of its own."""

    def _write(self, frame: CanFrame | CanErrorFrame) -> int:
        if self._file is None:
            return 0
        return bool(self._file.write(candump_line(self._epoch_ns + frame.timestamp_ns, self._channel, frame)))
