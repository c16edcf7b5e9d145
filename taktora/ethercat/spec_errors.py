"""What can be wrong with the EtherCAT part of a machine file, each with a name of its own; classes only.

All of them are ``ConfigurationError``; the message begins with the place: file, line and key (REQ_8152).
"""

from __future__ import annotations

from collections.abc import Sequence

from taktora.errors import ConfigurationError

__all__ = [
    "BadClock",
    "BadCopy",
    "BadMailbox",
    "BadPdo",
    "BadTopology",
    "BusSpecError",
    "DuplicateAddress",
    "DuplicateChannelName",
    "DuplicateLabel",
    "ImageTooLarge",
    "NotFinite",
    "OutputAgeTooLong",
    "OverlappingSlices",
    "SafeValueRefused",
    "SdoValueOutOfRange",
    "SliceOutOfImage",
    "SmWatchdogDisabled",
    "SmWatchdogNotAttested",
    "SmWatchdogTimeoutTooLong",
    "StartupSdoWithoutMailbox",
    "TooManySubDevices",
    "UnknownDevice",
    "ZeroLengthSlice",
]


class BusSpecError(ConfigurationError):
    """The EtherCAT part of a machine file contradicts itself.

    Args:
        place: Where, as ``machine.yaml:12: ethercat.cell.devices[2]``.
        text: What is wrong and the way out.
    """

    def __init__(self, place: str, text: str) -> None:
        self.place = place
        super().__init__(f"{place}: {text}" if place else text)


class NotFinite(BusSpecError):
    """A time that is infinite or no number."""


class TooManySubDevices(BusSpecError):
    """More devices than ``max_subdevices``."""


class ImageTooLarge(BusSpecError):
    """The process image is larger than ``max_pdi_bytes``."""


class DuplicateLabel(BusSpecError):
    """Two devices have one label."""


class DuplicateAddress(BusSpecError):
    """Two devices have one configured address."""

    def __init__(self, place: str, address: int, labels: Sequence[str]) -> None:
        self.address = address
        self.labels = tuple(labels)
        named = " and ".join(map(repr, labels))
        super().__init__(
            place, f"{named} both have address {address:#06x}; 0x1000 + position is taken unless 'address' says another"
        )


class BadTopology(BusSpecError):
    """``parent`` or ``port`` cannot be."""


class BadPdo(BusSpecError):
    """The PDOs of a device make no sense."""


class BadMailbox(BusSpecError):
    """The two mailboxes of a device share memory, or lie among the registers."""


class BadClock(BusSpecError):
    """Distributed clocks are asked for where there are none."""


class SdoValueOutOfRange(BusSpecError):
    """A startup SDO's value does not fit its type."""


class StartupSdoWithoutMailbox(BusSpecError):
    """A startup SDO for a device that has no mailbox."""


class SafeValueRefused(BusSpecError):
    """A safe value for something that is no output entry, or out of its range."""


class SmWatchdogTimeoutTooLong(BusSpecError):
    """The watchdog's window is longer than half of the fault-tolerant time."""

    def __init__(self, place: str, label: str, effective_us: int, bound_us: float) -> None:
        self.label = label
        self.effective_us = effective_us
        self.bound_us = bound_us
        text = f"SyncManager watchdog of {label!r} is {effective_us} us in whole ticks of 100 us"
        super().__init__(
            place, f"{text}; at most half of ftti_ms, {bound_us:g} us, is allowed: shorten sm_watchdog_timeout_ms"
        )


class SmWatchdogDisabled(BusSpecError):
    """The file itself says that the watchdog of an output device is off."""

    def __init__(self, place: str, label: str) -> None:
        self.label = label
        text = f"{label!r} has outputs and sm_watchdog_enabled is false: nothing makes them safe when frames stop"
        super().__init__(place, f"{text}; enable the trigger (bit 6 of the output SyncManager's control byte)")


class SmWatchdogNotAttested(BusSpecError):
    """Nobody says that the watchdog of an output device is on."""

    def __init__(self, place: str, label: str) -> None:
        self.label = label
        text = f"{label!r} has outputs and nothing says that its output SyncManager triggers the watchdog"
        super().__init__(
            place, f"{text}; check it (control byte, bit 6) and attest it with 'sm_watchdog_enabled: true'"
        )


class OutputAgeTooLong(BusSpecError):
    """Outputs that nobody renews would be replaced too late for the fault-tolerant time."""


class DuplicateChannelName(BusSpecError):
    """Two channels have one name."""


class UnknownDevice(BusSpecError):
    """A channel or a copy names a device that is not there."""


class ZeroLengthSlice(BusSpecError):
    """A channel of no bits."""


class SliceOutOfImage(BusSpecError):
    """A channel or a copy ends beyond its device's image."""

    def __init__(self, place: str, name: str, slice_end: int, image_bits: int) -> None:
        self.slice_end = slice_end
        self.image_bits = image_bits
        super().__init__(place, f"{name} ends at bit {slice_end} and the image has {image_bits} bits")


class OverlappingSlices(BusSpecError):
    """Two channels or copies share bits and neither says that it may."""

    def __init__(self, place: str, first: str, second: str) -> None:
        self.names = (first, second)
        super().__init__(
            place,
            f"{first} and {second} share bits; correct one of them, or write 'allow_overlap: true' at the channel",
        )


class BadCopy(BusSpecError):
    """A copy names no input or output, or lengths that differ."""
