"""The machine file (``machine.yaml``): what the machine is made of; it never says what stands behind a name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from taktora.app.files import fault_of, named_place_in, nearest, place_in, read_file, schema_of
from taktora.errors import ConfigurationError
from taktora.ethercat.network import EthercatBusSpec

__all__ = ["CanBusSpec", "Machine", "load_machine", "machine_schema"]


class CanBusSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One CAN bus of the machine.

    ``bitrate`` is in bit/s. ``data_bitrate`` makes it a bus of CAN FD. ``dbc`` is a path relative to the machine file.
    ``interface`` is the network interface of the real machine (``can0``); a bench file may name another.
    """

    bitrate: Annotated[int, msgspec.Meta(ge=10_000, le=1_000_000, description="bit/s")] = 500_000
    data_bitrate: (
        Annotated[
            int, msgspec.Meta(ge=10_000, le=8_000_000, description="bit/s of the data phase: the bus carries CAN FD")
        ]
        | None
    ) = None
    dbc: Annotated[str, msgspec.Meta(description="DBC file, relative to this file")] | None = None
    interface: Annotated[str, msgspec.Meta(description="network interface of the real machine")] | None = None


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The one truth about a machine: its buses and what is on them."""

    machine: Annotated[str, msgspec.Meta(min_length=1, description="name of the machine")]
    can: dict[str, CanBusSpec] = {}
    ethercat: dict[str, EthercatBusSpec] = {}

    def can_bus(self, name: str, where: str) -> CanBusSpec:
        """Return the bus ``name``; ``where`` is the file, for the message."""
        if name not in self.can:
            msg = f"{where}: machine {self.machine!r} has no CAN bus {name!r}; {nearest(name, list(self.can))}"
            raise ConfigurationError(msg)
        return self.can[name]

    def ethercat_bus(self, name: str, where: str) -> EthercatBusSpec:
        """Return the EtherCAT segment ``name``; ``where`` is who asks, for the message."""
        if name not in self.ethercat:
            known = nearest(name, list(self.ethercat))
            raise ConfigurationError(f"{where}: machine {self.machine!r} has no EtherCAT bus {name!r}; {known}")
        return self.ethercat[name]

    def chosen_ethercat_bus(self, name: str | None, where: str) -> str:
        """Return the name of the EtherCAT segment that is meant: ``name``, else the only one; ``where`` as above."""
        if name is None and len(self.ethercat) != 1:
            known = ", ".join(self.ethercat) or "none"
            raise ConfigurationError(f"{where}: expected one EtherCAT bus, found {known}; name one")
        return name or next(iter(self.ethercat))


def load_machine(path: Path) -> Machine:
    """Read a machine file.

    Raises:
        ConfigurationError: missing, malformed, an unknown field, a value out of range, a file named in it that is not
            there, or an EtherCAT bus that contradicts itself (see :mod:`taktora.ethercat.spec_errors`).
    """
    machine = read_file(path, Machine, {"ethercat": "docs/machine-file.md"})
    _check_can(path, machine)
    _check_ethercat(path, machine)
    return machine


def _check_can(path: Path, machine: Machine) -> None:
    """Check what a schema cannot: names of interfaces, each used once, the files named, the two bit rates."""
    interfaces: dict[str, str] = {}
    for name, bus in machine.can.items():
        if bus.dbc is not None and (fault := fault_of(path.parent / bus.dbc)):
            place = place_in(path, "can", name, "dbc")
            msg = f"{place}: can.{name}.dbc names {bus.dbc!r}; {path.parent / bus.dbc}: {fault}"
            raise ConfigurationError(msg)
        if bus.data_bitrate is not None and bus.data_bitrate < bus.bitrate:
            place = place_in(path, "can", name, "data_bitrate")
            text = f"can.{name}.data_bitrate is {bus.data_bitrate}, below the bitrate {bus.bitrate}"
            raise ConfigurationError(f"{place}: {text}; the data phase of CAN FD is as fast or faster")
        if bus.interface is not None:
            place = place_in(path, "can", name, "interface")
            check_can_interface(bus.interface, f"{place}: can.{name}.interface", interfaces, name)


def check_can_interface(interface: str, where: str, taken: dict[str, str], bus: str) -> None:
    """Refuse what is no name of a network interface, and one that another bus has; notes it in ``taken``.

    Raises:
        ConfigurationError: begins with ``where``.
    """
    from taktora.can.routing import CanIface

    try:
        CanIface(interface)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if taken.setdefault(interface, bus) != bus:
        raise ConfigurationError(
            f"{where}: {interface!r} is the interface of {taken[interface]!r} too; each bus has an interface of its own"
        )


# req: REQ_8152
def _check_ethercat(path: Path, machine: Machine) -> None:
    """Resolve each bus once so that its faults are told with file and line, and look for the files it names."""
    from taktora.ethercat.resolve import resolve

    interfaces: dict[str, str] = {}
    for name, bus in machine.ethercat.items():
        where = partial(named_place_in, path, "ethercat", name)
        resolve(bus, where)
        for position, device in enumerate(bus.devices):
            for key, file in (("dictionary", device.dictionary), ("sii", device.sii)):
                if file is not None and (fault := fault_of(path.parent / file)):
                    place = where("devices", position, key)
                    raise ConfigurationError(f"{place} names {file!r}; {path.parent / file}: {fault}")
        if bus.default_nic is not None:
            if bus.default_nic in interfaces:
                text = f"{bus.default_nic!r} is the interface of {interfaces[bus.default_nic]!r} too"
                raise ConfigurationError(f"{where('default_nic')}: {text}; each bus has an interface of its own")
            interfaces[bus.default_nic] = name


def machine_schema() -> dict[str, Any]:
    """Return the JSON Schema of the machine file, as published in ``machine.schema.json``."""
    return schema_of(Machine)
