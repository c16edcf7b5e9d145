"""The device library: what each kind does with its process data, and a segment of all kinds from a machine file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.driver import AlState, Steps
from taktora.ethercat.entries import placed
from taktora.ethercat.network import (
    DeviceSpec,
    EntrySpec,
    EthercatBusSpec,
    IdentitySpec,
    MailboxSpec,
    PdoSpec,
    PdosSpec,
)
from taktora.ethercat.resolve import resolve
from taktora.ethercat.sdo import upload
from taktora.ethercat.sii import build_sii, parse_sii
from taktora_sim.ethercat import subdevice
from taktora_sim.ethercat.devices import (
    PROFILES,
    AnalogInputs,
    AnalogOutputs,
    DigitalInputs,
    DigitalOutputs,
    GenericDevice,
    SimulatedDevice,
    Value,
    build_device,
    build_segment,
    device_of,
)
from taktora_sim.ethercat.devices.options import ESC_OPTIONS
from taktora_sim.ethercat.devices.terminals import (
    analog_inputs,
    analog_outputs,
    coupler,
    digital_inputs,
    digital_outputs,
    generic,
)
from taktora_sim.ethercat.devices.values import NamedEntry
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.ethercat.support import MS, BareEsc, Client

pytestmark = pytest.mark.verifies("REQ_8108")

T = TypeVar("T")


def _powered(spec: DeviceSpec, world: World | None = None) -> Any:
    """Return the device of the library behind an ESC in OP."""
    device = build_device(spec)
    BareEsc(spec, device, world).go(AlState.OP)
    return device


def _read(device: SimulatedDevice) -> int:
    """Return the inputs as the MainDevice reads them."""
    data = bytearray(device.input_data.byte_length)
    device.inputs(memoryview(data))
    return int.from_bytes(data, "little")


def _write(device: SimulatedDevice, value: int) -> None:
    device.outputs(memoryview(value.to_bytes(device.output_data.byte_length, "little")))


# --- digital -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 4, 8, 16])
def test_each_digital_input_is_a_bit(channels: int) -> None:
    device = _powered(digital_inputs("di", channels))

    images = []
    for channel in range(1, channels + 1):
        device.set(channel, True)
        images.append(_read(device))
        device.set(f"in{channel}", False)

    assert images == [1 << bit for bit in range(channels)]
    assert _read(device) == 0


@pytest.mark.parametrize("channels", [2, 4, 8, 16])
def test_each_digital_output_is_a_bit(channels: int) -> None:
    device = _powered(digital_outputs("do", channels))

    _write(device, 1 << channels - 1 | 1)

    assert isinstance(device, DigitalOutputs)
    assert device.states == (True, *[False] * (channels - 2), True)
    assert device.output(channels) is True
    assert device.output("out2") is (channels == 2)


def test_a_listener_hears_the_outputs_that_change() -> None:
    device = _powered(digital_outputs("do", 4))
    heard: list[tuple[str, Value]] = []
    third: list[Value] = []
    device.on_output(lambda name, value: heard.append((name, value)))
    device.on_output(lambda _name, value: third.append(value), 3)

    for image in (0b0001, 0b0001, 0b0101, 0b0100):
        _write(device, image)

    assert heard == [("out1", True), ("out3", True), ("out1", False)]
    assert third == [True]


@pytest.mark.verifies("REQ_8105")
@pytest.mark.parametrize(("hold", "expected"), [(False, (False, False)), (True, (True, True))], ids=["off", "held"])
def test_outputs_are_off_when_they_are_made_safe(hold: bool, expected: tuple[bool, ...]) -> None:
    device = _powered(digital_outputs("do", 2, options={"hold_outputs": hold}))
    _write(device, 0b11)

    device.safe_outputs("watchdog")

    assert device.states == expected


def test_outputs_come_back_with_the_same_data_after_they_were_safe() -> None:
    device = _powered(digital_outputs("do", 2))
    _write(device, 0b10)
    device.safe_outputs("watchdog")

    _write(device, 0b10)

    assert device.states == (False, True)


def test_inputs_stay_what_the_process_says_over_a_power_cycle() -> None:
    device = _powered(digital_inputs("di", 8))
    device.set(5, True)

    device.power_on()

    assert _read(device) == 1 << 4


# --- analog ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "raw", "bits"),
    [
        (0.0, 0, ""),
        (10.0, 32767, ""),
        (5.0, 16384, ""),
        (12.0, 32767, "overrange error"),
        (-1.0, 0, "underrange error"),
    ],
    ids=str,
)
def test_an_analog_input_scales_and_limits(value: float, raw: int, bits: str) -> None:
    device = _powered(analog_inputs("ai", 2, low=0.0, high=10.0))

    device.set(2, value)

    image = _read(device) >> 32
    assert image >> 16 == raw
    names = ("underrange", "overrange", "error")
    assert " ".join(name for name in names if device.input(f"{name}2")) == bits
    assert [bool(image & 1), bool(image & 2), bool(image & 0x40)] == [name in bits.split() for name in names]


def test_a_symmetric_range_is_signed() -> None:
    device = _powered(analog_inputs("ai", 1, low=-10.0, high=10.0))

    device.value = -10.0

    assert _read(device) >> 16 == 0x10000 - 32767
    assert device.value == -10.0


def test_what_a_device_reports_is_quantised() -> None:
    device = _powered(analog_inputs("ai", 1, low=4.0, high=20.0, unit="mA"))

    device.value = 11.0001

    assert device.input(1) != 11.0001
    assert device.input(1) == pytest.approx(11.0001, abs=16 / 32767)


def test_the_toggle_bit_changes_with_each_new_value() -> None:
    device = _powered(analog_inputs("ai"))
    toggles = []

    for value in (1.0, 2.0, 2.0, 3.0):
        device.value = value
        toggles.append(device.input("toggle1"))

    assert toggles == [True, False, False, True]


@pytest.mark.verifies("REQ_8109")
def test_a_broken_wire_shows_as_error_until_it_is_mended() -> None:
    entry = FaultEntry(
        target="ethercat/cell/ai", kind="break-wire", at_ns=MS, duration_ns=MS, parameters={"channel": 1}
    )
    world = World(1, plan=FaultPlan.of(entry))
    device = _powered(analog_inputs("ai", low=4.0, high=20.0, unit="mA"), world)
    device.value = 12.0
    world.run_for(MS)

    broken = [device.input(name) for name in ("value1", "underrange1", "error1")]
    world.run_for(MS)

    assert broken == [4.0, True, True]
    assert device.input("value1") == pytest.approx(12.0, abs=0.001)
    assert not device.input("error1")


@pytest.mark.verifies("REQ_8109")
def test_a_forced_status_bit_stays_when_the_value_changes() -> None:
    parameters: dict[str, Any] = {"entry": "error1", "value": 1.0}
    entry = FaultEntry(
        target="ethercat/cell/ai", kind="force-input", at_ns=0, duration_ns=2 * MS, parameters=parameters
    )
    world = World(1, plan=FaultPlan.of(entry))
    device = _powered(analog_inputs("ai"), world)
    world.run_for(MS)
    seen = []

    for value in (5.0, 12.0, 5.0):
        device.value = value
        seen.append(device.input("error1"))
    world.run_for(2 * MS)

    assert seen == [True, True, True]
    assert device.input("error1") is False


def _noisy(seed: int, label: str = "ai") -> list[int]:
    device = _powered(analog_inputs(label, options={"noise": 0.1}), World(seed))
    device.value = 5.0
    return [_read(device) >> 16 for _ in range(200)]


@pytest.mark.verifies("REQ_8003")
def test_noise_is_seeded_and_bounded() -> None:
    first = _noisy(1)

    assert first == _noisy(1)
    assert first != _noisy(2)
    assert first != _noisy(1, "other")
    assert 16384 - 328 <= min(first) < max(first) <= 16384 + 328


def test_an_analog_output_drives_its_range() -> None:
    spec = analog_outputs("ao", 2, low=-10.0, high=10.0, options={"range_high": 5.0})
    device = _powered(spec)

    _write(device, 0x7FFF | 0x8001 << 16)

    assert isinstance(device, AnalogOutputs)
    assert device.value == 5.0
    assert device.output(2) == -10.0


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-1e6, 1e6))
def test_any_value_becomes_the_nearest_that_fits(value: float) -> None:
    entry = NamedEntry("v", 0x6000, 1, 16, EntrySpec(name="v", type="i16", factor=0.01, offset=3.0), 0x1A00)

    decoded = entry.decode(entry.encode(value))

    assert decoded == pytest.approx(min(max(value, -324.68), 330.67), abs=0.00501)


@pytest.mark.parametrize(
    ("kind", "value"), [("f32", 1.5), ("f64", -2.25), ("u64", 2**63), ("i8", -128), ("bool", True)], ids=str
)
def test_every_type_comes_back(kind: Any, value: Value) -> None:
    bits = {"f32": 32, "f64": 64, "u64": 64, "i8": 8, "bool": 1}[kind]
    entry = NamedEntry("v", 0x6000, 1, bits, EntrySpec(name="v", type=kind), 0x1A00)

    assert entry.decode(entry.encode(value)) == value


# --- generic -----------------------------------------------------------------------------------------------------


def test_a_generic_device_remembers_outputs_and_takes_inputs() -> None:
    device = _powered(generic("g", 2, 3))
    _write(device, 0x0201)

    device.set("in2", 7)

    assert [device.output(1), device.output("out1")] == [1, 2]
    assert _read(device) == 7 << 16


def test_a_loopback_repeats_the_outputs_as_far_as_they_reach() -> None:
    device = _powered(generic("g", 2, 3, options={"loopback": True}))

    _write(device, 0xBEEF)

    assert isinstance(device, GenericDevice)
    assert _read(device) == 0x00BEEF
    device.safe_outputs("power lost")
    assert _read(device) == 0


def test_a_wrong_name_is_answered_with_those_that_are_there() -> None:
    device = _powered(digital_outputs("do", 2))

    with pytest.raises(ConfigurationError, match=r"'do' has no output 3; it has out1, out2"):
        device.output(3)
    with pytest.raises(ConfigurationError, match="'do' has no input 'out1'; it has none"):
        device.set("out1", True)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (digital_outputs("d", options={"hold_outputs": 1}), "option hold_outputs is 1, expected true or false"),
        (generic("d", options={"mailbox_us": -1}), "option mailbox_us is -1, expected an integer from 0"),
        (analog_inputs("d", options={"noise": "much"}), "option noise is 'much', expected a number"),
        (analog_inputs("d", options={"noice": 1.0}), "no option 'noice'; did you mean 'noise'"),
        (generic("d", options={"noise": 1.0}), "no option 'noise'"),
        (analog_inputs("d", options={"range_low": 11}), "range_low 11 is not below range_high 10"),
    ],
    ids=["flag", "integer", "number", "unknown", "of another kind", "range"],
)
def test_what_makes_no_sense_is_refused(spec: DeviceSpec, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        build_device(spec)


def test_the_options_of_the_esc_are_those_that_it_documents() -> None:
    documented = re.findall(r"^``(\w+)``", subdevice.__doc__ or "", re.MULTILINE)

    assert set(documented) == ESC_OPTIONS


@pytest.mark.verifies("REQ_8109")
def test_a_forced_input_shows_its_value_until_it_is_released() -> None:
    entry = FaultEntry(
        target="ethercat/cell/di",
        kind="force-input",
        at_ns=MS,
        duration_ns=2 * MS,
        parameters={"entry": "in2", "value": 1.0},
    )
    world = World(1, plan=FaultPlan.of(entry))
    device = _powered(digital_inputs("di", 4), world)
    images = []
    for value in (False, True, False, False):
        device.set(2, value)
        world.run_for(MS)
        images.append(_read(device))

    assert images == [0b10, 0b10, 0b00, 0b00]


def test_changes_are_drawn_on_the_page_of_the_run() -> None:
    world = World(1)
    device = _powered(analog_inputs("ai", unit="V"), world)
    device.value = 10.0

    samples = world.recorder.signals["ai.value1"]

    assert (samples.unit, list(samples.values)) == ("V", [10.0])


def test_a_device_may_be_left_out_of_the_page() -> None:
    world = World(1)
    device = _powered(digital_inputs("di", 2, options={"signals": False}), world)

    device.set(1, True)

    assert not world.recorder.signals


# --- descriptions ------------------------------------------------------------------------------------------------

_ALL = (
    coupler("k"),
    digital_inputs("di4", 4),
    digital_inputs("di2", 2),
    digital_outputs("do4", 4),
    digital_outputs("do2", 2),
    digital_outputs("do16", 16),
    analog_inputs("ai", 2),
    analog_outputs("ao", 2, mailbox=MailboxSpec(pdo_assign=False, complete_access=False)),
    generic("g", 64, 64),
)


@pytest.mark.parametrize("spec", _ALL, ids=lambda spec: spec.label)
def test_a_usual_terminal_is_described_without_contradiction(spec: DeviceSpec) -> None:
    sii = parse_sii(build_sii(spec))
    bits = [sum(pdo.bit_length for pdo in placed(spec, direction)) for direction in ("rx", "tx")]

    assert [sum(pdo.bits for pdo in pdos) for pdos in (sii.rx_pdos, sii.tx_pdos)] == bits
    assert sii.has_device_emulation is (spec.mailbox is None)


@pytest.mark.parametrize("kind", PROFILES.values(), ids=lambda kind: kind.profile)
def test_each_kind_says_what_is_modelled_and_what_simplified(kind: type[SimulatedDevice]) -> None:
    text = sys.modules[kind.__module__].__doc__ or ""

    assert "Modelled:" in text
    assert "Simplified:" in text


def test_channels_and_ranges_of_a_terminal_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="65 channels"):
        digital_inputs("di", 65)
    with pytest.raises(ConfigurationError, match="low 5 is not below high 5"):
        analog_inputs("ai", low=5.0, high=5.0)


# --- a segment of them -------------------------------------------------------------------------------------------


class _Cell:
    """A segment of the library with the MainDevice of the simulation on it."""

    def __init__(self, devices: tuple[DeviceSpec, ...] = _ALL, seed: int = 1, folder: Path = Path()) -> None:
        spec = EthercatBusSpec(devices=devices, cycle_time_ms=1)
        self.world = World(seed)
        self.segment = build_segment(self.world, "cell", spec, folder)
        self.main = SimulatedMainDevice(self.segment, resolve(spec))
        self.addresses = {device.label: 0x1000 + position for position, device in enumerate(devices)}

    def run(self, steps: Steps[T]) -> T:
        for _ in range(1_000_000):
            try:
                due_ns = steps.send(None)
            except StopIteration as end:
                result: T = end.value
                return result
            self.world.run_for(max(0, due_ns - self.world.now_ns()))
        raise AssertionError("the operation does not end")

    def cycle(self) -> int:
        counter = self.run(self.main.exchange()).working_counter
        self.world.run_for(MS)
        return counter


@pytest.mark.verifies("REQ_8152")
def test_a_segment_of_all_kinds_exchanges_process_data() -> None:
    cell = _Cell()
    found = cell.run(cell.main.bring_up())
    outputs = {label: cell.main.outputs(address) for label, address in cell.addresses.items()}
    inputs = {label: cell.main.inputs(address) for label, address in cell.addresses.items()}
    device_of(cell.segment, "di4", DigitalInputs).set(3, True)
    device_of(cell.segment, "di2", DigitalInputs).set(1, True)
    device_of(cell.segment, "ai", AnalogInputs).value = 10.0
    for label, data in (("do4", b"\x0a"), ("do2", b"\x01"), ("do16", b"\x01\x80"), ("ao", b"\xff\x7f\x00\x00")):
        view = outputs[label]
        assert view is not None
        view[:] = data

    counters = [cell.cycle() for _ in range(3)]

    assert counters == [found.expected_wkc] * 3
    assert [bytes(inputs[label] or b"") for label in ("di4", "di2")] == [b"\x04", b"\x01"]
    assert bytes(inputs["ai"] or b"")[2:4] == b"\xff\x7f"
    assert device_of(cell.segment, "do4", DigitalOutputs).states == (False, True, False, True)
    assert device_of(cell.segment, "do2", DigitalOutputs).states == (True, False)
    assert device_of(cell.segment, "do16", DigitalOutputs).output(16) is True
    assert device_of(cell.segment, "ao", AnalogOutputs).value == 10.0


@pytest.mark.verifies("REQ_8105")
def test_outputs_are_off_when_no_frame_has_come_for_the_watchdogs_time() -> None:
    cell = _Cell()
    cell.run(cell.main.bring_up())
    view = cell.main.outputs(cell.addresses["do16"])
    assert view is not None
    view[:] = b"\xff\xff"
    cell.cycle()
    device = device_of(cell.segment, "do16", DigitalOutputs)
    assert all(device.states)

    cell.world.run_for(1000 * MS)

    assert not any(device.states)


@pytest.mark.verifies("REQ_8109")
def test_another_identity_shows_in_the_object_while_the_fault_lasts() -> None:
    spec = generic("g", 1, 1)
    client = Client(BareEsc(spec, build_device(spec)))
    assert spec.identity is not None

    def read() -> list[int]:
        return [int.from_bytes(client.run(upload(0x1018, sub)), "little") for sub in (1, 2, 3)]

    client.esc.identity = IdentitySpec(vendor_id=5, product_code=6)
    during = read()
    client.esc.identity = spec.identity

    assert during == [5, 6, 0]
    assert read() == [spec.identity.vendor_id, spec.identity.product_code, spec.identity.revision]


@pytest.mark.verifies("REQ_8001")
def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> str:
        cell = _Cell((coupler("k"), analog_inputs("ai", options={"noise": 0.5}), digital_outputs("do")), seed)
        cell.run(cell.main.bring_up())
        for _ in range(20):
            cell.cycle()
        return cell.world.trace.sha256()

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.verifies("REQ_8103", "REQ_8153")
def test_files_of_a_scan_make_the_device(tmp_path: Path) -> None:
    spec = generic("g", 4, 4)
    made = build_device(spec)
    made.dictionary.entry(0x1008).value = b"FOUND"
    made.dictionary.save(tmp_path / "g.json")
    (tmp_path / "g.bin").write_bytes(build_sii(generic("g", 4, 4, order="FOUND")))
    found = DeviceSpec(
        label="g",
        mailbox=MailboxSpec(),
        pdos=spec.pdos,
        identity=spec.identity,
        dictionary="g.json",
        sii="g.bin",
        sm_watchdog_enabled=True,
    )

    cell = _Cell((found,), folder=tmp_path)

    assert cell.run(cell.main.bring_up()).expected_wkc == 3
    assert cell.run(cell.main.sdo_read(0x1000, 0x1008, 0)) == b"FOUND"


@pytest.mark.verifies("REQ_8153")
def test_what_a_scanned_dictionary_lacks_comes_from_the_description(tmp_path: Path) -> None:
    spec = generic("g", 1, 2, dictionary="g.json")
    found = build_dictionary(spec)
    for index in (0x6000, 0x1C13):
        del found.objects[index]
    del found.objects[0x7000].entries[1]
    found.save(tmp_path / "g.json")

    device = build_device(spec, tmp_path)
    device.set("in1", 7)

    assert device.process_data_bytes() == (1, 2)
    assert device.dictionary.entry(0x6000, 2).number == 7
    assert device.output("out0") == 0


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("sii", None, "cannot be read"), ("sii", b"short", "SII word"), ("dictionary", b"{", "truncated")],
    ids=["missing", "damaged image", "damaged dictionary"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / "device.file").write_bytes(content)
    fields: dict[str, Any] = {name: "device.file"}

    with pytest.raises(ConfigurationError, match=rf"device\.file.*{expected}"):
        build_segment(World(1), "cell", EthercatBusSpec(devices=(generic("g", 1, 1, **fields),)), tmp_path)


def test_a_device_without_a_profile_is_what_its_data_makes_it() -> None:
    pdos = PdosSpec(tx=(PdoSpec(index=0x1A00, bit_length=8),))

    kinds = [build_device(spec).profile for spec in (DeviceSpec(label="a"), DeviceSpec(label="b", pdos=pdos))]

    assert kinds == ["coupler", "generic"]


def test_a_device_is_found_by_label_and_kind() -> None:
    segment = build_segment(World(1), "cell", EthercatBusSpec(devices=(coupler("k"), digital_inputs("di"))))

    with pytest.raises(ConfigurationError, match="no device 'x'; it has k, di"):
        device_of(segment, "x", SimulatedDevice)
    with pytest.raises(ConfigurationError) as wrong:
        device_of(segment, "di", DigitalOutputs)
    assert str(wrong.value) == (
        "ethercat/cell/di is a DigitalInputs, not a DigitalOutputs; set profile: digital-outputs in the machine file"
    )
    with pytest.raises(ConfigurationError, match="is a DigitalInputs, not an AnalogInputs; set profile: analog-inputs"):
        device_of(segment, "di", AnalogInputs)
