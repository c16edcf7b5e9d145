"""What a simulated drive shows: its feedback objects in dictionary, image and signals; no physics here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from taktora.ethercat.dictionary import ObjectEntry
from taktora_sim.ethercat.devices import drive_objects as od
from taktora_sim.ethercat.devices.values import NamedEntry, Value

if TYPE_CHECKING:
    from taktora_sim.ethercat.devices.drive import Cia402Drive

__all__ = ["Feedback"]

_LOW_LIMIT, _HIGH_LIMIT = 0x1, 0x2
_RATED: Final = 1000.0


class _Live:
    """One value: its entry, its bits, where it comes from, and its name where it has one."""

    __slots__ = ("entry", "index", "length", "mask", "named", "source", "word")

    def __init__(self, index: int, entry: ObjectEntry, source: Callable[[], int], named: NamedEntry | None) -> None:
        self.index = index
        self.entry = entry
        self.length = entry.byte_length
        self.mask = (1 << entry.bits) - 1
        self.source = source
        self.named = named
        self.word = -1


class Feedback:
    """The feedback objects of one drive; those that are mapped are shown in each frame, all of them when asked for.

    Args:
        drive: Whose they are.
        named: Entries with a name.
        is_forced: Says whether a fault has an entry show something else.
        draw: Told of new values of named entries.
    """

    def __init__(
        self,
        drive: Cia402Drive,
        named: Iterable[NamedEntry],
        is_forced: Callable[[NamedEntry], bool],
        draw: Callable[[NamedEntry, Value], None],
    ) -> None:
        by_index = {entry.index: entry for entry in named if entry.subindex == 0}
        self._live = {
            index: _Live(index, drive.dictionary.entry(index), source, by_index.get(index))
            for index, source in _sources(drive).items()
        }
        self._image = drive.input_data
        self._is_forced = is_forced
        self._draw = draw
        self._mapped: list[_Live] = []
        self.find_mapped()

    def find_mapped(self) -> None:
        """Follow a new mapping."""
        self._mapped = [live for live in self._live.values() if self._image.slot(live.index, 0) is not None]

    def show_mapped(self) -> None:
        """Bring the image up to date."""
        for live in self._mapped:
            self._show(live)

    def show_all(self) -> None:
        """Bring image and dictionary up to date."""
        for live in self._live.values():
            self._show(live)

    def renew(self, index: int) -> bool:
        """Have the next value of ``index`` shown even if it is the same; False if it is no feedback object."""
        live = self._live.get(index)
        if live is not None:
            live.word = -1
        return live is not None

    def _show(self, live: _Live) -> None:
        word = live.source() & live.mask
        if word == live.word or (live.named is not None and self._is_forced(live.named)):
            return
        live.word = word
        live.entry.value = word.to_bytes(live.length, "little")
        self._image.put(live.index, 0, word)
        if live.named is not None:
            self._draw(live.named, live.named.decode(word))


def _sources(drive: Cia402Drive) -> dict[int, Callable[[], int]]:
    """Return where the value of each object comes from; servo and axis of a drive may be replaced."""

    def velocity() -> int:
        return round(drive.servo.seen_velocity * drive.increments_per_unit)

    def velocity_demand() -> int:
        has_torque = drive.power.state.has_torque
        return round(drive.servo.reference.velocity * drive.increments_per_unit) if has_torque else 0

    def torque() -> int:
        return round(drive.servo.force / drive.axis.parameters.rated_force * _RATED)

    def digital_inputs() -> int:
        axis = drive.axis
        return (_LOW_LIMIT if axis.at_low_switch else 0) | (_HIGH_LIMIT if axis.at_high_switch else 0)

    return {
        od.STATUSWORD: drive.shown_statusword,
        od.POSITION: drive.shown_position,
        od.VELOCITY: velocity,
        od.MODE_DISPLAY: lambda: drive.mode,
        od.ERROR_CODE: lambda: drive.error_code,
        od.POSITION_DEMAND: drive.shown_demand,
        od.VELOCITY_DEMAND: velocity_demand,
        od.FOLLOWING_ERROR: drive.shown_following_error,
        od.TORQUE: torque,
        od.DIGITAL_INPUTS: digital_inputs,
    }
