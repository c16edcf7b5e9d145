"""The `taktora` command: finds its sub-commands by entry point; it loads one only to run it or to list it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from taktora.extras import EXTRAS, missing_text, not_installed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_TYPER: Final = ("typer", "rich")
_NEEDS: Final = {"sim": (*_TYPER, "simpy")} | dict.fromkeys(("trace", "gateway", "ethercat", "rig", "hil"), _TYPER)
"""Modules that a command of ours imports before it looks at its arguments."""


def missing_extra(error: ImportError, command: str = "") -> str:
    """Return the one sentence for a module that cannot be imported: all that ``command`` lacks, and what to install."""
    name = (error.name or str(error)).partition(".")[0]
    if name in EXTRAS:
        also = [module for module in not_installed(_NEEDS.get(command, ())) if module != name]
        return missing_text([name, *also])
    return f"cannot be loaded: {error}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run `taktora`; exits 0 when all is well, 1 when a check failed, 2 on wrong usage or a missing extra."""
    try:
        from taktora.cli.group import build
    except ModuleNotFoundError as error:
        words = sys.argv[1:] if argv is None else argv
        command = next((word for word in words if not word.startswith("-")), "")
        sys.stderr.write(f"taktora {missing_extra(error, command)}\n")
        raise SystemExit(2) from None
    build()(args=None if argv is None else list(argv), prog_name="taktora")


if __name__ == "__main__":
    main()
