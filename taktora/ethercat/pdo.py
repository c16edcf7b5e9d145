"""The static PDO map: what each SubDevice exchanges and what is written to it before; frozen records, no traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from taktora.errors import ConfigurationError
from taktora.ethercat.network import SdoType
from taktora.ethercat.watchdog import SmWatchdog
from taktora.ethercat.wkc import lrw_increment

__all__ = ["ExpectedIdentity", "PdoEntry", "SdoValue", "StartupSdo", "SubDeviceMap"]

_U16_MAX = 0xFFFF
_SDO_TYPES: Final[dict[str, tuple[int, bool]]] = {
    "u8": (1, False),
    "u16": (2, False),
    "u32": (4, False),
    "i8": (1, True),
    "i16": (2, True),
    "i32": (4, True),
}


# req: REQ_0853
@dataclass(frozen=True, slots=True)
class SdoValue:
    """A number with the type it has in the object dictionary.

    Raises:
        ConfigurationError: no such type, or the value does not fit it.
    """

    type: SdoType
    value: int

    def __post_init__(self) -> None:
        if self.type not in _SDO_TYPES:
            raise ConfigurationError(f"SdoValue.type is {self.type!r}; expected one of {', '.join(_SDO_TYPES)}")
        size, signed = _SDO_TYPES[self.type]
        low, high = (-(1 << 8 * size - 1), (1 << 8 * size - 1) - 1) if signed else (0, (1 << 8 * size) - 1)
        if not low <= self.value <= high:
            raise ConfigurationError(f"SdoValue is {self.value!r} as {self.type}; expected {low}..{high}")

    def to_bytes(self) -> bytes:
        """Return the value as it goes over the mailbox: little-endian, as long as its type."""
        size, signed = _SDO_TYPES[self.type]
        return self.value.to_bytes(size, "little", signed=signed)


# req: REQ_0853
@dataclass(frozen=True, slots=True)
class StartupSdo:
    """One object written in PRE-OP, before the PDO assignment."""

    index: int
    subindex: int
    value: SdoValue

    def __post_init__(self) -> None:
        _check("StartupSdo.index", self.index, _U16_MAX)
        _check("StartupSdo.subindex", self.subindex, 0xFF)


@dataclass(frozen=True, slots=True)
class PdoEntry:
    """One assigned PDO and where its bits lie in the SubDevice's output or input image.

    Args:
        index: Index of the PDO itself, as written to 0x1C12 or 0x1C13: 0x1600.., 0x1A00..
        bit_offset: First bit in the SubDevice's image of that direction.
        bit_length: Number of bits, padding included.
    """

    index: int
    bit_offset: int
    bit_length: int

    def __post_init__(self) -> None:
        for name in ("index", "bit_offset", "bit_length"):
            _check(f"PdoEntry.{name}", getattr(self, name), _U16_MAX)


# req: REQ_0838
@dataclass(frozen=True, slots=True)
class ExpectedIdentity:
    """What SII words 0x08 to 0x0F of a SubDevice must say; revision or serial 0 means any."""

    vendor_id: int
    product_code: int
    revision: int = 0
    serial: int = 0


# req: REQ_0314, REQ_0329
@dataclass(frozen=True, slots=True, kw_only=True)
class SubDeviceMap:
    """One SubDevice of the process image.

    Args:
        address: Configured station address.
        rx_pdos: PDOs assigned to 0x1C12, in order; empty: nothing is written there.
        tx_pdos: PDOs assigned to 0x1C13, in order; empty likewise.
        expected_wkc: What this SubDevice adds to the working counter of an LRW; -1: by the rule of the datasheet.
        label: Name for people; the address unless given.
        position: Place on the bus; its place in the map unless given.
        output_bits: Size of the output image; the end of the last of ``rx_pdos`` unless given.
        input_bits: Size of the input image; the end of the last of ``tx_pdos`` unless given.
        sm_watchdog: Written to 0x0400 and 0x0420 in PRE-OP; None leaves the registers alone.
        startup_sdos: Written in order in PRE-OP, before the PDO assignment.
        safe_outputs: Output image that is safe; shorter than the image is filled up with zeros.
        identity: What must be found at ``position``; None: anything.
        station_alias: What register 0x0012 must say; None: anything.
        sync0_shift_ns: With distributed clocks: SYNC0 in every bus cycle, this long after its start; None: no SYNC0.

    Raises:
        ConfigurationError: a PDO reaches beyond the image, or a value is out of range.
    """

    address: int
    rx_pdos: tuple[PdoEntry, ...] = ()
    tx_pdos: tuple[PdoEntry, ...] = ()
    expected_wkc: int = -1
    label: str = ""
    position: int | None = None
    output_bits: int = -1
    input_bits: int = -1
    sm_watchdog: SmWatchdog | None = None
    startup_sdos: tuple[StartupSdo, ...] = ()
    safe_outputs: bytes = b""
    identity: ExpectedIdentity | None = None
    station_alias: int | None = None
    sync0_shift_ns: int | None = None

    def __post_init__(self) -> None:
        _check("SubDeviceMap.address", self.address, _U16_MAX)
        settle = object.__setattr__
        settle(self, "label", self.label or f"{self.address:#06x}")
        settle(self, "output_bits", self._sized("output_bits", self.rx_pdos))
        settle(self, "input_bits", self._sized("input_bits", self.tx_pdos))
        if self.expected_wkc == -1:
            settle(self, "expected_wkc", lrw_increment(self.output_bits, self.input_bits))
        _check(f"expected_wkc of {self.label!r}", self.expected_wkc, _U16_MAX)
        output_bytes = (self.output_bits + 7) // 8
        if len(self.safe_outputs) > output_bytes:
            raise ConfigurationError(
                f"safe_outputs of {self.label!r}: {len(self.safe_outputs)} bytes for {output_bytes} bytes of outputs"
            )
        settle(self, "safe_outputs", self.safe_outputs.ljust(output_bytes, b"\0"))

    def _sized(self, name: str, pdos: tuple[PdoEntry, ...]) -> int:
        end = max((pdo.bit_offset + pdo.bit_length for pdo in pdos), default=0)
        bits: int = getattr(self, name)
        if bits == -1:
            return end
        if end > bits:
            raise ConfigurationError(
                f"PDOs of {self.label!r} end at bit {end} and {name} is {bits}; correct the PDO map or the size"
            )
        return bits

    def __str__(self) -> str:
        """Return label and address, as messages name a SubDevice."""
        return f"{self.label!r} ({self.address:#06x})"


def _check(name: str, value: object, limit: int) -> None:
    if not isinstance(value, int) or not 0 <= value <= limit:
        raise ConfigurationError(f"{name} is {value!r}; expected 0..{limit}")
