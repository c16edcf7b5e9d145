"""Notifiers and listeners in shared memory; it works on iceoryx2 objects that it is given, and never blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taktora.errors import TransportError
from taktora.transport.rules import closed_error
from taktora.transport.shared_service import SharedPort, SharedService

__all__ = ["IceoryxListener", "IceoryxNotifier"]


class IceoryxNotifier(SharedPort):
    """Notifies every listener, then calls the wakers of listeners opened by the same transport."""

    __slots__ = ("_local",)

    def __init__(
        self, service: SharedService, port: Any, on_close: Callable[[], None], local: list[IceoryxListener]
    ) -> None:
        super().__init__(service, port, on_close)
        self._local = local

    def notify(self) -> int:
        if self._closed:
            raise closed_error(self.service)
        try:
            told: int = self._port.notify()
        except self._iox.NotifierNotifyError as cause:
            raise TransportError(f"notifier on {self.service}: cannot notify: {cause}") from cause
        for listener in tuple(self._local):
            waker = listener.waker  # once: another thread may take it off
            if waker is not None:
                waker()
        return told


class IceoryxListener(SharedPort):
    """A listener that a WaitSet attaches; a waker is called for notifiers of the same transport only."""

    __slots__ = ("_local", "_pending", "waker")

    def __init__(
        self, service: SharedService, port: Any, on_close: Callable[[], None], local: list[IceoryxListener]
    ) -> None:
        super().__init__(service, port, on_close)
        self.waker: Callable[[], None] | None = None
        self._pending = False
        self._local = local
        local.append(self)

    @property
    def native(self) -> object | None:
        return self._port  # type: ignore[no-any-return]

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        self.waker = waker
        if waker is not None and self._take():
            # Taking was the only way to look: put the level back before waking.
            self._pending = True
            waker()

    def tell(self) -> None:
        self._pending = True
        waker = self.waker
        if waker is not None:
            waker()

    def drain(self) -> bool:
        if self._closed:
            raise closed_error(self.service)
        return self._take()

    def _take(self) -> bool:
        found, self._pending = self._pending, False
        while self._port.try_wait():
            found = True
        return found

    def _before_close(self) -> None:
        self.waker = None
        self._local.remove(self)
