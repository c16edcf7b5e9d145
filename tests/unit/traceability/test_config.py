"""Tests of a project's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

import taktora.traceability
from taktora.traceability import ConfigError, find_root, load_config


@pytest.mark.verifies("REQ_8600")
def test_a_project_without_settings_uses_requirements_and_reports(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()

    found = load_config(tmp_path)

    assert found.catalogue_paths() == [tmp_path / "requirements"]
    assert (found.results, found.reports, found.record, found.worlds) == (
        "reports/results",
        "reports/trace",
        False,
        ("sim", "rig", "hil"),
    )


@pytest.mark.verifies("REQ_8600")
def test_patterns_name_nested_projects_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / "examples" / name / "requirements").mkdir(parents=True)
    settings = '[tool.taktora.trace]\ncatalogues = ["none", "examples/*/requirements"]\n'
    (tmp_path / "pyproject.toml").write_text(settings)

    found = load_config(tmp_path).catalogue_paths()

    assert [path.relative_to(tmp_path).parts[1] for path in found] == ["a", "b"]


@pytest.mark.verifies("REQ_8604")
def test_the_application_is_the_code_unless_named(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.taktora.trace]\ncode = ["src"]\n')
    by_default = load_config(tmp_path).application_paths()
    (tmp_path / "pyproject.toml").write_text('[tool.taktora.trace]\ncode = ["src"]\napplication = []\n')

    assert by_default == [tmp_path / "src"]
    assert load_config(tmp_path).application_paths() == []


@pytest.mark.verifies("REQ_8600")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.taktora.trace]\nrecord = 1\n", r"\[tool.taktora.trace\]: Expected `bool`, got `int` - at `\$.record`"),
        ('[tool.taktora.trace]\nroot = "x"\n', "contains unknown field `root`; known settings: catalogues, code"),
        ("[tool", "pyproject.toml: not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path)


@pytest.mark.verifies("REQ_8600")
def test_the_root_is_the_nearest_folder_with_a_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert find_root(tmp_path / "a" / "b") == tmp_path.resolve()


@pytest.mark.verifies("REQ_8600")
def test_the_public_names_exist_and_are_sorted() -> None:
    names = taktora.traceability.__all__

    assert all(hasattr(taktora.traceability, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
