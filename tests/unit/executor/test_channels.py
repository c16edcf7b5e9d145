"""Channels, services, and signal and slot over the transport seam."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from taktora.errors import BuilderError, ConfigurationError, ShutdownError
from taktora.executor import (
    Context,
    Executor,
    ItemFlow,
    NotifyOutcome,
    TakePolicy,
    item,
    item_with_triggers,
    signal_slot,
)
from taktora.testing.mock_reactor import ManualClock, ManualReactor
from taktora.transport.base import PayloadType, ServiceSettings
from taktora.transport.inprocess import InProcessTransport
from taktora.transport.local_pubsub import LocalSubscriber
from taktora.transport.local_request import LocalServer
from tests.unit.executor.support import MS, Counter, ManualRig, Number, Rig, counted, every

_SETTINGS = ServiceSettings()


class Pair(ctypes.Structure):
    _fields_ = (("left", ctypes.c_int32), ("right", ctypes.c_double))


def _write(value: int, result: bool = True) -> Callable[[Number], bool]:
    def fill(slot: Number) -> bool:
        slot.value = value
        return result

    return fill


@pytest.mark.realizes("TEST_0108")
def test_the_three_ways_to_send_deliver(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    sent = [publisher.send_copy(Number(42)), publisher.loan(_write(99)), publisher.loan_send(_write(7))]
    skipped = publisher.loan(_write(1, result=False))

    assert [outcome.sent for outcome in sent] == [True, True, True]
    assert [sample.value for sample in subscriber.drain()] == [42, 99, 7]
    assert skipped == NotifyOutcome(sent=False, listeners_notified=0)
    assert subscriber.take() is None


@pytest.mark.verifies("REQ_0011")
def test_loan_send_hands_out_zeros_and_loan_hands_out_what_is_there(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    seen: list[int] = []

    def look(slot: Number) -> bool:
        seen.append(slot.value)
        return False

    for _ in range(4):
        publisher.send_copy(Number(5))
    used = [sample.value for sample in subscriber.drain()]
    publisher.loan(look)
    publisher.loan_send(look)

    assert used == [5, 5, 5, 5]
    assert seen == [5, 0]


@pytest.mark.verifies("REQ_0011")
def test_a_fill_that_raises_gives_the_slot_back(manual: ManualRig) -> None:
    publisher = manual.builder().build().channel("speed", Number).publisher()

    with pytest.raises(ZeroDivisionError):
        publisher.loan(lambda _slot: 1 // 0)

    assert publisher.send_copy(Number(1)).sent


@pytest.mark.realizes("TEST_0109")
def test_a_loan_reaches_the_reader_as_a_view_without_serialising(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("pair", Pair)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    addresses: list[int] = []

    def fill(slot: Pair) -> None:
        slot.left, slot.right = 99, 0.5
        addresses.append(ctypes.addressof(slot))

    publisher.loan(fill)
    sample = subscriber.take()

    assert sample is not None
    assert (sample.left, sample.right) == (99, 0.5)
    assert ctypes.addressof(sample) == addresses[0]


@pytest.mark.realizes("TEST_0113")
def test_the_number_of_listeners_surfaces(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("speed", Number)
    publisher = channel.publisher()

    alone = publisher.send_copy(Number(1))
    subscriber = channel.subscriber()
    together = publisher.send_copy(Number(2))
    subscriber.close()
    publisher.close()

    assert (alone.sent, alone.listeners_notified, alone.delivered_to_any_listener) == (True, 0, False)
    assert (together.sent, together.listeners_notified, together.delivered_to_any_listener) == (True, 1, True)


@pytest.mark.verifies("REQ_0012")
def test_a_channel_crosses_shared_memory_as_a_view() -> None:
    pytest.importorskip("iceoryx2")
    from taktora.executor.channel import Channel
    from taktora.transport.iceoryx import IceoryxTransport

    transport = IceoryxTransport()
    try:
        channel = Channel(transport, "taktora-test-view", Pair)
        subscriber, publisher = channel.subscriber(), channel.publisher()

        outcome = publisher.loan(lambda slot: setattr(slot, "left", 99))
        sample = subscriber.take()

        assert outcome == NotifyOutcome(sent=True, listeners_notified=1)
        assert sample is not None
        assert sample.left == 99
        del sample
    finally:
        transport.close()


def _takes_of_a_late_item(executor: Executor) -> list[list[int]]:
    """Return what an item takes in its first two runs: one that opens its end after a sample was sent."""
    channel, taken, early = executor.channel("taktora-test-late", Number), list[list[int]](), Counter()
    publisher, present = channel.publisher(), channel.subscriber()
    publisher.send_copy(Number(7))
    present.listener.drain()
    late = channel.subscriber()
    executor.add(item_with_triggers(lambda declarer: declarer.subscriber(present), early))

    def take(context: Context) -> None:
        taken.append([sample.value for sample in late.drain()])
        if len(taken) == 2:
            context.stop_executor()
        else:
            assert early.runs == 0  # the wake of one who is late is nobody else's
            publisher.send_copy(Number(8))

    executor.add(item_with_triggers(lambda declarer: declarer.subscriber(late), take))
    executor.run_for(20_000 * MS)
    for port in (publisher, present, late):
        port.close()
    return taken


@pytest.mark.verifies("REQ_0010")
def test_an_item_that_joins_late_is_woken_for_the_sample_that_is_there(rig: Rig) -> None:
    taken = _takes_of_a_late_item(rig.builder().build())

    assert taken == [[7], [8]]


@pytest.mark.verifies("REQ_0010")
def test_an_item_that_joins_late_in_shared_memory_is_woken_for_the_sample_that_is_there(real_rig: Rig) -> None:
    pytest.importorskip("iceoryx2")
    from taktora.transport.iceoryx import IceoryxTransport

    transport = IceoryxTransport(isolated=True)
    try:
        executor = Executor.builder(clock=real_rig.clock, transport=transport, reactor=real_rig.reactor).build()
        taken = _takes_of_a_late_item(executor)
    finally:
        transport.close()

    assert taken == [[7], [8]]


@pytest.mark.verifies("REQ_0010")
def test_an_item_on_a_channel_without_a_history_is_not_woken(manual: ManualRig) -> None:
    executor, runs = manual.builder().build(), Counter()
    channel = executor.channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    executor.add(item_with_triggers(lambda declarer: declarer.subscriber(subscriber), runs))

    executor.run_for(5 * MS)
    publisher.close()

    assert runs.runs == 0
    assert subscriber.take() is None


@pytest.mark.verifies("REQ_0012")
def test_closing_a_subscriber_gives_back_a_sample_that_nobody_took(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("speed", Number, ServiceSettings(history_size=1))
    publisher = channel.publisher()
    publisher.send_copy(Number(7))
    subscriber = channel.subscriber()

    subscriber.close()

    with pytest.raises(ShutdownError):
        subscriber.take()


@pytest.mark.verifies("REQ_0010")
def test_one_wake_stands_for_several_samples(manual: ManualRig) -> None:
    executor, taken = manual.builder().build(), []
    channel = executor.channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    def body(context: Context) -> None:
        del context
        taken.append([sample.value for sample in subscriber.drain()])

    executor.add(item_with_triggers(lambda d: d.subscriber(subscriber), body))
    manual.reactor.at(MS, lambda: [publisher.send_copy(Number(value)) for value in (1, 2, 3)])

    executor.run_for(5 * MS)

    assert taken == [[1, 2, 3]]


@pytest.mark.verifies("REQ_0010")
def test_a_service_wakes_the_server_and_the_answer_wakes_the_client(manual: ManualRig) -> None:
    answers: list[int | None] = []
    executor = manual.builder().build()
    service = executor.service("double", Number, Number)
    server, client = service.server(), service.client()

    def serve(context: Context) -> None:
        del context
        while (taken := server.take_request()) is not None:
            request, active = taken
            active.respond_copy(Number(request.value * 2))

    def receive(context: Context) -> None:
        answer = pending.take()
        answers.append(answer.value if answer is not None else None)
        context.stop_executor()

    executor.add(item_with_triggers(lambda d: d.server(server), serve))
    executor.add(item_with_triggers(lambda d: d.client(client), receive))
    pending = client.send_copy(Number(21))

    executor.run()

    assert answers == [42]
    assert pending.take() is None
    pending.forget()
    client.close()
    server.close()


@pytest.mark.verifies("REQ_0010")
def test_a_channel_without_a_transport_is_refused(manual: ManualRig) -> None:
    executor = Executor.builder(clock=manual.clock, reactor=manual.reactor, name="bare").build()

    with pytest.raises(BuilderError, match=r"'bare': channel\('speed'\) needs a transport"):
        executor.channel("speed", Number)


@pytest.mark.verifies("REQ_0010", "REQ_0022")
@pytest.mark.parametrize(("policy", "expected"), [(TakePolicy.SINGLE, [1, 2, 3]), (TakePolicy.ALL, [1, 2, 3])])
def test_a_signal_runs_its_slot(policy: TakePolicy, expected: list[int], manual: ManualRig) -> None:
    executor, received, count = manual.builder().build(), [], Counter()

    def before_send(slot: Number) -> bool:
        slot.value = count.runs + 1
        count.runs += 1
        return True

    def after_recv(sample: Number) -> bool:
        received.append(sample.value)
        return True

    signal, slot = signal_slot.pair(
        executor, "tick", Number, before_send=before_send, after_recv=after_recv, policy=policy
    )
    executor.add_chain([every(MS, Counter()), signal])
    executor.add(slot)

    executor.run_until(lambda: len(received) == 3)

    assert received == expected


@pytest.mark.verifies("REQ_0022")
def test_a_signal_that_is_not_sent_stops_its_chain(manual: ManualRig) -> None:
    executor, tail = manual.builder().build(), Counter()
    signal, _ = signal_slot.pair(executor, "t", Number, before_send=lambda _s: False, after_recv=lambda _s: True)
    executor.add_chain([every(MS, Counter()), signal, item(tail)])

    executor.run_n(1)

    assert tail.runs == 0


@pytest.mark.verifies("REQ_0022")
@pytest.mark.parametrize(
    ("policy", "values", "answer", "flow", "left"),
    [
        (TakePolicy.SINGLE, [1, 2], True, ItemFlow.CONTINUE, 1),
        (TakePolicy.ALL, [1, 2], True, ItemFlow.CONTINUE, 0),
        (TakePolicy.ALL, [1, 2], False, ItemFlow.STOP_CHAIN, 1),
        (TakePolicy.SINGLE, [], True, ItemFlow.STOP_CHAIN, 0),
    ],
)
def test_a_slot_takes_by_its_policy(
    policy: TakePolicy, values: list[int], answer: bool, flow: ItemFlow, left: int, manual: ManualRig
) -> None:
    executor = manual.builder().build()
    signal, slot = signal_slot.pair(
        executor, "t", Number, before_send=lambda _s: True, after_recv=lambda _s: answer, policy=policy
    )
    for value in values:
        signal.publisher.send_copy(Number(value))

    result = slot.execute(None)  # type: ignore[arg-type]

    assert result is flow
    assert len(list(slot.subscriber.drain())) == left


@pytest.mark.verifies("REQ_0013")
def test_a_full_subscriber_that_loses_a_sample_is_counted(manual: ManualRig) -> None:
    channel = manual.builder().build().channel("speed", Number, ServiceSettings(subscriber_max_buffer_size=2))
    publisher, slow, quick = channel.publisher(), channel.subscriber(), channel.subscriber()

    outcomes = []
    for value in range(3):
        outcomes.append(publisher.send_copy(Number(value)))
        assert [sample.value for sample in quick.drain()] == [value]

    assert [outcome.full_subscribers for outcome in outcomes] == [0, 0, 1]
    assert [outcome.listeners_notified for outcome in outcomes] == [2, 2, 2]
    assert [sample.value for sample in slow.drain()] == [0, 1]


@pytest.mark.verifies("REQ_0011")
def test_a_value_of_another_type_gives_the_slot_back(manual: ManualRig) -> None:
    publisher = manual.builder().build().channel("speed", Number).publisher()

    with pytest.raises(ValueError, match="different structures"):
        publisher.send_copy(Pair())  # type: ignore[arg-type]

    assert publisher.send_copy(Number(1)).sent


class _BusyTransport(InProcessTransport):
    """Others send the moment a port is there."""

    at_once: Callable[[], object] = staticmethod(lambda: None)

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = _SETTINGS) -> LocalSubscriber:
        port = super().subscriber(service, payload, settings)
        self.at_once()
        return port

    def server(self, service: str, request: PayloadType, response: PayloadType) -> LocalServer:
        port = super().server(service, request, response)
        self.at_once()
        return port


@pytest.mark.verifies("REQ_0010")
def test_what_is_sent_while_a_subscriber_opens_wakes_its_item() -> None:
    transport, reactor, taken = _BusyTransport(), ManualReactor(ManualClock()), list[int]()
    executor = Executor.builder(clock=reactor.clock, transport=transport, reactor=reactor).build()
    channel = executor.channel("speed", Number)
    publisher = channel.publisher()
    transport.at_once = lambda: publisher.send_copy(Number(7))

    subscriber = channel.subscriber()
    executor.add(
        item_with_triggers(
            lambda declarer: declarer.subscriber(subscriber),
            lambda _context: taken.extend(sample.value for sample in subscriber.drain()),
        )
    )
    executor.run_for(MS)

    assert taken == [7]


@pytest.mark.verifies("REQ_0010")
def test_what_is_asked_while_a_server_opens_wakes_its_item() -> None:
    transport, reactor, taken = _BusyTransport(), ManualReactor(ManualClock()), list[int]()
    executor = Executor.builder(clock=reactor.clock, transport=transport, reactor=reactor).build()
    service = executor.service("double", Number, Number)
    client = service.client()
    transport.at_once = lambda: client.send_copy(Number(7))

    server = service.server()
    executor.add(
        item_with_triggers(
            lambda declarer: declarer.server(server),
            lambda _context: taken.extend(request.value for request, _ in iter(server.take_request, None)),
        )
    )
    executor.run_for(MS)

    assert taken == [7]


@pytest.mark.verifies("REQ_0010")
def test_a_port_that_is_refused_leaves_no_listener_or_notifier_behind(manual: ManualRig) -> None:
    executor = manual.builder().build()
    channel, other = executor.channel("speed", Number), executor.channel("speed", Pair)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    for _ in range(20):  # more than there can be listeners or notifiers on one service
        with pytest.raises(ConfigurationError, match="payload type"):
            other.subscriber()
        with pytest.raises(ConfigurationError, match="payload type"):
            other.publisher()

    assert publisher.send_copy(Number(1)).listeners_notified == 1
    subscriber.close()


@pytest.mark.verifies("REQ_0010", "REQ_0123")
def test_an_item_may_close_a_subscriber_whose_wake_up_is_on_its_way(rig: Rig) -> None:
    executor = rig.builder().build()
    channel = executor.channel("speed", Number)
    publisher, subscriber, runs = channel.publisher(), channel.subscriber(), Counter()

    def send_and_close(run: int) -> None:
        if run == 2:
            publisher.send_copy(Number(1))
            subscriber.close()

    executor.add(every(MS, Counter(send_and_close)))
    executor.add(item_with_triggers(lambda declarer: declarer.subscriber(subscriber), runs))

    executor.run_for(20 * MS)

    assert runs.runs == 0


@pytest.mark.verifies("REQ_0063")
def test_a_port_closed_with_a_wake_up_on_its_way_does_not_keep_the_loop_busy(real_rig: Rig) -> None:
    executor = real_rig.builder().build()
    channel = executor.channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    def send_and_close(run: int) -> None:
        if run == 2:
            publisher.send_copy(Number(1))
            subscriber.close()

    executor.add(every(50 * MS, Counter(send_and_close)))
    executor.add(item_with_triggers(lambda declarer: declarer.subscriber(subscriber), Counter()))
    waits = counted(real_rig.reactor)

    executor.run_for(500 * MS)

    assert len(waits) < 50  # ten slots of the grid and the wake-up
