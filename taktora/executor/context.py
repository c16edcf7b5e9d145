"""What an item sees while it runs, and the handle that stops an executor; neither reaches into the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora.executor.observer import UserEvent

if TYPE_CHECKING:
    from taktora.executor.task import Task

__all__ = ["Context", "Stoppable"]


# req: REQ_0051
# req: REQ_0051
class Stoppable:
    """Stops one executor, from any thread, from a signal handler and from its own items.

    The flag stays set: an executor is single-use after ``stop``.
    """

    __slots__ = ("_wake", "stopped")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.stopped = False

    def stop(self) -> None:
        """Ask for the end of the current or the coming run, and wake an idle loop."""
        self.stopped = True
        self._wake()


class Context:
    """Handed to ``execute``; one per task, valid during the call."""

    __slots__ = ("_send", "_stoppable", "_task", "deadline_missed", "event_fired", "now_ns", "task_id", "unix_ns")

    def __init__(
        self,
        task: Task,
        stoppable: Stoppable,
        now_ns: Callable[[], int],
        unix_ns: Callable[[], int],
        send: Callable[[str, UserEvent], None],
    ) -> None:
        self.task_id = task.id
        self.now_ns = now_ns
        """Monotonic nanoseconds of this executor's world: a function, to be called."""
        self.unix_ns = unix_ns
        """Civil nanoseconds since 1970 of this executor's world: a function, to be called."""
        self.deadline_missed = False
        """This run was caused by a deadline that passed without an event."""
        self.event_fired = False
        """This run was caused by an event: a sample, a request, a notification, a readable descriptor."""
        self._task = task
        self._stoppable = stoppable
        self._send = send

    @property
    def cycle_index(self) -> int:
        """Number of this scan of a cyclic task, from 0; 0 for other tasks."""
        return self._task.stats.cycle_index

    @property
    def skipped_slots(self) -> int:
        """Grid slots passed over unserved since the previous scan."""
        return self._task.skipped

    def stop_executor(self) -> None:
        """Let this wake finish, then end the run."""
        self._stoppable.stop()

    def stoppable(self) -> Stoppable:
        """Return the handle that stops this executor, to be kept."""
        return self._stoppable

    def send_event(self, event: UserEvent) -> None:
        """Show ``event`` to the observers."""
        self._send(self.task_id, event)
