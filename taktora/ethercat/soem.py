"""The real MainDevice: SOEM by way of pysoem on a network interface of this machine; the only file that imports pysoem.

SOEM blocks inside its calls and keeps the interpreter to itself in many of them: run it in a process of its own
(:class:`taktora.ethercat.process.ProcessBus` does). What the segment answers is checked here, step by step, because
SOEM does not: order and identity, watchdog registers, sizes of the process data, every state.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count, islice
from typing import Any, Final

from taktora.clock import Clock, SystemClock
from taktora.errors import ConfigurationError, LinkDown, StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.al_status import al_status_text
from taktora.ethercat.driver import AlState, BringUp, Emergency, Exchange, Steps, SubDeviceState
from taktora.ethercat.interface_hold import InterfaceHold
from taktora.ethercat.nic import check_interface, has_link, require_linux
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap
from taktora.ethercat.sii_details import SiiDetails, read_sii_details
from taktora.ethercat.sii_model import CoeDetails, GeneralFlags
from taktora.ethercat.soem_mailbox import SdoErrors
from taktora.ethercat.soem_options import SoemOptions
from taktora.ethercat.soem_station import ACKNOWLEDGE, Station, earlier_twin, matches, subdevice_state
from taktora.ethercat.soem_wire import IO_MAP_BYTES, Mapped, OverlapWire, SequentialWire, Wire
from taktora.ethercat.startup import OP_WAIT_SPIN_NS, OpWait, decide_op_wait, startup_writes
from taktora.ethercat.watchdog import check_read_back
from taktora.extras import missing_text

__all__ = ["SoemDriver", "SoemOptions", "require_pysoem"]

_AL_STATUS: Final = 0x0130
_FEATURES: Final = 0x0008
_HAS_CLOCK: Final = 0x04
_STATION_ALIAS: Final = 0x0012
_SII_SERIAL: Final = 0x0E
_SDO_BYTES: Final = 65536
_LINK_PATIENCE_NS: Final = 3_000_000_000
_STATE_PATIENCE_S: Final = {AlState.PRE_OP: 3.0, AlState.SAFE_OP: 10.0}
_RETURN_SPINS: Final = 100
_CLOSE_SPINS: Final = 100


# req: REQ_0312
class SoemDriver:
    """A MainDevice on a real network interface (``BusDriver``).

    Args:
        plan: What is expected on the bus; ``network_interface`` names the interface.
        options: How SOEM is used.
        clock: Monotonic time of the instants that the operations yield.

    Raises:
        ConfigurationError: the plan names no interface.
    """

    def __init__(self, plan: BusPlan, options: SoemOptions | None = None, clock: Clock | None = None) -> None:
        if not plan.network_interface:
            raise ConfigurationError(
                "a real EtherCAT bus needs a network interface: name it as interface in the bench file, "
                "or as default_nic in the machine file"
            )
        self.on_emergency: Callable[[Emergency], None] | None = None
        self._plan = plan
        self._interface = plan.network_interface
        self._place = f"interface {self._interface!r}"
        self._options = options or SoemOptions()
        self._now_ns = (clock or SystemClock()).now_ns
        self._subs = {_position(sub, place): sub for place, sub in enumerate(plan.subdevices)}
        self._positions = {sub.address: position for position, sub in self._subs.items()}
        self._outputs = {sub.address: memoryview(bytearray(sub.safe_outputs)) for sub in plan.subdevices}
        self._inputs = {sub.address: memoryview(bytearray((sub.input_bits + 7) // 8)) for sub in plan.subdevices}
        self._stations: tuple[Station, ...] = ()
        self._wire: Wire | None = None
        self._master: Any = None
        self._pysoem: Any = None
        self._was_begun = self._was_up = self._is_closed = False
        self._hold = InterfaceHold(self._interface)
        self._interface_index = 0
        self._cycles = 0

    # req: REQ_0312, REQ_0325
    def bring_up(self) -> Steps[BringUp]:
        if self._was_begun:
            raise ConfigurationError(f"{self._place}: bring_up was called before; recover brings it up again")
        self._was_begun = True
        self._pysoem = require_pysoem()
        yield from self._wait_for_link(_LINK_PATIENCE_NS)
        yield from self._hold.take(self._now_ns)
        self._master = self._open()
        return (yield from self._attempt())

    # req: REQ_0331
    def recover(self) -> Steps[BringUp]:
        if self._master is None:
            raise ConfigurationError(f"{self._place}: recover was called before a bring-up; call bring_up first")
        if _index_of(self._interface) != self._interface_index:
            raise LinkDown(f"{self._place}: it has been removed; start again once it is back")
        yield from self._wait_for_link(0)
        return (yield from self._attempt())

    def _wait_for_link(self, patience_ns: int) -> Steps[None]:
        check_interface(self._interface)
        give_up_ns = self._now_ns() + patience_ns
        while not has_link(self._interface):
            if self._now_ns() >= give_up_ns:
                raise StackError(f"{self._place}: no link; check the cable and the power of the first SubDevice")
            yield self._now_ns() + 10_000_000

    def _open(self) -> Any:
        timeouts = self._pysoem.settings.timeouts
        timeouts.ret = self._options.frame_timeout_us
        timeouts.safe = max(20_000, 3 * self._options.frame_timeout_us)  # a lost frame is sent again within it
        master = self._pysoem.Master()
        try:
            master.open(self._interface)
        except ConnectionError as error:
            raise StackError(f"{self._place}: SOEM cannot open it, though the system would; has it gone?") from error
        self._interface_index = _index_of(self._interface)
        return master

    def _attempt(self) -> Steps[BringUp]:
        self._wire = None
        try:
            result = yield from self._configure()
        except BaseException:
            self._wire = None
            self._write_all(AlState.INIT)  # nothing half-configured stays behind
            raise
        self._was_up = True
        return result

    def _configure(self) -> Steps[BringUp]:
        for sub in self._plan.subdevices:
            self._outputs[sub.address][:] = sub.safe_outputs
        yield from self._discover()
        yield from self._check_order()
        yield from self._reach(AlState.PRE_OP)
        for station in self._stations:
            self._prepare(station)
            yield self._now_ns()
        self._wire = self._map()
        if self._plan.distributed_clocks:
            self._start_clocks()
        yield self._now_ns()
        self._write_all(AlState.SAFE_OP)
        yield from self._reach(AlState.SAFE_OP)
        yield from self._enter_op()
        return BringUp(self._plan.expected_wkc(len(self._stations)), len(self._stations))

    def _discover(self) -> Steps[None]:
        master = self._master
        master.manual_state_change = 0
        yield self._now_ns()
        found = master.config_init(release_gil=True)
        if found <= 0:
            raise text.no_answer(self._place)
        if found <= max(self._subs, default=-1):
            raise text.wrong_count(self._place, list(self._subs.values()), found)
        # From here on SOEM asks for no state by itself: SAFE-OP is requested once everything is checked.
        master.manual_state_change = 1
        self._stations = tuple(
            Station(position, slave, self._subs.get(position), SiiDetails())
            for position, slave in enumerate(master.slaves)
        )
        for station in self._stations:
            station.slave.add_emergency_callback(self._tell_emergency)
        yield self._now_ns()

    # req: REQ_0838
    def _check_order(self) -> Steps[None]:
        """Compare order, identity and alias before anything is written to a SubDevice."""
        for station in self._stations:
            sub, slave = station.sub, station.slave
            if sub is not None and sub.identity is not None:
                found = ExpectedIdentity(slave.man, slave.id, slave.rev, self._serial(slave, sub.identity))
                if not matches(sub.identity, found):
                    raise text.wrong_identity(station.position, sub, found, self._plan.subdevices)
            if sub is not None and sub.station_alias is not None:
                alias = int.from_bytes(self._read(station, _STATION_ALIAS, 2), "little")
                if alias != sub.station_alias:
                    raise text.wrong_alias(station.position, sub, alias)
            station.sii = read_sii_details(slave.eeprom_read)
            yield self._now_ns()

    @staticmethod
    def _serial(slave: Any, expected: ExpectedIdentity) -> int:
        return int.from_bytes(slave.eeprom_read(_SII_SERIAL), "little") if expected.serial else 0

    # req: REQ_0846, REQ_0853, REQ_0315
    def _prepare(self, station: Station) -> None:
        """Write what PRE-OP is for: watchdog registers, startup SDOs, PDO assignment."""
        sub = station.sub
        if sub is None:
            return
        if sub.sm_watchdog is not None:
            for register, value in sub.sm_watchdog.register_values():
                self._set_watchdog(station, register, value)
        if station.has_coe:
            # A device with fixed PDOs says so in its SII and refuses the writes; its sizes are checked after mapping.
            assigns = CoeDetails.PDO_ASSIGN in station.sii.coe
            for write in islice(startup_writes(sub), None if assigns else len(sub.startup_sdos)):
                self._sdo_write(station, write.index, write.subindex, write.data)
        elif sub.startup_sdos:
            raise StackError(f"{station.name} has startup_sdos and no CoE mailbox; take them out of the machine file")

    def _set_watchdog(self, station: Station, register: int, value: int) -> None:
        timeout_us = 3 * self._options.frame_timeout_us
        actual: int | None = None
        try:
            station.slave._fpwr(register, value.to_bytes(2, "little"), timeout_us)  # noqa: SLF001 - its only name
            actual = int.from_bytes(self._read(station, register, 2), "little")
        except (self._pysoem.WkcError, StackError):
            pass
        check_read_back(station.name, register, value, actual)

    def _map(self) -> Wire:
        """Have SOEM map the process data, compare the sizes with the plan and return the way to the bytes."""
        blocked = [station for station in self._stations if GeneralFlags.NO_LRW in station.sii.flags]
        mapping = self._options.mapping
        if mapping == "overlap" and blocked:
            raise StackError(
                f"{blocked[0].name} forbids LRW, which the overlapping mapping needs; use mapping auto or sequential"
            )
        overlap = mapping != "sequential" and not blocked
        errors: tuple[Exception, ...] = ()
        try:
            _ = self._master.config_overlap_map() if overlap else self._master.config_map()
        except self._pysoem.ConfigMapError as error:
            # SOEM goes on after an abort (it tries another way to ask): what counts is whether the sizes are right.
            errors = tuple(each for each in error.error_list if type(each) is not Exception)
        for station in self._stations:
            self._check_size(station, "outputs", len(station.slave.output), errors)
            self._check_size(station, "inputs", len(station.slave.input), errors)
        maker = OverlapWire if overlap else SequentialWire
        outputs, inputs = ({key: view for key, view in each.items() if view} for each in (self._outputs, self._inputs))
        bus = [Mapped(station.slave, station.sub, station.name) for station in self._stations]
        try:
            wire = maker(self._master, bus, outputs, inputs)
        except self._pysoem.WkcError as error:
            raise StackError(
                f"{self._place}: a SubDevice stopped answering while its process data was mapped"
            ) from error
        if wire.io_map_bytes > IO_MAP_BYTES:
            way_out = "mapping sequential or two interfaces" if overlap else "two interfaces"
            raise StackError(
                f"{self._place}: the process image takes {wire.io_map_bytes} bytes of pysoem's {IO_MAP_BYTES}; "
                f"use {way_out}"
            )
        return wire

    def _check_size(self, station: Station, what: str, found: int, errors: tuple[Exception, ...]) -> None:
        sub = station.sub
        if sub is None:
            return
        expected = ((sub.output_bits if what == "outputs" else sub.input_bits) + 7) // 8
        if found != expected:
            error = text.wrong_size(station.position, sub, what, found, expected, earlier_twin(station, self._stations))
            own = [each for each in errors if getattr(each, "slave_pos", 0) == station.position + 1]
            raise error from (own[0] if own else None)

    # req: REQ_0318, REQ_0330
    def _start_clocks(self) -> None:
        """Measure delays and set offsets; from then on SOEM sends the reference clock along with each exchange."""
        if not self._master.config_dc():
            raise text.no_distributed_clock(self._place)
        for station in self._stations:
            shift_ns = None if station.sub is None else station.sub.sync0_shift_ns
            if shift_ns is not None and self._read(station, _FEATURES, 2)[0] & _HAS_CLOCK:
                station.slave.dc_sync(True, self._plan.cycle_time_ns, shift_ns)

    def _reach(self, state: AlState) -> Steps[None]:
        patience_s = _STATE_PATIENCE_S[state]
        give_up_ns = self._now_ns() + int(patience_s * 1e9)
        while True:
            wanting = [each for each in self._states() if each.state is not state]
            if not wanting:
                return
            refused = any(each.has_error for each in wanting)
            if refused or self._now_ns() >= give_up_ns:
                raise text.state_not_reached(state, [self._cause(each) for each in wanting], patience_s)
            yield self._now_ns() + OP_WAIT_SPIN_NS

    # req: REQ_0841, REQ_0313
    def _enter_op(self) -> Steps[None]:
        self._transfer()  # valid outputs are there before anybody is asked to use them
        self._write_all(AlState.OP)
        begin_ns = self._now_ns()
        for spin in count(1):
            self._transfer()
            wanting = [each for each in self._states() if each.state is not AlState.OP or each.has_error]
            if not wanting:
                return
            decision = decide_op_wait(spin)
            if decision is OpWait.GIVE_UP:
                waited_s = (self._now_ns() - begin_ns) // 10**9
                raise text.state_not_reached(AlState.OP, [self._cause(each) for each in wanting], waited_s)
            if decision is OpWait.ACKNOWLEDGE:
                for each in wanting:
                    if each.has_error:
                        self._acknowledge(self._stations[each.position], AlState.OP)
            yield self._now_ns() + OP_WAIT_SPIN_NS

    def exchange(self) -> Steps[Exchange]:
        yield from ()
        result = self._transfer()
        self._cycles += 1
        every = self._options.emergency_poll_cycles
        if every and self._cycles % every == 0:
            self._poll_mailbox(self._cycles // every)
        return result

    def _transfer(self) -> Exchange:
        wire = self._wire
        if wire is None:
            raise StackError(f"{self._place}: the segment is not configured; recover it first")
        begin_ns = self._now_ns()
        counter = wire.exchange(self._options.frame_timeout_us)
        if counter < 0:
            raise text.no_frame(self._place, self._options.frame_timeout_us)
        return Exchange(counter, self._now_ns() - begin_ns)

    def outputs(self, address: int) -> memoryview | None:
        return self._outputs.get(address) if self._was_up else None

    def inputs(self, address: int) -> memoryview | None:
        return self._inputs.get(address) if self._was_up else None

    def images(self) -> tuple[memoryview, memoryview] | None:
        return None  # pysoem keeps the bytes of each SubDevice for itself

    def survey(self) -> Steps[tuple[SubDeviceState, ...]]:
        yield from ()
        return self._states()

    def request_state(self, address: int, state: AlState) -> Steps[bool]:
        station = self._station(address)
        found = self._state_of(station)
        if found.state in (AlState.NONE, AlState.INIT, AlState.BOOT):
            return False  # its SyncManagers are not configured (any more): only a bring-up helps
        needs_safe_op = found.state is AlState.PRE_OP and state is AlState.OP
        if needs_safe_op and not (yield from self._ask(station, AlState.SAFE_OP)):
            return False
        return (yield from self._ask(station, state))

    def _ask(self, station: Station, state: AlState) -> Steps[bool]:
        if self._state_of(station).has_error:
            self._acknowledge(station, state)
        else:
            self._write_state(station, state)
        for _spin in range(_RETURN_SPINS):
            yield self._now_ns() + OP_WAIT_SPIN_NS
            found = self._state_of(station)
            if found.state == state and not found.has_error:
                return True
        return False

    def sdo_read(self, address: int, index: int, subindex: int) -> Steps[bytes]:
        yield from ()
        station = self._station(address)
        with SdoErrors(self._pysoem, station, "read", index, subindex):
            data: bytes = station.slave.sdo_read(index, subindex, _SDO_BYTES, release_gil=True)
        return data

    def sdo_write(self, address: int, index: int, subindex: int, data: bytes) -> Steps[None]:
        yield from ()
        self._sdo_write(self._station(address), index, subindex, data)

    def _sdo_write(self, station: Station, index: int, subindex: int, data: bytes) -> None:
        with SdoErrors(self._pysoem, station, "write", index, subindex):
            station.slave.sdo_write(index, subindex, data, release_gil=True)

    def _poll_mailbox(self, turn: int) -> None:
        """Look into the mailbox of one SubDevice: SOEM sees an emergency only there."""
        talking = [station for station in self._stations if station.has_coe]
        if talking and self.on_emergency is not None:
            try:
                talking[turn % len(talking)].slave.mbx_receive()
            except (self._pysoem.MailboxError, self._pysoem.PacketError, self._pysoem.SdoError):
                pass  # mail that nobody waits for
            except Exception as error:
                if type(error) is not Exception:  # that is how pysoem tells of mail it does not know
                    raise

    def _tell_emergency(self, message: Any) -> None:
        """Pass one on; SOEM keeps one list of errors, so it may be of another SubDevice than was just talked to."""
        if self.on_emergency is not None:
            words = message.w1.to_bytes(2, "little") + message.w2.to_bytes(2, "little")
            data = bytes([message.b1]) + words
            self.on_emergency(Emergency(message.slave_pos - 1, message.error_code, message.error_reg, data))

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        master, self._master = self._master, None
        with ExitStack() as stack:
            stack.callback(self._hold.release)  # last: who comes next finds the socket closed
            if master is not None:
                stack.callback(master.close)
                if self._stations:
                    self._take_down(master)

    def _take_down(self, master: Any) -> None:
        """Send the safe outputs once, then SAFE-OP, then INIT; who does not follow in time is left to its watchdog."""
        pysoem = self._pysoem
        states = [pysoem.INIT_STATE]
        if self._wire is not None:
            for sub in self._plan.subdevices:
                self._outputs[sub.address][:] = sub.safe_outputs
            self._wire.exchange(self._options.frame_timeout_us)
            states.insert(0, pysoem.SAFEOP_STATE)
        for state in states:
            master.state = state
            if master.write_state() <= 0:
                return
            for _spin in range(_CLOSE_SPINS):
                if master.state_check(state, 0) & ~state == 0:
                    break

    def _states(self) -> tuple[SubDeviceState, ...]:
        self._master.read_state()
        return tuple(
            subdevice_state(station.position, station.slave.state, station.slave.al_status)
            for station in self._stations
        )

    def _state_of(self, station: Station) -> SubDeviceState:
        try:
            answer = self._read(station, _AL_STATUS, 6)
        except StackError:
            return SubDeviceState(station.position, AlState.NONE)
        status, code = int.from_bytes(answer[:2], "little"), int.from_bytes(answer[4:], "little")
        return subdevice_state(station.position, status, code)

    def _cause(self, state: SubDeviceState) -> tuple[SubDeviceMap | None, SubDeviceState, str]:
        return self._stations[state.position].sub, state, al_status_text(state.al_status_code)

    def _write_all(self, state: AlState) -> None:
        if self._stations:
            self._master.state = int(state)
            self._master.write_state()

    def _acknowledge(self, station: Station, state: AlState) -> None:
        """Clear a latched error and ask for ``state``.

        A simple device (ESC with device emulation) shows the bit that acknowledges as it was written, as an error of
        its own: it is taken back by the second write, which means nothing to the others.
        """
        self._write_state(station, state | ACKNOWLEDGE)
        self._write_state(station, state)

    @staticmethod
    def _write_state(station: Station, value: int) -> None:
        station.slave.state = value
        station.slave.write_state()

    def _read(self, station: Station, register: int, size: int) -> bytes:
        try:
            data: bytes = station.slave._fprd(register, size, 3 * self._options.frame_timeout_us)  # noqa: SLF001
        except self._pysoem.WkcError as error:
            raise StackError(f"{station.name} does not answer a read of register {register:#06x}") from error
        return data

    def _station(self, address: int) -> Station:
        position = self._positions.get(address)
        if position is None:
            known = ", ".join(map(str, self._plan.subdevices)) or "none"
            raise ConfigurationError(f"{self._place}: no SubDevice {address:#06x}; there is {known}")
        if position >= len(self._stations):
            raise StackError(f"{self._place}: {self._subs[position]} has not been found yet; bring the bus up first")
        return self._stations[position]


def require_pysoem() -> Any:
    """Return the pysoem package.

    Raises:
        ConfigurationError: it is not installed, the text names the extra; or this is no Linux, where no extra helps.
    """
    require_linux("real bus")
    try:
        import pysoem
    except ImportError as error:
        raise ConfigurationError(f"a real EtherCAT bus {missing_text(['pysoem'])}") from error
    return pysoem


def _index_of(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def _position(sub: SubDeviceMap, place: int) -> int:
    return place if sub.position is None else sub.position
