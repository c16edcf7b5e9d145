"""Which extra of taktora brings which third-party module, and the one sentence about those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

__all__ = ["EXTRAS", "missing_text", "not_installed"]

EXTRAS: Final = {
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "simpy": "sim",
    "can": "can",
    "cantools": "can",
    "pysoem": "ethercat",
}
"""The extra of taktora that brings a third-party module."""


def not_installed(modules: Sequence[str]) -> list[str]:
    """Return those of ``modules`` that cannot be found, in their order; none of them is imported."""
    return [module for module in modules if not _is_there(module)]


# req: REQ_8510
def missing_text(modules: Sequence[str]) -> str:
    """Return what follows the name of who needs ``modules``: which they are, and the one command that installs all."""
    several = len(modules) > 1
    named = " and ".join(part for part in (", ".join(modules[:-1]), modules[-1]) if part)
    extras = ",".join(dict.fromkeys(EXTRAS[module] for module in modules))
    return (
        f"needs the module{'s' if several else ''} {named}, which {'are' if several else 'is'} not installed: "
        f"python -m pip install 'taktora[{extras}]', or 'taktora[all]' for everything"
    )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # what a finder or an entry in sys.modules says of one that is held back
        return False
