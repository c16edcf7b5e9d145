"""Codecs: typed values to payload bytes and back."""

from __future__ import annotations

from taktora.codec.base import Codec
from taktora.codec.binary import F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, BinaryCodec, Bool, Width
from taktora.codec.json import JsonCodec
from taktora.codec.msgpack import MsgPackCodec

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "BinaryCodec",
    "Bool",
    "Codec",
    "JsonCodec",
    "MsgPackCodec",
    "Width",
]
