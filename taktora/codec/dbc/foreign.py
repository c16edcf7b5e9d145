"""Names what a file is that was given for a DBC and is none, by how it begins; it never opens one."""

from __future__ import annotations

import re

__all__ = ["what_else"]

_HEAD_BYTES = 4096
_GIVE = "give the path of a .dbc file"
_CONVERT = "'python -m cantools convert FILE vehicle.dbc' makes one of it"
_KINDS = [
    (rb"PK\x03\x04.*?(?:\[Content_Types\]\.xml|xl/)", "an Office document such as .xlsx", _GIVE),
    (rb"PK\x03\x04", "a zip archive", "unpack it"),
    (rb"\x1f\x8b", "a gzip archive", "unpack it"),
    (rb"\xd0\xcf\x11\xe0", "an Office document such as .xls", _GIVE),
    (rb"\xff\xfe|\xfe\xff", "text in UTF-16", "save it as Windows-1252 (ANSI) or ASCII"),
    (rb"[^\0]*\0", "binary", _GIVE),
    (rb"<(?:.*<)?(?:\w+:)?NetworkDefinition\b", "KCD", _CONVERT),
    (rb"<(?:.*<)?(?:\w+:)?AUTOSAR\b", "ARXML", _CONVERT),
    (rb"(?i:<!doctype html|<html\b)", "a page of the web", "download the file itself"),
    (rb"<\?xml\b", "XML", _GIVE),
    (rb"FormatVersion\s*=", "SYM", _CONVERT),
]
_MARK_OF_UTF_8 = b"\xef\xbb\xbf"


def what_else(content: bytes) -> str:
    """Say what a file is and what to do, as ``this is KCD, expected a DBC; ...``; "" where nothing is known of it."""
    head = content.removeprefix(_MARK_OF_UTF_8).lstrip()[:_HEAD_BYTES]
    if not head:
        return f"the file is empty; {_GIVE}"
    for pattern, name, way_out in _KINDS:
        if re.match(pattern, head, re.DOTALL):
            return f"this is {name}, expected a DBC; {way_out}"
    return ""
