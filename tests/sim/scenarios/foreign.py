"""A program with threads of every kind beside an application with executors; what its threads do is in the trace."""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import monotonic_ns, sleep

from taktora_sim.world import World
from tests.sim.scenarios.busy import MS, Tank, build


class Program:
    """What somebody may have written who has never heard of a World, but for ``record``."""

    def __init__(self, world: World) -> None:
        self._record = world.trace.channel("program", "event")
        self._orders = queue.Queue[int | None](maxsize=3)
        self._results = queue.SimpleQueue[str]()
        self._changed = threading.Condition()
        self._done = 0

    def run(self) -> None:
        """Let workers, a pool, a timer and a loop that polls the clock get in each other's way."""
        workers = [threading.Thread(target=self._work, name=f"worker {number}") for number in range(4)]
        threading.Thread(target=self._report, daemon=True).start()
        for worker in workers:
            worker.start()
        threading.Timer(0.013, self._note, ["timer"]).start()
        for number in range(12):
            self._orders.put(number)
            self._note(f"ordered {number}")
        with ThreadPoolExecutor(max_workers=3) as pool:
            for future in as_completed({pool.submit(self._compute, name) for name in ("red", "green", "blue")}):
                self._note(f"pool {future.result()}")
        with self._changed:
            in_time = self._changed.wait_for(lambda: self._done == 12, timeout=1)
        self._note(f"all done: {in_time}")
        for _ in workers:
            self._orders.put(None)
        for worker in workers:
            worker.join()
        until_ns = monotonic_ns() + 2 * MS
        while monotonic_ns() < until_ns:
            pass
        logging.getLogger("foreign").info("done at %s", time.strftime("%H:%M:%S"))
        self._note("end")

    def _note(self, text: str) -> None:
        self._record(f"{threading.current_thread().name} {time.time_ns()} {text}".encode())

    def _work(self) -> None:
        while (number := self._orders.get()) is not None:
            sleep(0.003 * (1 + number % 3))
            self._results.put(f"{number}")
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _report(self) -> None:
        while True:
            self._note(f"result {self._results.get()}")

    def _compute(self, name: str) -> str:
        time.sleep(len(name) / 1000)
        return name


def scenario(world: World) -> None:
    """Run the program in 200 ms of an application's life."""
    tank = Tank(world)
    with build(tank).bind(world.runtime) as bound:
        bound.start()
        with world.foreign_threads():
            Program(world).run()
            ended_ns = world.now_ns()
        world.check("virtual time has passed", ended_ns > 20 * MS, f"{ended_ns} ns")
        world.run_for(200 * MS - world.now_ns())
