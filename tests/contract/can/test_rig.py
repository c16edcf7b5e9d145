"""The harness's virtual interfaces on a kernel that has them: what they are called and that they go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taktora_hil.rig_can import CanRig, why_no_rig

pytestmark = [pytest.mark.world("rig"), pytest.mark.verifies("REQ_8505")]

NET = Path("/sys/class/net")
HOLD = (
    "from taktora_hil.rig_can import CanRig; rig = CanRig(1).__enter__(); print(rig.interfaces[0], flush=True); input()"
)


@pytest.fixture(autouse=True)
def _rig_can_be_had(world_name: str) -> None:
    reason = why_no_rig()
    if world_name == "rig" and reason:
        pytest.skip(reason)


def test_two_rigs_have_interfaces_of_their_own_and_they_go_with_the_block() -> None:
    with CanRig(2) as one, CanRig(1) as other:
        names = {*one.interfaces, *other.interfaces}
        assert len(names) == 3
        assert all((NET / name).exists() for name in names)

    assert not any((NET / name).exists() for name in names)


def test_what_a_killed_process_has_left_goes_with_the_next_rig_and_what_lives_stays() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        try:
            left = owner.stdout.readline().strip()
            with CanRig(1):
                assert (NET / left).exists()
        finally:
            owner.kill()
    assert (NET / left).exists()

    with CanRig(1) as rig:
        assert rig.interfaces == (left,) or not (NET / left).exists()
        alias = (NET / rig.interfaces[0] / "ifalias").read_text(encoding="utf-8")

    assert str(owner.pid) not in alias
    assert not (NET / left).exists()
