"""One script, two buses, one log per socket: the kernel's own logs stand beside the scripts, both buses give them.

In the world ``sim`` the simulated bus is held to them, in ``rig`` the kernel and its driver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taktora_hil.can_script import KernelScripts, differences
from taktora_hil.rig_can import why_no_rig
from taktora_sim.can.script import Script, ScriptLogs, logs_text, parse_script, run_script
from taktora_sim.can.script.drawn import random_script
from tests.real_can import needs_command

pytestmark = [pytest.mark.world("sim", "rig"), pytest.mark.verifies("REQ_8206", "REQ_8202")]

_FOLDER = Path(__file__).parent / "scripts"
_SCRIPTS = sorted(_FOLDER.glob("*.can"))
_DIGESTS = _FOLDER / "random.sha256"
_RANDOM = 200
_AT_ONCE = 20

Run = Callable[[Script | Path], ScriptLogs]


@pytest.fixture(scope="module")
def _kernel() -> Iterator[KernelScripts]:
    reason = why_no_rig()
    if reason:
        pytest.skip(reason)
    with KernelScripts() as kernel:
        yield kernel


@pytest.fixture
def run(world_name: str, request: pytest.FixtureRequest) -> Run:
    """Give what carries a script out in the world of the test."""
    if world_name == "sim":
        return run_script
    kernel: KernelScripts = request.getfixturevalue("_kernel")
    return kernel.run


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.stem)
def test_a_script_gives_the_logs_of_the_kernel(path: Path, world_name: str, run: Run) -> None:
    if world_name == "rig" and "\nexternal " in path.read_text(encoding="utf-8"):
        needs_command("cangen", "can-utils")

    assert logs_text(run(path)) == path.with_suffix(".logs").read_text(encoding="ascii")


@pytest.mark.parametrize("first", range(0, _RANDOM, _AT_ONCE))
def test_random_scripts_give_the_logs_of_the_kernel(first: int, world_name: str, run: Run) -> None:
    expected = dict(line.split() for line in _DIGESTS.read_text(encoding="ascii").splitlines())

    for seed in range(first, first + _AT_ONCE):
        script = parse_script(random_script(seed), f"random script {seed}")
        logs = run(script)
        if world_name == "rig":
            assert differences(logs, run_script(script), ("kernel", "simulated")) == "", f"random script {seed}"
        assert hashlib.sha256(logs_text(logs).encode()).hexdigest() == expected[str(seed)], f"random script {seed}"
