"""An ordinary can-isotp program: two stacks that send each other 4095 bytes; it knows nothing of simulations.

``python isotp_program.py`` runs it in a World, in virtual time, and prints what it saw and the trace hash.
"""

from __future__ import annotations

import can
import isotp

__all__ = ["run"]

_SIZE = 4095
"""The most that ISO 15765-2 carries with a length of 12 bits."""


def run(channel: str, patience_s: float) -> list[str]:
    """Send each way, and return what arrived."""
    there, back = bytes(n % 251 for n in range(_SIZE)), bytes(n * 7 % 256 for n in range(_SIZE))
    with _bus(channel) as tester_bus, _bus(channel) as ecu_bus:
        tester_notifier, ecu_notifier = can.Notifier(tester_bus, []), can.Notifier(ecu_bus, [])
        tester = _stack(tester_bus, tester_notifier, rxid=0x7E8, txid=0x7E0)
        ecu = _stack(ecu_bus, ecu_notifier, rxid=0x7E0, txid=0x7E8)
        tester.start()
        ecu.start()
        try:
            tester.send(there)
            request = ecu.recv(block=True, timeout=patience_s)
            ecu.send(back)
            answer = tester.recv(block=True, timeout=patience_s)
        finally:
            tester.stop()
            ecu.stop()
            tester_notifier.stop()
            ecu_notifier.stop()
    got, got_back = bytes(request or b""), bytes(answer or b"")
    return [f"request {got == there} {len(got)}", f"answer {got_back == back} {len(got_back)}"]


def _bus(channel: str) -> can.BusABC:
    return can.Bus(interface="taktora_sim", channel=channel, bitrate=500_000)


def _stack(bus: can.BusABC, notifier: can.Notifier, *, rxid: int, txid: int) -> isotp.NotifierBasedCanStack:
    address = isotp.Address(isotp.AddressingMode.Normal_11bits, rxid=rxid, txid=txid)
    parameters = {"blocksize": 8, "stmin": 0, "rx_flowcontrol_timeout": 60_000, "rx_consecutive_frame_timeout": 60_000}
    return isotp.NotifierBasedCanStack(bus, notifier, address=address, params=parameters)


def main() -> None:
    """Run in virtual time."""
    from taktora_sim.world import World

    with World(7) as world:
        with world.foreign_threads():
            for line in run("machine", 30.0):
                print(line)
        print(f"virtual ms {world.now_ns() // 1_000_000}")
        digest = world.trace.sha256()
    print(f"trace sha256:{digest}")


if __name__ == "__main__":
    main()
