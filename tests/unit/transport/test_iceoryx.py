"""What only shared memory can show: leftovers, killed processes, foreign services, domains, absence of iceoryx2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from taktora.clock import SystemClock
from taktora.errors import BackPressure, ConfigurationError, TransportError
from taktora.transport import (
    ChannelSpec,
    Delivery,
    IceoryxTransport,
    PayloadType,
    RawChannelReader,
    RawChannelWriter,
    ServiceSettings,
    SliceChannelReader,
    SliceChannelWriter,
    envelope_type,
)
from tests.patience import PATIENCE_S
from tests.unit.transport.leftovers import files_named, leftovers

pytest.importorskip("iceoryx2")

SMALL = PayloadType("taktora.test.Small", 16)
ROOT = Path(__file__).parents[3]

CHILD = """
import sys, time
from taktora.clock import SystemClock
from taktora.transport import IceoryxTransport, RawChannelReader, RawChannelWriter
transport = IceoryxTransport("child", domain=sys.argv[1])
"""


@pytest.fixture
def domain() -> Iterator[str]:
    """Name a domain for several processes; nothing may be left of it but the one file iceoryx2 keeps per prefix."""
    name = f"taktora_test_{os.getpid()}"
    yield name
    with IceoryxTransport("last", domain=name) as last:
        config = last.config
    remaining = leftovers(config)
    for path in remaining:
        Path(path).unlink()
    assert [path for path in remaining if not path.endswith(".global_mgmt")] == []


def start_child(domain: str, body: str) -> subprocess.Popen[str]:
    """Start a Python process that has a transport in ``domain`` and wait until it prints its first line."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + dedent(body), domain], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)


WRITER = """
writer = RawChannelWriter(transport, "killed.out", 64, SystemClock())
writer.send_raw_bytes(b"last words")
print("ready", flush=True)
time.sleep(600)
"""
READER = """
reader = RawChannelReader(transport, "killed.out", 64)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.verifies("REQ_0205", "REQ_0206")
def test_close_gives_everything_back() -> None:
    transport = IceoryxTransport("all", isolated=True)
    transport.create_all([ChannelSpec("a", SMALL)])
    ports = [transport.publisher("a", SMALL), transport.subscriber("a", SMALL)]
    other = IceoryxTransport("slices", config=transport.config)
    slices = other.slice_publisher("s", 16, 4096), other.slice_subscriber("s", 4096)
    events = transport.notifier("a.evt"), transport.listener("a.evt")
    calls = other.server("r", SMALL, SMALL), other.client("r", SMALL, SMALL)
    slices[0].loan(4000)
    slices[0].publish(0, 0)
    slices[1].receive()
    calls[1].request(b"open")
    calls[0].take_request()
    before = len(leftovers(transport.config))

    other.close()
    transport.close()

    assert before > 10
    assert leftovers(transport.config) == []
    assert len(ports) + len(events) == 4


@pytest.mark.verifies("REQ_0205")
def test_refused_opens_leave_nothing_behind() -> None:
    with IceoryxTransport("refused", isolated=True) as transport:
        transport.publisher("a", SMALL)
        for attempt in (
            lambda: transport.publisher("a", SMALL),
            lambda: transport.subscriber("a", envelope_type(64)),
            lambda: transport.create_all([ChannelSpec("b", SMALL), ChannelSpec("a", SMALL)]),
            lambda: transport.slice_publisher("c", 0, 4),
        ):
            with pytest.raises((TransportError, ConfigurationError)):
                attempt()

    assert leftovers(transport.config) == []


@pytest.mark.verifies("TSR_0007")
def test_killed_writer_makes_room_for_its_successor(domain: str) -> None:
    child = start_child(domain, WRITER)
    with IceoryxTransport("parent", domain=domain) as transport:
        reader = RawChannelReader(transport, "killed.out", 64)
        with pytest.raises(TransportError, match=r"killed\.out"):
            RawChannelWriter(transport, "killed.out", 64, SystemClock())

        kill(child)

        writer = RawChannelWriter(transport, "killed.out", 64, SystemClock())
        assert reader.try_recv() is None
        writer.send_raw_bytes(b"successor")
        received = reader.try_recv()
        assert received is not None
        assert (bytes(received[1]), reader.sequence_gaps) == (b"successor", 0)


@pytest.mark.verifies("REQ_0205")
def test_leftovers_of_a_killed_process_are_reaped_at_the_next_start(domain: str) -> None:
    child = start_child(domain, WRITER)
    kill(child)

    with IceoryxTransport("next", domain=domain) as transport:
        remaining = leftovers(transport.config)
        writer = RawChannelWriter(transport, "killed.out", 128, SystemClock())
        writer.close()

    assert [path for path in remaining if path.endswith((".data", ".connection", ".dynamic"))] == []


@pytest.mark.verifies("REQ_0205")
def test_killed_reader_stops_counting_as_full(domain: str) -> None:
    with IceoryxTransport("parent", domain=domain) as transport:
        writer = RawChannelWriter(transport, "killed.out", 64, SystemClock())
        child = start_child(domain, READER)
        for _ in range(64):
            writer.send_raw_bytes(b"fill")
        with pytest.raises(BackPressure):
            writer.send_raw_bytes(b"too much")
        kill(child)

        losses = 0
        for _ in range(200):
            try:
                writer.send_raw_bytes(b"go on")
            except BackPressure:
                losses += 1

        assert losses < 100


@pytest.mark.verifies("REQ_0205")
def test_script_that_forgets_to_close_leaves_nothing(domain: str) -> None:
    body = (
        CHILD + "writer = RawChannelWriter(transport, 'forgot.out', 64, SystemClock())\nwriter.send_raw_bytes(b'x')\n"
    )

    subprocess.run([sys.executable, "-c", body, domain], check=True, timeout=PATIENCE_S, cwd=ROOT)

    root = Path("/tmp/iceoryx2")
    found = [*Path("/dev/shm").glob(f"{domain}*"), *files_named(root, domain)]
    assert [path.name for path in found if not path.name.endswith(".global_mgmt")] == []


@pytest.mark.verifies("REQ_8510")
def test_a_second_process_on_a_service_is_told_that_another_one_publishes(domain: str) -> None:
    child = start_child(domain, WRITER)

    with IceoryxTransport("second", domain=domain) as transport:
        refusal = pytest.raises(TransportError, match=r"killed\.out: another process or object already publishes on it")
        with refusal as caught:
            RawChannelWriter(transport, "killed.out", 64, SystemClock())

    kill(child)
    assert str(caught.value).endswith("close one first, or stop the other process (does this application run twice?)")


@pytest.mark.verifies("REQ_0205")
def test_domains_do_not_see_each_other(domain: str) -> None:
    with IceoryxTransport("one", isolated=True) as one, IceoryxTransport("two", domain=domain) as two:
        subscriber = two.subscriber("same", SMALL)
        publisher = one.publisher("same", SMALL)

        publisher.loan()

        assert publisher.publish() == Delivery(0, 0)
        assert subscriber.receive() is None


@pytest.mark.verifies("REQ_0201")
def test_settings_of_another_transport_are_refused_with_both_printed() -> None:
    with (
        IceoryxTransport("one", isolated=True) as one,
        IceoryxTransport("two", config=one.config) as two,
    ):
        one.publisher("a", SMALL, ServiceSettings(subscriber_max_buffer_size=5))

        with pytest.raises(ConfigurationError, match=r"subscriber_max_buffer_size 5.*subscriber_max_buffer_size 64"):
            two.subscriber("a", SMALL)
        with pytest.raises(ConfigurationError, match=r"Small, 16 bytes.*Envelope<64>, 128 bytes"):
            two.subscriber("a", envelope_type(64))
        with pytest.raises(ConfigurationError, match="a exists already"):
            two.create_all([ChannelSpec("a", SMALL)])


@pytest.mark.verifies("REQ_0201")
def test_service_of_a_foreign_program_is_refused() -> None:
    import ctypes

    import iceoryx2

    with IceoryxTransport("one", isolated=True) as transport:
        node = iceoryx2.NodeBuilder.new().config(transport.config).create(iceoryx2.ServiceType.Ipc)
        foreign = (
            node.service_builder(iceoryx2.ServiceName.new("foreign"))
            .publish_subscribe(ctypes.c_uint64)
            .open_or_create()
        )

        with pytest.raises(ConfigurationError, match=r"foreign.*Small, 16 bytes"):
            transport.publisher("foreign", SMALL)

        del foreign, node


@pytest.mark.verifies("TSR_0007")
def test_topology_binds_other_transports_to_its_settings() -> None:
    with (
        IceoryxTransport("one", isolated=True) as one,
        IceoryxTransport("two", config=one.config) as two,
    ):
        one.create_all([ChannelSpec("a", SMALL, ServiceSettings(max_subscribers=1))])

        with pytest.raises(ConfigurationError, match=r"max_subscribers 1.*max_subscribers 8"):
            two.subscriber("a", SMALL)
        two.subscriber("a", SMALL, ServiceSettings(max_subscribers=1))


@pytest.mark.verifies("REQ_0205")
def test_history_reaches_another_transport_with_the_next_publish() -> None:
    with (
        IceoryxTransport("one", isolated=True) as one,
        IceoryxTransport("two", config=one.config) as two,
    ):
        publisher = one.publisher("a", SMALL)
        for number in range(3):
            publisher.loan()[0] = number
            publisher.publish()
        subscriber = two.subscriber("a", SMALL)
        publisher.loan()[0] = 3
        publisher.publish()

        seen = [bytes(view)[0] for view in iter(subscriber.receive, None)]

        assert seen == [2, 3]


@pytest.mark.verifies("REQ_0202")
@pytest.mark.parametrize("looked", [False, True], ids=["reader slept", "reader looked"])
def test_a_reader_in_another_transport_must_look_once_while_a_writer_is_open(looked: bool) -> None:
    with IceoryxTransport("reading", isolated=True) as reading, IceoryxTransport(config=reading.config) as writing:
        envelopes = RawChannelReader(reading, "brief.out", 64)
        slices = SliceChannelReader(reading, "slices.out", 64)
        for number in (b"first", b"second"):
            writer = RawChannelWriter(writing, "brief.out", 64, SystemClock())
            sender = SliceChannelWriter(writing, "slices.out", 64, 64, SystemClock())
            if looked:
                assert (envelopes.try_recv(), slices.try_recv()) == (None, None)
            writer.send_raw_bytes(number)
            sender.send(number)
            writer.close()
            sender.close()
            if looked:
                assert [bytes(payload) for _, payload in iter(envelopes.try_recv, None)] == [number]
                assert [bytes(message.payload) for message in iter(slices.try_recv, None)] == [number]

        assert (envelopes.try_recv(), slices.try_recv()) == (None, None)
        assert (envelopes.sequence_gaps, slices.sequence_gaps) == (0, 0)


@pytest.mark.verifies("REQ_0205")
def test_signal_handlers_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with IceoryxTransport("signals", isolated=True) as transport:
        listener = transport.listener("a.evt")
        listener.drain()
        status = Path("/proc/self/status").read_text()

    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert not caught & (1 << (signal.SIGTERM - 1))


@pytest.mark.verifies("REQ_0205")
def test_forked_child_does_not_close_its_parents_ports() -> None:
    with IceoryxTransport("fork", isolated=True) as transport:
        publisher, subscriber = transport.publisher("a", SMALL), transport.subscriber("a", SMALL)
        pid = os.fork()
        if pid == 0:
            transport.close()
            os._exit(0)
        os.waitpid(pid, 0)

        publisher.loan()

        assert publisher.publish() == Delivery(1, 1)
        assert subscriber.receive() is not None


@pytest.mark.verifies("REQ_0205")
def test_choices_of_configuration_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        IceoryxTransport("x", domain="a", isolated=True)
    with pytest.raises(ConfigurationError, match="domain 'a/b'"):
        IceoryxTransport("x", domain="a/b")
    with pytest.raises(ConfigurationError, match="node name"):
        IceoryxTransport("x" * 200, isolated=True)


@pytest.mark.verifies("REQ_0205")
def test_absent_iceoryx2_is_one_sentence() -> None:
    program = """
    import sys
    sys.modules["iceoryx2"] = None
    from taktora.errors import ConfigurationError
    from taktora.transport import IceoryxTransport, InProcessTransport
    InProcessTransport().close()
    try:
        IceoryxTransport()
    except ConfigurationError as error:
        print(error)
    """

    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
    )

    assert done.stdout.startswith("iceoryx2 cannot be imported; install it with 'pip install iceoryx2'")
    assert done.stdout.count("\n") == 1


@pytest.mark.verifies("REQ_0205")
def test_importing_transports_does_not_import_iceoryx2() -> None:
    program = "import sys, taktora.transport; assert not [m for m in sys.modules if m.startswith('iceoryx2')]"

    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_S, cwd=ROOT)


@pytest.mark.verifies("REQ_0010")
def test_a_waker_that_is_taken_off_while_another_thread_notifies_disturbs_nobody() -> None:
    wakers: list[object] = [lambda: None]

    class Leaving:
        """A listener whose waker is there at the first look only."""

        @property
        def waker(self) -> object:
            return wakers.pop() if wakers else None

    with IceoryxTransport(isolated=True) as transport:
        notifier = transport.notifier("leaving.evt")
        notifier._local.append(Leaving())  # type: ignore[arg-type]

        told = notifier.notify()
        notifier._local.clear()

    assert told == 0
