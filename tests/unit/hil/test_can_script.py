"""Scripts on a kernel's virtual CAN, as far as that shows without one: what is compared, needed and refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora_hil import can_script, net_device
from taktora_hil.can_script import KernelScripts, differences, run_script
from taktora_hil.rig_can import CanRig

pytestmark = [pytest.mark.verifies("REQ_8206")]

_SCRIPT = "bus a\nsocket s on a\nexternal send a 123#11\n"


class _Kernel(KernelScripts):
    """Stands for a kernel that loses every frame."""

    def run(self, source: object) -> dict[str, list[str]]:
        return {name: [] for name in run_script(Path(str(source)), world="sim")}


def test_a_script_is_carried_out_in_the_simulation_where_no_kernel_is_asked_for() -> None:
    assert run_script(_SCRIPT, world="sim") == {"s": ["123#11"]}


def test_what_differs_is_told_as_diff_does() -> None:
    assert differences({"s": ["1", "2"]}, {"s": ["1", "2"]}, ("one", "two")) == ""
    assert differences({"s": ["1", "2"]}, {"s": ["1"]}, ("one", "two")).splitlines()[-1] == "-2"


@pytest.mark.verifies("REQ_8507", "REQ_8510")
def test_missing_programs_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(ConfigurationError, match=r"^not run: script needs cansend \(package can-utils\)$"):
        run_script(_SCRIPT, world="rig")


def test_the_command_prints_what_differs_keeps_the_kernels_logs_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(can_script, "KernelScripts", _Kernel)
    equal, differing = tmp_path / "equal.can", tmp_path / "differing.can"
    equal.write_text("bus a\nsocket s on a\n", encoding="utf-8")
    differing.write_text(_SCRIPT, encoding="utf-8")
    logs = tmp_path / "logs"

    assert can_script.main([str(equal)]) == 0
    assert can_script.main([str(differing), "--write", str(logs)]) == 1

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "equal.can: 0 lines, no difference"
    assert printed[1:3] == ["--- differing.can on the kernel", "+++ differing.can simulated"]
    assert printed[-1] == "+123#11"
    assert (logs / "differing.logs").read_text(encoding="ascii") == "[s]\n"


@pytest.mark.verifies("REQ_8507")
def test_the_command_says_in_one_line_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(_rig: object) -> None:
        raise ConfigurationError("ip link add vcan0 type vcan: Error: Unknown device type.")

    monkeypatch.setattr(CanRig, "__enter__", refuse)
    monkeypatch.setattr(can_script, "why_no_rig", lambda: "not run: this kernel has no CAN")
    fine, wrong = tmp_path / "fine.can", tmp_path / "wrong.can"
    fine.write_text("bus a\nsocket s on a\n", encoding="utf-8")
    wrong.write_text("bus a\nsokcet s on a\n", encoding="utf-8")

    assert [can_script.main([str(path)]) for path in (fine, wrong, tmp_path / "no.can")] == [2, 2, 2]

    told = capsys.readouterr().err.splitlines()
    assert told[0] == "python -m taktora_hil.can_script: not run: this kernel has no CAN"
    assert "wrong.can, line 2: 'sokcet' is no statement" in told[1]
    assert told[2].endswith("no.can: No such file or directory")


@pytest.mark.verifies("REQ_8505", "REQ_8510")
@pytest.mark.skipif(sys.platform != "linux", reason="not run: network devices of Linux")
def test_a_device_that_is_not_there_is_named() -> None:
    assert net_device.exists("lo")
    assert not net_device.exists("taktora-none")
    with pytest.raises(ConfigurationError, match="network device 'taktora-none': No such device"):
        net_device.set_up("taktora-none", True)
