"""The transport contract in executable form: run it against any transport; it needs no test framework.

``check_transport(make)`` runs everything; ``TRANSPORT_CHECKS`` names each check, for those who want one test each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from taktora.errors import BackPressure, ConfigurationError, PayloadOverflow, ShutdownError, TransportError
from taktora.transport.base import (
    ChannelSpec,
    Delivery,
    PayloadType,
    PublisherPort,
    ServiceSettings,
    SubscriberPort,
    Transport,
    event_service_name,
)
from taktora.transport.rules import (
    MAX_ACTIVE_REQUESTS_PER_CLIENT,
    MAX_CLIENTS,
    MAX_LISTENERS,
    MAX_NOTIFIERS,
    SLICE_PAYLOAD,
)

__all__ = ["TRANSPORT_CHECKS", "check_transport"]

_SMALL = PayloadType("taktora.testing.Small", 16)
_OTHER = PayloadType("taktora.testing.Other", 24)
_SHORT_QUEUE = ServiceSettings(subscriber_max_buffer_size=3)


def check_transport(make_transport: Callable[[], Transport]) -> None:
    """Run every check, each on a transport of its own.

    Args:
        make_transport: Returns a fresh transport that sees no services of the earlier ones.

    Raises:
        AssertionError: the contract is broken; the message names the check and what was seen.
    """
    for name, check in TRANSPORT_CHECKS.items():
        transport = make_transport()
        try:
            check(transport)
        except Exception as cause:
            raise AssertionError(f"check_transport, {name}: {type(cause).__name__}: {cause}") from cause
        finally:
            transport.close()


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _equal(found: object, expected: object, what: str) -> None:
    _require(found == expected, f"{what} is {found!r}, expected {expected!r}")


@contextmanager
def _raises(expected: type[Exception], what: str, *texts: str) -> Iterator[None]:
    try:
        yield
    except expected as error:
        for text in texts:
            _require(text in str(error), f"{what}: message {str(error)!r} does not mention {text!r}")
    else:
        raise AssertionError(f"{what} raised nothing, expected {expected.__name__}")


def _send(publisher: PublisherPort, number: int) -> Delivery:
    view = publisher.loan()
    view[0:8] = number.to_bytes(8, "little")
    return publisher.publish()


def _take(subscriber: SubscriberPort) -> int | None:
    view = subscriber.receive()
    return None if view is None else int.from_bytes(view[0:8], "little")


def _take_all(subscriber: SubscriberPort) -> list[int]:
    return list(iter(lambda: _take(subscriber), None))


def _samples_arrive_in_order(transport: Transport) -> None:
    publisher = transport.publisher("order", _SMALL)
    subscriber = transport.subscriber("order", _SMALL)
    _equal(subscriber.receive(), None, "receive on an empty service")
    for number in range(32):
        _equal(_send(publisher, number), Delivery(1, 1), "delivery to one reader")
    _equal(_take_all(subscriber), list(range(32)), "order of arrival")


def _samples_without_readers_go_nowhere(transport: Transport) -> None:
    publisher = transport.publisher("alone", _SMALL)
    _equal(_send(publisher, 1), Delivery(0, 0), "delivery to nobody")


def _views_have_the_payload_size(transport: Transport) -> None:
    publisher = transport.publisher("views", _SMALL)
    subscriber = transport.subscriber("views", _SMALL)
    loaned = publisher.loan()
    _equal((len(loaned), loaned.readonly, publisher.payload_bytes), (16, False, 16), "loaned view")
    loaned[:] = bytes(range(16))
    publisher.publish()
    received = subscriber.receive()
    assert received is not None
    _equal((bytes(received), received.readonly, subscriber.payload_bytes), (bytes(range(16)), True, 16), "received")
    _equal((publisher.service, subscriber.service), ("views", "views"), "service names")


def _views_end_with_their_sample(transport: Transport) -> None:
    publisher = transport.publisher("views", _SMALL)
    subscriber = transport.subscriber("views", _SMALL)
    loaned = publisher.loan()
    publisher.publish()
    with _raises(ValueError, "writing to a view after publish"):
        loaned[0] = 1
    received = subscriber.receive()
    assert received is not None
    subscriber.release()
    with _raises(ValueError, "reading a view after release"):
        received[0]
    subscriber.release()


def _full_buffer_discards_the_newest(transport: Transport) -> None:
    publisher = transport.publisher("full", _SMALL)
    subscriber = transport.subscriber("full", _SMALL)
    for number in range(64):
        _equal(_send(publisher, number), Delivery(1, 1), f"delivery of sample {number}")
    _equal(_send(publisher, 64), Delivery(0, 1), "delivery to a full reader")
    _equal(_take_all(subscriber), list(range(64)), "samples kept by a full reader")
    _equal(_send(publisher, 65), Delivery(1, 1), "delivery after draining")
    _equal(_take_all(subscriber), [65], "sample after draining")


def _slow_reader_costs_others_nothing(transport: Transport) -> None:
    publisher = transport.publisher("slow", _SMALL, _SHORT_QUEUE)
    slow = transport.subscriber("slow", _SMALL, _SHORT_QUEUE)
    quick = transport.subscriber("slow", _SMALL, _SHORT_QUEUE)
    for number in range(200):
        expected = Delivery(2, 2) if number < 3 else Delivery(1, 2)
        _equal(_send(publisher, number), expected, f"delivery of sample {number}")
        _equal(_take_all(quick), [number], "sample at the quick reader")
    _equal(_take_all(slow), [0, 1, 2], "samples at the slow reader")


def _late_reader_gets_the_last_value(transport: Transport) -> None:
    publisher = transport.publisher("late", _SMALL)
    for number in range(5):
        _send(publisher, number)
    late = transport.subscriber("late", _SMALL)
    _equal(_take_all(late), [4], "history of a late reader")
    _send(publisher, 5)
    _equal(_take_all(late), [5], "what follows the history")


def _history_may_be_off_or_deep(transport: Transport) -> None:
    for depth in (0, 2):
        settings = ServiceSettings(history_size=depth)
        publisher = transport.publisher(f"depth{depth}", _SMALL, settings)
        for number in range(5):
            _send(publisher, number)
        late = transport.subscriber(f"depth{depth}", _SMALL, settings)
        _equal(_take_all(late), [3, 4][2 - depth :], f"history of depth {depth}")


def _discarded_loan_sends_nothing(transport: Transport) -> None:
    publisher = transport.publisher("discard", _SMALL)
    subscriber = transport.subscriber("discard", _SMALL)
    for _ in range(100):
        publisher.loan()
        publisher.discard()
    publisher.discard()
    _equal(subscriber.receive(), None, "receive after discards")
    _equal(_send(publisher, 1), Delivery(1, 1), "delivery after discards")


def _one_loan_at_a_time(transport: Transport) -> None:
    publisher = transport.publisher("loan", _SMALL)
    with _raises(TransportError, "publish without a loan", "loan"):
        publisher.publish()
    publisher.loan()
    with _raises(TransportError, "a second loan", "loan"):
        publisher.loan()
    publisher.publish()
    publisher.loan()


def _many_samples_reuse_their_slots(transport: Transport) -> None:
    publisher = transport.publisher("many", _SMALL)
    subscriber = transport.subscriber("many", _SMALL)
    for number in range(2000):
        _equal(_send(publisher, number), Delivery(1, 1), "delivery")
        _equal(_take(subscriber), number, "sample")


def _second_publisher_is_refused(transport: Transport) -> None:
    first = transport.publisher("single", _SMALL)
    with _raises(
        TransportError,
        "a second publisher",
        "service single: another process or object already publishes on it, and max_publishers is 1",
        "does this application run twice?",
    ):
        transport.publisher("single", _SMALL)
    first.close()
    transport.publisher("single", _SMALL)


def _several_publishers_if_declared(transport: Transport) -> None:
    settings = ServiceSettings(max_publishers=2, max_subscribers=1)
    first, second = (transport.publisher("pair", _SMALL, settings) for _ in range(2))
    subscriber = transport.subscriber("pair", _SMALL, settings)
    _send(first, 1)
    _send(second, 2)
    _equal(sorted(_take_all(subscriber)), [1, 2], "samples of two publishers")
    with _raises(
        TransportError, "one subscriber too many", "pair", "no room for another subscriber", "max_subscribers is 1"
    ):
        transport.subscriber("pair", _SMALL, settings)


def _other_payload_is_refused_with_both_printed(transport: Transport) -> None:
    transport.publisher("typed", _SMALL)
    with _raises(ConfigurationError, "another payload type", "typed", _SMALL.name, "16", _OTHER.name, "24"):
        transport.subscriber("typed", _OTHER)
    with _raises(ConfigurationError, "a slice on a fixed-size service", _SMALL.name, SLICE_PAYLOAD.name):
        transport.slice_subscriber("typed", 64)


def _other_settings_are_refused_with_both_printed(transport: Transport) -> None:
    transport.publisher("settings", _SMALL)
    with _raises(ConfigurationError, "other settings", "settings", "64", "3"):
        transport.subscriber("settings", _SMALL, _SHORT_QUEUE)
    transport.subscriber("settings", _SMALL)


def _illegal_names_are_refused(transport: Transport) -> None:
    for name in ("", "x" * 256, "tab\there", "null\0", " blank", "blank ", "überlauf", "iox2://x"):
        with _raises(ConfigurationError, f"name {name!r}"):
            transport.publisher(name, _SMALL)
        with _raises(ConfigurationError, f"event name {name!r}"):
            transport.listener(name)
    transport.publisher("x" * 255, _SMALL)
    transport.publisher("taktora/with:signs and blanks.out", _SMALL)


def _illegal_types_and_settings_are_refused(transport: Transport) -> None:
    for payload in (PayloadType("a", 0), PayloadType("a", 12), PayloadType("a", 32, 16), PayloadType("", 8)):
        with _raises(ConfigurationError, f"{payload}", "bad"):
            transport.publisher("bad", payload)
    for settings in (
        ServiceSettings(max_publishers=0),
        ServiceSettings(subscriber_max_buffer_size=0, history_size=0),
        ServiceSettings(history_size=65),
        ServiceSettings(history_size=-1),
    ):
        with _raises(ConfigurationError, f"{settings}", "bad"):
            transport.publisher("bad", _SMALL, settings)


def _closed_ports_say_so(transport: Transport) -> None:
    publisher = transport.publisher("closed", _SMALL)
    subscriber = transport.subscriber("closed", _SMALL)
    _send(publisher, 1)
    publisher.loan()
    for port in (publisher, subscriber, publisher, subscriber):
        port.close()
    with _raises(ShutdownError, "loan after close", "closed"):
        publisher.loan()
    with _raises(ShutdownError, "publish after close", "closed"):
        publisher.publish()
    with _raises(ShutdownError, "receive after close", "closed"):
        subscriber.receive()


def _service_ends_with_its_last_port(transport: Transport) -> None:
    publisher = transport.publisher("life", _SMALL)
    subscriber = transport.subscriber("life", _SMALL)
    _send(publisher, 7)
    publisher.close()
    _equal(_take_all(subscriber), [7], "sample of a publisher that has gone")
    subscriber.close()
    transport.publisher("life", _OTHER, _SHORT_QUEUE)


def _restarted_publisher_is_heard(transport: Transport) -> None:
    subscriber = transport.subscriber("again", _SMALL)
    for number in range(5):
        publisher = transport.publisher("again", _SMALL)
        _equal(_send(publisher, number), Delivery(1, 1), "delivery of a restarted publisher")
        _equal(_take_all(subscriber), [number], "sample of a restarted publisher")
        publisher.close()


def _brief_publishers_are_heard(transport: Transport) -> None:
    subscriber = transport.subscriber("brief", _SMALL)
    for number in range(5):
        publisher = transport.publisher("brief", _SMALL)
        _send(publisher, number)
        publisher.close()
    _equal(_take_all(subscriber), list(range(5)), "samples of publishers that came and went")


def _readers_come_and_go(transport: Transport) -> None:
    publisher = transport.publisher("visits", _SMALL)
    for number in range(20):
        subscriber = transport.subscriber("visits", _SMALL)
        _equal(_send(publisher, number), Delivery(1, 1), "delivery to a visitor")
        subscriber.close()
        _equal(_send(publisher, number), Delivery(0, 0), "delivery after the visit")


def _notification_is_a_level(transport: Transport) -> None:
    notifier, listener = transport.notifier("event"), transport.listener("event")
    _equal(listener.drain(), False, "drain before any notification")
    for _ in range(3):
        _equal(notifier.notify(), 1, "listeners told")
    _equal((listener.drain(), listener.drain()), (True, False), "drain after three notifications")
    notifier.notify()
    _equal(listener.drain(), True, "drain after a further notification")


def _notifying_never_blocks(transport: Transport) -> None:
    notifier, listener = transport.notifier("flood"), transport.listener("flood")
    for _ in range(5000):
        notifier.notify()
    _equal((listener.drain(), listener.drain()), (True, False), "drain after a flood")
    notifier.notify()
    _equal(listener.drain(), True, "drain after the flood was drained")


def _every_listener_is_told(transport: Transport) -> None:
    listeners = [transport.listener("all") for _ in range(3)]
    notifiers = [transport.notifier("all") for _ in range(2)]
    _equal(notifiers[1].notify(), 3, "listeners told")
    _equal([listener.drain() for listener in listeners], [True] * 3, "listeners that were told")
    listeners[0].close()
    _equal(notifiers[0].notify(), 2, "listeners told after one has closed")


def _a_listener_may_be_told_alone(transport: Transport) -> None:
    told, other = transport.listener("alone"), transport.listener("alone")
    calls: list[int] = []
    told.tell()
    told.set_waker(lambda: calls.append(0))
    _equal(calls, [0], "waker calls when it was told before")
    told.tell()
    _equal(calls, [0, 0], "waker calls when it is told")
    _equal((told.drain(), told.drain(), other.drain()), (True, False, False), "drain after one was told")


def _waker_is_called_at_each_notification(transport: Transport) -> None:
    notifier, listener = transport.notifier("waker"), transport.listener("waker")
    calls: list[int] = []
    if listener.native is None:
        notifier.notify()
        listener.set_waker(lambda: calls.append(0))
        _equal(calls, [0], "waker calls when one was pending")
        _equal(listener.drain(), True, "drain after the waker was set")
        listener.set_waker(None)  # one waits at a time
    listener.set_waker(lambda: calls.append(1))
    notifier.notify()
    notifier.notify()
    _equal(calls[-2:], [1, 1], "waker calls")
    _equal(listener.drain(), True, "drain after waking")
    listener.set_waker(None)
    notifier.notify()
    _equal(len(calls), calls.count(0) + 2, "waker calls after its removal")


def _other_threads_may_notify(transport: Transport) -> None:
    notifier, listener = transport.notifier("thread"), transport.listener("thread")
    thread = Thread(target=lambda: [notifier.notify() for _ in range(100)])
    thread.start()
    thread.join()
    _equal((listener.drain(), listener.drain()), (True, False), "drain after another thread notified")


def _event_ports_are_limited_and_close(transport: Transport) -> None:
    listeners = [transport.listener("limit") for _ in range(MAX_LISTENERS)]
    notifiers = [transport.notifier("limit") for _ in range(MAX_NOTIFIERS)]
    with _raises(TransportError, "one listener too many", "limit"):
        transport.listener("limit")
    with _raises(TransportError, "one notifier too many", "limit"):
        transport.notifier("limit")
    for port in (notifiers[0], listeners[0], notifiers[0], listeners[0]):
        port.close()
    with _raises(ShutdownError, "notify after close", "limit"):
        notifiers[0].notify()
    with _raises(ShutdownError, "drain after close", "limit"):
        listeners[0].drain()


def _slices_arrive_as_long_as_sent(transport: Transport) -> None:
    publisher = transport.slice_publisher("slices", 16, 4096)
    subscriber = transport.slice_subscriber("slices", 4096)
    for number, length in enumerate((8, 16, 33, 100, 4096, 1, 0)):
        view = publisher.loan(length)
        view[:] = message = bytes(index % 251 for index in range(length))
        _equal(publisher.publish(number, number * 10), Delivery(1, 1), f"delivery of {length} bytes")
        received = subscriber.receive()
        assert received is not None
        _equal((bytes(received[0]), *received[1:]), (message, number, number * 10), f"slice of {length} bytes")
        _equal(received[0].readonly, True, "readonly of a received slice")
    _equal(subscriber.receive(), None, "receive after the last slice")


def _slices_have_a_ceiling(transport: Transport) -> None:
    publisher = transport.slice_publisher("ceiling", 16, 4096)
    subscriber = transport.slice_subscriber("ceiling", 4096)
    with _raises(PayloadOverflow, "a slice beyond the ceiling", "4097", "4096"):
        publisher.loan(4097)
    publisher.loan(8)
    with _raises(TransportError, "a second loan"):
        publisher.loan(8)
    publisher.discard()
    with _raises(TransportError, "publish without a loan"):
        publisher.publish(0, 0)
    _equal(subscriber.receive(), None, "receive after refusals")
    for initial, ceiling in ((0, 8), (16, 8), (-1, 8)):
        with _raises(ConfigurationError, f"initial length {initial} of {ceiling}"):
            transport.slice_publisher("limits", initial, ceiling)


def _longer_slices_than_expected_are_reported(transport: Transport) -> None:
    publisher = transport.slice_publisher("longer", 16, 4096)
    subscriber = transport.slice_subscriber("longer", 64)
    for length in (65, 64):
        publisher.loan(length)
        publisher.publish(0, 0)
    with _raises(PayloadOverflow, "a slice longer than the reader takes", "65", "64"):
        subscriber.receive()
    received = subscriber.receive()
    _equal(received is not None and len(received[0]), 64, "length of the slice after it")


def _requests_are_answered(transport: Transport) -> None:
    server = transport.server("rpc", _SMALL, _OTHER)
    client = transport.client("rpc", _SMALL, _OTHER)
    _equal(server.take_request(), None, "take_request before any")
    tokens = [client.request(bytes([number])) for number in range(3)]
    for number in range(3):
        taken = server.take_request()
        assert taken is not None
        _equal(bytes(taken[0]), bytes([number]).ljust(16, b"\0"), "request")
        _equal(client.take_response(tokens[number]), None, "response before respond")
        _equal(server.respond(taken[1], bytes([100 + number])), True, "respond")
        _equal(server.respond(taken[1], b""), False, "respond twice")
    for number in (2, 0, 1):
        _equal(client.take_response(tokens[number]), bytes([100 + number]).ljust(24, b"\0"), "response")
        _equal(client.take_response(tokens[number]), None, "the same response again")


def _requests_go_back_to_their_client(transport: Transport) -> None:
    server = transport.server("many", _SMALL, _SMALL)
    clients = [transport.client("many", _SMALL, _SMALL) for _ in range(MAX_CLIENTS)]
    tokens = [client.request(bytes([index])) for index, client in enumerate(clients)]
    while (taken := server.take_request()) is not None:
        server.respond(taken[1], bytes(taken[0]))
    answers = [client.take_response(token) for client, token in zip(clients, tokens, strict=True)]
    _equal(answers, [bytes([index]).ljust(16, b"\0") for index in range(MAX_CLIENTS)], "answers")
    with _raises(TransportError, "one client too many", "many"):
        transport.client("many", _SMALL, _SMALL)
    with _raises(TransportError, "a second server", "many"):
        transport.server("many", _SMALL, _SMALL)


def _requests_are_bounded(transport: Transport) -> None:
    client = transport.client("bounded", _SMALL, _SMALL)
    with _raises(BackPressure, "a request without a server", "bounded"):
        client.request(b"")
    server = transport.server("bounded", _SMALL, _SMALL)
    tokens = [client.request(bytes([number])) for number in range(MAX_ACTIVE_REQUESTS_PER_CLIENT)]
    with _raises(BackPressure, "one request too many", "bounded", str(MAX_ACTIVE_REQUESTS_PER_CLIENT)):
        client.request(b"")
    while (taken := server.take_request()) is not None:
        server.respond(taken[1], b"")
    for token in tokens:
        client.take_response(token)
    client.request(b"")


def _forgotten_requests_are_skipped(transport: Transport) -> None:
    server, client = transport.server("forget", _SMALL, _SMALL), transport.client("forget", _SMALL, _SMALL)
    early, late = client.request(b"1"), client.request(b"2")
    client.forget(early)
    taken = server.take_request()
    assert taken is not None
    _equal(bytes(taken[0][:1]), b"2", "first request that is still wanted")
    client.forget(late)
    client.forget(late)
    _equal(server.respond(taken[1], b""), False, "respond to a forgotten request")
    _equal(client.take_response(late), None, "response to a forgotten request")
    client.request(b"3")
    taken = server.take_request()
    assert taken is not None
    client.close()
    _equal(server.respond(taken[1], b""), False, "respond to a client that has gone")


def _oversize_requests_are_refused(transport: Transport) -> None:
    server, client = transport.server("size", _SMALL, _OTHER), transport.client("size", _SMALL, _OTHER)
    with _raises(PayloadOverflow, "an oversize request", "17", "16"):
        client.request(bytes(17))
    client.request(bytes(16))
    taken = server.take_request()
    assert taken is not None
    with _raises(PayloadOverflow, "an oversize response", "25", "24"):
        server.respond(taken[1], bytes(25))
    _equal(server.respond(taken[1], bytes(24)), True, "respond after the refusal")
    with _raises(ConfigurationError, "other request types", _SMALL.name, _OTHER.name):
        transport.client("size", _OTHER, _OTHER)
    server.close()
    with _raises(ShutdownError, "take_request after close"):
        server.take_request()


def _topology_is_closed_once_declared(transport: Transport) -> None:
    settings = ServiceSettings(subscriber_max_buffer_size=3, max_subscribers=2)
    transport.create_all([ChannelSpec("a", _SMALL, settings), ChannelSpec("s", SLICE_PAYLOAD)])
    publisher, subscriber = transport.publisher("a", _SMALL), transport.subscriber("a", _SMALL)
    for number in range(3):
        _send(publisher, number)
    _equal(_send(publisher, 3), Delivery(0, 1), "delivery beyond the declared buffer")
    _equal(_take_all(subscriber), [0, 1, 2], "samples within the declared buffer")
    with _raises(TransportError, "a second publisher", "a"):
        transport.publisher("a", _SMALL)
    with _raises(ConfigurationError, "another type than declared", _SMALL.name, _OTHER.name):
        transport.subscriber("a", _OTHER)
    with _raises(ConfigurationError, "an undeclared publisher", "b", "not in declared topology"):
        transport.publisher("b", _SMALL)
    with _raises(ConfigurationError, "an undeclared listener", "not in declared topology"):
        transport.listener("b.evt")
    with _raises(ConfigurationError, "an undeclared client", "not in declared topology"):
        transport.client("b", _SMALL, _SMALL)
    transport.listener(event_service_name("a"))
    transport.slice_publisher("s", 16, 64)


def _topology_survives_its_ports(transport: Transport) -> None:
    transport.create_all([ChannelSpec("kept", _SMALL, _SHORT_QUEUE)])
    for _ in range(2):
        publisher, subscriber = transport.publisher("kept", _SMALL), transport.subscriber("kept", _SMALL)
        deliveries = [_send(publisher, number) for number in range(4)]
        _equal(deliveries[-1], Delivery(0, 1), "delivery beyond the declared buffer")
        publisher.close()
        subscriber.close()


def _topology_refuses_what_exists(transport: Transport) -> None:
    transport.publisher("there", _SMALL)
    with _raises(ConfigurationError, "a service that exists", "there", "exists"):
        transport.create_all([ChannelSpec("new", _SMALL), ChannelSpec("there", _SMALL)])
    with _raises(ConfigurationError, "a name declared twice", "twice"):
        transport.create_all([ChannelSpec("one", _SMALL), ChannelSpec("one", _SMALL)])
    transport.publisher("new", _OTHER)


def _closing_closes_everything(transport: Transport) -> None:
    transport.create_all([ChannelSpec("z", _SMALL)])
    publisher, subscriber = transport.publisher("z", _SMALL), transport.subscriber("z", _SMALL)
    notifier = transport.notifier("z.evt")
    publisher.loan()
    transport.close()
    transport.close()
    with _raises(ShutdownError, "loan after the transport closed"):
        publisher.loan()
    with _raises(ShutdownError, "receive after the transport closed"):
        subscriber.receive()
    with _raises(ShutdownError, "notify after the transport closed"):
        notifier.notify()
    with _raises(ShutdownError, "a port after the transport closed"):
        transport.publisher("z", _SMALL)


TRANSPORT_CHECKS: dict[str, Callable[[Transport], None]] = {
    check.__name__.strip("_"): check
    for check in (
        _samples_arrive_in_order,
        _samples_without_readers_go_nowhere,
        _views_have_the_payload_size,
        _views_end_with_their_sample,
        _full_buffer_discards_the_newest,
        _slow_reader_costs_others_nothing,
        _late_reader_gets_the_last_value,
        _history_may_be_off_or_deep,
        _discarded_loan_sends_nothing,
        _one_loan_at_a_time,
        _many_samples_reuse_their_slots,
        _second_publisher_is_refused,
        _several_publishers_if_declared,
        _other_payload_is_refused_with_both_printed,
        _other_settings_are_refused_with_both_printed,
        _illegal_names_are_refused,
        _illegal_types_and_settings_are_refused,
        _closed_ports_say_so,
        _service_ends_with_its_last_port,
        _restarted_publisher_is_heard,
        _brief_publishers_are_heard,
        _readers_come_and_go,
        _notification_is_a_level,
        _notifying_never_blocks,
        _every_listener_is_told,
        _a_listener_may_be_told_alone,
        _waker_is_called_at_each_notification,
        _other_threads_may_notify,
        _event_ports_are_limited_and_close,
        _slices_arrive_as_long_as_sent,
        _slices_have_a_ceiling,
        _longer_slices_than_expected_are_reported,
        _requests_are_answered,
        _requests_go_back_to_their_client,
        _requests_are_bounded,
        _forgotten_requests_are_skipped,
        _oversize_requests_are_refused,
        _topology_is_closed_once_declared,
        _topology_survives_its_ports,
        _topology_refuses_what_exists,
        _closing_closes_everything,
    )
}
