"""Names of EtherCAT channels: one slice of the process data of one SubDevice, as a validated value; opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from taktora.connector.routing import Routing
from taktora.errors import ConfigurationError

__all__ = ["EthercatRouting", "PdoDirection"]

_U16_MAX = 0xFFFF
_U32_MAX = 0xFFFF_FFFF


class PdoDirection(Enum):
    """Which way a slice goes, named from the SubDevice's point of view, as the standard does."""

    RX = "rx"
    """Outputs: the MainDevice writes them."""
    TX = "tx"
    """Inputs: the MainDevice reads them."""


# req: REQ_0311
@dataclass(frozen=True, slots=True)
class EthercatRouting(Routing):
    """One slice of the process data of one SubDevice (REQ_0311).

    Args:
        subdevice_address: Configured station address, 16 bits: 0x1000 + position unless overridden.
        direction: Rx for outputs, Tx for inputs.
        bit_offset: First bit, counted from bit 0 of byte 0 of that SubDevice's own output or input image; 32 bits.
        bit_length: Number of bits, 16 bits; 0 makes every access a no-op.

    Raises:
        ConfigurationError: a field is out of its range.
    """

    subdevice_address: int
    direction: PdoDirection
    bit_offset: int
    bit_length: int

    def __post_init__(self) -> None:
        for field, limit in (("subdevice_address", _U16_MAX), ("bit_offset", _U32_MAX), ("bit_length", _U16_MAX)):
            value = getattr(self, field)
            if not isinstance(value, int) or not 0 <= value <= limit:
                raise ConfigurationError(f"EthercatRouting.{field} is {value!r}; expected 0..{limit:#x}")
        if not isinstance(self.direction, PdoDirection):
            raise ConfigurationError(
                f"EthercatRouting.direction is {self.direction!r}; expected PdoDirection.RX (outputs) or .TX (inputs)"
            )

    @property
    def byte_length(self) -> int:
        """Bytes that the slice takes in an envelope: ``ceil(bit_length / 8)``."""
        return (self.bit_length + 7) // 8

    def __str__(self) -> str:
        last = self.bit_offset + self.bit_length
        return f"{self.subdevice_address:#06x}.{self.direction.value}[{self.bit_offset}:{last}]"
