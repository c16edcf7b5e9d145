"""Writes the report as one HTML page that holds its data, its style and its script; it asks no network for anything."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["page_text"]

_PLACES = {"/*STYLE*/": "page.css", "/*SCRIPT*/": "page.js"}


def page_text(data: Mapping[str, Any]) -> str:
    """Return the page; the data stands in it as JSON that no text in it can end early."""
    folder = resources.files(__package__)
    text = folder.joinpath("page.html").read_text("utf-8")
    for place, name in _PLACES.items():
        text = text.replace(place, folder.joinpath(name).read_text("utf-8"))
    return text.replace("/*DATA*/", _embeddable(data))


def _embeddable(data: Mapping[str, Any]) -> str:
    packed = msgspec.json.encode(data).decode()
    escapes: dict[str, str | int | None] = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
    return packed.translate(str.maketrans(escapes))
