"""The SyncManager watchdog of a SubDevice: arithmetic of its registers and the check of what was read back."""

from __future__ import annotations

from dataclasses import dataclass

from taktora.errors import ConfigurationError, StackError

__all__ = ["WATCHDOG_DIVIDER", "WATCHDOG_INTERVALS", "SmWatchdog", "check_read_back"]

WATCHDOG_DIVIDER = 0x0400
"""ESC register: divider of the 25 MHz clock, minus 2, for all watchdogs of the SubDevice."""
WATCHDOG_INTERVALS = 0x0420
"""ESC register: ticks after which the process-data watchdog expires; 0 disables it."""

_CLOCK_NS = 40
_DIVIDER_100_US = 2498
_U16_MAX = 0xFFFF


# req: REQ_0846
@dataclass(frozen=True, slots=True)
class SmWatchdog:
    """Setting of registers 0x0400 and 0x0420 (ESC datasheet, section II).

    Args:
        divider: 0..65535; one tick lasts 40 ns x (divider + 2).
        intervals: Ticks of the window, 0..65535; 0 disables the watchdog.

    Raises:
        ConfigurationError: a field is out of its range.
    """

    divider: int
    intervals: int

    def __post_init__(self) -> None:
        for field in ("divider", "intervals"):
            value = getattr(self, field)
            if not isinstance(value, int) or not 0 <= value <= _U16_MAX:
                raise ConfigurationError(f"SmWatchdog.{field} is {value!r}; expected 0..65535")

    @classmethod
    def from_timeout_us(cls, timeout_us: float) -> SmWatchdog:
        """Return the shortest window of 100 us ticks that is not below ``timeout_us``; 1 to 65535 ticks."""
        ticks = -int(-timeout_us // 100)
        return cls(_DIVIDER_100_US, min(max(ticks, 1), _U16_MAX))

    @property
    def window_ns(self) -> int:
        """Time without a write to the output SyncManager after which the outputs become safe."""
        return _CLOCK_NS * (self.divider + 2) * self.intervals

    def register_values(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return ``(register, value)`` in the order of writing; each is 16 bits, little-endian."""
        return (WATCHDOG_DIVIDER, self.divider), (WATCHDOG_INTERVALS, self.intervals)


def check_read_back(subdevice: str, register: int, expected: int, actual: int | None) -> None:
    """Compare what was read back from a watchdog register with what was written.

    Args:
        subdevice: Label and address, for the message.
        register: Register address.
        expected: The value written.
        actual: The value read; None when nobody answered.

    Raises:
        StackError: they differ; names SubDevice, register, expected and actual value (REQ_0846).
    """
    if actual == expected:
        return
    found = "no answer" if actual is None else f"{actual} ({actual:#06x})"
    raise StackError(
        f"watchdog register {register:#06x} of {subdevice}: expected {expected} ({expected:#06x}), found {found}; "
        "the SubDevice does not take the setting: use its own sm_watchdog_timeout_ms, or none"
    )
