"""The page of one simulated run: what was recorded, drawn as one self-contained HTML file."""

from __future__ import annotations

from taktora_sim.report.page import render_page, write_page
from taktora_sim.report.recorder import Check, Event, HealthChange, RunRecorder, Samples
from taktora_sim.report.summary import RunSummary

__all__ = ["Check", "Event", "HealthChange", "RunRecorder", "RunSummary", "Samples", "render_page", "write_page"]
