"""One message of a rest-bus as numbers: its signals, their generators and disturbances, and the bytes they make.

It knows no bus and no clock. A frame is packed like this: values of the generators; disturbances that the checksum
covers; checksums over the frame as it stands, and their disturbances; disturbances that the checksum is not to fit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, TypeAlias

from taktora.errors import ConfigurationError
from taktora_sim.can.restbus.disturbances import Change, Disturbance
from taktora_sim.can.restbus.generators import Checksum, Constant, Function, Generator, Moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taktora.codec.dbc import DbcMessage, DbcSignal

__all__ = ["RestFrame", "RestSignal", "Source", "nearest"]

Source: TypeAlias = float | str | Generator | Checksum | Function
"""What gives the values of a signal: a number, a name of its value table, a generator, a checksum, or a function."""

_FLOATS: Final = {16: ("<e", "<H"), 32: ("<f", "<I"), 64: ("<d", "<Q")}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the closing words of a refusal: the nearest of the known names, and what else there is."""
    names = sorted(known)
    close = [known for known in names if name and known.lower().startswith(name.lower())]
    close = close or get_close_matches(name, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"there are {listed or 'none'}"


@dataclass(eq=False, slots=True)
class _Effect:
    """One disturbance at work; ``left`` None is for ever."""

    change: Change
    left: int | None
    is_covered: bool
    on_used_up: Callable[[], None] | None


class RestSignal:
    """One signal of a rest-bus message; made by ``RestBus``."""

    def __init__(self, signal: DbcSignal, message: DbcMessage) -> None:
        self.signal = signal
        self.name = signal.name
        self.source: Source | None = None
        """What gives its values; None is the start value of the DBC."""
        self.checksum: Callable[[bytes], int] | None = None
        self.raw: int | None = None
        """Bit pattern sent last."""
        self.effects: list[_Effect] = []
        self._message = message
        self._mask = (1 << signal.bits) - 1
        if not signal.factor:
            raise ConfigurationError(f"{self._place}: its factor is 0, so no value can be sent; correct the DBC")
        low, high = signal.limits
        self._steps = (0, -1) if signal.is_float else tuple(sorted((signal.steps(low), signal.steps(high))))
        self._constant = self._start_raw()
        self._function: Callable[[Moment], int] | None = None

    @property
    def value(self) -> float | None:
        """Physical value sent last, as a receiver sees it; None before the first sending."""
        return None if self.raw is None else self.signal.raw_to_physical(self.raw)

    # req: REQ_8208
    def set(self, source: Source) -> None:
        """Take values from ``source`` from now on.

        Args:
            source: A physical value, a name of the signal's value table (``VAL_``), a generator, a checksum, or a
                function of the moment that returns a physical value.

        Raises:
            ConfigurationError: a value outside the signal's range, or something that is no source for this signal.
        """
        try:
            self._bind(source)
        except ValueError as error:
            raise self._refusal(error) from error
        self.source = source

    # req: REQ_8204
    def disturb(
        self,
        disturbance: Disturbance,
        *,
        times: int | None = None,
        keep_checksum: bool = True,
        on_used_up: Callable[[], None] | None = None,
    ) -> Callable[[], None]:
        """Send something else from now on, and return the function that ends it.

        Args:
            disturbance: What is wrong, for example ``Offset(1)`` or ``Freeze()``.
            times: How many sendings of the signal are disturbed; None: all until it ends.
            keep_checksum: Whether checksums of the message are computed over the disturbed value, so that they fit.
                Without meaning for a checksum itself: a disturbed one is wrong.
            on_used_up: Called at the last of ``times`` sendings.

        Raises:
            ConfigurationError: ``times`` is below 1, or it cannot be done with this signal.
        """
        if times is not None and times < 1:
            raise ConfigurationError(f"{self._place}: a disturbance of {times} sendings; give 1 or more, or None")
        try:
            effect = _Effect(
                disturbance.bind(self.signal), times, keep_checksum or self.checksum is not None, on_used_up
            )
        except ValueError as error:
            raise self._refusal(error) from error
        self.effects.append(effect)
        return lambda: self._end(effect)

    def select(self, raws: Sequence[int]) -> None:
        """Take the bit patterns one after the other at each sending of this signal: a multiplexer goes round."""
        turn = 0

        def function(_moment: Moment) -> int:
            nonlocal turn
            turn += 1
            return raws[(turn - 1) % len(raws)]

        self._function = function

    def due(self, moment: Moment) -> int:
        """Return the bit pattern that the generator wants at ``moment``.

        Raises:
            ConfigurationError: a function gave no number, or one outside the range.
        """
        return self._constant if self._function is None else self._function(moment)

    def disturbed(self, raw: int, before: int | None, is_covered: bool) -> int:
        """Return what the disturbances of one kind make of a bit pattern, and count them.

        Args:
            raw: The pattern that is due.
            before: The one sent last.
            is_covered: Which disturbances: those that checksums cover, or the others.
        """
        for effect in [effect for effect in self.effects if effect.is_covered is is_covered]:
            raw = effect.change(raw, before)
            if effect.left is not None:
                effect.left -= 1
                if not effect.left:
                    self._end(effect)
                    if effect.on_used_up is not None:
                        effect.on_used_up()
        return raw

    @property
    def _place(self) -> str:
        return f"rest-bus signal {self._message.name}.{self.name}"

    def _refusal(self, error: ValueError) -> ConfigurationError:
        return ConfigurationError(f"{self._place}: {str(error).removeprefix(f'signal {self.name}: ')}")

    def _end(self, effect: _Effect) -> None:
        self.effects[:] = [other for other in self.effects if other is not effect]

    def _bind(self, source: Source) -> None:
        checksum, function, constant = None, None, self._constant
        if isinstance(source, Checksum):
            checksum = source.over(self.signal, self._message.length_bytes)
        elif isinstance(source, str):
            constant = self._named(source)
        elif isinstance(source, int | float | Constant):
            value = source.value if isinstance(source, Constant) else source
            constant = self.signal.physical_to_raw(value)
        else:
            function = self._pattern_of(source.bind(self.signal) if isinstance(source, Generator) else source)
        self.checksum, self._function, self._constant = checksum, function, constant

    def _named(self, name: str) -> int:
        for raw, text in self.signal.choices.items():
            if text == name:
                return raw & self._mask
        raise ValueError(f"it has no value named {name!r}; {nearest(name, self.signal.choices.values())}")

    def _pattern_of(self, function: Function) -> Callable[[Moment], int]:
        if not callable(function):
            raise ValueError(f"{function!r} is no number, no generator and no function of the moment")
        (first, last), steps_of, mask, exact = self._steps, self.signal.steps, self._mask, self.signal.physical_to_raw

        def pattern(moment: Moment) -> int:
            value = function(moment)
            try:
                if first <= last and math.isfinite(value):
                    steps = steps_of(value)
                    if first <= steps <= last:  # what rounds into the range is in it
                        return steps & mask
                return exact(value)
            except (TypeError, ValueError) as error:
                found = error if isinstance(error, ValueError) else ValueError(f"{value!r} is no number")
                refusal = self._refusal(found)
                raise ConfigurationError(f"{refusal} at sending {moment.number + 1}") from error

        return pattern

    def _start_raw(self) -> int:
        signal, start = self.signal, self.signal.start_raw
        if start is None:
            low, high = signal.limits
            return signal.physical_to_raw(min(max(0, low), high)) if low <= high else 0
        try:
            return _pattern_of_start(signal, start)
        except OverflowError:
            raise ConfigurationError(
                f"{self._place}: GenSigStartValue {start} does not fit its {signal.bits} bits (it is raw, without "
                "factor and offset); correct the DBC"
            ) from None


def _pattern_of_start(signal: DbcSignal, start: float) -> int:
    if signal.is_float:
        float_code, int_code = _FLOATS[signal.bits]
        pattern: int = struct.unpack(int_code, struct.pack(float_code, start))[0]
        return pattern
    if not -(1 << signal.bits - 1) <= start < 1 << signal.bits:
        raise OverflowError
    return int(start) & (1 << signal.bits) - 1


class RestFrame:
    """The data of one message."""

    def __init__(self, message: DbcMessage) -> None:
        self.message = message
        self.signals: dict[str, RestSignal] = {signal.name: RestSignal(signal, message) for signal in message.signals}
        self._padding = bytes(message.frame_bytes - message.length_bytes)
        for name, raws in _multiplexes(message).items():
            self.signals[name].select(sorted(raws))

    def signal(self, name: str) -> RestSignal:
        """Return a signal.

        Raises:
            ConfigurationError: the message has none of that name; the nearest is named.
        """
        if name not in self.signals:
            raise ConfigurationError(
                f"rest-bus message {self.message.name} has no signal {name!r}; {nearest(name, self.signals)}"
            )
        return self.signals[name]

    # req: REQ_8208
    def build(self, moment: Moment) -> bytes:
        """Return the data to send at ``moment``, padded to a length that the frame can have."""
        image = _Image(self.message.length_bytes)
        selected: dict[str, int] = {}
        checksums: list[RestSignal] | None = None
        late: list[tuple[RestSignal, int | None]] | None = None
        for signal in self.signals.values():
            layout = signal.signal
            if layout.multiplexer is not None and selected.get(layout.multiplexer) not in layout.present_at:
                continue
            if signal.checksum is not None:
                checksums = [*(checksums or ()), signal]
                continue
            raw = selected[layout.name] = signal.due(moment)
            if signal.effects:
                late = [*(late or ()), (signal, signal.raw)]
                raw = signal.disturbed(raw, signal.raw, is_covered=True)
            signal.raw = raw
            image.put(layout, raw)
        if checksums is not None:
            self._close(image, checksums)
        for signal, before in late or ():
            assert signal.raw is not None
            signal.raw = signal.disturbed(signal.raw, before, is_covered=False)
            image.replace(signal.signal, signal.raw)
        return image.to_bytes() + self._padding

    @staticmethod
    def _close(image: _Image, checksums: Iterable[RestSignal]) -> None:
        for signal in checksums:
            assert signal.checksum is not None
            raw = signal.checksum(image.to_bytes())
            signal.raw = signal.disturbed(raw, signal.raw, is_covered=True)
            image.put(signal.signal, signal.raw)


class _Image:
    """Bits of a payload: Intel signals in one number, Motorola ones in another."""

    __slots__ = ("_big", "_length", "_little")

    def __init__(self, length: int) -> None:
        self._length = length
        self._little = self._big = 0

    def put(self, signal: DbcSignal, raw: int) -> None:
        """Write bits that are 0 so far."""
        if signal.is_motorola:
            self._big |= raw << signal.shift
        else:
            self._little |= raw << signal.shift

    def replace(self, signal: DbcSignal, raw: int) -> None:
        """Write bits whatever they were."""
        mask = (1 << signal.bits) - 1 << signal.shift
        if signal.is_motorola:
            self._big &= ~mask
        else:
            self._little &= ~mask
        self.put(signal, raw)

    def to_bytes(self) -> bytes:
        """Return the payload as it stands."""
        little, length = self._little, self._length
        if self._big:
            little |= int.from_bytes(self._big.to_bytes(length, "big"), "little")
        return little.to_bytes(length, "little")


def _multiplexes(message: DbcMessage) -> Mapping[str, set[int]]:
    """Return, by multiplexer, the values at which there is something behind it."""
    found: dict[str, set[int]] = {}
    for signal in message.signals:
        if signal.multiplexer is not None:
            found.setdefault(signal.multiplexer, set()).update(signal.present_at)
    return found
