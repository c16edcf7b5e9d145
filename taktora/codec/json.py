"""JSON on msgspec: readable, self-describing, the default; it never writes NaN or an infinity as null.

Records are ``msgspec.Struct`` types, dataclasses, TypedDicts and plain dicts. Encoding fills a reused scratch buffer
and copies it once into the slot, because no JSON encoder for Python can write into a memoryview. Sets are written in
the order of their items' encodings, so that one value has one encoding in every process; dicts keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, TypeVar

import msgspec

from taktora.codec.sets import SetOrder
from taktora.errors import CodecError, PayloadOverflow

__all__ = ["JsonCodec"]

T = TypeVar("T")

_ARRAY = ord("[")


# req: REQ_0212
class JsonCodec:
    """Values as JSON text in UTF-8. One instance may serve several threads."""

    __slots__ = ("_decoders", "_encode_into", "_scratches", "_sets")

    format_name = "json"

    def __init__(self) -> None:
        encoder = msgspec.json.Encoder()
        self._encode_into = encoder.encode_into
        self._sets = SetOrder(encoder.encode)
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._scratches = [bytearray()]

    # req: REQ_0213
    def encode_into(self, value: Any, view: memoryview) -> int:
        scratch = self._scratches.pop() if self._scratches else bytearray()
        try:
            self._encode_into(value, scratch)
            if _ARRAY in scratch:  # it may be a set
                arranged = self._sets.arranged(value)
                if arranged is not value:
                    self._encode_into(arranged, scratch)
            # msgspec writes a NaN value as null and a NaN key as text: look closer only where these appear.
            find = scratch.find  # half the time of "in", which first tries whether the text is a number
            if find(b"null") >= 0 or find(b'nan":') >= 0 or find(b'inf":') >= 0:
                _refuse_non_finite(value)
            length = len(scratch)
            if length > len(view):
                raise PayloadOverflow(length, len(view))
            view[:length] = scratch
        except (CodecError, PayloadOverflow):
            raise
        except Exception as cause:
            raise CodecError(self.format_name, f"cannot encode {type(value).__name__}: {cause}") from cause
        finally:
            self._scratches.append(scratch)
        return length

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        try:
            decoder = self._decoders.get(type)
            if decoder is None:
                decoder = self._decoders[type] = msgspec.json.Decoder(type)
            return decoder.decode(view)  # type: ignore[no-any-return]
        except Exception as cause:
            name = getattr(type, "__name__", repr(type))
            raise CodecError(self.format_name, f"cannot decode {len(view)} bytes as {name}: {cause}") from cause


def _refuse_non_finite(value: Any) -> None:
    for path, number in _floats(msgspec.to_builtins(value), "$"):
        if not isfinite(number):
            raise CodecError("json", f"{path} is {number}, expected a finite number; JSON has no word for it")


def _floats(tree: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(tree, float):
        yield path, tree
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from _floats(key, f"{path} (a key)")
            yield from _floats(item, f"{path}.{key}")
    elif isinstance(tree, list | tuple | set | frozenset):
        for index, item in enumerate(tree):
            yield from _floats(item, f"{path}[{index}]")
