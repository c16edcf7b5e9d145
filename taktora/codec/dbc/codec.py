"""The codec of DBC messages: finds the way for the type of a value, and compiles it on the first use."""

from __future__ import annotations

from typing import Any, TypeVar

from taktora.codec.base import Codec
from taktora.codec.dbc.classes import fields_of
from taktora.codec.dbc.decoding import Decoder, compile_decoder
from taktora.codec.dbc.encoding import Encoder, compile_encoder
from taktora.codec.dbc.exact import FORMAT_NAME, ExactWay
from taktora.codec.dbc.layout import lay_out
from taktora.codec.dbc.model import Dbc, DbcMessage
from taktora.errors import CodecError

__all__ = ["DbcCodec"]

T = TypeVar("T")


class DbcCodec:
    """Carries messages of one DBC, and other values through ``fallback``.

    A class belongs to the message of its name: the DBC's own class (``dbc.EngineData``), or your dataclass or
    ``msgspec.Struct`` with a field for each signal, no more and no less. Annotations: ``float``, ``int`` (whole
    signals only), ``bool`` (one bit), an ``IntEnum``; with ``| None`` for multiplexed signals. :meth:`bind` checks
    that; the first use binds too.

    Args:
        dbc: The loaded file.
        fallback: Codec for types that are no message of the DBC; None refuses them.
    """

    format_name = FORMAT_NAME

    def __init__(self, dbc: Dbc, fallback: Codec | None = None) -> None:
        self.dbc = dbc
        self._fallback = fallback
        self._encoders: dict[type[Any], Encoder] = {}
        self._decoders: dict[type[Any], Decoder] = {}

    def bind(self, cls: type[Any], message: str | None = None) -> DbcMessage:
        """Bind a class to its message (default: the one of the class's name) and return the message.

        Raises:
            ConfigurationError: no such message, unknown or missing fields, or an annotation that cannot hold the
                signal; all of them are listed.
        """
        bound = self.dbc.message(cls.__name__ if message is None else message)
        fields = fields_of(bound, cls)
        exact = ExactWay(bound, fields)
        layout = lay_out(bound)
        encoder = layout and compile_encoder(layout, bound.length_bytes, fields, exact.encode)
        self._encoders[cls] = encoder or exact.encode
        self._decoders[cls] = (
            compile_decoder(layout, bound.frame_bytes, fields, exact.decode) if layout else exact.decode
        )
        return bound

    def encode_into(self, value: Any, view: memoryview) -> int:
        """Write the frame data of ``value``: as many bytes as the DBC states, unused bits 0."""
        try:
            encode = self._encoders[type(value)]
        except KeyError:
            cls = type(value)
            if not self._binds(cls):
                return self._other(cls).encode_into(value, view)
            encode = self._encoders[cls]
        return encode(value, view)

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        """Build a ``type`` from exactly the bytes the DBC states; what pads a frame of CAN FD is passed over."""
        try:
            decode = self._decoders[type]
        except KeyError:
            if not self._binds(type):
                return self._other(type).decode(type, view)
            decode = self._decoders[type]
        value: T = decode(view)
        return value

    def _binds(self, cls: type[Any]) -> bool:
        """Bind a class that has the name of a message; return whether it has."""
        if cls.__name__ not in self.dbc:
            return False
        self.bind(cls)
        return True

    def _other(self, cls: type[Any]) -> Codec:
        if self._fallback is None:
            raise CodecError(
                self.format_name,
                f"{cls.__name__} is no message of {self.dbc.source}; give a value of a class named like a message, as "
                "load_dbc() makes them, bind() yours to one, or give the codec a fallback",
            )
        return self._fallback
