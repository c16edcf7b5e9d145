"""The CoE server of a simulated device: SDO transfers and SDO information on an object dictionary; no mailbox header.

Modelled: upload and download, expedited, normal and segmented, complete access from subindex 0 or 1, abort codes for
what does not exist, does not fit or is not allowed in the AL state, lists, objects and entries of SDO information in
fragments. Simplified: one transfer at a time, no block transfer, no default, unit and limits in entry descriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from taktora.ethercat.coe import (
    COE_HEADER_BYTES,
    HEADER_BYTES,
    Abort,
    CoeService,
    InfoOpcode,
    coe_frame,
    info_error,
    info_frame,
    sdo_abort,
    sdo_frame,
)
from taktora.ethercat.dictionary import Access, DictionaryObject, ObjectCode, ObjectDictionary, ObjectEntry
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import MailboxSpec

__all__ = ["ObjectOwner", "SdoServer"]

_COMPLETE: Final = 0x10
_TOGGLE: Final = 0x10
_EXPEDITED: Final = 0x02
_LARGEST_OBJECT_BYTES: Final = 1 << 20
_INFO_HEAD_BYTES: Final = HEADER_BYTES + COE_HEADER_BYTES + 4


class ObjectOwner(Protocol):
    """The device whose objects are served."""

    def refresh(self, index: int, subindex: int) -> None:
        """Bring the value of an entry up to date, before it is read."""
        ...

    def check(self, index: int, values: dict[int, bytes], *, complete: bool) -> int:
        """Return 0 to accept new values by subindex, else the abort code."""
        ...

    def written(self, index: int, subindices: tuple[int, ...]) -> None:
        """Take note of values that were written."""
        ...


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(slots=True)
class _Transfer:
    """A segmented transfer under way; ``data`` is what is left of an upload, or what has come of a download."""

    index: int
    subindex: int
    complete: bool
    is_upload: bool
    data: bytes
    size: int = 0
    toggle: int = 0


# req: REQ_8104
class SdoServer:
    """Answers SDO requests and SDO information.

    Args:
        dictionary: What is served.
        owner: The device, told of reads and writes.
        mailbox: Sizes, and what the server can do.
        state: The AL state now.
    """

    def __init__(
        self, dictionary: ObjectDictionary, owner: ObjectOwner, mailbox: MailboxSpec, state: Callable[[], AlState]
    ) -> None:
        self._dictionary = dictionary
        self._owner = owner
        self._mailbox = mailbox
        self._state = state
        self._transfer: _Transfer | None = None
        self.aborting: Callable[[int, int], int] = lambda _index, _subindex: 0
        """Asked before each transfer; an abort code refuses it (a fault)."""
        self.flips_toggle: Callable[[], bool] = lambda: False
        """Asked at each segment; True answers with the wrong toggle bit (a fault)."""

    def reset(self) -> None:
        """Forget a transfer under way."""
        self._transfer = None

    def request(self, body: bytes) -> bytes | None:
        """Return the answer to an SDO request, as data of a CoE mail; None: no answer is due."""
        if len(body) < 8:
            return sdo_abort(0, 0, Abort.COMMAND)
        command, index, subindex = body[0], int.from_bytes(body[1:3], "little"), body[3]
        specifier = command >> 5
        if specifier in (0, 3):
            return self._segment(command, body)
        self._transfer = None
        if specifier == 4:
            return None
        try:
            if code := self.aborting(index, subindex):
                raise _Refused(code)
            if specifier == 2:
                return self._upload(index, subindex, bool(command & _COMPLETE))
            if specifier == 1:
                return self._download(command, index, subindex, body)
            raise _Refused(Abort.COMMAND)
        except _Refused as refusal:
            return sdo_abort(index, subindex, refusal.code)

    # --- upload -------------------------------------------------------------------------------------------------

    def _upload(self, index: int, subindex: int, complete: bool) -> bytes:
        data = self._read_all(index, subindex) if complete else self._read(index, subindex)
        mark = 0x40 | (_COMPLETE if complete else 0)
        if 0 < len(data) <= 4:
            command = mark | 0x03 | (4 - len(data)) << 2
            return sdo_frame(CoeService.SDO_RESPONSE, command, index, subindex, data.ljust(4, b"\0"))
        room = self._mailbox.in_bytes - HEADER_BYTES - COE_HEADER_BYTES - 8
        if len(data) > room:
            self._transfer = _Transfer(index, subindex, complete, True, data[room:])
        size = len(data).to_bytes(4, "little")
        return sdo_frame(CoeService.SDO_RESPONSE, mark | 0x01, index, subindex, size + data[:room])

    def _read(self, index: int, subindex: int) -> bytes:
        entry = self._entry(index, subindex)
        if not entry.access.can_read(self._state()):
            raise _Refused(Abort.STATE if entry.access & Access(7) else Abort.WRITE_ONLY)
        self._owner.refresh(index, subindex)
        return entry.value

    def _read_all(self, index: int, first: int) -> bytes:
        """Return an object as complete access packs it: subindex 0 takes two bytes, the rest bit by bit."""
        found = self._complete(index, first)
        packed = length = 0
        if first == 0:
            packed, length = found.count, 16
        for subindex in range(1, found.count + 1):
            entry = found.entries.get(subindex)
            if entry is not None:
                self._owner.refresh(index, subindex)
                if entry.access.can_read(self._state()):
                    packed |= (int.from_bytes(entry.value, "little") & (1 << entry.bits) - 1) << length
                length += entry.bits
        return packed.to_bytes((length + 7) // 8, "little")

    # --- download -----------------------------------------------------------------------------------------------

    def _download(self, command: int, index: int, subindex: int, body: bytes) -> bytes:
        complete = bool(command & _COMPLETE)
        if command & _EXPEDITED:
            size = 4 - (command >> 2 & 3) if command & 0x01 else min(4, self._entry(index, subindex).byte_length)
            data = body[4 : 4 + size]
        else:
            size = int.from_bytes(body[4:8], "little")
            data = body[8 : 8 + size]
        if size > _LARGEST_OBJECT_BYTES:
            raise _Refused(Abort.TOO_LONG)
        if len(data) < size:
            if not complete:
                self._check_writable(self._entry(index, subindex))
            self._transfer = _Transfer(index, subindex, complete, False, data, size)
        else:
            self._write(index, subindex, data, complete)
        return sdo_frame(CoeService.SDO_RESPONSE, 0x60 | (_COMPLETE if complete else 0), index, subindex)

    def _write(self, index: int, subindex: int, data: bytes, complete: bool) -> None:
        values = self._unpack(index, subindex, data) if complete else {subindex: data}
        found = self._dictionary.objects[index] if complete else None
        for number, value in values.items():
            entry = found.entries[number] if found is not None else self._entry(index, number)
            self._check_writable(entry)
            _check_value(entry, value)
        if code := self._owner.check(index, values, complete=complete):
            raise _Refused(code)
        for number, value in values.items():
            self._dictionary.objects[index].entries[number].value = value
        self._owner.written(index, tuple(values))

    def _unpack(self, index: int, first: int, data: bytes) -> dict[int, bytes]:
        """Return the writable entries of an object in the data of a complete access."""
        found = self._complete(index, first)
        values: dict[int, bytes] = {}
        count, packed, left = found.count, int.from_bytes(data, "little"), 8 * len(data)
        if first == 0:
            if left < 16:
                raise _Refused(Abort.TOO_SHORT)
            if found.entries[0].is_writable:
                count, values[0] = data[0], data[:1]
            packed, left = packed >> 16, left - 16
        for subindex in range(1, count + 1):
            entry = found.entries.get(subindex)
            if entry is None:
                raise _Refused(Abort.NO_SUBINDEX)
            if entry.bits > left:
                raise _Refused(Abort.TOO_SHORT)
            if entry.is_writable:
                values[subindex] = (packed & (1 << entry.bits) - 1).to_bytes(entry.byte_length, "little")
            packed, left = packed >> entry.bits, left - entry.bits
        if left >= 8:
            raise _Refused(Abort.TOO_LONG)
        if not values:
            raise _Refused(Abort.READ_ONLY)
        return values

    # --- segments -----------------------------------------------------------------------------------------------

    def _segment(self, command: int, body: bytes) -> bytes:
        transfer = self._transfer
        is_upload = command >> 5 == 3
        if transfer is None or transfer.is_upload is not is_upload:
            self._transfer = None
            return sdo_abort(0, 0, Abort.COMMAND)
        try:
            if command & _TOGGLE != transfer.toggle:
                raise _Refused(Abort.TOGGLE)
            answer = self._upload_segment(transfer) if is_upload else self._download_segment(transfer, command, body)
        except _Refused as refusal:
            self._transfer = None
            return sdo_abort(transfer.index, transfer.subindex, refusal.code)
        transfer.toggle ^= _TOGGLE
        return answer

    def _upload_segment(self, transfer: _Transfer) -> bytes:
        room = self._mailbox.in_bytes - HEADER_BYTES - COE_HEADER_BYTES - 1
        part, transfer.data = transfer.data[:room], transfer.data[room:]
        short = max(0, 7 - len(part))
        command = self._shown_toggle(transfer) | short << 1 | (0 if transfer.data else 1)
        if not transfer.data:
            self._transfer = None
        return coe_frame(CoeService.SDO_RESPONSE, bytes((command,)) + part + bytes(short))

    def _download_segment(self, transfer: _Transfer, command: int, body: bytes) -> bytes:
        part = body[1:] if len(body) > 8 else body[1 : 8 - (command >> 1 & 7)]
        transfer.data += part
        if len(transfer.data) > transfer.size:
            raise _Refused(Abort.TOO_LONG)
        if command & 0x01:
            if len(transfer.data) != transfer.size:
                raise _Refused(Abort.LENGTH)
            self._write(transfer.index, transfer.subindex, transfer.data, transfer.complete)
            self._transfer = None
        return coe_frame(CoeService.SDO_RESPONSE, bytes((0x20 | self._shown_toggle(transfer),)) + bytes(7))

    def _shown_toggle(self, transfer: _Transfer) -> int:
        return transfer.toggle ^ _TOGGLE if self.flips_toggle() else transfer.toggle

    # --- what is there, and what may be done with it ------------------------------------------------------------

    def _entry(self, index: int, subindex: int) -> ObjectEntry:
        if index not in self._dictionary:
            raise _Refused(Abort.NO_OBJECT)
        entry = self._dictionary.get(index, subindex)
        if entry is None:
            raise _Refused(Abort.NO_SUBINDEX)
        return entry

    def _complete(self, index: int, first: int) -> DictionaryObject:
        if index not in self._dictionary:
            raise _Refused(Abort.NO_OBJECT)
        found = self._dictionary.objects[index]
        if not self._mailbox.complete_access or found.code is ObjectCode.VAR:
            raise _Refused(Abort.NO_COMPLETE_ACCESS)
        if first > 1:
            raise _Refused(Abort.UNSUPPORTED)
        return found

    def _check_writable(self, entry: ObjectEntry) -> None:
        if not entry.access.can_write(self._state()):
            raise _Refused(Abort.STATE if entry.is_writable else Abort.READ_ONLY)

    # --- SDO information ----------------------------------------------------------------------------------------

    def information(self, body: bytes) -> list[bytes]:
        """Return the answers to an SDO information request, as data of CoE mails: its fragments, or one error."""
        if len(body) < 4:
            return [info_error(Abort.COMMAND)]
        opcode, data = body[0] & 0x7F, body[4:]
        try:
            match opcode:
                case InfoOpcode.LIST_REQUEST:
                    answer = self._list(_u16(data, 0))
                case InfoOpcode.OBJECT_REQUEST:
                    answer = self._describe_object(_u16(data, 0))
                case InfoOpcode.ENTRY_REQUEST:
                    answer = self._describe_entry(_u16(data, 0), _u16(data, 2) & 0xFF)
                case _:
                    raise _Refused(Abort.COMMAND)
        except _Refused as refusal:
            return [info_error(refusal.code)]
        return list(self._fragments(opcode + 1, answer))

    def _fragments(self, opcode: int, answer: bytes) -> Iterator[bytes]:
        room = (self._mailbox.in_bytes - _INFO_HEAD_BYTES) & ~1
        parts = [answer[start : start + room] for start in range(0, len(answer), room)]
        for number, part in enumerate(parts, 1):
            yield info_frame(opcode, part, len(parts) - number)

    def _list(self, kind: int) -> bytes:
        lists = [self._indices(number) for number in range(1, 6)]
        if not 0 <= kind <= 5:
            raise _Refused(Abort.RANGE)
        numbers = [len(indices) for indices in lists] if kind == 0 else lists[kind - 1]
        return b"".join(number.to_bytes(2, "little") for number in (kind, *numbers))

    def _indices(self, kind: int) -> list[int]:
        wanted = (None, Access.RX_MAPPABLE, Access.TX_MAPPABLE, Access.BACKUP, Access.SETTINGS)[kind - 1]
        return [
            found.index
            for found in self._dictionary
            if wanted is None or any(entry.access & wanted for entry in found.entries.values())
        ]

    def _describe_object(self, index: int) -> bytes:
        if index not in self._dictionary:
            raise _Refused(Abort.NO_OBJECT)
        found = self._dictionary.objects[index]
        head = bytes((found.max_subindex, found.code))
        return index.to_bytes(2, "little") + found.data_type.to_bytes(2, "little") + head + _latin(found.name)

    def _describe_entry(self, index: int, subindex: int) -> bytes:
        entry = self._entry(index, subindex)
        numbers = (int(entry.data_type), min(entry.bits, 0xFFFF), int(entry.access))
        head = index.to_bytes(2, "little") + bytes((subindex, 0))
        return head + b"".join(number.to_bytes(2, "little") for number in numbers) + _latin(entry.name)


def _check_value(entry: ObjectEntry, value: bytes) -> None:
    if entry.has_variable_length:
        if len(value) > max(entry.byte_length, len(entry.value)):
            raise _Refused(Abort.TOO_LONG)
        return
    if len(value) != entry.byte_length:
        raise _Refused(Abort.TOO_LONG if len(value) > entry.byte_length else Abort.TOO_SHORT)
    probe = ObjectEntry(entry.name, entry.data_type, entry.bits, entry.access, value)
    if entry.high is not None and probe.number > entry.high:
        raise _Refused(Abort.TOO_HIGH)
    if entry.low is not None and probe.number < entry.low:
        raise _Refused(Abort.TOO_LOW)


def _u16(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        raise _Refused(Abort.COMMAND)
    return int.from_bytes(data[at : at + 2], "little")


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")
