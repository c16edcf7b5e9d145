"""The fixed pool of worker threads of one run; it never grows, never shrinks and never polls (REQ_0061, REQ_0063)."""

from __future__ import annotations

import threading
from typing import TypeAlias

from taktora.executor.attributes import AppliedAttributes, ThreadAttributes, apply_attributes
from taktora.executor.conduct import DONE, Conduct
from taktora.executor.fatal import FatalSite
from taktora.executor.graph import Graph, Vertex
from taktora.executor.task import Sequence, Task

__all__ = ["WorkerPool"]

Job: TypeAlias = Sequence | Vertex


# req: REQ_0061, REQ_0063
# req: REQ_0060, REQ_0061, REQ_0063
class WorkerPool:
    """Threads that take jobs from a ring of fixed size; the dispatch thread waits for all of them at a barrier.

    Both waits are on conditions without a timeout: how soon a waiter goes on is the kernel's wake-up latency.

    Args:
        conduct: How tasks are carried out.
        size: Number of threads, at least 1.
        attributes: What each thread is to be given; None leaves it as it is.
        capacity: Most jobs of one wake: every task, every vertex.
    """

    def __init__(self, conduct: Conduct, size: int, attributes: ThreadAttributes | None, capacity: int) -> None:
        self._conduct = conduct
        self._attributes = attributes
        self._ring: list[Job | None] = [None] * (1 << max(0, capacity - 1).bit_length())
        self._mask = len(self._ring) - 1
        self._head = self._tail = 0
        self._outstanding = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self.applied: list[AppliedAttributes] = []
        prefix = attributes.name_prefix if attributes else "taktora-worker"
        self._threads = [
            threading.Thread(target=self._serve, name=f"{prefix}-{number}", daemon=True) for number in range(size)
        ]

    def start(self) -> None:
        """Start the threads and wait until each has its attributes."""
        self._outstanding = len(self._threads)
        for thread in self._threads:
            thread.start()
        self._barrier()
        self.applied.sort(key=lambda applied: applied.thread)

    def run(self, ready: list[Task], still_ns: int | None = None) -> bool:  # noqa: ARG002 - threads take time
        """Run the tasks of a wake on the workers and return when all are done; ``Conduct.fold`` takes the tokens."""
        conduct = self._conduct
        for task in ready:
            task.pre_ns = conduct.telemetry_ns()
            body = conduct.route(task)
            if isinstance(body, Graph):
                body.begin().clear()
                self._submit(body.root)
            elif body is not None:
                self._submit(body)
        self._barrier()
        return True

    def stop(self) -> None:
        """End all threads and wait for them."""
        with self._lock:
            self._ended = True
            self._work.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _submit(self, job: Job) -> None:
        with self._lock:
            self._push(job)

    def _push(self, job: Job) -> None:
        self._ring[self._tail & self._mask] = job
        self._tail += 1
        self._outstanding += 1
        self._work.notify()

    def _barrier(self) -> None:
        with self._lock:
            while self._outstanding:
                self._idle.wait()
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        if self._attributes is not None:
            self.applied.append(apply_attributes(self._attributes))
        self._done()
        while (job := self._take()) is not None:
            try:
                self._run(job)
            except Exception as error:
                self._fail(error)
            except BaseException as error:
                self._failure = self._failure or error  # it ends the run, as in the dispatch thread
            del job
            self._done()

    def _take(self) -> Job | None:
        with self._lock:
            while self._head == self._tail:
                if self._ended:
                    return None
                self._work.wait()
            place = self._head & self._mask
            job, self._ring[place] = self._ring[place], None
            self._head += 1
            return job

    def _done(self) -> None:
        with self._lock:
            self._outstanding -= 1
            if not self._outstanding:
                self._idle.notify()

    def _run(self, job: Job) -> None:
        if isinstance(job, Sequence):
            self._conduct.run_task(job.task, job)
        else:
            self._run_vertex(job)

    def _run_vertex(self, vertex: Vertex) -> None:
        conduct, graph = self._conduct, vertex.graph
        if vertex is graph.root:
            conduct.start(graph.task)
        outcome = conduct.invoke(vertex.unit)
        conduct.finish_vertex(vertex, outcome)
        with self._lock:
            done = graph.complete(vertex, outcome == DONE, self._push)
        if done:
            conduct.finish(graph.task)

    def _fail(self, error: BaseException) -> None:
        """Cross the fail-fast boundary; where the terminal action returns, the barrier raises what is left."""
        try:
            self._conduct.fail_fast.trip(error, FatalSite.POOL_WORKER)
        except BaseException as left:
            self._failure = left
