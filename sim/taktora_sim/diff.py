"""Compares two traces record by record and shows where they part; it explains nothing it cannot see."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path

from taktora.recording import SEVERITIES
from taktora.transport.envelope import HEADER_BYTES, WIRE_VERSION, read_header
from taktora_sim.plan import FaultPlan
from taktora_sim.trace import TraceFormatError, TraceRecord, read_trace

__all__ = ["Decoder", "Divergence", "compare", "compare_files", "describe_payload", "register_decoder", "render"]

Decoder = Callable[[bytes], "str | None"]
"""Returns a payload in words; None or a ValueError where it is not of that form."""

_HEX_BYTES = 96
_HEADLINE_CHARACTERS = 40
_DECODERS: dict[str, list[Decoder]] = {}


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where two traces part.

    Args:
        index: Number of the first record that differs, from 0.
        before: Records just before it, the same in both.
        left: That record of the first trace and those after it; empty if the trace has ended.
        right: The same of the second trace.
        conditions: What differs in how the runs were asked for, as ``seeds differ: 1 and 2``; not part of the records.
    """

    index: int
    before: list[TraceRecord]
    left: list[TraceRecord]
    right: list[TraceRecord]
    conditions: tuple[str, ...] = ()


def register_decoder(kind: str, decoder: Decoder) -> None:
    """Have payloads of records of ``kind`` shown in words by ``decoder``; the latest registered is asked first."""
    _DECODERS.setdefault(kind, []).insert(0, decoder)


# req: REQ_8005
def compare(left: Iterable[TraceRecord], right: Iterable[TraceRecord], neighbours: int = 3) -> Divergence | int:
    """Return where two traces part, or the number of records if they are equal.

    Args:
        left: Records of the first trace.
        right: Records of the second.
        neighbours: How many records to keep before and after.
    """
    lefts, rights = iter(left), iter(right)
    before: deque[TraceRecord] = deque(maxlen=neighbours)
    index = 0
    while True:
        one, other = next(lefts, None), next(rights, None)
        if one != other:
            return Divergence(index, list(before), _rest(one, lefts, neighbours), _rest(other, rights, neighbours))
        if one is None:
            return index
        before.append(one)
        index += 1


def compare_files(left: Path, right: Path, neighbours: int = 3) -> Divergence | int:
    """Return where two trace files part, or the number of records if they are equal.

    Where seeds or plans differ, that is told, and the first difference in behaviour is looked for: records of seed and
    plan do not count then.

    Raises:
        OSError: a file cannot be read.
        TraceFormatError: a file is no trace, or is damaged before the traces part.
    """
    conditions = tuple(_different(_asked_for(left), _asked_for(right)))
    if not conditions:
        return compare(read_trace(left), read_trace(right), neighbours)
    found = compare(_behaviour(read_trace(left)), _behaviour(read_trace(right)), neighbours)
    if isinstance(found, Divergence):
        return replace(found, conditions=conditions)
    return Divergence(found, [], [], [], conditions)


def _is_condition(record: TraceRecord) -> bool:
    return record.path == "world" and record.kind in ("seed", "plan")


def _asked_for(path: Path) -> dict[str, str]:
    """Return seed and plan of a trace; both are written before virtual time moves."""
    found: dict[str, str] = {}
    try:
        for record in takewhile(lambda record: record.t_ns == 0, read_trace(path)):
            if _is_condition(record):
                found[record.kind] = record.payload.decode(errors="replace")
    except TraceFormatError:
        return found  # the comparison meets the damage too, or finds a difference before it
    return found


def _behaviour(records: Iterable[TraceRecord]) -> Iterator[TraceRecord]:
    return (record for record in records if not _is_condition(record))


def _different(one: dict[str, str], other: dict[str, str]) -> Iterator[str]:
    if one.get("seed") != other.get("seed"):
        yield f"seeds differ: {one.get('seed', 'none')} and {other.get('seed', 'none')}"
    if one.get("plan") != other.get("plan"):
        yield f"plans differ: {_plan_in_words(one)} and {_plan_in_words(other)}"


def _plan_in_words(asked_for: dict[str, str]) -> str:
    if "plan" not in asked_for:
        return "none"
    plan = FaultPlan.parse(asked_for["plan"], is_json=True)
    faults = ", ".join(f"{entry.kind} at {entry.target} {entry.trigger()}" for entry in plan.entries)
    return f"{plan.about!r} ({faults})" if plan.about else f"({faults})"


def _rest(first: TraceRecord | None, rest: Iterator[TraceRecord], neighbours: int) -> list[TraceRecord]:
    if first is None:
        return []
    # A damaged tail is no reason to hide a difference that has been found.
    try:
        return [first, *islice(rest, neighbours)]
    except ValueError:
        return [first]


def render(divergence: Divergence, left: str, right: str) -> str:
    """Return the divergence as text for people; ``left`` and ``right`` are what the traces are called."""
    lines = list(divergence.conditions)
    if not (divergence.left or divergence.right):
        return "\n".join([*lines, f"and nothing else: all {divergence.index} other records are equal"])
    lines.append(f"the traces part at record {divergence.index}: {_headline(divergence)}")
    if divergence.before:
        lines += ["", "before, the same in both:"]
        lines += [f"    {line}" for record in divergence.before for line in _lines(record)]
    for mark, name, records in (("-", left, divergence.left), ("+", right, divergence.right)):
        lines += ["", f"{mark} {name}:"]
        if not records:
            lines.append(f"{mark}   ends here")
        for number, record in enumerate(records):
            lines += [f"{mark} {'> ' if number == 0 else '  '}{line}" for line in _lines(record)]
    return "\n".join(lines)


def _headline(divergence: Divergence) -> str:
    if not divergence.left or not divergence.right:
        longer, which = (divergence.right, "first") if not divergence.left else (divergence.left, "second")
        return f"the {which} trace ends, the other goes on with component {longer[0].path}"
    one, other = divergence.left[0], divergence.right[0]
    if one.path != other.path:
        return f"component {one.path} against component {other.path}"
    if one.t_ns != other.t_ns:
        return f"component {one.path}, {other.t_ns - one.t_ns:+d} ns in the second trace"
    if one.kind != other.kind:
        return f"component {one.path}, kind {one.kind} against {other.kind}"
    return f"component {one.path}, {_payload_difference(one.payload, other.payload)}{_word_difference(one, other)}"


def _payload_difference(one: bytes, other: bytes) -> str:
    pairs = zip(one, other, strict=False)
    at = next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    lengths = "" if len(one) == len(other) else f", lengths {len(one)} and {len(other)} bytes"
    return f"payload differs from byte {at} on{lengths}"


def _word_difference(one: TraceRecord, other: TraceRecord) -> str:
    """Return both payloads in words where those are short enough for a headline, else nothing."""
    words, others = describe_payload(one), describe_payload(other)
    if not words or not others or words == others or max(len(words), len(others)) > _HEADLINE_CHARACTERS:
        return ""
    return f": {words} against {others}"


def _lines(record: TraceRecord) -> Iterator[str]:
    seconds, rest_ns = divmod(record.t_ns, 1_000_000_000)
    yield f"{seconds}.{rest_ns:09d} s  {record.path}  {record.kind}"
    if record.payload:
        shown = record.payload[:_HEX_BYTES]
        more = f" ... {len(record.payload)} bytes in all" if len(record.payload) > _HEX_BYTES else ""
        yield f"    {shown.hex(' ', -4)}{more}"
        words = describe_payload(record)
        if words:
            yield f"    = {words}"


def describe_payload(record: TraceRecord) -> str:
    """Return the payload in words, by the decoders of its kind, as text if it is text, else empty."""
    for decoder in _DECODERS.get(record.kind, ()):
        try:
            words = decoder(record.payload)
        except (ValueError, IndexError):
            continue
        if words is not None:
            return words
    return _as_text(record.payload) or ""


def _as_text(payload: bytes) -> str | None:
    text = payload.decode("utf-8", errors="replace")
    return repr(text) if text.isprintable() and "\ufffd" not in text else None


def _envelope(payload: bytes) -> str | None:
    if len(payload) < HEADER_BYTES:
        return None
    header = read_header(memoryview(payload))
    if header.version != WIRE_VERSION or header.payload_len != len(payload) - HEADER_BYTES:
        return None
    value = payload[HEADER_BYTES:]
    return f"envelope {header.sequence_number} at {header.timestamp_ns} ns: {_as_text(value) or value.hex(' ')}"


def _can_frame(payload: bytes) -> str | None:
    """Return a CAN record (identifier with flags, length, data) as candump writes it."""
    flags_id, length = int.from_bytes(payload[:4], "little"), payload[4]
    if len(payload) not in (5, 5 + length):
        return None
    identifier = f"{flags_id & 0x1FFFFFFF:08X}" if flags_id & 0x80000000 else f"{flags_id & 0x7FF:03X}"
    return f"{identifier}#R{length}" if flags_id & 0x40000000 else f"{identifier}#{payload[5:].hex().upper()}"


def _run(payload: bytes) -> str | None:
    if len(payload) != 9:
        return None
    return f"{'ok' if payload[0] else 'failed'}, took {int.from_bytes(payload[1:], 'little')} ns"


def _signal(payload: bytes) -> str | None:
    return repr(struct.unpack("<d", payload)[0]) if len(payload) == 8 else None


def _event(payload: bytes) -> str | None:
    """Return the words of an application as Python writes them: a line break is one of them."""
    return f"{SEVERITIES[payload[0]]} {payload[1:].decode()!r}"


def _check(payload: bytes) -> str:
    name, _, detail = payload[1:].decode().partition("\0")
    return f"{'holds' if payload[0] else 'fails'}: {name!r}{f', {detail!r}' if detail else ''}"


register_decoder("publish", _envelope)
register_decoder("frame", _can_frame)
register_decoder("run", _run)
register_decoder("signal", _signal)
register_decoder("event", _event)
register_decoder("check", _check)
