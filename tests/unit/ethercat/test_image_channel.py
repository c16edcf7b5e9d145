"""The process image as one record per cycle: what arrives, what is missed, what goes out and when."""

from __future__ import annotations

from typing import Any

import pytest

from taktora.errors import ConfigurationError, ShutdownError
from taktora.ethercat.image import CycleRecord, ImageLayout, Validity
from taktora.ethercat.image_channel import DEAD_TIME_CYCLES, ImagePort, ImagePublisher
from taktora.executor import Context, CycleObservation, Observer, item_with_triggers
from taktora_sim.world import World
from tests.unit.ethercat.support import MS, PERIOD, Rig


class Seen(Observer):
    def __init__(self) -> None:
        self.cycles: list[CycleObservation] = []

    def on_cycle_stats(self, observation: CycleObservation) -> None:
        self.cycles.append(observation)


def paced(rig: Rig, port: ImagePort, execute: Any) -> None:
    rig.host.executor.add(item_with_triggers(lambda d: d.cycle(port), execute), "control")


@pytest.mark.verifies("REQ_8151")
def test_one_record_per_cycle_brings_the_inputs_of_one_cycle() -> None:
    with Rig() as rig:
        port = rig.connector.open_image()
        seen: list[tuple[int, int, bytes, bool]] = []

        def control(_: Context) -> None:
            seen.append((port.cycle_index, port.at_ns, port.record[port.inputs_at :][:4], port.wc_ok))

        paced(rig, port, control)
        rig.bus.set_input("axis1", b"\x01\x02\x03\x04")
        rig.start().run_ms(3.5)

        assert seen == [(k, (k + 1) * MS, b"\x01\x02\x03\x04", True) for k in range(3)]
        assert rig.world.transport.counts("ethercat.image.in")[0] == 3


@pytest.mark.verifies("REQ_8151")
def test_outputs_computed_from_the_inputs_of_cycle_k_go_out_with_cycle_k_plus_1() -> None:
    with Rig() as rig:
        port = rig.connector.open_image([1])

        def control(_: Context) -> None:
            port.outputs[0:4] = (port.cycle_index + 1).to_bytes(4, "little")
            port.commit()

        paced(rig, port, control)
        rig.start().run_ms(6.5)

        sent = [int.from_bytes(image[0:4], "little") for image in rig.bus.sent[1:]]
        assert sent == [k + DEAD_TIME_CYCLES for k in range(5)]
        assert set(rig.bus.renewals) == {b"\x00\x01\x00\x00"}


@pytest.mark.verifies("REQ_8151", "REQ_0264")
def test_validity_and_age_are_told_per_subdevice() -> None:
    with Rig() as rig:
        port = rig.connector.open_image()
        assert (port.validity(1), port.age_cycles(1)) == (Validity.NEVER_SEEN, None)
        ages: list[tuple[int | None, int | None]] = []
        paced(rig, port, lambda _: ages.append((port.age_cycles(1), port.age_cycles(3))))
        rig.bus.validity[3] = Validity.NEVER_SEEN
        rig.world.call_at(2 * MS - 1, lambda: rig.bus.validity.__setitem__(3, Validity.FRESH))
        rig.world.call_at(4 * MS - 1, lambda: rig.bus.validity.__setitem__(3, Validity.STALE))
        rig.start().run_ms(5.5)

        assert ages == [(0, None), (0, 0), (0, 0), (0, 1), (0, 2)]
        assert port.validity(3) is Validity.STALE
        assert not port.wc_ok


@pytest.mark.verifies("REQ_0107", "REQ_0265", "REQ_0840")
def test_the_tasks_cycle_index_joins_with_the_buss_by_the_skipped_slots() -> None:
    with Rig() as rig:
        seen, port = Seen(), rig.connector.open_image()
        builder = rig.world.runtime.executor_builder("late").observer(seen)
        executor = builder.build()
        indices: list[int] = []
        executor.add(item_with_triggers(lambda d: d.cycle(port), lambda _: indices.append(port.cycle_index)), "control")
        rig.start().run_ms(3.5)
        running = rig.world.runtime.start(executor)
        rig.run_ms(2)
        rig.world.executions.set("control", 2_500_000)
        rig.run_ms(6)
        running.stop()
        rig.run_ms(3)
        executor.close()

        joined, behind = [], 0
        for cycle in seen.cycles:
            behind += cycle.skipped_slots
            joined.append(indices[0] + cycle.cycle_index + behind)
        assert rig.connector.driver.cycles > len(indices)
        assert joined == indices
        assert {cycle.period_ns for cycle in seen.cycles} == {PERIOD}
        assert port.missed == behind


@pytest.mark.verifies("REQ_8151")
def test_an_application_that_slept_gets_no_old_image() -> None:
    with Rig() as rig:
        port = rig.connector.open_image()
        rig.start().run_ms(50.5)

        assert (port.take(), port.cycle_index) == (0, -1)
        rig.run_ms(1)
        assert (port.take(), port.cycle_index, port.missed) == (1, 50, 0)
        rig.run_ms(3)
        assert (port.take(), port.cycle_index, port.missed) == (3, 53, 2)
        assert port.take() == 0


@pytest.mark.verifies("REQ_8151")
def test_a_gateway_that_begins_anew_is_followed() -> None:
    with Rig() as rig:
        port = rig.connector.open_image()
        rig.start().run_ms(5.5)
        port.take()
        rig.bus.cycle_index = 0
        rig.bus.validity[3] = Validity.NEVER_SEEN
        rig.run_ms(1)

        assert (port.take(), port.cycle_index, port.age_cycles(3), port.age_cycles(1)) == (1, 0, None, 0)


@pytest.mark.verifies("REQ_8151")
def test_a_failed_cycle_is_a_cycle_too() -> None:
    with Rig() as rig:
        port = rig.connector.open_image()
        rig.bus.fails = True
        rig.bus.validity[:] = bytes([Validity.STALE] * 4)
        rig.start().run_ms(2.5)

        assert (port.take(), port.cycle_index, port.wc_ok, port.validity(1)) == (1, 1, False, Validity.STALE)


@pytest.mark.verifies("REQ_8151")
def test_only_what_is_owned_by_image_is_taken_from_it() -> None:
    with Rig() as rig:
        port = rig.connector.open_image([1])
        rig.start().run_ms(1.5)
        port.take()
        port.outputs[:] = b"\xff" * len(port.outputs)
        port.commit()
        rig.run_ms(1)

        assert (rig.bus.output("axis1"), rig.bus.output("lamps")) == (b"\xff" * 4, bytes(2))


@pytest.mark.verifies("REQ_8151")
@pytest.mark.parametrize("wrong", [b"\xff" * 3, b"\xff" * 5])
def test_outputs_that_a_slice_of_another_length_has_moved_are_not_sent(wrong: bytes) -> None:
    with Rig() as rig:
        port = rig.connector.open_image([1])
        rig.start().run_ms(1.5)
        port.take()
        whole = len(port.outputs)
        port.outputs[0:4] = wrong

        with pytest.raises(
            ConfigurationError, match=rf"outputs have {whole + len(wrong) - 4} bytes, the layout has {whole}"
        ):
            port.commit()
        rig.run_ms(1)
        assert rig.bus.output("axis1") == bytes(4)


@pytest.mark.verifies("REQ_8151")
@pytest.mark.parametrize(("inputs", "validity"), [(b"\1" * 3, b"\1"), (b"\1" * 5, b"\1"), (b"\1" * 4, b"\1\1")])
def test_a_record_of_another_length_than_the_layout_is_not_published(inputs: bytes, validity: bytes) -> None:
    layout = ImageLayout([(0x1001, "axis1", 0, 32)])
    with World(1) as world:
        publisher = ImagePublisher(world.transport, "cell", layout, world)

        with pytest.raises(ConfigurationError, match=rf"cycle 7 has {len(inputs)} bytes .* the layout has 4 bytes"):
            publisher.publish(CycleRecord(7, 0, inputs, validity, 10, None, True))
        publisher.close()


@pytest.mark.verifies("REQ_8151")
def test_a_closed_port_is_closed_and_a_late_one_refused() -> None:
    with Rig() as rig:
        rig.start().run_ms(1.5)
        with pytest.raises(ConfigurationError, match="gateway runs already"):
            rig.connector.open_image()
    with Rig() as rig:
        port = rig.connector.open_image([1])
    with pytest.raises(ShutdownError):
        port.commit()
