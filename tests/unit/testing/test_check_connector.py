from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from taktora.clock import SystemClock
from taktora.connector import ChannelDescriptor, LinkOptions
from taktora.runtime import Runtime
from taktora.testing.check_connector import CONNECTOR_CHECKS, ConnectorBench, check_connector, run_check
from taktora.testing.echo import EchoConnector, EchoRouting
from tests.patience import PATIENCE_S


@dataclass
class Parcel:
    number: int
    label: str = ""


def on_threads() -> Runtime:
    return Runtime.system("inprocess")


def on_shared_memory() -> Runtime:
    pytest.importorskip("iceoryx2")
    from taktora.executor.waitset import WaitSetReactor
    from taktora.transport.iceoryx import IceoryxTransport

    clock = SystemClock()
    return replace(
        on_threads(), transport=IceoryxTransport(isolated=True), make_reactor=lambda _name: WaitSetReactor(clock)
    )


def on_virtual_time() -> Runtime:
    from taktora_sim.world import World

    return World(1).runtime


WORLDS = [
    pytest.param(on_virtual_time, id="virtual"),
    pytest.param(on_threads, id="threads"),
    pytest.param(on_shared_memory, id="iceoryx2"),
]


def bench_on(make_runtime: Callable[[], Runtime]) -> ConnectorBench:
    runtime = make_runtime()
    connector = EchoConnector(
        runtime, options=LinkOptions(outbound_capacity=32, inbound_capacity=64, recovery_window_ns=200_000_000)
    )
    driver = connector.driver

    def flood(count: int) -> None:
        for number in range(count):
            driver.inject("loop", b'{"number":%d,"label":"flood"}' % number)

    def break_stack() -> None:
        driver.failure = ZeroDivisionError("planted")

    return ConnectorBench(
        runtime=runtime,
        connector=connector,
        outbound=ChannelDescriptor("parcels", EchoRouting("loop"), 64),
        inbound=ChannelDescriptor("parcels", EchoRouting("loop"), 64),
        value_type=Parcel,
        value=Parcel,
        oversize=Parcel(1, "x" * 100),
        break_link=driver.cut,
        restore_link=driver.mend,
        stall=driver.clog,
        unstall=driver.unclog,
        flood=flood,
        break_stack=break_stack,
        close=runtime.close,
        within_s=PATIENCE_S,
    )


VERIFIES = {
    "surface": ("REQ_0220", "REQ_0223", "TSR_0005"),
    "foreign routing": ("REQ_0224", "REQ_0294"),
    "round trip": ("REQ_0202", "REQ_0220"),
    "overflow": ("REQ_0201", "REQ_0202"),
    "outbound saturation": ("REQ_0607",),
    "inbound saturation": ("REQ_0608",),
    "health walk": ("REQ_0230", "REQ_0234", "REQ_0292", "QG_0004"),
    "subscriptions": ("REQ_0231", "REQ_0847"),
    "gaps": ("REQ_0202", "TSR_0008"),
    "stack failure": ("REQ_0296",),
    "shutdown": ("REQ_0241",),
}


@pytest.mark.parametrize("make_runtime", WORLDS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.verifies(*VERIFIES[name]), id=name) for name in CONNECTOR_CHECKS]
)
def test_echo_connector_keeps_the_contract(name: str, make_runtime: Callable[[], Runtime]) -> None:
    assert run_check(name, lambda: bench_on(make_runtime))


@pytest.mark.verifies("REQ_0220")
def test_kit_names_what_the_bench_cannot_provoke() -> None:
    def plain() -> ConnectorBench:
        bench = bench_on(on_virtual_time)
        bench.flood = bench.break_stack = None
        return bench

    assert check_connector(plain) == ["inbound saturation", "stack failure"]
