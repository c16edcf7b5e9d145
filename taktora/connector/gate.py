"""The cell through which a connector tells its writers that sending makes no sense now; it stores no message."""

from __future__ import annotations

import threading
from typing import Final

from taktora.errors import BackPressure, LinkDown, NotReady, ShutdownError

__all__ = ["SendGate"]


# req: REQ_0292
class SendGate:
    """Four flags shared by a connector (which sets them, from any thread) and its writers (which only read).

    A writer looks at :attr:`blocked` before the loan; :meth:`refuse` raises the outcome that fits. Shutdown goes before
    Down, Down before not ready, not ready before back-pressure. Setting takes a lock (two threads may set different
    flags); reading takes none.
    """

    __slots__ = ("_back_pressure", "_down", "_lock", "_owner", "_shutdown", "_unready", "blocked")

    def __init__(self, owner: str) -> None:
        self._owner: Final = owner
        self._lock = threading.Lock()
        self._shutdown = False
        self._down: object | None = None
        self._unready: object | None = None
        self._back_pressure: object | None = None
        self.blocked = False
        """Whether the next send is refused; the only thing the hot path reads."""

    @property
    def down(self) -> bool:
        return self._down is not None

    @property
    def back_pressured(self) -> bool:
        return self._back_pressure is not None

    def close_link(self, reason: object) -> None:
        """Refuse sends with ``LinkDown`` until :meth:`open_link`."""
        with self._lock:
            self._down = reason
            self._refresh()

    def open_link(self) -> None:
        with self._lock:
            self._down = None
            self._refresh()

    def await_ready(self, reason: object) -> None:
        """Refuse sends with ``NotReady`` until :meth:`be_ready`."""
        with self._lock:
            self._unready = reason
            self._refresh()

    def be_ready(self) -> None:
        with self._lock:
            self._unready = None
            self._refresh()

    def hold(self, reason: object) -> None:
        """Refuse sends with ``BackPressure`` until :meth:`relieve`."""
        with self._lock:
            self._back_pressure = reason
            self._refresh()

    def relieve(self) -> None:
        with self._lock:
            self._back_pressure = None
            self._refresh()

    def shut(self) -> None:
        """Refuse sends with ``ShutdownError`` for ever."""
        with self._lock:
            self._shutdown = True
            self._refresh()

    def refuse(self, channel: str) -> None:
        """Raise what :attr:`blocked` stands for; return if it was lifted meanwhile."""
        if self._shutdown:
            raise ShutdownError(f"channel {channel!r}: connector {self._owner!r} has been closed; leave the send loop")
        down, unready, held = self._down, self._unready, self._back_pressure
        if down is not None:
            raise LinkDown(
                f"channel {channel!r}: connector {self._owner!r} is Down ({down}); nothing was stored, "
                "send again once its health is Up"
            )
        if unready is not None:
            raise NotReady(
                f"channel {channel!r}: connector {self._owner!r} takes no messages yet ({unready}); nothing was sent, "
                "send again once its health is Up"
            )
        if held is not None:
            raise BackPressure(
                f"channel {channel!r}: connector {self._owner!r} is full on its way out ({held}); "
                "nothing was sent, try again later"
            )

    def _refresh(self) -> None:
        reasons = (self._down, self._unready, self._back_pressure)
        self.blocked = self._shutdown or any(reason is not None for reason in reasons)
