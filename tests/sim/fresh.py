"""Fresh processes for tests: this Python or another one, with a chosen hash seed and working directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.patience import PATIENCE_S

__all__ = ["ROOT", "CannotRun", "find_python", "hash_of", "python_with_taktora", "run_fresh"]

ROOT = Path(__file__).resolve().parent.parent.parent
_EXTRAS = "sim,can,cli"
"""What scenarios need; pysoem is not among it."""
_COMMAND = "from taktora_sim.cli import app; app(prog_name='taktora sim')"


class CannotRun(Exception):
    """Another Python is not here or cannot be set up; the text says why."""


def run_fresh(
    *arguments: str,
    python: str = sys.executable,
    hash_seed: str = "0",
    folder: Path | None = None,
    command: str = _COMMAND,
) -> subprocess.CompletedProcess[str]:
    """Run ``taktora sim ARGUMENTS`` (or another command) in a fresh process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_CORE"))}
    environment |= {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sim'}"}
    return subprocess.run(
        [python, "-W", "error", "-c", command, *arguments],
        cwd=folder or ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def hash_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the trace hash that a run printed as its last line."""
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("trace sha256:")
    return last.removeprefix("trace sha256:")


@cache
def find_python(minor: str) -> str:
    """Return an interpreter of that version (``3.12``) from PATH or from pyenv.

    Raises:
        CannotRun: there is none.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [shutil.which(f"python{minor}") or ""]
    candidates += [str(path) for path in sorted(pyenv.glob(f"{minor}.*/bin/python"))]
    for candidate in filter(None, candidates):
        if _version_of(candidate) == minor:
            return candidate
    raise CannotRun(f"there is no Python {minor} on PATH or in {pyenv}")


def _version_of(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def python_with_taktora(minor: str, cache_folder: Path) -> str:
    """Return an interpreter of that version in which this checkout can run; made once and kept in ``cache_folder``.

    Raises:
        CannotRun: there is no such Python, or its environment cannot be made.
    """
    interpreter = find_python(minor)
    home = cache_folder / minor
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = home / "made-for"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + f"{_EXTRAS}{interpreter}".encode()).hexdigest()
    with _one_at_a_time(cache_folder / f"{minor}.lock"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            _make(interpreter, home, python)
            stamp.write_text(wanted)
    return str(python)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a file, so that two workers of pytest do not make one environment; the end of a process lets it go."""
    with path.open("a") as lock:
        with suppress(ImportError):  # on Windows, where workers are kept apart by nothing
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(interpreter: str, home: Path, python: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    project = f"{ROOT}[{_EXTRAS}]"
    if uv is not None:
        _do(uv, "venv", "--quiet", "--python", interpreter, str(home))
        _do(uv, "pip", "install", "--quiet", "--python", str(python), "--editable", project)
    else:
        _do(interpreter, "-m", "venv", str(home))
        _do(str(python), "-m", "pip", "install", "--quiet", "--editable", project)


def _do(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"{' '.join(command[:3])}: {error}") from error
    if done.returncode:
        raise CannotRun(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-300:]}")
