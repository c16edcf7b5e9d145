"""`taktora hil`: what the bench's variables name and whether it is there; it moves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from taktora.cli.ethercat import table
from taktora.errors import TaktoraError
from taktora_hil.arming import ARMED, BENCH, the_bench
from taktora_hil.gates import GATES, Finding, look
from taktora_hil.leases import Lease

__all__ = ["app"]

app = typer.Typer(help="The hil world: tests on your own hardware.", no_args_is_help=True, add_completion=False)

_NOT_SHOWN = "MQTT_TEST_PASS"
_NIC = "ETHERCAT_TEST_NIC"


@app.callback()
def _group() -> None:
    """The hil world: tests on your own hardware."""


# req: REQ_8502
@app.command()
def status(
    scan: Annotated[
        bool, typer.Option("--scan", help="Show the SubDevices on ETHERCAT_TEST_NIC; they leave OP for it.")
    ] = False,
) -> None:
    """Show what each gate is set to, what is found and the next step; exit status 1 where a set gate has nothing."""
    findings = look(os.environ)
    bad = [finding for finding in findings if finding.problem]
    for gate, finding in zip(GATES, findings, strict=True):
        _show(finding)
        for name in gate.also:
            if os.environ.get(name):
                typer.echo(f"    {name}: {'set' if name == _NOT_SHOWN else os.environ[name]}")
        if scan and finding.variable == _NIC and finding.value and not finding.problem and not _scan(finding.value):
            bad.append(finding)
    lines, is_sound = _arming(os.environ)
    for line in lines:
        typer.echo(line)
    if bad or not is_sound:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    typer.echo(f"{finding.variable}: {finding.value or 'not set'}")
    for fact in finding.found:
        typer.echo(f"    {fact}")
    if finding.problem:
        typer.echo(f"    FAILED {finding.problem}")
    elif finding.next_step:
        typer.echo(f"    next: {finding.next_step}")


def _scan(nic: str) -> bool:
    """Show the SubDevices, and how they differ from the machine file, if there is one; return whether all is well."""
    from taktora.ethercat.scan import describe_segment
    from taktora.ethercat.soem_scan import read_segment
    from taktora_hil.ethercat_bench import load_hil_machine

    try:
        with Lease(f"ethercat:{nic}", wait_s=1.0):
            found = read_segment(nic, has_objects=False)
        for line in table(describe_segment(found).devices):
            typer.echo(f"    {line}")
        machine = load_hil_machine(os.environ)
    except TaktoraError as error:
        typer.echo(f"    FAILED {error}")
        return False
    differing = () if machine is None else machine.compare(found)
    for text in differing:
        typer.echo(f"    FAILED {text}")
    return not differing


def _arming(environment: Mapping[str, str]) -> tuple[list[str], bool]:
    """Return the lines about bench file and arming, and whether the bench file can be used."""
    try:
        bench = the_bench(environment)
    except TaktoraError as error:
        return [f"{BENCH}: {environment[BENCH]}", f"    FAILED {error}"], False
    return list(_bench_lines(environment, None if bench is None else (bench.bench, bench.permits))), True


def _bench_lines(environment: Mapping[str, str], bench: tuple[str, tuple[str, ...]] | None) -> Iterator[str]:
    if bench is None:
        yield f"{BENCH}: not set"
        yield f"    next: export {BENCH}={Path('bench.toml')}  # names the bench and what tests may move there"
    else:
        yield f"{BENCH}: {environment[BENCH]}"
        yield f"    bench {bench[0]!r} permits {', '.join(bench[1]) or 'nothing'}"
    armed = environment.get(ARMED)
    yield f"{ARMED}: {armed or 'not set'}"
    if bench is not None:
        is_armed = armed == bench[0]
        yield (
            "    armed: tests may move what the bench permits" if is_armed else f"    nothing moves; to arm: {bench[0]}"
        )
    else:
        yield "    nothing moves: there is no bench file"
