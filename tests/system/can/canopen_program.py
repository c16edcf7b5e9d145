"""An ordinary canopen program: a device and who commands it, on two buses; it knows nothing of simulations.

``python canopen_program.py`` runs it in a World, in virtual time, and prints what it saw and the trace hash.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import canopen

# Nodes are of any type here: canopen tells of its own less than it does.
__all__ = ["NODE", "NOTE", "run"]

NODE = 5
NOTE = "a note that takes more than one segment of seven bytes"
_EDS = str(Path(__file__).with_name("device.eds"))


def run(channel: str, patience_s: float) -> list[str]:
    """Command the device, and return what both sides saw."""
    with canopen.Network() as plant, canopen.Network() as control:
        plant.connect(interface="taktora_sim", channel=channel, bitrate=500_000)
        control.connect(interface="taktora_sim", channel=channel, bitrate=500_000)
        device = plant.create_node(NODE, _EDS)
        remote = control.add_node(NODE, _EDS)
        remote.sdo.RESPONSE_TIMEOUT = patience_s
        return [
            *_exchange_sdos(device, remote),
            *_change_states(device, remote, patience_s),
            *_exchange_pdos(device, remote, patience_s),
            *_report_an_emergency(device, remote, patience_s),
        ]


def _exchange_sdos(device: Any, remote: Any) -> list[str]:
    remote.sdo["Target"].raw = 0x12345678
    remote.sdo["Note"].raw = NOTE
    seen = [
        f"type {remote.sdo['Device type'].raw:#x}",
        f"vendor {remote.sdo['Identity']['Vendor-ID'].raw:#x}",
        f"target {device.sdo['Target'].raw:#x} {remote.sdo['Target'].raw:#x}",
        f"note {device.sdo['Note'].raw} | {remote.sdo['Note'].raw}",
    ]
    try:
        remote.sdo.upload(0x5555, 0)
    except canopen.SdoAbortedError as aborted:
        seen.append(f"abort {aborted.code:#010x}")
    return seen


def _change_states(device: Any, remote: Any, patience_s: float) -> list[str]:
    device.nmt.state = "INITIALISING"
    device.nmt.state = "PRE-OPERATIONAL"
    remote.sdo["Producer heartbeat time"].raw = 50
    seen = [f"beat {remote.nmt.wait_for_heartbeat(patience_s)}"]
    remote.nmt.state = "OPERATIONAL"
    while remote.nmt.wait_for_heartbeat(patience_s) != "OPERATIONAL":
        pass
    return [*seen, f"states {device.nmt.state} {remote.nmt.state}"]


def _exchange_pdos(device: Any, remote: Any, patience_s: float) -> list[str]:
    arrived = threading.Event()
    device.rpdo.read()
    device.tpdo.read()
    remote.rpdo.read()
    remote.tpdo.read()
    device.rpdo[1].add_callback(lambda _map: arrived.set())

    remote.rpdo[1]["Target"].raw = 4711
    remote.rpdo[1].transmit()
    is_there = arrived.wait(patience_s)
    device.tpdo[1]["Actual"].raw = 815
    device.tpdo[1].start(0.02)
    stamp = remote.tpdo[1].wait_for_reception(patience_s)
    device.tpdo[1].stop()
    return [
        f"rpdo {is_there} {device.rpdo[1]['Target'].raw}",
        f"tpdo {stamp is not None} {remote.tpdo[1]['Actual'].raw}",
    ]


def _report_an_emergency(device: Any, remote: Any, patience_s: float) -> list[str]:
    arrived = threading.Event()
    remote.emcy.add_callback(lambda _error: arrived.set())
    device.emcy.send(0x2310, 0x02, b"hot")
    is_there = arrived.wait(patience_s)
    return [f"emergency {is_there} {error.code:#x} {error.register}" for error in remote.emcy.active]


def main() -> None:
    """Run in virtual time."""
    from taktora_sim.world import World

    with World(7) as world:
        with world.foreign_threads():
            for line in run("machine", 1.0):
                print(line)
        print(f"virtual ms {world.now_ns() // 1_000_000}")
        digest = world.trace.sha256()
    print(f"trace sha256:{digest}")


if __name__ == "__main__":
    main()
