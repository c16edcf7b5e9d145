"""Where servers of simulated buses and their clients find each other: one private folder of the user on this machine.

Per channel it holds ``<channel>.lock``, held by the living server and let go by the operating system whatever ends
it, and ``<channel>.json``, which says how to reach that server. What a killed server leaves is overwritten by the next.
"""

from __future__ import annotations

import getpass
import json
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote, unquote

from taktora.errors import ConfigurationError

__all__ = ["FOLDER_VARIABLE", "ChannelLock", "Endpoint", "RuntimeFolder"]

FOLDER_VARIABLE: Final = "TAKTORA_CAN_FOLDER"
"""Environment variable that names another folder: programs share buses when they share this folder."""


@dataclass(frozen=True)
class Endpoint:
    """How to reach a server: loopback port, the secret that it wants to hear, its process and package version."""

    port: int
    token: str
    pid: int
    version: str


class RuntimeFolder:
    """The folder, made at its first use with access for its user alone.

    Raises:
        ConfigurationError: it belongs to somebody else, or cannot be made.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or _default_path()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            msg = f"folder {self.path} for simulated CAN buses cannot be made: {error.strerror}"
            raise ConfigurationError(f"{msg}; name another one in {FOLDER_VARIABLE}") from error
        if os.name == "posix":
            self._refuse_strangers()

    def file(self, channel: str, kind: str) -> Path:
        """Return the path of a file of ``channel``; characters that no file may have in its name are replaced."""
        return self.path / f"{quote(channel, safe='')}.{kind}"

    def channels(self) -> list[str]:
        """Return the channels that have a living server, in order of their names."""
        names = sorted(unquote(path.stem) for path in self.path.glob("*.json"))
        return [name for name in names if ChannelLock(self, name).is_held()]

    def endpoint(self, channel: str) -> Endpoint | None:
        """Return what the last server of ``channel`` has left, or None."""
        try:
            return Endpoint(**json.loads(self.file(channel, "json").read_text("ascii")))
        except (OSError, ValueError, TypeError):
            return None

    def publish(self, channel: str, endpoint: Endpoint) -> None:
        """Tell how to reach the server of ``channel``, at once as a whole."""
        target = self.file(channel, "json")
        draft = self.file(channel, f"json.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump(asdict(endpoint), file)
        draft.replace(target)

    def withdraw(self, channel: str) -> None:
        """Take the word back; idempotent."""
        with suppress(OSError):
            self.file(channel, "json").unlink()

    def complaint(self, channel: str) -> Path:
        """Return where a server in the background says what it died of."""
        return self.file(channel, "died")

    def _refuse_strangers(self) -> None:
        """Refuse a folder that another user can enter, or has laid out as a link."""
        info = self.path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            msg = f"{self.path} for simulated CAN buses is no folder of this user alone"
            raise ConfigurationError(f"{msg}; make it one (chmod 700), or name another in {FOLDER_VARIABLE}")


class ChannelLock:
    """Who holds it serves the channel. The end of the process lets it go, whatever ended it."""

    def __init__(self, folder: RuntimeFolder, channel: str) -> None:
        self._path = folder.file(channel, "lock")
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take the lock without waiting; False when another process has it."""
        file = self._path.open("ab")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def is_held(self) -> bool:
        """Tell whether a living process has it."""
        if self._file is not None:
            return True
        taken = self.take()
        self.release()
        return not taken

    def release(self) -> None:
        """Let it go; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _default_path() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "taktora-can"
    user = os.getuid() if os.name == "posix" else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"taktora-can-{user}"


def _lock(file: IO[bytes]) -> None:
    """Lock the first byte of ``file`` for this process; OSError when another one has it."""
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
