"""Keeps the examples apart where several are tested in one process: each has an 'app' and a 'scenario' of its own.

An example needs nothing of this file; pytest, typed in its folder, does not even read it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = f"{Path(__file__).parent}{os.sep}"
set_aside: dict[str, dict[str, ModuleType]] = {}
"""Modules by name, of each example but the one whose turn it is."""


def home_of(path: str | Path | None) -> str:
    """Return the name of the example that a file or folder belongs to; "" for any other."""
    text = str(path or "")
    return text.removeprefix(HERE).partition(os.sep)[0] if text.startswith(HERE) else ""


def take_turn(example: str) -> None:
    """Let the modules of one example be the ones that bear their names, and its folders those that are found first."""
    for name, module in list(sys.modules.items()):
        home = home_of(getattr(module, "__file__", None))
        if home not in ("", "conftest.py", example):
            set_aside.setdefault(home, {})[name] = sys.modules.pop(name)
    sys.modules.update(set_aside.pop(example, {}))
    sys.path.sort(key=lambda folder: home_of(folder) not in ("", example))


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector: pytest.Collector) -> None:
    """Before the files of an example are looked at, it is its turn."""
    if home := home_of(getattr(collector, "path", None)):
        take_turn(home)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before a test of an example runs, it is its turn: what is imported during the test is its own."""
    take_turn(home_of(item.path))
