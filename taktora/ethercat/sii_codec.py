"""SII image to records and back, category by category; it reads no file and knows no device description.

All addresses are word addresses, as the EEPROM interface counts. Texts are ISO 8859-1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypedDict

from taktora.errors import ConfigurationError
from taktora.ethercat.network import IdentitySpec
from taktora.ethercat.sii_model import (
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
)

__all__ = ["encode_sii", "parse_sii", "sii_checksum"]

FIRST_CATEGORY_WORD: Final = 0x40
_END: Final = 0xFFFF
_SMALLEST_IMAGE_BYTES: Final = 2048
_LARGEST_IMAGE_BYTES: Final = 0x10000 * 128

_CONFIG: Final = struct.Struct("<7H")
_IDENTITY: Final = struct.Struct("<H4I3H2x")
_MAILBOXES: Final = struct.Struct("<9H")
_CATEGORY: Final = struct.Struct("<HH")
_GENERAL: Final = struct.Struct("<BBBBxBBBBBBBhxxHH12x")
_SYNC_MANAGER: Final = struct.Struct("<HHBBBB")
_PDO: Final = struct.Struct("<HBBBBH")
_ENTRY: Final = struct.Struct("<HBBBBH")
_DC_MODE: Final = struct.Struct("<IiihHhBB4x")


def sii_checksum(words_0_to_6: bytes) -> int:
    """Return the CRC-8 (polynomial 0x07, start 0xFF) over the first 14 bytes, as word 7 holds it."""
    crc = 0xFF
    for byte in words_0_to_6[:14]:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


# --- encoding ----------------------------------------------------------------------------------------------------


class _Strings:
    """The string table under construction; equal texts share an index, the empty text is index 0."""

    def __init__(self, first: Iterable[str]) -> None:
        self._texts: list[str] = []
        for text in first:
            self.add(text)

    def index(self, text: str) -> int:
        if not text:
            return 0
        return self._texts.index(text) + 1 if text in self._texts else self.add(text)

    def add(self, text: str) -> int:
        try:
            size = len(text.encode("latin-1"))
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"SII strings: {text!r} has characters beyond ISO 8859-1; leave them out"
            ) from error
        if size > 255 or len(self._texts) == 255:
            msg = f"SII strings: {text[:40]!r} is text {len(self._texts) + 1} and has {size} bytes; 255 of both fit"
            raise ConfigurationError(msg)
        self._texts.append(text)
        return len(self._texts)

    def encode(self) -> bytes:
        body = b"".join(bytes((len(text),)) + text.encode("latin-1") for text in self._texts)
        return bytes((len(self._texts),)) + body


# req: REQ_8103
def encode_sii(sii: Sii) -> bytes:
    """Return the image, padded with 0xFF to its size.

    Raises:
        ConfigurationError: a value does not fit its field, or the image its size; the place is named.
    """
    categories = _encode_categories(sii)
    needed = 2 * FIRST_CATEGORY_WORD + len(categories)
    size = sii.size_bytes or max(_SMALLEST_IMAGE_BYTES, 1 << (needed - 1).bit_length())
    if size % 128 or not needed <= size <= _LARGEST_IMAGE_BYTES:
        expected = f"expected a multiple of 128 from {needed} to {_LARGEST_IMAGE_BYTES}"
        raise ConfigurationError(f"SII word 0x003E: a size of {size} bytes, {expected}")
    header = _encode_header(sii, size)
    return (header + categories).ljust(size, b"\xff")


def _encode_header(sii: Sii, size: int) -> bytes:
    config = _pack(_CONFIG, 0, sii.pdi_control, sii.pdi_config, sii.sync_impulse_10ns, sii.pdi_config2, sii.alias, 0, 0)
    who = sii.identity
    numbers = (who.vendor_id, who.product_code, who.revision, who.serial)
    fixed = _pack(_IDENTITY, 7, sii_checksum(config), *numbers, *sii.hardware_delays)
    boxes = _pack(_MAILBOXES, 0x14, *sii.bootstrap, *sii.mailbox, sii.protocols)
    return (config + fixed + boxes).ljust(0x3E * 2, b"\0") + _CATEGORY.pack(size // 128 - 1, 1)


def _encode_categories(sii: Sii) -> bytes:
    strings = _Strings(sii.strings)
    bodies: list[tuple[int, bytes]] = []
    if sii.general is not None:
        bodies.append((SiiCategory.GENERAL, _encode_general(sii.general, strings)))
    if sii.fmmus:
        bodies.append((SiiCategory.FMMU, bytes(sii.fmmus) + b"\xff" * (len(sii.fmmus) % 2)))
    if sii.sync_managers:
        packed = (_pack(_SYNC_MANAGER, SiiCategory.SYNC_MANAGER, *manager) for manager in sii.sync_managers)
        bodies.append((SiiCategory.SYNC_MANAGER, b"".join(packed)))
    for category, pdos in ((SiiCategory.TX_PDO, sii.tx_pdos), (SiiCategory.RX_PDO, sii.rx_pdos)):
        if pdos:
            bodies.append((category, b"".join(_encode_pdo(pdo, strings) for pdo in pdos)))
    if sii.dc_modes:
        bodies.append((SiiCategory.DC, b"".join(_encode_dc(mode, strings) for mode in sii.dc_modes)))
    bodies.extend(sii.other)
    table = strings.encode()
    if len(table) > 1:
        bodies.insert(0, (SiiCategory.STRINGS, table))
    framed = (_frame_category(kind, body) for kind, body in bodies)
    return b"".join(framed) + _END.to_bytes(2, "little")


def _frame_category(kind: int, body: bytes) -> bytes:
    body += b"\0" * (len(body) % 2)
    return _pack(_CATEGORY, kind, kind, len(body) // 2) + body


def _encode_general(general: SiiGeneral, strings: _Strings) -> bytes:
    texts = [strings.index(text) for text in (general.group, general.image, general.order, general.name)]
    ports = sum((port & 0xF) << 4 * number for number, port in enumerate(general.ports))
    plain = (general.coe, general.foe, general.eoe, general.soe_channels, general.ds402_channels, general.sysman_class)
    return _pack(
        _GENERAL, SiiCategory.GENERAL, *texts, *plain, general.flags, general.ebus_ma, ports, general.id_address
    )


def _encode_pdo(pdo: SiiPdo, strings: _Strings) -> bytes:
    manager = 0xFF if pdo.sync_manager is None else pdo.sync_manager
    kind = SiiCategory.TX_PDO
    head = _pack(_PDO, kind, pdo.index, len(pdo.entries), manager, pdo.dc_sync, strings.index(pdo.name), pdo.flags)
    entries = (
        _pack(_ENTRY, kind, e.index, e.subindex, strings.index(e.name), e.data_type, e.bits, e.flags)
        for e in pdo.entries
    )
    return head + b"".join(entries)


def _encode_dc(mode: SiiDcMode, strings: _Strings) -> bytes:
    return _pack(
        _DC_MODE,
        SiiCategory.DC,
        mode.sync0_cycle_ns,
        mode.sync0_shift_ns,
        mode.sync1_shift_ns,
        mode.sync1_factor,
        mode.assign_activate,
        mode.sync0_factor,
        strings.index(mode.name),
        strings.index(mode.description),
    )


def _pack(form: struct.Struct, where: int, *values: int) -> bytes:
    """Pack values; ``where`` is the word address of a header field, or the category."""
    try:
        return form.pack(*values)
    except struct.error as error:
        place = f"category {where}" if where >= SiiCategory.STRINGS and where != 0x14 else f"word 0x{where:04X}"
        raise ConfigurationError(f"SII {place}: {list(values)} does not fit its fields ({error})") from error


# --- parsing -----------------------------------------------------------------------------------------------------


# req: REQ_8103
def parse_sii(image: bytes) -> Sii:
    """Return what an SII image says.

    A wrong checksum is told by ``checksum_ok``: what is to be done about it is the caller's decision.

    Raises:
        ConfigurationError: the image ends too early or a category does not hold what it says; the word is named.
    """
    if len(image) < 2 * FIRST_CATEGORY_WORD:
        msg = f"SII word 0x{len(image) // 2:04X}: the image ends after {len(image)} bytes, expected at least 128"
        raise ConfigurationError(msg)
    categories = list(_categories(image))
    strings = next((_parse_strings(c) for c in categories if c.kind == SiiCategory.STRINGS), ())
    words = struct.unpack_from("<7H", image)
    vendor, product, revision, serial = struct.unpack_from("<4I", image, 0x10)
    return Sii(
        identity=IdentitySpec(vendor_id=vendor, product_code=product, revision=revision, serial=serial),
        pdi_control=words[0],
        pdi_config=words[1],
        sync_impulse_10ns=words[2],
        pdi_config2=words[3],
        alias=words[4],
        hardware_delays=struct.unpack_from("<3H", image, 0x20),
        bootstrap=SiiMailbox(*struct.unpack_from("<4H", image, 0x28)),
        mailbox=SiiMailbox(*struct.unpack_from("<4H", image, 0x30)),
        protocols=MailboxProtocol(struct.unpack_from("<H", image, 0x38)[0]),
        size_bytes=(struct.unpack_from("<H", image, 0x7C)[0] + 1) * 128,
        checksum_ok=image[14] == sii_checksum(image),
        strings=strings,
        **_parse_categories(categories, strings),
    )


class _Category(NamedTuple):
    kind: int
    word: int
    """Word address of its data."""
    body: bytes

    def error(self, offset: int, what: str) -> ConfigurationError:
        return ConfigurationError(f"SII word 0x{self.word + offset // 2:04X}: category {self.kind}, {what}")


def _categories(image: bytes) -> Iterator[_Category]:
    at = 2 * FIRST_CATEGORY_WORD
    while True:
        if at + 2 > len(image):
            msg = f"SII word 0x{at // 2:04X}: the image ends without the end mark 0xFFFF; it was cut off"
            raise ConfigurationError(msg)
        kind = int.from_bytes(image[at : at + 2], "little")
        if kind == _END:
            return
        length = 2 * int.from_bytes(image[at + 2 : at + 4], "little")
        if at + 4 + length > len(image):
            msg = (
                f"SII word 0x{at // 2:04X}: category {kind} of {length} bytes runs past the image of {len(image)} bytes"
            )
            raise ConfigurationError(msg)
        yield _Category(kind, at // 2 + 2, image[at + 4 : at + 4 + length])
        at += 4 + length


class _CategoryFields(TypedDict, total=False):
    """The fields of :class:`Sii` that come from categories."""

    general: SiiGeneral
    fmmus: tuple[int, ...]
    sync_managers: tuple[SiiSyncManager, ...]
    tx_pdos: tuple[SiiPdo, ...]
    rx_pdos: tuple[SiiPdo, ...]
    dc_modes: tuple[SiiDcMode, ...]
    other: tuple[tuple[int, bytes], ...]


def _parse_categories(categories: Sequence[_Category], strings: Sequence[str]) -> _CategoryFields:
    found = _CategoryFields()
    other: list[tuple[int, bytes]] = []
    for category in categories:
        match category.kind:
            case SiiCategory.STRINGS:
                pass
            case SiiCategory.GENERAL:
                found["general"] = _parse_general(category, strings)
            case SiiCategory.FMMU:
                # An odd number of FMMUs is filled up with an unused one.
                found["fmmus"] = tuple(category.body.removesuffix(b"\xff"))
            case SiiCategory.SYNC_MANAGER:
                found["sync_managers"] = tuple(SiiSyncManager(*v) for v in _records(category, _SYNC_MANAGER))
            case SiiCategory.TX_PDO:
                found["tx_pdos"] = tuple(_parse_pdos(category, strings))
            case SiiCategory.RX_PDO:
                found["rx_pdos"] = tuple(_parse_pdos(category, strings))
            case SiiCategory.DC:
                found["dc_modes"] = tuple(_parse_dc(category, strings))
            case _:
                other.append((category.kind, category.body))
    if other:
        found["other"] = tuple(other)
    return found


def _parse_strings(category: _Category) -> tuple[str, ...]:
    texts: list[str] = []
    at = 1
    for number in range(category.body[0] if category.body else 0):
        length = category.body[at] if at < len(category.body) else 0
        if at + 1 + length > len(category.body):
            raise category.error(at, f"text {number + 1} runs past the category of {len(category.body)} bytes")
        texts.append(category.body[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return tuple(texts)


def _text(category: _Category, offset: int, index: int, strings: Sequence[str]) -> str:
    if index > len(strings):
        raise category.error(offset, f"text {index} is named and there are {len(strings)}")
    return strings[index - 1] if index else ""


def _parse_general(category: _Category, strings: Sequence[str]) -> SiiGeneral:
    if len(category.body) < _GENERAL.size:
        raise category.error(0, f"{len(category.body)} bytes, expected {_GENERAL.size}")
    values = _GENERAL.unpack_from(category.body)
    texts = [_text(category, offset, values[offset], strings) for offset in range(4)]
    coe, foe, eoe, soe, ds402, sysman, flags, ebus_ma, ports, id_address = values[4:]
    return SiiGeneral(
        group=texts[0],
        image=texts[1],
        order=texts[2],
        name=texts[3],
        coe=CoeDetails(coe),
        foe=foe,
        eoe=eoe,
        soe_channels=soe,
        ds402_channels=ds402,
        sysman_class=sysman,
        flags=GeneralFlags(flags),
        ebus_ma=ebus_ma,
        ports=(ports & 0xF, ports >> 4 & 0xF, ports >> 8 & 0xF, ports >> 12),
        id_address=id_address,
    )


def _records(category: _Category, form: struct.Struct) -> Iterator[tuple[int, ...]]:
    spare = len(category.body) % form.size
    if spare:
        where = len(category.body) - spare
        raise category.error(where, f"{len(category.body)} bytes, expected a multiple of {form.size}")
    yield from form.iter_unpack(category.body)


def _parse_pdos(category: _Category, strings: Sequence[str]) -> Iterator[SiiPdo]:
    at = 0
    while at < len(category.body):
        index, count, manager, dc_sync, name, flags = _unpack(category, _PDO, at)
        entries = tuple(_parse_entry(category, at + 8 * (number + 1), strings) for number in range(count))
        text = _text(category, at, name, strings)
        yield SiiPdo(index, entries, None if manager == 0xFF else manager, text, dc_sync, flags)
        at += 8 * (count + 1)


def _parse_entry(category: _Category, at: int, strings: Sequence[str]) -> SiiEntry:
    index, subindex, name, data_type, bits, flags = _unpack(category, _ENTRY, at)
    return SiiEntry(index, subindex, bits, data_type, _text(category, at, name, strings), flags)


def _parse_dc(category: _Category, strings: Sequence[str]) -> Iterator[SiiDcMode]:
    for number, values in enumerate(_records(category, _DC_MODE)):
        cycle0, shift0, shift1, factor1, assign, factor0, name, description = values
        at = number * _DC_MODE.size
        texts = (_text(category, at + 18, name, strings), _text(category, at + 19, description, strings))
        yield SiiDcMode(texts[0], assign, cycle0, shift0, shift1, factor1, factor0, texts[1])


def _unpack(category: _Category, form: struct.Struct, at: int) -> tuple[int, ...]:
    if at + form.size > len(category.body):
        raise category.error(at, f"a record of {form.size} bytes runs past its {len(category.body)} bytes")
    return form.unpack_from(category.body, at)
