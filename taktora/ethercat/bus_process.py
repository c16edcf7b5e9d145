"""The process behind a :class:`ProcessBus`: steps the runner on time until it is stopped or its parent is gone.

``python -m taktora.ethercat.bus_process SOCKET IMAGE SETUP PARENT``: three inherited file descriptors and a process id.
Whatever ends it, it leaves the SubDevices safe: safe outputs, SAFE-OP, INIT.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import replace
from typing import Any, Final

from taktora.clock import SystemClock
from taktora.connector.health import ConnectorHealth, Degraded, Down
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import CycleRecord
from taktora.ethercat.process import CYCLE, EMERGENCY, ENDED, HEALTH, BusSetup, unpickled
from taktora.ethercat.runner import run_bus
from taktora.ethercat.shared_image import SharedImage
from taktora.executor.attributes import apply_attributes
from taktora.executor.tuning import timer_slack
from taktora.runtime import SystemEntropy

__all__ = ["main"]

_POLLED_ABOVE_NS: Final = 20_000_000
_LONGEST_POLL_MS: Final = 100
_KEPT: Final = 10_000


class Outbox:
    """What is told to the parent (a ``BusListener``); it never waits for it.

    A cycle is only announced, its record lies in shared memory: an announcement that finds no room is left out, the
    next one covers it. Health and emergencies wait for room, in order.
    """

    def __init__(self, connection: socket.socket, image: SharedImage) -> None:
        self._socket = connection
        self._records = image.records
        self._waiting: deque[bytes] = deque(maxlen=_KEPT)

    def on_cycle(self, record: CycleRecord) -> None:
        number = self._records.put(record)
        if self._waiting:
            self._flush()
        if not self._waiting:
            self._send(CYCLE + number.to_bytes(8, "little"))

    def on_health(self, health: ConnectorHealth) -> None:
        self._put(HEALTH + pickle.dumps(_portable(health)))

    def on_emergency(self, emergency: Emergency) -> None:
        self._put(EMERGENCY + pickle.dumps(emergency))

    def on_failure(self, error: BaseException) -> None:
        raise error

    def end(self) -> None:
        """Say that the bus is done with: its health said why."""
        self._put(ENDED)

    def _put(self, message: bytes) -> None:
        self._waiting.append(message)
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()

    def _send(self, message: bytes) -> bool:
        try:
            self._socket.send(message, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the parent is gone; the pacer sees that too
        return True


class Pacer:
    """Waits for absolute instants; says when it is time to end instead: asked to, or nobody is there any more."""

    def __init__(self, connection: socket.socket, parent: int) -> None:
        self._parent = parent
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._stopped = False

    def stop(self) -> None:
        """End at the next look (signal handler)."""
        self._stopped = True

    def wait_until(self, due_ns: int) -> bool:
        """Wait until ``due_ns`` of CLOCK_MONOTONIC; False when it is time to end."""
        while True:
            # All that the parent ever sends is the request to stop; end of file says the same.
            if self._stopped or self._poll.poll(0) or os.getppid() != self._parent:
                return False
            remaining_ns = due_ns - time.monotonic_ns()
            if remaining_ns <= 0:
                return True
            if remaining_ns > _POLLED_ABOVE_NS:
                self._poll.poll(min(_LONGEST_POLL_MS, remaining_ns // 1_000_000 - 5))
            else:
                time.sleep(remaining_ns / 1e9)


def main(arguments: list[str]) -> int:
    """Run the bus; returns the exit status."""
    socket_fd, image_fd, setup_fd, parent = map(int, arguments)
    faulthandler.enable()
    connection = socket.socket(fileno=socket_fd)
    pacer = Pacer(connection, parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, lambda _signal, _frame: pacer.stop())
    with os.fdopen(setup_fd, "rb") as file:
        setup: BusSetup = unpickled(file.read())
    image = SharedImage(setup.plan.layout(), image_fd, setup.records)
    for refusal in apply_attributes(setup.attributes).refused:
        print(refusal, file=sys.stderr, flush=True)  # noqa: T201 - the parent logs it
    outbox = Outbox(connection, image)
    with timer_slack():
        if _run(setup, pacer, outbox, image):
            outbox.end()
    return 0


def _run(setup: BusSetup, pacer: Pacer, outbox: Outbox, image: SharedImage) -> bool:
    """Step the runner; True when it has come to its own end."""
    clock, entropy = SystemClock(), SystemEntropy()
    driver: Any = None
    try:
        driver = setup.make_driver(setup.plan)
        steps = run_bus(setup.plan, driver, clock, outbox, image.outputs, lambda: setup.make_policy(entropy))
        gc.collect()
        gc.freeze()  # what lives now is never looked at again
        for due_ns in steps:
            if not pacer.wait_until(due_ns):
                steps.close()
                return False
        return True
    finally:
        if driver is not None:
            driver.close()


def _portable(health: ConnectorHealth) -> ConnectorHealth:
    """Return ``health`` with a reason that pickle takes, as text if need be."""
    if isinstance(health, (Degraded, Down)):
        try:
            pickle.dumps(health.reason)
        except (pickle.PicklingError, AttributeError, TypeError):
            return replace(health, reason=str(health.reason))
    return health


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
