"""CAN FD on channels: lengths, padding, flags, and no way from one frame kind to the other."""

from __future__ import annotations

import pytest

from taktora.can import CanErrorClass, CanFdFlags, CanFilter, CanFrame, CanFrameKind, CanId, SendRefused
from taktora.can.dlc import FD_LENGTHS, check_room
from taktora.connector import Degraded, Up
from taktora.errors import ConfigurationError, PayloadOverflow, StackError
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.unit.can.support import MS, Bench, S, frame, values

_FD = CanFrameKind.FD
_STEPS = (8, 12, 16, 20, 24, 32, 48, 64)
_FLAGS = [CanFdFlags.NONE, CanFdFlags.BRS, CanFdFlags.ESI, CanFdFlags.BRS | CanFdFlags.ESI]


def _fd_frame(can_id: int, data: bytes, extended: bool = False) -> CanFrame:
    return CanFrame(can_id, data, extended, fd=True)


def _payload(length: int, mark: int) -> bytes:
    return bytes((mark + index) % 255 + 1 for index in range(length))


class _Watched(MockCanInterface):
    """A mock that notes what it receives from the wire."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.arrived: list[CanFrame] = []

    def inject_frame(self, frame: CanFrame) -> bool:
        self.arrived.append(frame)
        return super().inject_frame(frame)


@pytest.mark.realizes("TEST_0503")
@pytest.mark.parametrize("flags", _FLAGS, ids=lambda flags: f"flags {int(flags)}")
@pytest.mark.parametrize("extended", [False, True], ids=["standard", "extended"])
def test_envelopes_of_every_step_travel_byte_for_byte_with_their_flags(extended: bool, flags: CanFdFlags) -> None:
    near, far = MockCanInterface("can0"), _Watched("can1")
    near.connect(far)
    with Bench(near, far) as bench:
        can_id = CanId(0x123, extended)
        writer = bench.writer("out", can_id, "can0", _FD, flags)
        reader = bench.reader("in", can_id, iface="can1", kind=_FD)
        bench.start()
        payloads = [_payload(length, number) for number, length in enumerate(_STEPS * 13)][:100]

        received = []
        for payload in payloads:
            writer.send(payload)
            bench.run()
            received += values(reader)

        assert received == payloads
        assert near.sent == far.arrived
        assert [sent.data for sent in near.sent] == payloads
        brs, esi = CanFdFlags.BRS in flags, CanFdFlags.ESI in flags
        assert {sent._replace(data=b"") for sent in near.sent} == {
            CanFrame(0x123, b"", extended, fd=True, brs=brs, esi=esi)
        }


@pytest.mark.realizes("TEST_0503")
@pytest.mark.parametrize("length", range(65))
def test_other_lengths_are_padded_with_zeros_to_the_next_step_and_the_reader_sees_them(length: int) -> None:
    near, far = MockCanInterface("can0"), MockCanInterface("can1")
    near.connect(far)
    with Bench(near, far) as bench:
        writer = bench.writer("out", CanId(1), "can0", _FD)
        reader = bench.reader("in", CanId(1), iface="can1", kind=_FD)
        bench.start()
        payload = _payload(length, 7)

        writer.send(payload)
        bench.run()
        (sent,) = near.sent

        assert len(sent.data) == min(step for step in FD_LENGTHS if step >= length)
        assert sent.data == payload + bytes(len(sent.data) - length)
        assert values(reader) == [sent.data]


@pytest.mark.verifies("REQ_0613")
@pytest.mark.parametrize("length", [9, 13, 33, 49, 63])
def test_lengths_without_a_code_are_refused_where_padding_is_off(length: int) -> None:
    with Bench(fd_padding=False) as bench:
        writer = bench.writer("out", CanId(1), kind=_FD)
        bench.start()

        writer.send(_payload(12, 1))
        writer.send(_payload(length, 1))
        writer.send(_payload(64, 1))
        bench.run()
        (degraded,) = (event.target for event in bench.events if isinstance(event.target, Degraded))

        assert [len(sent.data) for sent in bench.mock.sent] == [12, 64]
        assert bench.connector.links[0].refused == 1
        assert str(degraded.reason).startswith(f"can0 refuses to send: {length} bytes for can0:001/")


@pytest.mark.verifies("REQ_0611")
def test_65_bytes_overflow_the_channel() -> None:
    with Bench() as bench:
        writer = bench.writer("out", CanId(1), kind=_FD)

        with pytest.raises(PayloadOverflow) as caught:
            writer.send(bytes(65))

        assert caught.value.max == 64


@pytest.mark.verifies("REQ_0611", "REQ_0612")
def test_an_fd_channel_on_a_classical_simulated_bus_is_refused_and_one_on_a_bus_with_fd_is_not() -> None:
    world = World(1)
    classical = SimulatedCanBus(world, "a").node("app").interface("can0")
    fd = SimulatedCanBus(world, "b", data_bitrate=2_000_000).node("app").interface("can1")
    with Bench(classical, fd, world=world) as bench:
        with pytest.raises(ConfigurationError, match="interface 'can0' carries no CAN FD frames"):
            bench.writer("a", CanId(1), "can0", _FD)

        assert bench.writer("b", CanId(1), "can1", _FD).max_payload_size == 64


@pytest.mark.verifies("REQ_0611", "REQ_0624")
def test_frames_of_one_kind_never_reach_a_channel_of_the_other() -> None:
    with Bench() as bench:
        classical = bench.reader("classical", CanId(0x100), 0x700)
        fd = bench.reader("fd", CanId(0x100), 0x700, kind=_FD)
        bench.start()

        for number, received in enumerate((frame(0x100, b"c"), _fd_frame(0x100, bytes(64)), frame(0x101, b"d"))):
            assert bench.mock.inject_frame(received), number
        for received in (_fd_frame(0x101, b"f"), _fd_frame(0x101, b"", extended=True)):
            bench.mock.inject_frame(received)
        bench.run()

        assert values(classical) == [b"c", b"d"]
        assert values(fd) == [bytes(64), b"f"]


@pytest.mark.verifies("REQ_0611", "REQ_0622")
def test_a_frame_of_the_other_kind_passes_the_kernel_and_is_counted_by_the_gateway() -> None:
    with Bench() as bench:
        reader = bench.reader("in", CanId(0x100))
        bench.start()

        assert bench.mock.inject_frame(_fd_frame(0x100, b"x"))
        bench.run()

        assert values(reader) == []
        assert bench.mock.filters == (CanFilter(0x100, 0xC00007FF),)
        assert bench.connector.driver("can0").unmatched == 1


@pytest.mark.verifies("REQ_0608", "REQ_0611")
def test_a_dropped_frame_counts_for_the_channels_of_its_kind() -> None:
    with Bench(inbound_bridge_capacity=1) as bench:
        bench.reader("classical", CanId(1))
        bench.reader("fd", CanId(1), kind=_FD)
        bench.start()
        link = bench.connector.links[0]

        for received in (frame(1), _fd_frame(1, b"x"), _fd_frame(1, b"y"), frame(1)):
            link.receive(received)

        assert (link.drops.of("classical"), link.drops.of("fd")) == (1, 2)


@pytest.mark.verifies("REQ_0611", "REQ_0613")
def test_classical_and_fd_channels_share_an_interface() -> None:
    with Bench() as bench:
        writers = [bench.writer("classical", CanId(1)), bench.writer("fd", CanId(2), kind=_FD, fd_flags=CanFdFlags.BRS)]
        bench.start()

        for writer in writers:
            writer.send(b"x")
        bench.run()

        assert bench.mock.sent == [CanFrame(1, b"x"), CanFrame(2, b"x", fd=True, brs=True)]


@pytest.mark.verifies("REQ_0611", "REQ_0630", "REQ_0635")
def test_an_interface_that_no_longer_takes_fd_frames_is_told_once_and_the_rest_goes_on() -> None:
    with Bench(recovery_window_ns=100 * MS) as bench:
        fd = bench.writer("fd", CanId(2), kind=_FD)
        classical = bench.writer("classical", CanId(1))
        bench.start()
        classical.send(b"0")
        bench.run()
        bench.mock.carries_fd = False  # the administrator has set it up anew

        for number in range(5):
            fd.send(b"x")
            classical.send(bytes((number,)))
            bench.run(10 * MS)
        during = bench.connector.health()
        bench.run(S)

        refused = Degraded(SendRefused("can0", "CAN interface 'can0' carries no CAN FD frames (EINVAL)"))
        assert during == refused
        assert [event.target for event in bench.events] == [Up(), refused, Up()]
        assert bench.connector.links[0].refused == 5
        assert len(bench.mock.sent) == 6


@pytest.mark.verifies("REQ_0607", "REQ_0635")
def test_a_refusal_after_recovery_is_told_again() -> None:
    with Bench(recovery_window_ns=10 * MS) as bench:
        writer = bench.writer("out", CanId(1))
        bench.start()
        writer.send(b"0")
        bench.run()

        for _ in range(2):
            bench.mock.script_send([StackError("EINVAL")])
            writer.send(b"x")
            bench.run(20 * MS)

        assert bench.kinds() == ["Up", "Degraded", "Up", "Degraded", "Up"]


@pytest.mark.verifies("REQ_0636", "REQ_0643")
def test_error_frames_reach_no_fd_reader() -> None:
    with Bench() as bench:
        reader = bench.reader("everything", CanId(0), 0, kind=_FD)
        bench.start()

        for classes in CanErrorClass:
            bench.mock.inject_error(classes, b"\xff" * 8)
            bench.run()

        assert values(reader) == []


@pytest.mark.verifies("REQ_0611")
@pytest.mark.parametrize(("fd", "kind", "most"), [(False, "classical CAN", 8), (True, "CAN FD", 64)])
def test_more_data_than_a_frame_carries_is_refused_with_the_kind_of_frame_that_has_room(
    fd: bool, kind: str, most: int
) -> None:
    check_room(most, "'can0'", fd=fd)

    with pytest.raises(PayloadOverflow, match=f"a {kind} frame on 'can0'; a frame of CAN FD has room for 64"):
        check_room(most + 1, "'can0'", fd=fd)
