"""What the transport package offers, and that both implementations satisfy the seam."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

import taktora.transport
from taktora.transport import InProcessTransport, Transport

PACKAGE = Path(taktora.transport.__file__).parent


@pytest.mark.verifies("REQ_0205")
def test_list_names_what_the_package_holds() -> None:
    held = {
        name
        for name, value in vars(taktora.transport).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }

    assert held == set(taktora.transport.__all__)


@pytest.mark.verifies("REQ_0205")
def test_only_one_module_imports_iceoryx2() -> None:
    importers = []
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [str(node.args[0].value)] if _is_lazy_import(node) else []  # type: ignore[attr-defined]
            importers += [path.name for name in names if name.split(".")[0] == "iceoryx2"]

    assert importers == ["iceoryx.py"]


def _is_lazy_import(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "import_module"
        and isinstance(node.args[0], ast.Constant)
    )


@pytest.mark.verifies("REQ_0205")
def test_in_process_transport_satisfies_the_seam() -> None:
    transport: Transport = InProcessTransport()

    transport.close()
