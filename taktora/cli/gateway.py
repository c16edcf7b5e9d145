"""The `taktora gateway` command: drives one EtherCAT bus in a process of its own; what it does is in `taktora.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def gateway(
    machine: Annotated[Path, typer.Argument(help="Machine file.")],
    bus: Annotated[str, typer.Option("--bus", help="EtherCAT bus of the machine file.")],
    bench: Annotated[Path | None, typer.Option("--bench", help="Bench file: what stands behind the bus.")] = None,
) -> None:
    """Drive one EtherCAT bus until SIGINT or SIGTERM, for an application whose bench file says gateway = "separate".

    An application that dies leaves safe outputs; a gateway that dies is noticed by the application, and both find each
    other again when it is restarted.
    """
    import logging

    from taktora.app.gateway import build_gateway
    from taktora.errors import TaktoraError
    from taktora.runtime import Runtime

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    try:
        runtime = Runtime.system()
        try:
            build_gateway(runtime, machine, bus, bench).run()
        finally:
            runtime.close()
    except TaktoraError as error:
        typer.echo(f"taktora gateway: {error}", err=True)
        raise typer.Exit(2) from None
