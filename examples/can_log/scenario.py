"""Shows any CAN log with any DBC: replays it in virtual time, decodes every message, plots every signal.

    CAN_LOG=my.asc CAN_DBC=my.dbc taktora sim run examples/can_log/scenario.py --report out

`CAN_CHANNEL` picks one channel of a log with several; `CAN_BITRATE` is the bus's bit rate (500000 unless given),
`CAN_DATA_BITRATE` that of the data phase in CAN FD (2000000 unless given, where the log or the DBC has CAN FD).
Without `CAN_LOG` and `CAN_DBC` it shows the drive of the battery monitor.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from taktora.app import App, Bench, CanBacking, Context, Reader, Signal
from taktora.codec.dbc import Dbc, DbcMessage, load_dbc
from taktora.errors import ConfigurationError
from taktora_sim.can import CanLog
from taktora_sim.can.backend import SimulatedCan
from taktora_sim.world import World

__all__ = ["Census", "build", "scenario", "show"]

DRIVE = Path(__file__).parent.parent / "battery_monitor"


def scenario(world: World) -> None:
    """Show the log and the DBC that the environment names."""
    show(
        world,
        log=Path(os.environ.get("CAN_LOG") or DRIVE / "recordings" / "drive.log"),
        dbc=Path(os.environ.get("CAN_DBC") or DRIVE / "battery.dbc"),
        channel=os.environ.get("CAN_CHANNEL"),
        bitrate=_bitrate("CAN_BITRATE", 500_000),
        data_bitrate=_bitrate("CAN_DATA_BITRATE", 2_000_000),
    )


def _bitrate(name: str, usual: int) -> int:
    text = os.environ.get(name, str(usual))
    if not text.isdecimal():
        raise ConfigurationError(f"{name} is {text!r}, expected bit/s as a whole number, for example {usual}")
    return int(text)


def show(
    world: World,
    log: Path,
    dbc: Path,
    channel: str | None = None,
    bitrate: int = 500_000,
    data_bitrate: int = 2_000_000,
) -> Census:
    """Replay `log` in `world`, print what is in it and return that; a file that cannot be read raises its sentence."""
    database = load_dbc(dbc)
    census = Census(CanLog(log), database, channel)
    print("\n".join(census.story()))
    shown = [message for message in database.messages if census.messages[message.name]]
    app = build(shown)
    rates = {"bitrate": bitrate}
    if census.has_fd or any(message.is_fd for message in shown):
        rates["data_bitrate"] = data_bitrate
    bench = Bench(can={"bus": CanBacking(simulated=True, replay=str(log.resolve()), replay_channel=channel)})
    with TemporaryDirectory() as folder:
        machine = Path(folder) / "machine.yaml"
        machine.write_text(yaml.safe_dump({"machine": log.stem, "can": {"bus": {**rates, "dbc": str(dbc.resolve())}}}))
        with app.bind(world.runtime, machine=machine, bench=bench) as bound:
            bound.start()
            world.run_for(census.duration_ns + 100_000_000)
            taken = sum(reader.received for reader, _ in app.buses["bus"].readers)
            print(f"replayed in {world.now_ns() / 1e9:.1f} virtual s: {taken} messages decoded")
            lost = SimulatedCan.of(world).replays["bus"].lost
            if lost:
                print(f"{lost} frames found no room on a bus of {bitrate} bit/s; say how fast it is with CAN_BITRATE")
    return census


def build(messages: Iterable[DbcMessage]) -> App:
    """Return an application that reads these messages and plots their signals."""
    app = App("can-log")
    bus = app.can("bus")
    for message in messages:
        reader = bus.reader(message.name)
        signals = {
            signal.field: app.signal(f"{signal.name} ({message.name})", signal.unit) for signal in message.signals
        }
        app.on(reader)(_plotter(message.name, reader, signals))
    return app


def _plotter(name: str, reader: Reader[Any], signals: Mapping[str, Signal]) -> Callable[[Context], None]:
    def plot(_ctx: Context) -> None:
        for value in reader.drain():
            for field, signal in signals.items():
                number = getattr(value, field)
                if number is not None:  # another part of a multiplexed message
                    signal.set(number)

    plot.__name__ = f"plot_{name}"
    return plot


class Census:
    """What is in a log: frames by message, unknown identifiers, frames that do not fit their message, bad lines."""

    def __init__(self, log: CanLog, dbc: Dbc, channel: str | None = None) -> None:
        self.log = log
        self.messages: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.unfit: Counter[str] = Counter()
        self.channels: Counter[str] = Counter()
        self.has_fd = False
        self._dbc = dbc
        self._known = {(message.can_id, message.is_extended): message for message in dbc.messages}
        times_ns = [0, 0]
        for record in log:
            self.channels[record.channel] += 1
            if channel in {None, record.channel}:
                times_ns = [times_ns[0] or record.time_ns, record.time_ns]
                self.has_fd |= record.frame.fd
                self._count(record.frame.can_id, record.frame.extended, len(record.frame.data))
        self.duration_ns = times_ns[1] - times_ns[0]
        if channel is not None and channel not in self.channels:
            found = ", ".join(sorted(self.channels)) or "none"
            raise ConfigurationError(f"CAN log {log.path}: no channel {channel!r}; channels of this log: {found}")

    def _count(self, can_id: int, is_extended: bool, length_bytes: int) -> None:
        message = self._known.get((can_id, is_extended))
        if message is None:
            self.unknown[f"{can_id:08X}x" if is_extended else f"{can_id:03X}"] += 1
        elif length_bytes not in {message.length_bytes, message.frame_bytes}:
            self.unfit[f"{message} with {length_bytes}"] += 1
        else:
            self.messages[message.name] += 1

    def story(self) -> list[str]:
        """Return what was counted, in lines for people."""
        channels = ", ".join(sorted(self.channels)) or "none"
        lines = [f"{self.log.path.name}: {self.log.frames} frames in {self.duration_ns / 1e9:.1f} s on {channels}"]
        lines += [
            f"  {message!s:<44} {self.messages[message.name]:>8}  {', '.join(message.senders)}".rstrip()
            for message in self._dbc.messages
            if self.messages[message.name]
        ]
        lines += [f"  unknown identifier {name:<25} {count:>8}" for name, count in self.unknown.most_common(20)]
        if len(self.unknown) > 20:
            lines.append(f"  {len(self.unknown) - 20} more unknown identifiers")
        lines += [f"  wrong length: {what:<30} {count:>8}" for what, count in sorted(self.unfit.items())]
        lines += [f"  {kind}: {count}" for kind, count in sorted(self.log.counts.items())]
        lines += [f"    {problem.text}" for problem in self.log.problems[:5]]
        return lines
