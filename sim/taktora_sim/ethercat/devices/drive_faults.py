"""What can go wrong with a simulated drive, as fault kinds; what comes of it is the drive's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora_sim.faults import FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora_sim.ethercat.devices.drive import Cia402Drive

__all__ = ["DriveFaults"]


# req: REQ_8109
class DriveFaults:
    """The faults of one drive that are active."""

    def __init__(self, drive: Cia402Drive) -> None:
        self._drive = drive
        self.causes: list[Parameters] = []
        """What keeps the drive from being reset."""
        self.refusals = 0
        """Faults that keep it from being enabled."""
        self._sticks = 0

    def kinds(self) -> dict[str, FaultKind]:
        """Return the fault kinds that a drive has beside those of every device."""
        code = Param(int, default=0x2310, low=1, high=0xFFFF)
        force = Param(float, default=50.0, low=-1e6, high=1e6, unit="N")
        return {
            "trip-drive": FaultKind(
                self._begin_cause, self._end_cause, {"code": code}, "the drive finds error 0x{code:04X}"
            ),
            "stick-encoder": _lasting(self._stick, "its encoder stands still"),
            "block-axis": _lasting(lambda by: self._drive.axis.block(by), "its axis is blocked"),
            "load-axis": FaultKind(
                start=lambda given: self._push(float(given["force"])),
                stop=lambda given: self._push(-float(given["force"])),
                params={"force": force},
                describe="a force of {force} N pushes its axis",
            ),
            "refuse-enable": _lasting(self._refuse, "it does not enable its operation"),
        }

    def _begin_cause(self, given: Parameters) -> None:
        self.causes.append(given)
        self._drive.trip(int(given["code"]))

    def _end_cause(self, given: Parameters) -> None:
        self.causes = [each for each in self.causes if each is not given]

    def _stick(self, by: int) -> None:
        self._drive.wake()
        self._sticks += by
        servo = self._drive.servo
        if not self._sticks:
            servo.stuck_at = None
        elif servo.stuck_at is None:
            servo.stuck_at = servo.axis.x

    def _push(self, force: float) -> None:
        self._drive.axis.load += force

    def _refuse(self, by: int) -> None:
        self.refusals += by
        if not self.refusals:
            self._drive.ask_again()


def _lasting(change: Callable[[int], object], describe: str) -> FaultKind:
    """Return a kind without parameters that counts up and down."""
    return FaultKind(start=lambda _: change(1), stop=lambda _: change(-1), describe=describe)
