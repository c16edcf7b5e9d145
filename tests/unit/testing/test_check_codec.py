"""The codec kit: every codec passes, and broken ones are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taktora.codec import BinaryCodec, Codec, JsonCodec, MsgPackCodec
from taktora.errors import CodecError, PayloadOverflow
from taktora.testing.check_codec import Probe, check_codec


@pytest.mark.verifies("REQ_0210", "REQ_0213", "REQ_0214", "REQ_0212", "REQ_0215", "REQ_0989")
@pytest.mark.parametrize(
    "codec",
    [JsonCodec(), MsgPackCodec(), BinaryCodec(), BinaryCodec("little")],
    ids=["json", "msgpack", "big", "little"],
)
def test_codec_keeps_the_contract(codec: Codec) -> None:
    check_codec(codec)


class Crooked(BinaryCodec):
    """A codec with one step bent."""

    def __init__(self, bend: str) -> None:
        super().__init__()
        self.bend = bend

    def encode_into(self, value: Any, view: memoryview) -> int:
        try:
            length = super().encode_into(value, view)
        except PayloadOverflow as overflow:
            raise PayloadOverflow(overflow.actual + (self.bend == "wrong actual"), overflow.max) from None
        if self.bend == "writes beyond" and len(view) > length:
            view[length] = 0
        return length

    def decode(self, type: Any, view: memoryview) -> Any:  # noqa: A002
        if self.bend == "ignores trailing":
            view = view[: self.size_of(type)]
        if self.bend == "wrong error" and len(view) != self.size_of(type):
            raise ValueError("bare")
        decoded = super().decode(type, view)
        return Probe(0, 0, 0.0, on=True) if self.bend == "wrong value" else decoded


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    ("bend", "found_by"),
    [
        ("wrong actual", "reports_overflow"),
        ("writes beyond", "writes_only_what_it_reports"),
        ("ignores trailing", "refuses_trailing_bytes"),
        ("wrong error", "refuses_every_truncation"),
        ("wrong value", "round_trips"),
    ],
)
def test_broken_codec_is_found(bend: str, found_by: str) -> None:
    with pytest.raises(AssertionError, match=f"check_codec, {found_by}"):
        check_codec(Crooked(bend))


@pytest.mark.verifies("REQ_0210")
@pytest.mark.parametrize(
    "encode",
    [lambda *_: 0, lambda *_: (_ for _ in ()).throw(CodecError("other", "x"))],
    ids=["accepted", "other-name"],
)
def test_foreign_value_accepted_is_found(monkeypatch: pytest.MonkeyPatch, encode: Callable[..., int]) -> None:
    monkeypatch.setattr(BinaryCodec, "encode_into", encode)

    with pytest.raises(AssertionError):
        check_codec(BinaryCodec(), [])
