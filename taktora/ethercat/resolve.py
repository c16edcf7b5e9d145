"""Makes the plan of a bus from its description in the machine file, and finds what contradicts itself there.

Nothing is opened: files named by the description are the business of whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, make_dataclass
from difflib import get_close_matches
from functools import partial
from math import isfinite
from typing import Any, Final, TypeAlias

from taktora.errors import CodecError, ConfigurationError
from taktora.ethercat import spec_errors as refuse
from taktora.ethercat.entries import Direction, EntryFault, PlacedPdo, placed
from taktora.ethercat.network import ChannelSpec, DeviceSpec, EthercatBusSpec
from taktora.ethercat.options import MIN_CYCLE_TIME_NS, BusPlan, SliceCopy
from taktora.ethercat.pdo import ExpectedIdentity, PdoEntry, SdoValue, StartupSdo, SubDeviceMap
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora.ethercat.typed import TypedImage
from taktora.ethercat.watchdog import SmWatchdog

__all__ = ["FIRST_ADDRESS", "UnmappedGap", "Where", "address_of", "resolve", "routing_of", "unmapped_gaps"]

FIRST_ADDRESS: Final = 0x1000
"""Configured address of the SubDevice at position 0."""

Where: TypeAlias = Callable[..., str]
"""Says where keys below the bus lead to: ``where("devices", 2)`` is ``machine.yaml:12: ethercat.cell.devices[2]``."""

_FIRST_MEMORY: Final = 0x1000
_DIRECTIONS: Final[tuple[Direction, ...]] = ("tx", "rx")
_PDO_INDICES: Final = {"rx": range(0x1600, 0x1800), "tx": range(0x1A00, 0x1C00)}
"""Indices of the two kinds of PDO (ETG.1000.6)."""
_WAYS: Final = {"rx": PdoDirection.RX, "tx": PdoDirection.TX}


def _unplaced(*keys: str | int) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def resolve(spec: EthercatBusSpec, where: Where = _unplaced) -> BusPlan:
    """Return the plan of a bus.

    Args:
        spec: The bus as the machine file describes it.
        where: Says where something stands in the file, for messages.

    Raises:
        ConfigurationError: one of :mod:`taktora.ethercat.spec_errors`; its message begins with the place.
    """
    return _Resolution(spec, where).plan()


# req: REQ_0827
def address_of(device: DeviceSpec, position: int) -> int:
    """Return the configured address of the device at ``position``."""
    return FIRST_ADDRESS + position if device.address is None else device.address


def routing_of(spec: EthercatBusSpec, channel: ChannelSpec) -> EthercatRouting:
    """Return the routing of a channel of a bus that was resolved."""
    position = next(at for at, device in enumerate(spec.devices) if device.label == channel.device)
    address = address_of(spec.devices[position], position)
    return EthercatRouting(address, _WAYS[channel.direction], channel.bit_offset, channel.bit_length)


@dataclass(frozen=True, slots=True)
class UnmappedGap:
    """Bits ``start`` to ``end`` (exclusive) of a device's image that have no name: no channel, no entry."""

    device: str
    direction: Direction
    start: int
    end: int

    def __str__(self) -> str:
        what = "outputs" if self.direction == "rx" else "inputs"
        return f"bits {self.start} to {self.end - 1} of the {what} of {self.device!r} belong to no channel and no entry"


# req: REQ_0837
def unmapped_gaps(spec: EthercatBusSpec) -> tuple[UnmappedGap, ...]:
    """Return the unmapped ranges in bus order, Tx before Rx, rising; entries declared as padding are none."""
    found = []
    for device in spec.devices:
        for direction in _DIRECTIONS:
            pdos = placed(device, direction)
            taken = [span for pdo in pdos for span in _named_spans(pdo)]
            taken += [
                (each.bit_offset, each.bit_offset + each.bit_length)
                for each in spec.channels
                if (each.device, each.direction) == (device.label, direction)
            ]
            found += [UnmappedGap(device.label, direction, *gap) for gap in _gaps(taken, _end(pdos))]
    return tuple(found)


def _named_spans(pdo: PlacedPdo) -> Iterator[tuple[int, int]]:
    yield from pdo.padding
    for entry in pdo.entries:
        yield entry.bit_offset, entry.bit_offset + entry.bit_length


def _gaps(taken: Iterable[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    at = 0
    for start, stop in sorted([*taken, (end, end)]):
        if start > at:
            yield at, start
        at = max(at, stop)


def _end(pdos: tuple[PlacedPdo, ...]) -> int:
    return max((pdo.bit_offset + pdo.bit_length for pdo in pdos), default=0)


class _Slice:
    """Bits of one device and direction that something claims."""

    def __init__(self, name: str, device: int, direction: str, start: int, length: int, may_overlap: bool) -> None:
        self.name = name
        self.place = (device, direction)
        self.start, self.end = start, start + length
        self.may_overlap = may_overlap

    def clashes(self, other: _Slice) -> bool:
        is_shared = self.place == other.place and self.start < other.end and other.start < self.end
        return is_shared and not (self.may_overlap or other.may_overlap)


class _Resolution:
    """One bus on its way from description to plan."""

    def __init__(self, spec: EthercatBusSpec, where: Where) -> None:
        self._spec = spec
        self._where = where
        self._positions: dict[str, int] = {}
        self._pdos: dict[tuple[int, Direction], tuple[PlacedPdo, ...]] = {}
        self._slices: list[_Slice] = []

    def plan(self) -> BusPlan:
        spec = self._spec
        self._check_times()
        self._check_devices()
        subdevices = tuple(self._subdevice(position, device) for position, device in enumerate(spec.devices))
        self._check_channels()
        plan = BusPlan(
            subdevices=subdevices,
            cycle_time_ns=max(MIN_CYCLE_TIME_NS, round(spec.cycle_time_ms * 1e6)),
            distributed_clocks=spec.distributed_clocks,
            max_output_age_cycles=spec.max_output_age_cycles,
            degraded_after_cycles=spec.degraded_after_cycles,
            ftti_ns=round(spec.ftti_ms * 1e6),
            copies=tuple(self._copy(number) for number in range(len(spec.copies))),
            network_interface=spec.default_nic,
        )
        self._check_whole(plan)
        return plan

    def _check_times(self) -> None:
        """Refuse what YAML calls a number and nobody can count with."""
        spec = self._spec
        times: list[tuple[tuple[str | int, ...], float | None]] = [
            (("cycle_time_ms",), spec.cycle_time_ms),
            (("ftti_ms",), spec.ftti_ms),
        ]
        for position, device in enumerate(spec.devices):
            times.append((("devices", position, "sm_watchdog_timeout_ms"), device.sm_watchdog_timeout_ms))
            times.append((("devices", position, "sync0_shift_us"), device.sync0_shift_us))
        for keys, value in times:
            if value is not None and not isfinite(value):
                raise refuse.NotFinite(self._where(*keys), f"{keys[-1]} is {value}; give a finite number")

    # req: REQ_0836
    def _check_devices(self) -> None:
        spec = self._spec
        if spec.distributed_clocks and not any(device.distributed_clock for device in spec.devices):
            text = "distributed_clocks is on and no device has 'distributed_clock: true'; switch it off"
            raise refuse.BadClock(self._where("distributed_clocks"), text)
        if len(spec.devices) > spec.max_subdevices:
            text = f"{len(spec.devices)} devices, max_subdevices allows {spec.max_subdevices}"
            raise refuse.TooManySubDevices(self._where("devices"), text)
        addresses: dict[int, str] = {}
        ports: dict[tuple[int, int], str] = {}
        for position, device in enumerate(spec.devices):
            place = partial(self._where, "devices", position)
            if device.label in self._positions:
                raise refuse.DuplicateLabel(place("label"), f"label {device.label!r} stands twice")
            address = address_of(device, position)
            if address in addresses:
                raise refuse.DuplicateAddress(place("address"), address, (addresses[address], device.label))
            addresses[address] = device.label
            self._check_parent(position, device, ports)
            self._check_mailbox(position, device)
            self._check_clock(position, device)
            self._positions[device.label] = position
            for direction in _DIRECTIONS:
                try:
                    self._pdos[position, direction] = placed(device, direction)
                except EntryFault as fault:
                    raise refuse.BadPdo(place(*fault.keys), fault.text) from None
                self._check_direction(position, direction)

    def _check_direction(self, position: int, direction: Direction) -> None:
        """Refuse PDOs under the wrong direction, the usual slip of who sees it from the MainDevice."""
        what, other = ("an input", "tx") if direction == "rx" else ("an output", "rx")
        for number, pdo in enumerate(self._pdos[position, direction]):
            if pdo.index in _PDO_INDICES[other]:
                text = f"PDO 0x{pdo.index:04X} is {what} of the MainDevice; list it under {other!r}"
                raise refuse.BadPdo(self._where("devices", position, "pdos", direction, number, "index"), text)

    def _check_parent(self, position: int, device: DeviceSpec, ports: dict[tuple[int, int], str]) -> None:
        place = partial(self._where, "devices", position)
        if device.parent is None and device.port is None:
            return
        if device.parent is None or device.parent not in self._positions:
            text = "'port' without 'parent'" if device.parent is None else f"parent {device.parent!r} is no device"
            raise refuse.BadTopology(place("parent"), f"{text} before {device.label!r} on the bus")
        if device.port is not None:
            end = (self._positions[device.parent], device.port)
            if end in ports:
                text = f"port {device.port} of {device.parent!r} leads to {ports[end]!r} already"
                raise refuse.BadTopology(place("port"), text)
            ports[end] = device.label

    def _check_mailbox(self, position: int, device: DeviceSpec) -> None:
        box = device.mailbox
        if box is None:
            return
        place = partial(self._where, "devices", position, "mailbox")
        spans = sorted(((box.out_address, box.out_bytes, "out_address"), (box.in_address, box.in_bytes, "in_address")))
        (first, length, name), (second, _, other) = spans
        if first < _FIRST_MEMORY:
            raise refuse.BadMailbox(place(name), f"{name} {first:#06x} is a register; memory begins at 0x1000")
        if first + length > second:
            text = f"the mailbox at {first:#06x} has {length} bytes and the other begins at {second:#06x}"
            raise refuse.BadMailbox(place(other), f"{text}; move {other} to {first + length:#06x} or beyond")

    # req: REQ_0318
    def _check_clock(self, position: int, device: DeviceSpec) -> None:
        if device.sync0_shift_us is None:
            return
        place = partial(self._where, "devices", position, "sync0_shift_us")
        if not device.distributed_clock:
            raise refuse.BadClock(
                place(), f"{device.label!r} has no clock to give SYNC0; say 'distributed_clock: true'"
            )
        if not self._spec.distributed_clocks:
            text = f"SYNC0 of {device.label!r} needs the bus's 'distributed_clocks: true'"
            raise refuse.BadClock(place(), text)

    def _subdevice(self, position: int, device: DeviceSpec) -> SubDeviceMap:
        rx, tx = self._pdos[position, "rx"], self._pdos[position, "tx"]
        is_assigned = device.mailbox is not None and device.mailbox.pdo_assign
        try:
            return SubDeviceMap(
                address=address_of(device, position),
                rx_pdos=_pdo_entries(rx) if is_assigned else (),
                tx_pdos=_pdo_entries(tx) if is_assigned else (),
                label=device.label,
                position=position,
                output_bits=_end(rx),
                input_bits=_end(tx),
                sm_watchdog=self._watchdog(position, device) if rx else None,
                startup_sdos=tuple(self._startup_sdos(position, device)),
                safe_outputs=self._safe_image(position, device, rx),
                identity=_identity(device),
                station_alias=device.station_alias,
                sync0_shift_ns=None if device.sync0_shift_us is None else round(device.sync0_shift_us * 1000),
            )
        except refuse.BusSpecError:
            raise
        except ConfigurationError as error:
            raise refuse.BadPdo(self._where("devices", position), str(error)) from error

    # req: REQ_0844, REQ_0845
    def _watchdog(self, position: int, device: DeviceSpec) -> SmWatchdog:
        place = partial(self._where, "devices", position)
        bound_us = self._spec.ftti_ms * 1000 / 2
        given_ms = device.sm_watchdog_timeout_ms
        # Rounded because 16.1 ms are 16100.000000000002 us in floats, which is one tick more.
        watchdog = SmWatchdog.from_timeout_us(round(bound_us if given_ms is None else given_ms * 1000, 3))
        effective_us = watchdog.window_ns // 1000
        if effective_us > bound_us:
            raise refuse.SmWatchdogTimeoutTooLong(place("sm_watchdog_timeout_ms"), device.label, effective_us, bound_us)
        if device.sm_watchdog_enabled is None:
            raise refuse.SmWatchdogNotAttested(place(), device.label)
        if not device.sm_watchdog_enabled:
            raise refuse.SmWatchdogDisabled(place("sm_watchdog_enabled"), device.label)
        return watchdog

    def _startup_sdos(self, position: int, device: DeviceSpec) -> Iterator[StartupSdo]:
        place = partial(self._where, "devices", position, "startup_sdos")
        if device.startup_sdos and device.mailbox is None:
            text = f"{device.label!r} has no mailbox to write SDOs to; describe it with 'mailbox: {{}}'"
            raise refuse.StartupSdoWithoutMailbox(place(), text)
        for number, sdo in enumerate(device.startup_sdos):
            try:
                yield StartupSdo(sdo.index, sdo.subindex, SdoValue(sdo.type, sdo.value))
            except ConfigurationError as error:
                raise refuse.SdoValueOutOfRange(place(number, "value"), str(error)) from error

    def _safe_image(self, position: int, device: DeviceSpec, rx: tuple[PlacedPdo, ...]) -> bytes:
        place = partial(self._where, "devices", position, "safe")
        entries = {entry.name: entry for pdo in rx for entry in pdo.entries}
        for name, value in device.safe.items():
            if name not in entries:
                raise refuse.SafeValueRefused(place(name), f"{name!r} is no output entry; {_known(name, entries)}")
            entry = entries[name]
            if not isfinite(value):
                raise refuse.SafeValueRefused(place(name), f"{value!r} is no safe value; give a finite number")
            is_raw = (entry.factor, entry.offset) == (1.0, 0.0) and entry.type[0] != "f"
            if is_raw and not float(value).is_integer():
                raise refuse.SafeValueRefused(place(name), f"{value!r} is no whole number and {name!r} has no scale")
        if not device.safe:
            return b""
        record = make_dataclass("Safe", [(name, float) for name in device.safe])
        image: TypedImage[Any] = TypedImage(record, entries.values(), _end(rx), f"safe outputs of {device.label!r}")
        try:
            return image.encode(record(**device.safe))
        except CodecError as error:
            raise refuse.SafeValueRefused(place(), error.cause) from error

    # req: REQ_0836
    def _check_channels(self) -> None:
        names: set[str] = set()
        for number, channel in enumerate(self._spec.channels):
            place = partial(self._where, "channels", number)
            if channel.name in names:
                raise refuse.DuplicateChannelName(place("name"), f"channel {channel.name!r} stands twice")
            names.add(channel.name)
            if channel.bit_length == 0:
                raise refuse.ZeroLengthSlice(place("bit_length"), f"channel {channel.name!r} has no bits")
            position = self._position(channel.device, place("device"))
            found = _Slice(
                f"channel {channel.name!r}",
                position,
                channel.direction,
                channel.bit_offset,
                channel.bit_length,
                channel.allow_overlap,
            )
            self._claim(found, place())

    def _claim(self, found: _Slice, place: str) -> None:
        """Take bits of an image; refuse what is beyond it and what another has taken."""
        bits = _end(self._pdos[found.place])  # type: ignore[index]
        if found.end > bits:
            raise refuse.SliceOutOfImage(place, found.name, found.end, bits)
        for other in self._slices:
            if found.clashes(other):
                raise refuse.OverlappingSlices(place, other.name, found.name)
        self._slices.append(found)

    # req: REQ_8154
    def _copy(self, number: int) -> SliceCopy:
        copy = self._spec.copies[number]
        place = partial(self._where, "copies", number)
        source = self._copy_end(copy.source, "tx", copy.bit_length, place("source"))
        target = self._copy_end(copy.target, "rx", copy.bit_length, place("target"))
        name = f"copy to {copy.target!r}"
        self._claim(_Slice(name, target[0], "rx", *target[1:], may_overlap=False), place("target"))
        beyond = _Slice(f"copy from {copy.source!r}", source[0], "tx", *source[1:], may_overlap=True)
        self._claim(beyond, place("source"))
        if source[2] != target[2]:
            text = f"{copy.source!r} has {source[2]} bits and {copy.target!r} {target[2]}; copy equal lengths"
            raise refuse.BadCopy(place(), text)
        return SliceCopy(self._routing(*source, PdoDirection.TX), self._routing(*target, PdoDirection.RX))

    def _routing(self, position: int, offset: int, length: int, direction: PdoDirection) -> EthercatRouting:
        return EthercatRouting(address_of(self._spec.devices[position], position), direction, offset, length)

    def _copy_end(self, text: str, direction: Direction, bit_length: int | None, place: str) -> tuple[int, int, int]:
        """Return position, bit offset and length of what ``label.entry`` or ``label:offset`` means."""
        label, dot, name = text.partition(".")
        if dot:
            position = self._position(label, place)
            entries = {each.name: each for pdo in self._pdos[position, direction] for each in pdo.entries}
            if name not in entries:
                what = "input" if direction == "tx" else "output"
                raise refuse.BadCopy(place, f"{name!r} is no {what} entry of {label!r}; {_known(name, entries)}")
            longest = entries[name].bit_length
            if bit_length is not None and bit_length > longest:
                raise refuse.BadCopy(
                    place, f"{bit_length} bits are more than the {longest} of {text!r}; shorten the copy"
                )
            return position, entries[name].bit_offset, bit_length or longest
        label, colon, offset = text.partition(":")
        if not colon or not offset.isdecimal() or bit_length is None:
            raise refuse.BadCopy(place, f"{text!r} is neither 'label.entry' nor 'label:bit_offset' with a bit_length")
        return self._position(label, place), int(offset), bit_length

    def _position(self, label: str, place: str) -> int:
        if label not in self._positions:
            raise refuse.UnknownDevice(place, f"no device {label!r} on this bus; {_known(label, self._positions)}")
        return self._positions[label]

    def _check_whole(self, plan: BusPlan) -> None:
        layout = plan.layout()
        total = layout.output_bytes + layout.input_bytes
        if total > self._spec.max_pdi_bytes:
            text = f"the process image takes {total} bytes, max_pdi_bytes allows {self._spec.max_pdi_bytes}"
            raise refuse.ImageTooLarge(self._where("max_pdi_bytes"), text)
        latest_ns = plan.safe_after_ns
        # req: REQ_8150
        if layout.output_bytes and latest_ns > plan.ftti_ns // 2:
            text = f"outputs that nobody renews become safe after {latest_ns / 1e6:g} ms (max_output_age_cycles + 2)"
            raise refuse.OutputAgeTooLong(
                self._where("max_output_age_cycles"), f"{text}; half of ftti_ms is {plan.ftti_ns / 2e6:g} ms"
            )


def _pdo_entries(pdos: tuple[PlacedPdo, ...]) -> tuple[PdoEntry, ...]:
    return tuple(PdoEntry(pdo.index, pdo.bit_offset, pdo.bit_length) for pdo in pdos)


def _identity(device: DeviceSpec) -> ExpectedIdentity | None:
    found = device.identity
    if found is None:
        return None
    return ExpectedIdentity(found.vendor_id, found.product_code, found.revision, found.serial)


def _known(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(name, names, n=3)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names) or 'none'}"
