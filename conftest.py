"""Makes pytest's own test bench available to the tests of our plugins; it configures nothing else."""

from __future__ import annotations

pytest_plugins = ["pytester"]
