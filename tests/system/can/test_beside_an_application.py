"""A foreign program and an application of ours on one bus of one World."""

from __future__ import annotations

import asyncio
import textwrap
import time
from pathlib import Path

import can
import pytest
from msgspec import Struct

from taktora.app import App, Context
from taktora_sim.can.backend import bus_of
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.sim.fresh import hash_of, run_fresh
from tests.sim.test_no_linux import BLOCKED
from tests.system.can.parts import program, started

pytestmark = pytest.mark.verifies("REQ_8203")

_BUS = "hydraulic_plant_left"
_DBC = """VERSION ""
BU_: Gauge Limiter
BO_ 257 Pressure: 2 Gauge
 SG_ Value : 0|16@1+ (1,0) [0|65535] "kPa" Limiter
BO_ 513 Limit: 2 Limiter
 SG_ Value : 0|16@1+ (1,0) [0|65535] "kPa" Gauge
"""


class Pressure(Struct):
    """Message of the DBC above."""

    Value: int


class Limit(Struct):
    """Likewise."""

    Value: int


def _application(folder: Path) -> App:
    """Return one that answers each pressure with half of it."""
    (folder / "plant.dbc").write_text(_DBC, encoding="ascii")
    machine = folder / "machine.yaml"
    machine.write_text(f"machine: plant\ncan:\n  {_BUS}: {{dbc: plant.dbc, bitrate: 250000}}\n", encoding="ascii")
    app = App("limiter", machine)
    pressure, limit = app.can(_BUS).reader(Pressure), app.can(_BUS).writer(Limit)

    @app.on(pressure)
    def halve(_context: Context) -> None:
        for message in pressure.drain():
            limit.send(Limit(message.Value // 2))

    return app


def test_an_application_answers_a_foreign_program_with_threads(tmp_path: Path) -> None:
    with World(1) as world, _application(tmp_path).bind(world.runtime) as bound:
        bound.start()
        with world.foreign_threads(), can.Bus(interface="taktora_sim", channel=_BUS, ignore_config=True) as bus:
            reader = can.BufferedReader()
            with can.Notifier(bus, [reader]):
                for value in (100, 300, 500):
                    bus.send(can.Message(arbitration_id=257, data=value.to_bytes(2, "little"), is_extended_id=False))
                answers = [reader.get_message(1.0) for _ in range(3)]
        assert bus_of(world, _BUS).bitrate == 250_000

    assert [int.from_bytes(answer.data, "little") for answer in answers if answer] == [50, 150, 250]


def test_a_notifier_on_an_event_loop_works_in_virtual_time() -> None:
    async def run() -> list[int]:
        with (
            can.Bus(interface="taktora_sim", channel="plant", ignore_config=True) as sender,
            can.Bus(interface="taktora_sim", channel="plant", ignore_config=True) as receiver,
        ):
            reader = can.AsyncBufferedReader()
            with can.Notifier(receiver, [reader], loop=asyncio.get_running_loop()):
                sender.send_periodic(can.Message(arbitration_id=5, is_extended_id=False), 0.5)
                return [(await asyncio.wait_for(reader.get_message(), 10)).arbitration_id for _ in range(3)]

    with World(1) as world:
        with world.foreign_threads():
            found = asyncio.run(run())
        assert world.now_ns() >= 1_000_000_000

    assert found == [5, 5, 5]


def test_what_a_module_has_imported_in_virtual_time_is_real_afterwards(channel: str) -> None:
    with World(1) as world, world.foreign_threads():
        from time import monotonic

        assert monotonic() == 0

    earlier, found, later = time.monotonic(), monotonic(), time.monotonic()
    assert earlier <= found <= later


def test_the_interface_loaded_in_virtual_time_serves_in_real_time_too(channel: str) -> None:
    code = f"""
        import can
        from taktora_sim.world import World
        with World(1) as world, world.foreign_threads(), can.Bus(interface="taktora_sim", channel="x") as bus:
            assert bus.recv(1.0) is None
        with can.Bus(interface="taktora_sim", channel={channel!r}) as bus:
            print(bus.recv(0.1))
    """
    with started(program(textwrap.dedent(code))) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "None\n"
        assert process.wait(PATIENCE_S) == 0


_PROGRAM = """
import can
import taktora_sim.can.serve
from taktora_sim.world import World
with World(1) as world, world.as_current():
    with can.Bus(interface="taktora_sim") as sender, can.Bus(interface="taktora_sim") as receiver:
        sender.send_periodic(can.Message(arbitration_id=1), 0.1)
        for _ in range(10):
            receiver.recv()
print("trace sha256:" + world.trace.sha256())
"""


@pytest.mark.verifies("REQ_8020", "REQ_8203")
def test_the_interface_works_where_the_parts_that_only_linux_has_are_absent() -> None:
    blocked = BLOCKED.rsplit("from taktora_sim.cli", 1)[0] + _PROGRAM

    assert hash_of(run_fresh(command=blocked)) == hash_of(run_fresh(command=_PROGRAM))
