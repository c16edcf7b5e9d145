"""What a guest boots: which kernel, which modules in which order, and the archive around them."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora_hil.guest_image import find_kernel, is_dynamic, pack_initramfs, unpacked_module

pytestmark = [pytest.mark.verifies("REQ_8506")]


def _module(needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0intree=Y\0"


def _add_kernel(root: Path, version: str, modules: dict[str, str], built_in: str = "") -> Path:
    folder = root / "lib/modules" / version
    (root / "boot").mkdir(parents=True, exist_ok=True)
    (root / "boot" / f"vmlinuz-{version}").write_bytes(b"")
    for name, needs in modules.items():
        path = folder / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(_module(needs)) if path.suffix == ".xz" else _module(needs))
    (folder / "modules.builtin").write_text(built_in, encoding="utf-8")
    return folder


def test_the_newest_kernel_that_has_the_modules_is_taken(tmp_path: Path) -> None:
    _add_kernel(tmp_path, "6.1.0-9-amd64", {"net/vcan.ko": ""})
    _add_kernel(tmp_path, "6.1.0-56-amd64", {"net/vcan.ko": ""})
    _add_kernel(tmp_path, "6.1.0-57-cloud-amd64", {"fs/overlay.ko": ""})

    kernel = find_kernel(tmp_path, ["vcan"])

    assert kernel is not None
    assert (kernel.version, kernel.image.name) == ("6.1.0-56-amd64", "vmlinuz-6.1.0-56-amd64")
    assert find_kernel(tmp_path, ["can-raw"]) is None


def test_modules_come_after_what_they_need_and_built_in_ones_not_at_all(tmp_path: Path) -> None:
    modules = {
        "can/can-raw.ko.xz": "can",
        "can/can.ko.xz": "",
        "p/9p.ko": "9pnet,netfs",
        "p/9pnet.ko": "",
        "vcan.ko": "can-dev",
    }
    _add_kernel(tmp_path, "6.12", modules, "kernel/fs/netfs/netfs.ko\nkernel/drivers/net/can/dev/can-dev.ko\n")
    kernel = find_kernel(tmp_path, ["9p", "can_raw", "vcan"])
    assert kernel is not None

    names = [path.name for path in kernel.in_load_order(["9p", "can-raw", "vcan", "can"])]

    assert names == ["9pnet.ko", "9p.ko", "can.ko.xz", "can-raw.ko.xz", "vcan.ko"]


def test_a_module_whose_need_is_missing_is_named(tmp_path: Path) -> None:
    _add_kernel(tmp_path, "6.12", {"vcan.ko": "can-dev"})
    kernel = find_kernel(tmp_path, ["vcan"])
    assert kernel is not None

    with pytest.raises(ConfigurationError, match=r"kernel 6\.12 in .* has no module can_dev"):
        kernel.in_load_order(["vcan"])


def test_a_compressed_module_is_unpacked(tmp_path: Path) -> None:
    folder = _add_kernel(tmp_path, "6.12", {"can.ko.xz": "", "vcan.ko": ""})

    assert unpacked_module(folder / "kernel/can.ko.xz") == _module("")
    assert unpacked_module(folder / "kernel/vcan.ko") == _module("")


def test_the_archive_is_newc_with_aligned_entries_and_a_trailer() -> None:
    archive = pack_initramfs({"init": b"#!x\n", "bin/odd": b"12345"}, ["bin"])

    assert _entries(archive) == [
        ("bin", 0o040755, b""),
        ("init", 0o100755, b"#!x\n"),
        ("bin/odd", 0o100755, b"12345"),
        ("TRAILER!!!", 0, b""),
    ]


def _entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """Read an archive by the format's description, with none of the code under test."""
    found, at = [], 0
    while at < len(archive):
        assert (archive[at : at + 6], at % 4) == (b"070701", 0)
        fields = [int(archive[at + 6 + 8 * place : at + 14 + 8 * place], 16) for place in range(13)]
        name = archive[at + 110 : at + 110 + fields[11]]
        begin = (at + 110 + fields[11] + 3) // 4 * 4
        found.append((name.rstrip(b"\0").decode(), fields[1], archive[begin : begin + fields[6]]))
        at = (begin + fields[6] + 3) // 4 * 4
    return found


@pytest.mark.skipif(shutil.which("busybox") is None, reason="not run: needs the command busybox")
def test_another_program_unpacks_the_archive(tmp_path: Path) -> None:
    archive = pack_initramfs({"a/one": b"1"}, ["a"])

    subprocess.run(["busybox", "cpio", "-i"], input=archive, cwd=tmp_path, check=True, timeout=60, capture_output=True)

    assert (tmp_path / "a/one").read_bytes() == b"1"


def _elf(*kinds: int) -> bytes:
    """Return the head of a 64-bit program with program headers of these types behind it."""
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    head[0x20:0x28] = (64).to_bytes(8, "little")
    head[0x36:0x38], head[0x38:0x3A] = (56).to_bytes(2, "little"), len(kinds).to_bytes(2, "little")
    return bytes(head) + b"".join(kind.to_bytes(4, "little") + bytes(52) for kind in kinds)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(_elf(6, 3, 1), True, id="asks for a linker"),
        pytest.param(_elf(1, 1, 4), False, id="static"),
        pytest.param(b"#!/bin/sh\n" + bytes(80), False, id="script"),
        pytest.param(b"", False, id="empty"),
        pytest.param(_elf(1, 3)[:120], False, id="cut off"),
    ],
)
def test_a_program_that_needs_libraries_is_known(tmp_path: Path, image: bytes, expected: bool) -> None:
    (tmp_path / "program").write_bytes(image)

    assert is_dynamic(tmp_path / "program") is expected
    assert not is_dynamic(tmp_path / "none")
