"""Descriptions of usual terminals for tests, scenarios and examples: each returns a ``DeviceSpec``; nothing is built.

The vendor is ours and fictional, the terminals resemble what is sold by many: simple digital terminals without a
mailbox whose channels are bits of one PDO each, analog ones with a CoE mailbox and status bits, drives for cyclic
synchronous position.
"""

from __future__ import annotations

from typing import Any, Final

from taktora.errors import ConfigurationError
from taktora.ethercat.network import (
    DeviceSpec,
    EntrySpec,
    EntryType,
    IdentitySpec,
    MailboxSpec,
    PdoSpec,
    PdosSpec,
    Profile,
)

__all__ = [
    "VENDOR_ID",
    "analog_inputs",
    "analog_outputs",
    "coupler",
    "digital_inputs",
    "digital_outputs",
    "drive",
    "generic",
]

VENDOR_ID: Final = 0x0BAD_CAFE
"""No vendor has this number; identity of all simulated terminals."""

_RAW_MAX: Final = 0x7FFF


def coupler(label: str, **more: Any) -> DeviceSpec:
    """Return a bus coupler; ``more`` are further fields of the ``DeviceSpec``."""
    return _device(label, "coupler", "TK-1100", 0x1100, PdosSpec(), **more)


def digital_inputs(label: str, channels: int = 8, **more: Any) -> DeviceSpec:
    """Return a terminal with digital inputs ``in1`` to ``in<channels>``, 1 to 64, one TxPDO each."""
    pdos = _bits(label, channels, 0x1A00, 0x6000, "in")
    return _device(label, "digital-inputs", f"TK-10{channels:02}", 0x1000 + channels, PdosSpec(tx=pdos), **more)


def digital_outputs(label: str, channels: int = 8, **more: Any) -> DeviceSpec:
    """Return a terminal with digital outputs ``out1`` to ``out<channels>``, 1 to 64, one RxPDO each."""
    pdos = _bits(label, channels, 0x1600, 0x7000, "out")
    return _device(label, "digital-outputs", f"TK-20{channels:02}", 0x2000 + channels, PdosSpec(rx=pdos), **more)


def analog_inputs(
    label: str, channels: int = 1, *, low: float = 0.0, high: float = 10.0, unit: str = "V", **more: Any
) -> DeviceSpec:
    """Return a terminal with analog inputs ``value1`` ... and status bits ``underrange1``, ``error1`` ...

    Raw 0 is ``low`` and 32767 ``high``; with ``low`` = -``high`` raw numbers are signed about 0.
    """
    factor, offset = _scale(label, low, high)
    pdos = tuple(_analog_input(number, factor, offset, unit) for number in range(1, channels + 1))
    options = {"range_low": low, "range_high": high, **more.pop("options", {})}
    more.setdefault("mailbox", MailboxSpec())
    spec = PdosSpec(tx=pdos)
    return _device(label, "analog-inputs", f"TK-30{channels:02}", 0x3000 + channels, spec, options=options, **more)


def analog_outputs(
    label: str, channels: int = 1, *, low: float = 0.0, high: float = 10.0, unit: str = "V", **more: Any
) -> DeviceSpec:
    """Return a terminal with analog outputs ``value1`` ...; scale as :func:`analog_inputs`."""
    factor, offset = _scale(label, low, high)
    pdos = tuple(
        PdoSpec(
            index=0x1600 + number - 1,
            name=f"AO channel {number}",
            entries=(_value(number, 0x7000 + 0x10 * (number - 1), 1, factor, offset, unit),),
        )
        for number in range(1, channels + 1)
    )
    options = {"range_low": low, "range_high": high, **more.pop("options", {})}
    more.setdefault("mailbox", MailboxSpec())
    spec = PdosSpec(rx=pdos)
    return _device(label, "analog-outputs", f"TK-40{channels:02}", 0x4000 + channels, spec, options=options, **more)


def generic(label: str, output_bytes: int = 0, input_bytes: int = 0, **more: Any) -> DeviceSpec:
    """Return a CoE device with plain bytes ``out0`` ... and ``in0`` ..., up to 254 each way."""

    def pdo(index: int, target: int, count: int, prefix: str) -> tuple[PdoSpec, ...]:
        entries = tuple(
            EntrySpec(name=f"{prefix}{number}", index=target, subindex=number + 1, type="u8") for number in range(count)
        )
        return (PdoSpec(index=index, entries=entries),) if entries else ()

    more.setdefault("mailbox", MailboxSpec())
    pdos = PdosSpec(rx=pdo(0x1600, 0x7000, output_bytes, "out"), tx=pdo(0x1A00, 0x6000, input_bytes, "in"))
    return _device(label, "generic", "TK-9000", 0x9000, pdos, **more)


def drive(label: str, *, increments_per_unit: float = 1000.0, unit: str = "mm", **more: Any) -> DeviceSpec:
    """Return a CiA 402 drive, mapped for cyclic synchronous position.

    Outputs: ``controlword``, ``target`` (0x607A), ``mode`` (0x6060). Inputs: ``status`` (0x6041), ``position``
    (0x6064), ``velocity`` (0x606C), ``mode_display`` (0x6061), ``error_code`` (0x603F), ``following_error`` (0x60F4).
    Positions and speeds are in ``unit``; raw, they are increments.
    """
    factor = 1.0 / increments_per_unit

    def entry(name: str, index: int, kind: EntryType, scale: float = 1.0, of: str = "") -> EntrySpec:
        return EntrySpec(name=name, index=index, type=kind, factor=scale, unit=of)

    outputs = (
        entry("controlword", 0x6040, "u16"),
        entry("target", 0x607A, "i32", factor, unit),
        entry("mode", 0x6060, "i8"),
    )
    inputs = (
        entry("status", 0x6041, "u16"),
        entry("position", 0x6064, "i32", factor, unit),
        entry("velocity", 0x606C, "i32", factor, f"{unit}/s"),
        entry("mode_display", 0x6061, "i8"),
        entry("error_code", 0x603F, "u16"),
        entry("following_error", 0x60F4, "i32", factor, unit),
    )
    pdos = PdosSpec(
        rx=(PdoSpec(index=0x1600, name="Drive outputs", entries=outputs),),
        tx=(PdoSpec(index=0x1A00, name="Drive inputs", entries=inputs),),
    )
    more.setdefault("mailbox", MailboxSpec())
    more.setdefault("distributed_clock", True)
    return _device(label, "cia402", "TK-7402", 0x7402, pdos, **more)


def _device(label: str, profile: Profile, order: str, product: int, pdos: PdosSpec, /, **more: Any) -> DeviceSpec:
    identity = IdentitySpec(vendor_id=VENDOR_ID, product_code=product, revision=0x0001_0000)
    fields = {"profile": profile, "order": order, "identity": identity, "pdos": pdos, **more}
    if pdos.rx:
        fields.setdefault("sm_watchdog_enabled", True)  # so says the SII that is made from it
    return DeviceSpec(label=label, **fields)


def _bits(label: str, channels: int, pdo: int, target: int, prefix: str) -> tuple[PdoSpec, ...]:
    if not 1 <= channels <= 64:
        raise ConfigurationError(f"device {label!r}: {channels} channels, expected 1 to 64")
    return tuple(
        PdoSpec(
            index=pdo + number,
            name=f"Channel {number + 1}",
            fixed=True,
            entries=(EntrySpec(name=f"{prefix}{number + 1}", index=target + 0x10 * number, subindex=1, type="bool"),),
        )
        for number in range(channels)
    )


def _scale(label: str, low: float, high: float) -> tuple[float, float]:
    """Return factor and offset that make raw 32767 ``high`` and raw 0 ``low`` (or -32767, for a symmetric range)."""
    if low >= high:
        raise ConfigurationError(f"device {label!r}: low {low:g} is not below high {high:g}")
    return (high / _RAW_MAX, 0.0) if low == -high else ((high - low) / _RAW_MAX, low)


def _value(number: int, index: int, subindex: int, factor: float, offset: float, unit: str) -> EntrySpec:
    return EntrySpec(
        name=f"value{number}", index=index, subindex=subindex, type="i16", factor=factor, offset=offset, unit=unit
    )


def _analog_input(number: int, factor: float, offset: float, unit: str) -> PdoSpec:
    index = 0x6000 + 0x10 * (number - 1)

    def bit(name: str, subindex: int) -> EntrySpec:
        return EntrySpec(name=f"{name}{number}", index=index, subindex=subindex, type="bool")

    entries = (
        bit("underrange", 1),
        bit("overrange", 2),
        EntrySpec(bit_length=4),
        bit("error", 7),
        EntrySpec(bit_length=8),
        bit("toggle", 16),
        _value(number, index, 17, factor, offset, unit),
    )
    return PdoSpec(index=0x1A00 + number - 1, name=f"AI channel {number}", entries=entries)
