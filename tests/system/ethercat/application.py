"""An application in a process of its own: renews all outputs until it is stopped, killed or told to hang.

``python -m tests.system.ethercat.application INTERFACE FOLDER``; says ``ready PID-OF-DRIVER`` and, on any line, ``hangs
NS`` before it loops for ever.
"""

from __future__ import annotations

import select
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from taktora.ethercat.process import BusSetup, ProcessBus
from taktora.ethercat.resolve import resolve
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora.executor.attributes import ThreadAttributes
from taktora.testing import BusLog
from tests.system.ethercat.cell import FRAME_TIMEOUT_US, cell

MAX_AGE_CYCLES = 20
"""Above the default: this application has no real-time priority, and the machine may be busy."""


def main(interface: str, folder: Path) -> None:
    plan = replace(resolve(cell(folder)), network_interface=interface, max_output_age_cycles=MAX_AGE_CYCLES)
    driver = partial(SoemDriver, options=SoemOptions(frame_timeout_us=FRAME_TIMEOUT_US))
    bus = ProcessBus(BusSetup(name="cell", plan=plan, make_driver=driver, attributes=ThreadAttributes(priority=50)))
    listener = BusLog()
    bus.start(listener)
    listener.wait(lambda got: got.records)
    print(f"ready {bus.pid}", flush=True)
    outputs, renewed = b"\x0f" * bus.layout.output_bytes, b"\1" * len(bus.layout.subdevices)
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        bus.stage_outputs(outputs, renewed)
        listener.records.clear()
    print(f"hangs {time.monotonic_ns()}", flush=True)
    while True:
        pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
