"""Watches a simulated run from outside, as one more node on the bus and as the operator; it commands nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from app import build, show
from messages import Alarm, CellExtremes, ContactorRequest, LimitReason, MonitorCommand, PackTemperatures

from taktora.app import Bench, CanBacking, Context, Reader
from taktora.can import CanErrorFrame, CanFrame, CanIfaceState
from taktora.codec.dbc import DbcCodec, load_dbc
from taktora_sim.can.backend import SimulatedCan, bus_of
from taktora_sim.world import World

__all__ = ["DRIVE", "Logbook", "Seen"]

HERE = Path(__file__).parent
DRIVE = HERE / "recordings" / "drive.log"


class Seen(NamedTuple):
    """One message as it was received, and when its last bit was on the wire."""

    at_ns: int
    value: Any


class Logbook:
    """The unchanged application in `world`, from virtual zero, and what was to be seen of it.

    Args:
        world: Where it runs.
        log: Recording to replay in place of the one that bench.toml names.
    """

    def __init__(self, world: World, log: Path | None = None) -> None:
        self.app = build(self._tell)
        self._world = world
        self.alarms: list[Alarm] = []
        self.commands: list[Seen] = []
        self.cells: list[Seen] = []
        self.temperatures: list[Seen] = []
        self.status_ns: list[int] = []
        """When a PackStatus was received."""
        self.frames: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self._kept: dict[str, tuple[type[Any], list[Seen]]] = {
            "MonitorCommand": (MonitorCommand, self.commands),
            "CellExtremes": (CellExtremes, self.cells),
            "PackTemperatures": (PackTemperatures, self.temperatures),
        }
        self._codec = DbcCodec(load_dbc(HERE / "battery.dbc"))
        bench = HERE / "bench.toml" if log is None else Bench(can={"vehicle": CanBacking(replay=str(log.resolve()))})
        self.bound = self.app.bind(world.runtime, bench=bench)
        self.log = SimulatedCan.of(world).replays["vehicle"].log
        bus_of(world, "vehicle").node("logbook").interface().open(self)
        self.bound.start()

    def reader(self, message: str) -> Reader[Any]:
        """Return the application's own reader of a message."""
        return next(reader for reader, _ in self.app.buses["vehicle"].readers if reader.name == f"vehicle.{message}")

    def commands_between(self, since_ns: int, until_ns: int) -> list[Seen]:
        """Return what was commanded in that time."""
        return [command for command in self.commands if since_ns <= command.at_ns < until_ns]

    def last_status_ns(self, at_ns: int) -> int:
        """Return when the last PackStatus up to `at_ns` was received; 0 where there was none."""
        count = bisect_right(self.status_ns, at_ns)
        return self.status_ns[count - 1] if count else 0

    def _tell(self, ctx: Context, alarm: Alarm) -> None:
        self.alarms.append(alarm)
        show(ctx, alarm)

    def on_frame(self, frame: CanFrame) -> None:
        """Note a frame; the bus calls this, as it calls every node."""
        message = self._codec.dbc.find(frame.can_id, frame.extended)
        if message is None:
            self.unknown[f"{frame.can_id:08X}x" if frame.extended else f"{frame.can_id:03X}"] += 1
            return
        self.frames[message.name] += 1
        if message.name == "PackStatus":
            self.status_ns.append(frame.timestamp_ns)
        kept = self._kept.get(message.name)
        if kept is not None:
            kind, seen = kept
            seen.append(Seen(frame.timestamp_ns, self._codec.decode(kind, memoryview(frame.data))))
            if seen is self.commands:
                self._show_command()

    def _show_command(self) -> None:
        """Put a command on the page when it says something new."""
        *_, last, command = [None, *(seen.value for seen in self.commands[-2:])]
        if last is None or _gist(last) != _gist(command):
            self._world.recorder.event(_in_words(command))

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        """Error frames are not part of this story."""

    def on_receive_overflow(self, lost: int) -> None:
        """Tell it: what the page shows would be less than what was on the bus."""
        self._world.recorder.event(f"the logbook lost {lost} frames unread", "warning")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        """Nor is the state of the logbook's own interface."""

    def on_failure(self, error: BaseException) -> None:
        """A simulated interface has no thread that could die; should it learn to, the run ends here."""
        raise error


def _gist(order: MonitorCommand) -> tuple[LimitReason, ContactorRequest, bool]:
    return order.LimitReason, order.ContactorRequest, order.FanDuty > 0


def _in_words(order: MonitorCommand) -> str:
    contactors = "open the contactors" if order.ContactorRequest is ContactorRequest.OPEN else "contactors stay closed"
    reason = order.LimitReason.name.lower().replace("_", " ")
    return (
        f"command: discharge {order.DischargeLimit} A, charge {order.ChargeLimit} A, fan {order.FanDuty} %, "
        f"{contactors}{'' if order.LimitReason is LimitReason.NONE else f' ({reason})'}"
    )
