"""What an App needs besides taktora itself, by world: checked before anything is opened, and told at once."""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora.extras import missing_text, not_installed

if TYPE_CHECKING:
    from taktora.app.app import App

__all__ = ["require_extras"]


# req: REQ_8510
def require_extras(app: App, world: str, injected: Container[str] = ()) -> None:
    """Refuse an App for which modules are missing in ``world``; the protocols in ``injected`` have a back-end already.

    Raises:
        ConfigurationError: names all modules that are missing and the one command that installs them.
    """
    missing = not_installed(_modules(app, world, injected))
    if missing:
        raise ConfigurationError(f"App {app.name!r} in the world {world!r} {missing_text(missing)}")


def _modules(app: App, world: str, injected: Container[str]) -> list[str]:
    found = ["simpy"] if world == "sim" else []
    if app.buses:
        found += ["cantools"] if world == "sim" or "can" in injected else ["cantools", "can"]
    if getattr(app, "segments", None) and world == "system" and "ethercat" not in injected and sys.platform == "linux":
        found.append("pysoem")
    return found
