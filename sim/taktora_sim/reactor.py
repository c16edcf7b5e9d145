"""The reactor on virtual time: steps an executor's loop from the World's events; it never blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from taktora.errors import ConfigurationError
from taktora.executor.reactor import ExecutionModel, Loop, Wait

if TYPE_CHECKING:
    from taktora.transport.base import ListenerPort
    from taktora_sim.streams import Stream
    from taktora_sim.world import Timer, World

__all__ = ["Duration", "Executions", "SimReactor"]

Duration: TypeAlias = "int | Callable[[Stream], int]"
"""Modelled execution time in ns: a constant, or a draw from the item's own stream."""


# req: REQ_8011
class Executions:
    """How long items take in this world (REQ_8011) and in which order ready tasks run (REQ_8012).

    Nothing takes time and tasks run in registration order unless a scenario says otherwise.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.durations: dict[str, Duration] = {}
        """What was set, by name."""
        self._seeded_order = False
        self._models: list[_Model] = []
        self._made: set[str] = set()
        self._tasks: dict[str, str] = {}
        world.on_close(self._tell_unknown)

    @property
    def seeded_order(self) -> bool:
        """True: tasks that are ready at one instant run in an order drawn from the seed."""
        return self._seeded_order

    @seeded_order.setter
    def seeded_order(self, is_seeded: bool) -> None:
        self._seeded_order = is_seeded
        self._settle()

    def set(self, task: str, duration: Duration) -> None:
        """Let ``task`` take ``duration`` whenever it runs.

        Args:
            task: Task or item id, alone or as ``executor/task``; the longer form wins.
            duration: Nanoseconds (0 or more), or a function of the item's stream that returns them.
        """
        if isinstance(duration, int) and duration < 0:
            msg = f"execution time of {task!r} is {duration} ns, expected 0 or more"
            raise ValueError(msg)
        self.durations[task] = duration
        self._settle()

    def know(self, executor: str, task_ids: Iterable[str]) -> None:
        """Note the tasks of an executor that starts."""
        self._made.discard(executor)
        self._tasks.update((f"{executor}/{task_id}", task_id) for task_id in task_ids)

    def _tell_unknown(self) -> None:
        """Warn of names that no task has, unless the tasks of some executor are not known."""
        if self._made or not self._tasks:
            return
        known = tuple(f"{name}/" for name in (*self._tasks, *self._tasks.values()))
        for name in self.durations:
            if not f"{name}/".startswith(known):  # what follows the task is an item of it
                self._world.recorder.notice(self._unknown_text(name), "warning")

    def _unknown_text(self, name: str) -> str:
        near = get_close_matches(name, [*self._tasks.values(), *self._tasks], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return (
            f"an execution time is set for {name!r}, and no task is called that; {hint}valid: {', '.join(self._tasks)}"
        )

    def of(self, executor: str, task_id: str, item_id: str) -> Callable[[], int]:
        """Return the function that gives the next duration of an item in ns."""
        names = (f"{executor}/{item_id}", f"{executor}/{task_id}", item_id, task_id)
        self._tasks[names[0]] = item_id  # an item of a chain may have an id of its own
        duration = next((self.durations[name] for name in names if name in self.durations), 0)
        if callable(duration):
            return partial(_draw, duration, self._world.stream(f"{executor}/{task_id}/{item_id}/execution"), item_id)
        return partial(int, duration)

    def model(self, executor: str) -> ExecutionModel:
        """Return the execution model of one executor."""
        self._made.add(executor)
        model = _Model(self._world, self, executor)
        self._models.append(model)
        self._settle()
        return model

    def _settle(self) -> None:
        """Tell the models, which are asked at each wake."""
        for model in self._models:
            model.timeless = not (self.durations or self._seeded_order)


def _draw(duration: Callable[[Stream], int], stream: Stream, item_id: str) -> int:
    """Return the next drawn duration; refuse one that is no time in integer nanoseconds."""
    drawn_ns: float = duration(stream)
    if not isinstance(drawn_ns, int) or drawn_ns < 0:
        msg = f"execution time of {item_id!r} was drawn as {drawn_ns!r}, expected an int of nanoseconds, 0 or more"
        raise ValueError(msg)
    return drawn_ns


class _Model:
    """Charges modelled durations and holds back what an item sends until its end instant."""

    def __init__(self, world: World, executions: Executions, executor: str) -> None:
        self._now_ns = world.now_ns
        self._transport = world.transport
        self._executions = executions
        self._executor = executor
        self.timeless = True
        self._sources: dict[tuple[int, str], Callable[[], int]] = {}
        self._order = world.stream(f"{executor}/order")
        self._record_order = world.trace.channel(f"executor/{executor}", "order")

    def begin(self, task_index: int, task_id: str, item_id: str) -> int:
        key = (task_index, item_id)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._executions.of(self._executor, task_id, item_id)
        duration_ns = source()
        if duration_ns:
            self._transport.hold_until_ns = self._now_ns() + duration_ns
        return duration_ns

    def end(self) -> None:
        self._transport.hold_until_ns = 0

    # req: REQ_8012
    def order(self, task_indices: list[int]) -> list[int]:
        if self._executions.seeded_order and len(task_indices) > 1:
            self._order.shuffle(task_indices)
            self._record_order(struct.pack(f"<{len(task_indices)}H", *task_indices))
        return task_indices


# req: REQ_8010
class SimReactor:
    """Drives one executor loop in virtual time.

    Args:
        world: Whose events drive the loop.
        name: Name of the executor, its component path in the trace.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._post = world.post
        self._now_ns = world.now_ns
        self._name = self.name = name
        self.clock = world
        self.model = world.executions.model(name)
        self._sources: dict[int, ListenerPort] = {}
        self._fired: list[int] = []
        self._loop: Loop | None = None
        self._on_end: Callable[[BaseException | None], None] | None = None
        self._waiting = False
        self._is_idle = False  # it waits, and nothing has been posted that ends the wait
        self._woken = False
        self._deadline_ns: int | None = None
        self._timer: Timer | None = None
        self._timer_ns = 0
        self._held = 0
        self._put_off: Callable[[], None] | None = None
        self._resume_bound = self._resume  # once: Python 3.11 makes a new object of it at each use

    def attach(self, key: int, source: ListenerPort | int) -> None:
        if isinstance(source, int):
            msg = (
                f"executor {self._name!r}: trigger {key} is file descriptor {source}, and virtual time cannot wait "
                "for one; put the protocol behind its seam and use a simulated back-end"
            )
            raise ConfigurationError(msg)
        self._sources[key] = source
        source.set_waker(self.waker(key))

    def detach(self, key: int) -> None:
        source = self._sources.pop(key, None)
        if source is not None:
            source.set_waker(None)
        if key in self._fired:
            self._fired.remove(key)

    def waker(self, key: int) -> Callable[[], None]:
        """Return what tells that ``key`` has fired: a function of its own, which costs less to call than a partial."""
        post, resume = self._post, self._resume_bound

        def waker() -> None:
            fired = self._fired
            if key not in fired:
                fired.append(key)
            if self._is_idle:
                self._is_idle = False
                post(resume)

        return waker

    def wake(self) -> None:
        self._woken = True
        if self._is_idle:
            self._is_idle = False
            self._post(self._resume_bound)

    # req: REQ_8150
    def hold(self) -> None:
        """Let the loop stand still, as if its thread got no time; holds add up."""
        self._held += 1

    def release(self) -> None:
        """Take one hold back; without any left the loop goes on with what has come due meanwhile."""
        self._held = max(0, self._held - 1)
        put_off = self._put_off
        if not self._held and put_off is not None:
            self._put_off = None
            self._post(put_off)

    def release_all(self) -> None:
        """Take all holds back: whoever ends the run wants it to end."""
        self._held = min(self._held, 1)
        self.release()

    def launch(self, loop: Loop, on_end: Callable[[BaseException | None], None]) -> None:
        """Start ``loop`` at this instant; ``on_end`` is called with its error, or None, when it has ended."""
        self._loop, self._on_end = loop, on_end
        self._post(partial(self._first, loop))

    def drive(self, loop: Loop) -> None:
        """Step the World until ``loop`` has ended.

        Raises:
            RuntimeError: called from an item, or the World ran dry while the loop still waits.
        """
        self._world.refuse_nesting()
        ended: list[BaseException | None] = []
        self.launch(loop, ended.append)
        try:
            is_over = self._world.run_until(lambda: bool(ended))
        finally:
            self.close()  # the error of another component, or a World that ran dry, leaves the loop where it waits
        if not is_over:
            msg = f"executor {self._name!r} waits for something that never comes: nothing is left to do in this world"
            raise RuntimeError(msg)
        if ended[0] is not None:
            raise ended[0]

    def close(self) -> None:
        for key in list(self._sources):
            self.detach(key)
        loop, self._loop = self._loop, None
        if loop is not None:
            self._waiting = self._is_idle = False
            loop.close()
            self._end(None)

    def _first(self, loop: Loop) -> None:
        if self._held:
            self._put_off = partial(self._first, loop)
        elif loop is self._loop:
            self._advance(None)

    def _resume(self) -> None:
        """Answer the pending Wait with what has fired."""
        if self._held:
            self._put_off = self._resume_bound
        elif self._waiting:
            self._woken = False
            self._advance(self._fired)

    def _advance(self, fired: list[int] | None) -> None:
        """Run the loop to its next unanswered request; None starts it.

        ``fired`` answers the pending one: what has fired, which is forgotten, or an empty list.
        """
        loop, now_ns = self._loop, self._now_ns
        if loop is None:
            return
        self._waiting = self._is_idle = False
        try:
            while True:
                if fired:
                    self._fired = []
                    if len(fired) > 1:
                        fired.sort()
                # An empty answer is not the list that the next ones go into; a fresh generator takes nothing but None.
                request = loop.send(fired if fired or fired is None else ())  # type: ignore[arg-type]
                if type(request) is not Wait:
                    self._world.post_at(request.until_ns, partial(self._occupied, loop))
                    return
                self._deadline_ns = deadline_ns = request.deadline_ns
                if not (self._fired or self._woken or (deadline_ns is not None and deadline_ns <= now_ns())):
                    self._waiting = self._is_idle = True
                    if deadline_ns is not None and (self._timer is None or self._timer_ns > deadline_ns):
                        self._arm(deadline_ns)
                    return
                self._woken = False
                fired = self._fired
        except StopIteration:
            self._end(None)
        except BaseException as error:
            self._end(error)

    def _occupied(self, loop: Loop) -> None:
        if self._held:
            self._put_off = partial(self._occupied, loop)
        elif loop is self._loop:
            self._advance([])

    def _arm(self, deadline_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline_ns
        self._timer = self._world.call_at(deadline_ns, self._on_timer)

    def _on_timer(self) -> None:
        """Answer a Wait whose deadline has come; one timer stands for all deadlines, so it may be early."""
        self._timer = None
        if self._held:
            self._put_off = self._put_off or self._on_timer
            return
        deadline_ns = self._deadline_ns
        if not self._waiting or deadline_ns is None:
            return
        if deadline_ns > self._now_ns():
            self._arm(deadline_ns)
        elif self._is_idle:
            self._woken = False
            self._advance(self._fired)

    def _end(self, error: BaseException | None) -> None:
        self._loop = None
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(error)
