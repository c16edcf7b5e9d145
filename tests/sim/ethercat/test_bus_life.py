"""The life of a bus on the simulated segment: cables, power, a silent application; frame by frame in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taktora.ethercat.driver import AlState
from taktora.ethercat.image import CycleRecord, Validity
from taktora.ethercat.local import LocalBus
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
from taktora.ethercat.resolve import resolve
from taktora.ethercat.sii import build_sii
from taktora.testing import BusLog
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.ethercat.devices.coupler import Coupler
from taktora_sim.ethercat.devices.digital import DigitalInputs
from taktora_sim.ethercat.devices.generic import GenericDevice
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, generic
from taktora_sim.ethercat.maindevice import SimulatedMainDevice
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.subdevice import SubDevice
from taktora_sim.world import World
from tests.unit.ethercat.bus_bench import make_policy

MS = 1_000_000
_LIVE = b"\x5a\xa5"
_SAFE = b"\x11\x22"
_FRESH, _STALE = Validity.FRESH, Validity.STALE

# It keeps its last outputs whatever happens: what is safe on it was sent to it.
_AXIS = generic(
    "axis",
    2,
    2,
    sm_watchdog_enabled=True,
    sm_watchdog_timeout_ms=20,
    safe={"out0": 0x11, "out1": 0x22},
    options={"hold_outputs": True},
)
_KINDS: tuple[tuple[DeviceSpec, type[SimulatedDevice]], ...] = (
    (coupler("head"), Coupler),
    (digital_inputs("inputs"), DigitalInputs),
    (_AXIS, GenericDevice),
)


class Cabinet:
    """Coupler, inputs and an axis behind them at 1 ms, and an application that renews all outputs in each cycle."""

    def __init__(self, world: World) -> None:
        spec = EthercatBusSpec(cycle_time_ms=1, devices=tuple(spec for spec, _ in _KINDS))
        self.plan = resolve(spec)
        self.segment = SimulatedSegment(
            world,
            "cell",
            [
                SubDevice(world, f"ethercat/cell/{spec.label}", spec, kind(spec), build_sii(spec))
                for spec, kind in _KINDS
            ],
        )
        self.world = world
        self.seen = BusLog()
        self.bus = LocalBus(self.plan, SimulatedMainDevice(self.segment, self.plan), world, make_policy())
        executor = world.runtime.executor_builder("gateway").build()
        for item in self.bus.items():
            executor.add(item)
        world.runtime.start(executor)
        self.bus.start(self.seen)
        self.run(50)

    def run(self, cycles: int, renew: bool = True) -> None:
        for _ in range(cycles):
            if renew:
                self.bus.stage_outputs(_LIVE, b"\1\1\1")
            self.world.run_for(MS)

    @property
    def latest(self) -> CycleRecord:
        return self.seen.records[-1]

    @property
    def axis_state(self) -> AlState:
        return AlState(self.segment["axis"].state)

    @property
    def kinds(self) -> list[str]:
        return [text.partition(":")[0] for text in self.seen.texts]


@pytest.fixture
def cabinet() -> Iterator[Cabinet]:
    with World(7) as world:
        yield Cabinet(world)


@pytest.mark.verifies("REQ_0313", "REQ_0319", "REQ_0329")
def test_it_comes_up_and_every_cycle_has_the_counter_of_the_datasheet(cabinet: Cabinet) -> None:
    cabinet.run(500)

    assert cabinet.seen.texts == ["Up"]
    assert cabinet.plan.expected_wkc(3) == 4
    assert all(record.wc_ok for record in cabinet.seen.records)
    assert len(cabinet.seen.records) >= 545


@pytest.mark.verifies("REQ_0320", "REQ_0264", "REQ_0319")
def test_a_cable_that_was_off_for_longer_than_the_watchdog_ends_in_op_again(cabinet: Cabinet) -> None:
    cabinet.segment.cut("axis")
    cabinet.run(200)
    during = cabinet.latest
    cabinet.segment.heal("axis")
    cabinet.run(20)

    assert during.validity == bytes((_FRESH, _FRESH, _STALE))
    assert cabinet.kinds == ["Up", "Degraded", "Up"]
    assert "observed 1, expected 4" in cabinet.seen.texts[1]
    assert (cabinet.axis_state, cabinet.latest.wc_ok) == (AlState.OP, True)


@pytest.mark.verifies("REQ_0331", "REQ_0333")
def test_a_power_cycle_of_one_device_is_healed_by_the_policy(cabinet: Cabinet) -> None:
    cabinet.segment.power_off("axis")
    cabinet.run(100)
    cabinet.segment.power_on("axis")
    cabinet.run(1500)

    assert cabinet.kinds == ["Up", "Degraded", "Connecting", "Up"]
    assert (cabinet.axis_state, cabinet.latest.wc_ok) == (AlState.OP, True)


@pytest.mark.verifies("REQ_0331", "REQ_0333")
def test_a_cut_before_the_first_device_fails_the_cycle_and_is_tried_until_it_is_healed(cabinet: Cabinet) -> None:
    cabinet.segment.cut("head")
    cabinet.run(100)
    cabinet.segment.heal("head")
    cabinet.run(300)

    assert cabinet.seen.texts[1].startswith("Degraded: cycle failed: ")
    assert cabinet.seen.texts[3].startswith("Degraded: recover failed: ")
    assert cabinet.kinds[-2:] == ["Connecting", "Up"]
    assert [record.wire_round_ns for record in cabinet.seen.records].count(None) == 1
    assert cabinet.axis_state is AlState.OP


@pytest.mark.verifies("REQ_8150")
def test_an_application_that_falls_silent_leaves_safe_outputs_and_safe_op_well_within_50_ms(cabinet: Cabinet) -> None:
    axis = cabinet.segment["axis"].application
    assert isinstance(axis, GenericDevice)
    assert bytes(axis.output_data.image) == _LIVE

    cabinet.run(6, renew=False)
    after = bytes(axis.output_data.image), cabinet.axis_state
    cabinet.run(200, renew=False)
    cabinet.run(10)

    assert after == (_SAFE, AlState.SAFE_OP)
    assert cabinet.seen.texts[1].startswith("Degraded: outputs of 'axis' (0x1002) not renewed for 4 cycles")
    assert cabinet.kinds == ["Up", "Degraded", "Up"]
    assert (bytes(axis.output_data.image), cabinet.axis_state) == (_LIVE, AlState.OP)


@pytest.mark.verifies("REQ_0331", "REQ_0320")
def test_the_whole_story_repeats_to_the_nanosecond() -> None:
    def story() -> list[object]:
        with World(3) as world:
            cabinet = Cabinet(world)
            cabinet.segment.cut("axis")
            cabinet.run(1200)
            cabinet.segment.heal("axis")
            cabinet.run(200)
            return [*cabinet.seen.records, *cabinet.seen.healths]

    assert story() == story()
