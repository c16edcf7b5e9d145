"""One run at a time on one resource of a bench: a lease that ends with the process that holds it, however it ends.

A lease is a lock of the kernel on a file of this machine; the file itself says only who holds it, and stays behind only
where its holder was killed.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from taktora.errors import ConfigurationError

__all__ = ["DEFAULT_WAIT_S", "Lease", "lease_folder"]

DEFAULT_WAIT_S: Final = 30.0
"""How long a second run waits (REQ_8504)."""

_POLL_S: Final = 0.05
_FOR_ALL_USERS: Final = 0o666
_SHARED_FOLDER: Final = 0o1777


def lease_folder() -> Path:
    """Return the folder of the lock files: one for all users of this machine, emptied when it starts."""
    shared = Path("/run/lock")
    return (shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())) / "taktora"


# req: REQ_8504
class Lease:
    """A context manager that holds a resource; not to be taken twice in one process.

    Args:
        resource: What is held, for example ``ethercat:eth1``.
        wait_s: How long to wait for another holder.
        folder: Where the lock files are.

    Raises (on entering):
        ConfigurationError: another process holds it for longer than that; it is named. Or this is no POSIX system.
    """

    def __init__(self, resource: str, wait_s: float = DEFAULT_WAIT_S, folder: Path | None = None) -> None:
        self.resource: Final = resource
        self._wait_s = wait_s
        self._folder = folder or lease_folder()
        self._file: IO[str] | None = None

    @property
    def path(self) -> Path:
        """The lock file."""
        return self._folder / (re.sub(r"[^A-Za-z0-9._-]", "_", self.resource) + ".lease")

    def __enter__(self) -> Self:
        if sys.platform == "win32":
            raise ConfigurationError(
                f"a lease on {self.resource} needs the file locks of POSIX, this is {sys.platform}"
            )
        give_up_s = time.monotonic() + self._wait_s
        while self._file is None:
            file = self._open()
            try:
                self._lock(file, give_up_s)
                if self._is_in_place(file):
                    file.seek(0)
                    file.truncate()
                    file.write(f"{os.getpid()}\n{' '.join(sys.argv[:6])}\n")
                    file.flush()
                    self._file = file
            finally:
                if self._file is None:
                    file.close()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the resource back; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            try:
                self.path.unlink(missing_ok=True)  # while it is locked: who waits for this file sees that it is gone
            except PermissionError:
                pass  # another user made it; it says nothing without its lock
            file.close()

    def _is_in_place(self, file: IO[str]) -> bool:
        """Return whether the locked file is the one that others find, and not one that its holder has removed."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> IO[str]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._descriptor()
        except OSError as error:
            raise ConfigurationError(f"{self.path}: the lease cannot be taken ({error.strerror})") from error
        for place, mode in ((self._folder, _SHARED_FOLDER), (descriptor, _FOR_ALL_USERS)):  # whatever the umask is
            try:
                os.chmod(place, mode)  # noqa: PTH101 - a descriptor as well
            except PermissionError:
                pass  # another user made it
        return os.fdopen(descriptor, "r+", encoding="utf-8")

    def _descriptor(self) -> int:
        """Open the file of whoever made it, or make it: the kernel refuses O_CREAT on a file of another user here."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            for more in (0, os.O_CREAT | os.O_EXCL):
                try:
                    return os.open(self.path, flags | more, _FOR_ALL_USERS)
                except (FileNotFoundError, FileExistsError):
                    continue  # made or gone in between

    def _lock(self, file: IO[str], give_up_s: float) -> None:
        import fcntl  # POSIX only

        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_s:
                    raise ConfigurationError(self._refusal(file)) from None
                time.sleep(_POLL_S)
            else:
                return

    def _refusal(self, file: IO[str]) -> str:
        file.seek(0)
        pid, _, command = file.read().strip().partition("\n")
        holder = f"process {pid} ({command})" if pid else "another process"
        return (
            f"{self.resource} is held by {holder}, waited {self._wait_s:g} s; one run at a time: wait for its end, and "
            "run the tests of a bench without -n"
        )
