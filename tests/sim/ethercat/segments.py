"""What the tests of the simulated segment share: small devices, a minimal EEPROM, and datagrams sent one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, IdentitySpec
from taktora_sim.ethercat.application import NullApplication
from taktora_sim.ethercat.eeprom import sii_checksum
from taktora_sim.ethercat.frame import (
    Command,
    Datagram,
    decode_frame,
    encode_frame,
    position_address,
)
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.subdevice import SubDevice
from taktora_sim.world import World

Options: TypeAlias = dict[str, bool | int | float | str]

MS = 1_000_000
S = 1_000_000_000

MAILBOX = (0x1000, 128, 0x1080, 128)
OUTPUTS_AT = 0x1100
INPUTS_AT = 0x1180


class Recorder(NullApplication):
    """A device that remembers what it is told, and gives the inputs it was handed."""

    def __init__(self, outputs: int = 2, inputs: int = 2) -> None:
        self.lengths = (outputs, inputs)
        self.log: list[str] = []
        self.taken: list[bytes] = []
        self.mails: list[bytes] = []
        self.next_inputs = bytes(inputs)
        self.asked = 0
        self.refuse: dict[AlState, int] = {}

    def power_on(self) -> None:
        self.log.append("power on")

    def check_transition(self, old: AlState, new: AlState) -> int:
        return self.refuse.get(new, 0)

    def state_changed(self, state: AlState) -> None:
        self.log.append(state.text)

    def process_data_bytes(self) -> tuple[int, int]:
        return self.lengths

    def outputs(self, data: memoryview) -> None:
        self.taken.append(bytes(data))

    def safe_outputs(self, reason: str) -> None:
        self.log.append(f"safe: {reason}")

    def inputs(self, data: memoryview) -> bool:
        self.asked += 1
        data[: len(self.next_inputs)] = self.next_inputs
        return True

    def mail(self, data: bytes) -> None:
        self.mails.append(data)


def sii(
    identity: tuple[int, int, int] = (0x2, 0x1234, 1), *, alias: int = 0, emulated: bool = False, mailbox: bool = False
) -> bytes:
    """Return an EEPROM of 128 bytes: configuration, identity, mailbox; the rest is empty."""
    image = bytearray(128)
    image[0:2] = (0x08 | (0x100 if emulated else 0)).to_bytes(2, "little")
    image[8:10] = alias.to_bytes(2, "little")
    image[14] = sii_checksum(image)
    for number, value in enumerate((*identity, 0)):
        image[16 + 4 * number : 20 + 4 * number] = value.to_bytes(4, "little")
    if mailbox:
        for number, value in enumerate(MAILBOX):
            image[0x30 + 2 * number : 0x32 + 2 * number] = value.to_bytes(2, "little")
        image[0x38] = 4
    return bytes(image)


def device(
    world: World,
    label: str,
    application: NullApplication | None = None,
    *,
    image: bytes | None = None,
    parent: str | None = None,
    port: int | None = None,
    options: Options | None = None,
    **more: bool | float | str,
) -> SubDevice:
    spec = DeviceSpec(
        label=label,
        identity=IdentitySpec(vendor_id=2, product_code=0x1234, revision=1),
        parent=parent,
        port=port,
        options={**(options or {}), **more},
    )
    return SubDevice(
        world, f"ethercat/cell/{label}", spec, application or NullApplication(), sii() if image is None else image
    )


def segment(world: World, *devices: SubDevice, has_ring: bool = False) -> SimulatedSegment:
    return SimulatedSegment(world, "cell", devices, has_ring=has_ring)


def line(count: int, world: World | None = None) -> SimulatedSegment:
    """Return a line of recorders with 2 bytes each way, labelled d0, d1, ..."""
    world = world or World(1)
    return segment(world, *(device(world, f"d{number}", Recorder()) for number in range(count)))


def application(bus: SimulatedSegment, label: str) -> Recorder:
    found = bus[label].application
    assert isinstance(found, Recorder)
    return found


def ask(bus: SimulatedSegment, command: Command, address: int, data: bytes | int) -> Datagram:
    """Send one datagram (a number is that many zero bytes) and return what came back."""
    content = bytes(data) if isinstance(data, int) else data
    reply = bus.frame(encode_frame([Datagram(command, address, content)]))
    assert reply is not None
    return decode_frame(reply)[0]


def ask_all(bus: SimulatedSegment, datagrams: Sequence[Datagram]) -> list[Datagram]:
    reply = bus.frame(encode_frame(datagrams))
    assert reply is not None
    return decode_frame(reply)


def read_at(bus: SimulatedSegment, position: int, register: int, length: int) -> Datagram:
    return ask(bus, Command.APRD, position_address(position, register), length)


def write_at(bus: SimulatedSegment, position: int, register: int, data: bytes) -> Datagram:
    return ask(bus, Command.APWR, position_address(position, register), data)


def word_at(bus: SimulatedSegment, position: int, register: int) -> int:
    return int.from_bytes(read_at(bus, position, register, 2).data, "little")


def write_word(bus: SimulatedSegment, position: int, register: int, value: int) -> int:
    return write_at(bus, position, register, value.to_bytes(2, "little")).working_counter


def give_addresses(bus: SimulatedSegment) -> None:
    """Give addresses 0x1000, 0x1001, ... in bus order."""
    for position in range(len(bus.subdevices)):
        assert write_word(bus, position, 0x0010, 0x1000 + position) == 1


def sync_manager(start: int, length: int, control: int) -> bytes:
    return start.to_bytes(2, "little") + length.to_bytes(2, "little") + bytes((control, 0, 1, 0))


def fmmu(
    logical: int, length: int, physical: int, kind: int, *, start_bit: int = 0, end_bit: int = 7, physical_bit: int = 0
) -> bytes:
    """Return 16 register bytes; ``kind`` 1 is inputs, 2 outputs, 3 both."""
    head = logical.to_bytes(4, "little") + length.to_bytes(2, "little") + bytes((start_bit, end_bit))
    return head + physical.to_bytes(2, "little") + bytes((physical_bit, kind, 1, 0, 0, 0))


def map_process_data(bus: SimulatedSegment, position: int, logical: int) -> None:
    """Map 2 bytes of outputs at ``logical`` and 2 bytes of inputs behind them."""
    write_at(bus, position, 0x0810, sync_manager(OUTPUTS_AT, 2, 0x64))
    write_at(bus, position, 0x0818, sync_manager(INPUTS_AT, 2, 0x20))
    write_at(bus, position, 0x0600, fmmu(logical, 2, OUTPUTS_AT, 2))
    write_at(bus, position, 0x0610, fmmu(logical + 2, 2, INPUTS_AT, 1))


def bring_to_op(bus: SimulatedSegment) -> None:
    """Map 2 + 2 bytes of each SubDevice, one after the other from logical 0, and take all to OP."""
    for position in range(len(bus.subdevices)):
        map_process_data(bus, position, 4 * position)
    for state in (2, 4):
        ask(bus, Command.BWR, 0x0120 << 16, state.to_bytes(2, "little"))
    exchange(bus, bytes(4 * len(bus.subdevices)))
    ask(bus, Command.BWR, 0x0120 << 16, b"\x08\0")
    assert all(each.state is AlState.OP for each in bus.subdevices)


def exchange(bus: SimulatedSegment, data: bytes) -> Datagram:
    return ask(bus, Command.LRW, 0, data)
