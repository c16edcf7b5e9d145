"""More frames than a gateway on a kernel can take: each is delivered or counted, wherever it was lost."""

from __future__ import annotations

import subprocess
import time

import pytest

from taktora.can import CanConnector, CanConnectorOptions, CanId, CanIface, CanRouting, ReceiveOverflow, can_channel
from taktora.can.socketcan import SocketCanInterface
from taktora.connector import ConnectorHost, Degraded, HealthEvent
from taktora.runtime import Runtime
from taktora_hil.rig_can import CanRig
from tests.patience import PATIENCE_S
from tests.real_can import needs_command
from tests.unit.can.support import BytesCodec

pytestmark = [pytest.mark.world("rig")]

_FRAMES = 3000


@pytest.mark.verifies("REQ_0606", "REQ_0608", "REQ_0630")
def test_every_frame_of_a_flood_is_delivered_or_counted(can_rig: CanRig) -> None:
    needs_command("cangen", "can-utils")
    name, events = can_rig.interfaces[0], list[HealthEvent]()
    runtime = Runtime.system(transport="inprocess")
    options = CanConnectorOptions(ifaces=(CanIface(name),), inbound_bridge_capacity=16)
    connector = CanConnector(runtime, options, [SocketCanInterface(name, receive_buffer_bytes=0)], BytesCodec())
    connector.monitor.add_listener(events.append)
    reader = connector.create_reader(can_channel("flood", CanRouting(CanIface(name), CanId(0x42A))), bytes)
    driver = connector.driver(name)
    host = ConnectorHost.builder(runtime).build()
    host.register(connector)
    deadline = time.monotonic() + PATIENCE_S
    delivered = 0

    def accounted() -> int:
        return delivered + driver.overflowed + driver.undelivered + driver.link.drops.of("flood")

    try:
        while driver.filters is None:
            host.run_for(0.01)
        flood = ["cangen", name, "-g", "0", "-n", str(_FRAMES), "-I", "42A", "-L", "8", "-D", "i"]
        with subprocess.Popen(flood) as sender:
            while (sender.poll() is None or accounted() < _FRAMES) and time.monotonic() < deadline:
                host.run_for(0.01)
                delivered += sum(1 for _ in reader.drain())
    finally:
        host.close()
        runtime.close()

    assert accounted() == _FRAMES
    assert driver.overflowed > 0
    assert any(
        isinstance(event.target, Degraded) and isinstance(event.target.reason, ReceiveOverflow) for event in events
    )
