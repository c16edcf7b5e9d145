"""What is said where a guest or the CAN rig cannot be had, and what is made of what a guest tells; none is booted."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from taktora.errors import ConfigurationError
from taktora_hil import guest, rig_can, vcan
from taktora_hil.guest import Guest, GuestTimeout

NO_KERNEL = (
    "not run: {root} holds no kernel with the modules vcan, can-raw; apt-get install linux-image-amd64 "
    "(the cloud kernel has no CAN), have 'nox -s vcan' download it, or unpack the package that this one depends on "
    "with dpkg-deb -x and name the folder in TAKTORA_GUEST_KERNEL"
)


def _only(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in names else None


@pytest.fixture
def pc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the test see a PC with Linux."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("pc")
@pytest.mark.verifies("REQ_8506", "REQ_8507", "REQ_8510")
def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", _only("setpriv"))

    assert guest.why_no_guest() == (
        "not run: a guest needs qemu-system-x86_64 (package qemu-system-x86) and busybox (package busybox-static); "
        "apt-get install them"
    )
    with pytest.raises(ConfigurationError, match="a guest needs qemu-system-x86_64"):
        Guest(shared=Path()).run(["true"], Path())


@pytest.mark.usefixtures("pc")
@pytest.mark.verifies("REQ_8506", "REQ_8507", "REQ_8510")
def test_a_busybox_that_needs_libraries_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", _only("setpriv", "busybox", "qemu-system-x86_64"))
    monkeypatch.setattr(guest, "is_dynamic", lambda _path: True)

    assert guest.why_no_guest() == ("not run: a guest needs busybox (package busybox-static); apt-get install it")


@pytest.mark.usefixtures("pc")
@pytest.mark.verifies("REQ_8506", "REQ_8507", "REQ_8510")
def test_a_missing_kernel_is_told_with_the_way_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", _only("setpriv", "busybox", "qemu-system-x86_64"))
    monkeypatch.setenv(guest.KERNEL_FOLDER, str(tmp_path))

    assert guest.why_no_guest(["vcan", "can-raw"]) == NO_KERNEL.format(root=tmp_path)


@pytest.mark.verifies("REQ_8507")
@pytest.mark.parametrize(
    ("why", "what"), [pytest.param(guest.why_no_guest, "a guest"), pytest.param(rig_can.why_no_rig, "the CAN rig")]
)
def test_another_platform_is_the_reason(monkeypatch: pytest.MonkeyPatch, why: Callable[[], str], what: str) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert why() == f"not run: {what} needs Linux, this is darwin"


@pytest.mark.usefixtures("pc")
@pytest.mark.verifies("REQ_8507", "REQ_8510")
def test_another_processor_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    assert guest.why_no_guest() == "not run: a guest runs this machine's programs on x86_64, this is aarch64"


@pytest.mark.verifies("REQ_8506", "REQ_8507")
def test_without_rig_and_guest_the_command_says_why_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(vcan, "why_no_rig", lambda: "not run: no CAN here")
    monkeypatch.setattr(vcan, "why_no_guest", lambda: "not run: a guest needs qemu")
    monkeypatch.setattr(vcan, "needs_kernel", lambda: False)

    assert vcan.main([], tmp_path) == vcan.NOT_RUN
    assert capsys.readouterr().err == "vcan: not run: a guest needs qemu\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.verifies("REQ_8506")
@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        pytest.param([], ["tests/contract/can", "tests/hil/test_can.py"], id="suite"),
        pytest.param(["-k", "walk"], ["tests/contract/can", "tests/hil/test_can.py", "-k", "walk"], id="choice"),
        pytest.param(["one.py::test_x"], ["one.py::test_x"], id="other tests"),
    ],
)
def test_a_kernel_with_can_is_used_directly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], run: list[str]
) -> None:
    commands: list[list[str]] = []

    def remember(command: list[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 5)

    (tmp_path / "one.py").touch()
    monkeypatch.setattr(vcan, "why_no_rig", lambda: "")
    monkeypatch.setattr(subprocess, "run", remember)

    assert vcan.main(arguments, tmp_path) == 5
    results = str(tmp_path / "reports/results/rig-can.json")
    assert [command[command.index("--trace-results") + 1 :] for command in commands] == [[results, *run]]


class _Booted:
    """Stands for a guest; remembers what it was to run."""

    commands: ClassVar[list[list[str]]] = []
    facts: ClassVar[dict[str, str]] = {"kernel": "6.1"}

    def __init__(self, **_options: object) -> None: ...

    def run(self, command: list[str], _folder: Path, _environment: dict[str, str]) -> int:
        self.commands.append(command)
        return 1


@pytest.mark.verifies("REQ_8506")
@pytest.mark.parametrize(
    ("collected", "booted", "status"),
    [
        pytest.param(0, 1, 1, id="boots"),
        pytest.param(5, 1, 1, id="nothing chosen here"),
        pytest.param(2, 0, 2, id="a file cannot be imported"),
        pytest.param(4, 0, 4, id="wrong usage"),
    ],
)
def test_tests_are_collected_here_before_a_guest_is_booted_for_them(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    collected: int,
    booted: int,
    status: int,
) -> None:
    def collect(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        assert "--collect-only" in command
        assert "--trace-results" not in command
        return subprocess.CompletedProcess(command, collected, "what pytest says\n", "")

    monkeypatch.setattr(vcan, "why_no_rig", lambda: "not run: no CAN here")
    monkeypatch.setattr(vcan, "why_no_guest", lambda: "")
    monkeypatch.setattr(vcan, "needs_kernel", lambda: False)
    monkeypatch.setattr(vcan, "Guest", _Booted)
    monkeypatch.setattr(_Booted, "commands", [])
    monkeypatch.setattr(subprocess, "run", collect)

    assert vcan.main(["-k", "walk"], tmp_path) == status

    assert [command[-4:] for command in _Booted.commands] == [[*vcan.SUITE, "-k", "walk"]] * booted
    assert ("what pytest says" in capsys.readouterr().err) is not bool(booted)


@pytest.mark.verifies("REQ_8506")
@pytest.mark.skipif(sys.platform != "linux", reason="not run: setpriv and memory files are there on Linux only")
def test_an_emulator_that_hangs_is_killed() -> None:
    hanging = Guest(shared=Path(), limit_s=0.1, boot_limit_s=0.1, shutdown_limit_s=0.1)

    with pytest.raises(GuestTimeout, match=r"did not end within 0\.3 s and was killed"):
        hanging.emulate(["sleep", "1000"], [])


@pytest.mark.verifies("REQ_8506")
@pytest.mark.parametrize(
    ("told", "error", "text"),
    [
        pytest.param("", ConfigurationError, "it had told nothing", id="never up"),
        pytest.param("started\n", ConfigurationError, "ended before its command did; it had told started", id="crash"),
        pytest.param("failed: no root\n", ConfigurationError, "the guest did not come up: no root", id="boot"),
        pytest.param("started\nended: 143\n", GuestTimeout, "after its limit of 9 s", id="limit"),
    ],
)
def test_what_a_guest_told_is_its_outcome(told: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        guest.exit_status(told, 9)


@pytest.mark.verifies("REQ_8506")
def test_the_exit_status_of_the_command_comes_back() -> None:
    assert guest.exit_status("started\r\nended: 7\r\n", 9) == 7
