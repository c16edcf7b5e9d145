"""`taktora rig`: stand-ins for real hardware on this machine, for real protocol stacks; each ends with its command."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktora.cli.ethercat import refusals

if TYPE_CHECKING:
    from taktora.app.machine import Machine
    from taktora_hil.rig_ethercat import SegmentControl

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
    """Put the simulated segment of a machine file behind a network interface, until Ctrl-C or SIGTERM.

    The segment runs in a process and a network namespace of its own; the interface is one end of a virtual cable to it
    and goes with this command.

    In a script, where a shell has what it starts with & ignore SIGINT, end it with SIGTERM: kill $!; wait $!
    """
    from taktora.app.machine import load_machine
    from taktora.errors import ConfigurationError
    from taktora_hil.rig_ethercat import EthercatRig, namespace_hint, why_no_rig

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
        with _sigterm_as_ctrl_c(), rig:
            told: set[tuple[int, str]] = set()
            try:
                for line in _how_to_use(rig.interface, name, machine, len(spec.devices), namespace_hint(os.getpid())):
                    typer.echo(line)
                _watch(lambda: rig.is_alive, (lambda: _tell_faults(rig.control, told)) if plan else None)
            except KeyboardInterrupt:
                return
            raise ConfigurationError("the segment's process has ended; its standard error says why")


def _plants(bench: Path, machine: Machine, bus: str) -> dict[str, dict[str, bool | int | float | str]]:
    """Return what a bench file puts behind the devices of a bus."""
    from taktora.app.bench import EthercatBacking, load_bench

    return load_bench(bench, machine).ethercat.get(bus, EthercatBacking()).plant


def _how_to_use(interface: str, bus: str, machine: Path, count: int, enter: str) -> list[str]:
    gates = f"ETHERCAT_TEST_NIC={interface} ETHERCAT_TEST_MACHINE={machine.absolute()}"
    return [
        f"EtherCAT bus {bus!r} of {machine}: {count} SubDevices behind interface {interface}",
        "",
        "look at it:      taktora ethercat scan --nic " + interface,
        f"your tests:      {gates} pytest --world hil",
        "an application:  python app.py --world system --bench bench.toml, with this in bench.toml:",
        "",
        f"    [ethercat.{bus}]",
        f'    interface = "{interface}"',
        "",
        *(
            [f"The interface is in this network namespace only; run all of that in it: {enter} ...", ""]
            if enter
            else []
        ),
        "Ctrl-C ends it.",
    ]


def _tell_faults(control: SegmentControl, told: set[tuple[int, str]]) -> None:
    """Print what has begun and ended since the last time, as a simulated run does, after the time of day."""
    from taktora_sim.report.scale import show_time

    for line in control.faults():
        if (line.at_ns, line.text) not in told:
            told.add((line.at_ns, line.text))
            clock = datetime.fromtimestamp(line.unix_ns / 1e9, tz=UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
            typer.echo(f"{clock}  x {show_time(line.at_ns):>14}  fault    {line.text}")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does: nothing is left behind, and recordings are whole."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(is_alive: Callable[[], bool], look: Callable[[], None] | None = None) -> None:
    """Return when there is nothing to wait for any more; ``look`` is called now and then."""
    while is_alive():
        if look is not None:
            look()
        time.sleep(_POLL_S)
