"""A small virtual machine on this machine's own files, with a distribution's kernel: for what this kernel lacks.

The guest sees the root file system of this machine, read-only and covered by a RAM disk, so that programs, virtual
environments and checkouts are where they are here and nothing that it writes stays; one folder is shared for writing,
and that is how results come back. It has no network. QEMU emulates the processor in software, so no privilege and no
/dev/kvm is needed. It ends with its command, at its time limit, or with the process that started it, by the kernel's
hand: nothing is left behind.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from taktora.errors import ConfigurationError
from taktora_hil.guest_image import Kernel, find_kernel, is_dynamic, pack_initramfs, unpacked_module
from taktora_hil.guest_kernel import cached_kernels

__all__ = ["CAN_MODULES", "KERNEL_FOLDER", "Guest", "GuestTimeout", "needs_kernel", "why_no_guest"]

CAN_MODULES: Final = ("vcan", "vxcan", "can-raw", "can-bcm", "can-gw", "can-isotp", "can-j1939", "sch_plug", "sch_tbf")
"""CAN as a rig needs it; the last two make a transmit queue that is full or slow."""
KERNEL_FOLDER: Final = "TAKTORA_GUEST_KERNEL"
"""Environment variable: the folder that a kernel package was unpacked into.

Unset: the installed kernels in /boot, then those that were downloaded before.
"""

_GUEST_MODULES: Final = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_EMULATOR: Final = "qemu-system-x86_64"
_MACHINE: Final = "x86_64"
_BUSYBOX: Final = "busybox"
_MICRO_FOLDERS: Final = ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "root")
_TIMED_OUT: Final = 143
"""What busybox's timeout ends with when it had to end the command: 128 + SIGTERM."""

_INIT: Final = """#!/bin/busybox sh
b=/bin/busybox
fail() {{ echo "guest: $1"; echo "failed: $1" >/dev/ttyS1; $b poweroff -f; }}
$b mount -t devtmpfs dev /dev || fail "no /dev"
for module in /modules/*; do $b insmod $module || fail "module $module does not load"; done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose machine /lower || fail "no root"
$b mount -t tmpfs upper /upper && $b mkdir /upper/data /upper/work || fail "no RAM disk"
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root || fail "no overlay"
for kind in proc:proc sysfs:sys devtmpfs:dev tmpfs:dev/shm tmpfs:run; do
    $b mkdir -p /root/${{kind#*:}}; $b mount -t ${{kind%:*}} guest /root/${{kind#*:}} || fail "no /${{kind#*:}}"
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 shared /root{shared} || fail "no shared folder"
$b ip link set lo up
echo started >/dev/ttyS1
$b timeout -k 5 {limit_s} $b chroot /root /bin/sh -c {command} </dev/null
echo "ended: $?" >/dev/ttyS1
$b sync
$b poweroff -f
"""


class GuestTimeout(ConfigurationError):
    """A guest did not end in time and was killed."""


# req: REQ_8507, REQ_8510
def why_no_guest(modules: Sequence[str] = CAN_MODULES) -> str:
    """Return why this machine cannot run a guest with ``modules``, as ``not run: ...``; empty when it can."""
    reason = _why_no_emulator()
    if reason:
        return reason
    if _kernel_for(modules) is None:
        return (
            f"not run: {_kernel_roots()[0]} holds no kernel with the modules {', '.join(modules)}; apt-get install "
            "linux-image-amd64 (the cloud kernel has no CAN), have 'nox -s vcan' download it, or unpack the package "
            f"that this one depends on with dpkg-deb -x and name the folder in {KERNEL_FOLDER}"
        )
    return ""


def needs_kernel(modules: Sequence[str] = CAN_MODULES) -> bool:
    """Say whether a kernel with ``modules`` is all that a guest lacks, and nobody has said where it is."""
    return not os.environ.get(KERNEL_FOLDER) and _kernel_for(modules) is None and not _why_no_emulator()


def _why_no_emulator() -> str:
    if sys.platform != "linux":
        return f"not run: a guest needs Linux, this is {sys.platform}"
    if platform.machine() != _MACHINE:
        return f"not run: a guest runs this machine's programs on {_MACHINE}, this is {platform.machine()}"
    tools = {_EMULATOR: "qemu-system-x86", _BUSYBOX: "busybox-static", "setpriv": "util-linux"}
    missing = [f"{tool} (package {package})" for tool, package in tools.items() if not _is_usable(tool)]
    if missing:
        return (
            f"not run: a guest needs {' and '.join(missing)}; apt-get install {'it' if len(missing) == 1 else 'them'}"
        )
    return ""


def _is_usable(tool: str) -> bool:
    """Say whether a program is here, and needs no library where it is the only file there is."""
    path = shutil.which(tool)
    return path is not None and (tool != _BUSYBOX or not is_dynamic(Path(path)))


# req: REQ_8506
@dataclass(kw_only=True)
class Guest:
    """One boot of a guest for one command.

    Args:
        shared: Folder that the guest may write to; it is at the same place there.
        modules: Kernel modules that it loads, as ``modprobe`` takes them.
        memory_mib: Size of its RAM, the RAM disk included.
        processors: Emulated processors.
        limit_s: How long the command may take.
        boot_limit_s: How long the way to the command may take.
        shutdown_limit_s: How long powering off may take.
    """

    shared: Path
    modules: Sequence[str] = CAN_MODULES
    memory_mib: int = 1536
    processors: int = 1
    limit_s: float = 240.0
    boot_limit_s: float = 180.0
    shutdown_limit_s: float = 20.0
    facts: dict[str, Any] = field(default_factory=dict)
    """What the last run had: ``kernel``, its version."""

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        console: IO[bytes] | None = None,
    ) -> int:
        """Boot, run ``command`` as root in ``folder``, power off; return the command's exit status.

        Args:
            command: Program and arguments, as on this machine.
            folder: Working directory; what is written there is lost, but below ``shared``.
            environment: Variables of the command beside PATH, HOME and LANG.
            console: Where the guest's console goes; None: standard output.

        Raises:
            ConfigurationError: this machine cannot run a guest, or the guest did not come up; the text says why.
            GuestTimeout: boot or command took too long.
        """
        reason = why_no_guest(self.modules)
        if reason:
            raise ConfigurationError(reason)
        kernel = _kernel_for(self.modules)
        assert kernel is not None
        self.facts["kernel"] = kernel.version
        script = _command_line(command, folder, environment or {})
        with _memory_file("initramfs") as image, _memory_file("status") as status:
            image.write(self._initramfs(kernel, script))
            image.flush()
            self.emulate(self._emulator(kernel, image, status), (image, status), console)
            status.seek(0)
            return exit_status(status.read().decode(errors="replace"), self.limit_s)

    def _initramfs(self, kernel: Kernel, script: str) -> bytes:
        busybox = shutil.which(_BUSYBOX)
        assert busybox is not None
        init = _INIT.format(
            shared=shlex.quote(str(self.shared.resolve())), limit_s=int(self.limit_s), command=shlex.quote(script)
        )
        files = {"init": init.encode(), "bin/busybox": Path(busybox).read_bytes()}
        for number, path in enumerate(kernel.in_load_order((*_GUEST_MODULES, *self.modules))):
            files[f"modules/{number:02}-{path.name.partition('.')[0]}.ko"] = unpacked_module(path)
        return pack_initramfs(files, _MICRO_FOLDERS)

    def _emulator(self, kernel: Kernel, image: BinaryIO, status: BinaryIO) -> list[str]:
        shares = {"machine": "/", "shared": str(self.shared.resolve())}
        read_only = {"machine": ",readonly=on", "shared": ""}
        arguments = ["setpriv", "--pdeathsig", "KILL", _EMULATOR, "-accel", "tcg", "-cpu", "max", "-nodefaults"]
        arguments += ["-display", "none", "-no-reboot", "-m", str(self.memory_mib), "-smp", str(self.processors)]
        arguments += ["-kernel", str(kernel.image), "-initrd", _path_of(image)]
        arguments += ["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off"]
        arguments += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        arguments += ["-serial", f"file:{_path_of(status)}"]
        for tag, path in shares.items():
            options = f"id={tag},path={path.replace(',', ',,')},security_model=none,multidevs=remap{read_only[tag]}"
            arguments += ["-fsdev", f"local,{options}", "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return arguments

    def emulate(self, arguments: Sequence[str], files: Sequence[BinaryIO], console: IO[bytes] | None = None) -> None:
        """Run the emulator with these open files until it ends; kill it at the end of all limits.

        Raises:
            GuestTimeout: it was killed.
            ConfigurationError: it failed.
        """
        limit_s = self.boot_limit_s + self.limit_s + self.shutdown_limit_s
        fds = [file.fileno() for file in files]
        with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=console, pass_fds=fds) as emulator:  # noqa: S603
            try:
                status = emulator.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise GuestTimeout(f"the guest did not end within {limit_s:g} s and was killed") from None
            finally:
                emulator.kill()
        if status:
            raise ConfigurationError(f"{_EMULATOR} ended with exit status {status}; its standard error says why")


def _memory_file(name: str) -> BinaryIO:
    """Open a file that is nowhere on a disk, so that nobody has to remove it."""
    return os.fdopen(os.memfd_create(name), "w+b")


def _path_of(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def _kernel_roots() -> list[Path]:
    named = os.environ.get(KERNEL_FOLDER)
    return [Path(named)] if named else [Path("/"), *cached_kernels()]


def _kernel_for(modules: Sequence[str]) -> Kernel | None:
    found = (find_kernel(root, (*_GUEST_MODULES, *modules)) for root in _kernel_roots())
    return next(filter(None, found), None)


def _command_line(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root", "LANG": "C.UTF-8", **environment}
    return f"cd {shlex.quote(str(folder.resolve()))} && exec env -i {_assignments(variables)} {shlex.join(command)}"


def _assignments(variables: Mapping[str, str]) -> str:
    return " ".join(shlex.quote(f"{name}={value}") for name, value in variables.items())


def exit_status(told: str, limit_s: float) -> int:
    """Return the command's exit status from what the guest wrote on its second serial port."""
    lines = told.split("\n")
    for line in map(str.strip, lines):
        if line.startswith("ended: "):
            status = int(line.removeprefix("ended: "))
            if status in (_TIMED_OUT, 128 + 9):
                raise GuestTimeout(f"the command in the guest was ended after its limit of {limit_s:g} s")
            return status
        if line.startswith("failed: "):
            raise ConfigurationError(f"the guest did not come up: {line.removeprefix('failed: ')}")
    raise ConfigurationError(
        f"the guest ended before its command did; it had told {' '.join(lines).strip() or 'nothing'}"
    )
