"""The `[tool.taktora.trace]` table of a project's pyproject.toml; it never looks outside the project by itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from taktora.traceability.errors import ConfigError

__all__ = ["TraceConfig", "find_root", "load_config"]


class TraceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a project keeps what traceability joins; every path is relative to `root`, globs are allowed in lists.

    `catalogues`: folders or files of requirements. `code`: folders scanned for code links. `application`: files and
    folders whose content makes a result stale when it changes (default: `code`). `hide`: globs left out of both.
    `results`: folder of result files. `reports`: folder of written reports. `record`: write results on every pytest
    run. `libraries`: distributions whose versions are part of the evidence. `worlds`: columns shown even when empty.
    `thresholds`, `confirmations`: files of the commands. `project`: name on the page (default: the project's).
    `is_declared`, no setting, tells whether the project has the table at all.
    """

    catalogues: tuple[str, ...] = ("requirements",)
    code: tuple[str, ...] = ()
    application: tuple[str, ...] | None = None
    hide: tuple[str, ...] = ()
    results: str = "reports/results"
    reports: str = "reports/trace"
    record: bool = False
    worlds: tuple[str, ...] = ("sim", "rig", "hil")
    libraries: tuple[str, ...] = ("pytest",)
    thresholds: str = "requirements/thresholds.toml"
    confirmations: str = "requirements/confirmed.toml"
    project: str = ""
    root: Path = Path()
    is_declared: bool = False

    def at_root(self, path: str) -> Path:
        """Return `path` below the project's root; an absolute path stays as it is."""
        return self.root / path

    def catalogue_paths(self) -> list[Path]:
        """Return the catalogue folders that exist for the patterns, in the order given."""
        return self._expand(self.catalogues)

    def code_paths(self) -> list[Path]:
        """Return the folders and files to scan for code links."""
        return self._expand(self.code)

    def application_paths(self) -> list[Path]:
        """Return the folders and files whose content is the application under test."""
        return self._expand(self.code if self.application is None else self.application)

    def _expand(self, patterns: tuple[str, ...]) -> list[Path]:
        found: dict[Path, None] = {}
        for pattern in patterns:
            if any(sign in pattern for sign in "*?["):
                found.update(dict.fromkeys(sorted(self.root.glob(pattern))))
            elif (self.root / pattern).exists():
                found[self.root / pattern] = None
        return list(found)


_SETTINGS = tuple(name for name in TraceConfig.__struct_fields__ if name not in ("root", "is_declared"))


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a pyproject.toml, else `start` itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def load_config(root: Path) -> TraceConfig:
    """Return the settings of the project at `root`; raises ConfigError naming the setting that cannot be used."""
    file = root / "pyproject.toml"
    try:
        table = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    settings = table.get("tool", {}).get("taktora", {}).get("trace", {})
    try:
        _refuse_unknown(settings)
        config = msgspec.convert(settings, TraceConfig)
    except msgspec.ValidationError as error:
        known = ", ".join(_SETTINGS)
        raise ConfigError(f"{file}: [tool.taktora.trace]: {error}; known settings: {known}") from error
    project = config.project or table.get("project", {}).get("name", root.name)
    return msgspec.structs.replace(config, root=root, project=project, is_declared=bool(settings))


def _refuse_unknown(settings: dict[str, object]) -> None:
    for name in settings:
        if name not in _SETTINGS:
            raise msgspec.ValidationError(f"Object contains unknown field `{name}`")
