"""One simulated SubDevice: an ESC with the device behind it and what decides between the two; it knows no frame.

Options of the ESC in ``DeviceSpec.options`` (all devices):

=======================  ==========================================================================================
``device_emulation``     the ESC copies AL control to AL status; default: SII word 0, bit 8
``transition_delay_ms``  time of each step upwards, 0
``safe_op_delay_ms``     time from PRE-OP to SAFE-OP instead
``op_wait_ms``           how long OP waits for the first outputs before 0x001B, 100
``has_boot``             BOOT is supported, false
``watchdog_to_safe_op``  watchdog expiry leads to SAFE-OP with 0x001B; default: unless emulated
``watchdog_fixed``       accepts writes to the watchdog's registers and keeps the old values, false
``fmmus``                number of FMMUs, 16
``sync_managers``        number of SyncManagers, 16
``ram_kb``               process RAM in KiB, 8
``sii_busy_us``          time of each EEPROM command, 0
``hot_connect``          not connected until the segment is told to, false
``clock_drift_ppm``      how much faster its distributed clock runs than virtual time, 0
=======================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, IdentitySpec
from taktora_sim.ethercat.alstate import AL_STATUS, AlMachine, AlOptions, AlStatusCode
from taktora_sim.ethercat.application import Application
from taktora_sim.ethercat.eeprom import EepromInterface
from taktora_sim.ethercat.esc import Esc, RegisterWindow
from taktora_sim.ethercat.fmmu import BitCopy
from taktora_sim.ethercat.syncmanager import SyncManager
from taktora_sim.ethercat.watchdog import DIVIDER, WINDOW, SyncManagerWatchdog
from taktora_sim.faults import Parameters

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["SubDevice"]

_MS = 1_000_000
_SAFE_OP, _OP = AlState.SAFE_OP, AlState.OP  # looked up once: they are asked for in every frame
_ALIAS_WORD, _BOOT_WORD, _MAILBOX_WORD, _PROTOCOLS_WORD = 0x04, 0x14, 0x18, 0x1C


class SubDevice:
    """A SubDevice of a simulated segment.

    It has slots because it has more attributes than Python finds quickly otherwise.

    Args:
        world: Time, timers, faults and trace.
        path: ``ethercat/<bus>/<label>``.
        spec: What it is.
        application: What stands behind the ESC.
        sii: EEPROM image.
    """

    __slots__ = (
        "_channels_new",
        "_emulated",
        "_feeds_watchdog",
        "_finish_call",
        "_has_chores",
        "_input_view",
        "_inputs_fresh",
        "_is_scattered",
        "_marked",
        "_options",
        "_output_view",
        "_outputs_live",
        "_outputs_new",
        "_outputs_seen",
        "_plain_inputs",
        "_plain_outputs",
        "_raw_inputs",
        "_to_safe_op",
        "_trace",
        "_watchdog_fixed",
        "al",
        "application",
        "eeprom",
        "esc",
        "input_filters",
        "is_configured",
        "is_powered",
        "label",
        "on_loops",
        "output_filters",
        "path",
        "refusals",
        "spec",
        "watchdog",
        "world",
        "wrong_identities",
    )

    def __init__(self, world: World, path: str, spec: DeviceSpec, application: Application, sii: bytes) -> None:
        self.world = world
        self.path = path
        self.spec = spec
        self.label = spec.label
        self.application = application
        self.is_powered = True
        self.refusals: list[tuple[AlState | None, int]] = []
        """Active faults that refuse a transition: the state (None: each) and the AL status code (-1: no answer)."""
        self.output_filters: list[Callable[[bytearray], bool]] = []
        """Active faults of process data: may change the outputs, and return False to withhold them."""
        self.input_filters: list[Callable[[bytearray], bool]] = []
        """Active faults of process data: may change the inputs; False leaves what was read last."""
        self.on_loops: Callable[[], None] = lambda: None
        """Called when the loop control of a port has changed."""
        self.wrong_identities: list[tuple[Parameters, IdentitySpec]] = []
        """Active faults that make it another device."""
        self._options = _Options(spec)
        self._emulated = self._options.flag("device_emulation", len(sii) > 1 and bool(sii[1] & 1))
        self._trace = world.trace.channel(path, "al-state")
        self.esc = Esc(
            self,
            self._options.number("fmmus", 16, 1, 16),
            self._options.number("sync_managers", 16, 1, 16),
            self._options.number("ram_kb", 8, 1, 60),
            self._mark_chore,
            self._channels_changed,
        )
        self.watchdog = SyncManagerWatchdog(world, self.esc.memory, self._watchdog_expired)
        busy_ns = self._options.number("sii_busy_us", 0, 0, 1_000_000) * 1000
        self.eeprom = EepromInterface(world, self.esc.memory, bytearray(sii), self._configuration_loaded, busy_ns)
        self.esc.eeprom = self.eeprom
        self.al = AlMachine(world, self.esc.memory, self, self._al_options())
        self._to_safe_op = self._options.flag("watchdog_to_safe_op", not self._emulated)
        self._watchdog_fixed = self._options.flag("watchdog_fixed", False)
        self.is_configured = True
        self._marked = self._outputs_new = self._inputs_fresh = self._has_chores = self._channels_new = False
        self._outputs_seen = self._outputs_live = False
        self._feeds_watchdog = False
        self._output_view: memoryview | None = None
        self._input_view: memoryview | None = None
        self._plain_outputs: memoryview | None = None  # the views again, while data go to and from the application
        self._plain_inputs: memoryview | None = None  # as they are: the state is right, it is one buffer, no fault
        self._raw_inputs: bytes | None = None
        self._is_scattered = False
        self._finish_call = self.finish  # bound once: it is handed over in every frame
        application.attach(self)
        self.power_on()

    @property
    def state(self) -> AlState:
        """The AL state as shown in register 0x0130, without the error bit."""
        return self.al.state

    @property
    def identity(self) -> IdentitySpec:
        """What the device says it is."""
        if self.wrong_identities:
            return self.wrong_identities[-1][1]
        return self.spec.identity or IdentitySpec(vendor_id=0, product_code=0)

    @property
    def has_hot_connect(self) -> bool:
        return self._options.flag("hot_connect", False)

    def set_window(self, window: RegisterWindow) -> None:
        """Put a distributed clock behind the registers 0x0900 to 0x09FF.

        Raises:
            ConfigurationError: the specification says that the device has none.
        """
        if not self.spec.distributed_clock:
            msg = f"{self.path}: a clock was given to a device without one; set distributed_clock in the machine file"
            raise ConfigurationError(msg)
        self.esc.set_window(window)

    def send_mail(self, data: bytes) -> bool:
        """Queue mail for SyncManager 1; False when it is not configured, the mail too long, or 16 are waiting."""
        return self.esc.syncs.post(data)

    def retreat(self, state: AlState, code: int) -> None:
        """Fall back to ``state`` with error bit and AL status code."""
        self.al.retreat(state, code)

    def snapshot(self) -> dict[str, object]:
        """Return what it is doing, for people and test benches: state, process data in hex, values of the device.

        ``outputs`` is what the MainDevice has written last, also where ``outputs_are_safe``; ``outputs_in_effect`` is
        what is on the terminals then, None for a device that has none, as a coupler or a drive.
        ``clock`` is None where there is no distributed clock, see ``DistributedClock.snapshot``.
        """
        syncs = self.esc.syncs
        window = self.esc.window
        in_effect = self.application.outputs_in_effect()
        return {
            "label": self.label,
            "state": self.al.state.text if self.is_powered else "OFF",
            "has_error": self.al.has_error,
            "al_status_code": self.al.code,
            "station_address": self.esc.station,
            "outputs": self._gathered(syncs.outputs).hex(),
            "outputs_are_safe": not self._outputs_live,
            "outputs_in_effect": None if in_effect is None else in_effect.hex(),
            "inputs": self._gathered(syncs.inputs).hex(),
            "values": dict(self.application.snapshot()),
            "clock": None if window is None else window.snapshot(),
        }

    def power_off(self) -> None:
        """Lose power: outputs become safe, nothing is answered."""
        if self.is_powered:
            self._make_safe("power lost")
            self.is_powered = False

    def power_on(self) -> None:
        """Start with the registers reset, in INIT, with address 0."""
        self.is_powered = True
        self.is_configured = True
        self._marked = self._outputs_new = self._inputs_fresh = self._has_chores = self._channels_new = False
        self._outputs_seen = self._outputs_live = False
        self._output_view = self._input_view = self._raw_inputs = None
        self._forget_ways()
        self.esc.reset(0x0F, emulated=self._emulated)
        self.eeprom.reset()
        self.watchdog.reset()
        self.al.reset()
        self.application.power_on()

    # req: REQ_8105
    def finish(self) -> None:
        """Do what a frame has left to do, after it has passed."""
        self._marked = self._inputs_fresh = False
        if self._outputs_new:
            self._outputs_new = False
            if self._feeds_watchdog:
                watchdog, at_ns = self.watchdog, self.esc.shared.at_ns
                if watchdog.fed_ns is None:
                    watchdog.trigger(at_ns)
                else:
                    watchdog.fed_ns = at_ns  # all that trigger() would do: a call less for nearly every frame
            data = self._plain_outputs
            if data is not None and not self.output_filters:
                self.application.outputs(data)
            else:
                self._take_outputs()
        if self._has_chores:
            self._has_chores = False
            self._do_chores()

    def _take_outputs(self) -> None:
        """Give the outputs to the application if it is to have them."""
        state = self.al.state
        if state is _SAFE_OP:
            self._outputs_seen = True
            self.al.outputs_arrived()
            state = self.al.state
        data = self._output_view
        if state is not _OP or data is None:
            return
        if not self._is_scattered and not self.output_filters:
            self._plain_outputs = data
        else:
            found = self._gathered_outputs(data)
            if found is None:
                return
            data = found
        self._outputs_live = True
        self.application.outputs(data)

    def _forget_ways(self) -> None:
        """Ask anew which way process data go, since what that depends on has changed."""
        self._plain_outputs = self._plain_inputs = None

    def _gathered_outputs(self, data: memoryview) -> memoryview | None:
        """Return the outputs of all channels as faults leave them; None when a fault withholds them."""
        if self._is_scattered:
            data[:] = self._gathered(self.esc.syncs.outputs)
        if not self.output_filters:
            return data
        changed = bytearray(data)
        return memoryview(changed) if _apply(self.output_filters, changed) else None

    def _do_chores(self) -> None:
        """Do what few frames ask for."""
        if self.al.requested is not None:
            self.al.process()
        if self._channels_new:
            self._channels_new = False
            self._check_channels()
        mail = self.esc.syncs.take_mail()
        if mail is not None:
            self.application.mail(mail)

    # What the ESC tells.

    def al_requested(self, value: int) -> None:
        self.al.requested = value
        self._mark_chore()

    def watchdog_written(self) -> None:
        if self._watchdog_fixed:
            memory = self.esc.memory
            memory[DIVIDER : DIVIDER + 2] = (2498).to_bytes(2, "little")
            memory[WINDOW : WINDOW + 2] = (1000).to_bytes(2, "little")
        self.watchdog.configure()

    def loops_changed(self) -> None:
        self.on_loops()

    def outputs_written(self) -> None:
        """Note that this frame has completed the outputs."""
        self._outputs_new = True
        if not self._marked:
            self._mark()

    # req: REQ_8105
    def refresh_inputs(self) -> None:
        """Let the application fill the inputs, once a frame."""
        if self._inputs_fresh:
            return
        self._inputs_fresh = True
        if not self._marked:
            self._mark()
        self._give_inputs()

    def _give_inputs(self) -> None:
        """Let the application fill the inputs if the state has any."""
        view, state = self._input_view, self.al.state
        if view is None or (state is not _OP and state is not _SAFE_OP):
            return
        if self._raw_inputs is None and not self.input_filters and not self._is_scattered:
            self._plain_inputs = view
            self.application.inputs(view)
        else:
            self._fill_inputs(view)

    def exchange_step(self, read: BitCopy, write: BitCopy, status: int, gain: int) -> Callable[[bytearray], int]:
        """Return what a logical datagram does here that completes the outputs and reads inputs, both in whole bytes.

        Nearly every frame does so at every SubDevice; hence the three of copying, :meth:`outputs_written` and
        :meth:`refresh_inputs` in one, with all that stays the same bound.

        Args:
            read: From the memory to the frame.
            write: From the frame to the memory.
            status: Address of the status byte of the output buffer.
            gain: What the working counter gains.
        """
        memory, shared = self.esc.memory, self.esc.shared
        frame_out, memory_out = slice(*write.frame_bytes), slice(*write.memory_bytes)
        frame_in, memory_in = slice(*read.frame_bytes), slice(*read.memory_bytes)

        def step(frame: bytearray) -> int:
            memory[memory_out] = frame[frame_out]
            memory[status] = 0x01
            self._outputs_new = True
            if not self._marked:
                self._marked = True
                shared.waiting.append(self._finish_call)
            if not self._inputs_fresh:
                self._inputs_fresh = True
                view = self._plain_inputs
                if view is not None and not self.input_filters:
                    self.application.inputs(view)
                else:
                    self._give_inputs()
            frame[frame_in] = memory[memory_in]
            return gain

        return step

    # What the state machine asks.

    def check(self, old: AlState, new: AlState) -> int:
        """Return 0 to accept the step from ``old`` to ``new``, else the AL status code; -1: no answer."""
        for state, code in self.refusals:
            if state is None or state is new:
                return code
        if not self.is_configured:
            return AlStatusCode.EEPROM_ERROR
        if old is AlState.INIT and not self._mailbox_fits(_BOOT_WORD if new is AlState.BOOT else _MAILBOX_WORD):
            return AlStatusCode.INVALID_BOOT_MAILBOX if new is AlState.BOOT else AlStatusCode.INVALID_MAILBOX
        if new is AlState.SAFE_OP and (code := self._check_process_data()):
            return code
        if self.esc.window is not None and (code := self.esc.window.check_transition(new)):
            return code
        return self.application.check_transition(old, new)

    def lacks_outputs(self) -> bool:
        return bool(self.esc.syncs.outputs) and not self._outputs_seen

    def entered(self, old: AlState, new: AlState) -> None:
        self._forget_ways()
        if old is AlState.OP:
            self._make_safe(f"left OP for {new.text}")
        if new is AlState.SAFE_OP:
            self._outputs_seen = False
        self.application.state_changed(new)

    def al_event(self) -> None:
        self._trace(self.esc.memory[AL_STATUS : AL_STATUS + 6])
        self.esc.al_event()

    def station_alias(self) -> int:
        return int.from_bytes(self.esc.memory[0x12:0x14], "little")

    def _mark(self) -> None:
        """Have :meth:`finish` called when the frame has passed."""
        if not self._marked:
            self._marked = True
            self.esc.shared.waiting.append(self._finish_call)

    def _mark_chore(self) -> None:
        self._has_chores = True
        self._mark()

    def _al_options(self) -> AlOptions:
        options = self._options
        return AlOptions(
            emulated=self._emulated,
            has_boot=options.flag("has_boot", False),
            delay_ns=options.number("transition_delay_ms", 0, 0, 60_000) * _MS,
            safe_op_delay_ns=options.number("safe_op_delay_ms", 0, 0, 60_000) * _MS,
            op_wait_ns=options.number("op_wait_ms", 100, 1, 60_000) * _MS,
        )

    def _configuration_loaded(self, is_sound: bool) -> None:
        self.is_configured = is_sound
        if is_sound:
            self.esc.set_alias(self.eeprom.word(_ALIAS_WORD))
        else:
            self.esc.set_alias(0)

    def _channels_changed(self) -> None:
        self._channels_new = True
        self._mark_chore()
        syncs = self.esc.syncs
        self._is_scattered = max(len(syncs.outputs), len(syncs.inputs)) > 1
        self._output_view = self._view(syncs.outputs)
        self._input_view = self._view(syncs.inputs)
        self._raw_inputs = None
        self._forget_ways()
        self._feeds_watchdog = any(channel.watchdog for channel in syncs.outputs)

    def _view(self, channels: tuple[SyncManager, ...]) -> memoryview | None:
        """Return the memory of the one channel, or room for all where a direction has several."""
        if not channels:
            return None
        if not self._is_scattered:
            return memoryview(self.esc.memory)[channels[0].start : channels[0].stop]
        return memoryview(bytearray(sum(channel.length for channel in channels)))

    def _fill_inputs(self, view: memoryview) -> None:
        before = self._gathered(self.esc.syncs.inputs) if self.input_filters else b""
        if self._raw_inputs is not None:
            view[:] = self._raw_inputs
            self._raw_inputs = None
        self.application.inputs(view)
        if self.input_filters:
            self._filter_inputs(view, before)
        if self._is_scattered:
            at = 0
            for channel in self.esc.syncs.inputs:
                self.esc.memory[channel.start : channel.stop] = view[at : at + channel.length]
                at += channel.length

    def _filter_inputs(self, view: memoryview, before: bytes) -> None:
        """Let the active faults at the inputs; the application is to find its own data again the next time."""
        self._plain_inputs = None
        self._raw_inputs = bytes(view)
        changed = bytearray(view)
        view[:] = changed if _apply(self.input_filters, changed) else before

    def _gathered(self, channels: tuple[SyncManager, ...]) -> bytes:
        """Return the memory of ``channels``: what the MainDevice has written or read last."""
        return b"".join(self.esc.memory[each.start : each.stop] for each in channels)

    def _make_safe(self, reason: str) -> None:
        if self._outputs_live:
            self._outputs_live = False
            self._forget_ways()
            self.application.safe_outputs(reason)

    def _watchdog_expired(self) -> None:
        if not self.is_powered:
            return
        self._make_safe("SyncManager watchdog expired")
        if self.al.state is AlState.OP and self._to_safe_op:
            self.al.retreat(AlState.SAFE_OP, AlStatusCode.WATCHDOG)

    def _mailbox_fits(self, word: int) -> bool:
        """Return whether SyncManagers 0 and 1 are as the EEPROM says from ``word`` on."""
        if self.eeprom.word(_PROTOCOLS_WORD) in (0, 0xFFFF):
            return True
        wanted = tuple(self.eeprom.word(word + number) for number in range(4))
        out, back = self.esc.syncs.mail_out, self.esc.syncs.mail_in
        if out is None or back is None or out.index != 0 or back.index != 1:
            return False
        return (out.start, out.length, back.start, back.length) == wanted

    def _check_process_data(self) -> int:
        wanted = self.application.process_data_bytes()
        if wanted is None:
            return 0
        syncs = self.esc.syncs
        if sum(channel.length for channel in syncs.outputs) != wanted[0]:
            return AlStatusCode.INVALID_OUTPUTS
        if sum(channel.length for channel in syncs.inputs) != wanted[1]:
            return AlStatusCode.INVALID_INPUTS
        return 0

    def _check_channels(self) -> None:
        """Fall back when the MainDevice has switched off what the state needs."""
        if self._emulated or self.al.state in (AlState.INIT, AlState.BOOT):
            return
        if not self._mailbox_fits(_MAILBOX_WORD):
            self.al.retreat(AlState.INIT, AlStatusCode.INVALID_MAILBOX)
        elif self.al.state >= AlState.SAFE_OP and (code := self._check_process_data()):
            self.al.retreat(AlState.PRE_OP, code)


def _apply(filters: list[Callable[[bytearray], bool]], data: bytearray) -> bool:
    """Let every fault at the data; False when one of them withholds it."""
    passes = True
    for change in filters:
        passes &= change(data)
    return passes


class _Options:
    """Reads ``DeviceSpec.options``; names that the ESC does not know are the device's."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._spec = spec

    def flag(self, name: str, default: bool) -> bool:
        value = self._spec.options.get(name, default)
        if not isinstance(value, bool):
            raise self._refusal(name, "true or false")
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self._spec.options.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._refusal(name, f"an integer from {low} to {high}")
        return value

    def _refusal(self, name: str, expected: str) -> ConfigurationError:
        value = self._spec.options[name]
        return ConfigurationError(f"device {self._spec.label!r}: option {name} is {value!r}, expected {expected}")
