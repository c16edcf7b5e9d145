"""The object dictionary: access per state, building from a description, and the file that a scan writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat.datatypes import DataType
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import (
    READ_ONLY,
    READ_WRITE,
    Access,
    DictionaryObject,
    ObjectCode,
    ObjectDictionary,
    ObjectEntry,
    load_dictionary,
)
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, EntrySpec, IdentitySpec, MailboxSpec, PdoSpec, PdosSpec, SdoSpec

pytestmark = pytest.mark.verifies("REQ_8104")

_ACCESS = st.integers(0, 0x3FF).map(Access)


def _numbers(data_type: DataType, size: int) -> st.SearchStrategy[ObjectEntry]:
    return st.builds(
        ObjectEntry,
        st.text(max_size=8),
        st.just(int(data_type)),
        st.just(8 * size),
        _ACCESS,
        st.binary(min_size=size, max_size=size),
        st.none() | st.integers(-5, 5),
        st.none() | st.integers(6, 9),
    )


def _blocks(data_type: DataType) -> st.SearchStrategy[ObjectEntry]:
    values = st.binary(max_size=12) | st.just(b"hex:AB")
    return st.builds(ObjectEntry, st.text(max_size=8), st.just(int(data_type)), st.just(96), _ACCESS, values)


_ENTRIES = st.one_of(
    _numbers(DataType.UNSIGNED16, 2),
    _numbers(DataType.INTEGER32, 4),
    _numbers(DataType.UNSIGNED64, 8),
    _numbers(DataType.BOOLEAN, 1),
    _numbers(DataType.REAL32, 4),
    _numbers(DataType.REAL64, 8),
    _blocks(DataType.VISIBLE_STRING),
    _blocks(DataType.OCTET_STRING),
)
_OBJECTS = st.builds(
    DictionaryObject,
    st.integers(0, 0xFFFF),
    st.text(max_size=8),
    st.sampled_from(ObjectCode),
    st.integers(0, 0xFFFF),
    st.dictionaries(st.integers(0, 255), _ENTRIES, min_size=1, max_size=4),
)


def _spec(**changes: object) -> DeviceSpec:
    mailbox = MailboxSpec(**changes)  # type: ignore[arg-type]
    control = EntrySpec(name="control", index=0x6040, type="u16")
    lamp = EntrySpec(name="lamp", index=0x7000, subindex=1, type="bool")
    state = EntrySpec(name="state", index=0x6000, subindex=2, type="i16")
    return DeviceSpec(
        label="axis1",
        order="DRV-1",
        identity=IdentitySpec(vendor_id=1, product_code=2, revision=3, serial=4),
        mailbox=mailbox,
        pdos=PdosSpec(
            rx=(
                PdoSpec(index=0x1600, entries=(control,)),
                PdoSpec(index=0x1601, entries=(lamp, EntrySpec(bit_length=7)), fixed=True),
            ),
            tx=(PdoSpec(index=0x1A00, entries=(state,)),),
        ),
        startup_sdos=(SdoSpec(index=0x8010, subindex=1, type="i16", value=-5),),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_OBJECTS, max_size=4))
def test_what_was_saved_is_loaded_again(
    tmp_path_factory: pytest.TempPathFactory, objects: list[DictionaryObject]
) -> None:
    file = tmp_path_factory.mktemp("dictionary") / "device.json"
    dictionary = ObjectDictionary()
    dictionary.objects.update({found.index: found for found in objects})

    dictionary.save(file)

    loaded = load_dictionary(file)
    assert {(o.index, s): e.value for o in loaded for s, e in o.entries.items()} == {
        (o.index, s): e.value for o in dictionary for s, e in o.entries.items()
    }
    assert loaded == dictionary


def test_the_file_is_readable(tmp_path: Path) -> None:
    file = tmp_path / "device.json"

    build_dictionary(_spec()).save(file)

    objects = {found["index"]: found for found in json.loads(file.read_text())["objects"]}
    assert list(objects) == sorted(objects)
    assert objects["0x1018"]["entries"][1] == {
        "subindex": 1, "name": "Vendor id", "type": 7, "bits": 32, "access": "r-r-r-", "value": 1,
    }  # fmt: skip
    assert objects["0x1008"]["entries"][0]["value"] == "DRV-1"
    assert objects["0x6040"]["entries"][0]["access"] == "rwrwrw rx"


@pytest.mark.parametrize(
    ("access", "reads", "writes"),
    [
        (READ_ONLY, {AlState.PRE_OP, AlState.SAFE_OP, AlState.OP}, set()),
        (READ_ONLY | Access.WRITE_PRE_OP, {AlState.PRE_OP, AlState.SAFE_OP, AlState.OP}, {AlState.PRE_OP}),
        (Access.WRITE_OP, set(), {AlState.OP}),
    ],
    ids=["read only", "writable in PRE-OP", "write only in OP"],
)
def test_access_is_by_state(access: Access, reads: set[AlState], writes: set[AlState]) -> None:
    assert {state for state in AlState if access.can_read(state)} == reads
    assert {state for state in AlState if access.can_write(state)} == writes


def test_a_description_gives_identity_and_names() -> None:
    dictionary = build_dictionary(_spec())

    assert [dictionary.entry(0x1018, sub).number for sub in range(5)] == [4, 1, 2, 3, 4]
    assert dictionary.entry(0x1008).value == b"DRV-1"
    assert dictionary.entry(0x1000).number == 5001


def test_a_description_gives_its_assignment_and_mapping() -> None:
    dictionary = build_dictionary(_spec())

    assert [dictionary.entry(0x1C00, sub).number for sub in range(5)] == [4, 1, 2, 3, 4]
    assert [dictionary.entry(0x1C12, sub).number for sub in range(3)] == [2, 0x1600, 0x1601]
    assert [dictionary.entry(0x1C13, sub).number for sub in range(2)] == [1, 0x1A00]
    assert [dictionary.entry(0x1601, sub).number for sub in range(3)] == [2, 0x7000_0101, 7]


def test_mapped_objects_and_startup_objects_are_there() -> None:
    dictionary = build_dictionary(_spec())

    assert dictionary.objects[0x6040].code is ObjectCode.VAR
    assert dictionary.entry(0x6000, 0).number == 2
    assert dictionary.entry(0x6000, 2).access == READ_ONLY | Access.TX_MAPPABLE
    assert dictionary.entry(0x7000, 1).access == READ_WRITE | Access.RX_MAPPABLE
    assert dictionary.entry(0x8010, 1).data_type == DataType.INTEGER16


@pytest.mark.parametrize(
    ("changes", "assignable", "configurable", "fixed"),
    [({}, True, False, False), ({"pdo_assign": False}, False, False, False), ({"pdo_config": True}, True, True, False)],
    ids=["assignment", "fixed assignment", "mapping too"],
)
def test_what_may_be_assigned_is_the_mailboxes_affair(
    changes: dict[str, bool], assignable: bool, configurable: bool, fixed: bool
) -> None:
    dictionary = build_dictionary(_spec(**changes))

    found = [dictionary.entry(index).access.can_write(AlState.PRE_OP) for index in (0x1C12, 0x1600, 0x1601)]
    assert found == [assignable, configurable, fixed]
    assert not dictionary.entry(0x1C12).access.can_write(AlState.SAFE_OP)


def test_a_missing_object_is_named() -> None:
    with pytest.raises(KeyError, match="0x2000:01"):
        ObjectDictionary().entry(0x2000, 1)


def test_what_is_missing_is_added_and_what_is_there_is_kept() -> None:
    dictionary = ObjectDictionary()
    dictionary.add_record(0x6000, "Inputs", {1: ObjectEntry("a", DataType.UNSIGNED8, 8)})
    dictionary.add_variable(0x6040, "Control", ObjectEntry("Control", DataType.UNSIGNED16, 16, value=b"\x0f\x00"))

    added = [
        dictionary.ensure(index, subindex, "new", ObjectEntry("b", DataType.UNSIGNED16, 16))
        for index, subindex in ((0x6000, 1), (0x6000, 3), (0x6040, 1), (0x7000, 2), (0x7001, 0))
    ]

    assert [entry.name for entry in added] == ["a", "b", "b", "b", "b"]
    assert [dictionary.objects[index].count for index in (0x6000, 0x6040, 0x7000, 0x7001)] == [3, 0, 2, 0]
    assert dictionary.entry(0x6040).number == 15


def _change(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"r-r-r-"', '"r-x-r-"', r"objects\[0\] \(index 0x1000\): subindex 0: access is 'r-x-r-'"),
        ('"code": "var"', '"code": "thing"', "code is 'thing', expected one of var, array, record"),
        ('"index": "0x1008"', '"index": "0x1000"', "index 0x1000 stands twice"),
        ('"value": 5001', '"value": 5001000000000', r"objects\[0\].*too big"),
        ('"bits": 32', '"size": 32', "size"),
        ("{", "{,", "JSON is malformed"),
    ],
    ids=["access", "code", "twice", "value", "unknown key", "syntax"],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    file = tmp_path / "device.json"
    build_dictionary(_spec()).save(file)
    file.write_text(_change(file.read_text(), old, new))

    with pytest.raises(ConfigurationError, match=expected) as refusal:
        load_dictionary(file)
    assert "device.json" in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json: cannot be read"):
        load_dictionary(tmp_path / "nowhere.json")
