"""Tests of reading requirement files: everything wrong is named with file, line and id."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.traceability import CatalogueError, ConfigError, UnknownId, load_catalogue, read_catalogue
from taktora.traceability.scan import scan_tables
from tests.unit.traceability.builders import FEATURE, catalogue, requirement, specification, write

ROOT = Path(__file__).parents[3]


def problems(folder: Path, **files: str) -> list[str]:
    _, found = read_catalogue([write(folder / "requirements", **files)], folder)
    return [str(problem) for problem in found]


@pytest.mark.verifies("REQ_8600")
def test_the_catalogue_of_this_project_has_no_problem() -> None:
    found, wrong = read_catalogue([ROOT / "requirements"], ROOT)

    assert wrong == []
    assert len(found.requirements) >= 755


@pytest.mark.verifies("REQ_8600")
def test_items_keep_order_place_area_and_texts(tmp_path: Path) -> None:
    found = catalogue(tmp_path, requirement("REQ_0002"), requirement("REQ_0001", extra='adaptation = "In Python."'))

    assert list(found.items) == ["FEAT_0001", "REQ_0002", "REQ_0001"]
    item = found["REQ_0001"]
    assert (item.area, item.file, item.adaptation) == ("axis", "axis.toml", "In Python.")
    assert (tmp_path / "axis.toml").read_text().splitlines()[item.line - 1] == "[[requirement]]"


@pytest.mark.verifies("REQ_8600")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            FEATURE + requirement("REQ_0001", above="FEAT_0002"),
            "requirements/axis.toml:9: REQ_0001: refines names FEAT_0002, which no file defines; "
            "did you mean FEAT_0001?",
            id="dangling",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001") + requirement("REQ_0001"),
            "requirements/axis.toml:14: REQ_0001: duplicate id, first given at requirements/axis.toml:5; "
            "ids are unique over all files",
            id="duplicate",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001", extra='adaption = "x"'),
            "requirements/axis.toml:12: REQ_0001: unknown field 'adaption' in requirement; did you mean 'adaptation'?",
            id="unknown-field",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001", extra='verification = "testing"'),
            "requirements/axis.toml:11: REQ_0001: field 'verification' is 'testing', expected one of "
            "test, hil, inspection, analysis, demonstration",
            id="choice",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001", extra='applicability = "not-applicable"'),
            "requirements/axis.toml:12: REQ_0001: not-applicable needs a 'reason'",
            id="reason",
        ),
        pytest.param(
            FEATURE + requirement("req-1"),
            "requirements/axis.toml:6: req-1: field 'id' is 'req-1', expected an id as in \"REQ_0310\" "
            "(capitals and digits joined by _)",
            id="id-shape",
        ),
        pytest.param(
            FEATURE + specification("TEST_0001", "FEAT_0001"),
            "requirements/axis.toml:10: TEST_0001: verifies names FEAT_0001, which is a feature; "
            "expected a requirement",
            id="wrong-kind",
        ),
        pytest.param(
            '[[feature]]\nid = "FEAT_0001"\ntitle = "t"\n',
            "requirements/axis.toml:1: FEAT_0001: feature lacks the field 'summary'",
            id="missing-field",
        ),
        pytest.param(
            '[[feature]]\nid = "FEAT_0001"\ntitle = 3\nsummary = "s"\n',
            "requirements/axis.toml:3: FEAT_0001: field 'title' is 3, expected a text",
            id="type",
        ),
        pytest.param(
            'a = 1\n[[rule]]\nid = "X_1"\n',
            "requirements/axis.toml:2: unknown table 'rule', expected [[feature]], [[requirement]], [[test]], "
            "[[decision]], [[block]], [[scenario]]",
            id="unknown-table",
        ),
        pytest.param(
            "requirement = [3]\n",
            "requirements/axis.toml:1: 'requirement' holds 3, expected [[requirement]] tables",
            id="no-table",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001", extra='refines = ["FEAT_0001"]'),
            "requirements/axis.toml:12: not valid TOML: ",
            id="broken-toml",
        ),
        pytest.param(
            FEATURE + requirement("REQ_0001").replace("[[requirement]]", "[requirement]"),
            "requirements/axis.toml:5: [requirement] is a single table; each entry begins with [[requirement]]",
            id="single-brackets",
        ),
        pytest.param(
            FEATURE + (requirement("REQ_0001") + requirement("REQ_0002")).replace("[[requirement]]", "[requirement]"),
            "requirements/axis.toml:5: [requirement] is a single table; each entry begins with [[requirement]]",
            id="single-brackets-twice",
        ),
    ],
)
def test_a_problem_is_named_with_file_line_and_id(tmp_path: Path, text: str, message: str) -> None:
    found = problems(tmp_path, axis=text)

    assert any(problem == message or (message.endswith(": ") and problem.startswith(message)) for problem in found)


@pytest.mark.verifies("REQ_8600")
def test_a_text_that_is_not_utf_8_is_refused_and_not_changed_in_silence(tmp_path: Path) -> None:
    folder = write(tmp_path / "requirements", axis=FEATURE)
    (folder / "other.toml").write_bytes(requirement("REQ_0001", statement="Gr\u00fcn.").encode("latin-1"))
    (folder / "allowed-dangling.toml").write_bytes(b"# gr\xfcn\n")

    _, found = read_catalogue([folder], tmp_path)

    assert [str(problem) for problem in found] == [
        "requirements/allowed-dangling.toml:1: not UTF-8: byte 0xfc; save the file as UTF-8",
        "requirements/other.toml:4: not UTF-8: byte 0xfc; save the file as UTF-8",
    ]


@pytest.mark.verifies("REQ_8600")
def test_a_byte_order_mark_as_editors_on_windows_write_it_is_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "requirements")
    (folder / "axis.toml").write_text(FEATURE + requirement("REQ_0001"), encoding="utf-8-sig")

    assert list(load_catalogue([folder]).items) == ["FEAT_0001", "REQ_0001"]


@pytest.mark.verifies("REQ_8600")
def test_ids_are_unique_over_all_files(tmp_path: Path) -> None:
    found = problems(tmp_path, axis=FEATURE + requirement("REQ_0001"), brake=requirement("REQ_0001"))

    assert found == [
        (
            "requirements/brake.toml:2: REQ_0001: duplicate id, first given at requirements/axis.toml:5; "
            "ids are unique over all files"
        )
    ]


@pytest.mark.verifies("REQ_8600")
def test_a_circle_is_named_once(tmp_path: Path) -> None:
    text = FEATURE + requirement("REQ_0001", "REQ_0002") + requirement("REQ_0002", "REQ_0001")

    found = problems(tmp_path, axis=text)

    assert found == [
        "requirements/axis.toml:13: REQ_0002: refines itself in a circle: REQ_0001 -> REQ_0002 -> REQ_0001"
    ]


@pytest.mark.verifies("REQ_8600")
def test_loading_lists_every_problem_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path, axis=requirement("REQ_0001") + requirement("REQ_0002"))

    with pytest.raises(CatalogueError, match="2 problems in the requirement catalogue") as caught:
        load_catalogue([folder], tmp_path)

    assert [problem.id for problem in caught.value.problems] == ["REQ_0001", "REQ_0002"]


@pytest.mark.verifies("REQ_8600")
def test_an_allowed_link_may_dangle_but_an_allowance_without_need_is_a_problem(tmp_path: Path) -> None:
    allow = '[[allow]]\nfrom = "REQ_0001"\nto = "FEAT_0009"\nreason = "other project"\n'
    unused = allow.replace("FEAT_0009", "FEAT_0001")

    found = problems(tmp_path, axis=FEATURE + requirement("REQ_0001", "FEAT_0009"), allowed_dangling=allow + unused)

    assert found == [
        (
            "requirements/allowed-dangling.toml:5: REQ_0001: allowed dangling link to FEAT_0001 does not dangle; "
            "take the entry out"
        )
    ]


@pytest.mark.verifies("REQ_8600")
def test_an_allowance_without_reason_allows_nothing(tmp_path: Path) -> None:
    allow = '[[allow]]\nfrom = "REQ_0001"\nto = "FEAT_0009"\n'

    found = problems(tmp_path, axis=requirement("REQ_0001", "FEAT_0009"), allowed_dangling=allow)

    assert any("an [[allow]] entry needs 'from', 'to' and 'reason'" in problem for problem in found)
    assert any("REQ_0001: refines names FEAT_0009, which no file defines" in problem for problem in found)


@pytest.mark.verifies("REQ_8600")
def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no catalogue at .*nowhere: expected a folder"):
        load_catalogue([tmp_path / "nowhere"])


@pytest.mark.verifies("REQ_8600")
def test_an_unknown_id_comes_with_its_nearest(tmp_path: Path) -> None:
    found = catalogue(tmp_path, requirement("REQ_0310"))

    with pytest.raises(UnknownId) as caught:
        found["REQ_310"]

    assert str(caught.value) == "unknown id REQ_310; did you mean REQ_0310?"


_KEYS = st.sampled_from(["id", "title", "refines", "note"])
_VALUES = st.one_of(
    st.text("ab =[]#'\t", max_size=8).map(lambda text: f'"{text}"'),
    st.just(r'"ends in \" # [[feature]]"'),
    st.just("'a \\'"),
    st.just('"""\n[[requirement]]\nid = "no"\n"""'),
    st.just("'''\n[[test]]\n'' '''"),
    st.just('[\n  "A_1", # [[feature]]\n  "B_2",\n]'),
    st.just('""" closes with four """"'),
    st.integers(0, 9).map(str),
)


@pytest.mark.verifies("REQ_8600")
@given(st.lists(st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=6))
def test_the_scanner_finds_each_table_and_key_where_it_stands(tables: list[dict[str, str]]) -> None:
    lines = ["# head"]
    expected: list[tuple[int, dict[str, int]]] = []
    for table in tables:
        expected.append((len(lines) + 1, {}))
        lines.append("[[requirement]] # one")
        for key, value in table.items():
            expected[-1][1][key] = len(lines) + 1
            lines += f"{key} = {value}".split("\n")

    found = scan_tables("\n".join(lines))

    assert [(table.line, table.keys) for table in found] == expected
