"""Reads a description file into a typed record with errors that name file, place, value and way out; writes nothing."""

from __future__ import annotations

import json
import re
import tomllib
from difflib import get_close_matches
from inspect import cleandoc
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml
from msgspec.structs import fields

from taktora.errors import ConfigurationError

__all__ = ["fault_of", "nearest", "read_file", "schema_of"]

T = TypeVar("T")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without the trap that a repeated key silently wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _value in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_file(path: Path, record: type[T]) -> T:
    """Read a ``.yaml``, ``.yml`` or ``.toml`` file into ``record``.

    Raises:
        ConfigurationError: the file is missing, unreadable, no valid text of its format, or does not fit ``record``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {_unreadable(path, error)}") from error
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else yaml.load(text, _UniqueKeyLoader)  # noqa: S506
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        msg = f"{path}: {_one_line(error)}"
        raise ConfigurationError(msg) from error
    try:
        return msgspec.convert(data if data is not None else {}, record)
    except msgspec.ValidationError as error:
        told = _in_words(str(error), data, record)
        msg = f"{path}: {told}; the file's format is described by its JSON Schema (see docs/app.md)"
        raise ConfigurationError(msg) from error


def schema_of(record: type) -> dict[str, Any]:
    """Return the JSON Schema of ``record``, the same on every Python (3.13 strips docstrings, older ones do not)."""

    def clean(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: cleandoc(value) if key == "description" else clean(value) for key, value in node.items()}
        return [clean(each) for each in node] if isinstance(node, list) else node

    return dict(clean(json.loads(msgspec.json.encode(msgspec.json.schema(record)))))


def fault_of(path: Path) -> str:
    """Return why ``path`` is no file that could be opened, in words that follow its name; "" if it is one."""
    if path.is_file():
        return ""
    return "is a folder, expected a file" if path.is_dir() else "no such file"


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no UTF-8 text; save the file as UTF-8"
    return f"{fault_of(path) or error.strerror}; check the path"


# req: REQ_8510
def _in_words(text: str, data: Any, record: type[Any]) -> str:
    """Return msgspec's sentence with place (no ``[...]``), nearest field and value found."""
    what, _, place = text.partition(" - at `$.")
    field, gap, below = place.rstrip("`").partition("[...]")
    path = [field] if field else []
    if gap:
        record = get_args({each.name: each.type for each in fields(record)}[field])[1]
        broken = (str(name) for name, value in data[field].items() if not _fits(value, record))
        path += [next(broken, "?"), *below.split(".")[1:]]
    return "".join([".".join(path), ": " if path else "", what, _addition(what, data, path, record)])


def _addition(what: str, data: Any, path: list[str], record: type[Any]) -> str:
    if unknown := re.search("unknown field `(.*)`", what):
        return f" ({nearest(unknown[1], [each.encode_name for each in fields(record)])})"
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return f", found {data!r}" if isinstance(data, str | int | float) else ""


def _fits(value: Any, record: type[Any]) -> bool:
    try:
        msgspec.convert(value, record)
    except msgspec.ValidationError:
        return False
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def nearest(name: str, known: list[str]) -> str:
    """Return the closing words of a message about an unknown name: the nearest ones, or all."""
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"known: {', '.join(known) or 'none'}"
