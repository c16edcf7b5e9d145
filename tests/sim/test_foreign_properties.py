"""Random programs of threads: each repeats exactly, locks exclude, nothing is lost, waits end when they should."""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from taktora_sim.world import World

MS = 1_000_000
THREADS = 8
STEPS = 40

pytestmark = pytest.mark.verifies("REQ_8203", "REQ_8001", "REQ_8002")


class Chaos:
    """Threads that use every primitive at random, with timeouts everywhere; breaches of a rule are in ``breaches``."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.log: list[tuple[int, int, str, object]] = []
        self.breaches: list[str] = []
        self.put = self.got = 0
        self.lock, self.again = threading.Lock(), threading.RLock()
        self.semaphore, self.inside = threading.BoundedSemaphore(3), 0
        self.condition, self.version = threading.Condition(), 0
        self.event = threading.Event()
        self.box: queue.Queue[int] = queue.Queue(maxsize=4)
        self.holders = 0

    def run(self) -> None:
        """Let all threads run to their end."""
        threads = [threading.Thread(target=self.live, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def live(self, number: int) -> None:
        """Do random things, and note each with its instant and its outcome."""
        draws = random.Random(self.seed * 1000 + number)
        acts = [self.exclude, self.enter_again, self.share, self.change, self.watch, self.give, self.take, self.signal]
        for _ in range(STEPS):
            act = draws.choice([*acts, self.doze])
            timeout_ms = draws.randrange(0, 20)
            began_ns = self.world.now_ns()
            outcome = act(draws, timeout_ms / 1000)
            self.log.append((self.world.now_ns(), number, act.__name__, outcome))
            if outcome is False and self.world.now_ns() != began_ns + timeout_ms * MS:
                self.breaches.append(
                    f"{act.__name__} gave up after {self.world.now_ns() - began_ns}, not {timeout_ms} ms"
                )

    def exclude(self, draws: random.Random, timeout_s: float) -> bool:
        """Hold the lock, alone."""
        if not self.lock.acquire(timeout=timeout_s):
            return False
        self.holders += 1
        if self.holders != 1:
            self.breaches.append(f"{self.holders} hold one lock")
        time.sleep(draws.randrange(4) / 1000)
        self.holders -= 1
        self.lock.release()
        return True

    def enter_again(self, draws: random.Random, timeout_s: float) -> bool:
        """Hold the reentrant lock twice."""
        if not self.again.acquire(timeout=timeout_s):
            return False
        with self.again:
            time.sleep(draws.randrange(3) / 1000)
        self.again.release()
        return True

    def share(self, draws: random.Random, timeout_s: float) -> bool:
        """Be one of three."""
        if not self.semaphore.acquire(timeout=timeout_s):
            return False
        self.inside += 1
        if self.inside > 3:
            self.breaches.append(f"{self.inside} are inside")
        time.sleep(draws.randrange(6) / 1000)
        self.inside -= 1
        self.semaphore.release()
        return True

    def change(self, draws: random.Random, _timeout_s: float) -> int:
        """Change what others watch."""
        with self.condition:
            self.version += 1
            self.condition.notify(draws.randrange(1, 4))
            return self.version

    def watch(self, _draws: random.Random, timeout_s: float) -> bool:
        """Wait for a change."""
        with self.condition:
            before = self.version
            return self.condition.wait_for(lambda: self.version > before, timeout_s)

    def give(self, _draws: random.Random, timeout_s: float) -> bool:
        """Put something into the box."""
        try:
            self.box.put(self.put, timeout=timeout_s)
        except queue.Full:
            return False
        self.put += 1
        return True

    def take(self, _draws: random.Random, timeout_s: float) -> int | bool:
        """Take something out."""
        try:
            self.box.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self.got += 1
        return self.got

    def signal(self, draws: random.Random, timeout_s: float) -> bool:
        """Set the event, or wait for it."""
        if draws.random() < 0.5:
            self.event.set()
            self.event.clear()
            return True
        return self.event.wait(timeout_s)

    def doze(self, draws: random.Random, _timeout_s: float) -> str:
        """Sleep, perhaps for no time, or run the World."""
        if draws.random() < 0.3:
            self.world.run_for(draws.randrange(3) * MS)
            return "ran"
        time.sleep(draws.randrange(5) / 1000)
        return "slept"


@pytest.fixture(autouse=True)
def _threads_are_interrupted_often() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


def play(seed: int) -> Chaos:
    with World(seed) as world, world.foreign_threads():
        chaos = Chaos(world, seed)
        chaos.run()
    return chaos


@pytest.mark.parametrize("seed", range(12))
def test_a_random_program_keeps_the_rules_and_repeats(seed: int) -> None:
    first, second = play(seed), play(seed)

    assert first.breaches == []
    assert first.put - first.got == first.box.qsize()
    assert first.log == second.log
    assert [at_ns for at_ns, *_ in first.log] == sorted(at_ns for at_ns, *_ in first.log)
    assert len(first.log) == THREADS * STEPS


def test_programs_differ() -> None:
    assert play(0).log != play(1).log
