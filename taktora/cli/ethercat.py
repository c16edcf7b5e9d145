"""`taktora ethercat`: looks at a real segment; it takes the SubDevices it finds to PRE-OP and leaves them in INIT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktora.errors import TaktoraError

if TYPE_CHECKING:
    from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
    from taktora.ethercat.scan import FoundDevice

__all__ = ["app", "refusals", "table"]

app = typer.Typer(help="EtherCAT: look at a real segment.", no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """EtherCAT: look at a real segment."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what cannot be done into one sentence on stderr and exit status 2."""
    try:
        yield
    except TaktoraError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


# req: REQ_8153
@app.command()
def scan(
    nic: Annotated[str, typer.Option("--nic", help="Network interface that the segment is plugged into.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for machine.yaml, sii/*.bin and objects/*.json.", show_default=False
        ),
    ] = None,
    diff: Annotated[
        Path | None, typer.Option("--diff", help="Machine file to compare with; exit status 1 where it differs.")
    ] = None,
    machine: Annotated[str, typer.Option(help="Name of the machine in the file that is written.")] = "machine",
    bus: Annotated[
        str | None, typer.Option(help="Name of the bus (default: cell, or the only one of --diff).", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while reading.")] = False,
) -> None:
    """Read identities, SII images and object dictionaries of a segment; write them, or compare with a machine file.

    The SubDevices leave OP: scan no machine that runs.
    """
    from taktora.ethercat.scan import describe_segment, unwatched, write_scan
    from taktora.ethercat.soem_scan import read_segment

    with refusals():
        wanted = None if diff is None else _wanted(diff, bus)
        found = read_segment(nic, (lambda _line: None) if quiet else lambda line: typer.echo(line, err=True))
        spec = describe_segment(found)
        for line in table(spec.devices):
            typer.echo(line)
        if output is not None:
            typer.echo(f"Wrote {write_scan(output, found, machine=machine, bus=bus or 'cell')}")
        for label in unwatched(spec):
            typer.echo(
                f"{label} has outputs and no watchdog on them: decide about sm_watchdog_enabled before it is used"
            )
        if diff is not None and wanted is not None:
            _compare(diff, wanted, found)


def _wanted(path: Path, bus: str | None) -> EthercatBusSpec:
    from taktora.app.machine import load_machine

    machine = load_machine(path)
    return machine.ethercat_bus(machine.chosen_ethercat_bus(bus, f"{path}, --bus"), "--bus")


def table(devices: Sequence[DeviceSpec]) -> list[str]:
    """Return one line for each device, with what it is and how many PDOs it maps."""
    if not devices:
        return ["no SubDevices"]
    width = max(len(device.label) for device in devices)
    return [f"{position:3}  {device.label:{width}}  {_facts(device)}" for position, device in enumerate(devices)]


def _facts(device: DeviceSpec) -> str:
    who = device.identity
    identity = "any identity" if who is None else f"0x{who.vendor_id:08X} 0x{who.product_code:08X} 0x{who.revision:08X}"
    pdos = f"{len(device.pdos.rx)} RxPDOs, {len(device.pdos.tx)} TxPDOs"
    more = [
        text
        for text, is_so in (
            ("CoE", device.mailbox),
            ("DC", device.distributed_clock),
            (f"alias {device.station_alias}", device.station_alias),
        )
        if is_so
    ]
    return ", ".join([f"{identity}  {pdos}", *more])


def _compare(path: Path, wanted: EthercatBusSpec, found: Sequence[FoundDevice]) -> None:
    from taktora.ethercat.scan_diff import differences

    said = differences(wanted, found, path.parent)
    for line in said:
        typer.echo(line)
    if said:
        count = "1 difference" if len(said) == 1 else f"{len(said)} differences"
        typer.echo(f"{count}: correct {path}, or the segment")
        raise typer.Exit(1)
    typer.echo(f"equal: the segment is what {path} says")
