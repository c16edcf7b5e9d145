"""The CoE server of simulated devices: transfers, rules, refusals and the faults of its mailbox."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.ethercat.coe import (
    Abort,
    CoeService,
    Mail,
    MailboxError,
    MailboxProtocolError,
    MailboxType,
    SdoAbort,
    coe_frame,
    decode_coe,
    encode_mail,
    sdo_frame,
)
from taktora.ethercat.datatypes import DataType
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import READ_ONLY, READ_WRITE, Access, ObjectDictionary, ObjectEntry
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, EntrySpec, IdentitySpec, MailboxSpec, PdoSpec, PdosSpec
from taktora.ethercat.sdo import describe_entry, describe_object, download, list_objects, upload
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.ethercat.support import MS, BareEsc, Client

pytestmark = pytest.mark.verifies("REQ_8104")

_PATH = "ethercat/cell/axis1"


def _spec(**mailbox: Any) -> DeviceSpec:
    def pdo(index: int, name: str, target: int, bits: int, fixed: bool = False) -> PdoSpec:
        entry = EntrySpec(name=name, index=target, type="bits", bit_length=bits)
        return PdoSpec(index=index, entries=(entry,), fixed=fixed)

    return DeviceSpec(
        label="axis1",
        identity=IdentitySpec(vendor_id=0xE1C, product_code=7, revision=2, serial=9),
        mailbox=MailboxSpec(**mailbox),
        pdos=PdosSpec(
            rx=(pdo(0x1600, "control", 0x6040, 16), pdo(0x1601, "target", 0x607A, 32)),
            tx=(pdo(0x1A00, "status", 0x6041, 16, fixed=True), pdo(0x1A01, "position", 0x6064, 32)),
        ),
    )


def _dictionary(spec: DeviceSpec) -> ObjectDictionary:
    dictionary = build_dictionary(spec)
    dictionary.add_variable(0x2000, "Text", ObjectEntry("Text", DataType.VISIBLE_STRING, 8 * 600, READ_WRITE))
    dictionary.add_variable(0x2001, "Secret", ObjectEntry("Secret", DataType.UNSIGNED8, 8, Access.WRITE_PRE_OP))
    limited = ObjectEntry("Limited", DataType.INTEGER16, 16, READ_WRITE, low=-10, high=10)
    dictionary.add_variable(0x2002, "Limited", limited)
    dictionary.add_record(
        0x2003,
        "Mixed",
        {
            1: ObjectEntry("Flag", DataType.BOOLEAN, 1, READ_WRITE),
            2: ObjectEntry("Gap", DataType.BIT1 + 6, 7, READ_WRITE),
            3: ObjectEntry("Count", DataType.UNSIGNED16, 16, READ_ONLY, b"\x34\x12"),
            4: ObjectEntry("Level", DataType.INTEGER32, 32, READ_WRITE),
        },
    )
    return dictionary


def _device(world: World | None = None, **mailbox: Any) -> tuple[SimulatedDevice, Client]:
    spec = _spec(**mailbox)
    device = SimulatedDevice(spec, _dictionary(spec))
    return device, Client(BareEsc(spec, device, world))


def _abort(client: Client, dialogue: Any) -> int:
    with pytest.raises(SdoAbort) as refusal:
        client.run(dialogue)
    return refusal.value.code


# --- transfers ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=600), st.integers(24, 200), st.integers(24, 200))
def test_what_was_downloaded_is_uploaded_again(data: bytes, out_bytes: int, in_bytes: int) -> None:
    _, client = _device(out_bytes=out_bytes, in_bytes=in_bytes)

    client.run(download(0x2000, 0, data, out_bytes))

    assert client.run(upload(0x2000, 0)) == data


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 112, 113, 119, 120, 600], ids=str)
def test_answers_of_every_form_are_as_long_as_they_say(size: int) -> None:
    _, client = _device()
    client.run(download(0x2000, 0, bytes(size), 128))

    client.run(upload(0x2000, 0))

    first = next(mail for mail in client.mails if mail.data[2] & 0xE0 == 0x40)
    assert bool(first.data[2] & 0x02) == (size <= 4)
    assert all(len(mail.data) >= 10 and len(mail.data) <= 122 for mail in client.mails)


def test_a_partial_transfer_changes_nothing() -> None:
    device, client = _device()
    begin = download(0x2000, 0, bytes(200), 128)
    outgoing = next(begin)
    assert outgoing is not None
    client.post(outgoing)
    client.answer()

    client.run(upload(0x1000, 0))

    assert device.dictionary.entry(0x2000).value == b""
    assert client.mails[-1].data[2] == 0x43


def test_complete_access_packs_bits_and_puts_two_bytes_before_them() -> None:
    device, client = _device()
    device.dictionary.entry(0x2003, 1).value = b"\x01"
    device.dictionary.entry(0x2003, 2).value = b"\x7f"
    device.dictionary.entry(0x2003, 4).number = -2

    assert client.run(upload(0x2003, 0, complete=True)) == bytes.fromhex("0400 ff 3412 feffffff")
    assert client.run(upload(0x2003, 1, complete=True)) == bytes.fromhex("ff 3412 feffffff")


def test_complete_access_writes_what_can_be_written() -> None:
    device, client = _device()

    client.run(download(0x2003, 0, bytes.fromhex("0400 81 ffff 05000000"), 128, complete=True))

    assert [device.dictionary.entry(0x2003, sub).number for sub in (1, 2, 3, 4)] == [1, 0x40, 0x1234, 5]


def test_complete_access_goes_in_segments_too() -> None:
    device, client = _device(out_bytes=24, in_bytes=24)
    entries = {sub: ObjectEntry(f"Item {sub}", DataType.UNSIGNED32, 32, READ_WRITE) for sub in range(1, 21)}
    device.dictionary.add_record(0x2004, "Table", entries)
    data = b"\x14\x00" + b"".join((sub << 24 | sub).to_bytes(4, "little") for sub in range(1, 21))

    client.run(download(0x2004, 0, data, 24, complete=True))

    assert client.run(upload(0x2004, 0, complete=True)) == data
    assert device.dictionary.entry(0x2004, 20).number == 20 << 24 | 20


@pytest.mark.parametrize("size", [41, 43], ids=["short", "long"])
def test_complete_access_of_another_length_is_refused(size: int) -> None:
    device, client = _device()
    entries = {sub: ObjectEntry(f"Item {sub}", DataType.UNSIGNED32, 32, READ_WRITE) for sub in range(1, 11)}
    device.dictionary.add_record(0x2004, "Table", entries)

    code = _abort(client, download(0x2004, 0, bytes(size), 128, complete=True))

    assert code == (Abort.TOO_SHORT if size < 42 else Abort.TOO_LONG)
    assert device.dictionary.entry(0x2004, 1).number == 0


@pytest.mark.parametrize(
    ("index", "first", "code"),
    [
        (0x1000, 0, Abort.NO_COMPLETE_ACCESS),
        (0x2003, 2, Abort.UNSUPPORTED),
        (0x7777, 0, Abort.NO_OBJECT),
    ],
    ids=["a variable", "from the middle", "nothing"],
)
def test_complete_access_is_for_records_from_the_start(index: int, first: int, code: int) -> None:
    _, client = _device()

    assert _abort(client, upload(index, first, complete=True)) == code


def test_a_device_may_not_know_complete_access() -> None:
    _, client = _device(complete_access=False)

    assert _abort(client, upload(0x2003, 0, complete=True)) == Abort.NO_COMPLETE_ACCESS


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "subindex", "data", "code"),
    [
        (0x7777, 0, b"\0", Abort.NO_OBJECT),
        (0x1018, 9, b"\0", Abort.NO_SUBINDEX),
        (0x1018, 1, bytes(4), Abort.READ_ONLY),
        (0x2002, 0, bytes(1), Abort.TOO_SHORT),
        (0x2002, 0, bytes(4), Abort.TOO_LONG),
        (0x2002, 0, b"\x0b\x00", Abort.TOO_HIGH),
        (0x2002, 0, b"\xf5\xff", Abort.TOO_LOW),
        (0x2000, 0, bytes(601), Abort.TOO_LONG),
    ],
    ids=["object", "subindex", "read only", "short", "long", "high", "low", "text"],
)
def test_a_download_is_refused_with_its_reason(index: int, subindex: int, data: bytes, code: int) -> None:
    _, client = _device()

    assert _abort(client, download(index, subindex, data, 128)) == code


def test_an_upload_of_what_is_write_only_is_refused() -> None:
    _, client = _device()

    assert _abort(client, upload(0x2001, 0)) == Abort.WRITE_ONLY


def test_what_the_state_does_not_allow_is_refused() -> None:
    _, client = _device()
    client.esc.go(AlState.OP)

    assert _abort(client, download(0x2001, 0, b"\1", 128)) == Abort.STATE


def test_an_abort_is_sent_as_a_request() -> None:
    _, client = _device()

    _abort(client, upload(0x7777, 0))

    assert decode_coe(client.mails[-1].data)[0] == CoeService.SDO_REQUEST


def test_a_wrong_toggle_bit_ends_the_transfer() -> None:
    _, client = _device()
    client.run(download(0x2000, 0, bytes(400), 128))
    client.post(sdo_frame(CoeService.SDO_REQUEST, 0x40, 0x2000, 0))
    client.answer()

    client.post(coe_frame(CoeService.SDO_REQUEST, b"\x70" + bytes(7)))

    assert client.answer()[2:] == bytes.fromhex("80 0020 00 00000305")


@pytest.mark.parametrize("command", [0x60, 0x00, 0xA0, 0xC0, 0xE0], ids=hex)
def test_a_command_out_of_place_is_refused(command: int) -> None:
    _, client = _device()

    client.post(sdo_frame(CoeService.SDO_REQUEST, command, 0x1000, 0))

    assert int.from_bytes(client.answer()[6:10], "little") == Abort.COMMAND


def test_an_abort_of_the_client_is_not_answered() -> None:
    _, client = _device()

    client.post(sdo_frame(CoeService.SDO_REQUEST, 0x80, 0x1000, 0))

    assert not client.esc.sent


@pytest.mark.parametrize(
    ("mail", "detail"),
    [
        (encode_mail(Mail(MailboxType.FOE, bytes(8), 1)), MailboxError.UNSUPPORTED_PROTOCOL),
        (encode_mail(Mail(MailboxType.COE, bytes.fromhex("00f0"), 1)), MailboxError.SERVICE_NOT_SUPPORTED),
        (encode_mail(Mail(MailboxType.COE, b"", 1)), MailboxError.SIZE_TOO_SHORT),
        (b"\xff\xff\x00\x00\x00\x13", MailboxError.INVALID_HEADER),
    ],
    ids=["protocol", "service", "too short", "header"],
)
def test_mail_that_is_not_understood_gets_an_error_mail(mail: bytes, detail: int) -> None:
    _, client = _device()

    client.raw(mail)

    answer = client.read()
    assert (answer.type, answer.data) == (MailboxType.ERROR, bytes((1, 0, detail, 0)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_mail_is_survived(mails: list[bytes]) -> None:
    device, client = _device()

    for mail in mails:
        client.esc.application.mail(mail)
        client.esc.sent.clear()

    device.mail(encode_mail(Mail(MailboxType.ERROR, b"")))  # resets nothing but the counter
    assert client.run(upload(0x1018, 1)) == (0xE1C).to_bytes(4, "little")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([2, 8]), st.binary(min_size=1, max_size=40)), max_size=12))
def test_any_request_is_survived(requests: list[tuple[int, bytes]]) -> None:
    _, client = _device(pdo_config=True)

    for service, body in requests:
        client.post(coe_frame(service, body))
        client.esc.sent.clear()

    assert client.run(upload(0x1018, 4)) == (9).to_bytes(4, "little")


# --- counters ----------------------------------------------------------------------------------------------------


def test_a_repeated_counter_is_a_duplicate_and_not_served() -> None:
    _, client = _device()
    client.run(upload(0x1000, 0))

    client.raw(encode_mail(Mail(MailboxType.COE, sdo_frame(2, 0x40, 0x1000, 0), client.counter)))

    assert not client.esc.sent


def test_a_client_that_does_not_count_is_served() -> None:
    _, client = _device()

    for _ in range(2):
        client.raw(encode_mail(Mail(MailboxType.COE, sdo_frame(2, 0x40, 0x1000, 0), 0)))

    assert len(client.esc.sent) == 2


def test_answers_are_counted_and_init_starts_anew() -> None:
    _, client = _device()
    for _ in range(9):
        client.run(upload(0x1000, 0))
    client.esc.go(AlState.INIT)
    client.esc.go(AlState.PRE_OP)

    client.run(upload(0x1000, 0))

    assert [mail.counter for mail in client.mails] == [1, 2, 3, 4, 5, 6, 7, 1, 2, 1]


# --- SDO information -----------------------------------------------------------------------------------------------


def test_the_list_of_objects_comes_in_fragments() -> None:
    device, client = _device(in_bytes=32)

    indices = client.run(list_objects())

    assert indices == tuple(found.index for found in device.dictionary)
    assert len(client.mails) > 1
    assert client.run(list_objects(2)) == (0x6040, 0x607A)
    assert client.run(list_objects(3)) == (0x6041, 0x6064)


def test_more_fragments_than_the_mailbox_takes_wait_for_room() -> None:
    device, client = _device(in_bytes=24)
    client.esc.room = 1

    indices = client.run(list_objects())

    assert indices == tuple(found.index for found in device.dictionary)


def test_mail_that_nobody_fetches_is_given_up() -> None:
    device, client = _device(in_bytes=24)
    client.esc.room = 0
    device.emergency(0x8130)

    client.esc.world.run_for(5_000 * MS)
    client.esc.room = 16

    client.esc.world.run_for(5_000 * MS)
    assert not client.esc.sent


def test_objects_and_entries_describe_themselves() -> None:
    _, client = _device()

    assert client.run(describe_object(0x1018)) == (0x1018, DataType.IDENTITY, 4, 9, "Identity")
    assert client.run(describe_entry(0x6041, 0))[2:5] == (DataType.UNSIGNED16, 16, 0x87)
    assert _abort(client, describe_object(0x7777)) == Abort.NO_OBJECT
    assert _abort(client, describe_entry(0x1018, 9)) == Abort.NO_SUBINDEX


def test_a_device_without_information_says_so() -> None:
    _, client = _device(sdo_info=False)

    client.post(next(list_objects()) or b"")

    assert client.read().data == bytes((1, 0, MailboxError.SERVICE_NOT_SUPPORTED, 0))


# --- PDO assignment ------------------------------------------------------------------------------------------------


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def test_an_assignment_is_cleared_written_and_counted() -> None:
    device, client = _device()

    client.run(download(0x1C12, 0, b"\0", 128))
    assert device.process_data_bytes() == (0, 6)
    client.run(download(0x1C12, 1, _number(0x1601, 2), 128))
    client.run(download(0x1C12, 0, b"\1", 128))

    assert device.process_data_bytes() == (4, 6)


def test_an_assignment_by_complete_access_is_one_step() -> None:
    device, client = _device()

    client.run(download(0x1C13, 0, bytes.fromhex("0100 011a"), 128, complete=True))

    assert device.process_data_bytes() == (6, 4)
    assert client.run(upload(0x1C13, 0, complete=True)) == bytes.fromhex("0100 011a")


@pytest.mark.parametrize(
    ("clear", "index", "subindex", "data", "code"),
    [
        (False, 0x1C12, 1, _number(0x1601, 2), Abort.COUNT_NOT_ZERO),
        (True, 0x1C12, 1, _number(0x1605, 2), Abort.NOT_MAPPABLE),
        (True, 0x1C12, 1, _number(0x1A00, 2), Abort.NOT_MAPPABLE),
        (True, 0x1C12, 9, _number(0x1600, 2), Abort.NO_SUBINDEX),
        (True, 0x1C12, 0, b"\3", Abort.NOT_MAPPABLE),
        (True, 0x1C12, 0, b"\5", Abort.TOO_HIGH),
    ],
    ids=["count is not 0", "no such PDO", "wrong direction", "no such place", "empty place", "too many"],
)
def test_an_assignment_that_makes_no_sense_is_refused(
    clear: bool, index: int, subindex: int, data: bytes, code: int
) -> None:
    _, client = _device()
    if clear:
        client.run(download(index, 0, b"\0", 128))

    assert _abort(client, download(index, subindex, data, 128)) == code


def test_a_pdo_is_assigned_once() -> None:
    _, client = _device()

    code = _abort(client, download(0x1C12, 0, bytes.fromhex("0200 0016 0016"), 128, complete=True))

    assert code == Abort.INCOMPATIBLE_PARAMETER


@pytest.mark.parametrize("state", [AlState.SAFE_OP, AlState.OP], ids=lambda state: state.text)
def test_an_assignment_is_written_in_pre_op_only(state: AlState) -> None:
    _, client = _device()
    client.esc.go(state)

    assert _abort(client, download(0x1C12, 0, b"\0", 128)) == Abort.STATE


def test_a_fixed_assignment_is_read_only() -> None:
    _, client = _device(pdo_assign=False)

    assert _abort(client, download(0x1C12, 0, b"\0", 128)) == Abort.READ_ONLY


def test_a_mapping_is_configured_where_the_device_allows_it() -> None:
    device, client = _device(pdo_config=True)
    client.run(download(0x1A01, 0, b"\0", 128))
    client.run(download(0x1A01, 1, _number(0x6041_0010, 4), 128))

    client.run(download(0x1A01, 0, b"\1", 128))

    assert device.process_data_bytes() == (6, 4)
    assert _abort(client, download(0x1A00, 0, b"\0", 128)) == Abort.READ_ONLY  # fixed


@pytest.mark.parametrize(
    "word", [0x6040_0010, 0x6041_0008, 0x7777_0108], ids=["an output", "another length", "nothing"]
)
def test_what_cannot_be_mapped_is_refused(word: int) -> None:
    _, client = _device(pdo_config=True)
    client.run(download(0x1A01, 0, b"\0", 128))

    assert _abort(client, download(0x1A01, 1, _number(word, 4), 128)) == Abort.NOT_MAPPABLE


def test_the_assignment_is_the_default_again_after_a_power_cycle() -> None:
    device, client = _device()
    client.run(download(0x1C12, 0, b"\0", 128))

    device.power_on()

    assert device.process_data_bytes() == (6, 6)


_PDO_WRITES = st.tuples(
    st.sampled_from((0x1C12, 0x1C13, 0x1600, 0x1601, 0x1A00, 0x1A01)),
    st.integers(0, 5),
    st.sampled_from((0, 1, 2, 4, 0x1600, 0x1601, 0x1A01, 0x6040_0010, 0x6041_0010, 0x6064_0020, 0x0000_0008)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_PDO_WRITES, max_size=30))
def test_whatever_is_assigned_and_mapped_the_image_fits_it(writes: list[tuple[int, int, int]]) -> None:
    device, client = _device(pdo_config=True)

    for index, subindex, number in writes:
        size = device.dictionary.entry(index, min(subindex, 1)).byte_length
        with contextlib.suppress(SdoAbort):
            client.run(download(index, subindex, (number & (1 << 8 * size) - 1).to_bytes(size, "little"), 128))

    for assignment, length in zip((0x1C12, 0x1C13), device.process_data_bytes() or (), strict=True):
        pdos = [device.dictionary.objects[assignment].entries[n + 1].number for n in range(_count(device, assignment))]
        words = [device.dictionary.entry(pdo, n + 1).number for pdo in pdos for n in range(_count(device, pdo))]
        assert length == (sum(word & 0xFF for word in words) + 7) // 8
    outputs, inputs = device.process_data_bytes() or (0, 0)
    device.outputs(memoryview(b"\xff" * outputs))
    device.inputs(memoryview(bytearray(inputs)))
    assert device.output_data.image == b"\xff" * outputs


def _count(device: SimulatedDevice, index: int) -> int:
    return device.dictionary.entry(index, 0).number


def test_objects_follow_the_process_data() -> None:
    device, client = _device()
    device.outputs(memoryview(bytes.fromhex("0f00 78563412")))
    device.set("position", 1000)

    assert client.run(upload(0x607A, 0)) == bytes.fromhex("78563412")
    assert client.run(upload(0x6064, 0)) == (1000).to_bytes(4, "little")


def test_an_object_written_by_sdo_is_an_output_too() -> None:
    device, client = _device()
    seen: list[tuple[str, object]] = []
    device.on_output(lambda name, value: seen.append((name, value)))

    client.run(download(0x6040, 0, b"\x06\x00", 128))

    assert seen == [("control", 6)]


# --- emergencies and faults ----------------------------------------------------------------------------------------


def test_an_emergency_comes_between_request_and_answer() -> None:
    device, client = _device()
    device.emergency(0x8130, 0x11, b"\x01")

    assert client.run(upload(0x1018, 1)) == (0xE1C).to_bytes(4, "little")
    assert client.emergencies == [bytes.fromhex("0010 3081 11 0100000000")]


def test_no_emergency_is_sent_in_init() -> None:
    device, client = _device()
    client.esc.go(AlState.INIT)

    device.emergency(0x8130)

    assert not client.esc.sent


def test_an_answer_takes_the_time_that_the_option_says() -> None:
    spec = _spec()
    slow = DeviceSpec(label="axis1", mailbox=spec.mailbox, options={"mailbox_us": 2500})
    client = Client(BareEsc(slow, SimulatedDevice(slow)))

    client.run(upload(0x1000, 0))

    assert client.esc.world.now_ns() == 2_500_000


def _faulty(kind: str, **parameters: Any) -> tuple[SimulatedDevice, Client]:
    """Return a device with a fault that lasts from 0 to 100 ms."""
    instant = kind == "send-emergency"
    entry = FaultEntry(
        target=_PATH, kind=kind, at_ns=0, duration_ns=None if instant else 100 * MS, parameters=parameters
    )
    device, client = _device(World(1, plan=FaultPlan.of(entry)))
    client.esc.world.run_for(MS)
    return device, client


@pytest.mark.verifies("REQ_8109")
def test_swallowed_mail_is_not_answered_until_the_fault_ends() -> None:
    _, client = _faulty("swallow-mail")
    client.post(sdo_frame(2, 0x40, 0x1000, 0))
    client.esc.world.run_for(200 * MS)
    assert not client.esc.sent

    assert client.run(upload(0x1000, 0))


@pytest.mark.verifies("REQ_8109")
def test_delayed_mail_comes_later() -> None:
    _, client = _faulty("delay-mail", by_ns="30ms")

    client.run(upload(0x1000, 0))

    assert client.esc.world.now_ns() == 31 * MS


@pytest.mark.verifies("REQ_8109")
def test_duplicate_mail_has_the_counter_of_the_first() -> None:
    _, client = _faulty("duplicate-mail")
    client.post(sdo_frame(2, 0x40, 0x1000, 0))

    first, second = client.read(), client.read()

    assert first == second


@pytest.mark.verifies("REQ_8109")
@pytest.mark.parametrize("field", ["length", "type", "service"])
def test_malformed_mail_is_malformed_where_it_says(field: str) -> None:
    _, client = _faulty("malform-mail", field=field)
    client.post(sdo_frame(2, 0x40, 0x1000, 0))

    if field == "length":
        with pytest.raises(MailboxProtocolError):
            client.read()
    else:
        mail = client.read()
        assert (mail.type == MailboxType.COE, decode_coe(mail.data)[0] == 3) == (field != "type", field != "service")


@pytest.mark.verifies("REQ_8109")
def test_an_aborted_transfer_has_the_code_of_the_fault() -> None:
    _, client = _faulty("abort-sdo", index=0x1018, code=int(Abort.HARDWARE))

    assert _abort(client, upload(0x1018, 1)) == Abort.HARDWARE
    assert client.run(upload(0x1000, 0))


@pytest.mark.verifies("REQ_8109")
def test_a_flipped_toggle_bit_is_noticed() -> None:
    device, client = _faulty("flip-toggle")
    device.dictionary.entry(0x2000).value = bytes(300)

    with pytest.raises(MailboxProtocolError, match="toggle"):
        client.run(upload(0x2000, 0))


@pytest.mark.verifies("REQ_8109")
def test_a_planned_emergency_is_sent() -> None:
    _, client = _faulty("send-emergency", code=0x7300, register=0x20)

    assert client.read().data == bytes.fromhex("0010 0073 20 0000000000")


@pytest.mark.verifies("REQ_8109")
def test_every_fault_says_what_it_does() -> None:
    _, client = _device()
    kinds = client.esc.world.faults.catalogue()[_PATH]

    required: dict[str, Any] = {"by_ns": 5 * MS, "entry": "status"}

    sentences = {
        name: kind.sentence(kind.complete({key: value for key, value in required.items() if key in kind.params}))
        for name, kind in kinds.items()
    }

    assert sentences["abort-sdo"] == "SDO transfers are aborted with 0x08000000 (general error)"
    assert sentences["delay-mail"] == "answers come 5ms later"
    assert set(sentences) == {
        "swallow-mail", "delay-mail", "duplicate-mail", "malform-mail", "abort-sdo", "flip-toggle", "send-emergency",
        "force-input",
    }  # fmt: skip
    assert all(sentences.values())
