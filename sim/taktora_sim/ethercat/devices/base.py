"""What all devices of the library share: dictionary, mailbox, process data by name; it has no behaviour of its own.

Modelled: PDO assignment and mapping as written to the device, object values that follow the process data, outputs that
become 0 when the ESC makes them safe (option ``hold_outputs``: they stay), values lost with the power except those that
the process gives. Simplified: nothing is stored for good (no 0x1010), data is taken and given at the frame, with no
cycle of the device in between.

Options of every device: ``hold_outputs`` (false), ``mailbox_us`` (0, time of each mailbox answer), ``signals`` (true:
named process data is drawn on the page of the run as ``<label>.<entry>``).

Fault of every device with inputs: ``force-input`` (``entry``, ``value``: that input shows the value whatever the
process says).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeAlias

from taktora.errors import ConfigurationError
from taktora.ethercat.device_objects import RX_ASSIGNMENT, TX_ASSIGNMENT, build_dictionary
from taktora.ethercat.dictionary import Access, ObjectDictionary
from taktora.ethercat.driver import AlState
from taktora.ethercat.mapping import MappedPdo, map_pdos
from taktora.ethercat.network import DeviceSpec
from taktora.ethercat.sii_model import NO_IDENTITY
from taktora_sim.ethercat.application import EscPort, NullApplication
from taktora_sim.ethercat.devices.options import flag, integer
from taktora_sim.ethercat.devices.values import NamedEntry, Value, named
from taktora_sim.ethercat.mailbox import MailboxServer
from taktora_sim.ethercat.processdata import PdoRules, ProcessData, Slot
from taktora_sim.ethercat.sdoserver import SdoServer
from taktora_sim.faults import FaultKind, Param, Parameters

__all__ = ["Key", "OutputListener", "SimulatedDevice"]

Key: TypeAlias = int | str
"""A channel, counted from 1, or the name of an entry."""

_ALL = slice(None)

OutputListener: TypeAlias = Callable[[str, Value], object]
"""Told of the name and the new value of an output."""


class SimulatedDevice(NullApplication):
    """A device behind a simulated ESC.

    Args:
        spec: The SubDevice of the machine file.
        dictionary: Its objects; made from ``spec`` unless given.
    """

    profile: ClassVar[str] = "generic"
    option_names: ClassVar[frozenset[str]] = frozenset(("hold_outputs", "mailbox_us", "signals"))
    """What it reads from ``DeviceSpec.options``, beside the ESC and the SII."""

    def __init__(self, spec: DeviceSpec, dictionary: ObjectDictionary | None = None) -> None:
        self.spec = spec
        self.label = spec.label
        self.dictionary = build_dictionary(spec) if dictionary is None else dictionary
        self.output_data = ProcessData(self.dictionary, RX_ASSIGNMENT)
        self.input_data = ProcessData(self.dictionary, TX_ASSIGNMENT)
        self.outputs_by_name = _by_name(map_pdos(spec.pdos.rx, "rx"))
        """Named outputs in the order of their bits."""
        self.inputs_by_name = _by_name(map_pdos(spec.pdos.tx, "tx"))
        """Named inputs in the order of their bits."""
        self.mailbox: MailboxServer | None = None
        self._rules = PdoRules(self.dictionary)
        self._outputs_by_object = {(entry.index, entry.subindex): entry for entry in self.outputs_by_name.values()}
        self._told: Sequence[Slot] | None = None
        self._told_entries: list[NamedEntry] = []  # that are in these slots
        self._listeners: list[tuple[str | None, OutputListener]] = []
        self._signals: dict[str, Callable[[float], object]] = {}
        self._is_attached = False
        self._draws = flag(spec, "signals", True)
        self._acts = type(self).outputs_changed is not SimulatedDevice.outputs_changed
        self._holds = flag(spec, "hold_outputs")
        self._delay_us = integer(spec, "mailbox_us", 0, 0, 10_000_000)
        self._inputs: dict[str, Value] = {name: entry.decode(0) for name, entry in self.inputs_by_name.items()}
        self._forced: dict[str, list[Parameters]] = {}
        identity = self.dictionary.objects.get(0x1018)
        self._identity = {} if identity is None else {sub: entry.value for sub, entry in identity.entries.items()}
        self._defaults = [
            (entry, entry.value)
            for found in self.dictionary
            for entry in found.entries.values()
            if not entry.access & Access.TX_MAPPABLE
        ]

    # --- for scenarios and plants -------------------------------------------------------------------------------

    def set(self, key: Key, value: Value) -> None:
        """Set what the process gives to an input, in engineering units; beyond its range it becomes the nearest."""
        entry = self._find(self.inputs_by_name, key, "input")
        if self._inputs[entry.name] != value:
            self._inputs[entry.name] = value
            self.show(entry)

    def input(self, key: Key) -> Value:
        """Return what the device reports for an input: quantised, and forced where a fault says so."""
        entry = self._find(self.inputs_by_name, key, "input")
        return entry.decode(int.from_bytes(self.dictionary.entry(entry.index, entry.subindex).value, "little"))

    def output(self, key: Key) -> Value:
        """Return an output as it stands now, in engineering units."""
        return self.output_value(self._find(self.outputs_by_name, key, "output"))

    def on_output(self, listener: OutputListener, key: Key | None = None) -> None:
        """Have ``listener`` called with name and value when an output has changed; ``key`` None: any output."""
        name = None if key is None else self._find(self.outputs_by_name, key, "output").name
        self._listeners.append((name, listener))

    def emergency(self, error_code: int, error_register: int = 0x01, data: bytes = b"") -> None:
        """Send a CoE emergency; a device without a mailbox stays silent."""
        if self.mailbox is not None:
            self.mailbox.emergency(error_code, error_register, data)

    # --- what kinds of devices add ------------------------------------------------------------------------------

    def outputs_changed(self, entries: Sequence[NamedEntry]) -> None:
        """Act on named outputs that have changed; called before the listeners."""

    def output_value(self, entry: NamedEntry) -> Value:
        """Return what the device makes of an output."""
        return entry.decode(
            int.from_bytes(self.dictionary.objects[entry.index].entries[entry.subindex].value, "little")
        )

    def check_object(self, index: int, subindex: int, value: bytes) -> int:  # noqa: ARG002 - what a subclass decides by
        """Return 0 to accept a value written by SDO, else the abort code."""
        return 0

    def object_written(self, index: int, subindex: int) -> None:
        """Act on a value written by SDO."""

    def show(self, entry: NamedEntry) -> None:
        """Put what an input says now, faults included, into the image."""
        forced = self._forced.get(entry.name)
        self.put(entry, float(forced[-1]["value"]) if forced else self._inputs[entry.name])

    def put(self, entry: NamedEntry, value: Value) -> None:
        """Put a value into the image and the dictionary."""
        word = entry.encode(value)
        stored = self.dictionary.objects[entry.index].entries[entry.subindex]
        data = word.to_bytes(max(stored.byte_length, (entry.bits + 7) // 8), "little")
        if stored.value != data:
            stored.value = data
            self.input_data.put(entry.index, entry.subindex, word)
            self._draw(entry, entry.decode(word))

    # --- Application --------------------------------------------------------------------------------------------

    def attach(self, esc: EscPort) -> None:
        self.esc = esc
        self._is_attached = True
        if self.spec.mailbox is not None:
            server = SdoServer(self.dictionary, self, self.spec.mailbox, lambda: esc.state)
            information = self.spec.mailbox.sdo_info
            self.mailbox = MailboxServer(esc, server, has_information=information, delay_us=self._delay_us)

    def power_on(self) -> None:
        for entry, value in self._defaults:
            entry.value = value
        self._rebuild()
        if self.mailbox is not None:
            self.mailbox.reset()

    def state_changed(self, state: AlState) -> None:
        if state is AlState.INIT and self.mailbox is not None:
            self.mailbox.reset()

    def process_data_bytes(self) -> tuple[int, int] | None:
        return self.output_data.byte_length, self.input_data.byte_length

    def outputs(self, data: memoryview) -> None:
        self._take_outputs(data.tobytes())

    def outputs_in_effect(self) -> bytes | None:
        return self.output_data.image

    def safe_outputs(self, reason: str) -> None:  # noqa: ARG002 - they are the same whatever the reason
        if not self._holds:
            self._take_outputs(bytes(self.output_data.byte_length))

    def inputs(self, data: memoryview) -> bool:
        image = self.input_data.image
        try:
            data[_ALL] = image
        except ValueError:  # a terminal that emulates its states does not check what the MainDevice configures
            length = min(len(data), len(image))
            data[:length] = image[:length]
        return True

    def mail(self, data: bytes) -> None:
        if self.mailbox is not None:
            self.mailbox.receive(data)

    def fault_kinds(self) -> Mapping[str, FaultKind]:
        kinds: dict[str, FaultKind] = {} if self.mailbox is None else self.mailbox.fault_kinds()
        if self.inputs_by_name:
            entry = Param(str, choices=tuple(self.inputs_by_name))
            kinds["force-input"] = FaultKind(
                start=self._force,
                stop=self._release,
                params={"entry": entry, "value": Param(float, default=0.0)},
                describe="input {entry} shows {value}",
            )
        return kinds

    # --- ObjectOwner --------------------------------------------------------------------------------------------

    def refresh(self, index: int, subindex: int) -> None:
        """Show in object 0x1018 who the device says it is, while a fault has it say another name."""
        if index == 0x1018 and 1 <= subindex <= 3:
            entry, said = self.dictionary.entry(index, subindex), self.esc.identity
            if said == (self.spec.identity or NO_IDENTITY):
                entry.value = self._identity[subindex]
            else:
                entry.number = (said.vendor_id, said.product_code, said.revision)[subindex - 1]

    def check(self, index: int, values: dict[int, bytes], *, complete: bool) -> int:
        if self._rules.covers(index):
            return self._rules.check(index, values, complete=complete)
        return next((code for sub, value in values.items() if (code := self.check_object(index, sub, value))), 0)

    def written(self, index: int, subindices: tuple[int, ...]) -> None:
        if self._rules.covers(index):
            self._rebuild()
            return
        for subindex in subindices:
            number = int.from_bytes(self.dictionary.entry(index, subindex).value, "little")
            self.output_data.put(index, subindex, number)
            self.input_data.put(index, subindex, number)
            self.object_written(index, subindex)
        changed = [entry for sub in subindices if (entry := self._outputs_by_object.get((index, sub))) is not None]
        self._tell(changed)

    # --- inside -------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        self.output_data.rebuild()
        self.input_data.rebuild()

    def _take_outputs(self, data: bytes) -> None:
        changed = self.output_data.take(data)
        if changed and (self._draws or self._listeners or self._acts):
            self._tell_of(changed)

    def _tell_of(self, changed: Sequence[Slot]) -> None:
        if changed is not self._told:  # a device with one object gives the same slots in every frame
            find = self._outputs_by_object
            found = [find.get((slot.index, slot.subindex)) for slot in changed]
            self._told, self._told_entries = changed, [entry for entry in found if entry is not None]
        self._tell(self._told_entries)

    def _tell(self, entries: Sequence[NamedEntry]) -> None:
        if not entries:
            return
        if self._acts:
            self.outputs_changed(entries)
        for entry in entries:
            value = self.output_value(entry)
            self._draw(entry, value)
            for name, listener in self._listeners:
                if name is None or name == entry.name:
                    listener(entry.name, value)

    def _draw(self, entry: NamedEntry, value: Value) -> None:
        if self._draws and self._is_attached:
            record = self._signals.get(entry.name)
            if record is None:
                plot = self.esc.world.recorder.plot
                record = self._signals[entry.name] = plot(f"{self.label}.{entry.name}", entry.spec.unit)
            record(float(value))

    def _force(self, given: Parameters) -> None:
        name = str(given["entry"])
        self._forced.setdefault(name, []).append(given)
        self.show(self.inputs_by_name[name])

    def _release(self, given: Parameters) -> None:
        name = str(given["entry"])
        self._forced[name] = [other for other in self._forced[name] if other is not given]
        self.show(self.inputs_by_name[name])

    def _find(self, entries: Mapping[str, NamedEntry], key: Key, what: str) -> NamedEntry:
        names = tuple(entries)
        if isinstance(key, int) and 1 <= key <= len(names):
            return entries[names[key - 1]]
        if isinstance(key, str) and key in entries:
            return entries[key]
        listed = ", ".join(names) or "none"
        raise ConfigurationError(f"device {self.label!r} has no {what} {key!r}; it has {listed} (or 1 to {len(names)})")


def _by_name(pdos: Sequence[MappedPdo]) -> dict[str, NamedEntry]:
    found = (named(entry, pdo.index) for pdo in pdos for entry in pdo.entries)
    return {entry.name: entry for entry in found if entry is not None}
