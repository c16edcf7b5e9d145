"""What happens to a frame that something can happen to: who sees an error, what it costs, who may go on (ISO 11898-1).

The bus asks here only for starts of frame at which an error, an error counter above zero, a missing receiver or an
unusual node is to be looked at; all other frames pass it by.

Modelled: the earliest of the errors that hit a frame destroys it; the error flag with its echoes, 6 to 12 bits by what
was on the wire before it; the error delimiter and the intermission; a receiver that is passive only loses the frame;
frames that receivers took for good before the transmitter saw an error in the last bit of the end of frame, and which
therefore come twice; the suspended transmission of a passive transmitter; one-shot nodes; recovery from bus-off.
Simplified: all counters change at the end of the error delimiter; no error flag is hit by a further error; a node of
another bit rate sees its error at the sixth bit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from taktora.can.interface import CanFrame
from taktora_sim.can.errors import (
    Attempt,
    BusError,
    FrameLoss,
    WireError,
    WireErrorKind,
    arbitration_lost,
    bus_error,
)
from taktora_sim.can.timing import INTERMISSION_BITS, WireImage, phase_bits, wire_image

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus
    from taktora_sim.can.node import CanNode, Pending
    from taktora_sim.world import Timer

__all__ = ["Confinement", "flag_bits"]

_STUFF_RUN: Final = 5
_FLAG_BITS: Final = 6
_DELIMITER_BITS: Final = 8
_SUSPENSION_BITS: Final = 8
_RECESSIVE_BITS: Final = 11
_RECOVERY_OCCURRENCES: Final = 128
_RATE_ERROR_BIT: Final = 6
_KIND_CODES: Final = {kind: code for code, kind in enumerate(WireErrorKind, 1)}
_pack_error = struct.Struct("<IBHI").pack
_U32 = 0xFFFF_FFFF


class _Fate(NamedTuple):
    """The error that destroys a frame: seen at ``bit``, flagged from ``flag_bit`` on, first by these receivers."""

    kind: WireErrorKind
    bit: int
    flag_bit: int
    firsts: tuple[CanNode, ...]


class _Start(NamedTuple):
    """One start of frame: who sends what, and who hears it.

    ``frames`` are those of the senders, all equal but in a collision, which ``collision`` is the first bit of; the
    first sender and its head, frame and image are those that are recessive there.
    """

    start_ns: int
    senders: list[CanNode]
    frames: list[CanFrame]
    collision: int | None
    head: Pending
    image: WireImage
    receivers: list[CanNode]
    number: int

    @property
    def frame(self) -> CanFrame:
        """That of the first sender, as it is sent."""
        return self.frames[0]


def flag_bits(
    image: WireImage, kind: WireErrorKind, flag_bit: int, *, echo: bool, sender_echo: bool, passive: bool = False
) -> int:
    """Return how long an error flag lasts with the echoes of nodes that see it later, 6 to 12 bits.

    Args:
        image: The frame it destroys.
        kind: The error; the bit of a bit error had the opposite level on the wire.
        flag_bit: First bit of the flag.
        echo: Receivers answer it: at the sixth equal bit, or at once where the frame has a fixed form.
        sender_echo: The transmitter answers it, after the first recessive bit that it sends and does not see.
        passive: The flag is that of a passive transmitter, six recessive bits.
    """
    echoes = [0]
    if echo:
        if flag_bit > image.starts["crc_delimiter"]:
            echoes.append(2 if flag_bit == image.starts["ack"] else 1)
        else:
            before = image.bits[:flag_bit]
            if kind is WireErrorKind.BIT:
                before = before[:-1] + ("1" if before[-1] == "0" else "0")
            run = len(before) - len(before.rstrip("1" if passive else "0"))
            echoes.append(_FLAG_BITS - min(run, _FLAG_BITS - 1))
    if sender_echo:
        first = image.bits.find("1", flag_bit)
        echoes.append(min(first - flag_bit + 1, _FLAG_BITS) if first >= 0 else 1)
    return _FLAG_BITS + max(echoes)


class _Recovery:
    """One node on its way back from bus-off: 128 occurrences of 11 recessive bits, counted over stretches of them."""

    def __init__(self, node: CanNode, finish: Callable[[_Recovery], None]) -> None:
        self.node = node
        self._bus = node.bus  # the node may leave it
        self._finish = finish
        self._done = 0
        self._since_ns: int | None = None
        self._timer: Timer | None = None

    @property
    def is_under_way(self) -> bool:
        """The node is still on this bus, its interface up, and bus-off."""
        return self.node.bus is self._bus and self.node.is_up and self.node.controller.is_bus_off

    def begin(self, since_ns: int) -> None:
        """The wire is recessive from ``since_ns`` on, until further notice."""
        if self._since_ns is None:
            self._since_ns = since_ns
            left = self._bus.duration_ns(_RECESSIVE_BITS * (_RECOVERY_OCCURRENCES - self._done))
            due_ns = max(since_ns + left, self._bus.world.now_ns())
            self._timer = self._bus.world.call_at(due_ns, partial(self._finish, self))

    def interrupt(self, now_ns: int) -> None:
        """A frame starts: what is left of an occurrence does not count."""
        if self._since_ns is not None:
            half_a_bit_ns = self._bus.duration_ns(1) // 2
            stretch_ns = now_ns - self._since_ns + half_a_bit_ns
            self._done += stretch_ns * self._bus.bitrate // (_RECESSIVE_BITS * 1_000_000_000)
            self.cancel()

    def cancel(self) -> None:
        """Stop counting."""
        self._since_ns = None
        if self._timer is not None:
            self._timer.cancel()


# req: REQ_8201
class Confinement:
    """Errors on one bus, and the nodes' way through their states; made by the bus."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self.observers: list[Callable[[BusError], None]] = []
        self._bus = bus
        self._recoveries: list[_Recovery] = []

    def survey(self, hearing: Sequence[CanNode]) -> tuple[bool, bool]:
        """Tell whether any start of frame, and any of a CAN FD frame, needs care with these nodes on the bus."""
        bus = self._bus
        for recovery in self._recoveries:
            if not recovery.is_under_way:
                recovery.cancel()
        self._recoveries = [recovery for recovery in self._recoveries if recovery.is_under_way]
        acknowledging = sum(not node.options.listen_only for node in hearing)
        needs_care = (
            (acknowledging < 2 and not bus.acknowledge)
            or bool(self._recoveries)
            or any(
                not node.controller.is_clean
                or node.bitrate != bus.bitrate
                or node.options.one_shot
                or node.options.report_lost_arbitration
                for node in hearing
            )
        )
        data_bitrate = bus.data_bitrate or bus.bitrate
        return needs_care, any(not node.carries_fd or node.data_bitrate != data_bitrate for node in hearing)

    def start(self, winners: list[CanNode]) -> None:
        """Put the heads of ``winners``, which are of one rank, on the wire, and settle what becomes of them."""
        bus = self._bus
        self.interrupt()
        start = self._begin(winners)
        fate, deaf = self._judge(start)
        self._tell_losers(winners, start.frame, start.start_ns)
        if fate is None:
            counts = phase_bits(start.frame, len(start.image.bits))
            bus.carry(start.start_ns, start.frame, start.head, start.senders, deaf, counts)
        else:
            for node in winners:
                node.note_wait(start.start_ns)
            self._destroy(start, fate, deaf)

    def succeed(self, senders: Sequence[CanNode], deaf: Sequence[CanNode]) -> None:
        """Settle the counters after a frame that went through, for all but the ``deaf``."""
        bus = self._bus
        for node in bus.hearing:
            if node in senders:
                node.controller.sent()
            elif not node.options.listen_only:
                if node in deaf:
                    node.controller.receive_error()
                else:
                    node.controller.received()
        self._end(senders)

    def recover(self, node: CanNode) -> None:
        """Start to count the recessive bits that bring ``node`` back."""
        bus = self._bus
        recovery = _Recovery(node, self._recovered)
        self._recoveries.append(recovery)
        now_ns = bus.world.now_ns()
        is_idle = now_ns >= bus.free_at_ns - bus.duration_ns(INTERMISSION_BITS)
        if not bus.is_held:
            recovery.begin(now_ns if is_idle else bus.free_at_ns - bus.duration_ns(_RECESSIVE_BITS))
        bus.rewire()

    def interrupt(self) -> None:
        """The wire does not stay recessive: recovering nodes stop counting."""
        for recovery in self._recoveries:
            recovery.interrupt(self._bus.world.now_ns())

    def resume(self, since_ns: int) -> None:
        """The wire is recessive from ``since_ns`` on: recovering nodes go on counting."""
        for recovery in self._recoveries:
            recovery.begin(since_ns)

    def _recovered(self, recovery: _Recovery) -> None:
        recovery.node.controller.reset()
        self._bus.rewire()
        self._bus.request_if_wanted(self._bus.world.now_ns())

    def _begin(self, winners: list[CanNode]) -> _Start:
        bus, senders, collision = self._bus, winners, None
        for node in winners:
            node.on_wire = node.queue[0]
        frames = [_head_of(node) for node in senders]
        if any(frame != frames[0] for frame in frames):
            bus.collisions += 1
            collision = _first_difference(frames)
            senders = sorted(senders, key=lambda node: wire_image(_head_of(node)).bits[collision], reverse=True)
            frames = [_head_of(node) for node in senders]
        receivers = [node for node in bus.hearing if node not in winners]
        number = senders[0].attempts() + 1
        image = wire_image(frames[0])
        return _Start(bus.world.now_ns(), senders, frames, collision, senders[0].queue[0], image, receivers, number)

    def _tell_losers(self, winners: Sequence[CanNode], frame: CanFrame, now_ns: int) -> None:
        for node in self._bus.hearing:
            if node.queue and node not in winners and not node.is_suspended and not node.options.listen_only:
                if node.options.report_lost_arbitration:
                    node.report(arbitration_lost(node.queue[0].frame, frame, now_ns))
                if node.options.one_shot:
                    node.give_up(FrameLoss.ONE_SHOT)

    def _judge(self, start: _Start) -> tuple[_Fate | None, tuple[CanNode, ...]]:
        """Return the error that destroys the frame, if any, and the receivers that lose it without disturbing it."""
        fates: list[_Fate] = []
        deaf: list[CanNode] = []
        for error in self._errors(start):
            fate = _fate_of(error, start, deaf)
            if fate is not None:
                fates.append(fate)
        if not self._bus.acknowledge and not any(
            not node.options.listen_only
            and node not in deaf
            and not any(fate.kind is WireErrorKind.CRC and node in fate.firsts for fate in fates)
            for node in start.receivers
        ):
            slot = start.image.starts["ack"]
            fates.append(_Fate(WireErrorKind.ACK, slot, slot + 1, ()))
        return (min(fates, key=lambda fate: fate.flag_bit) if fates else None), tuple(deaf)

    def _errors(self, start: _Start) -> list[WireError]:
        """Return what is to happen to this attempt: by a collision, a fault, a wrong bit rate, a classical node."""
        errors: list[WireError] = []
        if start.collision is not None:
            errors.append(WireError(WireErrorKind.BIT, start.collision))
        if self._bus.wire_faults:
            attempt = Attempt(start.start_ns, start.senders[0].name, start.head.frame, start.number)
            errors += [error for error in [_first_answer(self._bus.wire_faults, attempt)] if error is not None]
        errors += _misfits(start)
        return errors

    def _destroy(self, start: _Start, fate: _Fate, deaf: Sequence[CanNode]) -> None:
        bus, image = self._bus, start.image
        is_active = any(not node.controller.is_passive for node in start.senders)
        others = [node for node in start.receivers if not node.options.listen_only and node not in fate.firsts]
        last_bit = len(image.bits) - INTERMISSION_BITS - 1
        is_unnoticed = not fate.firsts and not is_active and fate.flag_bit >= image.starts["ack"]
        echo = any(not node.controller.is_passive for node in others) and not is_unnoticed
        length = flag_bits(
            image,
            fate.kind,
            fate.flag_bit,
            echo=echo,
            sender_echo=bool(fate.firsts) and is_active,
            passive=not fate.firsts and not is_active,
        )
        accepted: list[CanNode] = []
        if is_unnoticed or fate.flag_bit >= last_bit:
            accepted = [node for node in start.receivers if node not in fate.firsts and node not in deaf]
            end = phase_bits(start.frame, last_bit + 1)
            bus.world.post_at(start.start_ns + bus.duration_ns(*end), partial(self._accept, start, accepted))
        nominal, data = phase_bits(start.frame, fate.flag_bit)
        nominal += length + _DELIMITER_BITS
        end_ns = start.start_ns + bus.duration_ns(nominal, data)
        bus.free_at_ns = start.start_ns + bus.duration_ns(nominal + INTERMISSION_BITS, data)
        bus.world.post_at(end_ns, partial(self._break_off, start, fate, accepted, length > _FLAG_BITS))

    def _accept(self, start: _Start, accepted: Sequence[CanNode]) -> None:
        """Give the frame to those that took it for good; its sender will send it once more."""
        frame = start.frame._replace(timestamp_ns=self._bus.world.now_ns())
        for node in accepted:
            if node.is_on_bus:
                if not node.options.listen_only:
                    node.controller.received()
                if not start.head.hidden:
                    node.receive(frame, start.head.rx_id)

    def _break_off(self, start: _Start, fate: _Fate, accepted: Sequence[CanNode], is_echoed: bool) -> None:
        bus = self._bus
        bus.is_quiet = True
        now_ns = bus.world.now_ns()
        sender = start.senders[0]
        bus.occupy(start.start_ns, bus.free_at_ns, start.head.rx_id & _U32)
        record = _pack_error(start.head.rx_id & _U32, _KIND_CODES[fate.kind], fate.bit, start.number)
        sender.record("error", record)
        for node in start.senders:
            if not _is_exempt(start, fate, node):
                node.controller.transmit_error()
        for node in start.receivers:
            if node.is_on_bus and not node.options.listen_only and node not in accepted:
                node.controller.receive_error(first=node in fate.firsts and is_echoed)
        _report_to_hosts(start, fate, accepted, now_ns)
        for node in start.senders:
            node.fail()
        firsts = tuple(node.name for node in fate.firsts)
        for observer in self.observers:
            observer(BusError(start.start_ns, now_ns, sender.name, start.head.frame, fate.kind, fate.bit, firsts))
        self._end(start.senders)
        bus.request_if_wanted(now_ns)

    def _end(self, senders: Sequence[CanNode]) -> None:
        """Have passive senders wait, recovering nodes go on counting, and the bus look at its nodes."""
        bus = self._bus
        for node in senders:
            if node.controller.is_passive and not node.controller.is_bus_off:
                node.is_suspended = True
                bus.world.post_at(bus.free_at_ns + bus.duration_ns(_SUSPENSION_BITS), partial(self._release, node))
        if not bus.is_held:
            self.resume(bus.free_at_ns - bus.duration_ns(_RECESSIVE_BITS))
        bus.rewire()

    def _release(self, node: CanNode) -> None:
        node.is_suspended = False
        self._bus.rewire()
        self._bus.request_if_wanted(self._bus.world.now_ns())


def _head_of(node: CanNode) -> CanFrame:
    """Return a node's first frame with what the controller adds: a passive node says so in the ESI bit of CAN FD."""
    frame = node.queue[0].frame
    return frame._replace(esi=True) if frame.fd and node.controller.is_passive else frame


def _is_exempt(start: _Start, fate: _Fate, sender: CanNode) -> bool:
    """Tell whether an error costs a transmitter nothing.

    So it is with a missing acknowledge of a passive one whose flag nobody answers, and with a recessive stuff bit that
    comes out dominant in the arbitration field.
    """
    if fate.kind is WireErrorKind.ACK:
        return sender.controller.is_passive
    before, bit = start.image.bits[: fate.bit], start.image.bits[fate.bit]
    is_stuff_bit = bit == "1" and before.endswith("0" * _STUFF_RUN) and fate.bit <= start.image.starts["rtr"]
    return fate.kind is WireErrorKind.STUFF and not fate.firsts and is_stuff_bit


def _first_answer(faults: Sequence[Callable[[Attempt], WireError | None]], attempt: Attempt) -> WireError | None:
    for fault in faults:
        error = fault(attempt)
        if error is not None:
            return error
    return None


def _first_difference(frames: Sequence[CanFrame]) -> int:
    images = [wire_image(frame).bits for frame in frames]
    return next(bit for bit, levels in enumerate(zip(*images, strict=False)) if len({*levels}) > 1)


def _misfits(start: _Start) -> list[WireError]:
    """Return the errors that nodes see which cannot understand the frame: another bit rate, no CAN FD."""
    sender, frame = start.senders[0], start.frame
    slow = [node.name for node in start.receivers if node.bitrate != sender.bitrate]
    errors = [WireError(WireErrorKind.STUFF, _RATE_ERROR_BIT, tuple(slow))] if slow else []
    if frame.fd:
        classical = tuple(node.name for node in start.receivers if not node.carries_fd)
        if classical:
            errors.append(WireError(WireErrorKind.FORM, start.image.starts["res"], classical))
        fast = start.image.fast
        others = tuple(node.name for node in start.receivers if node.data_bitrate != sender.data_bitrate)
        if fast and others:
            errors.append(WireError(WireErrorKind.STUFF, fast.start + _RATE_ERROR_BIT, others))
    return errors


def _fate_of(error: WireError, start: _Start, deaf: list[CanNode]) -> _Fate | None:
    """Return what ``error`` does to the frame; receivers that only lose it for themselves are added to ``deaf``."""
    starts = start.image.starts
    last_bit = len(start.image.bits) - INTERMISSION_BITS - 1
    bit = min(max(error.bit, 0), last_bit)
    if error.kind is WireErrorKind.ACK:
        bit = starts["ack"]
    flag_bit = starts["eof"] if error.kind is WireErrorKind.CRC else bit + 1
    names = error.by
    if names is None and error.kind is WireErrorKind.CRC:
        names = tuple(node.name for node in start.receivers)
    if names is None:
        return _Fate(error.kind, bit, flag_bit, ())
    named = [node for node in start.receivers if node.name in names]
    if error.kind is not WireErrorKind.CRC and bit == last_bit:
        return None  # no receiver minds the last bit of the end of frame
    silent = [node for node in named if node.controller.is_passive or node.options.listen_only]
    deaf += [node for node in silent if node not in deaf]
    firsts = tuple(node for node in named if node not in silent)
    return _Fate(error.kind, bit, flag_bit, firsts) if firsts else None


def _report_to_hosts(start: _Start, fate: _Fate, accepted: Sequence[CanNode], now_ns: int) -> None:
    """Tell each host that wants to know of every error what its controller has seen."""
    image, at_once = start.image, start.image.bits[fate.bit]
    fixed_form = fate.flag_bit > image.starts["crc_delimiter"]
    echoed = WireErrorKind.FORM if fixed_form else WireErrorKind.STUFF
    for node, frame in zip(start.senders, start.frames, strict=True):
        if node.options.berr_reporting:
            kind, bit, own = fate.kind, fate.bit, wire_image(frame)
            if fate.firsts or own.bits[bit] != at_once:  # it sees the flag: at the next recessive bit it sends
                kind, bit = WireErrorKind.BIT, max(own.bits.find("1", fate.flag_bit), bit)
            node.report(bus_error(kind, bit, own, node.controller, sending=True, now_ns=now_ns))
    for node in start.receivers:
        if node.options.berr_reporting and node not in accepted and node.is_on_bus:
            kind, bit = (fate.kind, fate.bit) if node in fate.firsts else (echoed, fate.flag_bit)
            node.report(bus_error(kind, bit, image, node.controller, sending=False, now_ns=now_ns))
