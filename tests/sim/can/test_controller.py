"""The error counters of one controller: what each event costs, and the states at 96, 128 and 256."""

from __future__ import annotations

import pytest

from taktora.errors import StackError
from taktora_sim.can import Controller, ControllerState

ACTIVE, WARNING, PASSIVE, BUS_OFF = ControllerState


class Host:
    """Notes what a controller tells."""

    def __init__(self) -> None:
        self.controller = Controller(self)
        self.changes: list[tuple[ControllerState, ControllerState]] = []
        self.set_by_hand = 0
        self.restarts = 0

    def state_changed(self, before: ControllerState) -> None:
        self.changes.append((before, self.controller.state))

    def counters_changed(self) -> None:
        self.set_by_hand += 1

    def restart(self) -> None:
        self.restarts += 1


@pytest.mark.verifies("REQ_8201")
def test_thirty_two_transmit_errors_lead_through_warning_and_passive_to_bus_off() -> None:
    host = Host()

    states = []
    for _ in range(32):
        host.controller.transmit_error()
        states.append(host.controller.state)

    assert states == [ACTIVE] * 11 + [WARNING] * 4 + [PASSIVE] * 16 + [BUS_OFF]
    assert host.changes == [(ACTIVE, WARNING), (WARNING, PASSIVE), (PASSIVE, BUS_OFF)]
    assert host.controller.tec == 256


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize(
    ("counter", "state"), [(95, ACTIVE), (96, WARNING), (127, WARNING), (128, PASSIVE), (255, PASSIVE)]
)
def test_the_limits_are_96_and_128_for_either_counter(counter: int, state: ControllerState) -> None:
    sending, receiving = Host().controller, Host().controller

    sending.set_counters(counter, 0)
    receiving.set_counters(0, counter)

    assert (sending.state, receiving.state) == (state, state)


@pytest.mark.verifies("REQ_8201")
def test_a_receiver_never_goes_bus_off_and_its_counter_stops_at_255() -> None:
    controller = Host().controller

    for _ in range(40):
        controller.receive_error(first=True)

    assert (controller.rec, controller.state) == (255, PASSIVE)


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (96, 95), (127, 126), (128, 127), (255, 127)])
def test_a_good_frame_lowers_the_receive_counter_and_brings_one_above_127_back_to_127(before: int, after: int) -> None:
    controller = Host().controller
    controller.set_counters(0, before)

    controller.received()

    assert controller.rec == after


@pytest.mark.verifies("REQ_8201")
def test_a_frame_sent_lowers_the_transmit_counter_by_one_and_not_below_zero() -> None:
    controller = Host().controller
    controller.transmit_error()

    for _ in range(9):
        controller.sent()

    assert (controller.tec, controller.is_clean) == (0, True)


@pytest.mark.verifies("REQ_8201")
def test_the_way_back_from_passive_passes_through_warning() -> None:
    host = Host()
    host.controller.set_counters(128, 0)
    host.changes.clear()

    for _ in range(33):
        host.controller.sent()

    assert host.changes == [(PASSIVE, WARNING), (WARNING, ACTIVE)]


@pytest.mark.verifies("REQ_8201")
def test_the_first_to_complain_pays_nine_and_an_endless_flag_eight_more() -> None:
    controller = Host().controller

    controller.receive_error()
    controller.receive_error(first=True)
    controller.dominant_run()

    assert controller.rec == 1 + 9 + 8


@pytest.mark.verifies("REQ_8201")
def test_a_bus_off_controller_counts_nothing_until_it_is_reset() -> None:
    host = Host()
    host.controller.set_counters(256, 7)

    host.controller.sent()
    host.controller.received()
    host.controller.receive_error()
    frozen = (host.controller.tec, host.controller.rec)
    host.controller.reset()

    assert frozen == (256, 7)
    assert (host.controller.tec, host.controller.rec, host.controller.state) == (0, 0, ACTIVE)
    assert host.changes == [(ACTIVE, BUS_OFF), (BUS_OFF, ACTIVE)]


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize(("tec", "rec"), [(-1, 0), (257, 0), (0, -1), (0, 256)])
def test_counters_out_of_range_are_refused_with_the_range(tec: int, rec: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.256 and a REC of 0\.\.255"):
        Host().controller.set_counters(tec, rec)


@pytest.mark.verifies("REQ_8201")
def test_only_a_restart_brings_a_bus_off_controller_back() -> None:
    host = Host()
    host.controller.set_counters(256, 0)

    with pytest.raises(StackError, match="restart"):
        host.controller.set_counters(0, 0)
    host.controller.restart()

    assert (host.restarts, host.set_by_hand) == (1, 1)
