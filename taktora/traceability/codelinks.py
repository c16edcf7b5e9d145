"""Finds the comments in source files that name requirements; it reads text only and imports nothing.

The marker is a comment that begins with `req:` and lists ids, in any language whose comments begin with one of
`#`, `//`, `/*`, `*`, `--`, `;`, `%` or `<!--`:

    # req: REQ_0310, REQ_0311
"""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taktora.traceability.hashing import source_files
from taktora.traceability.ids import ID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["CodeLink", "find_in_text", "scan_code"]

_MARK = re.compile(r"(?:^|\s)(?:#+|//+|/\*+|\*|--|;+|%+|<!--)!?\s*req:\s*(?P<ids>\S.*)", re.IGNORECASE)
_ID = re.compile(ID_PATTERN)
_SPLIT = re.compile(r"[\s,;]+")
_BINARY = frozenset(
    {".png", ".jpg", ".gif", ".ico", ".pdf", ".zip", ".gz", ".whl", ".woff", ".woff2", ".pcapng", ".blf"}
)


@dataclass(frozen=True, slots=True, order=True)
class CodeLink:
    """A marker in the source: the id it names, and where."""

    id: str
    file: str
    line: int


# req: REQ_8607
def scan_code(paths: Sequence[Path], root: Path, hide: Sequence[str] = ()) -> list[CodeLink]:
    """Return every marker below `paths`, by file and line; files that are no text are passed over."""
    found: list[CodeLink] = []
    for file in source_files(paths, root, hide):
        if file.suffix.lower() in _BINARY:
            continue
        text = file.read_bytes().decode("utf-8", "replace")
        if "req:" in text.lower():
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
            found += [CodeLink(item, name, line) for line, item in find_in_text(text, file.suffix)]
    return found


def find_in_text(text: str, suffix: str = "") -> list[tuple[int, str]]:
    """Return (line, id) for each id behind a marker; in Python only real comments count, not strings."""
    comments = _python_comments(text) if suffix in {".py", ".pyi"} else enumerate(text.splitlines(), start=1)
    return [(line, item) for line, comment in comments for item in _ids(comment)]


def _python_comments(text: str) -> Iterable[tuple[int, str]]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return enumerate(text.splitlines(), start=1)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def _ids(comment: str) -> Iterator[str]:
    """Yield the leading ids of a marker; the first word that is none ends the list, so a remark may follow."""
    mark = _MARK.search(comment)
    for place, word in enumerate(_SPLIT.split(mark.group("ids")) if mark else ()):
        if _ID.fullmatch(word) or (place == 0 and re.fullmatch(r"[\w-]+", word)):
            yield word
        else:
            return
