"""The error tree: one root, each leaf also a fitting builtin, messages that carry the values."""

from __future__ import annotations

import pytest

from taktora import errors
from taktora.errors import CodecError, ConnectorError, IllegalTransition, PayloadOverflow, TaktoraError

BUILTINS = {
    "TransportError": OSError,
    "CodecError": ValueError,
    "PayloadOverflow": BufferError,
    "BackPressure": BlockingIOError,
    "NotReady": BlockingIOError,
    "LinkDown": ConnectionError,
    "StackError": RuntimeError,
    "RoutingError": LookupError,
    "ShutdownError": RuntimeError,
    "ConfigurationError": ValueError,
}


@pytest.mark.verifies("REQ_0213")
def test_every_error_derives_from_the_root() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]

    assert all(issubclass(cls, TaktoraError) for cls in classes)
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in classes)


@pytest.mark.verifies("REQ_0213")
@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items(), ids=list(BUILTINS))
def test_connector_errors_are_ordinary_errors_too(name: str, builtin: type[Exception]) -> None:
    cls = getattr(errors, name)

    assert issubclass(cls, ConnectorError)
    assert issubclass(cls, builtin)


@pytest.mark.verifies("REQ_0213")
def test_messages_carry_their_values() -> None:
    overflow = PayloadOverflow(4097, 4096, "bulk.out")
    codec = CodecError("json", "no")
    move = IllegalTransition("Up", "Up", "health")

    assert (overflow.actual, overflow.max) == (4097, 4096)
    assert "4097" in str(overflow)
    assert "bulk.out" in str(overflow)
    assert (codec.format_name, codec.cause, str(codec)) == ("json", "no", "json: no")
    assert str(move) == "health: no transition from Up to Up"
