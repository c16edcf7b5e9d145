"""Shared memory of another user of the computer: the refusal names the folder, its owner and the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taktora.transport.node_folder import fault_of_folder
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
NOBODY = 65534

pytestmark = [
    pytest.mark.verifies("REQ_8510"),
    pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users as Unix has them"),
]

SECOND_USER = f"""
import os, pwd, sys  # all that is needed, while it may still be read
from taktora.errors import TransportError
from taktora.transport import IceoryxTransport
import iceoryx2
config = iceoryx2.config.default()
config.global_cfg.root_path = iceoryx2.Path.new(sys.argv[1])
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
try:
    IceoryxTransport(config=config)
except TransportError as error:
    print(error)
"""


def test_a_folder_that_is_closed_is_named_with_its_owner_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pwd import getpwuid

    (tmp_path / "nodes").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path / "nodes")

    text = fault_of_folder(tmp_path)

    owner = getpwuid(os.geteuid()).pw_name
    assert text.startswith(f"folder {tmp_path}/nodes belongs to user {owner!r} and is closed to {owner!r}; ")
    assert text.endswith(f"remove the folder (sudo rm -r {tmp_path})")


def test_a_folder_that_is_open_or_not_there_is_no_fault(tmp_path: Path) -> None:
    assert fault_of_folder(tmp_path) == ""
    assert fault_of_folder(tmp_path / "none") == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becoming another user takes root")
def test_a_second_user_is_told() -> None:
    pytest.importorskip("iceoryx2")
    folder = Path("/tmp") / f"taktora-first-user-{os.getpid()}"  # pytest's own folders are closed to others anyway
    folder.mkdir(mode=0o700)
    try:
        found = subprocess.run(
            [sys.executable, "-c", SECOND_USER, str(folder)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=ROOT,
            check=False,
        )
    finally:
        folder.rmdir()

    assert f"cannot create iceoryx2 node 'taktora': folder {folder} belongs to user 'root'" in found.stdout, (
        found.stderr
    )
