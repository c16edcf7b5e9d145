"""Leases: one holder at a time, told by name, and free again as soon as the holder is gone, however it went."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora_hil.leases import Lease
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="not run: leases need the file locks of POSIX")

_HOLDER = """
import sys
from pathlib import Path
from taktora_hil.leases import Lease
with Lease("ethercat:eth1", folder=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.verifies("REQ_8504", "REQ_8510")
def test_the_second_run_waits_and_fails_with_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process, pytest.raises(ConfigurationError) as caught:
        Lease("ethercat:eth1", wait_s=0.2, folder=tmp_path).__enter__()

    assert str(caught.value) == (
        f"ethercat:eth1 is held by process {process.pid} (-c {tmp_path}), waited 0.2 s; one run at a time: "
        "wait for its end, and run the tests of a bench without -n"
    )


@pytest.mark.verifies("REQ_8504")
def test_a_killed_holder_frees_the_lease(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()

        with Lease("ethercat:eth1", wait_s=5.0, folder=tmp_path) as lease:
            assert lease.path.read_text().split()[0] != str(process.pid)


@pytest.mark.verifies("REQ_8504")
def test_who_waits_gets_it_when_it_is_given_back(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()

        with Lease("ethercat:eth1", wait_s=PATIENCE_S, folder=tmp_path):
            assert process.wait(PATIENCE_S) == 0

    assert list(tmp_path.iterdir()) == []


_TAKER = """
import sys
from pathlib import Path
from taktora_hil.leases import Lease
folder = Path(sys.argv[1])
for turn in range(50):
    with Lease("ethercat:eth1", wait_s=60.0, folder=folder):
        count = folder / "count"
        seen = int(count.read_text())
        count.write_text(str(seen + 1))
"""


@pytest.mark.verifies("REQ_8504")
def test_several_runs_never_hold_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", _TAKER, str(tmp_path)]

    takers = [subprocess.Popen(command) for _number in range(3)]

    assert [taker.wait(PATIENCE_S) for taker in takers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"


@pytest.mark.verifies("REQ_8504")
def test_other_resources_are_not_held(tmp_path: Path) -> None:
    with Lease("ethercat:eth1", folder=tmp_path), Lease("can:can0", wait_s=0, folder=tmp_path) as other:
        assert other.path.name == "can_can0.lease"


@pytest.mark.verifies("REQ_8504")
def test_a_lease_can_be_taken_again(tmp_path: Path) -> None:
    for _turn in range(2):
        with Lease("ethercat:eth1", wait_s=0, folder=tmp_path) as lease:
            lease.release()
            lease.release()


@pytest.mark.verifies("REQ_8504", "REQ_8510")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match=r"file/ethercat_eth1.lease: the lease cannot be taken \("):
        Lease("ethercat:eth1", folder=tmp_path / "file").__enter__()
