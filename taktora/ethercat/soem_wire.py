"""How SOEM's process image lies on the wire, and the way between it and the bytes of each SubDevice; no state machine.

pysoem hands out the whole bytes of a SubDevice, beginning with its first one, and knows no start bit. With the
overlapping mapping every SubDevice begins at a byte, so that nothing is missing. With the sequential one small devices
share bytes: outputs are then composed here and written as one block from the first SubDevice on, and inputs are cut
at the bits that the FMMUs, read back, say.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from taktora.errors import StackError
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.slices import extract_bits, insert_bits

__all__ = ["IO_MAP_BYTES", "Mapped", "OverlapWire", "SequentialWire", "Wire"]

IO_MAP_BYTES: Final = 4096
"""Size of pysoem's process image."""

_FMMU: Final = 0x0600
_FMMU_COUNT: Final = 4
_FMMU_REGISTERS: Final = struct.Struct("<IHBBHBBB3x")
_FMMU_INPUTS: Final = 1
_FMMU_OUTPUTS: Final = 2


class Mapped(NamedTuple):
    """One SubDevice of the bus: pysoem's handle, its place in the plan (None: not in it), its name for messages."""

    slave: Any
    sub: SubDeviceMap | None
    name: str


class Wire(Protocol):
    """One exchange: output views to the bus, the bus to input views."""

    io_map_bytes: int
    """What the process image takes of pysoem's."""

    def exchange(self, timeout_us: int) -> int:
        """Return the working counter; below 0 when no frame came back, and the inputs are left as they are."""
        ...


class OverlapWire:
    """Each SubDevice at bytes of its own; outputs and inputs share logical addresses.

    Args:
        master: pysoem's master, mapped with ``config_overlap_map``.
        bus: All SubDevices in bus order.
        outputs: Output bytes by address; those without any are left out.
        inputs: Input bytes likewise.
    """

    def __init__(
        self,
        master: Any,
        bus: Sequence[Mapped],
        outputs: Mapping[int, memoryview],
        inputs: Mapping[int, memoryview],
    ) -> None:
        self._send = master.send_overlap_processdata
        self._receive = master.receive_processdata
        planned = [(each.slave, each.sub) for each in bus if each.sub is not None]
        self._outputs = [(slave, outputs[sub.address]) for slave, sub in planned if sub.address in outputs]
        self._inputs = [
            (slave, inputs[sub.address], _last_byte_mask(sub.input_bits))
            for slave, sub in planned
            if sub.address in inputs
        ]
        sizes = [(len(each.slave.output), len(each.slave.input)) for each in bus]
        total = sum(map(max, sizes))
        # SOEM puts the returned frame behind the outputs of the last SubDevice.
        self.io_map_bytes = 2 * total - (max(sizes[-1]) - sizes[-1][0] if sizes else 0)

    def exchange(self, timeout_us: int) -> int:
        for slave, view in self._outputs:
            slave.output = bytes(view)
        self._send(release_gil=True)
        counter: int = self._receive(timeout_us, release_gil=True)
        if counter >= 0:
            for slave, view, mask in self._inputs:
                view[:] = slave.input
                view[-1] &= mask  # beyond the mapped bits stands what the frame carried out
        return counter


class SequentialWire:
    """All outputs, then all inputs; SubDevices of fewer than 8 bits share bytes. Arguments as :class:`OverlapWire`.

    Raises:
        StackError: input bits lie in a byte that pysoem does not hand out, or a SubDevice does not answer.
    """

    def __init__(
        self,
        master: Any,
        bus: Sequence[Mapped],
        outputs: Mapping[int, memoryview],
        inputs: Mapping[int, memoryview],
    ) -> None:
        self._send = master.send_processdata
        self._receive = master.receive_processdata
        found = [(each, _logical_bits(each)) for each in bus]
        self._outputs = [
            (bits[_FMMU_OUTPUTS], each.sub.output_bits, outputs[each.sub.address])
            for each, bits in found
            if each.sub is not None and each.sub.address in outputs
        ]
        self._inputs = [
            (bits[_FMMU_INPUTS], each.sub.input_bits, inputs[each.sub.address])
            for each, bits in found
            if each.sub is not None and each.sub.address in inputs
        ]
        self._first = next((each.slave for each, bits in found if _FMMU_OUTPUTS in bits), None)
        ends = [bits[kind] // 8 + len(data) for kind, data, bits in _areas(found)]
        self._image = bytearray(max(ends, default=0) + 1)
        self._output_bytes = max((-(-(start + bits) // 8) for start, bits, _view in self._outputs), default=0)
        self._sources = [
            (each.slave, slice(bits[_FMMU_INPUTS] // 8, bits[_FMMU_INPUTS] // 8 + len(each.slave.input)))
            for each, bits in found
            if _FMMU_INPUTS in bits
        ]
        self._refuse_hidden_bits(found)
        self.io_map_bytes = max(ends, default=0)

    def exchange(self, timeout_us: int) -> int:
        image = self._image
        for start, bits, view in self._outputs:
            insert_bits(image, start, bits, view)
        if self._first is not None:
            self._first.output = bytes(image[: self._output_bytes])
        self._send(release_gil=True)
        counter: int = self._receive(timeout_us, release_gil=True)
        if counter >= 0:
            for slave, place in self._sources:
                image[place] = slave.input
            for start, bits, view in self._inputs:
                view[:] = extract_bits(image, start, bits)
        return counter

    def _refuse_hidden_bits(self, found: Sequence[tuple[Mapped, Mapping[int, int]]]) -> None:
        handed_out = {byte for _slave, place in self._sources for byte in range(place.start, place.stop)}
        for each, bits in found:
            if each.sub is None or _FMMU_INPUTS not in bits:
                continue
            last = (bits[_FMMU_INPUTS] + each.sub.input_bits - 1) // 8
            if last not in handed_out:
                raise StackError(
                    f"the inputs of {each.name} end in a byte that pysoem does not hand out with mapping sequential; "
                    "use mapping overlap"
                )


def _areas(found: Sequence[tuple[Mapped, Mapping[int, int]]]) -> list[tuple[int, bytes, Mapping[int, int]]]:
    areas = [(_FMMU_OUTPUTS, each.slave.output, bits) for each, bits in found if _FMMU_OUTPUTS in bits]
    return areas + [(_FMMU_INPUTS, each.slave.input, bits) for each, bits in found if _FMMU_INPUTS in bits]


def _logical_bits(mapped: Mapped) -> dict[int, int]:
    """Return the first logical bit of outputs and inputs, by type of FMMU, as the SubDevice holds them."""
    starts: dict[int, int] = {}
    wanted = {kind for kind, data in ((_FMMU_OUTPUTS, mapped.slave.output), (_FMMU_INPUTS, mapped.slave.input)) if data}
    for number in range(_FMMU_COUNT):
        if wanted <= starts.keys():
            break
        registers = mapped.slave._fprd(_FMMU + 16 * number, 16, 60_000)  # noqa: SLF001 - pysoem's only name for it
        logical, length, start_bit, _end, _physical, _bit, kind, active = _FMMU_REGISTERS.unpack(registers)
        if active & 1 and length:
            starts[kind] = min(starts.get(kind, 1 << 62), 8 * logical + start_bit)
    if not wanted <= starts.keys():
        raise StackError(f"{mapped.name}: its FMMUs do not hold what SOEM mapped; bring the bus up again")
    return starts


def _last_byte_mask(bits: int) -> int:
    return (1 << (bits % 8)) - 1 if bits % 8 else 0xFF
