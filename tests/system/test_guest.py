"""A guest is booted: it runs a command on this machine's files, brings back what is shared, and leaves nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from taktora_hil.guest import CAN_MODULES, Guest, GuestTimeout, why_no_guest
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.world("rig"), pytest.mark.verifies("REQ_8506")]

ROOT = Path(__file__).parents[2]
LOOK_AROUND = """
import os, pathlib, sys
shared = pathlib.Path(sys.argv[1])
loaded = {line.split()[0] for line in open("/proc/modules")}
lines = [os.uname().release, *sorted(loaded), f"uid {os.getuid()}", os.environ["GREETING"], os.getcwd()]
(shared / "seen").write_text("\\n".join(lines))
pathlib.Path("lost").write_text("x")
raise SystemExit(7)
"""
BOOT_FOR_EVER = """
import sys
from pathlib import Path
from taktora_hil.guest import Guest
Guest(shared=Path(sys.argv[1])).run(["sleep", "1000"], Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def _guest_can_be_had(world_name: str) -> None:
    reason = why_no_guest()
    if world_name == "rig" and reason:
        pytest.skip(reason)


def test_a_command_runs_on_our_files_with_can_and_only_what_is_shared_stays(tmp_path: Path) -> None:
    shared, elsewhere = tmp_path / "shared with a space", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    guest = Guest(shared=shared, limit_s=PATIENCE_S)

    status = guest.run([sys.executable, "-c", LOOK_AROUND, str(shared)], elsewhere, {"GREETING": "it's me"})

    seen = (shared / "seen").read_text(encoding="utf-8").splitlines()
    assert status == 7
    assert seen[0] == guest.facts["kernel"]
    assert {name.replace("-", "_") for name in CAN_MODULES} <= set(seen)
    assert seen[-3:] == ["uid 0", "it's me", str(elsewhere)]
    assert list(elsewhere.iterdir()) == []


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(GuestTimeout, match="after its limit of 1 s"):
        Guest(shared=tmp_path, limit_s=1).run(["sleep", "1000"], tmp_path)


def test_the_emulator_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOOT_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as owner:
        try:
            emulator = _child_of(owner.pid)
        finally:
            owner.kill()

    deadline = time.monotonic() + PATIENCE_S
    while _is_emulator(emulator):
        assert time.monotonic() < deadline, f"process {emulator} still runs"
        time.sleep(0.05)


def _child_of(pid: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        if children and _is_emulator(int(children[0])):
            return int(children[0])
        assert time.monotonic() < deadline, f"process {pid} has started no emulator"
        time.sleep(0.05)


def _is_emulator(pid: int) -> bool:
    try:
        return b"qemu" in Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    except FileNotFoundError:
        return False
