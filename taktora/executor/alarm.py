"""One absolute instant at which an item runs; it never repeats, and nobody polls for it."""

from __future__ import annotations

__all__ = ["Alarm"]


class Alarm:
    """Set it to an instant, and the item that declared it runs then; set it again and only the new instant counts.

    Set and cancel it from items of its own executor, or before the run: the loop looks at it before each wait. An
    instant that has passed makes the item run in the next wake.

    Args:
        name: For messages.
    """

    __slots__ = ("due_ns", "name", "rung")

    def __init__(self, name: str) -> None:
        self.name = name
        self.due_ns: int | None = None
        """When it will ring, on the executor's scheduling clock; None when it is not set."""
        self.rung = False
        """It has rung and nobody has taken it yet."""

    def set(self, at_ns: int) -> None:
        """Ring at ``at_ns``."""
        self.due_ns = at_ns
        self.rung = False

    def cancel(self) -> None:
        """Ring no more, and forget that it has rung."""
        self.due_ns = None
        self.rung = False

    def take(self) -> bool:
        """Return whether the alarm has rung, and forget it then."""
        rung, self.rung = self.rung, False
        return rung
