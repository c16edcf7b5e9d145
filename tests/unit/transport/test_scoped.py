"""Services under the name of a machine: two machines on one transport do not meet, the halves of one do."""

from __future__ import annotations

from typing import Any

import pytest

from taktora.clock import SystemClock
from taktora.runtime import Runtime
from taktora.transport import RawChannelReader, RawChannelWriter, event_service_name
from taktora.transport.base import ChannelSpec
from taktora.transport.envelope import envelope_type
from taktora.transport.inprocess import InProcessDomain, InProcessTransport
from taktora.transport.rules import check_name
from taktora.transport.scoped import ScopedTransport, machine_prefix
from taktora_sim.world import World


@pytest.mark.realizes("TEST_0126")
@pytest.mark.parametrize(
    ("machine", "prefix"),
    [
        ("press", "press/"),
        ("press 3", "press%203/"),
        ("press/3", "press%2F3/"),
        ("press%203", "press%25203/"),
        ("Prüfstand", "Pr%C3%BCfstand/"),
        (" iox2:", "%20iox2:/"),
    ],
)
def test_a_machine_s_prefix_is_its_name_and_a_service_name_may_begin_with_it(machine: str, prefix: str) -> None:
    assert machine_prefix(machine) == prefix
    check_name(f"{prefix}cell.image.out")


@pytest.mark.verifies("REQ_0206")
def test_one_name_of_two_machines_is_two_services_and_that_of_one_is_one() -> None:
    domain = InProcessDomain()
    writers = []
    readers = []
    for size, machine in ((8, "press"), (16, "packer")):  # of different payloads, which one service would refuse
        near = Runtime.system(InProcessTransport(domain)).of_machine(machine).transport
        far = Runtime.system(InProcessTransport(domain)).of_machine(machine).transport
        readers.append(RawChannelReader(far, "cell.image.out", size))
        writers.append(RawChannelWriter(near, "cell.image.out", size, SystemClock()))

    writers[0].send_raw_bytes(b"press")
    writers[1].send_raw_bytes(b"packer")

    found = [[bytes(view) for _, view in iter(reader.try_recv, None)] for reader in readers]
    assert found == [[b"press"], [b"packer"]]


@pytest.mark.verifies("REQ_0206")
def test_every_kind_of_port_bears_the_name() -> None:
    domain = InProcessDomain()
    payload = envelope_type(8)
    scoped, plain = ScopedTransport(InProcessTransport(domain), "press/"), InProcessTransport(domain)

    ports: list[Any] = [
        scoped.publisher("a", payload),
        scoped.subscriber("a", payload),
        scoped.slice_publisher("b", 1, 8),
        scoped.slice_subscriber("b", 8),
        scoped.notifier(event_service_name("a")),
        scoped.listener(event_service_name("a")),
        scoped.server("c", payload, payload),
        scoped.client("c", payload, payload),
    ]

    assert [port.service for port in ports] == [
        f"press/{name}" for name in ("a", "a", "b", "b", "a.evt", "a.evt", "c", "c")
    ]
    heard = plain.listener("press/a.evt")
    ports[4].notify()
    assert heard.drain()
    scoped.close()


@pytest.mark.verifies("REQ_0206")
def test_a_declared_topology_bears_the_name() -> None:
    domain = InProcessDomain()
    scoped = ScopedTransport(InProcessTransport(domain), "press/")
    scoped.create_all([ChannelSpec("a", envelope_type(8))])

    assert scoped.publisher("a", envelope_type(8)).service == "press/a"
    scoped.close()


@pytest.mark.verifies("REQ_0206", "REQ_8002")
def test_a_world_has_its_own_transport_and_the_plain_names_of_its_trace() -> None:
    with World() as world:
        assert world.runtime.of_machine("press") is world.runtime
