"""What only the in-process transport promises: domains, threads, determinism, growth that can be seen."""

from __future__ import annotations

import sys
from threading import Event, Thread

import pytest

from taktora.clock import SystemClock
from taktora.errors import BackPressure
from taktora.transport import (
    InProcessDomain,
    InProcessTransport,
    PayloadType,
    RawChannelReader,
    RawChannelWriter,
    ServiceSettings,
)
from tests.patience import PATIENCE_S

SMALL = PayloadType("taktora.test.Small", 8)


@pytest.mark.verifies("REQ_0205")
def test_transports_of_one_domain_meet_and_others_do_not() -> None:
    domain = InProcessDomain()
    writer = RawChannelWriter(InProcessTransport(domain), "a.out", 8, SystemClock())
    near = RawChannelReader(InProcessTransport(domain), "a.out", 8)
    far = RawChannelReader(InProcessTransport(), "a.out", 8)

    writer.send_raw_bytes(b"domain")

    assert near.try_recv() is not None
    assert far.try_recv() is None


@pytest.mark.verifies("REQ_0887")
@pytest.mark.parametrize(("length", "capacity"), [(16, 16), (17, 32), (33, 64), (100, 128), (4096, 4096)], ids=str)
def test_slots_grow_by_powers_of_two(length: int, capacity: int) -> None:
    publisher = InProcessTransport().slice_publisher("a", 16, 4096)

    publisher.loan(length)

    assert publisher.capacity_bytes == capacity


@pytest.mark.verifies("REQ_0205")
def test_slots_are_reused() -> None:
    transport = InProcessTransport()
    publisher, subscriber = transport.publisher("a", SMALL), transport.subscriber("a", SMALL)

    buffers = set()
    for _ in range(100):
        buffers.add(id(publisher.loan().obj))
        publisher.publish()
        subscriber.receive()

    assert len(buffers) <= 3


@pytest.mark.verifies("REQ_0205")
def test_closing_ends_give_their_slots_back() -> None:
    transport = InProcessTransport()
    publisher = transport.publisher("a", SMALL, ServiceSettings(history_size=0))
    subscriber = transport.subscriber("a", SMALL, ServiceSettings(history_size=0))
    first = publisher.loan().obj
    publisher.publish()

    subscriber.close()

    assert publisher.loan().obj is first


@pytest.mark.verifies("REQ_0205", "TSR_0008")
def test_writer_and_readers_may_run_in_threads() -> None:
    transport = InProcessTransport()
    readers = [RawChannelReader(transport, "a.out", 8) for _ in range(2)]
    writer = RawChannelWriter(transport, "a.out", 8, SystemClock())
    received: list[list[int]] = [[], []]
    done = Event()
    interval = sys.getswitchinterval()

    def read(index: int) -> None:
        while True:
            finished = done.is_set()
            sample = readers[index].try_recv()
            if sample is not None:
                assert int.from_bytes(sample[1], "little") == sample[0].sequence_number
                received[index].append(sample[0].sequence_number)
            elif finished:
                return

    threads = [Thread(target=read, args=(index,), daemon=True) for index in range(2)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        lost = send_all(writer, 3000)
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    finally:
        sys.setswitchinterval(interval)

    assert not any(thread.is_alive() for thread in threads)
    assert [numbers == sorted(set(numbers)) for numbers in received] == [True, True]
    assert all(len(numbers) >= 3000 - lost for numbers in received)
    assert [reader.crc_errors for reader in readers] == [0, 0]


def send_all(writer: RawChannelWriter, total: int) -> int:
    """Send ``total`` numbers and return how many a reader has lost."""
    for number in range(total):
        try:
            writer.send_raw_bytes(number.to_bytes(8, "little"))
        except BackPressure:
            continue
    return writer.back_pressure_count
