"""The one error of this package that the shared tree does not have; it raises nothing itself."""

from __future__ import annotations

from taktora.errors import ShutdownError

__all__ = ["Disconnected"]


class Disconnected(ShutdownError):
    """The other side of a bridge or of a health subscription has been closed and nothing is left to take."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is closed and drained; leave the loop, or open a new one")
