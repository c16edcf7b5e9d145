"""What is written in PRE-OP: startup SDOs, PDO assignment, watchdog registers; and the wait for OP."""

from __future__ import annotations

import pytest

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.network import SdoType
from taktora.ethercat.pdo import PdoEntry, SdoValue, StartupSdo, SubDeviceMap
from taktora.ethercat.startup import OpWait, SdoWrite, assignment_writes, decide_op_wait, startup_writes
from taktora.ethercat.watchdog import SmWatchdog, check_read_back

_RX = (PdoEntry(0x1600, 0, 16), PdoEntry(0x1602, 16, 32))
_TX = (PdoEntry(0x1A00, 0, 16),)
_MOTOR = (
    StartupSdo(0x8010, 1, SdoValue("u32", 100_000)),
    StartupSdo(0x8010, 2, SdoValue("i32", -5)),
    StartupSdo(0x8011, 3, SdoValue("i16", -1)),
    StartupSdo(0x6060, 0, SdoValue("i8", -128)),
)


@pytest.mark.verifies("REQ_0315")
def test_the_assignment_is_cleared_filled_and_counted_outputs_first() -> None:
    sub = SubDeviceMap(address=0x1003, rx_pdos=_RX, tx_pdos=_TX)

    assert list(assignment_writes(sub)) == [
        SdoWrite(0x1003, 0x1C12, 0, b"\0"),
        SdoWrite(0x1003, 0x1C12, 1, b"\x00\x16"),
        SdoWrite(0x1003, 0x1C12, 2, b"\x02\x16"),
        SdoWrite(0x1003, 0x1C12, 0, b"\2"),
        SdoWrite(0x1003, 0x1C13, 0, b"\0"),
        SdoWrite(0x1003, 0x1C13, 1, b"\x00\x1a"),
        SdoWrite(0x1003, 0x1C13, 0, b"\1"),
    ]


@pytest.mark.verifies("REQ_0315")
@pytest.mark.parametrize(("rx", "tx", "objects"), [(_RX, (), {0x1C12}), ((), _TX, {0x1C13}), ((), (), set())])
def test_an_empty_direction_is_not_written(
    rx: tuple[PdoEntry, ...], tx: tuple[PdoEntry, ...], objects: set[int]
) -> None:
    sub = SubDeviceMap(address=0x1003, rx_pdos=rx, tx_pdos=tx, output_bits=48, input_bits=48)

    assert {write.index for write in assignment_writes(sub)} == objects


@pytest.mark.realizes("TEST_0869")
def test_startup_sdos_are_written_in_order_before_the_assignment() -> None:
    sub = SubDeviceMap(address=0x1005, rx_pdos=_RX, startup_sdos=_MOTOR)

    writes = list(startup_writes(sub))

    assert writes[:4] == [
        SdoWrite(0x1005, 0x8010, 1, b"\xa0\x86\x01\x00"),
        SdoWrite(0x1005, 0x8010, 2, b"\xfb\xff\xff\xff"),
        SdoWrite(0x1005, 0x8011, 3, b"\xff\xff"),
        SdoWrite(0x1005, 0x6060, 0, b"\x80"),
    ]
    assert writes[4:] == list(assignment_writes(sub))


@pytest.mark.realizes("TEST_0869")
def test_without_startup_sdos_and_pdos_nothing_is_written() -> None:
    assert list(startup_writes(SubDeviceMap(address=0x1000))) == []


@pytest.mark.verifies("REQ_0853")
@pytest.mark.parametrize(
    ("sdo_type", "low", "high"),
    [
        ("u8", 0, 0xFF),
        ("u16", 0, 0xFFFF),
        ("u32", 0, 0xFFFF_FFFF),
        ("i8", -0x80, 0x7F),
        ("i16", -0x8000, 0x7FFF),
        ("i32", -0x8000_0000, 0x7FFF_FFFF),
    ],
)
def test_a_value_outside_of_its_type_is_refused(sdo_type: SdoType, low: int, high: int) -> None:
    assert [len(SdoValue(sdo_type, value).to_bytes()) for value in (low, high)] == [int(sdo_type[1:]) // 8] * 2
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigurationError, match=rf"{value} as {sdo_type}; expected {low}\.\.{high}"):
            SdoValue(sdo_type, value)


@pytest.mark.verifies("REQ_0853")
def test_an_unknown_type_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="'u24'; expected one of u8, u16"):
        SdoValue("u24", 1)  # type: ignore[arg-type]


@pytest.mark.realizes("TEST_0862")
@pytest.mark.parametrize(
    ("timeout_us", "intervals", "window_ns"),
    [
        (50_000, 500, 50_000_000),
        (50_001, 501, 50_100_000),
        (0, 1, 100_000),
        (0.5, 1, 100_000),
        (10**12, 65535, 6_553_500_000),
    ],
)
def test_a_watchdog_window_is_rounded_up_to_ticks_of_100_us(timeout_us: float, intervals: int, window_ns: int) -> None:
    watchdog = SmWatchdog.from_timeout_us(timeout_us)

    assert watchdog == SmWatchdog(2498, intervals)
    assert watchdog.window_ns == window_ns
    assert watchdog.register_values() == ((0x0400, 2498), (0x0420, intervals))


@pytest.mark.verifies("REQ_0846")
@pytest.mark.parametrize(("actual", "found"), [(1000, r"found 1000 \(0x03e8\)"), (None, "found no answer")])
def test_a_register_that_does_not_hold_the_setting_names_everything(actual: int | None, found: str) -> None:
    check_read_back("'drive' (0x1003)", 0x0420, 500, 500)

    with pytest.raises(StackError, match=rf"register 0x0420 of 'drive' \(0x1003\): expected 500 \(0x01f4\), {found}"):
        check_read_back("'drive' (0x1003)", 0x0420, 500, actual)


@pytest.mark.verifies("REQ_0846")
@pytest.mark.parametrize(("divider", "intervals"), [(-1, 0), (65536, 0), (0, 65536)])
def test_register_values_are_16_bits(divider: int, intervals: int) -> None:
    with pytest.raises(ConfigurationError, match=r"expected 0\.\.65535"):
        SmWatchdog(divider, intervals)


@pytest.mark.realizes("TEST_0857")
def test_op_is_waited_for_with_an_acknowledgement_every_hundredth_spin_and_an_end() -> None:
    decisions = {spin: decide_op_wait(spin) for spin in range(1, 5002)}

    assert [spin for spin, decision in decisions.items() if decision is OpWait.ACKNOWLEDGE] == list(
        range(100, 5001, 100)
    )
    assert [spin for spin, decision in decisions.items() if decision is OpWait.GIVE_UP] == [5001]
    assert decide_op_wait(9999) is OpWait.GIVE_UP
