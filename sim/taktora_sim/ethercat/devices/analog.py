"""Analog input and output terminals; channels are the entries with a number, in order.

Status bits are entries of one bit in the same PDO whose names begin with ``underrange``, ``overrange``, ``error`` or
``toggle``. Options: ``range_low`` and ``range_high`` (in the channels' unit; default: what the raw numbers can say),
``noise`` (inputs only: peak of a triangular distribution, in the unit, 0).

Modelled: scale, quantisation, limits with under- and overrange bits, wire break (error and underrange, the value stands
at the lower limit), a toggle bit that changes with each new value, seeded noise, outputs at 0 (raw) when they are made
safe. Simplified: no conversion time and no filter, every channel is sampled at each frame; no limit functions, no
calibration objects.

Fault of inputs: ``break-wire`` (``channel``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

from taktora.errors import ConfigurationError
from taktora.ethercat.dictionary import ObjectDictionary
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.application import EscPort
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.ethercat.devices.options import number
from taktora_sim.ethercat.devices.values import NamedEntry, Value
from taktora_sim.faults import FaultKind, Param, Parameters
from taktora_sim.streams import Stream

__all__ = ["AnalogInputs", "AnalogOutputs"]


_WIDEST_FLOAT_RANGE: Final = 1e30


class _Channel(NamedTuple):
    """A value and the status bits beside it, by the beginning of their names."""

    value: NamedEntry
    bits: dict[str, NamedEntry]


def _range(spec: DeviceSpec, entry: NamedEntry) -> tuple[float, float]:
    """Return the limits of a channel in its unit, by the options or by what its raw numbers can say."""
    if entry.spec.type.startswith("f"):
        ends = [-_WIDEST_FLOAT_RANGE, _WIDEST_FLOAT_RANGE]
    else:
        ends = sorted(raw * entry.spec.factor + entry.spec.offset for raw in entry.raw_range)
    low, high = number(spec, "range_low", ends[0]), number(spec, "range_high", ends[1])
    if low >= high:
        raise ConfigurationError(f"device {spec.label!r}: range_low {low:g} is not below range_high {high:g}")
    return low, high


# req: REQ_8108
class AnalogInputs(SimulatedDevice):
    """Analog inputs: ``device.value = 4.2`` or ``device.set(2, 4.2)`` is what the sensor gives."""

    profile: ClassVar[str] = "analog-inputs"
    option_names: ClassVar[frozenset[str]] = SimulatedDevice.option_names | {"range_low", "range_high", "noise"}

    def __init__(self, spec: DeviceSpec, dictionary: ObjectDictionary | None = None) -> None:
        super().__init__(spec, dictionary)
        self._channels = {
            entry.name: _Channel(entry, self._status_of(entry))
            for entry in self.inputs_by_name.values()
            if entry.is_number
        }
        self._ranges = {name: _range(spec, channel.value) for name, channel in self._channels.items()}
        self._broken: dict[str, list[Parameters]] = {}
        self._status: dict[str, tuple[bool, bool, bool]] = {}
        self._noise = number(spec, "noise", 0.0)
        self._draws_of: Stream | None = None

    @property
    def value(self) -> float:
        """What the sensor at channel 1 gives, in its unit."""
        return float(self._inputs[self._channel(1).value.name])

    @value.setter
    def value(self, value: float) -> None:
        self.set(1, value)

    def set(self, key: int | str, value: Value) -> None:
        super().set(self._channel(key).value.name if isinstance(key, int) else key, value)

    def input(self, key: int | str) -> Value:
        return super().input(self._channel(key).value.name if isinstance(key, int) else key)

    def attach(self, esc: EscPort) -> None:
        super().attach(esc)
        if self._noise:
            self._draws_of = esc.world.stream(f"{esc.path}/noise")
        for channel in self._channels.values():
            self.show(channel.value)

    def inputs(self, data: memoryview) -> bool:
        if self._draws_of is not None:
            for channel in self._channels.values():
                self._show_channel(channel, self._noise * (self._draws_of.random() - self._draws_of.random()))
        return super().inputs(data)

    def show(self, entry: NamedEntry) -> None:
        channel = self._channels.get(entry.name)
        if channel is None or self._forced.get(entry.name):
            super().show(entry)
        else:
            self._show_channel(channel, 0.0)

    def fault_kinds(self) -> Mapping[str, FaultKind]:
        channel = Param(int, default=1, low=1, high=max(1, len(self._channels)))
        return {
            **super().fault_kinds(),
            "break-wire": FaultKind(
                start=self._break,
                stop=self._mend,
                params={"channel": channel},
                describe="the wire at input {channel} is broken",
            ),
        }

    def _show_channel(self, channel: _Channel, noise: float) -> None:
        name = channel.value.name
        if self._forced.get(name):
            return
        low, high = self._ranges[name]
        is_broken = bool(self._broken.get(name))
        wanted = low if is_broken else float(self._inputs[name]) + noise
        before = self.input_data.image
        self.put(channel.value, min(max(wanted, low), high))
        self._show_status(channel, is_broken or wanted < low, not is_broken and wanted > high, is_broken)
        toggle = channel.bits.get("toggle")
        if toggle is not None and self.input_data.image != before:
            self.put(toggle, not self.input(toggle.name))

    def _show_status(self, channel: _Channel, is_below: bool, is_above: bool, is_broken: bool) -> None:
        status = (is_below, is_above, is_broken)
        if status != self._status.get(channel.value.name):
            self._status[channel.value.name] = status
            shown = (("underrange", is_below), ("overrange", is_above), ("error", is_below or is_above or is_broken))
            for word, is_set in shown:
                if word in channel.bits:
                    self.set(channel.bits[word].name, is_set)

    def _status_of(self, value: NamedEntry) -> dict[str, NamedEntry]:
        return {
            word: entry
            for word in ("underrange", "overrange", "error", "toggle")
            for entry in self.inputs_by_name.values()
            if entry.pdo == value.pdo and not entry.is_number and entry.name.startswith(word)
        }

    def _channel(self, key: int | str) -> _Channel:
        names = tuple(self._channels)
        name = names[key - 1] if isinstance(key, int) and 1 <= key <= len(names) else key
        if not isinstance(name, str) or name not in self._channels:
            listed = ", ".join(names) or "none"
            raise ConfigurationError(f"device {self.label!r} has no channel {key!r}; it has {listed}")
        return self._channels[name]

    def _break(self, given: Parameters) -> None:
        channel = self._channel(int(given["channel"]))
        self._broken.setdefault(channel.value.name, []).append(given)
        self._show_channel(channel, 0.0)

    def _mend(self, given: Parameters) -> None:
        channel = self._channel(int(given["channel"]))
        name = channel.value.name
        self._broken[name] = [other for other in self._broken[name] if other is not given]
        self._show_channel(channel, 0.0)


# req: REQ_8108
class AnalogOutputs(SimulatedDevice):
    """Analog outputs: ``device.value`` or ``device.output(2)`` is what the channel drives, within its range."""

    profile: ClassVar[str] = "analog-outputs"
    option_names: ClassVar[frozenset[str]] = SimulatedDevice.option_names | {"range_low", "range_high"}

    def __init__(self, spec: DeviceSpec, dictionary: ObjectDictionary | None = None) -> None:
        super().__init__(spec, dictionary)
        self._ranges = {entry.name: _range(spec, entry) for entry in self.outputs_by_name.values() if entry.is_number}

    @property
    def value(self) -> float:
        """What channel 1 drives, in its unit."""
        return float(self.output(1))

    def output_value(self, entry: NamedEntry) -> Value:
        value = super().output_value(entry)
        if entry.name not in self._ranges:
            return value
        low, high = self._ranges[entry.name]
        return min(max(value, low), high)
