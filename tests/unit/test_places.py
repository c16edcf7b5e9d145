"""The place that a message names for an exception: the application's own line, however deep it was raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taktora.places import line_of, place_of


def _module(name: str, file: str, source: str) -> Callable[..., Any]:
    """Return the function ``f`` of a module of this name, file and source."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source, file, "exec"), names)
    return names["f"]  # type: ignore[no-any-return]


KEEP = "def f(inner):\n  try: inner()\n  except ZeroDivisionError as error: return error"
FAIL = "def f(): 1 / 0"


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        pytest.param("taktora.codec.dbc", "/x/taktora/codec/dbc.py", id="taktora"),
        pytest.param("taktora_sim.world", "/x/world.py", id="simulation"),
        pytest.param("json.decoder", "/usr/lib/python3/json/decoder.py", id="standard-library"),
        pytest.param("app.pump", "<string>", id="generated"),
    ],
)
def test_the_place_is_the_last_line_of_the_application(name: str, file: str) -> None:
    error = _module("app.pump", "/home/me/app.py", KEEP)(_module(name, file, FAIL))

    assert place_of(error) == "app.py:2"
    assert line_of(error) == ("/home/me/app.py", 2)


@pytest.mark.verifies("REQ_8510")
def test_without_a_line_of_the_application_the_last_one_is_named() -> None:
    error = _module("taktora.a", "/x/outer.py", KEEP)(_module("taktora.b", "/x/inner.py", FAIL))

    assert place_of(error) == "inner.py:1"
    assert line_of(error) is None


@pytest.mark.verifies("REQ_8510")
def test_an_exception_that_was_never_raised_has_no_place() -> None:
    assert place_of(ValueError("kept")) == ""
