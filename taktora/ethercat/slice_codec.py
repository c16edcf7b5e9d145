"""The codec of bit slices: a number, little-endian, as long as its slice; nothing else."""

from __future__ import annotations

from typing import Any, Final

from taktora.errors import CodecError

__all__ = ["SliceCodec"]

_FORMAT: Final = "slice"


# req: REQ_0326, REQ_0327
class SliceCodec:
    """Carries unsigned numbers; what is read comes back as the value type of the reader: int or bool."""

    format_name = _FORMAT

    def encode_into(self, value: int, view: memoryview) -> int:
        """Write ``value`` into all of ``view``.

        Raises:
            CodecError: no whole number of 0 or more, or one with more bytes than the slice.
        """
        size = len(view)
        try:
            view[:] = value.to_bytes(size, "little")
        except (AttributeError, OverflowError) as error:
            raise CodecError(_FORMAT, f"{value!r} is no whole number from 0 to {(1 << 8 * size) - 1}") from error
        return size

    def decode(self, type: Any, view: memoryview) -> Any:  # noqa: A002 - the name of the protocol
        """Return the number in ``view`` as ``type``."""
        return type(int.from_bytes(view, "little"))
