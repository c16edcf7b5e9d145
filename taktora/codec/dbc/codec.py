"""The codec of DBC messages: finds the way for the type of a value, and says what is wrong with a value or frame."""

from __future__ import annotations

from typing import Any, TypeVar

from taktora.codec.base import Codec
from taktora.codec.dbc.binding import Binding
from taktora.codec.dbc.model import Dbc, DbcMessage
from taktora.errors import CodecError, PayloadOverflow

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

    format_name = "dbc"

    def __init__(self, dbc: Dbc, fallback: Codec | None = None) -> None:
        self.dbc = dbc
        self._fallback = fallback
        self._bindings: dict[type[Any], Binding] = {}

    def bind(self, cls: type[Any], message: str | None = None) -> DbcMessage:
        """Bind a class to its message (default: the one of the class's name) and return the message.

        Raises:
            ConfigurationError: no such message, unknown or missing fields, or an annotation that cannot hold the
                signal; all of them are listed.
        """
        bound = self.dbc.message(cls.__name__ if message is None else message)
        self._bindings[cls] = Binding(bound, cls)
        return bound

    def encode_into(self, value: Any, view: memoryview) -> int:
        """Write the frame data of ``value``: as many bytes as the DBC states, unused bits 0."""
        binding = self._bindings.get(type(value)) or self._bound(type(value))
        if binding is None:
            return self._other(type(value)).encode_into(value, view)
        try:
            payload = binding.encode(value)
        except ValueError as error:
            raise CodecError(self.format_name, f"message {binding.message.name}: {error}") from error
        except TypeError as error:
            raise CodecError(self.format_name, f"message {binding.message.name}: {binding.fault_of(value)}") from error
        if len(payload) > len(view):
            raise PayloadOverflow(len(payload), len(view), f"the channel of message {binding.message}")
        view[: len(payload)] = payload
        return len(payload)

    def decode(self, type: type[T], view: memoryview) -> T:  # noqa: A002 - the seam's word
        """Build a ``type`` from exactly the bytes the DBC states; what pads a frame of CAN FD is passed over."""
        binding = self._bindings.get(type) or self._bound(type)
        if binding is None:
            return self._other(type).decode(type, view)
        message = binding.message
        if len(view) != message.length_bytes:
            if len(view) != message.frame_bytes:
                raise CodecError(self.format_name, _length_text(message, len(view)))
            view = view[: message.length_bytes]
        try:
            value: T = binding.decode(view.tobytes())
        except (ValueError, TypeError) as error:
            raise CodecError(self.format_name, f"message {message.name}: {error}") from error
        return value

    def _bound(self, cls: type[Any]) -> Binding | None:
        if cls.__name__ not in self.dbc:
            return None
        self.bind(cls)
        return self._bindings[cls]

    def _other(self, cls: type[Any]) -> Codec:
        if self._fallback is None:
            raise CodecError(
                self.format_name,
                f"{cls.__name__} is no message of {self.dbc.source}; give a value of a class named like a message, as "
                "load_dbc() makes them, bind() yours to one, or give the codec a fallback",
            )
        return self._fallback


def _length_text(message: DbcMessage, found: int) -> str:
    relation = "shorter" if found < message.length_bytes else "longer"
    return (
        f"message {message}: the frame has {found} bytes, expected {message.length_bytes}; it is {relation} than its "
        "DBC message, check that sender and DBC are of one version"
    )
