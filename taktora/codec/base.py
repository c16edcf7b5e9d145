"""The codec seam: a value into bytes in a caller's buffer and back; no lookup of codecs by name."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

__all__ = ["Codec"]

T = TypeVar("T")


# req: REQ_0210
class Codec(Protocol):
    """Turns typed values into payload bytes and back; chosen once per connector (REQ_0210, REQ_0211)."""

    @property
    def format_name(self) -> str:
        """Short name for messages, for example ``"json"``."""
        ...

    def encode_into(self, value: Any, view: memoryview) -> int:
        """Write ``value`` to the start of ``view`` and return the number of bytes written.

        Raises:
            PayloadOverflow: the encoding needs more than ``len(view)`` bytes; ``actual`` is what it needs.
            CodecError: anything else; the cause is chained.
        """
        ...

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the word every codec library uses
        """Build a ``type`` from all of ``view``; bytes left over are an error.

        Raises:
            CodecError: the payload is no valid encoding of ``type``.
        """
        ...
