"""What the EtherCAT rig says on a machine that cannot have it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from taktora.errors import ConfigurationError
from taktora.ethercat.network import EthercatBusSpec
from taktora_hil import rig_ethercat
from taktora_hil.cli.rig import app

_UNPRIVILEGED = """
import os
from taktora_hil.rig_ethercat import why_no_rig
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(why_no_rig())
"""


@pytest.mark.verifies("REQ_8507", "REQ_8510")
@pytest.mark.skipif(sys.platform != "linux", reason="not run: network namespaces are there on Linux only")
def test_a_missing_privilege_is_the_reason_for_not_running() -> None:
    done = subprocess.run([sys.executable, "-c", _UNPRIVILEGED], capture_output=True, text=True, check=True, timeout=50)

    assert done.stdout == (
        "not run: the EtherCAT rig needs CAP_NET_ADMIN and CAP_NET_RAW and CAP_SYS_ADMIN; run as root, or under "
        "'unshare -Urn'\n"
    )


@pytest.mark.verifies("REQ_8507")
def test_another_platform_is_the_reason_for_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    assert rig_ethercat.why_no_rig() == "not run: the EtherCAT rig needs Linux, this is win32"
    with pytest.raises(ConfigurationError, match="not run: the EtherCAT rig needs Linux"):
        rig_ethercat.EthercatRig(EthercatBusSpec()).__enter__()


@pytest.mark.verifies("REQ_8507", "REQ_8510")
@pytest.mark.skipif(rig_ethercat.why_no_rig() != "", reason="not run: this machine cannot have a rig anyway")
def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysoem", None)

    assert rig_ethercat.why_no_rig() == (
        "not run: the EtherCAT rig needs the module pysoem, which is not installed: python -m pip install "
        "'taktora[ethercat]', or 'taktora[all]' for everything"
    )


@pytest.mark.verifies("REQ_8505")
def test_the_control_is_there_inside_the_block_only() -> None:
    with pytest.raises(ConfigurationError, match="use it as a context manager"):
        _ = rig_ethercat.EthercatRig(EthercatBusSpec()).control


@pytest.mark.verifies("REQ_8505", "REQ_8510")
def test_the_command_says_why_this_machine_cannot_have_a_rig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    refused = CliRunner().invoke(app, ["ethercat", "machine.yaml"])

    assert (refused.exit_code, refused.stderr) == (2, "Error: the EtherCAT rig needs Linux, this is win32\n")
