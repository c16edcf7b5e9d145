"""Keeps all that an EtherCAT bus reports, for tests: in virtual time, in threads, from a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from taktora.connector.health import ConnectorHealth, Degraded, Down
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import CycleRecord

__all__ = ["BusLog", "health_text"]


class BusLog:
    """A ``BusListener`` that keeps everything, in order."""

    def __init__(self) -> None:
        self.records: list[CycleRecord] = []
        self.healths: list[ConnectorHealth] = []
        self.emergencies: list[Emergency] = []
        self.failures: list[BaseException] = []
        self._news = threading.Condition()

    def on_cycle(self, record: CycleRecord) -> None:
        self._add(self.records, record)

    def on_health(self, health: ConnectorHealth) -> None:
        self._add(self.healths, health)

    def on_emergency(self, emergency: Emergency) -> None:
        self._add(self.emergencies, emergency)

    def on_failure(self, error: BaseException) -> None:
        self._add(self.failures, error)

    @property
    def kinds(self) -> list[str]:
        """The moves of health by name: ``["Up", "Degraded", "Up"]``."""
        return [health.kind.value for health in self.healths]

    @property
    def reasons(self) -> list[str]:
        """The reason of each move, empty where a state has none."""
        return [str(health.reason) if isinstance(health, Degraded | Down) else "" for health in self.healths]

    @property
    def texts(self) -> list[str]:
        """Each move as a line: ``Degraded: cycle failed: ...``."""
        return [health_text(health) for health in self.healths]

    def wait(self, condition: Callable[[BusLog], object], patience_s: float = 60.0) -> None:
        """Wait in real time until ``condition`` holds, which is asked at each report.

        Raises:
            AssertionError: it does not within ``patience_s``, or the bus has failed meanwhile.
        """
        with self._news:
            self._news.wait_for(lambda: condition(self) or self.failures, patience_s)
            assert condition(self), f"failures {self.failures}, health {self.texts}, {len(self.records)} cycles"

    def _add(self, to: list[Any], what: object) -> None:
        with self._news:
            to.append(what)
            self._news.notify_all()


def health_text(health: ConnectorHealth) -> str:
    """Return state and reason: ``Down: nobody answers``."""
    reason = f": {health.reason}" if isinstance(health, Degraded | Down) else ""
    return health.kind.value + reason
