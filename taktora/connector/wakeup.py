"""A wake-up inside one process that an executor item can use as its trigger; it carries no data and never blocks."""

from __future__ import annotations

from collections.abc import Callable

from taktora.transport.rules import two_wakers

__all__ = ["Wakeup"]


class Wakeup:
    """Notifier and listener in one object (``NotifierPort`` and ``ListenerPort`` of the transport seam).

    ``notify`` may be called from any thread; whoever listens drains first and looks for data afterwards, so that a
    notification between the two is never lost. No lock: each line is one atomic step of the interpreter and the order
    of the two flags is what makes it safe.
    """

    __slots__ = ("_pending", "_waker", "service")

    def __init__(self, service: str) -> None:
        self.service = service
        self._pending = False
        self._waker: Callable[[], None] | None = None

    @property
    def native(self) -> None:
        """Nothing a WaitSet could attach: reactors use ``set_waker``."""
        return None

    def notify(self) -> int:
        """Mark as pending and call the waker; returns how many listeners were told (0 or 1)."""
        self._pending = True
        waker = self._waker
        if waker is None:
            return 0
        waker()
        return 1

    def tell(self) -> None:
        """Notify; there is no listener but this one."""
        self.notify()

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        """Have ``waker`` called at each notification, at once if one is pending.

        Raises:
            ConfigurationError: somebody else waits for it.
        """
        if waker is not None and self._waker is not None:
            raise two_wakers(self.service)
        self._waker = waker
        if waker is not None and self._pending:
            waker()

    def drain(self) -> bool:
        """Take what is pending; return whether there was anything."""
        if not self._pending:
            return False
        self._pending = False
        return True

    def close(self) -> None:
        self._waker = None
