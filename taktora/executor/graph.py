"""Graphs of items: the builder that validates them and the scratch one run of them needs; nothing runs here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Self

from taktora.errors import InvalidGraph
from taktora.executor.items import Item
from taktora.executor.task import Task, Unit

__all__ = ["Graph", "GraphBuilder", "Vertex", "check_graph"]


class GraphBuilder:
    """Collects the vertices and edges of one graph; ``build`` validates it and adds it to the executor.

    Args:
        add: What ``build`` hands the finished graph to: items, edges, root, id; returns the task id.
        task_id: Id asked for, or None.
    """

    def __init__(
        self,
        add: Callable[[list[Item], list[tuple[int, int]], int, str | None], str],
        task_id: str | None = None,
    ) -> None:
        self._add = add
        self._task_id = task_id
        self._items: list[Item] = []
        self._edges: list[tuple[int, int]] = []
        self._root: int | None = None

    def vertex(self, item: Item) -> int:
        """Add an item and return the index by which edges name it."""
        self._items.append(item)
        return len(self._items) - 1

    def edge(self, source: int, target: int) -> Self:
        """Let ``target`` wait for ``source``; a repeated edge counts once."""
        if (source, target) not in self._edges:
            self._edges.append((source, target))
        return self

    def root(self, vertex: int) -> Self:
        """Name the vertex whose triggers gate the graph."""
        self._root = vertex
        return self

    def build(self) -> str:
        """Validate the graph, add it to the executor and return its task id.

        Raises:
            InvalidGraph: see :func:`check_graph`.
        """
        check_graph(len(self._items), self._edges, self._root)
        assert self._root is not None
        return self._add(self._items, self._edges, self._root, self._task_id)


def check_graph(count: int, edges: list[tuple[int, int]], root: int | None) -> None:
    """Refuse what is not a graph with one source, the root, from which every vertex is reached.

    Raises:
        InvalidGraph: no vertices, no root, an index out of range, a self-loop, a cycle, an unreachable vertex.
    """
    if not count:
        raise InvalidGraph("the graph has no vertices; add at least one with vertex(item)")
    if root is None:
        raise InvalidGraph(f"the graph of {count} vertices has no root; name one with root(index)")
    for name, index in [("root", root), *((f"edge {edge}", index) for edge in edges for index in edge)]:
        if not 0 <= index < count:
            raise InvalidGraph(f"{name}: vertex {index} does not exist; the graph has vertices 0 to {count - 1}")
    for source, target in edges:
        if source == target:
            raise InvalidGraph(f"edge ({source}, {target}) is a self-loop; a vertex cannot wait for itself")
    _refuse_cycle(count, edges)
    _refuse_unreachable(count, edges, root)


def _refuse_cycle(count: int, edges: list[tuple[int, int]]) -> None:
    waiting = [sum(target == vertex for _, target in edges) for vertex in range(count)]
    ready = [vertex for vertex in range(count) if not waiting[vertex]]
    for vertex in ready:
        for source, target in edges:
            if source == vertex:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    if len(ready) < count:
        stuck = [vertex for vertex in range(count) if waiting[vertex]]
        raise InvalidGraph(f"vertices {stuck} wait for each other in a cycle; take one edge out")


def _refuse_unreachable(count: int, edges: list[tuple[int, int]], root: int) -> None:
    reached = [root]
    for vertex in reached:
        reached.extend(target for source, target in edges if source == vertex and target not in reached)
    missing = [vertex for vertex in range(count) if vertex not in reached]
    if missing:
        raise InvalidGraph(f"vertices {missing} are not reached from root {root}; add an edge to each")


class Vertex:
    """One unit of a graph with its successors and its counters for one run."""

    __slots__ = ("cancelled", "graph", "in_degree", "successors", "unit", "waiting")

    def __init__(self, graph: Graph, unit: Unit) -> None:
        self.graph = graph
        self.unit = unit
        self.successors: tuple[Vertex, ...] = ()
        self.in_degree = 0
        self.waiting = 0
        self.cancelled = False


# req: REQ_0021
# req: REQ_0021, REQ_0022
class Graph:
    """A directed acyclic graph as a task's body.

    A vertex that stops or fails cancels exactly its descendants; other branches go on, so that what runs does not
    depend on the number of workers.
    """

    __slots__ = ("_ready", "remaining", "root", "task", "vertices")

    def __init__(self, task: Task, units: list[Unit], edges: list[tuple[int, int]], root: int) -> None:
        self.task = task
        self.vertices = tuple(Vertex(self, unit) for unit in units)
        self.root = self.vertices[root]
        for index, vertex in enumerate(self.vertices):
            vertex.successors = tuple(self.vertices[target] for source, target in edges if source == index)
            vertex.in_degree = sum(target == index for _, target in edges)
        self.remaining = 0
        self._ready: deque[Vertex] = deque()

    def begin(self) -> deque[Vertex]:
        """Reset the scratch for one run; return the queue of ready vertices, which holds the root."""
        self.remaining = len(self.vertices)
        for vertex in self.vertices:
            vertex.waiting = vertex.in_degree
            vertex.cancelled = False
        self._ready.clear()  # a run torn off half-way may have left vertices
        self._ready.append(self.root)
        return self._ready

    # req: REQ_0022
    def complete(self, vertex: Vertex, go_on: bool, ready: Callable[[Vertex], object]) -> bool:
        """Count ``vertex`` as done and hand each vertex that became ready to ``ready``; True when the graph is done.

        With workers the caller holds the pool's lock.
        """
        self.remaining -= 1
        for successor in vertex.successors:
            if not go_on:
                successor.cancelled = True
            successor.waiting -= 1
            if successor.waiting == 0:
                if successor.cancelled:
                    self.complete(successor, False, ready)
                else:
                    ready(successor)
        return self.remaining == 0
