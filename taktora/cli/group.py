"""The group behind `taktora`: one sub-command per entry point of `taktora.commands`, each loaded when asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, Annotated

import typer
import typer.main
from typer.core import TyperGroup

from taktora.cli.main import missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["GROUP", "CommandGroup", "build", "build_app"]

GROUP = "taktora.commands"
"""The entry-point group; each value is a typer application."""


class CommandGroup(TyperGroup):
    """A group that knows its commands by name and imports only the one that is used."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of all installed commands, sorted."""
        return sorted({*super().list_commands(ctx), *_installed()})

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Return a command, or a stand-in that says why it cannot be loaded."""
        point = _installed().get(cmd_name)
        return _load(point) if point is not None else super().get_command(ctx, cmd_name)


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> Any:
    try:
        found = point.load()
    except ImportError as error:
        return _stand_in(point.name, missing_extra(error, point.name))
    except AttributeError as error:
        return _stand_in(point.name, f"cannot be loaded: {error}")
    command = typer.main.get_command(found)
    command.name = point.name
    return command


def _stand_in(name: str, reason: str) -> Any:
    """Return a command that takes anything and ends with the one sentence and exit status 2."""
    app = typer.Typer(add_completion=False)

    def refuse() -> None:
        typer.echo(f"taktora {name} {reason}", err=True)
        raise typer.Exit(2)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command(name, help=_plain(f"Not available here: {reason}."), context_settings=settings)(refuse)
    return typer.main.get_command(app)


def _plain(text: str) -> str:
    """Return ``text`` so that typer shows its square brackets, which are markup where rich draws the help."""
    try:
        from rich.markup import escape
    except ImportError:
        return text
    return escape(text)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"taktora {version('taktora')}")
        raise typer.Exit


def _start(
    show: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Write a control application once; prove it in virtual time, on real protocol stacks, and on the machine."""


def build_app() -> typer.Typer:
    """Return the typer application behind `taktora`."""
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(cls=CommandGroup, no_args_is_help=True, add_completion=False, context_settings=settings)
    app.callback()(_start)
    return app


def build() -> Callable[..., Any]:
    """Return the `taktora` command, to be called with `args` and `prog_name`."""
    return typer.main.get_command(build_app())
