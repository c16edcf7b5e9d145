"""The public lists of the two EtherCAT packages: what is listed is there, and loads nothing else."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import taktora.ethercat
import taktora_sim.ethercat
from tests.patience import PATIENCE_S

_PACKAGES = pytest.mark.parametrize(
    "package", [taktora.ethercat, taktora_sim.ethercat], ids=["taktora.ethercat", "taktora_sim.ethercat"]
)


@pytest.mark.verifies("REQ_8021")
@_PACKAGES
def test_the_public_list_is_sorted_and_every_name_is_there(package: ModuleType) -> None:
    assert package.__all__ == sorted(set(package.__all__))
    assert [name for name in package.__all__ if getattr(package, name, None) is None] == []
    assert set(package._HOMES) == set(package.__all__)
    assert all(getattr(package, name).__module__.startswith(package.__name__) for name in _classes(package))


@pytest.mark.verifies("REQ_8021")
@_PACKAGES
def test_another_name_is_refused_as_python_does(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Ethercat'"):
        _ = package.Ethercat


@pytest.mark.verifies("REQ_0321")
@pytest.mark.parametrize(
    ("asked", "unwanted"),
    [
        ("taktora.ethercat.EthercatBusSpec", "taktora.ethercat.connector"),
        ("taktora.ethercat.SoemDriver", "taktora.ethercat.connector"),
        ("taktora.ethercat.EthercatConnector", "taktora.ethercat.soem"),
        ("taktora_sim.ethercat.decode_frame", "taktora_sim.ethercat.devices"),
    ],
)
def test_a_name_loads_its_own_module_and_not_its_neighbours(asked: str, unwanted: str) -> None:
    package, _, name = asked.rpartition(".")
    code = f"import sys; from {package} import {name}; print({unwanted!r} in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)

    assert done.stdout.strip() == "False"


def _classes(package: ModuleType) -> list[str]:
    return [name for name in package.__all__ if isinstance(getattr(package, name), type)]
