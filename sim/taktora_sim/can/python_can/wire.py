"""What a server of simulated buses and its clients say to each other: bytes and values only, no socket is opened.

A client holds two connections. On the first it asks and is answered, one request at a time; each message is a length
(u32, little-endian), a kind (u8) and a body: JSON, or a frame to send. The second, opened by :data:`STREAM`, carries
what was received, in records of one size: so that reading one record leaves the descriptor readable while others wait.
"""

from __future__ import annotations

import json
import struct
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

from taktora.can.filter import EFF_FLAG, RTR_FLAG
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame

__all__ = [
    "HEAD_BYTES",
    "JSON",
    "RECORD_BYTES",
    "SEND",
    "STREAM",
    "STREAM_BUFFER_BYTES",
    "Received",
    "message",
    "message_bytes",
    "pack_frame",
    "pack_received",
    "pack_send",
    "package_version",
    "say",
    "split_messages",
    "unpack_frame",
    "unpack_received",
    "unpack_send",
]

JSON: Final = 0
"""Kind of a request or an answer in JSON."""
SEND: Final = 1
"""Kind of a request to send a frame; answered in JSON."""
STREAM: Final = 2
"""Kind of the one message that makes a connection the stream of a client."""

_HEAD = struct.Struct("<IB")
HEAD_BYTES: Final = _HEAD.size
_FRAME = struct.Struct("<IBB64s")
"""Identifier word as the kernel has it, length or remote DLC, flags, data."""
_RECEIVED = struct.Struct("<qB")
_TIMEOUT = struct.Struct("<q")
_ERR_FLAG = 0x2000_0000
_ID_MASK = 0x1FFF_FFFF
_BRS, _ESI, _FDF = 1, 2, 4
_DOWN = 2
"""In place of "is own": no frame, the interface went down."""
_LONGEST_BYTES = 1 << 20

STREAM_BUFFER_BYTES: Final = 65536
"""Buffer of the operating system at each end of a stream: what a slow reader leaves waits in the port's inbox."""

RECORD_BYTES: Final = _RECEIVED.size + _FRAME.size


class Received(NamedTuple):
    """A frame or an error frame that a socket got.

    Args:
        unix_ns: End of the frame, in civil time of the bus.
        is_own: The frame was sent by this node, by this socket or another one.
        frame: What came; None: the interface went down.
    """

    unix_ns: int
    is_own: bool
    frame: CanFrame | CanErrorFrame | None


def package_version() -> str:
    """Return the version of this package; servers and clients of different versions refuse each other."""
    try:
        return version("taktora")
    except PackageNotFoundError:
        return "unknown"


def message(kind: int, body: bytes) -> bytes:
    """Return one message with its head."""
    return _HEAD.pack(len(body), kind) + body


def message_bytes(head: bytes | bytearray) -> int:
    """Return how long the message is that begins with ``head``, the head included."""
    length, _ = _HEAD.unpack(head)
    return HEAD_BYTES + int(length)


def split_messages(data: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole messages out of ``data`` and return them as (kind, body).

    Raises:
        ValueError: a length that no message has.
    """
    found = []
    while len(data) >= _HEAD.size:
        length, kind = _HEAD.unpack_from(data)
        if length > _LONGEST_BYTES:
            raise ValueError(f"message of {length} bytes; at most {_LONGEST_BYTES} are allowed")
        end = _HEAD.size + length
        if len(data) < end:
            break
        found.append((kind, bytes(data[_HEAD.size : end])))
        del data[:end]
    return found


def pack_frame(frame: CanFrame | CanErrorFrame) -> bytes:
    """Return a frame as bytes of one size; its time is left out."""
    if isinstance(frame, CanErrorFrame):
        return _FRAME.pack(int(frame.classes) | _ERR_FLAG, len(frame.data), 0, frame.data)
    word = frame.can_id | (EFF_FLAG if frame.extended else 0) | (RTR_FLAG if frame.remote else 0)
    flags = (_BRS if frame.brs else 0) | (_ESI if frame.esi else 0) | (_FDF if frame.fd else 0)
    return _FRAME.pack(word, frame.dlc if frame.remote else len(frame.data), flags, frame.data)


def unpack_frame(data: bytes) -> CanFrame | CanErrorFrame:
    """Return the frame of :func:`pack_frame`.

    Raises:
        struct.error: another number of bytes.
    """
    word, length, flags, content = _FRAME.unpack(data)
    if word & _ERR_FLAG:
        return CanErrorFrame(CanErrorClass(word & _ID_MASK), content[:length])
    remote = bool(word & RTR_FLAG)
    return CanFrame(
        word & _ID_MASK,
        b"" if remote else content[:length],
        bool(word & EFF_FLAG),
        remote,
        length if remote else 0,
        fd=bool(flags & _FDF),
        brs=bool(flags & _BRS),
        esi=bool(flags & _ESI),
    )


def pack_received(received: Received) -> bytes:
    """Return a record of the stream, :data:`RECORD_BYTES` long."""
    if received.frame is None:
        return _RECEIVED.pack(received.unix_ns, _DOWN) + bytes(_FRAME.size)
    return _RECEIVED.pack(received.unix_ns, received.is_own) + pack_frame(received.frame)


def unpack_received(data: bytes) -> Received:
    """Return what :func:`pack_received` was given; times of frames are 0."""
    unix_ns, what = _RECEIVED.unpack_from(data)
    if what == _DOWN:
        return Received(unix_ns, False, None)
    return Received(unix_ns, bool(what), unpack_frame(data[_RECEIVED.size :]))


def pack_send(frame: CanFrame, timeout_ns: int | None) -> bytes:
    """Return a whole request to send ``frame``, waiting for room at most ``timeout_ns`` (None: for ever)."""
    return message(SEND, _TIMEOUT.pack(-1 if timeout_ns is None else timeout_ns) + pack_frame(frame))


def unpack_send(body: bytes) -> tuple[CanFrame, int | None]:
    """Return the frame and the time limit of a request to send.

    Raises:
        ValueError: an error frame, which nobody can send.
    """
    (timeout_ns,) = _TIMEOUT.unpack_from(body)
    frame = unpack_frame(body[_TIMEOUT.size :])
    if isinstance(frame, CanErrorFrame):
        raise ValueError("error frames are made by controllers and cannot be sent")
    return frame, None if timeout_ns < 0 else timeout_ns


def say(kind: int, value: dict[str, Any]) -> bytes:
    """Return a message whose body is JSON."""
    return message(kind, json.dumps(value).encode())
