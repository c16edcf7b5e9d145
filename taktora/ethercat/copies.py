"""Copies of input bits to output bits that the driver does in every cycle, whatever the application does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taktora.ethercat.image import ImageLayout
from taktora.ethercat.options import SliceCopy
from taktora.ethercat.slices import Buffer, copy_bits

__all__ = ["OutputCopies"]


# req: REQ_8154
class OutputCopies:
    """The copies of one bus, with their places in the images worked out once.

    They carry what the source said last, also while it is silent: who sends safe data over this channel notices by its
    own means that nothing new comes (black channel; no safety is claimed here).

    Args:
        copies: What is copied; checked against the images already.
        layout: Where the SubDevices lie.
    """

    def __init__(self, copies: Sequence[SliceCopy], layout: ImageLayout) -> None:
        self._places = tuple(
            (
                layout.by_address[copy.source.subdevice_address].input_offset * 8 + copy.source.bit_offset,
                copy.target.subdevice_address,
                copy.target.bit_offset,
                copy.target.bit_length,
            )
            for copy in copies
        )
        self._steps: tuple[tuple[int, memoryview, int, int], ...] = ()
        self.is_any = bool(copies)
        """There is something to copy."""

    def bind(self, outputs: Mapping[int, memoryview]) -> None:
        """Take the output images of a segment that has been brought up, by address."""
        self._steps = tuple((bit, outputs[address], target, length) for bit, address, target, length in self._places)

    def run(self, inputs: Buffer) -> None:
        """Copy from the whole input image into the outputs that were bound."""
        for source_bit, target, target_bit, length in self._steps:
            copy_bits(inputs, source_bit, target, target_bit, length)
