"""A project with everything that traceability joins, found by its settings: the entry for commands and scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taktora.traceability.catalogue import load_catalogue
from taktora.traceability.codelinks import CodeLink, scan_code
from taktora.traceability.config import TraceConfig, load_config
from taktora.traceability.confirm import load_confirmations
from taktora.traceability.errors import ConfigError
from taktora.traceability.formats import csv_text, json_bytes, junit_text, needs_bytes
from taktora.traceability.page import page_text
from taktora.traceability.report import trace_data
from taktora.traceability.results import load_results
from taktora.traceability.runinfo import sources_of_tests, today_hash
from taktora.traceability.verdict import Today, Trace, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taktora.traceability.model import Catalogue

__all__ = ["Project", "write_reports"]


@dataclass
class Project:
    """A project's settings with overrides: `catalogues` and `results` replace what the settings name."""

    root: Path
    catalogues: Sequence[Path] = ()
    results: Sequence[Path] = ()
    config: TraceConfig = field(init=False)

    def __post_init__(self) -> None:
        self.config = load_config(self.root)

    def catalogue(self) -> Catalogue:
        """Return the catalogue; raises CatalogueError for its problems, ConfigError where there is none."""
        paths = list(self.catalogues) or self.config.catalogue_paths()
        if not paths:
            looked = ", ".join(self.config.catalogues)
            way = "name a folder of requirement files with --catalogue or [tool.taktora.trace] catalogues"
            raise ConfigError(f"no catalogue: looked for {looked} in {self.root}; {way}")
        catalogue = load_catalogue(paths, self.root)
        if not catalogue.items:  # 0 of 0 would count as all
            looked = ", ".join(str(path) for path in paths)
            raise ConfigError(
                f"nothing in the catalogue: no [[requirement]] or other table in the .toml files of {looked}"
            )
        return catalogue

    def trace(self) -> Trace:
        """Return the verdict on the catalogue from all results as of today's sources."""
        default = self.config.at_root(self.config.results)
        paths = list(self.results) or ([default] if default.exists() else [])
        today = Today(sources_of_tests(self.config).hash_of, today_hash(self.config))
        confirmations = load_confirmations(self.config.at_root(self.config.confirmations))
        return judge(self.catalogue(), load_results(paths), today, confirmations, self.config.worlds)

    def code_links(self) -> list[CodeLink]:
        """Return the markers in the configured source folders."""
        return scan_code(self.config.code_paths(), self.root, self.config.hide)

    def data(self) -> dict[str, Any]:
        """Return the content of all reports."""
        return trace_data(self.trace(), self.code_links(), self.config.project)


# req: REQ_8605
def write_reports(data: dict[str, Any], folder: Path) -> list[Path]:
    """Write page, JSON, CSV, JUnit and needs.json into `folder` and return their paths."""
    contents = {
        "index.html": page_text(data).encode(),
        "trace.json": json_bytes(data),
        "trace.csv": csv_text(data).encode(),
        "junit.xml": junit_text(data).encode(),
        "needs.json": needs_bytes(data),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]
