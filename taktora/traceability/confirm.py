"""The file of confirmed requirement texts: who looked at the tests of a changed one, and when."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import msgspec

from taktora.traceability.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Confirmation", "load_confirmations", "save_confirmations"]

_HEAD = (
    "# Requirement texts whose tests somebody has looked at, written by `taktora trace confirm`.\n"
    "# A requirement whose text has another hash today has suspect tests until it is confirmed again.\n"
)


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One confirmed text: 16 hex digits over statement and adaptation, the person, the day (YYYY-MM-DD)."""

    id: str
    text_hash: str
    by: str
    date: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    confirmed: list[Confirmation] = []


def load_confirmations(file: Path) -> dict[str, Confirmation]:
    """Return the confirmations by requirement, none where there is no file; raises ConfigError naming the file."""
    if not file.is_file():
        return {}
    try:
        content = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: not a file of confirmations: {error}") from error
    return {confirmation.id: confirmation for confirmation in content.confirmed}


# req: REQ_8609
def save_confirmations(file: Path, confirmations: Iterable[Confirmation]) -> None:
    """Write the confirmations sorted by id, so that a commit shows exactly what was confirmed."""
    tables = [_table(confirmation) for confirmation in sorted(confirmations, key=lambda one: one.id)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([_HEAD, *tables]), "utf-8")


def _table(confirmation: Confirmation) -> str:
    pairs = msgspec.to_builtins(confirmation)
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in pairs.items()]
    return "\n".join(["[[confirmed]]", *lines, ""])
