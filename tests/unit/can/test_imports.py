"""What the CAN connector loads and never loads: no DBC, no layer above frames, python-can for real buses only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taktora.can
from tests.patience import PATIENCE_S

_SOURCES = sorted(Path(taktora.can.__file__).parent.glob("*.py"))
_LAYERS_ABOVE = re.compile(r"iso_?tp|iso_?15765|j1939|uds|canopen|cantools|dbc", re.IGNORECASE)

_LOADED = "\nprint(*sorted(sys.modules), sep='\\n')\n"

_EVERY_MODULE = """
import importlib, pkgutil, sys
import taktora.can
for module in pkgutil.walk_packages(taktora.can.__path__, "taktora.can."):
    importlib.import_module(module.name)
"""

_ON_A_BUS = """
import sys
from taktora.can import *
from taktora.codec import JsonCodec
from taktora.connector import ConnectorGateway
from taktora_sim.world import World

def carry(world, interface, receive, sent):
    iface = CanIface("can0")
    connector = CanConnector(world.runtime, CanConnectorOptions(ifaces=(iface,)), [interface], JsonCodec())
    channel = can_channel("a", CanRouting(iface, CanId(1)))
    reader = connector.create_reader(channel, int)
    writer = connector.create_writer(can_channel("b", CanRouting(iface, CanId(2))), int)
    gateway = ConnectorGateway.builder(world.runtime).build()
    gateway.register(connector)
    gateway.start()
    world.run_for(1_000_000)
    receive(CanFrame(1, b"7"))
    writer.send(8)
    world.run_for(1_000_000)
    assert [envelope.value for envelope in reader.drain()] == [7]
    assert [frame.data for frame in sent()] == [b"8"]
    gateway.close()
"""

_ON_THE_MOCK = f"""{_ON_A_BUS}
from taktora.testing.mock_can import MockCanInterface
mock = MockCanInterface("can0")
carry(World(1), mock, mock.inject_frame, lambda: mock.sent)
"""

_ON_THE_SIMULATED_BUS = f"""{_ON_A_BUS}
from taktora_sim.can import SimulatedCanBus
class Peer:
    frames = []
    def on_frame(self, frame): self.frames.append(frame)
    def on_state(self, state, reason): pass
world = World(1)
bus = SimulatedCanBus(world, "vehicle", 1_000_000)
peer = bus.node("peer").interface()
peer.open(Peer())
carry(world, bus.node("app").interface("can0"), peer.send, lambda: Peer.frames)
"""


def _modules_after(script: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after ``script``."""
    done = subprocess.run(
        [sys.executable, "-c", script + _LOADED], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.verifies("REQ_0640", "REQ_0641", "REQ_0603")
def test_loading_every_module_of_the_connector_loads_no_layer_above_and_no_backend() -> None:
    modules = _modules_after(_EVERY_MODULE)

    assert "taktora.can.socketcan" in modules
    assert "taktora.codec.dbc" not in modules
    assert {module for module in modules if _LAYERS_ABOVE.fullmatch(module.rpartition(".")[2])} == set()
    assert _packages(modules) & {"can", "cantools", "isotp", "j1939"} == set()


@pytest.mark.verifies("REQ_0603", "REQ_0640", "REQ_0641")
@pytest.mark.parametrize(
    "script", [pytest.param(_ON_THE_MOCK, id="mock"), pytest.param(_ON_THE_SIMULATED_BUS, id="simulated bus")]
)
def test_carrying_frames_without_a_real_bus_loads_no_python_can(script: str) -> None:
    packages = _packages(_modules_after(script))

    assert "taktora" in packages
    assert packages & {"can", "cantools", "isotp", "j1939"} == set()


@pytest.mark.verifies("REQ_0603", "REQ_0640", "REQ_0641")
@pytest.mark.parametrize("source", _SOURCES, ids=lambda path: path.name)
def test_no_source_of_the_connector_imports_them_later_either(source: Path) -> None:
    imported = _imports(ast.parse(source.read_text(encoding="utf-8")))

    assert {name for name in imported if _LAYERS_ABOVE.search(name)} == set()
    assert "can" not in _packages(imported) or source.name == "socketcan.py"


def _imports(tree: ast.Module) -> set[str]:
    """Return what is imported anywhere in ``tree``, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
