"""Why an EtherCAT bus is not Up, as values with a text, and the moves it reports; it watches nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taktora.connector.health import LEGAL_TRANSITIONS, Connecting, ConnectorHealth, ConnectorHealthKind
from taktora.ethercat.driver import AlState

__all__ = [
    "AgedOutputs",
    "BusHealth",
    "LowWorkingCounter",
    "NotOperational",
    "bring_up_failed",
    "cycle_failed",
    "recover_failed",
]

_MOST_NAMED = 4


# req: REQ_0320
@dataclass(frozen=True, slots=True)
class LowWorkingCounter:
    """Somebody did not take part in an exchange: ``missing``, where the AL states say who. It tells two not apart."""

    cycle_index: int
    observed: int
    expected: int
    missing: tuple[NotOperational, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        more = len(self.missing) - _MOST_NAMED
        who = ", ".join(map(str, self.missing[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
        return (
            f"working counter below expected: cycle {self.cycle_index}, "
            f"observed {self.observed}, expected {self.expected}{who and '; '}{who}"
        )


# req: REQ_8150
@dataclass(frozen=True, slots=True)
class AgedOutputs:
    """The application no longer renews the outputs of these SubDevices, safe now; largest ``age`` in cycles."""

    subdevices: tuple[str, ...]
    age: int

    def __str__(self) -> str:
        more = len(self.subdevices) - _MOST_NAMED
        names = ", ".join(self.subdevices[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"outputs of {names} not renewed for {self.age} cycles: safe values sent, SAFE-OP"

    @property
    def hint(self) -> str:
        """What helps where the application is well and merely late; for a log."""
        return (
            "on a busy computer: give the application real-time priority (chrt -f 40 ...) or raise "
            "max_output_age_cycles, see docs/ethercat.md"
        )


# req: REQ_0319
@dataclass(frozen=True, slots=True)
class NotOperational:
    """A SubDevice is not in OP though the working counter may be good; NONE: it does not even answer."""

    subdevice: str
    state: AlState
    al_status_code: int = 0

    def __str__(self) -> str:
        if self.state is AlState.NONE:
            return f"{self.subdevice} does not answer"
        code = f", AL status code {self.al_status_code:#06x}" if self.al_status_code else ""
        return f"{self.subdevice} is in {self.state.text} instead of OP{code}"


# req: REQ_0842
def bring_up_failed(error: BaseException) -> str:
    return f"bring-up failed: {error}"


# req: REQ_0331
def cycle_failed(error: BaseException) -> str:
    return f"cycle failed: {error}"


# req: REQ_0333
def recover_failed(error: BaseException) -> str:
    return f"recover failed: {error}"


class BusHealth:
    """The bus's own state of health: reports legal moves only, and is silent about all others.

    Args:
        report: Told of each move.
        now_ns: When the bring-up began; the state is Connecting.
    """

    __slots__ = ("_report", "current")

    def __init__(self, report: Callable[[ConnectorHealth], None], now_ns: int) -> None:
        self._report = report
        self.current: ConnectorHealth = Connecting(now_ns)

    @property
    def kind(self) -> ConnectorHealthKind:
        return self.current.kind

    def move(self, target: ConnectorHealth) -> bool:
        """Enter ``target`` and report it; False and nothing else if the table has no such move."""
        if (self.current.kind, target.kind) not in LEGAL_TRANSITIONS:
            return False
        self.current = target
        self._report(target)
        return True
