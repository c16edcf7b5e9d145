"""Reads a description file into a typed record with errors that name file, line, place, value and way out; no writing.

Lines are known for YAML only: the TOML reader of Python tells none but that of a syntax error.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
import yaml
from msgspec.structs import fields

from taktora.errors import ConfigurationError

__all__ = ["Key", "fault_of", "named_place_in", "nearest", "place_in", "read_file", "schema_of"]

T = TypeVar("T")
Key: TypeAlias = str | int
"""A step into a file: the key of a mapping or the index of a sequence."""

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


# req: REQ_8510
_ALIASES: Final = {
    **{f"{long}{bits}{end}": f"{short}{bits}" for long, short in (("uint", "u"), ("int", "i"), ("unsigned", "u"),
       ("integer", "i"), ("float", "f"), ("real", "f")) for bits in (8, 16, 32, 64) for end in ("", "_t")},
    "boolean": "bool", "bit": "bool", "byte": "u8", "word": "u16", "dword": "u32",
    "sint": "i8", "int": "i16", "dint": "i32", "lint": "i64",
    "usint": "u8", "uint": "u16", "udint": "u32", "ulint": "u64", "real": "f32", "lreal": "f64", "float": "f32",
}  # fmt: skip
"""What other tools (IEC 61131-3, ETG.1000.6, C) call the types of entries: not read, but understood for a hint."""


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


def read_file(path: Path, record: type[T], pages: Mapping[str, str] = MappingProxyType({})) -> T:
    """Read a ``.yaml``, ``.yml`` or ``.toml`` file into ``record``.

    Args:
        path: The file.
        record: Its type.
        pages: Page of the documentation to name when something does not fit, by the first key that leads there;
            ``docs/app.md`` for every other.

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
        raise ConfigurationError(f"{path}{_syntax_text(error)}") from error
    try:
        return msgspec.convert(data if data is not None else {}, record)
    except msgspec.ValidationError as error:
        fault = _fault(str(error), data, record)
        msg = f"{place_in(path, *fault.keys)}: {fault.text}; the file's format is described by its JSON Schema"
        page = pages.get(str(fault.keys[0]) if fault.keys else "", "docs/app.md")
        raise ConfigurationError(f"{msg} (see {page})") from error


# req: REQ_8510
def place_in(path: Path, *keys: Key) -> str:
    """Return where ``keys`` lead to in the file, as ``machine.yaml:4``; the last one of them that is there counts.

    Only the name is returned where lines are not known: in TOML, and in a file that is gone or no YAML any more. It
    reads the file again: call it when something is wrong, not before.
    """
    if path.suffix == ".toml":
        return str(path)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return str(path)
    line = 1
    for key in keys:
        found = _below(node, key)
        if found is None:
            break
        line, node = found
    return f"{path}:{line}"


def named_place_in(path: Path, *keys: Key) -> str:
    """Return :func:`place_in` with the keys behind it: ``machine.yaml:4: can.vehicle.dbc``."""
    return f"{place_in(path, *keys)}: {_dotted(list(keys))}"


def _below(node: yaml.Node | None, key: Key) -> tuple[int, yaml.Node] | None:
    """Return line and value of ``key`` in a mapping or a sequence."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if key_node.value == str(key):
                return key_node.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


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


def _syntax_text(error: Exception) -> str:
    """Return what follows the file's name: ``:3: ...`` where YAML tells the line."""
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and mark is not None:
        words = ", ".join(part for part in (error.context, error.problem) if part)
        return f":{mark.line + 1}: {words}"
    return f": {' '.join(str(error).split())}"


class _Fault(NamedTuple):
    """What does not fit a record: a sentence, and the keys that lead to it."""

    text: str
    keys: tuple[Key, ...]


# req: REQ_8510
def _fault(text: str, data: Any, record: type[Any]) -> _Fault:
    """Return msgspec's sentence with place (no ``[...]``), nearest field and value found."""
    what, _, place = text.partition(" - at `")
    keys, below, kind = _follow(place.removeprefix("key` in `"), data, record)
    named = _dotted(keys)
    addition = f", found {below!r}" if isinstance(below, str | int | float) else ""
    if what.startswith("Invalid enum value"):
        what, addition = f"found {below!r}, expected one of {_choice(below, kind)}", ""
    if place.startswith("key` in `"):
        keys.append(next(key for key in below if not _fits({key: None}, dict[get_args(kind)[0], Any])))  # type: ignore[misc]
        addition = f", found {keys[-1]!r}"
    if unknown := re.search("unknown field `(.*)`", what):
        addition = f" ({nearest(unknown[1], [each.encode_name for each in fields(kind)])})"
        keys.append(unknown[1])
    return _Fault("".join([named, ": " if named else "", what, addition]), tuple(keys))


# req: REQ_8510
def _choice(found: Any, kind: Any) -> str:
    """Return the values of a Literal or an Enum, and the one that was probably meant."""
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    known = [str(each) for each in ([member.value for member in kind] if is_enum else get_args(kind))]
    said = str(found).lower()
    alias = _ALIASES.get(said)
    close = [alias] if alias in known else get_close_matches(said.replace("_", "-"), known, n=1)
    return ", ".join(known) + (f" (did you mean {close[0]!r}?)" if close else "")


def _follow(place: str, data: Any, kind: Any) -> tuple[list[Key], Any, Any]:
    """Return the keys that ``place`` stands for, what is found there and the type it should be of."""
    keys: list[Key] = []
    for name, index in _STEP.findall(place.rstrip("`")):
        kind, arguments = _plain(kind), get_args(_plain(kind))
        if name:
            kind = {each.encode_name: each.type for each in fields(kind)}[name]
        elif index == "...":
            kind = arguments[1]
            name = next(key for key, value in data.items() if not _fits(value, kind))
        else:
            name = int(index)
            kind = arguments[name if get_origin(kind) is tuple and Ellipsis not in arguments else 0]
        keys.append(name)
        data = data[name]
    return keys, data, _plain(kind)


def _plain(kind: Any) -> Any:
    """Return a type without its annotations and without ``None``."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    return kind


def _dotted(keys: list[Key]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def nearest(name: str, known: list[str]) -> str:
    """Return the closing words of a message about an unknown name: the nearest ones, or all."""
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"known: {', '.join(known) or 'none'}"
