"""The shape of ids and the search for similar ones; it knows no catalogue."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ID_PATTERN", "is_id", "nearest"]

ID_PATTERN = r"[A-Z][A-Z0-9]*(?:[_-][A-Z0-9]+)+"
_ID = re.compile(ID_PATTERN)


def is_id(text: str) -> bool:
    """Tell whether `text` has the shape of an id: capital words and digits joined by `_` or `-`, as in REQ_0310."""
    return _ID.fullmatch(text) is not None


def nearest(wanted: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known ids most similar to `wanted`, best first, ties in catalogue order.

    An id that only lacks its prefix, its zeros or its case (`req_310`, `0310`) finds its owner first.
    """
    scored = []
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted.upper())
    for place, candidate in enumerate(known):
        score = _similarity(matcher, wanted, candidate)
        if score >= 0.7:
            scored.append((-score, place, candidate))
    return [candidate for _, _, candidate in sorted(scored)[:count]]


def _similarity(matcher: SequenceMatcher[str], wanted: str, candidate: str) -> float:
    if _plain(wanted) == _plain(candidate):
        return 2.0
    if _digits(wanted) and wanted.isdigit() and _digits(wanted) == _digits(candidate):
        return 1.5
    matcher.set_seq1(candidate.upper())
    if matcher.real_quick_ratio() < 0.7 or matcher.quick_ratio() < 0.7:
        return 0.0
    return matcher.ratio()


def _plain(text: str) -> str:
    return re.sub(r"[_\-\s]|(?<=\D)0+(?=\d)", "", text.upper())


def _digits(text: str) -> str:
    return "".join(re.findall(r"\d", text)).lstrip("0")
