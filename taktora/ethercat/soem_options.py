"""How SOEM is used: settings that have nothing to do with what is on the bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from taktora.errors import ConfigurationError

__all__ = ["SoemOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoemOptions:
    """How SOEM is used.

    Args:
        frame_timeout_us: How long a frame may be away, 100 to 1_000_000. The default of 20 ms suits a segment made of
            software as well; hardware answers within 100 us, and 2000 finds a lost frame sooner.
        mapping: ``overlap``: outputs and inputs of a SubDevice share logical addresses and begin at a byte;
            ``sequential``: all outputs, then all inputs, bits of small devices packed; ``auto``: overlap, unless a
            SubDevice forbids LRW.
        emergency_poll_cycles: Cycles between two looks into a mailbox, one SubDevice after the other; 0: never. A look
            takes one frame more in that cycle, after the exchange.

    Raises:
        ConfigurationError: a value is out of range.
    """

    frame_timeout_us: int = 20_000
    mapping: Literal["auto", "overlap", "sequential"] = "auto"
    emergency_poll_cycles: int = 100

    def __post_init__(self) -> None:
        if not 100 <= self.frame_timeout_us <= 1_000_000:
            raise ConfigurationError(f"frame_timeout_us is {self.frame_timeout_us}; expected 100 to 1000000")
        if self.mapping not in ("auto", "overlap", "sequential"):
            raise ConfigurationError(f"mapping is {self.mapping!r}; expected auto, overlap or sequential")
        if self.emergency_poll_cycles < 0:
            raise ConfigurationError(f"emergency_poll_cycles is {self.emergency_poll_cycles}; expected 0 or more")
