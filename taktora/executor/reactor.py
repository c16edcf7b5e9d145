"""The reactor seam: what waits for the executor's loop; protocols and requests only, it never runs an item.

The executor's loop is one generator. It yields :class:`Wait` when nothing is due and :class:`Occupy` when modelled
execution time is to pass, and is sent the keys of the attachments that fired meanwhile. A reactor drives it: the
WaitSet reactor on Linux, a portable one elsewhere, the World in a simulated run. No code below the loop blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeAlias, final

from taktora.clock import Clock
from taktora.transport.base import ListenerPort

__all__ = ["ExecutionModel", "Loop", "Occupy", "Reactor", "Request", "Wait"]


@final
class Wait:
    """Ask to sleep until an attachment fires, ``wake`` is called or ``deadline_ns`` (Clock.now_ns) is reached.

    The loop owns one instance and changes ``deadline_ns`` before each yield; None means no deadline.
    """

    __slots__ = ("deadline_ns",)

    def __init__(self, deadline_ns: int | None = None) -> None:
        self.deadline_ns = deadline_ns


@final
class Occupy:
    """Ask that the executor be busy until ``until_ns``; only an :class:`ExecutionModel` makes the loop yield it."""

    __slots__ = ("until_ns",)

    def __init__(self, until_ns: int = 0) -> None:
        self.until_ns = until_ns


Request: TypeAlias = Wait | Occupy
Loop: TypeAlias = Generator[Request, Sequence[int], None]
"""Sent: keys of fired attachments in ascending order (empty on a deadline or a bare wake). To be primed with next()."""


class ExecutionModel(Protocol):
    """How long items take in a simulated run (REQ_8011); real reactors have none."""

    timeless: bool
    """For now no item takes time and ready tasks keep their order: then nobody asks further."""

    def begin(self, task_index: int, task_id: str, item_id: str) -> int:
        """Return the duration in ns that the coming ``execute`` costs; opens the window in which sends are held back.

        ``now_ns`` stays at the start instant while the item runs; what the item sends becomes visible at the end
        instant ``now_ns() + duration``.
        """
        ...

    def end(self) -> None:
        """Close the window opened by ``begin``; called right after ``execute`` returned, before the Occupy."""
        ...

    def order(self, task_indices: list[int]) -> list[int]:
        """Return the order in which simultaneously ready tasks run (REQ_8012); identity unless a scenario asks."""
        ...


class Reactor(Protocol):
    """Waits on behalf of exactly one executor loop."""

    @property
    def clock(self) -> Clock: ...

    @property
    def model(self) -> ExecutionModel | None:
        """The execution model of a simulated run; None in the real worlds."""
        ...

    def attach(self, key: int, source: ListenerPort | int) -> None:
        """Have ``key`` reported whenever the listener (or the file descriptor) is ready; only between waits."""
        ...

    def detach(self, key: int) -> None:
        """Undo ``attach``; only between waits."""
        ...

    def waker(self, key: int) -> Callable[[], None]:
        """Return what has ``key`` reported at the end of the current or next wait when called, from any thread."""
        ...

    def wake(self) -> None:
        """End the current or next wait without a key; from any thread and from signal handlers."""
        ...

    def drive(self, loop: Loop) -> None:
        """Run ``loop`` to its end. What it raises goes through. Never re-entered."""
        ...

    def close(self) -> None:
        """Release descriptors; idempotent."""
        ...
