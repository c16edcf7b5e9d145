"""What the EtherCAT connector loads and never loads: SOEM's binding stays in one file, and out of the executor."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taktora.ethercat
import taktora.executor

_CONNECTOR = sorted(Path(taktora.ethercat.__file__).parent.glob("*.py"))
_EXECUTOR = sorted(Path(taktora.executor.__file__).parent.glob("*.py"))
_SURFACE = ("connector.py", "options.py", "pdo.py", "routing.py", "image.py", "typed.py")

_EVERY_MODULE = """
import importlib, pkgutil, sys
import taktora.ethercat
for module in pkgutil.walk_packages(taktora.ethercat.__path__, "taktora.ethercat."):
    importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n")
"""


def _imported(source: Path) -> set[str]:
    """Return the packages imported anywhere in ``source``, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.realizes("TEST_0211")
@pytest.mark.parametrize("source", _EXECUTOR, ids=lambda path: path.name)
def test_the_executor_imports_neither_a_bus_library_nor_an_event_loop(source: Path) -> None:
    assert _imported(source) & {"pysoem", "asyncio", "concurrent"} == set()


@pytest.mark.realizes("TEST_0211")
@pytest.mark.parametrize("source", _CONNECTOR, ids=lambda path: path.name)
def test_the_binding_of_soem_is_imported_in_one_file(source: Path) -> None:
    assert "pysoem" not in _imported(source) or source.name == "soem.py"


@pytest.mark.realizes("TEST_0211")
@pytest.mark.parametrize("name", _SURFACE)
def test_what_applications_use_names_no_type_of_a_bus_library_or_an_event_loop(name: str) -> None:
    source = Path(taktora.ethercat.__file__).parent / name

    assert _imported(source) & {"pysoem", "asyncio", "threading", "subprocess", "socket"} == set()


@pytest.mark.verifies("REQ_0321")
def test_loading_every_module_loads_no_bus_library_and_no_other_protocol() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_MODULE], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & {"pysoem", "can", "cantools", "zenoh", "paho", "taktora_sim"} == set()
