"""What a simulated drive shows: its feedback objects in dictionary, image and signals; no physics here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taktora.ethercat.dictionary import ObjectDictionary, ObjectEntry
from taktora_sim.ethercat.devices.drive_objects import FEEDBACK
from taktora_sim.ethercat.devices.values import NamedEntry, Value
from taktora_sim.ethercat.processdata import ProcessData

__all__ = ["Feedback"]


class _Live:
    """One value: its entry, its bits, and its name where it has one."""

    __slots__ = ("entry", "length", "mask", "named", "word")

    def __init__(self, entry: ObjectEntry, named: NamedEntry | None) -> None:
        self.entry = entry
        self.length = entry.byte_length
        self.mask = (1 << entry.bits) - 1
        self.named = named
        self.word = -1


class Feedback:
    """The feedback objects of one drive.

    Args:
        dictionary: Where they are.
        image: The inputs; what is mapped there is shown there.
        named: Entries with a name.
        is_forced: Says whether a fault has an entry show something else.
        draw: Told of new values of named entries.
    """

    def __init__(
        self,
        dictionary: ObjectDictionary,
        image: ProcessData,
        named: Iterable[NamedEntry],
        is_forced: Callable[[NamedEntry], bool],
        draw: Callable[[NamedEntry, Value], None],
    ) -> None:
        by_index = {entry.index: entry for entry in named if entry.subindex == 0}
        self._live = {index: _Live(dictionary.entry(index), by_index.get(index)) for index in FEEDBACK}
        self._image = image
        self._is_forced = is_forced
        self._draw = draw

    def give(self, index: int, value: int) -> None:
        """Show ``value`` as object ``index``, unless it is shown already or a fault forces it."""
        live = self._live[index]
        word = value & live.mask
        if word == live.word or (live.named is not None and self._is_forced(live.named)):
            return
        live.word = word
        live.entry.value = word.to_bytes(live.length, "little")
        self._image.put(index, 0, word)
        if live.named is not None:
            self._draw(live.named, live.named.decode(word))

    def renew(self, index: int) -> bool:
        """Have the next value of ``index`` shown even if it is the same; False if it is no feedback object."""
        live = self._live.get(index)
        if live is not None:
            live.word = -1
        return live is not None
