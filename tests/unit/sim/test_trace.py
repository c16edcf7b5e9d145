"""The canonical trace: record layout, hashes and damaged files."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simpy import Environment

from taktora_sim.trace import FILE_HEADER, Trace, TraceFormatError, TraceRecord, read_trace

EVENTS = [(0, "bus", "frame", b"\x01"), (5, "app", "run", b""), (5, "bus", "frame", b"\x02\x03")]


def _write(file: Path | None, events: list[tuple[int, str, str, bytes]]) -> Trace:
    env = Environment()
    trace = Trace(env, file)
    for t_ns, path, kind, payload in events:
        env._now = t_ns
        trace.channel(path, kind)(payload)
    return trace


@pytest.mark.verifies("REQ_8004")
def test_record_is_length_prefixed_time_path_kind_payload(tmp_path: Path) -> None:
    trace = _write(tmp_path / "t.trace", EVENTS[:1])

    trace.close()

    body = struct.pack("<Q", 0) + b"\x03\x00bus" + b"\x05\x00frame" + b"\x01"
    assert (tmp_path / "t.trace").read_bytes() == FILE_HEADER + struct.pack("<I", len(body)) + body


@pytest.mark.verifies("REQ_8004")
def test_hash_covers_every_record_and_each_path_has_its_own(tmp_path: Path) -> None:
    trace = _write(tmp_path / "t.trace", EVENTS)

    whole, parts = trace.sha256(), trace.component_hashes()

    trace.close()
    records = (tmp_path / "t.trace").read_bytes()[len(FILE_HEADER) :]
    assert whole == hashlib.sha256(records).hexdigest()
    assert list(parts) == ["app", "bus"]
    assert parts["bus"] == _write(None, [EVENTS[0], EVENTS[2]]).sha256()


@pytest.mark.verifies("REQ_8004")
def test_hash_can_be_read_in_the_middle_of_a_run() -> None:
    trace = _write(None, EVENTS[:2])
    trace.sha256()
    now = trace.channel("bus", "frame")

    assert trace.records == 2
    now(b"\x02\x03")
    assert trace.records == 3


@pytest.mark.verifies("REQ_8004")
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), st.binary()
        )
    )
)
def test_what_is_recorded_is_read_back(tmp_path_factory: pytest.TempPathFactory, events: list[TraceRecord]) -> None:
    file = tmp_path_factory.mktemp("trace") / "t.trace"

    _write(file, [tuple(event) for event in events]).close()  # type: ignore[misc]

    assert list(read_trace(file)) == [TraceRecord(*event) for event in events]


@pytest.mark.verifies("REQ_8004")
def test_a_file_cut_inside_a_record_gives_what_is_whole_and_then_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "t.trace"
    _write(file, EVENTS).close()
    file.write_bytes(file.read_bytes()[:-1])

    records = read_trace(file)

    assert [next(records).t_ns, next(records).t_ns] == [0, 5]
    with pytest.raises(TraceFormatError, match=r"t\.trace: damaged at byte \d+"):
        next(records)


@pytest.mark.verifies("REQ_8004")
def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"hello")

    with pytest.raises(TraceFormatError, match="no trace file"):
        list(read_trace(file))


@pytest.mark.verifies("REQ_8004")
def test_an_empty_path_is_refused() -> None:
    trace = Trace(Environment())

    with pytest.raises(ValueError, match="trace path '' has 0 bytes"):
        trace.channel("", "kind")
