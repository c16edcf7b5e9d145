"""The bench file (``bench.toml``): what stands behind each resource name in one run; it never describes the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from taktora.app.files import fault_of, nearest, read_file, schema_of
from taktora.app.machine import Machine, check_can_interface
from taktora.errors import ConfigurationError

__all__ = ["Bench", "CanBacking", "EthercatBacking", "ExecutorThread", "Injector", "bench_schema", "load_bench"]


_DRIVER_SETTINGS = ("priority", "cpu", "mapping", "frame_timeout_us")


class CanBacking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands behind one CAN bus: a simulated bus, with a recording replayed on it if given, or an interface.

    ``replay`` is a log in any format python-can reads, relative to the bench file; ``replay_channel`` picks one
    channel of a log with several. ``acknowledge`` puts a listener on a simulated bus that acknowledges what no other
    node does: an application that is alone on its bus is heard. ``restbus`` sends what the other nodes of the bus's DBC
    send; its keys are those of docs/simulated-can.md. ``interface`` names a network interface and excludes all others.
    """

    simulated: bool = False
    acknowledge: Annotated[bool, msgspec.Meta(description="a simulated listener acknowledges every frame")] = False
    replay: Annotated[str, msgspec.Meta(description="recorded log, relative to this file")] | None = None
    replay_channel: str | None = None
    restbus: Annotated[dict[str, Any], msgspec.Meta(description="the rest of the bus, from its DBC")] | None = None
    interface: Annotated[str, msgspec.Meta(description="network interface, e.g. can0")] | None = None


class EthercatBacking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands behind one EtherCAT bus: a simulated segment, or a network interface.

    ``gateway`` says where the bus is driven from: in the application's process tree, or by ``taktora gateway`` in a
    process of its own. ``plant`` holds, by label of a device, the settings of what the simulated device moves. The rest
    is for the driver of a real segment, wherever it runs; see docs/ethercat-on-a-nic.md.
    """

    simulated: bool = False
    interface: Annotated[str, msgspec.Meta(description="network interface, e.g. eth1")] | None = None
    gateway: Literal["in-process", "separate"] = "in-process"
    plant: dict[str, dict[str, bool | int | float | str]] = {}
    priority: Annotated[int, msgspec.Meta(ge=1, le=99, description="SCHED_FIFO priority of the driver")] | None = None
    cpu: Annotated[int, msgspec.Meta(ge=0, description="core that the driver runs on")] | None = None
    mapping: (
        Annotated[Literal["auto", "overlap", "sequential"], msgspec.Meta(description="how SOEM lays out the image")]
        | None
    ) = None
    frame_timeout_us: (
        Annotated[int, msgspec.Meta(ge=100, le=1_000_000, description="a frame away for longer is a failed cycle")]
        | None
    ) = None


class ExecutorThread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the thread of one executor of the application is given on the wall clock; ignored in a simulated world.

    What the system refuses is told, and the run goes on without.
    """

    priority: (
        Annotated[int, msgspec.Meta(ge=1, le=99, description="SCHED_FIFO priority of the executor's thread")] | None
    ) = None
    cpus: (
        Annotated[
            tuple[Annotated[int, msgspec.Meta(ge=0)], ...],
            msgspec.Meta(min_length=1, description="cores that it may run on"),
        ]
        | None
    ) = None


class Injector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a bench brings about a fault: commands, without a shell. One may ask an operator and wait for the answer."""

    begin: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, description="command that begins the fault")]
    end: Annotated[tuple[str, ...], msgspec.Meta(description="command that ends it")] = ()
    timeout_s: Annotated[float, msgspec.Meta(gt=0, description="how long a command may take")] = 30.0


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands behind the machine's resource names, and what tests may move there."""

    bench: Annotated[str, msgspec.Meta(description="id of the bench")] = "bench"
    permits: Annotated[
        tuple[str, ...], msgspec.Meta(description="actuators that tests may move once the bench is armed")
    ] = ()
    injectors: Annotated[
        dict[str, Injector], msgspec.Meta(description="faults that the bench can bring about: kind, or device:kind")
    ] = {}
    can: dict[str, CanBacking] = {}
    ethercat: dict[str, EthercatBacking] = {}
    executor: dict[str, ExecutorThread] = {}


def load_bench(path: Path, machine: Machine | None = None) -> Bench:
    """Read a bench file and check its names against ``machine``.

    Raises:
        ConfigurationError: missing, malformed, an unknown field or resource, or contradictory backing.
    """
    bench = read_file(path, Bench)
    interfaces: dict[str, str] = {}
    for name, backing in bench.can.items():
        _check_can(path, name, backing)
        if backing.interface is not None:
            check_can_interface(backing.interface, f"{path}: can.{name}.interface", interfaces, name)
        if machine is not None and name not in machine.can:
            msg = (
                f"{path}: [can.{name}] is no CAN bus of machine {machine.machine!r}; {nearest(name, list(machine.can))}"
            )
            raise ConfigurationError(msg)
    taken: dict[str, str] = {}
    for name, segment in bench.ethercat.items():
        _check_ethercat(path, name, segment, machine)
        other = taken.setdefault(segment.interface, name) if segment.interface is not None else name
        if other != name:
            msg = f"{path}: [ethercat.{name}] and [ethercat.{other}] name one interface, {segment.interface!r}"
            raise ConfigurationError(f"{msg}; each bus has an interface of its own")
    return bench


def _check_can(path: Path, name: str, backing: CanBacking) -> None:
    is_simulated = backing.simulated or backing.acknowledge or backing.replay is not None or backing.restbus is not None
    if backing.interface is not None and is_simulated:
        msg = f"{path}: [can.{name}] names interface {backing.interface!r} and is simulated too; keep one of both"
        raise ConfigurationError(msg)
    if backing.replay is not None and backing.restbus is not None:
        msg = f"{path}: [can.{name}] has a replay and a restbus, which would send the same messages; keep one of both"
        raise ConfigurationError(msg)
    if backing.replay is not None and (fault := fault_of(path.parent / backing.replay)):
        msg = f"{path}: can.{name}.replay names {backing.replay!r}; {path.parent / backing.replay}: {fault}"
        raise ConfigurationError(msg)


def _check_ethercat(path: Path, name: str, backing: EthercatBacking, machine: Machine | None) -> None:
    if backing.interface is not None and backing.simulated:
        msg = f"{path}: [ethercat.{name}] names interface {backing.interface!r} and is simulated too; keep one of both"
        raise ConfigurationError(msg)
    given = [setting for setting in _DRIVER_SETTINGS if getattr(backing, setting) is not None]
    if backing.simulated and given:
        msg = f"{path}: [ethercat.{name}] is simulated and sets {', '.join(given)} of a real driver"
        raise ConfigurationError(f"{msg}; name an interface instead of simulated, or leave that out")
    if machine is None:
        return
    if name not in machine.ethercat:
        known = nearest(name, list(machine.ethercat))
        raise ConfigurationError(
            f"{path}: [ethercat.{name}] is no EtherCAT bus of machine {machine.machine!r}; {known}"
        )
    labels = [device.label for device in machine.ethercat[name].devices]
    for label in backing.plant:
        if label not in labels:
            known = nearest(label, labels)
            raise ConfigurationError(f"{path}: [ethercat.{name}.plant.{label}] is no device of this bus; {known}")


def bench_schema() -> dict[str, Any]:
    """Return the JSON Schema of the bench file, as published in ``bench.schema.json``."""
    return schema_of(Bench)
