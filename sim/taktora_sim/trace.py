r"""The canonical trace of a simulated run: length-prefixed records and running SHA-256 sums; it has no clock.

File format (little-endian)::

    b"taktora-trace 1\n"
    record*   u32 length of the rest | u64 t_ns | u16 n, path (n bytes UTF-8) | u16 m, kind (m bytes UTF-8) | payload

``t_ns`` is virtual time since the start of the run. The hash of a run is SHA-256 over all records without the file's
first line; each component path has a hash of its own over its records. What may be recorded is a law of the project:
integers, raw bytes and names, never object identities, float texts or exception texts.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from simpy import Environment

__all__ = ["FILE_HEADER", "Recorder", "Trace", "TraceFormatError", "TraceRecord", "read_trace"]

FILE_HEADER = b"taktora-trace 1\n"
_TEXT = struct.Struct("<H")
_MAX_RECORD_BYTES = 1 << 26

Recorder: TypeAlias = Callable[..., None]
"""Appends one record: ``recorder(payload=b"")``."""


class TraceRecord(NamedTuple):
    """One event of a trace."""

    t_ns: int
    path: str
    kind: str
    payload: bytes


class TraceFormatError(ValueError):
    """A trace file is damaged or no trace file; the message names file, byte offset and what was found."""


_FLUSH_RECORDS = 1024


class _Component:
    """Pending records and running hash of one component path."""

    __slots__ = ("pending", "sha")

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.sha = hashlib.sha256()


# req: REQ_8002, REQ_8004
class Trace:
    """Collects records, hashes them, and writes them to ``file`` on request.

    Args:
        env: Whose time the records bear; it is read here because a call per record would cost more than the record.
        file: Where to write the records; None keeps hashes only.
    """

    def __init__(self, env: Environment, file: Path | None = None) -> None:
        self._env = env
        self._sha = hashlib.sha256()
        self._pending: list[bytes] = []
        self._components: dict[str, _Component] = {}
        self._file: BinaryIO | None = _open(file) if file is not None else None
        self._flushed = 0

    @property
    def records(self) -> int:
        """Number of records so far."""
        return self._flushed + len(self._pending)

    def channel(self, path: str, kind: str) -> Recorder:
        """Return the function that appends a record of ``kind`` for the component ``path`` at the current time."""
        tail = _text(path, "path") + _text(kind, "kind")
        component = self._components.setdefault(path, _Component())
        rest = 8 + len(tail)
        # All that does not change from record to record is bound here: every event of a run comes through.
        pack_head = struct.Struct(f"<IQ{len(tail)}s").pack
        env, flush = self._env, self.flush
        pending, keep, keep_own = self._pending, self._pending.append, component.pending.append

        def record(payload: bytes | bytearray | memoryview = b"") -> None:
            data = pack_head(rest + len(payload), env._now, tail) + payload  # noqa: SLF001 - as World.now_ns does
            keep(data)
            keep_own(data)
            if len(pending) >= _FLUSH_RECORDS:
                flush()

        return record

    def marker(self, path: str, kind: str, payload: bytes) -> Callable[[], None]:
        """Return what appends one and the same record again and again: :meth:`channel` with all but the time bound."""
        tail = _text(path, "path") + _text(kind, "kind") + payload
        component = self._components.setdefault(path, _Component())
        pack, rest = struct.Struct(f"<IQ{len(tail)}s").pack, 8 + len(tail)
        env, flush = self._env, self.flush
        pending, keep, keep_own = self._pending, self._pending.append, component.pending.append

        def mark() -> None:
            data = pack(rest, env._now, tail)  # noqa: SLF001 - as World.now_ns does
            keep(data)
            keep_own(data)
            if len(pending) >= _FLUSH_RECORDS:
                flush()

        return mark

    def flush(self) -> None:
        """Move pending records into the hashes and the file."""
        data = b"".join(self._pending)
        self._sha.update(data)
        if self._file is not None:
            self._file.write(data)
        self._flushed += len(self._pending)
        self._pending.clear()
        for component in self._components.values():
            if component.pending:
                component.sha.update(b"".join(component.pending))
                component.pending.clear()

    def sha256(self) -> str:
        """Return the hash over all records so far, as hexadecimal digits."""
        self.flush()
        return self._sha.hexdigest()

    def component_hashes(self) -> dict[str, str]:
        """Return the hash of each component path that has recorded something, sorted by path."""
        self.flush()
        return {path: self._components[path].sha.hexdigest() for path in sorted(self._components)}

    def close(self) -> None:
        """Flush and close the file; idempotent."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def _open(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("wb")
    file.write(FILE_HEADER)
    return file


def _text(value: str, what: str) -> bytes:
    data = value.encode()
    if not 0 < len(data) < 1 << 16:
        msg = f"trace {what} {value!r} has {len(data)} bytes, expected 1 to 65535"
        raise ValueError(msg)
    return _TEXT.pack(len(data)) + data


def read_trace(path: Path) -> Iterator[TraceRecord]:
    """Yield the records of a trace file.

    Raises:
        TraceFormatError: the file is no trace, or ends inside a record; records before that are yielded first.
    """
    with path.open("rb") as file:
        if file.read(len(FILE_HEADER)) != FILE_HEADER:
            msg = f"{path}: no trace file, expected it to begin with {FILE_HEADER!r}"
            raise TraceFormatError(msg)
        offset = len(FILE_HEADER)
        while head := file.read(4):
            length = int.from_bytes(head, "little")
            body = file.read(length) if length <= _MAX_RECORD_BYTES else b""
            if len(head) < 4 or len(body) != length or length < 12:
                msg = (
                    f"{path}: damaged at byte {offset}, a record of {length} bytes is not there; write the trace again"
                )
                raise TraceFormatError(msg)
            yield _parse(body, path, offset)
            offset += 4 + length


def _parse(body: bytes, path: Path, offset: int) -> TraceRecord:
    t_ns = int.from_bytes(body[:8], "little")
    try:
        component, after = _read_text(body, 8)
        kind, after = _read_text(body, after)
    except (struct.error, UnicodeDecodeError) as error:
        msg = f"{path}: damaged at byte {offset}, path or kind of the record cannot be read"
        raise TraceFormatError(msg) from error
    return TraceRecord(t_ns, component, kind, body[after:])


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = _TEXT.unpack_from(body, at)
    end = at + 2 + length
    if end > len(body):
        msg = "text runs past the record"
        raise struct.error(msg)
    return body[at + 2 : end].decode(), end
