"""An EtherCAT gateway in a process of its own: how its health crosses, and the bus as the application then sees it.

The gateway's process serves ``<connector>.image.in``, ``<connector>.image.out``, ``<connector>.alive.out``, the slices
of the machine file and ``<connector>.health``; the application's process opens the other ends. A record of
``<connector>.health`` is 256 bytes, little-endian, the last one is given to whoever joins late:

======  ====  ============  ==========================================================================
offset  size  field         meaning
======  ====  ============  ==========================================================================
0       8     run           number drawn by the gateway's process; another one is another process
8       8     move          number of the move, from 0; records that repeat it are signs of life
16      8     at_ns         when it was sent, monotonic ns of the gateway's clock
24      2     kind          0 Connecting, 1 Up, 2 Degraded, 3 Down
26      2     length        bytes of the reason
28      4     zero
32      224   reason        UTF-8, cut to what fits
======  ====  ============  ==========================================================================

A record comes with every move and every 100 ms. Without one for 350 ms the gateway counts as dead: the application's
connector is Down within :data:`LOST_NS` of the last record, and follows the gateway again once it is back.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from taktora.connector.health import Connecting, ConnectorHealth, Degraded, Down, HealthMonitor, HealthSubscription, Up
from taktora.errors import BackPressure, ConfigurationError
from taktora.ethercat.image import BusListener, ImageLayout
from taktora.executor import Alarm, Context, ExecutableItem, TriggerDeclarer
from taktora.runtime import Runtime
from taktora.transport.base import ServiceSettings, event_service_name
from taktora.transport.channel import EnvelopeReader, EnvelopeWriter

__all__ = ["BEAT_NS", "LOST_NS", "HealthBeacon", "HealthRecord", "RemoteBus", "health_service"]

BEAT_NS: Final = 100_000_000
"""Period of the signs of life of a gateway in a process of its own."""
LOST_NS: Final = 350_000_000
"""Time without a sign of life after which such a gateway counts as dead."""

_RECORD: Final = Struct("<QQqHHI224s")
_REASON_BYTES: Final = 224
_SETTINGS: Final = ServiceSettings(history_size=1)
_KINDS: Final = (Connecting, Up, Degraded, Down)


def health_service(connector: str) -> str:
    """Return the service on which the health of a connector crosses."""
    return f"{connector}.health"


class HealthRecord(NamedTuple):
    """One record of the health service; ``kind`` is an index of the table above."""

    run: int
    move: int
    at_ns: int
    kind: int
    reason: str

    @classmethod
    def of(cls, run: int, move: int, at_ns: int, health: ConnectorHealth) -> HealthRecord:
        """Return the record that tells ``health``."""
        reason = str(health.reason) if isinstance(health, Degraded | Down) else ""
        return cls(run, move, at_ns, _KINDS.index(type(health)), reason)

    def to_bytes(self) -> bytes:
        """Return the 256 bytes of the record; a reason that is too long is cut between two characters."""
        reason = self.reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
        return _RECORD.pack(self.run, self.move, self.at_ns, self.kind, len(reason), 0, reason)

    @classmethod
    def read(cls, payload: memoryview) -> HealthRecord:
        """Return the record in ``payload``."""
        run, move, at_ns, kind, length, _zero, reason = _RECORD.unpack_from(payload)
        return cls(run, move, at_ns, kind, reason[:length].decode(errors="replace"))

    def health(self, now_ns: int) -> ConnectorHealth:
        """Return the state that the record tells."""
        kind = _KINDS[self.kind]
        if kind is Degraded:
            return Degraded(self.reason)
        if kind is Down:
            return Down(self.reason, now_ns)
        return Up() if kind is Up else Connecting(now_ns)


class HealthBeacon(ExecutableItem):
    """Tells the health of a connector to other processes: each move, and the newest one again as a sign of life.

    Args:
        runtime: The gateway's world.
        monitor: Whose health it is.
    """

    def __init__(self, runtime: Runtime, monitor: HealthMonitor) -> None:
        self.task_id = f"{monitor.name}.beacon"
        self._now_ns = runtime.clock.now_ns
        self._monitor = monitor
        self._moves: HealthSubscription = monitor.subscribe(1024)
        self._alarm = Alarm(self.task_id)
        self._run = runtime.entropy.getrandbits(64)
        self._newest = HealthRecord.of(self._run, 0, self._now_ns(), monitor.current)
        service = health_service(monitor.name)
        self._writer = EnvelopeWriter(runtime.transport, service, _RECORD.size, runtime.clock, _SETTINGS)
        self._alarm.set(self._now_ns())

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._moves.listener).alarm(self._alarm)

    def execute(self, context: Context) -> None:  # noqa: ARG002
        for event in self._moves.drain():
            self._newest = HealthRecord.of(self._run, self._newest.move + 1, self._now_ns(), event.target)
            self._send()
        if self._alarm.take():
            self._alarm.set(self._now_ns() + BEAT_NS)
            self._send()

    def close(self) -> None:
        """Close the port; idempotent."""
        self._moves.close()
        self._writer.close()

    def _send(self) -> None:
        payload = self._newest._replace(at_ns=self._now_ns()).to_bytes()
        slot = self._writer.loan()
        slot[: len(payload)] = payload
        try:
            self._writer.publish(len(payload))
        except BackPressure:
            return  # an application that does not run; the next sign of life tells the same


# req: REQ_0321
class RemoteBus:
    """A bus whose gateway is another process: a ``CyclicBus`` that only tells how that gateway fares.

    Args:
        runtime: The application's world.
        layout: The process image, of the same machine file as the gateway's.
        connector: Name of the connector.
    """

    def __init__(self, runtime: Runtime, layout: ImageLayout, connector: str) -> None:
        self._layout = layout
        self._item = _RemoteItem(runtime, connector)

    @property
    def layout(self) -> ImageLayout:
        return self._layout

    def items(self) -> tuple[ExecutableItem, ...]:
        """Return what the application's gateway executor runs."""
        return (self._item,)

    def pull_outputs(self, pull: Callable[[], object]) -> None:
        """Never pull: outputs go through the services."""

    def start(self, listener: BusListener) -> None:
        self._item.begin(listener)

    def stage_outputs(self, outputs: bytes | bytearray | memoryview, renewed: bytes | bytearray | memoryview) -> None:
        """Refuse: outputs go through the services, not through here."""
        del outputs, renewed
        raise ConfigurationError("RemoteBus.stage_outputs: the outputs of this bus are staged by its gateway's process")

    def close(self) -> None:
        self._item.close()


class _RemoteItem(ExecutableItem):
    """Follows the health records of a gateway in another process, and notices when they stop."""

    def __init__(self, runtime: Runtime, connector: str) -> None:
        self.task_id = f"{connector}.remote"
        self._connector = connector
        self._now_ns = runtime.clock.now_ns
        service = health_service(connector)
        self._port = runtime.transport.listener(event_service_name(service))
        self._reader = EnvelopeReader(runtime.transport, service, _RECORD.size, _SETTINGS)
        self._alarm = Alarm(self.task_id)
        self._listener: BusListener | None = None
        self._deadline_ns = 0
        self._run: int | None = None
        self._move = -1
        self._is_lost = False

    def begin(self, listener: BusListener) -> None:
        """Follow from now on; the first look comes at once, for what was sent before."""
        self._listener = listener
        self._deadline_ns = self._now_ns() + LOST_NS
        self._alarm.set(self._now_ns())

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.raw_listener(self._port).alarm(self._alarm)

    def execute(self, context: Context) -> None:  # noqa: ARG002
        self._alarm.take()
        listener, now_ns = self._listener, self._now_ns()
        if listener is None:
            return
        while (fields := self._reader.receive()) is not None:
            record = HealthRecord.read(self._reader.view[64 : 64 + fields[3]])
            if now_ns - record.at_ns < LOST_NS:  # else it has lain there since before its gateway died
                self._follow(record, listener)
                self._deadline_ns = record.at_ns + LOST_NS
        if now_ns < self._deadline_ns:
            self._alarm.set(self._deadline_ns)
        elif not self._is_lost:
            self._is_lost = True
            listener.on_health(Down(self._lost_text(), now_ns))

    def close(self) -> None:
        """Close the ports; idempotent."""
        self._alarm.cancel()
        self._listener = None
        self._port.close()
        self._reader.close()

    def _follow(self, record: HealthRecord, listener: BusListener) -> None:
        """Pass a move on; a gateway that is back, or another one, begins with Connecting."""
        now_ns = self._now_ns()
        if self._run is not None and record.run != self._run and not self._is_lost:
            listener.on_health(Down(f"the gateway of {self._connector!r} was replaced by another process", now_ns))
            self._is_lost = True
        if self._is_lost:
            listener.on_health(Connecting(now_ns))
        if self._is_lost or (record.run, record.move) != (self._run, self._move):
            listener.on_health(record.health(now_ns))
        self._run, self._move, self._is_lost = record.run, record.move, False

    def _lost_text(self) -> str:
        return (
            f"no sign of life of the gateway of {self._connector!r} for {LOST_NS // 1_000_000} ms; start it with "
            f"'taktora gateway MACHINE --bus {self._connector}'"
        )
