"""The public list of the package is what it holds, and classification of error frames over every class."""

from __future__ import annotations

import pytest

import taktora.can
from taktora.can import CanErrorClass, CanErrorFrame, CanErrorKind, classify


@pytest.mark.verifies("REQ_0600")
def test_the_public_list_is_sorted_and_complete() -> None:
    public = {name for name, value in vars(taktora.can).items() if not name.startswith("_") and not _is_module(value)}

    assert public - {"annotations"} == set(taktora.can.__all__)
    assert list(taktora.can.__all__) == sorted(taktora.can.__all__)


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"


@pytest.mark.verifies("REQ_0631", "REQ_0632")
@pytest.mark.parametrize("detail", [0x00, 0x04, 0x08, 0x10, 0x20, 0x40, 0x3C, 0x7F])
def test_the_gravest_of_all_combined_classes_counts(detail: int) -> None:
    for bits in range(1 << 10):
        classes = CanErrorClass(bits)

        kind = classify(CanErrorFrame(classes, bytes((0, detail, 0, 0, 0, 0, 0, 0))))

        if bits & 0x040:
            assert kind is CanErrorKind.BUS_OFF
        elif bits & 0x100:
            assert kind is CanErrorKind.RESTARTED
        elif bits & 0x004 and detail & 0x30:
            assert kind is CanErrorKind.PASSIVE
        elif bits & 0x004 and detail & 0x0C:
            assert kind is CanErrorKind.WARNING
        elif bits & 0x004 and detail & 0x40:
            assert kind is CanErrorKind.ACTIVE
        else:
            assert kind is CanErrorKind.OTHER


@pytest.mark.verifies("REQ_0631")
def test_an_error_frame_without_data_is_no_trouble() -> None:
    assert classify(CanErrorFrame(CanErrorClass.CONTROLLER, b"")) is CanErrorKind.OTHER
