"""A reactor on a clock that only moves when told to, for tests of timing as equalities; it never sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from heapq import heappop, heappush

from taktora.executor.reactor import ExecutionModel, Loop, Wait
from taktora.transport.base import ListenerPort

__all__ = ["ManualClock", "ManualReactor", "ScriptedModel"]


class ManualClock:
    """A clock that stands still until it is moved.

    Args:
        now_ns: Where it starts.
        epoch_unix_ns: Civil time at its zero.
    """

    def __init__(self, now_ns: int = 0, epoch_unix_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._epoch_unix_ns = epoch_unix_ns

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return self._epoch_unix_ns + self._now_ns

    def advance(self, duration_ns: int) -> None:
        """Move on by ``duration_ns``: an item's body calls it to take time."""
        self._now_ns += duration_ns

    def advance_to(self, now_ns: int) -> None:
        """Move on to ``now_ns``; never back."""
        self._now_ns = max(self._now_ns, now_ns)


class ScriptedModel:
    """An execution model with fixed durations by item or task id; what is not named takes no time.

    Args:
        durations: Nanoseconds, or an iterable of them: one per run, the last one stays.
        order: Reorders simultaneously ready tasks; identity by default.
    """

    def __init__(
        self,
        durations: Mapping[str, int | Iterable[int]],
        order: Callable[[list[int]], list[int]] = lambda indices: indices,
    ) -> None:
        self._durations = {
            name: [value] if isinstance(value, int) else list(value) for name, value in durations.items()
        }
        self.order = order
        self.timeless = False  # it wants to be asked about every item, also where the answer is 0
        self.open = False

    def begin(self, task_index: int, task_id: str, item_id: str) -> int:  # noqa: ARG002 - the seam's signature
        self.open = True
        script = self._durations.get(item_id) or self._durations.get(task_id) or [0]
        return script.pop(0) if len(script) > 1 else script[0]

    def end(self) -> None:
        self.open = False


class ManualReactor:
    """Drives a loop in the time of a ManualClock.

    A wait ends at its deadline, plus the next entry of ``late_by_ns``, or at a scripted call that fires or wakes.

    Args:
        clock: Moved by this reactor, and by items that call ``advance``.
        model: Execution model, for runs in which the loop itself charges time.
        late_by_ns: How late successive deadlines are answered; on time when it is used up.
    """

    def __init__(self, clock: ManualClock, model: ExecutionModel | None = None, late_by_ns: Iterable[int] = ()) -> None:
        self.clock = clock
        self.model = model
        self.waits = 0
        self._late_by_ns = iter(late_by_ns)
        self._fired: list[int] = []
        self._woken = False
        self._script: list[tuple[int, int, Callable[[], object]]] = []
        self._calls = 0
        self.attached: dict[int, ListenerPort | int] = {}

    def at(self, time_ns: int, call: Callable[[], object]) -> None:
        """Call ``call`` when the clock reaches ``time_ns`` during a wait or an occupation."""
        self._calls += 1
        heappush(self._script, (time_ns, self._calls, call))

    def attach(self, key: int, source: ListenerPort | int) -> None:
        self.attached[key] = source
        if not isinstance(source, int):
            source.set_waker(self.waker(key))

    def detach(self, key: int) -> None:
        source = self.attached.pop(key, None)
        if source is not None and not isinstance(source, int):
            source.set_waker(None)

    def waker(self, key: int) -> Callable[[], None]:
        return partial(self._fire, key)

    def _fire(self, key: int) -> None:
        self._fired.append(key)

    def wake(self) -> None:
        self._woken = True

    def drive(self, loop: Loop) -> None:
        try:
            request = next(loop)
            while True:
                if isinstance(request, Wait):
                    request = loop.send(self._wait(request.deadline_ns))
                else:
                    self._pass_until(request.until_ns)
                    request = loop.send(())
        except StopIteration:
            return
        finally:
            loop.close()

    def close(self) -> None:
        for key in list(self.attached):
            self.detach(key)

    def _wait(self, deadline_ns: int | None) -> list[int]:
        self.waits += 1
        while not (self._fired or self._woken):
            if self._script and (deadline_ns is None or self._script[0][0] <= deadline_ns):
                self._run_next()
            elif deadline_ns is not None:
                self.clock.advance_to(deadline_ns + next(self._late_by_ns, 0))
                break
            else:
                msg = "the loop waits without a deadline and the script has nothing left that could end the wait"
                raise RuntimeError(msg)
        fired = sorted(set(self._fired))
        self._fired.clear()
        self._woken = False
        return fired

    def _pass_until(self, until_ns: int) -> None:
        while self._script and self._script[0][0] <= until_ns:
            self._run_next()
        self.clock.advance_to(until_ns)

    def _run_next(self) -> None:
        time_ns, _, call = heappop(self._script)
        self.clock.advance_to(time_ns)
        call()
