"""The EtherCAT part of a machine file becomes a plan, or is refused by a named error at its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat import spec_errors as refuse
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.pdo import ExpectedIdentity, PdoEntry, SdoValue, StartupSdo
from taktora.ethercat.resolve import resolve, routing_of, unmapped_gaps
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora.ethercat.watchdog import SmWatchdog


def _bus(*devices: dict[str, Any], **more: Any) -> EthercatBusSpec:
    return msgspec.convert({"devices": list(devices), **more}, EthercatBusSpec)


def _inputs(label: str = "di", bits: int = 8, **more: Any) -> dict[str, Any]:
    return {"label": label, "pdos": {"tx": [{"index": 0x1A00, "bit_length": bits}]}, **more}


def _outputs(label: str = "do", bits: int = 4, **more: Any) -> dict[str, Any]:
    pdos = {"rx": [{"index": 0x1600, "bit_length": bits}]}
    return {"label": label, "pdos": pdos, "sm_watchdog_enabled": True, **more}


def _entry(name: str | None, type: str, **more: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": type, **({} if name is None else {"name": name}), **more}


def _drive(label: str = "axis1", **more: Any) -> dict[str, Any]:
    rx = [
        {"index": 0x1600, "entries": [_entry("control", "u16"), _entry("target", "i32", factor=0.001, unit="mm")]},
        {"index": 0x1601, "entries": [_entry("mode", "i8"), _entry(None, "bits", bit_length=8)]},
    ]
    tx = [{"index": 0x1A00, "entries": [_entry("status", "u16"), _entry("position", "i32")]}]
    return {"label": label, "pdos": {"rx": rx, "tx": tx}, "sm_watchdog_enabled": True, "mailbox": {}, **more}


def _channel(name: str = "valve", device: str = "do", offset: int = 0, length: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "device": device,
        "direction": "rx",
        "bit_offset": offset,
        "bit_length": length,
        **more,
    }


def _where(*keys: str | int) -> str:
    return "m.yaml:" + "/".join(map(str, keys))


@pytest.mark.realizes("TEST_0836")
def test_addresses_follow_the_position_unless_one_is_given() -> None:
    devices: list[dict[str, Any]] = [{"label": "a"}, {"label": "b"}, {"label": "c"}]
    moved = [devices[0], {"label": "b", "address": 0x1005}, devices[2]]

    assert [sub.address for sub in resolve(_bus(*devices)).subdevices] == [0x1000, 0x1001, 0x1002]
    assert [sub.address for sub in resolve(_bus(*moved)).subdevices] == [0x1000, 0x1005, 0x1002]


@pytest.mark.realizes("TEST_0837")
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), max_size=8))
def test_the_working_counter_follows_from_the_directions_alone(sizes: list[tuple[int, int]]) -> None:
    devices: list[dict[str, Any]] = []
    for number, (out_bits, in_bits) in enumerate(sizes):
        device: dict[str, Any] = _outputs(f"d{number}", out_bits) if out_bits else {"label": f"d{number}"}
        pdos = {**device.get("pdos", {}), **(_inputs(bits=in_bits)["pdos"] if in_bits else {})}
        devices.append({**device, "pdos": pdos})

    plan = resolve(_bus(*devices))

    assert [sub.expected_wkc for sub in plan.subdevices] == [2 * bool(out) + bool(inp) for out, inp in sizes]
    assert plan.expected_wkc(len(sizes)) == sum(2 * bool(out) + bool(inp) for out, inp in sizes)


@pytest.mark.realizes("TEST_0837")
def test_the_schema_has_no_way_to_state_a_working_counter() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `expected_wkc`"):
        _bus(_inputs(expected_wkc=1))


@pytest.mark.realizes("TEST_0832")
def test_channels_stay_with_their_label_when_devices_are_reordered() -> None:
    channel = _channel()
    one = _bus(_outputs("do"), _inputs(), channels=[channel])
    two = _bus(_inputs(), _outputs("do"), channels=[channel])

    assert routing_of(one, one.channels[0]) == EthercatRouting(0x1000, PdoDirection.RX, 0, 1)
    assert routing_of(two, two.channels[0]) == EthercatRouting(0x1001, PdoDirection.RX, 0, 1)


@pytest.mark.verifies("REQ_0314", "REQ_8152")
def test_pdos_lie_one_behind_the_other_or_where_they_say() -> None:
    tx = [{"index": 0x1A01, "bit_length": 3}, {"index": 0x1A02, "bit_offset": 8, "bit_length": 5}]
    plan = resolve(_bus(_drive(), {"label": "odd", "pdos": {"tx": tx}, "mailbox": {}}))

    assert plan.subdevices[0].rx_pdos == (PdoEntry(0x1600, 0, 48), PdoEntry(0x1601, 48, 16))
    assert plan.subdevices[0].tx_pdos == (PdoEntry(0x1A00, 0, 48),)
    assert plan.subdevices[1].tx_pdos == (PdoEntry(0x1A01, 0, 3), PdoEntry(0x1A02, 8, 5))
    layout = plan.layout()
    assert (layout.output_bytes, layout.input_bytes) == (8, 8)
    assert layout.by_label["odd"].input_offset == 6


@pytest.mark.verifies("REQ_0315")
@pytest.mark.parametrize("mailbox", [None, {"pdo_assign": False}])
def test_a_device_whose_assignment_cannot_be_written_keeps_its_image_and_has_no_pdos_to_write(mailbox: Any) -> None:
    sub = resolve(_bus(_drive(mailbox=mailbox))).subdevices[0]

    assert (sub.rx_pdos, sub.tx_pdos) == ((), ())
    assert (sub.output_bits, sub.input_bits, sub.expected_wkc) == (64, 48, 3)


@pytest.mark.verifies("REQ_0838")
def test_identity_and_alias_of_each_position_are_in_the_plan() -> None:
    identity = {"vendor_id": 2, "product_code": 0x03EC3052, "revision": 0x00110000}
    subs = resolve(_bus(_inputs(identity=identity, station_alias=7), _inputs("other"))).subdevices

    assert subs[0].identity == ExpectedIdentity(2, 0x03EC3052, 0x00110000)
    assert [sub.station_alias for sub in subs] == [7, None]
    assert subs[1].identity is None


@pytest.mark.realizes("TEST_0860")
@pytest.mark.parametrize(
    ("ftti_ms", "timeout_ms", "ticks"),
    [(100, None, 500), (40, None, 200), (100, 50, 500), (100, 16.1, 161), (100, 10.05, 101), (100, 0, 1)],
)
def test_the_watchdog_is_the_override_or_half_of_the_fault_tolerant_time(
    ftti_ms: float, timeout_ms: float | None, ticks: int
) -> None:
    more: dict[str, Any] = {} if timeout_ms is None else {"sm_watchdog_timeout_ms": timeout_ms}

    plan = resolve(_bus(_outputs(**more), _inputs(), ftti_ms=ftti_ms))

    assert [sub.sm_watchdog for sub in plan.subdevices] == [SmWatchdog(2498, ticks), None]


@pytest.mark.realizes("TEST_0861")
@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"sm_watchdog_timeout_ms": 51}, refuse.SmWatchdogTimeoutTooLong, "'do' is 51000 us .* 50000 us, is allowed"),
        ({"sm_watchdog_timeout_ms": 50.01}, refuse.SmWatchdogTimeoutTooLong, "'do' is 50100 us"),
        ({"sm_watchdog_enabled": False}, refuse.SmWatchdogDisabled, "'do' has outputs and .* is false"),
        ({"sm_watchdog_enabled": None}, refuse.SmWatchdogNotAttested, "'do' has outputs and nothing says"),
    ],
)
def test_a_watchdog_that_is_late_or_not_attested_is_refused(more: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"m\.yaml:devices/1.*{text}") as caught:
        resolve(_bus(_inputs(), _outputs(**more)), _where)

    assert getattr(caught.value, "label", "") == "do"


@pytest.mark.realizes("TEST_0861")
def test_a_device_without_outputs_needs_no_watchdog() -> None:
    spec = _bus(_inputs(sm_watchdog_enabled=False, sm_watchdog_timeout_ms=500))

    assert resolve(spec).subdevices[0].sm_watchdog is None


@pytest.mark.verifies("REQ_0318")
def test_sync0_reaches_the_plan() -> None:
    plan = resolve(_bus(_drive(distributed_clock=True, sync0_shift_us=12.5), _inputs(), distributed_clocks=True))

    assert plan.distributed_clocks
    assert [sub.sync0_shift_ns for sub in plan.subdevices] == [12_500, None]


@pytest.mark.verifies("REQ_0853")
def test_startup_sdos_keep_order_and_type() -> None:
    sdos = [
        {"index": 0x8010, "subindex": 1, "type": "u16", "value": 1800},
        {"index": 0x6060, "type": "i8", "value": -1},
    ]

    sub = resolve(_bus(_drive(startup_sdos=sdos))).subdevices[0]

    assert sub.startup_sdos == (
        StartupSdo(0x8010, 1, SdoValue("u16", 1800)),
        StartupSdo(0x6060, 0, SdoValue("i8", -1)),
    )


@pytest.mark.verifies("REQ_8150")
def test_safe_values_are_in_the_applications_units_and_the_rest_is_zero() -> None:
    plan = resolve(_bus(_outputs(bits=4), _drive(safe={"target": -1.5, "mode": 8})))

    assert plan.subdevices[0].safe_outputs == b"\0"
    assert plan.subdevices[1].safe_outputs == bytes(2) + (-1500).to_bytes(4, "little", signed=True) + b"\x08\0"
    assert plan.safe_outputs() == plan.subdevices[0].safe_outputs + plan.subdevices[1].safe_outputs


@pytest.mark.verifies("REQ_8154")
def test_copies_name_entries_or_bits() -> None:
    copies = [
        {"source": "axis1.status", "target": "gate:8", "bit_length": 16},
        {"source": "axis1:16", "target": "axis1.target", "bit_length": 32},
    ]

    plan = resolve(_bus(_drive(), _outputs("gate", 24), copies=copies))

    assert [(str(copy.source), str(copy.target)) for copy in plan.copies] == [
        ("0x1000.tx[0:16]", "0x1001.rx[8:24]"),
        ("0x1000.tx[16:48]", "0x1000.rx[16:48]"),
    ]


@pytest.mark.realizes("TEST_0844")
@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
def test_slices_of_one_direction_may_share_bits_only_if_one_says_so(first: bool, second: bool) -> None:
    spec = _bus(
        _outputs(bits=8),
        channels=[
            _channel("a", length=5, allow_overlap=first),
            _channel("b", offset=4, length=4, allow_overlap=second),
            _channel("behind", offset=0, length=0 + 8, device="di", direction="tx"),
        ],
    )
    spec = msgspec.structs.replace(spec, devices=(*spec.devices, msgspec.convert(_inputs(), DeviceSpec)))

    if first or second:
        assert isinstance(resolve(spec), BusPlan)
    else:
        with pytest.raises(refuse.OverlappingSlices, match="channel 'a' and channel 'b' share bits") as caught:
            resolve(spec)
        assert caught.value.names == ("channel 'a'", "channel 'b'")


@pytest.mark.realizes("TEST_0844")
def test_slices_that_only_touch_are_no_overlap() -> None:
    resolve(_bus(_outputs(bits=8), channels=[_channel("a", length=5), _channel("b", offset=5, length=3)]))


_SDO = {"index": 0x8010, "type": "i8", "value": 128}


@pytest.mark.realizes("TEST_0845")
@pytest.mark.verifies("REQ_8152", "REQ_8154")
@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (_bus(_outputs(), channels=[_channel(offset=4)]), refuse.SliceOutOfImage, "channels/0: .*bit 5 .* has 4 bits"),
        (_bus(_outputs(), channels=[_channel(length=0)]), refuse.ZeroLengthSlice, "channels/0/bit_length: "),
        (
            _bus(_outputs("valves"), channels=[_channel(device="valve")]),
            refuse.UnknownDevice,
            r"channels/0/device: no device 'valve' on this bus; did you mean valves\?",
        ),
        (_bus(_outputs(), channels=[_channel(), _channel(offset=2)]), refuse.DuplicateChannelName, "channels/1/name: "),
        (
            _bus({"label": "a"}, {"label": "b", "address": 0x1000}),
            refuse.DuplicateAddress,
            "devices/1/address: 'a' and 'b' both have address 0x1000",
        ),
        (_bus({"label": "a"}, {"label": "a"}), refuse.DuplicateLabel, "devices/1/label: label 'a' stands twice"),
        (_bus({"label": "a"}, {"label": "b"}, max_subdevices=1), refuse.TooManySubDevices, "devices: 2 devices, .* 1"),
        (_bus(_inputs(bits=9), max_pdi_bytes=1), refuse.ImageTooLarge, "max_pdi_bytes: .* takes 2 bytes, .* allows 1"),
        (_bus(_drive(startup_sdos=[_SDO])), refuse.SdoValueOutOfRange, "devices/0/startup_sdos/0/value: .*128.*-128"),
        (
            _bus(_drive(startup_sdos=[{**_SDO, "value": 1}], mailbox=None)),
            refuse.StartupSdoWithoutMailbox,
            "devices/0/startup_sdos: 'axis1' has no mailbox",
        ),
        (_bus(_drive(safe={"targt": 1})), refuse.SafeValueRefused, r"devices/0/safe/targt: .*did you mean target\?"),
        (_bus(_drive(safe={"mode": 200})), refuse.SafeValueRefused, "devices/0/safe: .*mode = 200.0 is not in -128"),
        (_bus(_drive(safe={"mode": 0.5})), refuse.SafeValueRefused, "devices/0/safe/mode: 0.5 is no whole number"),
        (
            _bus(_drive(mailbox={"out_bytes": 256})),
            refuse.BadMailbox,
            "devices/0/mailbox/in_address: .*0x1000 has 256 bytes and the other begins at 0x1080; .* 0x1100",
        ),
        (_bus(_drive(mailbox={"in_address": 0xF80})), refuse.BadMailbox, "mailbox/in_address: in_address 0x0f80 is a"),
        (_bus(_drive(), distributed_clocks=True), refuse.BadClock, "distributed_clocks: .* no device has"),
        (
            _bus(_drive(sync0_shift_us=0, distributed_clock=True)),
            refuse.BadClock,
            "devices/0/sync0_shift_us: SYNC0 of 'axis1' needs the bus's",
        ),
        (
            _bus(_drive(sync0_shift_us=0), _inputs(distributed_clock=True), distributed_clocks=True),
            refuse.BadClock,
            "devices/0/sync0_shift_us: 'axis1' has no clock",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "bit_length": 1}] * 2}}),
            refuse.BadPdo,
            "tx/1/index: PDO 0x1A00 stands twice",
        ),
        (_bus(ftti_ms=float("inf")), refuse.NotFinite, "ftti_ms: ftti_ms is inf; give a finite number"),
        (_bus(cycle_time_ms=float("inf")), refuse.NotFinite, "cycle_time_ms: cycle_time_ms is inf"),
        (
            _bus(_outputs(sm_watchdog_timeout_ms=float("inf"))),
            refuse.NotFinite,
            "devices/0/sm_watchdog_timeout_ms: .* is inf",
        ),
        (_bus(_drive(safe={"target": float("nan")})), refuse.SafeValueRefused, "safe/target: nan is no safe value"),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 1, "entries": [_entry("x", "u8", offset=float("inf"))]}]}}),
            refuse.BadPdo,
            "entries/0/offset: offset inf",
        ),
        (_bus({"label": "a", "parent": "b"}), refuse.BadTopology, "devices/0/parent: parent 'b' is no device before"),
        (_bus({"label": "a"}, {"label": "b", "port": 2}), refuse.BadTopology, "devices/1/parent: 'port' without"),
        (
            _bus({"label": "a"}, {"label": "b", "parent": "a", "port": 2}, {"label": "c", "parent": "a", "port": 2}),
            refuse.BadTopology,
            "devices/2/port: port 2 of 'a' leads to 'b' already",
        ),
        (
            _bus(_outputs(), cycle_time_ms=20),
            refuse.OutputAgeTooLong,
            "max_output_age_cycles: .* after 100 ms .* ftti_ms is 50 ms",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00}]}}),
            refuse.BadPdo,
            "devices/0/pdos/tx/0: PDO 0x1A00 has no length",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x", "bits")]}]}}),
            refuse.BadPdo,
            "devices/0/pdos/tx/0/entries/0/bit_length: type 'bits' has no length",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x", "u8", bit_length=9)]}]}}),
            refuse.BadPdo,
            "entries/0/bit_length: bit_length 9 contradicts type 'u8' of 8 bits",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x y", "u8")]}]}}),
            refuse.BadPdo,
            "entries/0/name: name 'x y' is no identifier",
        ),
        (
            _bus(
                {"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x", "u8"), _entry("x", "u8")]}]}}
            ),
            refuse.BadPdo,
            "entries/1/name: name 'x' stands twice",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x", "u8", factor=0)]}]}}),
            refuse.BadPdo,
            "entries/0/factor: factor 0",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("x", "u8")], "bit_length": 9}]}}),
            refuse.BadPdo,
            "tx/0/bit_length: bit_length 9 of PDO 0x1A00, its entries make 8",
        ),
        (
            _bus(
                {
                    "label": "a",
                    "pdos": {"tx": [{"index": 1, "bit_length": 9}, {"index": 2, "bit_offset": 8, "bit_length": 1}]},
                }
            ),
            refuse.BadPdo,
            "tx/1: PDO 0x0002 begins at bit 8 before the end",
        ),
        (
            _bus(_drive(), copies=[{"source": "axis1.status", "target": "axis1.target"}]),
            refuse.BadCopy,
            "copies/0: 'axis1.status' has 16 bits and 'axis1.target' 32",
        ),
        (
            _bus(_drive(), copies=[{"source": "axis1.target", "target": "axis1.target"}]),
            refuse.BadCopy,
            "copies/0/source: 'target' is no input entry of 'axis1'",
        ),
        (
            _bus(_drive(), copies=[{"source": "axis1:4", "target": "axis1.target"}]),
            refuse.BadCopy,
            "copies/0/source: 'axis1:4' is neither",
        ),
        (
            _bus(
                _drive(),
                copies=[{"source": "axis1.status", "target": "axis1.control"}],
                channels=[_channel(device="axis1", offset=15)],
            ),
            refuse.OverlappingSlices,
            "copies/0/target: channel 'valve' and copy to 'axis1.control' share bits",
        ),
        (
            _bus(_drive(), copies=[{"source": "axis1:40", "target": "axis1.control", "bit_length": 16}]),
            refuse.SliceOutOfImage,
            "copies/0/source: copy from 'axis1:40' ends at bit 56 and the image has 48",
        ),
        (
            _bus(_drive(), copies=[{"source": "axis1.position", "target": "axis1.control", "bit_length": 24}]),
            refuse.BadCopy,
            "copies/0/target: 24 bits are more than the 16 of 'axis1.control'",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1600, "bit_length": 8}]}}),
            refuse.BadPdo,
            "devices/0/pdos/tx/0/index: PDO 0x1600 is an output of the MainDevice; list it under 'rx'",
        ),
        (
            _bus({"label": "a", "pdos": {"rx": [{"index": 0x1A00, "bit_length": 8}]}}),
            refuse.BadPdo,
            "devices/0/pdos/rx/0/index: PDO 0x1A00 is an input of the MainDevice; list it under 'tx'",
        ),
        (
            _bus({"label": "a", "pdos": {"tx": [{"index": 0x1A00, "entries": [_entry("class", "u8")]}]}}),
            refuse.BadPdo,
            "devices/0/pdos/tx/0/entries/0/name: name 'class' is a word of Python",
        ),
    ],
)
def test_each_derivable_fault_has_a_named_error_at_its_place(
    spec: EthercatBusSpec, error: type[ConfigurationError], message: str
) -> None:
    with pytest.raises(error, match=rf"m\.yaml:.*{message}"):
        resolve(spec, _where)


@pytest.mark.realizes("TEST_0846")
def test_unmapped_ranges_are_told_in_bus_order_inputs_first() -> None:
    spec = _bus(
        {**_outputs(bits=8), "pdos": {**_outputs(bits=8)["pdos"], **_inputs(bits=4)["pdos"]}},
        _drive(),
        _inputs(bits=8),
        channels=[
            _channel(offset=2, length=2),
            _channel("in", device="di", direction="tx", offset=0, length=8),
        ],
    )

    gaps = unmapped_gaps(spec)

    assert [(gap.device, gap.direction, gap.start, gap.end) for gap in gaps] == [
        ("do", "tx", 0, 4),
        ("do", "rx", 0, 2),
        ("do", "rx", 4, 8),
    ]
    assert str(gaps[1]) == "bits 0 to 1 of the outputs of 'do' belong to no channel and no entry"


@pytest.mark.verifies("REQ_0316", "REQ_8150", "REQ_0320")
def test_the_bus_wide_figures_reach_the_plan() -> None:
    plan = resolve(
        _bus(cycle_time_ms=0.5, ftti_ms=80, max_output_age_cycles=7, degraded_after_cycles=3, default_nic="eth1")
    )

    assert (plan.cycle_time_ns, plan.ftti_ns) == (1_000_000, 80_000_000)
    assert (plan.max_output_age_cycles, plan.degraded_after_cycles, plan.network_interface) == (7, 3, "eth1")
