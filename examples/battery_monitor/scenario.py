"""The main job: a recorded drive, a battery that falls silent in the middle of it, and what the monitor makes of it.

    taktora sim run examples/battery_monitor/scenario.py --report reports/battery_monitor

Prints which messages were on the bus; the command that runs it tells the rest: faults, alarms, commands, checks, hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from logbook import Logbook, Seen
from messages import ContactorRequest, LimitReason

from taktora_sim.can import CanLog
from taktora_sim.plan import FaultPlan
from taktora_sim.world import World

__all__ = ["scenario"]

MS = 1_000_000


def scenario(world: World) -> None:
    """Replay the drive with the fault plan beside this file, unless another one was given."""
    world.faults.propose(FaultPlan.load(Path(__file__).parent / "plan.toml"))
    logbook = Logbook(world)
    try:
        world.run_for(duration_ns(logbook.log.path))
    finally:  # also when --for ends the run earlier
        print("\n".join(traffic(logbook)))
    check(world, logbook)


def duration_ns(log: Path) -> int:
    """Return how long a recording lasts."""
    times_ns = [record.time_ns for record in CanLog(log)]
    return times_ns[-1] - times_ns[0]


def traffic(logbook: Logbook) -> Iterator[str]:
    """Tell what was on the bus and what the monitor took of it, in lines."""
    yield f"{'message':<20} {'on the bus':>12} {'taken by the monitor':>22}"
    readers = {reader.name.rpartition(".")[2]: reader for reader, _ in logbook.app.buses["vehicle"].readers}
    for name, count in sorted(logbook.frames.items()):
        reader = readers.get(name)
        taken = "-" if reader is None else f"{reader.received}"
        yield f"{name:<20} {count:>12} {'sent by it' if name == 'MonitorCommand' else taken:>22}"
        if reader is not None and reader.decode_errors:
            yield f"{'':<20} {reader.decode_errors:>12} of them could not be decoded"
    for name, count in sorted(logbook.unknown.items()):
        yield f"{name:<20} {count:>12} {'not in the DBC':>22}"
    for kind, count in sorted(logbook.log.counts.items()):
        yield f"{'in the log':<20} {count:>12} {kind:>22}"
    yield ""


def check(world: World, logbook: Logbook) -> None:
    """State what the requirements ask of this run; what does not hold fails it."""
    told = [alarm.code for alarm in logbook.alarms]
    lost = [command for command in logbook.commands if command.value.LimitReason is LimitReason.BATTERY_LOST]
    reaction_ms = (lost[0].at_ns - logbook.last_status_ns(lost[0].at_ns)) / MS if lost else 0.0
    too_late = [
        command
        for command in logbook.commands
        if command.at_ns - logbook.last_status_ns(command.at_ns) > 250 * MS and _allows_anything(command)
    ]
    world.check(
        "BAT_0002, a lost battery stops everything within 250 ms",
        not too_late and "BATTERY_LOST" in told,
        f"it took {reaction_ms:.1f} ms" if lost else "it was not lost in this run",
    )
    hot = [command for command in logbook.commands if command.value.LimitReason is LimitReason.TEMPERATURE]
    world.check(
        "BAT_0001, a hot battery is spared and cooled",
        bool(hot) and all(command.value.FanDuty >= 50 and command.value.DischargeLimit < 400 for command in hot),
        f"discharge limit down to {min((command.value.DischargeLimit for command in hot), default=400)} A",
    )
    world.check("BAT_0003, a weak cell is found", told.count("IMBALANCE") == 1, f"alarms: {', '.join(told)}")


def _allows_anything(command: Seen) -> bool:
    order = command.value
    return bool(order.DischargeLimit or order.ChargeLimit) or order.ContactorRequest is not ContactorRequest.OPEN
