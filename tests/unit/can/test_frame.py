"""A frame is a value: compared, hashed and changed by its fields, and never in place."""

from __future__ import annotations

import pickle

import pytest

from taktora.can import CanFrame

pytestmark = [pytest.mark.verifies("REQ_0642")]

_FRAME = CanFrame(0x123, b"\x01\x02", extended=True, timestamp_ns=7)


def test_frames_of_equal_fields_are_one_value() -> None:
    twin = CanFrame(can_id=0x123, data=b"\x01\x02", extended=True, timestamp_ns=7)

    assert twin == _FRAME
    assert len({_FRAME, twin}) == 1
    assert pickle.loads(pickle.dumps(_FRAME)) == _FRAME


@pytest.mark.parametrize(
    "change",
    [
        {"can_id": 0x124},
        {"data": b""},
        {"extended": False},
        {"remote": True},
        {"dlc": 2},
        {"timestamp_ns": 8},
        {"fd": True},
        {"brs": True},
        {"esi": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_frame_is_another_value(change: dict[str, object]) -> None:
    changed = _FRAME._replace(**change)

    assert changed != _FRAME
    assert {name: getattr(changed, name) for name in change} == change
    assert changed._replace(**{name: getattr(_FRAME, name) for name in change}) == _FRAME


def test_a_frame_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        _FRAME.can_id = 1  # type: ignore[misc]


def test_frames_sort_by_identifier_then_data() -> None:
    first, second, third = CanFrame(1, b"\x01"), CanFrame(1, b"\x02"), CanFrame(2, b"")

    assert sorted([third, second, first]) == [first, second, third]


def test_a_frame_shows_its_fields() -> None:
    assert repr(CanFrame(1, b"\x02")) == (
        "CanFrame(can_id=1, data=b'\\x02', extended=False, remote=False, dlc=0, timestamp_ns=0, fd=False, brs=False, "
        "esi=False)"
    )
