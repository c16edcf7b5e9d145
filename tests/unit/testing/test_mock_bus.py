"""The scripted MainDevice: what it answers without a script, with one, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat.driver import AlState, BringUp, BusDriver, Exchange, Steps, SubDeviceState
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.pdo import SubDeviceMap
from taktora.testing import CycleKind, ManualClock, MockBusDriver

T = TypeVar("T")


def _run(steps: Steps[T]) -> T:
    """Carry out an operation that does not wait."""
    with pytest.raises(StopIteration) as ended:
        steps.send(None)
    result: T = ended.value.value
    return result


def _up(mock: MockBusDriver) -> MockBusDriver:
    _run(mock.bring_up())
    return mock


@pytest.mark.verifies("REQ_0312", "REQ_0331")
def test_without_a_script_there_is_one_subdevice_and_every_cycle_is_good() -> None:
    mock: BusDriver = MockBusDriver()

    assert _run(mock.bring_up()) == BringUp(3, 1)
    assert [_run(mock.exchange()) for _ in range(3)] == [Exchange(3, 0)] * 3
    assert _run(mock.recover()) == BringUp(3, 1)


@pytest.mark.verifies("REQ_0320")
def test_a_sequence_of_counters_comes_before_the_default() -> None:
    mock = _up(MockBusDriver().with_wkc_sequence([1, "frame lost", 2]).with_default_cycle_wkc(7))

    assert _run(mock.exchange()).working_counter == 1
    with pytest.raises(StackError, match="frame lost"):
        _run_failing(mock.exchange)
    assert [_run(mock.exchange()).working_counter for _ in range(3)] == [2, 7, 7]
    assert mock.cycle_calls == 5


def _run_failing(operation: Callable[[], Steps[Exchange]]) -> None:
    operation().send(None)


@pytest.mark.verifies("REQ_0331")
def test_recoveries_answer_as_told_and_change_the_expectation() -> None:
    mock = _up(MockBusDriver().with_recovery_sequence(["gone", BringUp(9, 4)]))

    with pytest.raises(StackError, match="gone"):
        mock.recover().send(None)
    assert _run(mock.recover()) == BringUp(9, 4)
    assert _run(mock.exchange()).working_counter == 9
    assert mock.recover_calls == 2


@pytest.mark.verifies("REQ_0312")
def test_a_bring_up_happens_once_and_a_recovery_only_after_it() -> None:
    mock = MockBusDriver()

    with pytest.raises(ConfigurationError, match="before bring_up"):
        mock.recover().send(None)
    _up(mock)
    with pytest.raises(ConfigurationError, match="a second time"):
        mock.bring_up().send(None)
    assert (mock.bring_up_calls, mock.recover_calls) == (2, 1)


@pytest.mark.verifies("REQ_0842")
def test_a_failing_bring_up_leaves_no_images() -> None:
    mock = MockBusDriver().failing_bring_up("no answer").with_subdevice_outputs(0x1000, b"\1")

    with pytest.raises(StackError, match="no answer"):
        mock.bring_up().send(None)
    assert mock.outputs(0x1000) is None


@pytest.mark.verifies("REQ_0326", "REQ_0327")
def test_images_are_views_of_what_the_mock_shows() -> None:
    mock = MockBusDriver().with_subdevice_outputs(0x1001, b"\0\0").with_subdevice_inputs(0x1001, b"\7")
    before = mock.outputs(0x1001), mock.inputs(0x1001)
    _up(mock)

    outputs, inputs = mock.outputs(0x1001), mock.inputs(0x1001)
    assert outputs is not None
    assert inputs is not None
    outputs[:] = b"\x12\x34"
    mock.set_inputs(0x1001, b"\x09")

    assert before == (None, None)
    assert (mock.snapshot_outputs(0x1001), mock.snapshot_inputs(0x1001), bytes(inputs)) == (
        b"\x12\x34",
        b"\x09",
        b"\x09",
    )
    assert (mock.outputs(0x1009), inputs.readonly) == (None, True)


@pytest.mark.verifies("REQ_0327")
def test_a_loopback_copies_outputs_to_inputs_in_each_good_cycle() -> None:
    mock = (
        MockBusDriver().with_subdevice_outputs(0x1001, b"\x11\x22").with_subdevice_inputs(0x1001, b"\0").with_loopback()
    )
    _up(mock.with_wkc_sequence(["lost"]))

    with pytest.raises(StackError):
        mock.exchange().send(None)
    before = mock.snapshot_inputs(0x1001)
    _run(mock.exchange())

    assert (before, mock.snapshot_inputs(0x1001)) == (b"\0", b"\x11")


@pytest.mark.realizes("TEST_0224")
@pytest.mark.parametrize(("clocks", "kind"), [(True, CycleKind.DC), (False, CycleKind.PLAIN)])
def test_the_kind_of_each_cycle_is_recorded(clocks: bool, kind: CycleKind) -> None:
    mock = MockBusDriver.for_plan(EthercatConnectorOptions(distributed_clocks=clocks).plan())

    _run(_up(mock).exchange())

    assert list(mock.cycle_kinds) == [kind]


@pytest.mark.verifies("REQ_0329")
def test_a_mock_of_a_plan_has_its_images_safe_outputs_and_counter() -> None:
    sub = SubDeviceMap(address=0x1005, position=5, output_bits=12, input_bits=1, safe_outputs=b"\x01")
    mock = MockBusDriver.for_plan(EthercatConnectorOptions(pdo_map=(sub,)).plan())

    assert _run(mock.bring_up()) == BringUp(3, 6)
    assert (mock.snapshot_outputs(0x1005), mock.snapshot_inputs(0x1005)) == (b"\1\0", b"\0")
    assert _run(mock.survey()) == (SubDeviceState(5, AlState.OP),)


@pytest.mark.verifies("REQ_0319")
def test_states_are_those_set_and_requests_are_remembered() -> None:
    mock = _up(MockBusDriver().with_subdevice_inputs(0x1000, b"\0").with_refused_state(0x1000, AlState.OP))
    mock.set_state(0x1000, AlState.SAFE_OP, 0x001B)

    assert _run(mock.survey()) == (SubDeviceState(0, AlState.SAFE_OP, True, 0x001B),)
    assert _run(mock.request_state(0x1000, AlState.OP)) is False
    assert _run(mock.request_state(0x1000, AlState.PRE_OP)) is True
    assert _run(mock.survey())[0].state is AlState.PRE_OP
    assert mock.state_requests == [(0x1000, AlState.OP), (0x1000, AlState.PRE_OP)]


@pytest.mark.verifies("REQ_0853")
def test_objects_are_those_given_and_written() -> None:
    mock = _up(MockBusDriver().with_object(0x1000, 0x1008, 0, b"EL"))

    assert _run(mock.sdo_read(0x1000, 0x1008, 0)) == b"EL"
    _run(mock.sdo_write(0x1000, 0x8010, 1, b"\1\0"))
    assert _run(mock.sdo_read(0x1000, 0x8010, 1)) == b"\1\0"
    assert mock.sdo_writes == [(0x1000, 0x8010, 1, b"\1\0")]
    with pytest.raises(StackError, match="0x06020000"):
        mock.sdo_read(0x1000, 0x8010, 2).send(None)


@pytest.mark.verifies("REQ_0316")
def test_with_a_clock_an_exchange_waits_for_its_wire_round() -> None:
    clock = ManualClock(1000)
    mock = MockBusDriver(clock=clock, bring_up_ns=50, wire_round_ns=7)

    assert mock.bring_up().send(None) == 1050
    assert mock.exchange().send(None) == 1007
