"""Sets on the wire: one value has one encoding in every process, and nothing else changes its place."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import msgspec
import pytest

from taktora.codec import Codec, JsonCodec, MsgPackCodec
from taktora.codec.sets import may_hold_sets
from tests.patience import PATIENCE_S

_CODECS = [pytest.param(JsonCodec(), id="json"), pytest.param(MsgPackCodec(), id="msgpack")]
_LETTERS = [f"{letter}{number}" for letter in "qwertz" for number in range(3)]


class Colour(Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Pair(NamedTuple):
    name: str
    words: set[str]


class Leaf(msgspec.Struct, frozen=True):
    name: str


class Circle(msgspec.Struct, array_like=True, tag=True):
    names: set[str]


class Native(msgspec.Struct, array_like=True):
    numbers: list[int]
    names: frozenset[str]


@dataclass(frozen=True)
class Message:
    words: set[str]
    mixed: set[int | str | None]
    colours: frozenset[Colour]
    sets: set[frozenset[str]]
    leaves: set[Leaf]
    circle: Circle
    native: Native
    pair: Pair
    by_name: dict[str, list[set[str]]]
    late: set[str] = field(init=False, default_factory=lambda: set(_LETTERS))


class Spread(msgspec.Struct, frozen=True):
    """Holds sets, and no record."""

    words: set[str]
    rows: tuple[frozenset[bytes], ...]

    def __post_init__(self) -> None:
        assert isinstance(self.words, set)


def message(names: list[str]) -> Message:
    return Message(
        words=set(names),
        mixed={*names, 3, 20, None},
        colours=frozenset(Colour),
        sets={frozenset(names[:5]), frozenset(names[5:7]), frozenset(names[7:])},
        leaves={Leaf(name) for name in names},
        circle=Circle(set(names)),
        native=Native([3, 1, 2], frozenset(names)),
        pair=Pair("pair", set(names)),
        by_name={"z": [set(names)], "a": []},
    )


def spread(names: list[str]) -> Spread:
    return Spread(set(names), (frozenset(name.encode() for name in names), frozenset()))


def encode(codec: Codec, value: Any) -> bytes:
    view = memoryview(bytearray(8192))
    return bytes(view[: codec.encode_into(value, view)])


def print_encodings() -> None:
    """What the fresh processes run."""
    for value in (message(_LETTERS), spread(_LETTERS), {"plain": [set(_LETTERS)]}, set(_LETTERS)):
        for parameters in _CODECS:
            print(encode(parameters.values[0], value).hex())  # type: ignore[arg-type]


def _encodings_in_a_fresh_process(hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.unit.codec.test_sets import print_encodings; print_encodings()"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.split()


@pytest.mark.verifies("REQ_0212", "REQ_0989", "REQ_8002")
def test_sets_are_the_same_bytes_in_every_process() -> None:
    first, second = (_encodings_in_a_fresh_process(seed) for seed in ("1", "2"))

    assert len(first) == 8
    assert first == second


@pytest.mark.verifies("REQ_0212", "REQ_0989")
@pytest.mark.parametrize("codec", _CODECS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Spread({"b", "a"}, (frozenset({b"y", b"x"}), frozenset())), id="record"),
        pytest.param(Native([2, 1], frozenset({"b", "a"})), id="native array"),
        pytest.param(Circle({"b", "a"}), id="tagged"),
        pytest.param(Pair("p", {"b", "a"}), id="named tuple"),
    ],
)
def test_records_with_sets_round_trip_and_are_left_as_they_were(value: Any, codec: Codec) -> None:
    encoded = encode(codec, value)

    assert codec.decode(type(value), memoryview(encoded)) == value
    assert encode(codec, codec.decode(type(value), memoryview(encoded))) == encoded


@pytest.mark.verifies("REQ_0212")
def test_items_of_a_set_lie_by_length_and_then_by_value_and_dicts_keep_their_order() -> None:
    value = {"z": {"b", "aa", "a"}, "a": {100, 20, 3, 1}, "m": [2, 1]}

    assert encode(JsonCodec(), value) == b'{"z":["a","b","aa"],"a":[1,3,20,100],"m":[2,1]}'


@pytest.mark.verifies("REQ_0212")
def test_a_frozen_dataclass_whose_annotations_cannot_be_resolved_is_ordered_too() -> None:
    @dataclass(frozen=True, slots=True)
    class Local:
        words: Unknown  # type: ignore[name-defined]  # noqa: F821 - it is the point
        count: int

    assert encode(JsonCodec(), Local({"b", "a"}, 1)) == b'{"words":["a","b"],"count":1}'


@pytest.mark.verifies("REQ_0212")
@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(int, id="number"),
        pytest.param(Annotated[list[float], "m"], id="annotated list"),
        pytest.param(dict[str, tuple[int, ...]] | None, id="optional dict"),
        pytest.param(NewType("Id", str), id="new type"),
        pytest.param(Literal["a", "b"], id="literal"),
        pytest.param(Colour, id="enum"),
    ],
)
def test_what_cannot_hold_a_set_is_told_by_its_annotation(annotation: Any) -> None:
    assert not may_hold_sets(annotation)


@pytest.mark.verifies("REQ_0212")
@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(set[int], id="set"),
        pytest.param(frozenset, id="bare"),
        pytest.param(list[Leaf], id="record, or its subclass"),
        pytest.param(Any, id="any"),
        pytest.param(list, id="list of anything"),
    ],
)
def test_what_may_hold_a_set_is_looked_at(annotation: Any) -> None:
    assert may_hold_sets(annotation)
