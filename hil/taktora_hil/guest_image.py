"""What a guest boots: a kernel package's image, and an initial RAM file system with its modules and one script.

Pure of QEMU: finds a kernel that has the modules, puts them in the order in which they load, packs the archive.
"""

from __future__ import annotations

import lzma
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taktora.errors import ConfigurationError

__all__ = ["Kernel", "find_kernel", "is_dynamic", "pack_initramfs", "unpacked_module"]

_MODULE_NAME: Final = re.compile(r"(?P<name>.+)\.ko(\.xz)?")
_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")
_ELF: Final = b"\x7fELF\x02\x01"
_ELF_TABLE: Final = struct.Struct("<Q")
_ELF_ENTRIES: Final = struct.Struct("<HH")
_ELF_KIND: Final = struct.Struct("<I")
_PT_INTERP: Final = 3
_VERSION: Final = re.compile(r"\d+|\D+")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a distribution, installed or only unpacked.

    Args:
        image: The boot image, ``/boot/vmlinuz-VERSION``.
        modules: Folder of its modules, ``/lib/modules/VERSION``.
    """

    image: Path
    modules: Path

    @property
    def version(self) -> str:
        return self.modules.name

    def has(self, names: Iterable[str]) -> bool:
        """Say whether every module is there as a file or built in."""
        files, built_in = self.files(), self._built_in()
        return all(_plain(name) in files or _plain(name) in built_in for name in names)

    def files(self) -> dict[str, Path]:
        """Return the file of every module, by its name with underscores."""
        found = ((_MODULE_NAME.fullmatch(path.name), path) for path in sorted(self.modules.rglob("*.ko*")))
        return {_plain(match["name"]): path for match, path in found if match}

    def in_load_order(self, names: Sequence[str]) -> list[Path]:
        """Return the files of the modules and of all they depend on, each after what it needs.

        Raises:
            ConfigurationError: a module is neither there nor built in.
        """
        files, built_in = self.files(), self._built_in()
        ordered: dict[str, Path] = {}

        def add(name: str) -> None:
            if name in ordered or name in built_in:
                return
            if name not in files:
                raise ConfigurationError(f"kernel {self.version} in {self.modules} has no module {name}")
            for needed in _needs(unpacked_module(files[name])):
                add(needed)
            ordered[name] = files[name]

        for name in names:
            add(_plain(name))
        return list(ordered.values())

    def _built_in(self) -> frozenset[str]:
        listed = self.modules / "modules.builtin"
        if not listed.exists():
            return frozenset()
        paths = listed.read_text(encoding="utf-8").split()
        return frozenset(_plain(Path(path).name.partition(".ko")[0]) for path in paths)


def find_kernel(root: Path, modules: Sequence[str]) -> Kernel | None:
    """Return the newest kernel below ``root`` that has all ``modules``; None if there is none.

    Args:
        root: ``/`` for an installed package, or the folder that ``dpkg-deb -x`` has unpacked one into.
        modules: Names as ``modprobe`` takes them.
    """
    images = sorted((root / "boot").glob("vmlinuz-*"), key=lambda path: _version_key(path.name), reverse=True)
    for image in images:
        kernel = Kernel(image, root / "lib/modules" / image.name.removeprefix("vmlinuz-"))
        if kernel.modules.is_dir() and kernel.has(modules):
            return kernel
    return None


def is_dynamic(program: Path) -> bool:
    """Say whether a program asks for a dynamic linker (ELF, 64 bit: a program header of type PT_INTERP)."""
    try:
        image = program.read_bytes()
        (table,) = _ELF_TABLE.unpack_from(image, 0x20)
        size, count = _ELF_ENTRIES.unpack_from(image, 0x36)
        kinds = [_ELF_KIND.unpack_from(image, table + number * size)[0] for number in range(count)]
    except (OSError, struct.error):
        return False
    return image.startswith(_ELF) and _PT_INTERP in kinds


def unpacked_module(path: Path) -> bytes:
    """Return a module as the kernel loads it; distributions compress theirs with xz."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def pack_initramfs(files: Mapping[str, bytes], folders: Sequence[str] = ()) -> bytes:
    """Return a cpio archive ("newc", Documentation/driver-api/early-userspace) of folders and executable files."""
    entries: list[tuple[str, int, bytes]] = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    entries += [(name, stat.S_IFREG | 0o755, data) for name, data in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entries(entries))


def _entries(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    for number, (name, mode, data) in enumerate(entries, 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        yield _padded(b"070701" + b"".join(b"%08x" % field for field in fields) + path)
        yield _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _needs(module: bytes) -> list[str]:
    found = _DEPENDS.search(module)
    return [_plain(name.decode()) for name in found.group(1).split(b",") if name] if found else []


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _version_key(name: str) -> list[tuple[int, str]]:
    """Sort 6.1.0-56 behind 6.1.0-9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _VERSION.findall(name)]
