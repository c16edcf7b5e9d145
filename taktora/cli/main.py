"""The `taktora` command: finds its sub-commands by entry point; it loads one only to run it or to list it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXTRAS = {
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "simpy": "sim",
    "can": "can",
    "cantools": "can",
}
"""The extra of taktora that brings a third-party module."""


def missing_extra(error: ImportError) -> str:
    """Return the one sentence for a module that cannot be imported: what is missing and what to install."""
    name = (error.name or str(error)).partition(".")[0]
    if name in EXTRAS:
        missing = f"needs the module {name}, which is not installed: python -m pip install 'taktora[{EXTRAS[name]}]'"
        return f"{missing}, or 'taktora[all]' for everything"
    return f"cannot be loaded: {error}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run `taktora`; exits 0 when all is well, 1 when a check failed, 2 on wrong usage or a missing extra."""
    try:
        from taktora.cli.group import build
    except ModuleNotFoundError as error:
        sys.stderr.write(f"taktora {missing_extra(error)}\n")
        raise SystemExit(2) from None
    build()(args=None if argv is None else list(argv), prog_name="taktora")


if __name__ == "__main__":
    main()
