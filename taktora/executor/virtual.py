"""Modelled execution: items take the time a model gives them, inline or on virtual workers; all in one thread.

An item runs at its start instant; the loop then asks to be occupied until its end instant, at which monitors, faults
and successors see it end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from collections.abc import Sequence as Ordered
from heapq import heappop, heappush
from typing import TypeAlias

from taktora.executor.conduct import DONE, FAILED, Conduct
from taktora.executor.fatal import FatalSite
from taktora.executor.graph import Graph, Vertex
from taktora.executor.reactor import ExecutionModel, Occupy
from taktora.executor.task import Sequence, Task, Unit

__all__ = ["ModelledInline", "ModelledWorkers", "Steps"]

Steps: TypeAlias = Generator[Occupy, Ordered[int], None]


class _Modelled(ABC):
    """What inline execution and virtual workers share.

    Args:
        conduct: How tasks are carried out.
        model: Durations, and the order of simultaneously ready tasks.
        now_ns: The reactor's clock.
        tasks: The task table.
    """

    def __init__(
        self, conduct: Conduct, model: ExecutionModel, now_ns: Callable[[], int], tasks: Ordered[Task]
    ) -> None:
        self._conduct = conduct
        self._model = model
        self._begin = model.begin
        self._end = model.end
        self._order = model.order
        self._now_ns = now_ns
        self._tasks = tasks
        self._occupy = Occupy()
        self.timeless_model: ExecutionModel | None = None
        """While it is timeless, running the tasks here and now, as the real worlds do, comes to the same."""

    def run(self, ready: list[Task]) -> Steps:
        """Run the tasks of a wake; yields whenever time has to pass."""
        if len(ready) > 1:
            tasks = self._tasks
            ready = [tasks[index] for index in self._order([task.index for task in ready])]
        try:
            yield from self._run_all(ready)
        except Exception as error:
            self._conduct.fail_fast.trip(error, FatalSite.INLINE_SUBMIT)

    @abstractmethod
    def _run_all(self, ready: list[Task]) -> Steps: ...

    def _invoke(self, unit: Unit) -> tuple[int, int]:
        """Run one item at this instant; return how it ended and the instant of its end."""
        task = unit.task
        duration_ns = self._begin(task.index, task.id, unit.item_id)
        try:
            outcome = self._conduct.invoke(unit)
        finally:
            self._end()
        return outcome, self._now_ns() + duration_ns

    def _idle(self, task: Task) -> None:
        """Let a faulted task without handler pass: nothing runs, the scan counts."""
        task.pre_ns = self._conduct.telemetry_ns()


# req: REQ_8011, REQ_8012
class ModelledInline(_Modelled):
    """Zero workers: one task after the other, a graph's vertices in the order in which they become ready."""

    def __init__(
        self, conduct: Conduct, model: ExecutionModel, now_ns: Callable[[], int], tasks: Ordered[Task]
    ) -> None:
        super().__init__(conduct, model, now_ns, tasks)
        self.timeless_model = model

    def _run_all(self, ready: list[Task]) -> Steps:
        conduct, now_ns, occupy, begin, end = self._conduct, self._now_ns, self._occupy, self._begin, self._end
        route, start, invoke, settle, finish = (
            conduct.route,
            conduct.start,
            conduct.invoke,
            conduct.settle,
            conduct.finish,
        )
        for task in ready:
            body = route(task)
            if body is None:
                self._idle(task)
                continue
            start(task)
            task.pre_ns = task.started_ns
            if isinstance(body, Graph):
                yield from self._run_graph(body)
                finish(task)
                continue
            for unit in body.units:
                duration_ns = begin(task.index, task.id, unit.item_id)
                try:
                    outcome = invoke(unit)
                finally:
                    end()
                if duration_ns:
                    occupy.until_ns = now_ns() + duration_ns
                    yield occupy
                if outcome or unit.app_id is not None:
                    settle(unit, outcome)
                if outcome:
                    task.ok = outcome != FAILED
                    break
            finish(task)

    def _run_graph(self, graph: Graph) -> Steps:
        waiting = graph.begin()
        while waiting:
            vertex = waiting.popleft()
            outcome, until_ns = self._invoke(vertex.unit)
            if until_ns > self._now_ns():
                self._occupy.until_ns = until_ns
                yield self._occupy
            self._conduct.finish_vertex(vertex, outcome)
            graph.complete(vertex, outcome == DONE, waiting.append)


# req: REQ_8011
class ModelledWorkers(_Modelled):
    """``size`` virtual workers: a job starts when a worker is free, durations overlap, one barrier at the end."""

    def __init__(
        self,
        conduct: Conduct,
        model: ExecutionModel,
        now_ns: Callable[[], int],
        tasks: Ordered[Task],
        size: int,
    ) -> None:
        super().__init__(conduct, model, now_ns, tasks)
        self._free = size
        self._waiting: deque[Sequence | Vertex] = deque()
        self._running: list[tuple[int, int, int, Sequence | Vertex]] = []
        self._started = 0

    def _run_all(self, ready: list[Task]) -> Steps:
        self._submit(ready)
        waiting, running, occupy = self._waiting, self._running, self._occupy
        while waiting or running:
            while waiting and self._free:
                self._free -= 1
                self._start(waiting.popleft())
            until_ns = running[0][0]
            if until_ns > self._now_ns():
                occupy.until_ns = until_ns
                yield occupy
            _, _, outcome, job = heappop(running)
            self._go_on(job, outcome)

    def _submit(self, ready: list[Task]) -> None:
        for task in ready:
            body = self._conduct.route(task)
            task.pre_ns = self._conduct.telemetry_ns()
            if isinstance(body, Graph):
                body.begin().clear()
                self._waiting.append(body.root)
            elif body is not None:
                body.place = 0
                self._waiting.append(body)

    def _start(self, job: Sequence | Vertex) -> None:
        if isinstance(job, Sequence):
            self._conduct.start(job.task)
        elif job is job.graph.root:
            self._conduct.start(job.graph.task)
        self._launch(job)

    def _launch(self, job: Sequence | Vertex) -> None:
        unit = job.units[job.place] if isinstance(job, Sequence) else job.unit
        outcome, until_ns = self._invoke(unit)
        self._started += 1
        heappush(self._running, (until_ns, self._started, outcome, job))

    def _go_on(self, job: Sequence | Vertex, outcome: int) -> None:
        """Let what has just ended be seen, and keep or free its worker."""
        conduct = self._conduct
        if isinstance(job, Sequence):
            unit = job.units[job.place]
            if outcome or unit.app_id is not None:
                conduct.settle(unit, outcome)
            job.place += 1
            if outcome == DONE and job.place < len(job.units):
                self._launch(job)
                return
            job.task.ok = outcome != FAILED
            conduct.finish(job.task)
        else:
            graph = job.graph
            conduct.finish_vertex(job, outcome)
            if graph.complete(job, outcome == DONE, self._waiting.append):
                conduct.finish(graph.task)
        self._free += 1
