"""A guest's kernel is downloaded once, where that is wanted and possible; nothing goes over the network here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora_hil import guest, guest_kernel, vcan
from taktora_hil.guest_kernel import cached_kernels, download_kernel, why_no_download

pytestmark = [pytest.mark.verifies("REQ_8506", "REQ_8510")]

_DEPENDS = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n"


class Apt:
    """Stands for apt-cache, apt-get and dpkg-deb."""

    def __init__(self, depends: str = _DEPENDS, fails: str = "") -> None:
        self.called: list[str] = []
        self._depends = depends
        self._fails = fails

    def run(self, command: tuple[str, ...], cwd: Path, **_options: object) -> subprocess.CompletedProcess[str]:
        self.called.append(command[0])
        if command[0] == self._fails:
            return subprocess.CompletedProcess(command, 100, "", "W: first\nE: Unable to fetch\n")
        if command[0] == "apt-get":
            (cwd / "linux-image_6.1_amd64.deb").touch()
        if command[0] == "dpkg-deb":
            (cwd / "kernel/boot").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, self._depends if command[0] == "apt-cache" else "", "")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_a_kernel_is_downloaded_once_and_found_again(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    apt = Apt()
    monkeypatch.setattr(subprocess, "run", apt.run)

    folders = [download_kernel(environment) for _ in range(2)]

    assert apt.called == ["apt-cache", "apt-get", "dpkg-deb", "apt-cache"]
    assert cached_kernels(environment) == folders[:1] == folders[1:]
    assert [path.name for path in folders[0].iterdir()] == ["boot"]


@pytest.mark.parametrize(
    ("apt", "text"),
    [
        pytest.param(Apt(depends="linux-image-amd64\n"), "apt knows no kernel that linux-image-amd64", id="no package"),
        pytest.param(
            Apt(fails="apt-cache"), "'apt-cache depends .* failed: E: Unable to fetch; .*update", id="unknown"
        ),
        pytest.param(Apt(fails="apt-get"), "'apt-get download .* failed: E: Unable to fetch", id="no network"),
    ],
)
def test_what_apt_says_is_told_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], apt: Apt, text: str
) -> None:
    monkeypatch.setattr(subprocess, "run", apt.run)

    with pytest.raises(ConfigurationError, match=text):
        download_kernel(environment)

    assert cached_kernels(environment) == []
    assert not [path for path in Path(environment["XDG_CACHE_HOME"]).rglob("*") if path.name != "guest-kernel"][1:]


def test_it_can_be_forbidden_and_needs_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "apt-get" else name)

    assert why_no_download({"TAKTORA_GUEST_DOWNLOAD": "0"}) == "TAKTORA_GUEST_DOWNLOAD=0 forbids to download one"
    assert why_no_download({}) == "none can be downloaded without apt-get"


def test_a_kernel_that_was_named_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guest, "_why_no_emulator", lambda: "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(guest, "find_kernel", lambda *_: None)
    monkeypatch.delenv(guest.KERNEL_FOLDER, raising=False)
    assert guest.needs_kernel()

    monkeypatch.setenv(guest.KERNEL_FOLDER, str(tmp_path))

    assert not guest.needs_kernel()


@pytest.mark.parametrize("forbidden", [False, True], ids=["downloaded", "forbidden"])
def test_the_command_downloads_a_kernel_that_is_all_a_guest_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, forbidden: bool
) -> None:
    monkeypatch.setattr(vcan, "why_no_rig", lambda: "not run: no CAN here")
    monkeypatch.setattr(vcan, "why_no_guest", lambda: "not run: no kernel")
    monkeypatch.setattr(vcan, "needs_kernel", lambda: True)
    monkeypatch.setattr(vcan, "download_kernel", lambda: Path("/cache/linux-image"))
    monkeypatch.setattr(vcan, "why_no_download", lambda: "it is forbidden" if forbidden else "")

    assert vcan.main([], tmp_path) == vcan.NOT_RUN

    lines = capsys.readouterr().err.splitlines()
    expected = ["the guest has no kernel, and it is forbidden"]
    if not forbidden:
        expected = [
            f"downloading the distribution's kernel package for the guest, once; {guest_kernel.DOWNLOAD}=0 forbids it",
            f"its kernel is in {Path('/cache/linux-image')}; nothing was installed",
        ]
    assert lines == [f"vcan: {text}" for text in [*expected, "not run: no kernel"]]
    assert list(tmp_path.iterdir()) == []
