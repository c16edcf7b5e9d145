"""What an App needs besides taktora itself, by world: checked before anything is opened, and told at once."""

from __future__ import annotations

import sys
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from taktora.app.bench import Bench, load_bench
from taktora.errors import ConfigurationError
from taktora.extras import missing_text, not_installed

if TYPE_CHECKING:
    from taktora.app.app import App

__all__ = ["require_extras"]


# req: REQ_8510
def require_extras(app: App, world: str, injected: Container[str] = (), bench: Path | Bench | None = None) -> None:
    """Refuse an App for which modules are missing in ``world``.

    Args:
        app: The application.
        world: ``sim``, or ``system``.
        injected: Protocols that have a back-end already.
        bench: Bench file, or what it holds: buses that another process drives need nothing here.

    Raises:
        ConfigurationError: names all modules that are missing and the one command that installs them; or the bench
            file cannot be read.
    """
    missing = not_installed(_modules(app, world, injected, bench))
    if missing:
        raise ConfigurationError(f"App {app.name!r} in the world {world!r} {missing_text(missing)}")


def _modules(app: App, world: str, injected: Container[str], bench: Path | Bench | None) -> list[str]:
    found = ["simpy"] if world == "sim" else []
    if app.buses:
        found += ["cantools"] if world == "sim" or "can" in injected else ["cantools", "can"]
    if world == "system" and "ethercat" not in injected and sys.platform == "linux" and _drives(app, bench):
        found.append("pysoem")
    return found


def _drives(app: App, bench: Path | Bench | None) -> bool:
    """Return whether an EtherCAT bus of ``app`` is driven from its own process tree."""
    if not app.segments:
        return False
    backings = (load_bench(bench) if isinstance(bench, Path) else bench or Bench()).ethercat
    return any(name not in backings or backings[name].gateway != "separate" for name in app.segments)
