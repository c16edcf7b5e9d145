"""Requirement traceability: catalogue, pytest plugin, report writers; imports no runtime package."""

from __future__ import annotations

from taktora.traceability.catalogue import load_catalogue, read_catalogue
from taktora.traceability.codelinks import CodeLink, scan_code
from taktora.traceability.config import TraceConfig, find_root, load_config
from taktora.traceability.confirm import Confirmation, load_confirmations, save_confirmations
from taktora.traceability.errors import (
    CatalogueError,
    ConfigError,
    LimitBroken,
    Problem,
    ResultError,
    TraceError,
    UnknownId,
)
from taktora.traceability.gate import (
    TOTAL,
    Coverage,
    Threshold,
    coverage,
    load_baseline,
    load_thresholds,
    lost,
    missed,
    parse_threshold,
)
from taktora.traceability.measure import Measure
from taktora.traceability.model import Catalogue, Item
from taktora.traceability.project import Project, write_reports
from taktora.traceability.report import trace_data
from taktora.traceability.results import Measurement, Result, Run, load_results, merge_results, update_results
from taktora.traceability.verdict import ANY, Cell, Evidence, FeatureCell, Today, Trace, judge

__all__ = [
    "ANY",
    "TOTAL",
    "Catalogue",
    "CatalogueError",
    "Cell",
    "CodeLink",
    "ConfigError",
    "Confirmation",
    "Coverage",
    "Evidence",
    "FeatureCell",
    "Item",
    "LimitBroken",
    "Measure",
    "Measurement",
    "Problem",
    "Project",
    "Result",
    "ResultError",
    "Run",
    "Threshold",
    "Today",
    "Trace",
    "TraceConfig",
    "TraceError",
    "UnknownId",
    "coverage",
    "find_root",
    "judge",
    "load_baseline",
    "load_catalogue",
    "load_config",
    "load_confirmations",
    "load_results",
    "load_thresholds",
    "lost",
    "merge_results",
    "missed",
    "parse_threshold",
    "read_catalogue",
    "save_confirmations",
    "scan_code",
    "trace_data",
    "update_results",
    "write_reports",
]
