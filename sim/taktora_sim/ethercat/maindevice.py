"""A small MainDevice in virtual time, for the simulation only: it drives simulated segments, never a real one.

It exists so that a simulated run exercises the same frames as a real one; the real MainDevice is SOEM
(:mod:`taktora.ethercat.soem`), and both say in the same sentences why a segment could not be brought up.

Modelled: enumeration and addressing, identity and alias before anything else is written, SII through the EEPROM
interface, mailbox with repetition, CoE, watchdog registers with read-back, startup SDOs, PDO assignment, SyncManagers
and FMMUs with terminals that share a byte, state transitions with AL status codes, OP under cyclic exchange, LRW (LRD
and LWR where a SubDevice cannot), distributed clocks with delays measured along the topology, emergencies, recovery.

Simplified: one interface without redundancy; one attempt at a time, no hot connect of groups; a frame is processed by
the whole segment at the instant it is sent; late answers are lost answers; bootstrap and the protocols EoE, FoE, SoE
and VoE are not spoken; a SubDevice that the plan does not know stays in INIT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import TYPE_CHECKING, Final, TypeVar

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.al_status import al_status_text
from taktora.ethercat.coe import SdoAbort
from taktora.ethercat.driver import AlState, BringUp, Emergency, Exchange, Steps, SubDeviceState
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.resolve import FIRST_ADDRESS
from taktora.ethercat.sdo import Dialogue, download, upload
from taktora.ethercat.sii import CoeDetails, GeneralFlags, Sii, parse_sii
from taktora.ethercat.startup import OP_WAIT_SPIN_NS, OpWait, decide_op_wait, startup_writes
from taktora.ethercat.watchdog import check_read_back
from taktora_sim.ethercat.clocks import EPOCH_2000_NS, ClockStation, start_clocks, start_sync0
from taktora_sim.ethercat.frame import Command, Datagram, station_address
from taktora_sim.ethercat.mailbox_client import FULL, SM1_STATUS, MailboxClient
from taktora_sim.ethercat.process_image import ProcessImage
from taktora_sim.ethercat.sii_reader import SiiReader
from taktora_sim.ethercat.station import Station, mailbox_managers, matches, process_managers
from taktora_sim.ethercat.wire import FRAME_TIMEOUT_NS, Wire

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["SimulatedMainDevice"]

T = TypeVar("T")
# What a NamedTuple's own constructor does in the end, in half the time; for what is made once per cycle.
_new_tuple = tuple.__new__

_FEATURES: Final = 0x0008
_STATION: Final = 0x0010
_ALIAS: Final = 0x0012
_DL_CONTROL: Final = 0x0100
_AL_CONTROL: Final = 0x0120
_AL_STATUS: Final = 0x0130
_EEPROM_CONFIG: Final = 0x0500
_FMMU: Final = 0x0600
_SYNC_MANAGER: Final = 0x0800
_HAS_CLOCK: Final = 0x04
_ERROR: Final = 0x10

_RESET: Final[tuple[tuple[int, bytes], ...]] = (
    (0x0103, b"\0"),  # no addressing by alias
    (_AL_CONTROL, b"\x11\0"),  # INIT, errors acknowledged
    (0x0101, b"\0"),  # loops open and close by themselves
    (0x0200, b"\x04\0"),
    (0x0300, bytes(8)),
    (_FMMU, bytes(64)),
    (_SYNC_MANAGER, bytes(64)),
    (0x0981, b"\0"),  # no SYNC
    (0x0930, b"\x00\x10"),
    (0x0934, b"\x00\x0c"),
    (_AL_CONTROL, b"\x01\0"),  # a terminal that only echoes AL control shows bit 4 until this
    (_EEPROM_CONFIG, b"\x02"),
    (_EEPROM_CONFIG, b"\0"),
)
_STATE_POLL_NS: Final = 1_000_000
_STATE_PATIENCE_S: Final = {AlState.INIT: 2.0, AlState.PRE_OP: 3.0, AlState.SAFE_OP: 10.0}
_RETURN_POLLS: Final = 100
_MAIL_POLL_NS: Final = 10_000_000
_SPARE_ADDRESS: Final = 0x2000
_MOST_SUBDEVICES: Final = 4096
"""More than that is a working counter gone wrong."""


class SimulatedMainDevice:
    """A MainDevice on a simulated segment (``BusDriver``); see the module for what is simplified.

    Args:
        segment: Where it is connected.
        plan: What is expected on the bus.
    """

    def __init__(self, segment: SimulatedSegment, plan: BusPlan) -> None:
        self.on_emergency: Callable[[Emergency], None] | None = None
        self._segment = segment
        self._plan = plan
        self._place = f"simulated segment {segment.name!r}"
        self._wire = Wire(segment, self._place)
        self._now_ns = segment.world.now_ns
        self._layout = plan.layout()
        self._outputs = bytearray(plan.safe_outputs())
        self._inputs = bytearray(self._layout.input_bytes)
        places = self._layout.subdevices
        self._output_views = _views(self._outputs, [(s.address, s.output_offset, s.output_bytes) for s in places])
        self._input_views = _views(self._inputs, [(s.address, s.input_offset, s.input_bytes) for s in places])
        self._subs = {_position(sub, place): sub for place, sub in enumerate(plan.subdevices)}
        self._known: dict[int, Station] = {}
        self._stations: tuple[Station, ...] = ()
        self._image: ProcessImage | None = None
        self._mail_poll_ns = 0
        self._was_begun = self._was_up = False
        self.is_closed = False
        """:meth:`close` was called."""

    # req: REQ_0312
    def bring_up(self) -> Steps[BringUp]:
        if self._was_begun:
            raise ConfigurationError(f"{self._place}: bring_up was called before; recover brings it up again")
        self._was_begun = True
        return (yield from self._attempt())

    # req: REQ_0331
    def recover(self) -> Steps[BringUp]:
        if not self._was_begun:
            raise ConfigurationError(f"{self._place}: recover was called before a bring-up; call bring_up first")
        return (yield from self._attempt())

    def _attempt(self) -> Steps[BringUp]:
        self._image = None
        try:
            result = yield from self._configure()
        except StackError:
            self._image = None
            yield from self._quietly(self._wire.write_all((_AL_CONTROL, b"\x11\0")))  # nothing half-configured stays
            raise
        self._was_up = True
        return result

    def _configure(self) -> Steps[BringUp]:
        self._outputs[:] = self._plan.safe_outputs()
        found = yield from self._discover()
        yield from self._check_order()
        yield from self._enter_pre_op()
        for station in self._mapped:
            yield from self._prepare(station)
        clock = (yield from self._start_clocks()) if self._plan.distributed_clocks else None
        image = yield from self._map(clock)
        yield from self._request(AlState.SAFE_OP)
        yield from self._reach(AlState.SAFE_OP)
        self._image = image
        yield from self._enter_op()
        return BringUp(self._plan.expected_wkc(found), found)

    @property
    def _mapped(self) -> list[Station]:
        return [station for station in self._stations if station.sub is not None]

    def _discover(self) -> Steps[int]:
        """Count the SubDevices, put them into INIT and give them their addresses."""
        try:
            answer = yield from self._wire.read_all(0, 1)
        except StackError as error:
            raise text.no_answer(self._place) from error
        if not answer.taking_part:
            raise text.no_answer(self._place)
        if not max(self._subs, default=-1) < answer.taking_part <= _MOST_SUBDEVICES:
            raise text.wrong_count(self._place, list(self._subs.values()), answer.taking_part)
        yield from self._wire.write_all(*_RESET)
        taken = {sub.address for sub in self._plan.subdevices}
        self._stations = tuple(
            Station(position, _free_address(position, self._subs.get(position), taken), self._subs.get(position))
            for position in range(answer.taking_part)
        )
        for station in self._stations:
            yield from self._wire.write_at(station.position, _STATION, station.address.to_bytes(2, "little"))
            yield from self._wire.write(station.address, _DL_CONTROL, b"\x01" if station.position == 0 else b"\0")
        yield from self._reach(AlState.INIT)
        return answer.taking_part

    # req: REQ_0838
    def _check_order(self) -> Steps[None]:
        """Compare order, identity and alias before anything is written to a SubDevice, then read each SII."""
        for station in self._mapped:
            sub = station.sub
            assert sub is not None
            reader = SiiReader(self._wire, station.address, station.name)
            found = station.identity = yield from reader.identity()
            if sub.identity is not None and not matches(sub.identity, found):
                raise text.wrong_identity(station.position, sub, found, self._plan.subdevices)
            if sub.station_alias is not None:
                alias = int.from_bytes((yield from self._read(station, _ALIAS, 2)), "little")
                if alias != sub.station_alias:
                    raise text.wrong_alias(station.position, sub, alias)
            known = self._known.get(station.position)
            if known is None or known.identity != found:
                station.sii = yield from self._read_sii(station, reader)
                self._known[station.position] = station
            else:
                station.sii = known.sii

    @staticmethod
    def _read_sii(station: Station, reader: SiiReader) -> Steps[Sii]:
        image = yield from reader.image()
        try:
            return parse_sii(image.ljust(128, b"\xff"))
        except ConfigurationError as error:
            raise StackError(f"{station.name}: {error}; write a valid image to its EEPROM") from error

    def _enter_pre_op(self) -> Steps[None]:
        for station in self._mapped:
            if station.has_coe:
                yield from self._wire.write(station.address, _SYNC_MANAGER, mailbox_managers(station.sii))
                station.mailbox = MailboxClient(
                    self._wire, station.address, station.name, station.position, station.sii.mailbox, self._tell
                )
            yield from self._wire.write(station.address, _EEPROM_CONFIG, b"\x01")
        yield from self._request(AlState.PRE_OP)
        yield from self._reach(AlState.PRE_OP)

    # req: REQ_0846, REQ_0853, REQ_0315
    def _prepare(self, station: Station) -> Steps[None]:
        """Write what PRE-OP is for: watchdog registers, startup SDOs, PDO assignment; then compare the sizes."""
        sub = station.sub
        assert sub is not None
        if sub.sm_watchdog is not None:
            for register, value in sub.sm_watchdog.register_values():
                yield from self._wire.write(station.address, register, value.to_bytes(2, "little"))
                answer = yield from self._wire.read(station.address, register, 2)
                actual = None if answer is None else int.from_bytes(answer, "little")
                check_read_back(station.name, register, value, actual)
        if station.mailbox is not None:
            # A device with fixed PDOs says so in its SII and refuses the writes; its sizes are checked below.
            assigns = CoeDetails.PDO_ASSIGN in station.coe
            for write in islice(startup_writes(sub), None if assigns else len(sub.startup_sdos)):
                yield from self._sdo_write(station, write.index, write.subindex, write.data)
        elif sub.startup_sdos:
            raise StackError(f"{station.name} has startup_sdos and no CoE mailbox; take them out of the machine file")
        for outputs, bits in ((True, sub.output_bits), (False, sub.input_bits)):
            found = yield from station.mapped_bits(outputs)
            if found is not None and (found + 7) // 8 != (bits + 7) // 8:
                what = "outputs" if outputs else "inputs"
                raise text.wrong_size(station.position, sub, what, (found + 7) // 8, (bits + 7) // 8)

    def _map(self, clock: int | None) -> Steps[ProcessImage]:
        """Set up SyncManagers and FMMUs; return the image with its frames."""
        no_lrw = any(each.sii.general and GeneralFlags.NO_LRW in each.sii.general.flags for each in self._mapped)
        image = ProcessImage(self._layout, self._outputs, self._inputs, no_lrw=no_lrw, clock_address=clock)
        for place, sub in enumerate(self._plan.subdevices):
            station = self._stations[_position(sub, place)]
            outputs = process_managers(station, sub.output_bits, outputs=True)
            inputs = process_managers(station, sub.input_bits, outputs=False)
            for manager in (*outputs, *inputs):
                register = _SYNC_MANAGER + 8 * manager.number
                yield from self._wire.write(station.address, register, manager.encode())
            fmmus = image.fmmus(
                place, [(each.start, each.bits) for each in outputs], [(each.start, each.bits) for each in inputs]
            )
            for number, fmmu in enumerate(fmmus):
                yield from self._wire.write(station.address, _FMMU + 16 * number, fmmu.encode())
        return image

    # req: REQ_0318, REQ_0330
    def _start_clocks(self) -> Steps[int]:
        features = yield from self._wire.read_each([each.address for each in self._stations], _FEATURES, 2)
        clocks = [
            ClockStation(station.address, bool(word and word[0] & _HAS_CLOCK))
            for station, word in zip(self._stations, features, strict=True)
        ]
        system_time_ns = self._segment.world.unix_ns() - EPOCH_2000_NS
        reference = yield from start_clocks(self._wire, clocks, system_time_ns)
        if reference is None:
            raise text.no_distributed_clock(self._place)
        with_clock = {each.address for each in clocks if each.has_clock}
        for sub in self._plan.subdevices:
            if sub.sync0_shift_ns is not None and sub.address in with_clock:
                yield from start_sync0(self._wire, sub.address, self._plan.cycle_time_ns, sub.sync0_shift_ns)
        return reference

    def _request(self, state: AlState) -> Steps[None]:
        """Ask all SubDevices of the plan for a state."""
        data = int(state).to_bytes(2, "little")
        asked = [Datagram(Command.FPWR, station_address(each.address, _AL_CONTROL), data) for each in self._mapped]
        if asked:
            yield from self._wire.send(asked)

    def _reach(self, state: AlState) -> Steps[None]:
        patience_s = _STATE_PATIENCE_S[state]
        give_up_ns = self._now_ns() + int(patience_s * 1e9)
        stations = self._stations if state is AlState.INIT else self._mapped
        while True:
            found = yield from self._states(stations)
            wanting = [each for each in found if each.state is not state or each.has_error]
            if not wanting:
                return
            refused = any(each.has_error for each in wanting)
            if refused or self._now_ns() >= give_up_ns:
                raise text.state_not_reached(state, [self._cause(each) for each in wanting], patience_s)
            yield self._now_ns() + _STATE_POLL_NS

    # req: REQ_0841, REQ_0313
    def _enter_op(self) -> Steps[None]:
        yield from self.exchange()  # valid outputs are there before anybody is asked to use them
        yield from self._request(AlState.OP)
        begin_ns = self._now_ns()
        for spin in count(1):
            yield from self.exchange()
            found = yield from self._states(self._mapped)
            wanting = [each for each in found if each.state is not AlState.OP or each.has_error]
            if not wanting:
                return
            decision = decide_op_wait(spin)
            if decision is OpWait.GIVE_UP:
                waited_s = (self._now_ns() - begin_ns) // 10**9
                raise text.state_not_reached(AlState.OP, [self._cause(each) for each in wanting], waited_s)
            if decision is OpWait.ACKNOWLEDGE:
                for each in wanting:
                    if each.has_error:
                        yield from self._ask(self._stations[each.position], AlState.OP, acknowledge=True)
            yield self._now_ns() + OP_WAIT_SPIN_NS

    def exchange(self) -> Steps[Exchange]:
        image = self._image
        if image is None:
            raise StackError(f"{self._place}: the segment is not configured; recover it first")
        # As in _transfer, without a generator more to go through in every cycle.
        now_ns = self._now_ns
        image.fill()
        answers, after_ns = self._wire.launch(image.frames)
        yield now_ns() + after_ns
        result = self._received(image, answers, after_ns)
        at_ns = now_ns()
        if at_ns >= self._mail_poll_ns:
            self._mail_poll_ns = at_ns + _MAIL_POLL_NS
            yield from self._quietly(self._look_for_mail())
        return result

    def _transfer(self, image: ProcessImage) -> Steps[Exchange]:
        image.fill()
        answers, after_ns = self._wire.launch(image.frames)
        yield self._now_ns() + after_ns
        return self._received(image, answers, after_ns)

    def _received(self, image: ProcessImage, answers: list[bytes], after_ns: int) -> Exchange:
        if len(answers) < len(image.frames):
            raise text.no_frame(self._place, FRAME_TIMEOUT_NS // 1000)
        return _new_tuple(Exchange, (image.take(answers), after_ns))

    def _look_for_mail(self) -> Steps[None]:
        """Fetch what SubDevices have to say by themselves: emergencies."""
        talking = [station for station in self._mapped if station.mailbox is not None]
        if not talking or self.on_emergency is None:
            return
        found = yield from self._wire.read_each([each.address for each in talking], SM1_STATUS, 1)
        for station, status in zip(talking, found, strict=True):
            if status is not None and status[0] & FULL:
                assert station.mailbox is not None
                yield from station.mailbox.poll()

    @staticmethod
    def _quietly(steps: Steps[None]) -> Steps[None]:
        """Carry out what may fail without consequences."""
        try:
            yield from steps
        except StackError:
            return

    def outputs(self, address: int) -> memoryview | None:
        return self._output_views.get(address) if self._was_up else None

    def inputs(self, address: int) -> memoryview | None:
        return self._input_views.get(address) if self._was_up else None

    def images(self) -> tuple[memoryview, memoryview] | None:
        return (memoryview(self._outputs), memoryview(self._inputs)) if self._was_up else None

    def survey(self) -> Steps[tuple[SubDeviceState, ...]]:
        return tuple((yield from self._states(self._mapped)))

    def request_state(self, address: int, state: AlState) -> Steps[bool]:
        station = self._station(address)
        before = (yield from self._states([station]))[0]
        yield from self._ask(station, state, acknowledge=before.has_error)
        for _poll in range(_RETURN_POLLS):
            yield self._now_ns() + _STATE_POLL_NS
            if self._image is not None:
                yield from self._transfer(self._image)  # nobody reaches OP without outputs
            found = (yield from self._states([station]))[0]
            if found.state is state and not found.has_error:
                return True
            if found.has_error or found.state is AlState.NONE:
                return False
        return False

    # req: REQ_0841
    def _ask(self, station: Station, state: AlState, *, acknowledge: bool) -> Steps[None]:
        if acknowledge:
            yield from self._wire.write(station.address, _AL_CONTROL, (state | _ERROR).to_bytes(2, "little"))
        yield from self._wire.write(station.address, _AL_CONTROL, int(state).to_bytes(2, "little"))

    def sdo_read(self, address: int, index: int, subindex: int) -> Steps[bytes]:
        return (yield from self._sdo(self._station(address), "read", index, subindex, upload(index, subindex)))

    def sdo_write(self, address: int, index: int, subindex: int, data: bytes) -> Steps[None]:
        yield from self._sdo_write(self._station(address), index, subindex, data)

    def _sdo_write(self, station: Station, index: int, subindex: int, data: bytes) -> Steps[None]:
        room = station.sii.mailbox.out_bytes
        yield from self._sdo(station, "write", index, subindex, download(index, subindex, data, room))

    @staticmethod
    def _sdo(station: Station, what: str, index: int, subindex: int, dialogue: Dialogue[T]) -> Steps[T]:
        place = f"SDO {what} of 0x{index:04X}:{subindex:02X} of {station.name}"
        if station.mailbox is None:
            raise StackError(f"{place}: it has no CoE mailbox")
        if station.mailbox.busy:
            raise StackError(f"{place}: another transfer is under way; wait for its end")
        try:
            return (yield from station.mailbox.run(dialogue))
        except SdoAbort as error:
            raise text.sdo_failed(station.name, what, index, subindex, error.code) from error
        except StackError as error:
            raise StackError(f"{place}: {error}") from error

    # req: REQ_0313
    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if not self._stations:
            return
        if self._image is not None:
            self._outputs[:] = self._plan.safe_outputs()
            _at_once(self._quietly(self._last_transfer(self._image)))
        for state in (AlState.SAFE_OP, AlState.INIT):
            _at_once(self._quietly(self._request(state)))

    def _last_transfer(self, image: ProcessImage) -> Steps[None]:
        yield from self._transfer(image)

    def _states(self, stations: Iterable[Station]) -> Steps[list[SubDeviceState]]:
        asked = list(stations)
        if not asked:
            return []
        found = yield from self._wire.read_each([each.address for each in asked], _AL_STATUS, 6)
        return [_state(station.position, data) for station, data in zip(asked, found, strict=True)]

    def _cause(self, state: SubDeviceState) -> tuple[SubDeviceMap | None, SubDeviceState, str]:
        return self._stations[state.position].sub, state, al_status_text(state.al_status_code)

    def _read(self, station: Station, register: int, length: int) -> Steps[bytes]:
        answer = yield from self._wire.read(station.address, register, length)
        if answer is None:
            raise StackError(f"{station.name} does not answer a read of register {register:#06x}")
        return answer

    def _station(self, address: int) -> Station:
        position = next((place for place, sub in self._subs.items() if sub.address == address), None)
        if position is None:
            known = ", ".join(map(str, self._plan.subdevices)) or "none"
            raise ConfigurationError(f"{self._place}: no SubDevice {address:#06x}; there is {known}")
        if position >= len(self._stations):
            raise StackError(f"{self._place}: {self._subs[position]} has not been found yet; bring the bus up first")
        return self._stations[position]

    def _tell(self, emergency: Emergency) -> None:
        if self.on_emergency is not None:
            self.on_emergency(emergency)


def _views(image: bytearray, places: Iterable[tuple[int, int, int]]) -> dict[int, memoryview]:
    whole = memoryview(image)
    return {address: whole[offset : offset + length] for address, offset, length in places}


def _position(sub: SubDeviceMap, place: int) -> int:
    return place if sub.position is None else sub.position


def _free_address(position: int, sub: SubDeviceMap | None, taken: set[int]) -> int:
    """Return the address of a SubDevice; one that the plan does not know gets one that nobody has."""
    if sub is not None:
        return sub.address
    usual = FIRST_ADDRESS + position
    return usual if usual not in taken else _SPARE_ADDRESS + position


def _state(position: int, data: bytes | None) -> SubDeviceState:
    """Return AL status and code as a state; a state that does not exist counts as no answer.

    Bit 4 without a code is no error: a terminal that only echoes AL control shows it after an acknowledgement.
    """
    if data is None:
        return SubDeviceState(position, AlState.NONE)
    code = int.from_bytes(data[4:6], "little")
    has_error = bool(data[0] & _ERROR and code)
    state = AlState(data[0] & 0x0F) if data[0] & 0x0F in _STATES else AlState.NONE
    return SubDeviceState(position, state, has_error, code if has_error else 0)


def _at_once(steps: Steps[None]) -> None:
    """Carry out without waiting: for the end, when nobody paces any more."""
    for _due_ns in steps:
        pass


_STATES: Final = frozenset(AlState)
