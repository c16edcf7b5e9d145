"""Fixtures that hand a test the resources of its world; they are part of the plugin and import a world when asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from taktora_hil.ethercat_bench import EthercatBench, HilMachine

__all__ = ["FIXTURE_GATES", "ethercat_bus", "ethercat_machine", "real_segment"]

FIXTURE_GATES = {"ethercat_bus": ("ETHERCAT_TEST_NIC", "ETHERCAT_TEST_MACHINE")}
"""Gates that a hil run of a test needs because it uses a fixture."""


@pytest.fixture
def ethercat_machine() -> Path:
    """Return the machine file of the segment in sim and rig; a project overrides this fixture."""
    raise pytest.UsageError(
        "ethercat_bus needs a machine file: override the fixture ethercat_machine to return its path"
    )


# req: REQ_8502, REQ_8503, REQ_8504
@pytest.fixture(scope="session")
def real_segment() -> Iterator[tuple[str, HilMachine]]:
    """Hold the segment of the bench for this run, after it was found to be the one of the machine file.

    Everything wrong with it fails each test that wants it, with one reason.
    """
    from taktora.errors import ConfigurationError
    from taktora.ethercat.soem_scan import read_segment
    from taktora_hil.ethercat_bench import load_hil_machine
    from taktora_hil.gates import GATES
    from taktora_hil.leases import Lease

    nic = os.environ["ETHERCAT_TEST_NIC"].strip()
    finding = GATES[0].look(os.environ)
    if finding.problem:
        raise ConfigurationError(finding.problem)
    machine = load_hil_machine(os.environ)
    assert machine is not None, "the gate ETHERCAT_TEST_MACHINE is not set"
    with Lease(f"ethercat:{nic}"):
        differing = machine.compare(read_segment(nic, has_objects=False))
        if differing:
            raise ConfigurationError(
                f"ETHERCAT_TEST_NIC={nic}: another segment than in {machine.path}: {'; '.join(differing)}; "
                f"'taktora ethercat scan --nic {nic} --diff {machine.path}' shows all"
            )
        yield nic, machine


# req: REQ_8500
@pytest.fixture
def ethercat_bus(request: pytest.FixtureRequest, world_name: str) -> Iterator[EthercatBench]:
    """Hand a test the EtherCAT segment of its world, with nothing running on it yet."""
    with _open(request, world_name) as bench:
        properties = request.node.user_properties
        known = dict(properties).get("fingerprint", {})
        if bench.facts:
            properties.append(("fingerprint", {**known, **bench.facts}))
        yield bench


def _open(request: pytest.FixtureRequest, world: str) -> EthercatBench:
    from taktora_hil.arming import the_bench
    from taktora_hil.ethercat_bench import RealEthercat, RigEthercat, SimulatedBench

    if world == "hil":
        nic, machine = request.getfixturevalue("real_segment")
        return RealEthercat(machine.path, nic, machine.bus, the_bench(os.environ))
    path: Path = request.getfixturevalue("ethercat_machine")
    if world == "sim":
        return SimulatedBench(path)
    from taktora_hil.rig_ethercat import why_no_rig

    reason = why_no_rig()
    if reason:
        pytest.skip(reason)
    return RigEthercat(path)
