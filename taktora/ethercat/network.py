"""The EtherCAT part of the machine file: what is on one segment, in bus order; it resolves and opens nothing.

A superset of the network file of the requirement catalogue: ``label``, ``pdos``, ``identity``, ``station_alias``,
``address``, ``sm_watchdog_timeout_ms``, ``sm_watchdog_enabled``, ``startup_sdos`` and ``channels`` mean the same there.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

__all__ = [
    "ChannelSpec",
    "CopySpec",
    "DeviceSpec",
    "EntrySpec",
    "EntryType",
    "EthercatBusSpec",
    "IdentitySpec",
    "MailboxSpec",
    "PdoSpec",
    "PdosSpec",
    "Profile",
    "SdoSpec",
    "SdoType",
]

_U8 = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]

SdoType: TypeAlias = Literal["u8", "u16", "u32", "i8", "i16", "i32"]
EntryType: TypeAlias = Literal["bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "bits"]
"""``bits`` is an unsigned number of ``bit_length`` bits, or padding where the entry has no name."""
Profile: TypeAlias = Literal[
    "coupler", "digital-inputs", "digital-outputs", "analog-inputs", "analog-outputs", "cia402", "generic"
]
"""What kind of device it is: how the simulated one behaves behind its process data."""


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of the records below."""


class IdentitySpec(_Spec, frozen=True):
    """Object 0x1018 and SII words 0x08 to 0x0F; ``serial`` 0 means any."""

    vendor_id: _U32
    product_code: _U32
    revision: _U32 = 0
    serial: _U32 = 0


class EntrySpec(_Spec, frozen=True):
    """One mapped object of a PDO, or padding (no name, index 0).

    ``factor``, ``offset`` and ``unit`` give the engineering value that the application sees: raw * factor + offset.
    """

    name: str | None = None
    index: _U16 = 0
    subindex: _U8 = 0
    type: EntryType = "bits"
    bit_length: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    factor: float = 1.0
    offset: float = 0.0
    unit: str = ""


class PdoSpec(_Spec, frozen=True):
    """One PDO: its object index and its entries in order.

    Without entries ``bit_length`` says how long it is; ``bit_offset`` defaults to the end of the PDO before it.
    ``fixed``: the content cannot be changed.
    """

    index: _U16
    name: str = ""
    entries: tuple[EntrySpec, ...] = ()
    bit_offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    bit_length: Annotated[int, msgspec.Meta(ge=1)] | None = None
    fixed: bool = False


class PdosSpec(_Spec, frozen=True):
    """The assigned PDOs: ``rx`` are outputs (seen from the MainDevice), ``tx`` inputs."""

    rx: tuple[PdoSpec, ...] = ()
    tx: tuple[PdoSpec, ...] = ()


class SdoSpec(_Spec, frozen=True):
    """One object written in PRE-OP, before the PDO assignment."""

    index: _U16
    subindex: _U8 = 0
    type: SdoType = "u16"
    value: int = 0


class MailboxSpec(_Spec, frozen=True):
    """Standard mailbox of a CoE SubDevice: start addresses and lengths in bytes, and what its CoE can do."""

    out_address: _U16 = 0x1000
    out_bytes: Annotated[int, msgspec.Meta(ge=24, le=1486)] = 128
    in_address: _U16 = 0x1080
    in_bytes: Annotated[int, msgspec.Meta(ge=24, le=1486)] = 128
    complete_access: bool = True
    sdo_info: bool = True
    pdo_assign: bool = True
    pdo_config: bool = False


class DeviceSpec(_Spec, frozen=True):
    """One SubDevice of the segment.

    Args:
        label: Stable name; channels, copies and the application use it.
        profile: Kind of device; without PDOs ``coupler``, else ``generic``, unless given.
        identity: Checked at bring-up, and the identity of the simulated device.
        order: Order number or type name, for people and the SII (``EL2004``).
        pdos: Assigned PDOs; a coupler has none.
        address: Configured station address instead of 0x1000 + position.
        parent: Label of the SubDevice this one hangs on; the one before it unless given. ``port`` is the parent's port.
        station_alias: Register 0x0012, checked at bring-up.
        mailbox: CoE mailbox; none: PDOs are fixed and come from the SII, nothing is written to the device.
        distributed_clock: The device has a DC unit.
        sync0_shift_us: SYNC0 in every bus cycle, this long after its start; none: no SYNC0.
        sm_watchdog_timeout_ms: Watchdog of the outputs; half of the bus's ``ftti_ms`` unless given.
        sm_watchdog_enabled: The output SyncManager triggers the watchdog (control bit 6): attested by the integrator.
        startup_sdos: Written in order in PRE-OP.
        safe: Safe value by name of an output entry, in the application's units; what is not named is 0.
        dictionary: File with the object dictionary, relative to the machine file; written by a scan.
        sii: SII image (``.bin``), relative to the machine file; written by a scan.
        options: Settings of the simulated device, by its profile (see the device library).
    """

    label: Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_-]*$")]
    profile: Profile | None = None
    identity: IdentitySpec | None = None
    order: str = ""
    pdos: PdosSpec = PdosSpec()
    address: _U16 | None = None
    parent: str | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=3)] | None = None
    station_alias: _U16 | None = None
    mailbox: MailboxSpec | None = None
    distributed_clock: bool = False
    sync0_shift_us: Annotated[float, msgspec.Meta(ge=0)] | None = None
    sm_watchdog_timeout_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    sm_watchdog_enabled: bool | None = None
    startup_sdos: tuple[SdoSpec, ...] = ()
    safe: dict[str, float] = {}
    dictionary: str | None = None
    sii: str | None = None
    options: dict[str, bool | int | float | str] = {}


class ChannelSpec(_Spec, frozen=True):
    """A named bit slice of one SubDevice; ``direction`` rx is an output, tx an input."""

    name: str
    device: str
    direction: Literal["rx", "tx"]
    bit_offset: Annotated[int, msgspec.Meta(ge=0)]
    bit_length: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    element_type: Literal["u8", "u16", "u32", "u64"] = "u8"
    allow_overlap: bool = False


class CopySpec(_Spec, frozen=True):
    """Input bits of one SubDevice that the driver copies to output bits of another in every cycle (REQ_8154).

    ``source`` and ``target`` are ``label.entry``, or ``label:bit_offset`` with ``bit_length``.
    """

    source: str
    target: str
    bit_length: Annotated[int, msgspec.Meta(ge=1)] | None = None


class EthercatBusSpec(_Spec, frozen=True):
    """One EtherCAT segment of the machine: one MainDevice, one network interface, one process image.

    Args:
        cycle_time_ms: Cycle; below 1 ms it is clamped to 1 ms.
        distributed_clocks: Synchronise the SubDevices that have a DC unit.
        max_subdevices: Most SubDevices allowed.
        max_pdi_bytes: Largest process image allowed, both directions together.
        default_nic: Network interface of the real machine; a bench file may name another.
        ftti_ms: Fault-tolerant time of the process; watchdogs must act within half of it.
        max_output_age_cycles: Cycles after which outputs that nobody renewed become the safe values (REQ_8150).
        degraded_after_cycles: Consecutive cycles with a low working counter until health says Degraded.
        devices: The SubDevices in bus order.
        channels: Named bit slices.
        copies: What the driver copies between SubDevices.
    """

    cycle_time_ms: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    distributed_clocks: bool = False
    max_subdevices: Annotated[int, msgspec.Meta(ge=1)] = 200
    max_pdi_bytes: Annotated[int, msgspec.Meta(ge=1)] = 4096
    default_nic: str | None = None
    ftti_ms: Annotated[float, msgspec.Meta(gt=0)] = 100.0
    max_output_age_cycles: Annotated[int, msgspec.Meta(ge=1)] = 3
    degraded_after_cycles: Annotated[int, msgspec.Meta(ge=1)] = 1
    devices: tuple[DeviceSpec, ...] = ()
    channels: tuple[ChannelSpec, ...] = ()
    copies: tuple[CopySpec, ...] = ()
