"""The SII image: byte layout, round trips, checksum, and errors that name the word."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.ethercat.network import DeviceSpec, EntrySpec, IdentitySpec, MailboxSpec, PdoSpec, PdosSpec
from taktora.ethercat.sii import (
    CoeDetails,
    GeneralFlags,
    MailboxProtocol,
    Sii,
    SiiCategory,
    SiiDcMode,
    SiiEntry,
    SiiGeneral,
    SiiMailbox,
    SiiPdo,
    SiiSyncManager,
    SmType,
    build_sii,
    describe_sii,
    encode_sii,
    parse_sii,
    read_sii,
    sii_checksum,
)

pytestmark = pytest.mark.verifies("REQ_8103")

_U8, _U16, _U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
_I16, _I32 = st.integers(-(1 << 15), (1 << 15) - 1), st.integers(-(1 << 31), (1 << 31) - 1)
_TEXT = st.text(st.characters(max_codepoint=0xFF), max_size=20)
_BOX = st.builds(SiiMailbox, _U16, _U16, _U16, _U16)
_ENTRIES = st.lists(st.builds(SiiEntry, _U16, _U8, _U8, _U8, _TEXT, _U16), max_size=5).map(tuple)
_PDOS = st.lists(st.builds(SiiPdo, _U16, _ENTRIES, st.none() | st.integers(0, 15), _TEXT, _U8, _U16), max_size=4).map(
    tuple
)
_PORTS = st.tuples(*[st.integers(0, 15)] * 4)
_GENERAL = st.builds(
    SiiGeneral, _TEXT, _TEXT, _TEXT, _TEXT, _U8.map(CoeDetails), _U8, _U8, _U8, _U8, _U8, _U8.map(GeneralFlags), _I16,
    _PORTS, _U16,
)  # fmt: skip
_SIIS = st.builds(
    Sii,
    identity=st.builds(IdentitySpec, vendor_id=_U32, product_code=_U32, revision=_U32, serial=_U32),
    alias=_U16,
    pdi_control=_U16,
    pdi_config=_U16,
    sync_impulse_10ns=_U16,
    pdi_config2=_U16,
    hardware_delays=st.tuples(_U16, _U16, _U16),
    bootstrap=_BOX,
    mailbox=_BOX,
    protocols=_U16.map(MailboxProtocol),
    general=st.none() | _GENERAL,
    fmmus=st.lists(st.integers(0, 3), max_size=8).map(tuple),
    sync_managers=st.lists(st.builds(SiiSyncManager, _U16, _U16, _U8, _U8, _U8, _U8), max_size=8).map(tuple),
    tx_pdos=_PDOS,
    rx_pdos=_PDOS,
    dc_modes=st.lists(st.builds(SiiDcMode, _TEXT, _U16, _U32, _I32, _I32, _I16, _I16, _TEXT), max_size=3).map(tuple),
    other=st.lists(
        st.tuples(st.integers(0x800, 0xFFFE), st.binary(max_size=20).map(lambda body: body * 2)), max_size=3
    ).map(tuple),
)


def _word(image: bytes, address: int) -> int:
    return int.from_bytes(image[2 * address : 2 * address + 2], "little")


def _category(image: bytes, kind: int) -> bytes:
    """Walk the categories by hand, so that the parser is not its own judge."""
    at = 0x40
    while (found := _word(image, at)) != 0xFFFF:
        length = _word(image, at + 1)
        if found == kind:
            return image[2 * (at + 2) : 2 * (at + 2 + length)]
        at += 2 + length
    raise AssertionError(kind)


def _drive() -> DeviceSpec:
    control = EntrySpec(name="control", index=0x6040, type="u16")
    target = EntrySpec(name="target", index=0x607A, type="i32")
    status = EntrySpec(name="status", index=0x6041, type="u16")
    return DeviceSpec(
        label="axis1",
        order="DRV-1",
        identity=IdentitySpec(vendor_id=0x00000E1C, product_code=0x1234_5678, revision=0x0001_0002, serial=77),
        station_alias=42,
        mailbox=MailboxSpec(),
        distributed_clock=True,
        pdos=PdosSpec(
            rx=(PdoSpec(index=0x1600, name="Outputs", entries=(control, target)),),
            tx=(PdoSpec(index=0x1A00, entries=(status, EntrySpec(bit_length=8)), fixed=True),),
        ),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_SIIS)
def test_what_was_encoded_is_parsed_again(sii: Sii) -> None:
    image = encode_sii(sii)

    assert parse_sii(image) == sii
    assert encode_sii(parse_sii(image)) == image


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=14, max_size=14))
def test_the_checksum_is_the_remainder_of_the_polynomial_division(head: bytes) -> None:
    # A start value of 0xFF is the same as inverting the first byte; the rest is long division by x^8 + x^2 + x + 1.
    dividend = int.from_bytes(bytes((head[0] ^ 0xFF, *head[1:])), "big") << 8
    for bit in range(dividend.bit_length() - 1, 7, -1):
        if dividend >> bit & 1:
            dividend ^= 0x107 << bit - 8

    assert sii_checksum(head) == dividend


def test_header_words_stand_where_the_standard_puts_them() -> None:
    image = build_sii(_drive())

    assert [_word(image, address) for address in (0x04, 0x18, 0x19, 0x1A, 0x1B, 0x1C)] == [
        42,
        0x1000,
        128,
        0x1080,
        128,
        4,
    ]
    assert struct.unpack_from("<4I", image, 0x10) == (0xE1C, 0x1234_5678, 0x0001_0002, 77)
    assert _word(image, 7) == sii_checksum(image[:14])


def test_the_size_word_counts_kilobits_less_one() -> None:
    image = build_sii(_drive())

    assert (_word(image, 0x3E), _word(image, 0x3F)) == (len(image) * 8 // 1024 - 1, 1)
    assert len(build_sii(_drive(), size_bytes=4096)) == 4096


def test_the_general_category_has_details_and_name() -> None:
    image = build_sii(_drive())
    general, strings = _category(image, SiiCategory.GENERAL), _category(image, SiiCategory.STRINGS)

    assert len(general) == 32
    assert general[5] == 0x27  # SDO, SDO information, PDO assignment, complete access
    assert strings[1 : 2 + strings[1]] == b"\x05DRV-1"
    assert general[3] == 1
    assert general[0x10:0x12] == b"\x33\x00"


def test_sync_managers_of_a_device_with_a_mailbox() -> None:
    managers = list(struct.iter_unpack("<HHBBBB", _category(build_sii(_drive()), SiiCategory.SYNC_MANAGER)))

    assert managers == [
        (0x1000, 128, 0x26, 0, 1, 1),
        (0x1080, 128, 0x22, 0, 1, 2),
        (0x1100, 6, 0x64, 0, 1, 3),
        (0x1180, 3, 0x20, 0, 1, 4),
    ]


def test_pdos_carry_their_entries_and_padding() -> None:
    image = build_sii(_drive())

    assert _category(image, SiiCategory.RX_PDO)[:8] == struct.pack("<HBBBBH", 0x1600, 2, 2, 0, 3, 0)
    assert _category(image, SiiCategory.RX_PDO)[16:24] == struct.pack("<HBBBBH", 0x607A, 0, 5, 4, 32, 0)
    assert _category(image, SiiCategory.TX_PDO)[:8] == struct.pack("<HBBBBH", 0x1A00, 2, 3, 0, 0, 0x10)
    assert _category(image, SiiCategory.TX_PDO)[16:24] == struct.pack("<HBBBBH", 0, 0, 0, 0, 8, 0)


def test_clock_modes_are_24_bytes_each() -> None:
    modes = _category(build_sii(_drive()), SiiCategory.DC)

    assert len(modes) == 48
    assert struct.unpack_from("<H", modes, 24 + 14) == (0x0300,)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(4, (0x0F00, 1, 0x44, 0, 1, 3)), (16, (0x0F00, 2, 0x44, 0, 1, 3)), (24, (0x1000, 3, 0x44, 0, 1, 3))],
    ids=["a byte", "two bytes", "more than the digital output register holds"],
)
def test_a_simple_output_terminal_has_its_outputs_at_sync_manager_0(channels: int, expected: tuple[int, ...]) -> None:
    spec = DeviceSpec(label="do", pdos=PdosSpec(rx=(PdoSpec(index=0x1600, bit_length=channels),)))

    image = build_sii(spec)

    assert list(struct.iter_unpack("<HHBBBB", _category(image, SiiCategory.SYNC_MANAGER))) == [expected]
    assert _word(image, 0) == 0x0104  # digital I/O, device emulation
    assert _category(image, SiiCategory.FMMU) == b"\x01\xff"


def test_an_unwatched_output_is_described_without_the_trigger_bit() -> None:
    spec = DeviceSpec(label="do", sm_watchdog_enabled=False, pdos=PdosSpec(rx=(PdoSpec(index=0x1600, bit_length=8),)))

    assert describe_sii(spec).sync_managers[0].control == 0x04


def test_options_are_in_the_image() -> None:
    spec = DeviceSpec(label="k", options={"no_lrw": True, "ebus_ma": -2000, "device_emulation": False})

    sii = parse_sii(build_sii(spec))

    assert sii.general is not None
    assert (sii.general.flags, sii.general.ebus_ma) == (GeneralFlags.NO_LRW, -2000)
    assert not sii.has_device_emulation


def test_a_gap_before_a_pdo_is_padding_of_that_pdo() -> None:
    header = PdoSpec(index=0x1A00, bit_offset=32, bit_length=8)

    (pdo,) = describe_sii(DeviceSpec(label="wago", pdos=PdosSpec(tx=(header,)))).tx_pdos

    assert pdo.bits == 40
    assert [(entry.index, entry.bits) for entry in pdo.entries] == [(0, 32), (0x6000, 8)]


def test_a_pdo_longer_than_one_mapping_entry_is_split() -> None:
    spec = DeviceSpec(label="big", mailbox=MailboxSpec(), pdos=PdosSpec(rx=(PdoSpec(index=0x1601, bit_length=1000),)))

    (pdo,) = describe_sii(spec).rx_pdos

    assert pdo.bits == 1000
    assert max(entry.bits for entry in pdo.entries) == 64
    assert len({(entry.index, entry.subindex) for entry in pdo.entries}) == 16
    assert parse_sii(build_sii(spec)).rx_pdos == (pdo,)


def test_a_described_image_reads_back_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "axis1.bin"
    file.write_bytes(build_sii(_drive()))

    sii = read_sii(file)

    assert sii == describe_sii(_drive())
    assert sii.size_bytes == file.stat().st_size
    assert sii.checksum_ok


def test_a_damaged_checksum_is_told() -> None:
    image = bytearray(build_sii(_drive()))
    image[8] ^= 1  # the alias

    assert not parse_sii(bytes(image)).checksum_ok


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.bin: cannot be read"):
        read_sii(tmp_path / "nowhere.bin")


def _cut(image: bytes) -> bytes:
    return image[: 2 * 0x44]


def _too_long(image: bytes) -> bytes:
    return image[:0x82] + b"\xff\x7f" + image[0x84:]


def _no_end(image: bytes) -> bytes:
    return image[:0x80]


def _bad_string_length(image: bytes) -> bytes:
    return image[:0x85] + b"\xf0" + image[0x86:]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda image: image[:100], "word 0x0032: the image ends after 100 bytes"),
        (_cut, "word 0x0040: category 10 of .* bytes runs past the image of 136 bytes"),
        (_too_long, "word 0x0040: category 10 of 65534 bytes runs past"),
        (_no_end, "word 0x0040: the image ends without the end mark"),
        (_bad_string_length, "word 0x0042: category 10, text 1 runs past"),
    ],
    ids=["header", "cut off", "length", "no end mark", "string"],
)
def test_damage_is_found_and_its_word_named(damage: object, expected: str) -> None:
    assert callable(damage)
    with pytest.raises(ConfigurationError, match=expected):
        parse_sii(damage(build_sii(_drive())))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400).map(lambda tail: build_sii(_drive())[:0x80] + tail))
def test_any_bytes_are_parsed_or_refused_with_a_word(image: bytes) -> None:
    refusal = ""
    try:
        parse_sii(image)
    except ConfigurationError as error:
        refusal = str(error)

    assert refusal == "" or refusal.startswith("SII word 0x")


@pytest.mark.parametrize(
    ("sii", "expected"),
    [
        (Sii(alias=0x1_0000), "SII word 0x0000: .* does not fit"),
        (Sii(mailbox=SiiMailbox(0x1000, 1 << 20)), "SII word 0x0014: .* does not fit"),
        (Sii(sync_managers=(SiiSyncManager(0, 0, 0x1FF),)), "SII category 41: .* does not fit"),
        (Sii(tx_pdos=(SiiPdo(0x1A00, (SiiEntry(0, 0, 1),) * 256),)), "SII category 50: .* does not fit"),
        (Sii(general=SiiGeneral(name="x" * 256)), "255 of both fit"),
        (Sii(general=SiiGeneral(name="Größe €")), "beyond ISO 8859-1"),
        (Sii(size_bytes=100), "word 0x003E: a size of 100 bytes"),
    ],
    ids=["alias", "mailbox", "control", "entries", "length", "characters", "size"],
)
def test_what_does_not_fit_is_refused_by_name(sii: Sii, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        encode_sii(sii)


def test_a_device_that_cannot_be_described_is_named() -> None:
    spec = DeviceSpec(label="bad", pdos=PdosSpec(rx=(PdoSpec(index=0x1600),)))

    with pytest.raises(ConfigurationError, match="device 'bad'"):
        build_sii(spec)


def test_purposes_are_numbered_as_object_1c00_does() -> None:
    assert [int(kind) for kind in SmType] == [0, 1, 2, 3, 4]
