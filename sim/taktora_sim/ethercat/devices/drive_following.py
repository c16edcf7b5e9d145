"""The following error of a simulated drive: beyond its window, and for how long; it trips nothing."""

from __future__ import annotations

__all__ = ["FollowingError"]


class FollowingError:
    """Watches how far an axis is behind its reference (objects 0x6065 and 0x6066)."""

    __slots__ = ("_beyond_steps", "_patience_steps", "_window", "is_beyond")

    def __init__(self) -> None:
        self.is_beyond = False
        """It was beyond the window in the last step."""
        self._window: float | None = None
        self._patience_steps = self._beyond_steps = 0

    def set_window(self, window: float | None, patience_steps: int) -> None:
        """Allow an error of ``window``, in the axis's unit (None: any), and more for ``patience_steps``."""
        self._window, self._patience_steps = window, patience_steps

    def restart(self) -> None:
        """Count from here."""
        self.is_beyond, self._beyond_steps = False, 0

    def look(self, error: float) -> bool:
        """Take the error of one step; True while it is beyond the window."""
        if self._window is None:
            self.is_beyond = False
        elif abs(error) <= self._window:
            self.restart()
        else:
            self.is_beyond = True
            self._beyond_steps += 1
        return self.is_beyond

    @property
    def is_overdue(self) -> bool:
        """It has been beyond the window for longer than it may."""
        return self.is_beyond and self._beyond_steps > self._patience_steps
