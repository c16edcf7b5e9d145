"""Application and gateway of the rig, each in a process of its own.

``python -m tests.system.ethercat.parts gateway|app MACHINE BENCH DOMAIN``. The application says ``ready`` once its
cycle runs; told ``SIGUSR1`` its item says ``hangs NS`` and never returns.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from taktora.app import App, Context
from taktora.app.gateway import build_gateway
from taktora.runtime import Runtime
from taktora.transport.iceoryx import IceoryxTransport


@dataclass
class ValveOut:
    """What the valve is told."""

    out0: int


def run_gateway(runtime: Runtime, machine: Path, bench: Path) -> None:
    gateway = build_gateway(runtime, machine, "cell", bench)
    gateway.run()


def run_app(runtime: Runtime, machine: Path, bench: Path) -> None:
    app = App("renewing")
    valve = app.ethercat("cell").device("valve", outputs=ValveOut)
    told: list[int] = []
    cycles = 0
    signal.signal(signal.SIGUSR1, lambda number, _frame: told.append(number))

    @app.cyclic(on=valve.cycle)
    def renew(_ctx: Context) -> None:
        nonlocal cycles
        cycles += 1
        valve.outputs.out0 = 0x0F
        if cycles == 1:
            print("ready", flush=True)
        if told:
            print(f"hangs {time.monotonic_ns()}", flush=True)
            while True:
                pass

    with app.bind(runtime, machine=machine, bench=bench) as bound:
        bound.run()


def main(part: str, machine: Path, bench: Path, domain: str) -> None:
    runtime = Runtime.system(IceoryxTransport(domain=domain))
    try:
        (run_gateway if part == "gateway" else run_app)(runtime, machine, bench)
    finally:
        runtime.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
