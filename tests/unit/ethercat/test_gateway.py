"""The gateway's half: slices into and out of the process image, and health as the bus tells it."""

from __future__ import annotations

import gc
import sys

import pytest

from taktora.connector import Connecting, ConnectorHealth, Degraded, Down, Up
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import CycleRecord, Validity
from taktora.executor import TaskFailed
from tests.unit.ethercat.support import MS, Rig, rx, tx, values


@pytest.mark.verifies("REQ_0326", "REQ_0328")
def test_a_payload_lands_in_its_bits_and_the_last_one_wins() -> None:
    with Rig() as rig:
        low, high = rig.writer("low", rx(0x1002, 0, 5)), rig.writer("high", rx(0x1002, 5, 7))
        rig.start().run_ms(2.5)

        for payload in (b"\x01", b"\x02", b"\xff"):
            low.send(payload)
        high.send(b"\x41")
        rig.run_ms(1)

        assert rig.bus.output("lamps") == (0x1F | 0x41 << 5).to_bytes(2, "little")
        assert rig.bus.output("axis1") == b"\x00\x00\x07\x00", "nobody writes the axis: it stays safe"


@pytest.mark.verifies("REQ_0327", "REQ_0328")
def test_bits_are_published_raw_after_each_exchange() -> None:
    with Rig() as rig:
        keys, one = rig.reader("keys", tx(0x1003, 2, 9)), rig.reader("one", tx(0x1003, 11, 1))
        rig.bus.set_input("buttons", b"\xac\x0f")
        rig.start().run_ms(3.5)

        assert values(keys) == [((0x0FAC >> 2) & 0x1FF).to_bytes(2, "little")] * 3
        assert values(one) == [b"\x01"] * 3
        assert rig.bus.inputs[-2:] == b"\xac\x0f"


@pytest.mark.verifies("REQ_0326", "REQ_0327")
def test_what_is_written_comes_back_after_one_cycle_on_a_loop() -> None:
    with Rig(loopback=True) as rig:
        back, there = rig.reader("back", tx(0x1001, 3, 10)), rig.writer("there", rx(0x1001, 3, 10))
        rig.start().run_ms(1.5)
        values(back)

        there.send(b"\xa5\x02")
        rig.run_ms(1)

        assert values(back) == [b"\xa5\x02"]


@pytest.mark.verifies("REQ_0326")
def test_a_payload_that_is_too_short_is_counted_and_stops_no_other_channel() -> None:
    with Rig() as rig:
        lamp, axis = rig.writer("lamp", rx(0x1002, 0, 12)), rig.writer("axis", rx(0x1001, 0, 8))
        rig.start().run_ms(2.5)

        lamp.send(b"\x01")
        axis.send(b"\x09")
        rig.run_ms(1)

        assert rig.connector.link.refused == 1
        assert (rig.bus.output("lamps"), rig.bus.output("axis1")) == (bytes(2), b"\x09\x00\x07\x00")


@pytest.mark.verifies("REQ_0327")
def test_a_full_reader_is_counted_and_stops_no_other_channel() -> None:
    with Rig() as rig:
        lazy, keen = rig.reader("lazy", tx(0x1003, 0, 1)), rig.reader("keen", tx(0x1003, 1, 1))
        rig.start()
        taken = 0
        for _ in range(10):
            rig.run_ms(10)
            taken += len(values(keen))

        assert len(values(lazy)) == 64
        assert (taken, rig.connector.driver.undelivered) == (100, 100 - 64)


@pytest.mark.verifies("REQ_0327", "REQ_8151")
def test_slices_of_a_subdevice_that_is_not_fresh_are_not_published() -> None:
    with Rig() as rig:
        keys, axis = rig.reader("keys", tx(0x1003, 0, 8)), rig.reader("axis", tx(0x1001, 0, 8))
        rig.bus.validity[3] = Validity.STALE
        rig.start().run_ms(4.5)
        rig.bus.fails = True
        rig.run_ms(2)

        assert (len(values(keys)), len(values(axis))) == (0, 4)
        assert rig.connector.driver.cycles == 6


@pytest.mark.verifies("REQ_0333", "REQ_0319")
def test_health_passes_through_move_by_move() -> None:
    moves: list[ConnectorHealth] = [
        Up(),
        Degraded("cycle failed: no frame"),
        Connecting(1),
        Degraded("recover failed: no answer"),
        Connecting(2),
        Up(),
        Degraded("working counter below expected: cycle 9, observed 3, expected 6"),
        Up(),
        Degraded("cycle failed: no frame"),
        Connecting(3),
        Degraded("recover failed: no answer"),
        Down("reconnect policy exhausted", 4),
    ]
    with Rig() as rig:
        rig.bus.comes_up = False
        rig.start().run_ms(1)
        for move in moves:
            rig.bus.tell(move)
        rig.run_ms(5_000)

        assert rig.walk() == [
            "Up",
            "Degraded: cycle failed: no frame",
            "Connecting",
            "Degraded: recover failed: no answer",
            "Connecting",
            "Up",
            "Degraded: working counter below expected: cycle 9, observed 3, expected 6",
            "Up",
            "Degraded: cycle failed: no frame",
            "Connecting",
            "Degraded: recover failed: no answer",
            "Down: reconnect policy exhausted",
        ]


@pytest.mark.verifies("REQ_0842")
def test_a_failed_bring_up_is_seen_by_every_subscriber() -> None:
    with Rig() as rig:
        other = rig.connector.subscribe_health()
        rig.bus.comes_up = False
        rig.start().run_ms(1)
        rig.bus.tell(Down("bring-up failed: no answer on eth7", 0, is_final=True))
        rig.run_ms(1)

        health = rig.connector.health()
        assert isinstance(health, Down)
        assert health.is_final
        assert rig.walk() == ["Down: bring-up failed: no answer on eth7"]
        assert len(list(other.drain())) == 1


@pytest.mark.realizes("TEST_0214")
def test_a_flood_of_cycles_is_cut_and_told_once() -> None:
    with Rig(inbound_capacity=4, inbound_drop_threshold=3) as rig:
        keys = rig.reader("keys", tx(0x1003, 0, 8))
        rig.start().run_ms(1.5)
        values(keys)

        for _ in range(10):
            rig.bus.exchange()
        rig.run_ms(0.1)
        first = (len(values(keys)), rig.connector.link.inbound.dropped, rig.walk())
        rig.run_ms(2_000)

        assert first == (4, 6, ["Up", "Degraded: dropped 6 inbound frames"])
        assert rig.walk() == ["Up"]


@pytest.mark.verifies("REQ_0321")
def test_messages_wait_while_the_bus_does_not_exchange_and_an_old_answer_is_dropped() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 8))
        port = rig.connector.open_image([1])
        rig.start().run_ms(1.5)
        rig.bus.fails = True
        rig.run_ms(1)
        port.take()
        port.outputs[0:4] = b"\x11\x11\x11\x11"
        lamp.send(b"\x05")
        port.commit()
        rig.run_ms(1)
        waiting = rig.bus.output("lamps")
        rig.bus.fails = False
        rig.bus.tell(Up())
        rig.run_ms(1.5)

        assert waiting == bytes(2)
        assert rig.bus.output("lamps") == b"\x05\x00"
        assert rig.bus.output("axis1") == b"\x00\x00\x07\x00"


@pytest.mark.verifies("REQ_0292")
def test_what_waited_when_the_bus_went_down_is_dropped() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 8))
        rig.start().run_ms(1.5)
        rig.bus.fails = True
        rig.run_ms(1)
        lamp.send(b"\x05")
        rig.run_ms(0.1)
        rig.bus.tell(Degraded("cycle failed: no frame"))
        rig.bus.tell(Down("reconnect policy exhausted", 0))
        rig.run_ms(1)
        refused = rig.connector.link.refused
        rig.run_ms(100)
        rig.bus.fails = False
        for move in (Connecting(0), Up()):
            rig.bus.tell(move)
        rig.run_ms(3)

        assert refused >= 1
        assert rig.connector.link.refused == refused, "no sign of life is sent while Down"
        assert rig.bus.output("lamps") == bytes(2)


@pytest.mark.verifies("REQ_8150")
def test_what_was_left_by_an_application_that_went_silent_is_not_revived() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 8))
        rig.start().run_ms(1.5)
        lamp.send(b"\x05")
        rig.run_ms(10)
        renewed = len(rig.bus.renewals)
        rig.run_ms(1)
        assert len(rig.bus.renewals) == renewed + 1
        reactor = rig.host.executor.reactor
        reactor.hold()  # type: ignore[attr-defined]  # the application stands still
        rig.run_ms(600)
        reactor.release()  # type: ignore[attr-defined]
        renewed = len(rig.bus.renewals)
        rig.run_ms(10)

        assert len(rig.bus.renewals) == renewed, "nothing that it has written is renewed by its mere return"
        lamp.send(b"\x01")
        rig.run_ms(2)
        assert rig.bus.output("lamps") == b"\x01\x00"


@pytest.mark.verifies("REQ_8150")
def test_outputs_that_answer_no_cycle_of_this_gateway_are_refused() -> None:
    with Rig() as rig:
        port = rig.connector.open_image([1])
        rig.start().run_ms(5.5)
        port.outputs[0:4] = b"\x11\x11\x11\x11"

        port.cycle_index = 100_000  # computed for a gateway that has been replaced
        port.commit()
        rig.run_ms(2)

        assert rig.bus.renewals == []
        port.take()
        port.commit()
        rig.run_ms(2)
        assert rig.bus.output("axis1") == b"\x11\x11\x11\x11"


@pytest.mark.verifies("REQ_8150")
def test_what_waited_for_a_gateway_that_stood_still_renews_nothing() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 8))
        port = rig.connector.open_image([1])
        rig.start().run_ms(5.5)
        lamp.send(b"\x05")
        rig.run_ms(5)
        gateway = rig.host.gateway.executor.reactor
        gateway.hold()  # type: ignore[attr-defined]
        port.take()
        port.outputs[0:4] = b"\x11\x11\x11\x11"
        port.commit()
        lamp.send(b"\x06")
        rig.run_ms(20)
        rig.host.executor.reactor.hold()  # type: ignore[attr-defined]  # the application dies
        rig.run_ms(200)
        renewed = len(rig.bus.renewals)

        gateway.release()  # type: ignore[attr-defined]
        rig.run_ms(20)

        assert not any(map(any, rig.bus.renewals[renewed:]))


@pytest.mark.verifies("REQ_8150", "REQ_0323")
def test_a_slice_that_waited_out_an_outage_is_live_only_if_its_application_still_is() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 8))
        rig.start().run_ms(1.5)
        rig.bus.fails = True
        rig.run_ms(1)
        lamp.send(b"\x05")
        rig.run_ms(300)
        lamp.send(b"\x07")  # signs of life have not filled the bridge meanwhile
        rig.run_ms(10)
        rig.host.executor.reactor.hold()  # type: ignore[attr-defined]  # the application dies
        rig.run_ms(100)
        rig.bus.fails = False
        rig.bus.tell(Up())
        rig.run_ms(10)

        assert not any(map(any, rig.bus.renewals))
        rig.host.executor.reactor.release()  # type: ignore[attr-defined]  # not dead, it only hung
        rig.run_ms(10)
        assert rig.bus.renewals[-1] == b"\0\0\1\0"
        assert rig.bus.output("lamps") == b"\x07\x00"


@pytest.mark.verifies("REQ_0296")
def test_what_the_bus_dies_of_ends_the_run() -> None:
    with Rig() as rig:
        rig.start().run_ms(1.5)
        assert rig.bus.listener is not None
        rig.bus.listener.on_failure(RuntimeError("a defect"))
        with pytest.raises(TaskFailed, match="a defect"):
            rig.run_ms(1)

        assert rig.walk()[-1].startswith("Down: gateway failed")
        with pytest.raises(TaskFailed, match="a defect"):
            rig.host.gateway.close()


@pytest.mark.verifies("REQ_0328")
def test_an_emergency_is_kept_and_told_with_the_name_of_its_subdevice() -> None:
    with Rig() as rig:
        rig.start().run_ms(1.5)
        rig.bus.emergency(Emergency(1, 0x8611, 0x20, b"\x01\x02\x03\x04\x05"))
        rig.run_ms(1)

        assert [each.error_code for each in rig.connector.driver.emergencies] == [0x8611]
        told = [event.text for event in rig.world.recorder.events]
        assert told == ["ethercat: emergency of axis1: code 0x8611, register 0x20, data 0102030405"]


@pytest.mark.realizes("TEST_0219")
def test_channels_are_walked_in_their_order_and_nothing_grows() -> None:
    with Rig(loopback=True) as rig:
        readers = [rig.reader(f"in{place}", tx(0x1001, 2 * place, 2)) for place in range(16)]
        writers = [rig.writer(f"out{place}", rx(0x1001, 2 * place, 2)) for place in range(16)]
        rig.start().run_ms(1.5)
        channels = rig.connector.link.inbound_channels
        assert [channel.name for channel in channels] == [f"in{place}" for place in range(16)]

        def cycles(count: int) -> None:
            for number in range(count):
                for writer in writers:
                    writer.send(bytes([number & 3]))
                rig.run_ms(1)
                for reader in readers:
                    values(reader)
                rig.bus.sent.clear()
                rig.bus.renewals.clear()

        cycles(200)
        gc.collect()
        before = sys.getallocatedblocks()
        cycles(1000)
        gc.collect()

        assert sys.getallocatedblocks() - before < 500, "less than one block in two cycles"


@pytest.mark.verifies("REQ_0324")
def test_a_record_after_the_close_is_passed_over() -> None:
    rig = Rig()
    with rig:
        rig.start().run_ms(1.5)
    assert rig.bus.listener is not None
    rig.bus.listener.on_cycle(CycleRecord(9, 9 * MS, b"", b"", None, None, False))
    rig.bus.listener.on_health(Up())

    assert rig.connector.driver.cycles == 1
