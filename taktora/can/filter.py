"""Compiles the readers of one interface into kernel filters and matches frames the same way; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taktora.can.interface import CanFilter, CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX, CanFrameKind, CanRouting

__all__ = [
    "ACCEPT_ALL",
    "EFF_FLAG",
    "FILTERS_MAX",
    "INVERTED_FLAG",
    "RTR_FLAG",
    "compile_filters",
    "filter_for",
    "kernel_id",
    "matches",
    "passes_filters",
    "passes_word",
]

EFF_FLAG = 0x8000_0000
RTR_FLAG = 0x4000_0000
INVERTED_FLAG = 0x2000_0000
"""In ``can_id`` of a filter: the frame passes when it does not match (CAN_INV_FILTER)."""

FILTERS_MAX = 512
"""Entries that the kernel takes in one CAN_RAW_FILTER call."""

ACCEPT_ALL = (CanFilter(0, 0),)

_FLAGS = EFF_FLAG | RTR_FLAG
_ERRORS_ONLY = 0x2000_0000  # CAN_ERR_FLAG in can_mask


# req: REQ_0615
def filter_for(routing: CanRouting) -> CanFilter:
    """Return the kernel filter of one reader: the extended flag in id and mask, the remote flag in the mask only.

    A frame passes exactly when :func:`matches` says so, for 11-bit and 29-bit twins and remote frames too, but for the
    frame kind, which the kernel does not filter: the gateway compares that.
    """
    extended = routing.can_id.is_extended
    id_bits = EXTENDED_ID_MAX if extended else STANDARD_ID_MAX
    return CanFilter(
        routing.can_id.value | (EFF_FLAG if extended else 0),
        (routing.mask & id_bits) | _FLAGS,
    )


# req: REQ_0622
def compile_filters(routings: Iterable[CanRouting]) -> tuple[tuple[CanFilter, ...], bool]:
    """Return the filter union of all readers in their order, without duplicates, and whether it had to be widened.

    No reader gives no filter: nothing passes. More than 512 different entries give accept-all and True; the
    gateway then matches in software only.
    """
    union = tuple(dict.fromkeys(filter_for(routing) for routing in routings))
    return (ACCEPT_ALL, True) if len(union) > FILTERS_MAX else (union, False)


def matches(routing: CanRouting, frame: CanFrame) -> bool:
    """Tell whether ``frame`` belongs to the reader of ``routing``; a remote frame belongs to none."""
    can_id = routing.can_id
    return (
        not frame.remote
        and frame.fd == (routing.kind is CanFrameKind.FD)
        and frame.extended == can_id.is_extended
        and (can_id.value ^ frame.can_id) & routing.mask & EXTENDED_ID_MAX == 0
    )


def kernel_id(frame: CanFrame) -> int:
    """Return the identifier word of ``struct can_frame``: the identifier with its EFF and RTR flags."""
    return frame.can_id | (EFF_FLAG if frame.extended else 0) | (RTR_FLAG if frame.remote else 0)


def passes_filters(filters: Sequence[CanFilter], frame: CanFrame) -> bool:
    """Tell whether a raw socket with ``filters`` gets ``frame``: any filter matches, an empty sequence never does.

    Follows the kernel: ``rx_id & mask == id & mask``; an inverted entry passes what differs; a mask that compares
    the EFF flag of an 11-bit id is trimmed to 11 bits and the flags; one with CAN_ERR_FLAG (``0xFFFFFFFF`` has it) is
    for error frames and passes no other.
    """
    return passes_word(filters, kernel_id(frame))


def passes_word(filters: Sequence[CanFilter], rx_id: int) -> bool:
    """Tell the same of a frame of which only :func:`kernel_id` is at hand."""
    return any(_entry_passes(entry, rx_id) for entry in filters)


def _entry_passes(entry: CanFilter, rx_id: int) -> bool:
    can_id, mask = entry
    if mask & _ERRORS_ONLY:
        return False
    if mask & EFF_FLAG and not can_id & EFF_FLAG:
        mask &= STANDARD_ID_MAX | _FLAGS
    equal = rx_id & mask == can_id & mask & ~INVERTED_FLAG
    return not equal if can_id & INVERTED_FLAG else equal
