"""Tests of content hashes: what changes a verdict and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from taktora.traceability.hashing import TestSources, application_hash

SOURCE = """import pytest

LIMIT = 3

def helper() -> int:
    return LIMIT

@pytest.mark.slow
def test_one() -> None:
    assert helper() == 3

def test_two() -> None:
    assert True

class TestGroup:
    def test_inner(self) -> None:
        assert True

class TestKit(Base):
    pass
"""


def hash_of(root: Path, source: str, node: str, conftest: str = "") -> str | None:
    (root / "test_a.py").write_bytes(source.encode())
    (root / "conftest.py").write_text(conftest)
    return TestSources(root).hash_of(node)


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("helper() == 3", "helper() >= 3", id="its own body"),
        pytest.param("mark.slow", "mark.fast", id="its decorator"),
        pytest.param("LIMIT = 3", "LIMIT = 4", id="a constant it may use"),
        pytest.param("return LIMIT", "return LIMIT + 1", id="a helper it may use"),
    ],
)
def test_a_change_of_the_test_changes_its_hash(tmp_path: Path, old: str, new: str) -> None:
    before = hash_of(tmp_path, SOURCE, "test_a.py::test_one")

    after = hash_of(tmp_path, SOURCE.replace(old, new), "test_a.py::test_one")

    assert before != after


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            "def test_two() -> None:\n    assert True", "def test_two() -> None:\n    assert 1", id="other test"
        ),
        pytest.param("\n", "\r\n", id="line ends"),
        pytest.param("\n\n", "\n\n\n", id="blank lines"),
        pytest.param("LIMIT = 3", "LIMIT = 3  ", id="trailing space"),
        pytest.param(
            "(self) -> None:\n        assert True", "(self) -> None:\n        assert 2", id="method of a class"
        ),
    ],
)
def test_what_is_not_the_test_leaves_its_hash(tmp_path: Path, old: str, new: str) -> None:
    before = hash_of(tmp_path, SOURCE, "test_a.py::test_one")

    after = hash_of(tmp_path, SOURCE.replace(old, new), "test_a.py::test_one")

    assert before == after


@pytest.mark.verifies("REQ_8604")
def test_a_decorator_belongs_to_its_test_only(tmp_path: Path) -> None:
    before = hash_of(tmp_path, SOURCE, "test_a.py::test_two")

    assert before == hash_of(tmp_path, SOURCE.replace("mark.slow", "mark.fast"), "test_a.py::test_two")


@pytest.mark.verifies("REQ_8604")
def test_a_conftest_above_the_test_counts(tmp_path: Path) -> None:
    before = hash_of(tmp_path, SOURCE, "test_a.py::test_one")

    assert before != hash_of(tmp_path, SOURCE, "test_a.py::test_one", conftest="SEED = 1\n")


@pytest.mark.verifies("REQ_8604")
def test_parameters_of_one_function_share_a_hash(tmp_path: Path) -> None:
    assert hash_of(tmp_path, SOURCE, "test_a.py::test_one[a]") == hash_of(tmp_path, SOURCE, "test_a.py::test_one[b-1]")


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    "node",
    ["test_a.py::test_gone", "test_b.py::test_one", "test_a.py::TestGroup::test_gone", "test_a.py::TestNo::test_x"],
)
def test_a_test_that_is_gone_has_no_hash(tmp_path: Path, node: str) -> None:
    assert hash_of(tmp_path, SOURCE, node) is None


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    "node", ["test_a.py::TestKit::test_inherited", "test_a.py", "test_a.py::TestGroup::test_inner"]
)
def test_a_test_that_can_be_there_has_a_hash(tmp_path: Path, node: str) -> None:
    assert hash_of(tmp_path, SOURCE, node)


@pytest.mark.verifies("REQ_8604")
def test_a_file_that_is_no_python_counts_as_a_whole(tmp_path: Path) -> None:
    before = hash_of(tmp_path, "def test_x(:", "test_a.py::test_x")

    assert before
    assert before != hash_of(tmp_path, "def test_x(:\n pass", "test_a.py::test_x")


@pytest.mark.verifies("REQ_8604")
def test_the_application_is_its_texts_and_names_not_its_place_or_date(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "app").mkdir(parents=True)
        (tmp_path / name / "app" / "a.py").write_text("x = 1\n")
        (tmp_path / name / "app" / "__pycache__").mkdir()
        (tmp_path / name / "app" / "__pycache__" / "a.pyc").write_text(name)

    hashes = [application_hash([tmp_path / name / "app"], tmp_path / name) for name in ("one", "two")]

    assert hashes[0] == hashes[1] != ""


@pytest.mark.verifies("REQ_8604")
def test_the_application_changes_with_a_text_and_not_with_a_hidden_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = application_hash([tmp_path], tmp_path, ["*.log"])

    (tmp_path / "run.log").write_text("x")
    with_log = application_hash([tmp_path], tmp_path, ["*.log"])
    (tmp_path / "a.py").write_text("x = 2\n")

    assert before == with_log != application_hash([tmp_path], tmp_path, ["*.log"])


@pytest.mark.verifies("REQ_8604")
def test_no_configured_application_has_no_hash(tmp_path: Path) -> None:
    assert application_hash([], tmp_path) == ""


IMPORTING = """from checks import judge
from . import bench
import tools.parts as parts

def test_one() -> None:
    from tests.late import LATE
    assert judge(bench, parts, LATE)
"""


def project(root: Path) -> Path:
    files = {
        "tests/unit/__init__.py": "",
        "tests/__init__.py": "",
        "tests/unit/test_a.py": IMPORTING,
        "tests/unit/bench.py": "BENCH = 1\n",
        "tests/late.py": "LATE = 1\n",
        "tests/conftest.py": "from tests.fixtures import rig\n",
        "tests/fixtures.py": "rig = 1\n",
        "tools/parts.py": "from .deeper import x\n",
        "tools/deeper.py": "from tools import parts\nx = 1\n",
        "checks.py": "def judge(*_): return True\n",
        "press/conftest.py": "",
        "press/tests/test_press.py": "from gauge import read\ndef test_it() -> None:\n    assert read()\n",
        "press/gauge.py": "def read(): return 1\n",
        "unrelated.py": "x = 1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


# What a test asserts may stand in a module that several test files share.
@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize(
    "changed",
    ["checks.py", "tests/unit/bench.py", "tests/late.py", "tools/parts.py", "tools/deeper.py", "tests/fixtures.py"],
)
def test_what_a_test_or_a_conftest_imports_of_the_project_counts(tmp_path: Path, changed: str) -> None:
    root = project(tmp_path)
    before = TestSources(root).hash_of("tests/unit/test_a.py::test_one")

    (root / changed).write_text((root / changed).read_text() + "# and more\n")

    assert before != TestSources(root).hash_of("tests/unit/test_a.py::test_one")


@pytest.mark.verifies("REQ_8604")
def test_a_module_beside_a_conftest_is_found_as_pytest_finds_it(tmp_path: Path) -> None:
    root, node = project(tmp_path), "press/tests/test_press.py::test_it"
    before = TestSources(root).hash_of(node)

    (root / "press" / "gauge.py").write_text("def read(): return 2\n")

    assert before != TestSources(root).hash_of(node)


@pytest.mark.verifies("REQ_8604")
@pytest.mark.parametrize("changed", ["unrelated.py", "tools/parts.py", "tools/deeper.py"])
def test_what_it_does_not_import_and_what_is_the_application_leave_its_hash(tmp_path: Path, changed: str) -> None:
    root, application = project(tmp_path), ["tools/parts.py"]
    before = TestSources(root, application).hash_of("tests/unit/test_a.py::test_one")

    (root / changed).write_text((root / changed).read_text() + "# and more\n")

    assert before == TestSources(root, application).hash_of("tests/unit/test_a.py::test_one")


@pytest.mark.verifies("REQ_8604")
def test_a_module_that_is_hidden_from_the_application_is_hidden_from_the_test(tmp_path: Path) -> None:
    root = project(tmp_path)
    before = TestSources(root, hide=["tools/*"]).hash_of("tests/unit/test_a.py::test_one")

    (root / "tools" / "parts.py").write_text("")

    assert before == TestSources(root, hide=["tools/*"]).hash_of("tests/unit/test_a.py::test_one")
