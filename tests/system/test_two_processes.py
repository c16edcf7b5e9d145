"""A safety-critical writer and a quality-managed reader in processes of their own, joined by shared memory only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.patience import PATIENCE_S
from tests.unit.transport.leftovers import files_named

pytest.importorskip("iceoryx2")

ROOT = Path(__file__).parents[2]
SERVICE = "integrity_demo.sc_to_qm"
MESSAGES = 60  # fewer than the reader buffers: none is lost while it does not get the processor

COMMON = """
import sys, time
import msgspec
from taktora.clock import SystemClock
from taktora.codec import JsonCodec
from taktora.transport import ChannelSpec, IceoryxTransport, RawChannelReader, RawChannelWriter, envelope_type

class Message(msgspec.Struct):
    cycle: int
    timestamp_ns: int

DOMAIN, SERVICE, MESSAGES, SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3]), 512
codec = JsonCodec()
"""
WRITER = """
clock = SystemClock()
with IceoryxTransport("safety-critical", domain=DOMAIN) as transport:
    writer = RawChannelWriter(transport, SERVICE, SIZE, clock)
    scratch = bytearray(SIZE)
    for cycle in range(MESSAGES):
        length = codec.encode_into(Message(cycle, clock.unix_ns()), memoryview(scratch))
        writer.send_raw_bytes(memoryview(scratch)[:length])
        time.sleep(0.01)
"""
READER = """
received, limit_s = [], time.monotonic() + 100
with IceoryxTransport("quality-managed", domain=DOMAIN) as transport:
    reader = RawChannelReader(transport, SERVICE, SIZE)
    print("ready", flush=True)
    while len(received) < MESSAGES and time.monotonic() < limit_s:
        sample = reader.try_recv()
        if sample is None:
            time.sleep(0.005)
            continue
        received.append(codec.decode(Message, sample[1]).cycle)
    faults = (reader.crc_errors, reader.sequence_gaps)
print(len(received), received == list(range(MESSAGES)), *faults, flush=True)
sys.exit(0 if len(received) == MESSAGES and faults == (0, 0) else 1)
"""
HOLDING_WRITER = """
with IceoryxTransport("safety-critical", domain=DOMAIN) as transport:
    writer = RawChannelWriter(transport, SERVICE, SIZE, SystemClock())
    print("ready", flush=True)
    sys.stdin.read()
"""
SECOND_WRITER = """
from taktora.errors import TransportError
with IceoryxTransport("intruder", domain=DOMAIN) as transport:
    try:
        RawChannelWriter(transport, SERVICE, SIZE, SystemClock())
    except TransportError as error:
        print(error, flush=True)
        sys.exit(7)
"""


@pytest.fixture
def domain() -> Iterator[str]:
    """Name a domain; after the test only the one file that iceoryx2 keeps per prefix may exist, and is removed."""
    name = f"taktora_system_{os.getpid()}"
    yield name
    found = [*Path("/dev/shm").glob(f"{name}*"), *files_named(Path("/tmp/iceoryx2"), name)]
    for path in found:
        path.unlink()
    assert [path.name for path in found if not path.name.endswith(".global_mgmt")] == []


def start(program: str, domain: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", dedent(COMMON + program), domain, SERVICE, str(MESSAGES)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


@pytest.mark.realizes("TEST_0134")
def test_writer_and_reader_processes_exchange_and_exit_cleanly(domain: str) -> None:
    reader = start(READER, domain)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"

    writer = start(WRITER, domain)
    writer_output = writer.communicate(timeout=PATIENCE_S)
    reader_output = reader.communicate(timeout=PATIENCE_S)

    assert (writer.returncode, *writer_output) == (0, "", "")
    assert (reader.returncode, *reader_output) == (0, f"{MESSAGES} True 0 0\n", "")


@pytest.mark.verifies("TSR_0007", "TSR_0009")
def test_second_writer_process_is_refused(domain: str) -> None:
    holder = start(HOLDING_WRITER, domain)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"

    intruder = start(SECOND_WRITER, domain)
    output, _ = intruder.communicate(timeout=PATIENCE_S)
    holder.communicate("end", timeout=PATIENCE_S)

    assert intruder.returncode == 7
    assert SERVICE in output
    assert holder.returncode == 0
