"""`taktora rig`: stand-ins for real hardware on this machine, for real protocol stacks; each ends with its command."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktora.cli.ethercat import refusals

if TYPE_CHECKING:
    from taktora.app.machine import Machine

__all__ = ["app"]

app = typer.Typer(help="Rigs: stand-ins for hardware, on this machine.", no_args_is_help=True, add_completion=False)

_POLL_S = 0.1


@app.callback()
def _group() -> None:
    """Rigs: stand-ins for hardware, on this machine."""


# req: REQ_8505
@app.command()
def ethercat(
    machine: Annotated[Path, typer.Argument(metavar="MACHINE.YAML", help="Machine file.")],
    bus: Annotated[str | None, typer.Option(help="EtherCAT bus of it (default: the only one).")] = None,
    bench: Annotated[
        Path | None, typer.Option(help="Bench file whose plants stand behind the devices.", metavar="FILE")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Fault plan; its times count from the start.", metavar="FILE")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Recording of all frames, for Wireshark.", metavar="FILE.pcapng")
    ] = None,
    keep_interface: Annotated[
        str | None, typer.Option("--keep-interface", help="Name of the interface (default: a new one).", metavar="NAME")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated devices.")] = 0,
) -> None:
    """Put the simulated segment of a machine file behind a network interface, until Ctrl-C.

    The segment runs in a process and a network namespace of its own; the interface is one end of a virtual cable to it
    and goes with this command.
    """
    from taktora.app.machine import load_machine
    from taktora.errors import ConfigurationError
    from taktora_hil.rig_ethercat import EthercatRig, why_no_rig

    with refusals():
        if reason := why_no_rig():
            raise ConfigurationError(reason.removeprefix("not run: "))
        loaded = load_machine(machine)
        name = loaded.chosen_ethercat_bus(bus, f"{machine}, --bus")
        spec = loaded.ethercat_bus(name, "--bus")
        rig = EthercatRig(
            spec,
            name,
            folder=machine.parent,
            seed=seed,
            plan=plan,
            plants=None if bench is None else _plants(bench, loaded, name),
            plants_folder=None if bench is None else bench.parent,
            record=record,
            interface=keep_interface,
        )
        with rig:
            for line in _how_to_use(rig.interface, name, machine, len(spec.devices)):
                typer.echo(line)
            if not _wait_for_ctrl_c(lambda: rig.is_alive):
                raise ConfigurationError("the segment's process has ended; its standard error says why")


def _plants(bench: Path, machine: Machine, bus: str) -> dict[str, dict[str, bool | int | float | str]]:
    """Return what a bench file puts behind the devices of a bus."""
    from taktora.app.bench import EthercatBacking, load_bench

    return load_bench(bench, machine).ethercat.get(bus, EthercatBacking()).plant


def _how_to_use(interface: str, bus: str, machine: Path, count: int) -> list[str]:
    gates = f"ETHERCAT_TEST_NIC={interface} ETHERCAT_TEST_MACHINE={machine.absolute()}"
    return [
        f"EtherCAT bus {bus!r} of {machine}: {count} SubDevices behind interface {interface}",
        "",
        "look at it:      taktora ethercat scan --nic " + interface,
        f"contract tests:  {gates} pytest --world hil tests/contract/ethercat",
        "an application:  python app.py --world system --bench bench.toml, with this in bench.toml:",
        "",
        f"    [ethercat.{bus}]",
        f'    interface = "{interface}"',
        "",
        "Ctrl-C ends it.",
    ]


def _wait_for_ctrl_c(is_alive: Callable[[], bool]) -> bool:
    """Return True at Ctrl-C, False when there is nothing to wait for any more."""
    try:
        while is_alive():
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return True
    return False
