"""The transport of a World: traced, counted, visible at the right instant, the same on both carriers."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import pytest

from taktora.codec import JsonCodec
from taktora.connector import ChannelReader, ChannelWriter
from taktora.errors import ShutdownError
from taktora.executor import Context, item_with_triggers
from taktora.testing.check_transport import check_transport
from taktora.transport.base import PayloadType
from taktora_sim.world import World

MS = 1_000_000
CARRIERS = [
    "inprocess",
    pytest.param("iceoryx2", marks=pytest.mark.skipif(sys.platform != "linux", reason="iceoryx2 is for Linux here")),
]


class Number(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64),)


def _pipeline(carrier: str, seed: int = 0) -> tuple[list[tuple[int, int]], str]:
    """A sender that takes 3 ms and a receiver on another executor; return what was received when, and the hash."""
    with World(seed, transport=carrier) as world:  # type: ignore[arg-type]
        received: list[tuple[int, int]] = []
        sender = world.runtime.executor_builder("sender").build()
        receiver = world.runtime.executor_builder("receiver").build()
        publisher = sender.channel("numbers", Number).publisher()
        subscriber = receiver.channel("numbers", Number).subscriber()

        def send(_context: Context) -> None:
            publisher.send_copy(Number(world.now_ns()))

        def take(_context: Context) -> None:
            received.extend((sample.value, world.now_ns()) for sample in subscriber.drain())

        sender.add(item_with_triggers(lambda declarer: declarer.interval(10 * MS), send), "send")
        receiver.add(item_with_triggers(lambda declarer: declarer.subscriber(subscriber), take), "take")
        receiver.add(item_with_triggers(lambda declarer: declarer.interval(MS), take), "poll")
        world.executions.set("sender/send", 3 * MS)
        for executor in (receiver, sender):
            world.runtime.start(executor)
        world.run_for(35 * MS)
        return received, world.trace.sha256()


@pytest.mark.verifies("REQ_8011")
@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_an_item_sends_is_visible_at_its_end_and_not_before(carrier: str) -> None:
    received, _ = _pipeline(carrier)

    assert received == [(10 * MS, 13 * MS), (20 * MS, 23 * MS), (30 * MS, 33 * MS)]


@pytest.mark.verifies("REQ_8002")
@pytest.mark.skipif(sys.platform != "linux", reason="iceoryx2 is for Linux here")
def test_both_carriers_give_one_hash() -> None:
    assert _pipeline("inprocess") == _pipeline("iceoryx2")


@pytest.mark.verifies("REQ_8004")
@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_trace_holds_the_valid_bytes_of_an_envelope_and_no_old_ones(carrier: str) -> None:
    def run(first: str) -> str:
        with World(transport=carrier) as world:  # type: ignore[arg-type]
            codec, clock = JsonCodec(), world
            reader = ChannelReader(world.transport, "c", 64, codec, str, clock)
            writer: ChannelWriter[str, JsonCodec] = ChannelWriter(world.transport, "c", 64, codec, clock)
            for _ in range(70):
                writer.send(first)
                assert reader.try_recv() is not None
            before = world.trace.sha256()
            writer.send("x")
            assert reader.try_recv() is not None
            assert world.trace.sha256() != before
            assert world.transport.message_counts["c"] == [71, 0]
            return world.trace.component_hashes()["service/c"]

    assert run("aaaa") != run("bbbb")


@pytest.mark.verifies("REQ_8004")
def test_samples_a_full_reader_lost_are_counted() -> None:
    with World() as world:
        world_executor = world.runtime.executor_builder("app").build()
        channel = world_executor.channel("numbers", Number)
        publisher, subscriber = channel.publisher(), channel.subscriber()

        for value in range(70):
            publisher.send_copy(Number(value))

        assert world.transport.message_counts["numbers"] == [70, 6]
        assert [sample.value for sample in subscriber.drain()] == list(range(64))


@pytest.mark.verifies("REQ_8011")
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("form", ["fixed", "slice"])
def test_a_late_reader_sees_each_sample_of_the_history_at_its_own_instant(carrier: str, form: str) -> None:
    with World(transport=carrier) as world:  # type: ignore[arg-type]
        send, open_reader = (_fixed_ports if form == "fixed" else _slice_ports)(world)

        def send_late(value: int) -> None:
            world.transport.hold_until_ns = world.now_ns() + 5 * MS
            send(value)
            world.transport.hold_until_ns = 0

        send(1)
        after_one = open_reader()
        send_late(2)
        after_two = open_reader()
        at_once = (_take_all(after_one), _take_all(after_two))
        world.run_for(5 * MS)
        at_the_end = (_take_all(after_one), _take_all(after_two))

    assert at_once == ([1], [])
    assert at_the_end == ([2], [2])


def _fixed_ports(world: World) -> tuple[Callable[[int], object], Callable[[], Callable[[], int | None]]]:
    """Return how to send a number, and how to open a reader, as samples of a fixed size."""
    payload = PayloadType("number", 8)
    publisher = world.transport.publisher("numbers", payload)

    def send(value: int) -> None:
        publisher.loan()[:] = value.to_bytes(8, "little")
        publisher.publish()

    def open_reader() -> Callable[[], int | None]:
        subscriber = world.transport.subscriber("numbers", payload)

        def receive() -> int | None:
            view = subscriber.receive()
            return None if view is None else int.from_bytes(view, "little")

        return receive

    return send, open_reader


def _slice_ports(world: World) -> tuple[Callable[[int], object], Callable[[], Callable[[], int | None]]]:
    """Return the same as slices."""
    publisher = world.transport.slice_publisher("numbers", 16, 16)

    def send(value: int) -> None:
        publisher.loan(8)[:] = value.to_bytes(8, "little")
        publisher.publish(value, world.unix_ns())

    def open_reader() -> Callable[[], int | None]:
        subscriber = world.transport.slice_subscriber("numbers", 16)

        def receive() -> int | None:
            found = subscriber.receive()
            return None if found is None else int.from_bytes(found[0], "little")

        return receive

    return send, open_reader


def _take_all(receive: Callable[[], int | None]) -> list[int]:
    taken = []
    while (value := receive()) is not None:
        taken.append(value)
    return taken


@pytest.mark.verifies("REQ_8013")
@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_simulated_transport_keeps_the_contract(carrier: str) -> None:
    worlds: list[World] = []

    def make() -> object:
        worlds.append(World(transport=carrier))  # type: ignore[arg-type]
        return worlds[-1].transport

    check_transport(make)  # type: ignore[arg-type]
    for world in worlds:
        world.close()


@pytest.mark.verifies("REQ_8011")
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_writer_that_its_item_closes_still_wakes_the_reader_at_the_items_end(carrier: str) -> None:
    taken: list[tuple[int, int]] = []
    with World(transport=carrier) as world:  # type: ignore[arg-type]
        world.executions.set("sender", 3_000_000)
        executor = world.runtime.executor_builder("app").build()
        reader_executor = world.runtime.executor_builder("reader").build()
        channel = executor.channel("last", Number)
        publisher, subscriber = channel.publisher(), channel.subscriber()

        def send_and_close(context: Context) -> None:
            publisher.send_copy(Number(7))
            publisher.close()
            with pytest.raises(ShutdownError):
                publisher.send_copy(Number(8))
            context.stop_executor()

        def take(context: Context) -> None:
            taken.extend((context.now_ns(), sample.value) for sample in subscriber.drain())

        executor.add(item_with_triggers(lambda declarer: declarer.interval(1_000_000), send_and_close), "sender")
        reader_executor.add(item_with_triggers(lambda declarer: declarer.subscriber(subscriber), take))
        world.runtime.start(reader_executor)

        executor.run()
        world.run_for(1)

    assert taken == [(4_000_000, 7)]


def _question(carrier: str) -> tuple[list[tuple[str, int, int]], str]:
    """A client that takes 3 ms to ask, a server that takes 2 ms to answer; return who saw what when, and the hash."""
    with World(transport=carrier) as world:  # type: ignore[arg-type]
        seen: list[tuple[str, int, int]] = []
        asking = world.runtime.executor_builder("asking").build()
        answering = world.runtime.executor_builder("answering").build()
        server = answering.service("double", Number, Number).server()
        client = asking.service("double", Number, Number).client()
        pending = []

        def ask(_context: Context) -> None:
            pending.append(client.send_copy(Number(21)))

        def take(_context: Context) -> None:
            answers = filter(None, (request.take() for request in pending))
            seen.extend(("answer", answer.value, world.now_ns()) for answer in answers)

        def answer(_context: Context) -> None:
            while (taken := server.take_request()) is not None:
                request, active = taken
                seen.append(("question", request.value, world.now_ns()))
                active.respond_copy(Number(request.value * 2))

        asking.add(item_with_triggers(lambda declarer: declarer.interval(100 * MS), ask), "ask")
        asking.add(item_with_triggers(lambda declarer: declarer.interval(MS), take), "poll")
        answering.add(item_with_triggers(lambda declarer: declarer.server(server), answer), "answer")
        answering.add(item_with_triggers(lambda declarer: declarer.interval(MS), answer), "look")
        world.executions.set("asking/ask", 3 * MS)
        world.executions.set("answering/answer", 2 * MS)
        for executor in (answering, asking):
            world.runtime.start(executor)
        world.run_for(150 * MS)
        return seen, world.trace.sha256()


@pytest.mark.verifies("REQ_8011", "REQ_8004")
@pytest.mark.parametrize("carrier", CARRIERS)
def test_requests_and_responses_are_visible_at_the_end_of_the_item_that_sent_them(carrier: str) -> None:
    seen, trace = _question(carrier)

    assert seen == [("question", 21, 103 * MS), ("answer", 42, 105 * MS)]
    assert _question(carrier) == (seen, trace)
    assert _question("inprocess") == (seen, trace)
