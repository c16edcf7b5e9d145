"""What is said of a network interface before SOEM is asked for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat import nic
from taktora.ethercat.soem import require_pysoem

_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="not run: raw packet sockets are there on Linux only")


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_another_platform_is_named_and_no_extra_is_asked_for_that_does_not_help_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(ConfigurationError, match=r"^network interface 'eth0': .* of Linux, this is win32$"):
        nic.check_interface("eth0")
    with pytest.raises(ConfigurationError, match=r"^real bus: .* of Linux, this is win32$"):
        require_pysoem()


@_on_linux
@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_an_interface_that_does_not_exist_is_named_beside_those_that_do() -> None:
    with pytest.raises(
        StackError,
        match=r"^network interface 'nosuch0': no such interface, there is .*\blo\b.*; 'ip link' lists them$",
    ):
        nic.check_interface("nosuch0")


_UNPRIVILEGED = """
import os
from taktora.ethercat.nic import check_interface
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    check_interface("lo")
except Exception as error:
    print(type(error).__name__, type(error.__cause__).__name__, error)
"""


@_on_linux
@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_a_missing_privilege_is_a_permission_error_with_the_way_out() -> None:
    done = subprocess.run([sys.executable, "-c", _UNPRIVILEGED], capture_output=True, text=True, check=True, timeout=50)

    assert done.stdout.startswith(
        "StackError PermissionError network interface 'lo': no permission for a raw socket; the process that drives "
        "EtherCAT needs CAP_NET_RAW and CAP_NET_ADMIN: run it as root, or 'setcap cap_net_raw,cap_net_admin+ep "
        f"{Path(sys.executable).resolve()}'"
    )  # the file behind the links of a virtual environment: setcap refuses a link
