"""What can go wrong in a simulated EtherCAT segment, as fault kinds of the World's board; it decides nothing itself.

Kinds of the segment (path ``ethercat/<bus>``), for each frame that is sent:

====================  ==============================================================================================
``lose-frames``       lost before the SubDevices see them, or (``way = back``) after
``delay-frames``      come back ``by_ns`` later
``duplicate-frames``  come back twice
``truncate-frames``   come back cut off after ``to_bytes``
``stale-frames``      come back with data and working counters of an earlier frame of the same kind, unprocessed
``offset-wkc``        working counters of the datagrams are off ``by``
====================  ==============================================================================================

They share ``commands`` (names of datagram commands with commas between, empty is all), ``every`` (the n-th, 2n-th ...
of the frames that match), ``percent`` of them (drawn from ``salt`` alone, so that a saved plan repeats itself under any
seed).

Kinds of each SubDevice (path ``ethercat/<bus>/<label>``; a device adds its own, see the device library, and so does a
distributed clock: ``drift-clock`` and ``jump-clock``, see :mod:`.dcunit`):

=========================  =========================================================================================
``cut-cable``              at ``port``; 0 is the cable towards the MainDevice
``hot-connect``            it is connected; of devices with the option ``hot_connect`` only
``vanish``                 frames pass it unseen; what is behind it stays on the bus
``power-cycle``            no power, then a start from INIT with address 0; what is behind it is gone as well
``wrong-identity``         another vendor, product or revision in the SII (and in object 0x1018)
``refuse-transition``      to ``state``, with ``code``, or silently
``al-error``               error bit and ``code`` in the state it is in
``retreat-to-safe-op``     from OP, with ``code``
``expire-watchdog``        the SyncManager watchdog expires now
``busy-sii``               EEPROM commands take ``by_ns`` longer
``refuse-sii``             EEPROM commands are not acknowledged
``corrupt-sii-checksum``   the EEPROM is loaded again and its checksum does not fit
``offset-wkc``             its share of working counters is off ``by``
``stick-outputs``          outputs do not reach the device
``stick-inputs``           inputs stay what they were
``flip-outputs``           bits of ``mask`` in ``byte`` are inverted on their way to the device
``flip-inputs``            likewise on their way to the MainDevice
=========================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import IdentitySpec
from taktora_sim.ethercat.dcunit import DistributedClock
from taktora_sim.ethercat.frame import Command, Datagram, FrameError, decode_frame
from taktora_sim.faults import FaultKind, FaultTarget, Param, Parameters
from taktora_sim.streams import Stream

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import Arrival, SimulatedSegment
    from taktora_sim.ethercat.subdevice import SubDevice

__all__ = ["SegmentFaults", "SubDeviceFaults"]

_CHOICE: dict[str, Param | bool | int | float | str] = {
    "commands": Param(str, default=""),
    "every": Param(int, default=1, low=1, high=1_000_000),
    "percent": Param(int, default=100, low=0, high=100),
    "salt": Param(int, default=0, low=0, high=2**32 - 1),
}
_OFFSET = Param(int, low=-64, high=64)
_MAX_DELAY_NS = 10**10
_STATES = {"PRE-OP": AlState.PRE_OP, "SAFE-OP": AlState.SAFE_OP, "OP": AlState.OP, "BOOT": AlState.BOOT, "any": None}


@dataclass(eq=False, slots=True)
class _Effect:
    """One active fault of frames."""

    kind: str
    parameters: Parameters
    commands: frozenset[int] | None
    draws: Stream
    matched: int = 0

    def hits(self, commands: Collection[int]) -> bool:
        if self.commands is not None and self.commands.isdisjoint(commands):
            return False
        self.matched += 1
        if self.matched % int(self.parameters["every"]):
            return False
        percent = int(self.parameters["percent"])
        return percent == 100 or self.draws.integer(0, 99) < percent


# req: REQ_8109
class SegmentFaults:
    """Faults of frames, registered with the World's board."""

    def __init__(self, segment: SimulatedSegment) -> None:
        self._segment = segment
        self.effects: list[_Effect] = []
        """Active faults of frames: while there are any, frames have to come through :meth:`apply`."""
        self._shares: list[tuple[SubDevice, int, frozenset[int] | None, Parameters]] = []
        self.replies: dict[int, bytes] = {}
        """The last answer of each length, for stale frames; the segment keeps it."""
        self._note = segment.world.trace.channel(segment.path, "fault-effect")
        self.target: FaultTarget = segment.world.faults.target(segment.path, self._kinds())

    @property
    def wkc_offset(self) -> Callable[[SubDevice, int], int] | None:
        """What is added to a SubDevice's share of the working counter of a command; None while nothing is."""
        return self._share if self._shares else None

    def apply(self, data: bytes, interface: int) -> list[Arrival]:
        """Return what comes back for one frame under the active faults."""
        try:
            commands = {datagram.command for datagram in decode_frame(data)}
        except FrameError:
            commands = set()
        hits = [effect for effect in self.effects if effect.hits(commands)]
        for effect in hits:
            self._note(effect.kind.encode())
        if any(effect.kind == "lose-frames" and effect.parameters["way"] == "out" for effect in hits):
            return []
        stale = any(effect.kind == "stale-frames" for effect in hits)
        arrival = (self._stale(data) if stale else None) or self._segment.carry(data, interface)
        if arrival is None:
            return []
        return self._change(arrival, hits)

    def add_share(self, device: SubDevice, by: int, commands: frozenset[int] | None, parameters: Parameters) -> None:
        """Let a SubDevice add ``by`` too much to the working counter of ``commands`` (None: all)."""
        self._shares.append((device, by, commands, parameters))
        self._segment.forget_plans()

    def remove_share(self, parameters: Parameters) -> None:
        """End what was begun with the same ``parameters``."""
        self._shares = [share for share in self._shares if share[3] is not parameters]
        self._segment.forget_plans()

    def _share(self, device: SubDevice, command: int) -> int:
        return sum(
            by for who, by, commands, _ in self._shares if who is device and (commands is None or command in commands)
        )

    def _change(self, arrival: Arrival, hits: list[_Effect]) -> list[Arrival]:
        count = 1
        for effect in hits:
            if effect.kind == "lose-frames":
                return []
            if effect.kind == "delay-frames":
                arrival = arrival._replace(after_ns=arrival.after_ns + int(effect.parameters["by_ns"]))
            elif effect.kind == "duplicate-frames":
                count += 1
            elif effect.kind == "truncate-frames":
                arrival = arrival._replace(data=arrival.data[: int(effect.parameters["to_bytes"])])
            elif effect.kind == "offset-wkc":
                arrival = arrival._replace(
                    data=_add_to_counters(arrival.data, int(effect.parameters["by"]), effect.commands)
                )
        return [arrival] * count

    def _stale(self, data: bytes) -> Arrival | None:
        """Return the answer to the last frame with the same datagrams, with the index that is asked for."""
        reply = self.replies.get(len(data))
        if reply is None:
            return None
        try:
            asked, answered = decode_frame(data), decode_frame(reply)
        except FrameError:
            return None
        if [_structure(each) for each in asked] != [_structure(each) for each in answered]:
            return None
        return self._segment.answer(_with_indexes(reply, asked))

    def _kinds(self) -> dict[str, FaultKind]:
        return {
            "lose-frames": self._kind(
                "lose-frames", "frames get lost on the way {way}", way=Param(str, "out", choices=("out", "back"))
            ),
            "delay-frames": self._kind(
                "delay-frames",
                "frames come back {by_ns} late",
                by_ns=Param(int, low=1, high=_MAX_DELAY_NS, unit="ns"),
            ),
            "duplicate-frames": self._kind("duplicate-frames", "frames come back twice"),
            "truncate-frames": self._kind(
                "truncate-frames",
                "frames come back cut off after {to_bytes} bytes",
                to_bytes=Param(int, default=40, low=0, high=1514),
            ),
            "stale-frames": self._kind("stale-frames", "frames come back with the data of an earlier one"),
            "offset-wkc": self._kind("offset-wkc", "working counters are off by {by}", by=_OFFSET),
        }

    def _kind(self, kind: str, describe: str, **params: Param) -> FaultKind:
        path = self._segment.path

        def start(parameters: Parameters) -> None:
            draws = Stream(int(parameters["salt"]), f"{path}/{kind}")
            self.effects.append(_Effect(kind, parameters, _parse_commands(parameters, path), draws))

        def stop(parameters: Parameters) -> None:
            self.effects[:] = [effect for effect in self.effects if effect.parameters is not parameters]

        return FaultKind(start=start, stop=stop, params={**params, **_CHOICE}, describe=describe)


# req: REQ_8109
class SubDeviceFaults:
    """Faults of one SubDevice, registered with the World's board together with those of its application."""

    def __init__(self, segment: SimulatedSegment, device: SubDevice) -> None:
        self._segment = segment
        self._device = device
        self._offs = 0
        self._vanished = 0
        kinds = {**self._wire_kinds(), **self._state_kinds(), **self._sii_kinds(), **self._data_kinds()}
        if isinstance(device.esc.window, DistributedClock):
            kinds.update(device.esc.window.fault_kinds())
        kinds.update(device.application.fault_kinds())
        self.target: FaultTarget = segment.world.faults.target(device.path, kinds)

    def _wire_kinds(self) -> dict[str, FaultKind]:
        segment, label = self._segment, self._device.label
        port = {"port": Param(int, default=0, choices=segment.cabled_ports(label))}
        connect = FaultKind(
            start=lambda _: segment.heal(label), stop=lambda _: segment.cut(label), describe="it is connected"
        )
        return {
            **({"hot-connect": connect} if self._device.has_hot_connect else {}),
            "cut-cable": FaultKind(
                start=lambda parameters: segment.cut(label, int(parameters["port"])),
                stop=lambda parameters: segment.heal(label, int(parameters["port"])),
                params=port,
                describe="the cable at port {port} is cut",
            ),
            "vanish": FaultKind(
                start=lambda _: self._vanish(1), stop=lambda _: self._vanish(-1), describe="frames pass it unseen"
            ),
            "power-cycle": FaultKind(
                start=lambda _: self._switch(1), stop=lambda _: self._switch(-1), describe="it has no power"
            ),
            "offset-wkc": FaultKind(
                start=self._start_offset,
                stop=segment.faults.remove_share,
                params={"by": _OFFSET, "commands": Param(str, default="")},
                describe="its share of working counters is off by {by}",
            ),
        }

    def _state_kinds(self) -> dict[str, FaultKind]:
        device = self._device
        code = Param(int, low=1, high=0xFFFF)
        return {
            "refuse-transition": FaultKind(
                start=lambda parameters: device.refusals.append(_refusal(parameters)),
                stop=lambda parameters: device.refusals.remove(_refusal(parameters)),
                params={
                    "state": Param(str, default="any", choices=tuple(_STATES)),
                    "code": Param(int, default=0x0001, low=1, high=0xFFFF),
                    "silent": False,
                },
                describe=_describe_refusal,
            ),
            "al-error": FaultKind(
                start=lambda parameters: device.retreat(device.state, int(parameters["code"])),
                params={"code": code},
                describe=lambda parameters: f"it shows AL status code {_hex(parameters, 'code', 4)}",
            ),
            "retreat-to-safe-op": FaultKind(
                start=lambda parameters: self._retreat(int(parameters["code"])),
                params={"code": Param(int, default=0x001B, low=1, high=0xFFFF)},
                describe=lambda parameters: f"it falls back from OP to SAFE-OP with {_hex(parameters, 'code', 4)}",
            ),
            "expire-watchdog": FaultKind(
                start=lambda _: device.watchdog.expire(), describe="its SyncManager watchdog expires"
            ),
        }

    def _sii_kinds(self) -> dict[str, FaultKind]:
        eeprom = self._device.eeprom
        number = Param(int, default=-1, low=-1, high=0xFFFF_FFFF)

        def add_busy(parameters: Parameters, sign: int) -> None:
            eeprom.extra_busy_ns += sign * int(parameters["by_ns"])

        def refuse(by: int) -> None:
            eeprom.refused += by

        return {
            "wrong-identity": FaultKind(
                start=self._start_identity,
                stop=self._stop_identity,
                params={"vendor_id": number, "product_code": number, "revision": number},
                describe=_describe_identity,
            ),
            "busy-sii": FaultKind(
                start=lambda parameters: add_busy(parameters, 1),
                stop=lambda parameters: add_busy(parameters, -1),
                params={"by_ns": Param(int, default=5_000_000, low=1, high=_MAX_DELAY_NS, unit="ns")},
                describe="its EEPROM is busy for {by_ns} with each command",
            ),
            "refuse-sii": FaultKind(
                start=lambda _: refuse(1), stop=lambda _: refuse(-1), describe="its EEPROM acknowledges nothing"
            ),
            "corrupt-sii-checksum": FaultKind(
                start=lambda _: self._corrupt_checksum(is_corrupt=True),
                stop=lambda _: self._corrupt_checksum(is_corrupt=False),
                describe="the checksum of its EEPROM does not fit",
            ),
        }

    def _data_kinds(self) -> dict[str, FaultKind]:
        device = self._device
        bits = {"byte": Param(int, default=0, low=0, high=1485), "mask": Param(int, default=0xFF, low=1, high=0xFF)}
        no_bits: dict[str, Param] = {}
        kinds: dict[str, FaultKind] = {}
        for name, filters, way in (("outputs", device.output_filters, "to"), ("inputs", device.input_filters, "from")):
            kinds[f"stick-{name}"] = _filter_kind(filters, _stick, no_bits, f"its {name} stay what they were")
            kinds[f"flip-{name}"] = _filter_kind(filters, _flip, bits, partial(_describe_flip, way))
        return kinds

    def _vanish(self, by: int) -> None:
        self._vanished += by
        self._segment.bridge(self._device.label, is_bridged=self._vanished > 0)

    def _switch(self, by: int) -> None:
        self._offs += by
        if self._offs and self._device.is_powered:
            self._segment.power_off(self._device.label)
        elif not self._offs:
            self._segment.power_on(self._device.label)

    def _retreat(self, code: int) -> None:
        if self._device.state is AlState.OP:
            self._device.retreat(AlState.SAFE_OP, code)

    def _start_offset(self, parameters: Parameters) -> None:
        commands = _parse_commands(parameters, self._device.path)
        self._segment.faults.add_share(self._device, int(parameters["by"]), commands, parameters)

    def _start_identity(self, parameters: Parameters) -> None:
        device = self._device
        now = device.identity
        values = {name: int(value) for name, value in parameters.items() if value != -1}
        identity = IdentitySpec(
            vendor_id=values.get("vendor_id", now.vendor_id),
            product_code=values.get("product_code", now.product_code),
            revision=values.get("revision", now.revision),
            serial=now.serial,
        )
        device.wrong_identities.append((parameters, identity))
        self._show_identity()

    def _stop_identity(self, parameters: Parameters) -> None:
        wrong = self._device.wrong_identities
        wrong[:] = [entry for entry in wrong if entry[0] is not parameters]
        self._show_identity()

    def _show_identity(self) -> None:
        """Let the EEPROM say what the device says it is."""
        device = self._device
        overlay = device.eeprom.overlay
        if not device.wrong_identities:
            for address in range(16, 28):
                overlay.pop(address, None)
            return
        identity = device.identity
        for word, value in enumerate((identity.vendor_id, identity.product_code, identity.revision)):
            for number, byte in enumerate(value.to_bytes(4, "little")):
                overlay[16 + 4 * word + number] = byte

    def _corrupt_checksum(self, *, is_corrupt: bool) -> None:
        eeprom = self._device.eeprom
        eeprom.corruptions += 1 if is_corrupt else -1
        eeprom.reload()
        self._segment.topology.refresh()


def _filter_kind(
    filters: list[Callable[[bytearray], bool]],
    make: Callable[[Parameters], Callable[[bytearray], bool]],
    params: dict[str, Param],
    describe: str | Callable[[Parameters], str],
) -> FaultKind:
    active: list[tuple[Parameters, Callable[[bytearray], bool]]] = []

    def start(parameters: Parameters) -> None:
        change = make(parameters)
        active.append((parameters, change))
        filters.append(change)

    def stop(parameters: Parameters) -> None:
        for entry in [each for each in active if each[0] is parameters]:
            active.remove(entry)
            filters.remove(entry[1])

    return FaultKind(start=start, stop=stop, params=params, describe=describe)


def _hex(parameters: Parameters, name: str, digits: int) -> str:
    return f"0x{int(parameters[name]):0{digits}X}"


def _describe_refusal(parameters: Parameters) -> str:
    state = "any state" if parameters["state"] == "any" else parameters["state"]
    how = "left without an answer" if parameters["silent"] else f"refused with {_hex(parameters, 'code', 4)}"
    return f"transitions to {state} are {how}"


def _describe_identity(parameters: Parameters) -> str:
    names = {"vendor_id": "vendor", "product_code": "product", "revision": "revision"}
    changed = [f"{word} {_hex(parameters, name, 8)}" for name, word in names.items() if parameters[name] != -1]
    return f"it says that it is another device: {', '.join(changed) or 'none that is named'}"


def _describe_flip(way: str, parameters: Parameters) -> str:
    return f"bits {_hex(parameters, 'mask', 2)} of byte {parameters['byte']} are inverted on the way {way} it"


def _stick(_parameters: Parameters) -> Callable[[bytearray], bool]:
    return lambda _data: False


def _flip(parameters: Parameters) -> Callable[[bytearray], bool]:
    byte, mask = int(parameters["byte"]), int(parameters["mask"])

    def flip(data: bytearray) -> bool:
        if byte < len(data):
            data[byte] ^= mask
        return True

    return flip


def _refusal(parameters: Parameters) -> tuple[AlState | None, int]:
    return _STATES[str(parameters["state"])], -1 if parameters["silent"] else int(parameters["code"])


def _parse_commands(parameters: Parameters, path: str) -> frozenset[int] | None:
    text = str(parameters["commands"])
    if not text.strip():
        return None
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in Command.__members__:
            valid = ", ".join(Command.__members__)
            raise ConfigurationError(f"fault at {path}: {name!r} in commands {text!r} is no command; valid: {valid}")
    return frozenset(Command[name] for name in names)


def _structure(datagram: Datagram) -> tuple[int, int, int]:
    """Return what makes two datagrams of the same kind; ADP is counted up on the way."""
    is_logical = Command.LRD <= datagram.command <= Command.LRW
    address = datagram.address if is_logical or datagram.command in (4, 5, 6, 14) else datagram.ado
    return datagram.command, address, len(datagram.data)


def _with_indexes(reply: bytes, asked: list[Datagram]) -> bytes:
    changed, at = bytearray(reply), 16
    for datagram in asked:
        changed[at + 1] = datagram.index
        at += 12 + len(datagram.data)
    return bytes(changed)


def _add_to_counters(reply: bytes, by: int, commands: frozenset[int] | None) -> bytes:
    try:
        datagrams = decode_frame(reply)
    except FrameError:
        return reply
    changed, at = bytearray(reply), 16
    for datagram in datagrams:
        at += 12 + len(datagram.data)
        if commands is None or datagram.command in commands:
            changed[at - 2 : at] = max(0, datagram.working_counter + by).to_bytes(2, "little")
    return bytes(changed)
