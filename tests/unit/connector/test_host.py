from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taktora.clock import SystemClock
from taktora.codec import JsonCodec
from taktora.connector import (
    ChannelDescriptor,
    ChannelReader,
    ChannelWriter,
    ConnectorGateway,
    ConnectorHealthKind,
    ConnectorHost,
    Down,
)
from taktora.errors import BuilderError, ConfigurationError, RunnerJoinError, ShutdownError, StackError
from taktora.executor import Context, TaskFailed, item_with_triggers
from taktora.runtime import Runtime
from taktora.testing.echo import EchoConnector, EchoRouting
from taktora.transport.channel import RawChannelReader
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.unit.connector.conftest import Tick, shared_memory

MS = 1_000_000
DESCRIPTOR = ChannelDescriptor("ticks", EchoRouting("loop"), 64)


def on_threads() -> Runtime:
    return Runtime.system("inprocess")


def on_shared_memory() -> Runtime:
    transport = shared_memory()
    from taktora.executor.waitset import WaitSetReactor

    clock = SystemClock()
    return replace(on_threads(), transport=transport, make_reactor=lambda _name: WaitSetReactor(clock))


def on_virtual_time() -> Runtime:
    return World(1).runtime


everywhere = pytest.mark.parametrize(
    "make_runtime",
    [
        pytest.param(on_virtual_time, id="virtual"),
        pytest.param(on_threads, id="threads"),
        pytest.param(on_shared_memory, id="iceoryx2"),
    ],
)


class Rig:
    """A host with an echo connector, a sender every 2 ms, and a reader."""

    def __init__(self, runtime: Runtime, send_every_ns: int = 2 * MS) -> None:
        self.runtime = runtime
        self.host = ConnectorHost.builder(runtime).heartbeat(20 * MS).build()
        self.connector = EchoConnector(runtime)
        self.reader: ChannelReader[Tick, JsonCodec] = self.connector.create_reader(DESCRIPTOR, Tick)
        self.writer: ChannelWriter[Tick, JsonCodec] = self.connector.create_writer(DESCRIPTOR, Tick)
        self.health = self.connector.subscribe_health()
        self.host.register(self.connector)
        self.sent = 0
        self.got: list[int] = []
        self.host.executor.add(item_with_triggers(lambda d: d.interval(send_every_ns), self._send), "sender")
        self.host.executor.add(item_with_triggers(lambda d: d.subscriber(self.reader), self._take), "taker")

    def _send(self, context: Context) -> None:
        del context
        if not self.connector.link.gate.blocked:
            self.writer.send(Tick(self.sent))
            self.sent += 1

    def _take(self, context: Context) -> None:
        del context
        self.got.extend(envelope.value.count for envelope in self.reader.drain())


@pytest.mark.verifies("REQ_0241", "REQ_0272")
@everywhere
def test_in_process_gateway_carries_messages_both_ways(make_runtime: Callable[[], Runtime]) -> None:
    rig = Rig(make_runtime())

    rig.host.run_until(lambda: len(rig.got) >= 5)
    rig.host.close()
    rig.runtime.close()

    assert rig.got[:5] == [0, 1, 2, 3, 4]


@pytest.mark.verifies("REQ_0271", "REQ_0241")
def test_gateway_has_an_executor_of_its_own() -> None:
    rig = Rig(on_virtual_time())

    rig.host.run_for(0.01)

    assert rig.host.gateway.executor is not rig.host.executor
    assert rig.host.executor.task_ids == ("sender", "taker")
    assert rig.host.gateway.executor.task_ids == (
        "echo.conditions",
        "echo.supervisor",
        "echo.inbound",
        "echo.outbound",
    )


@pytest.mark.verifies("REQ_0270")
def test_connector_names_keep_their_order() -> None:
    runtime = on_virtual_time()
    host = ConnectorHost.builder(runtime).build()

    registered = [host.register(EchoConnector(runtime, name=name)) for name in ("zeta", "alpha", "mid")]

    assert host.connector_names == ("zeta", "alpha", "mid")
    assert [connector.name for connector in registered] == ["zeta", "alpha", "mid"]


@pytest.mark.verifies("REQ_0270")
def test_second_connector_of_a_name_is_refused() -> None:
    runtime = on_virtual_time()
    host = ConnectorHost.builder(runtime).build()
    host.register(EchoConnector(runtime))

    with pytest.raises(ConfigurationError, match="connector named 'echo' is registered already"):
        host.register(EchoConnector(runtime))


@pytest.mark.verifies("REQ_0220")
def test_connector_joins_one_host_only() -> None:
    runtime = on_virtual_time()
    connector = EchoConnector(runtime)
    ConnectorHost.builder(runtime, "first").build().register(connector)

    with pytest.raises(StackError, match="connector 'echo' is registered already"):
        ConnectorHost.builder(runtime, "second").build().register(connector)


@pytest.mark.verifies("REQ_0272")
def test_nothing_is_registered_once_the_gateway_runs() -> None:
    rig = Rig(on_virtual_time())
    rig.host.run_for(0.01)

    with pytest.raises(ConfigurationError, match="has started"):
        rig.host.register(EchoConnector(rig.runtime, name="late"))
    with pytest.raises(ConfigurationError, match="create writers before the host runs"):
        rig.connector.create_writer(ChannelDescriptor("late", EchoRouting("loop"), 64), Tick)


@pytest.mark.verifies("REQ_0272")
@everywhere
def test_late_reader_of_a_running_connector_receives(make_runtime: Callable[[], Runtime]) -> None:
    rig = Rig(make_runtime())
    rig.host.run_until(lambda: len(rig.got) >= 2)

    late = rig.connector.create_reader(ChannelDescriptor("late", EchoRouting("loop"), 64), Tick)
    received: list[int] = []

    def has_received() -> bool:
        received.extend(envelope.value.count for envelope in late.drain())
        return len(received) >= 5

    rig.host.run_until(has_received)
    rig.host.close()
    rig.runtime.close()

    assert received == list(range(received[0], received[0] + len(received)))


@pytest.mark.verifies("REQ_0270")
def test_run_n_and_run_for_may_be_repeated() -> None:
    rig = Rig(on_virtual_time())

    rig.host.run_n(1)
    rig.host.run_for(0.02)
    rig.host.run_for(0.02)

    assert rig.sent == 21
    assert rig.host.gateway.executor.is_running


@pytest.mark.verifies("REQ_0243")
@everywhere
def test_stopped_run_closes_everything(make_runtime: Callable[[], Runtime]) -> None:
    threads = set(threading.enumerate())
    rig = Rig(make_runtime())

    def stop_after_first(context: Context) -> None:
        if rig.got:
            context.stop_executor()

    rig.host.executor.add(item_with_triggers(lambda d: d.interval(20 * MS), stop_after_first), "stopper")

    rig.host.run()

    assert not rig.host.gateway.executor.is_running
    assert not rig.connector.driver.is_open
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ShutdownError):
        rig.writer.send(Tick(1))
    with pytest.raises(ShutdownError, match="host 'host' has been closed"):
        rig.host.run()
    rig.runtime.close()


PROGRAM = """
from taktora.executor import item_with_triggers
from tests.unit.connector.test_host import Rig, on_shared_memory, on_threads

rig = Rig({make_runtime}())
rig.host.own_signals = True
told = []


def tell(context):
    if len(rig.got) >= 3 and not told:
        told.append(print("flowing", flush=True))


rig.host.executor.add(item_with_triggers(lambda d: d.interval(5_000_000), tell), "tell")
rig.host.run()
rig.runtime.close()
print("ended", rig.connector.driver.is_open, rig.host.gateway.executor.is_running, flush=True)
"""


@pytest.mark.realizes("TEST_0152")
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("make_runtime", ["on_threads", "on_shared_memory"])
def test_signal_in_mid_traffic_ends_the_program_cleanly(make_runtime: str, number: int) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(make_runtime=make_runtime)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["sim", "."])},
    )
    assert program.stdout is not None
    first = program.stdout.readline()

    program.send_signal(number)
    output, errors = program.communicate(timeout=PATIENCE_S)

    assert (first, output, errors, program.returncode) == ("flowing\n", "ended False False\n", "", 0)


GATEWAY = """
from taktora.connector import ConnectorGateway
from taktora.executor import item_with_triggers
from taktora.testing.echo import EchoConnector
from tests.unit.connector.test_host import on_shared_memory

runtime = on_shared_memory()
gateway = ConnectorGateway.builder(runtime).signals().build()
connector = gateway.register(EchoConnector(runtime))


def tell(context):
    if {fails}:
        raise ZeroDivisionError("planted")
    print("ready", flush=True)


gateway.executor.add(item_with_triggers(lambda d: d.interval(20_000_000), tell), "tell")
gateway.run()
runtime.close()
print("ended", connector.driver.is_open, flush=True)
"""


def start_gateway(fails: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", GATEWAY.format(fails=fails)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["sim", "."])},
    )


@pytest.mark.verifies("REQ_0243")
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_ends_a_gateway_program_cleanly(number: int) -> None:
    program = start_gateway(fails=False)
    assert program.stdout is not None
    first = program.stdout.readline()

    program.send_signal(number)
    output, errors = program.communicate(timeout=PATIENCE_S)

    assert (first, output.splitlines()[-1], errors, program.returncode) == ("ready\n", "ended False", "", 0)


@pytest.mark.verifies("REQ_0296")
def test_failure_ends_a_gateway_program_with_the_error() -> None:
    program = start_gateway(fails=True)

    output, errors = program.communicate(timeout=PATIENCE_S)

    assert (output, program.returncode) == ("", 1)
    assert "ZeroDivisionError: planted" in errors


@pytest.mark.verifies("REQ_0243")
def test_signals_belong_to_others_unless_asked_for() -> None:
    runtime = on_virtual_time()
    built = [ConnectorHost.builder(runtime, "a").build(), ConnectorHost.builder(runtime, "b").signals().build()]
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    for host in built:
        look = item_with_triggers(
            lambda d: d.interval(MS), lambda _: seen.append(signal.getsignal(signal.SIGINT) is before)
        )
        host.executor.add(look)
        host.run_n(1)

    assert seen == [True, False]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.verifies("REQ_0296")
@everywhere
def test_failure_in_the_gateway_is_down_and_ends_the_run(make_runtime: Callable[[], Runtime]) -> None:
    rig = Rig(make_runtime())
    rig.host.run_until(lambda: len(rig.got) >= 2)
    rig.connector.driver.failure = ZeroDivisionError("planted")

    with pytest.raises(TaskFailed) as caught:
        rig.host.run()
    down = [event.target for event in rig.health.drain() if isinstance(event.target, Down)]
    rig.runtime.close()

    assert "echo.outbound" in str(caught.value)
    assert len(down) == 1
    assert "ZeroDivisionError: planted" in str(down[0].reason)


@pytest.mark.verifies("REQ_0296", "REQ_0243")
def test_failure_in_the_application_closes_the_gateway() -> None:
    threads = set(threading.enumerate())
    runtime = on_threads()
    builder = ConnectorHost.builder(runtime)
    builder.executor.on_item_error("stop")
    host = builder.build()
    connector = host.register(EchoConnector(runtime))
    host.executor.add(item_with_triggers(lambda d: d.interval(MS), lambda _: 1 / 0), "broken")  # type: ignore[arg-type, return-value]

    with pytest.raises(TaskFailed, match="broken"):
        host.run()

    assert not connector.driver.is_open
    assert set(threading.enumerate()) <= threads


@pytest.mark.verifies("REQ_0243")
def test_gateway_that_does_not_end_is_reported_after_the_drain_budget() -> None:
    budgets: list[float] = []

    class Stuck:
        error = None

        def stop(self) -> None: ...

        def join(self, timeout_s: float = 5.0) -> None:
            budgets.append(timeout_s)
            raise RunnerJoinError("still runs")

    runtime = replace(on_threads(), start=lambda _executor: Stuck())
    default, chosen = (
        ConnectorHost.builder(runtime, "a").build(),
        ConnectorHost.builder(runtime, "b").drain_budget(0.5).build(),
    )
    for host in (default, chosen):
        host.run_n(0)
        with pytest.raises(RunnerJoinError):
            host.close()

    assert budgets == [5.0, 0.5]


@pytest.mark.verifies("REQ_0243")
def test_gateway_that_ends_after_its_drain_budget_can_be_closed_then() -> None:
    runtime, entered, released = on_threads(), threading.Event(), threading.Event()
    host = ConnectorHost.builder(runtime).drain_budget(0.1).build()
    connector = host.register(EchoConnector(runtime))
    writer = connector.create_writer(DESCRIPTOR, Tick)

    def wait(_context: Context) -> None:
        entered.set()
        released.wait(PATIENCE_S)

    host.gateway.executor.add(item_with_triggers(lambda d: d.interval(MS), wait))
    host.run_n(0)
    assert entered.wait(PATIENCE_S)

    with pytest.raises(RunnerJoinError):
        host.close()
    released.set()
    while host.gateway.executor.is_running:
        time.sleep(0.001)
    host.close()

    with pytest.raises(ShutdownError):
        writer.send(Tick(1))
    RawChannelReader(runtime.transport, "ticks.out", 64).close()
    runtime.close()


@pytest.mark.verifies("REQ_0243")
def test_connector_that_fails_to_close_keeps_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    host = ConnectorHost.builder(world.runtime).build()
    first, second = (host.register(EchoConnector(world.runtime, name=name)) for name in ("first", "second"))
    close_second = second.close

    def fail() -> None:
        close_second()
        raise OSError("cannot close")

    monkeypatch.setattr(second, "close", fail)
    with pytest.raises(OSError, match="cannot close"):
        host.close()

    with pytest.raises(ShutdownError):
        first.create_reader(DESCRIPTOR, Tick)


@pytest.mark.verifies("REQ_0270")
def test_drain_budget_of_nothing_is_refused() -> None:
    with pytest.raises(BuilderError, match=r"drain_budget\(0\): must be above 0"):
        ConnectorHost.builder(on_virtual_time()).drain_budget(0)


@pytest.mark.verifies("REQ_0271")
def test_gateway_runs_as_a_program_part_of_its_own() -> None:
    runtime = on_threads()
    gateway = ConnectorGateway.builder(runtime).build()
    connector = gateway.register(EchoConnector(runtime))

    def stop_once_open(context: Context) -> None:
        if connector.driver.is_open:
            context.stop_executor()

    gateway.executor.add(item_with_triggers(lambda d: d.interval(MS), stop_once_open))

    gateway.run()

    assert connector.driver.opened == 1
    assert not connector.driver.is_open


@pytest.mark.realizes("TEST_0153")
@everywhere
def test_only_user_payload_is_on_the_services(make_runtime: Callable[[], Runtime]) -> None:
    runtime = make_runtime()
    rig = Rig(runtime)
    services = ("ticks.out", "ticks.in")
    observers = [RawChannelReader(runtime.transport, service, 64) for service in services]
    seen: list[list[bytes]] = [[], []]

    def observe() -> bool:
        for observer, payloads in zip(observers, seen, strict=True):
            while (received := observer.try_recv()) is not None:
                payloads.append(bytes(received[1]))
        return len(rig.got) >= 8

    rig.host.run_until(observe)
    rig.connector.driver.cut()
    rig.host.run_until(lambda: rig.connector.health().kind is ConnectorHealthKind.DOWN)
    rig.connector.driver.mend()
    rig.host.run_until(lambda: observe() and rig.got[-1] == rig.sent - 1 and rig.sent > 12)
    rig.host.close()
    observe()
    for observer in observers:
        observer.close()
    runtime.close()

    expected = [b'{"count":%d,"label":""}' % count for count in range(rig.sent)]
    assert seen[0] == expected
    assert set(seen[1]) <= set(expected)


@pytest.mark.verifies("TSR_0006")
def test_event_comes_at_the_instant_of_the_change_on_virtual_time() -> None:
    world = World(1)
    rig = Rig(world.runtime)
    world.call_at(30 * MS, rig.connector.driver.cut)

    rig.host.run_for(0.035)
    down = [event for event in rig.health.drain() if event.target.kind is ConnectorHealthKind.DOWN]

    assert [event.at_ns for event in down] == [30 * MS]


@pytest.mark.verifies("TSR_0006")
@pytest.mark.parametrize("make_runtime", [on_threads, on_shared_memory], ids=["threads", "iceoryx2"])
def test_event_comes_within_50_ms_on_real_threads(make_runtime: Callable[[], Runtime], measure: Any) -> None:
    rig = Rig(make_runtime())
    clock = rig.runtime.clock
    latencies_ns: list[int] = []
    arrived: list[Any] = []

    def has_arrived() -> bool:
        arrived.extend(rig.health.drain())
        return bool(arrived)

    for _ in range(10):  # the machine may hold back any of them, something slow in the way would all
        rig.host.run_until(lambda: rig.connector.health().kind is ConnectorHealthKind.UP)
        list(rig.health.drain())
        arrived.clear()
        cut_ns = clock.now_ns()
        rig.connector.driver.cut()
        rig.host.run_until(has_arrived)
        latencies_ns.append(arrived[0].at_ns - cut_ns)
        rig.connector.driver.mend()
    rig.host.close()
    rig.runtime.close()

    measure("health_latency", min(latencies_ns) / 1e6, "ms", high=50)


@pytest.mark.verifies("REQ_0232", "REQ_0234")
def test_same_seed_gives_the_same_health_walk() -> None:
    def walk(seed: int) -> list[tuple[str, int]]:
        world = World(seed)
        rig = Rig(world.runtime)
        world.call_at(5 * MS, rig.connector.driver.cut)
        world.call_at(90 * MS, rig.connector.driver.mend)
        rig.host.run_for(0.5)
        return [(event.target.kind.value, event.at_ns) for event in rig.health.drain()]

    first, again, other = walk(3), walk(3), walk(4)

    assert [kind for kind, _ in first[:4]] == ["Up", "Down", "Connecting", "Down"]
    assert [kind for kind, _ in first[-2:]] == ["Connecting", "Up"]
    assert first == again != other


@pytest.mark.verifies("CON_0001")
def test_idle_gateway_does_not_tick() -> None:
    runtime = on_virtual_time()
    host = ConnectorHost.builder(runtime).build()
    connector = host.register(EchoConnector(runtime))
    connector.create_writer(DESCRIPTOR, Tick)
    host.run_for(0.1)
    before = [task.samples for task in host.gateway.executor.stats_snapshot()]

    host.run_for(60)

    assert [task.samples for task in host.gateway.executor.stats_snapshot()] == before


@pytest.mark.verifies("TSR_0010")
def test_heartbeats_of_the_gateway_are_seen_at_the_connector() -> None:
    rig = Rig(on_virtual_time())
    beats = rig.connector.monitor.subscribe_heartbeats()

    rig.host.run_for(0.1)
    seen = list(beats.drain())

    assert [beat.sequence_number for beat in seen] == [1, 2, 3, 4, 5, 6]
    assert {after.at_ns - before.at_ns for before, after in itertools.pairwise(seen)} == {20 * MS}
    assert all(event.source.kind is not event.target.kind for event in rig.health.drain())


@pytest.mark.verifies("REQ_0273")
@pytest.mark.parametrize("enabled", [False, True], ids=["off", "on"])
def test_logging_is_off_unless_asked_for(enabled: bool, caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    builder = ConnectorHost.builder(world.runtime)
    if enabled:
        builder.logging()
    host = builder.build()
    connector = host.register(EchoConnector(world.runtime))
    world.call_at(5 * MS, connector.driver.cut)
    host.executor.add(item_with_triggers(lambda d: d.interval(MS), lambda _: None), "beat")

    with caplog.at_level(logging.DEBUG, "taktora.connector"):
        host.run_for(0.006)
    messages = [record.getMessage() for record in caplog.records if record.name == "taktora.connector"]

    assert ("echo: Connecting -> Up" in messages) is enabled
    assert any(message.startswith("echo: Up -> Down: loop cut; next try in 0.0") for message in messages) is enabled
    assert any(message.startswith("beat ran at ") for message in messages) is enabled
