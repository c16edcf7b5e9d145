"""The transport kit: every implementation passes, and broken ones are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taktora.testing.check_transport import TRANSPORT_CHECKS, check_transport
from taktora.testing.faulty_transport import Drop, FaultyTransport
from taktora.transport import Delivery, IceoryxTransport, InProcessTransport, Transport
from tests.unit.transport.conftest import needs_iceoryx2
from tests.unit.transport.leftovers import leftovers

REQUIREMENTS = ("REQ_0201", "REQ_0205", "REQ_0206", "REQ_0885", "REQ_0886", "REQ_0887", "REQ_0888", "TSR_0007")


@pytest.mark.verifies(*REQUIREMENTS)
@pytest.mark.parametrize("name", TRANSPORT_CHECKS)
def test_in_process_transport_keeps_the_contract(name: str) -> None:
    with InProcessTransport() as transport:
        TRANSPORT_CHECKS[name](transport)


@needs_iceoryx2
@pytest.mark.verifies(*REQUIREMENTS)
@pytest.mark.parametrize("name", TRANSPORT_CHECKS)
def test_iceoryx_transport_keeps_the_contract(name: str) -> None:
    with IceoryxTransport("contract", isolated=True) as transport:
        TRANSPORT_CHECKS[name](transport)

    assert leftovers(transport.config) == []


@pytest.mark.verifies("REQ_0205")
def test_wrapped_transport_keeps_the_contract() -> None:
    check_transport(lambda: FaultyTransport(InProcessTransport()))


@pytest.mark.verifies("REQ_0205")
@pytest.mark.parametrize(
    ("target", "replacement", "found_by"),
    [
        ("local_pubsub.LocalService._refuse_beyond", lambda *_: None, "second_publisher_is_refused"),
        ("local_pubsub.LocalPublisher.publish", lambda _self: Delivery(1, 1), "samples_arrive_in_order"),
        ("local_pubsub._SubscriberBase.offer", lambda *_: False, "late_reader_gets_the_last_value"),
        ("local_pubsub._PublisherBase.discard", lambda _self: None, "discarded_loan_sends_nothing"),
        ("local_event.LocalListener.drain", lambda _self: True, "notification_is_a_level"),
        ("local_event.LocalListener.set_waker", lambda *_: None, "waker_is_called_at_each_notification"),
        ("inprocess.check_name", lambda _name: None, "illegal_names_are_refused"),
        ("inprocess.check_payload", lambda *_: None, "illegal_types_and_settings_are_refused"),
        ("topology.Topology.check_declared", lambda *_: None, "topology_is_closed_once_declared"),
        ("local_request.LocalClient.forget", lambda *_: None, "forgotten_requests_are_skipped"),
        ("inprocess.check_slice_limits", lambda *_: None, "slices_have_a_ceiling"),
    ],
    ids=lambda value: value if isinstance(value, str) else "broken",
)
def test_broken_transport_is_found(
    monkeypatch: pytest.MonkeyPatch, target: str, replacement: Callable[..., object], found_by: str
) -> None:
    monkeypatch.setattr(f"taktora.transport.{target}", replacement)

    with pytest.raises(Exception, match=r"."), InProcessTransport() as transport:
        TRANSPORT_CHECKS[found_by](transport)


@pytest.mark.verifies("REQ_0205")
def test_failure_names_the_check() -> None:
    def lossy() -> Transport:
        transport = FaultyTransport(InProcessTransport())
        transport.on_publish("order", 3, Drop())
        return transport

    with pytest.raises(AssertionError, match=r"check_transport, samples_arrive_in_order.*expected"):
        check_transport(lossy)
