"""What a channel hop costs against the calls it is made of and against peers; ratios from one interleaved run.

python benchmarks/bench_channel.py [--samples 20000] [--sizes 64 4096 65536 1048576]

One hop, in one thread: loan, fill, stamp, publish, notify, receive, check, drain. The figures say nothing about latency
between processes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conditions import conditions

from taktora.clock import SystemClock
from taktora.transport import (
    IceoryxTransport,
    InProcessTransport,
    RawChannelReader,
    RawChannelWriter,
    Transport,
    envelope_type,
    event_service_name,
)

SIZES = (64, 4096, 65536, 1048576)
ROUNDS = 5
TARGET_RATIO = 2.0
TARGET_UP_TO_BYTES = 4096

Hop = Callable[[], None]


def channel_hop(transport: Transport, size: int) -> Hop:
    """Return one hop through a raw channel: bytes in, bytes out, event told and drained."""
    reader = RawChannelReader(transport, f"bench{size}.out", size)
    listener = transport.listener(event_service_name(f"bench{size}.out"))
    writer = RawChannelWriter(transport, f"bench{size}.out", size, SystemClock())
    message, buffer = bytes(size), bytearray(size)

    def hop() -> None:
        writer.send_raw_bytes(message)
        listener.drain()
        reader.try_recv_into(buffer)

    return hop


def raw_hop(stack: ExitStack, size: int) -> Hop:
    """Return the bare iceoryx2 calls of a hop, with the message written in place and read back by one copy."""
    import iceoryx2 as iox

    owner = stack.enter_context(IceoryxTransport("raw", isolated=True))
    node = iox.NodeBuilder.new().config(owner.config).create(iox.ServiceType.Ipc)
    record: Any = type(
        "Raw", (ctypes.Structure,), {"_fields_": [("data", ctypes.c_uint8 * envelope_type(size).size_bytes)]}
    )
    service = node.service_builder(iox.ServiceName.new("raw")).publish_subscribe(record).open_or_create()
    event = node.service_builder(iox.ServiceName.new("raw.evt")).event().event_id_max_value(0).open_or_create()
    publisher, subscriber = service.publisher_builder().create(), service.subscriber_builder().create()
    notifier, listener = event.notifier_builder().create(), event.listener_builder().create()
    message, buffer = bytes(size), ctypes.create_string_buffer(size)
    handles = [publisher, subscriber, notifier, listener]
    stack.callback(lambda: [handle.delete() for handle in handles])

    def hop() -> None:
        sample = publisher.loan_uninit()
        ctypes.memmove(sample.payload_ptr, message, size)
        sample.assume_init().send()
        notifier.notify()
        while listener.try_wait():
            pass
        received = subscriber.receive()
        ctypes.memmove(buffer, received.payload_ptr, size)
        received.delete()

    return hop


def two_crcs(size: int) -> Hop:
    """Return what the CRC costs at both ends."""
    header, payload = bytes(60), bytes(size)

    def hop() -> None:
        zlib.crc32(payload, zlib.crc32(header))
        zlib.crc32(payload, zlib.crc32(header))

    return hop


def pipe_hop(stack: ExitStack, size: int) -> Hop | None:
    """Return a hop through a multiprocessing pipe; None where one message does not fit the kernel's buffer."""
    if size > 65536:
        return None
    receiver, sender = multiprocessing.Pipe(duplex=False)
    stack.callback(receiver.close)
    stack.callback(sender.close)
    message = bytes(size - 16)

    def hop() -> None:
        sender.send_bytes(message)
        receiver.recv_bytes()

    return hop


def zmq_hop(stack: ExitStack, size: int, endpoint: str) -> Hop | None:
    """Return a hop through a pyzmq PAIR; None where pyzmq is not installed."""
    try:
        import zmq
    except ImportError:
        return None
    context = stack.enter_context(zmq.Context())
    receiver, sender = (stack.enter_context(context.socket(zmq.PAIR)) for _ in range(2))
    receiver.bind(endpoint)
    sender.connect(endpoint)
    message = bytes(size)

    def hop() -> None:
        sender.send(message)
        receiver.recv()

    return hop


def per_hop_us(hop: Hop, count: int) -> float:
    """Return the mean duration of ``count`` hops in microseconds."""
    start_ns = time.perf_counter_ns()
    for _ in range(count):
        hop()
    return (time.perf_counter_ns() - start_ns) / count / 1000


def measure(size: int, samples: int) -> dict[str, float]:
    """Return the median over the rounds of each contender's microseconds per hop, taken in turn within each round."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        contenders: dict[str, Hop | None] = {
            "channel iceoryx2": channel_hop(stack.enter_context(IceoryxTransport("bench", isolated=True)), size),
            "raw iceoryx2": raw_hop(stack, size),
            "two CRCs": two_crcs(size),
            "channel in process": channel_hop(stack.enter_context(InProcessTransport()), size),
            "multiprocessing.Pipe": pipe_hop(stack, size),
            "pyzmq inproc": zmq_hop(stack, size, f"inproc://bench{size}"),
            "pyzmq ipc": zmq_hop(stack, size, f"ipc://{folder}/{size}"),
        }
        hops = {name: hop for name, hop in contenders.items() if hop is not None}
        figures: dict[str, list[float]] = {name: [] for name in hops}
        for hop in hops.values():
            per_hop_us(hop, max(10, samples // 10))
        for _ in range(ROUNDS):
            for name, hop in hops.items():
                figures[name].append(per_hop_us(hop, samples))
    return {name: statistics.median(values) for name, values in figures.items()}


def rounds_of(samples: dict[int, int]) -> str:
    """Return how many hops each figure stands for."""
    hops = ", ".join(f"{count} hops at {size} B" for size, count in samples.items())
    return f"median of {ROUNDS} interleaved rounds of {hops}"


def report(size: int, figures: dict[str, float]) -> float:
    """Print the figures of one size and return the ratio that has a target."""
    base = figures["raw iceoryx2"] + figures["two CRCs"]
    ratio = figures["channel iceoryx2"] / base
    print(f"\n{size} B{'':<20} us/hop   to channel iceoryx2")
    for name, value in figures.items():
        print(f"  {name:<22} {value:9.2f}   {value / figures['channel iceoryx2']:6.2f}")
    verdict = (
        ""
        if size > TARGET_UP_TO_BYTES
        else f", target <= {TARGET_RATIO}: " + ("met" if ratio <= TARGET_RATIO else "MISSED")
    )
    print(f"  channel iceoryx2 / (raw iceoryx2 + two CRCs) = {ratio:.2f}{verdict}")
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=20000, help="hops per round at 64 B; fewer at larger sizes")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="BYTES", help="payload sizes")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    samples = {size: max(50, arguments.samples * 64 // max(64, size // 8)) for size in arguments.sizes}
    print(conditions())
    print(rounds_of(samples))
    figures = {size: measure(size, samples[size]) for size in samples}
    ratios = {size: report(size, figures[size]) for size in samples}
    if arguments.json:
        taken = f"{conditions()}; {rounds_of(samples)}"
        arguments.json.write_text(json.dumps({"conditions": taken, "us_per_hop": figures}, indent=1))
    return 0 if all(ratio <= TARGET_RATIO for size, ratio in ratios.items() if size <= TARGET_UP_TO_BYTES) else 1


if __name__ == "__main__":
    sys.exit(main())
