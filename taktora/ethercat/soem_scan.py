"""Reads what stands on a real segment by way of SOEM: SII images, registers, object dictionaries; it drives nothing.

SOEM finds the SubDevices and takes them to PRE-OP; mail is written and read here, register by register, because SOEM's
own list of objects loses entries behind a gap of subindices.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from taktora.errors import ConfigurationError, StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.coe import (
    CoeService,
    Mail,
    MailboxType,
    decode_coe,
    decode_mail,
    encode_mail,
    next_counter,
)
from taktora.ethercat.interface_hold import InterfaceHold
from taktora.ethercat.nic import check_interface, has_link
from taktora.ethercat.pdo import ExpectedIdentity
from taktora.ethercat.scan import FoundDevice
from taktora.ethercat.scan_objects import read_dictionary
from taktora.ethercat.sdo import Dialogue
from taktora.ethercat.sii import CoeDetails, MailboxProtocol, Sii, SiiMailbox, parse_sii
from taktora.ethercat.soem import require_pysoem

__all__ = ["read_segment"]

T = TypeVar("T")

_ESC_TYPE: Final = 0x0004
_FEATURES: Final = 0x0008
_ALIAS: Final = 0x0012
_DL_STATUS: Final = 0x0110
_AL_STATUS: Final = 0x0130
_SM1_STATUS: Final = 0x080D
_MAIL_IS_THERE: Final = 0x08
_HAS_CLOCK: Final = 0x04
_SII_SIZE_WORD: Final = 0x3E
_SII_CATEGORIES: Final = 0x40
_SII_END: Final = 0xFFFF
_SII_MOST_WORDS: Final = 0x10000
_FRAME_TIMEOUT_US: Final = 20_000
_LINK_PATIENCE_S: Final = 3.0
_PRE_OP_PATIENCE_S: Final = 3.0
_MAIL_PATIENCE_S: Final = 1.0
_POLL_S: Final = 0.0005
_HOLD_POLL_S: Final = 0.02
_ATTEMPTS: Final = 3


# req: REQ_8153
def read_segment(
    interface: str, progress: Callable[[str], None] = lambda _: None, *, has_objects: bool = True
) -> tuple[FoundDevice, ...]:
    """Return the SubDevices on a network interface, in bus order; they are left in INIT.

    Nobody else may drive the segment meanwhile, as its devices leave OP: an interface that is driven is refused.

    Args:
        interface: Name of the network interface.
        progress: Told in a line what is read.
        has_objects: Read object dictionaries too; they take most of the time.

    Raises:
        ConfigurationError: pysoem is missing, or this is no Linux.
        StackError: no such interface, no privilege, another process drives it, no link, no answer on the wire, or a
            device falls silent.
    """
    pysoem = require_pysoem()
    place = f"interface {interface!r}"
    check_interface(interface)
    _wait_for_link(interface, place)
    hold = InterfaceHold(interface)
    for _due_ns in hold.take(time.monotonic_ns):
        time.sleep(_HOLD_POLL_S)
    try:
        return _read_held(pysoem, interface, place, progress, has_objects)
    finally:
        hold.release()


def _read_held(
    pysoem: Any, interface: str, place: str, progress: Callable[[str], None], has_objects: bool
) -> tuple[FoundDevice, ...]:
    pysoem.settings.timeouts.ret = pysoem.settings.timeouts.safe = _FRAME_TIMEOUT_US
    master = pysoem.Master()
    try:
        master.open(interface)
    except ConnectionError as error:
        raise StackError(f"{place}: SOEM cannot open it, though the system would; has it gone?") from error
    try:
        if master.config_init(release_gil=True) <= 0:
            raise text.no_answer(place)
        devices = [_Device(pysoem, slave, position) for position, slave in enumerate(master.slaves)]
        return tuple(device.read(progress, has_objects) for device in devices)
    finally:
        if master.slaves:
            master.state = pysoem.INIT_STATE
            master.write_state()
        master.close()


def _identity_text(sii: Sii) -> str:
    who = sii.identity
    return text.identity_text(ExpectedIdentity(who.vendor_id, who.product_code, who.revision, who.serial))


def _wait_for_link(interface: str, place: str) -> None:
    give_up_s = time.monotonic() + _LINK_PATIENCE_S
    while not has_link(interface):
        if time.monotonic() >= give_up_s:
            raise StackError(f"{place}: no link; check the cable and the power of the first SubDevice")
        time.sleep(0.01)


class _Device:
    """One SubDevice: registers, EEPROM and mailbox."""

    def __init__(self, pysoem: Any, slave: Any, position: int) -> None:
        self._wkc_error = pysoem.WkcError
        self._slave = slave
        self._position = position
        self._name = f"the SubDevice at position {position}"

    def read(self, progress: Callable[[str], None], has_objects: bool) -> FoundDevice:
        image = self._read_sii()
        sii = self._parsed(image)
        progress(f"position {self._position}: {_identity_text(sii)}, {len(image)} bytes of SII")
        esc = self.register(_ESC_TYPE, 3)
        dictionary = None
        if has_objects and MailboxProtocol.COE in sii.protocols:
            self._wait_for_pre_op()
            coe = sii.general.coe if sii.general is not None else CoeDetails(0)
            dictionary = read_dictionary(_Mailbox(self, sii.mailbox, self._name).run, coe)
            progress(f"position {self._position}: {len(dictionary.objects)} objects")
        return FoundDevice(
            position=self._position,
            sii=image,
            ports=self._ports(),
            has_clock=bool(self.register(_FEATURES, 1)[0] & _HAS_CLOCK),
            alias=int.from_bytes(self.register(_ALIAS, 2), "little"),
            esc=(esc[0], esc[1], esc[2]),
            dictionary=dictionary,
        )

    def register(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes; repeated where a frame got lost. Raises ``StackError`` without an answer."""
        for _attempt in range(_ATTEMPTS):
            data = self.try_register(address, size)
            if data is not None:
                return data
        raise StackError(f"{self._name} does not answer a read of register {address:#06x}")

    def try_register(self, address: int, size: int) -> bytes | None:
        try:
            data: bytes = self._slave._fprd(address, size, _FRAME_TIMEOUT_US)  # noqa: SLF001 - its only name
        except self._wkc_error:
            return None
        return data

    def try_write(self, address: int, data: bytes) -> bool:
        try:
            self._slave._fpwr(address, data, _FRAME_TIMEOUT_US)  # noqa: SLF001 - its only name
        except self._wkc_error:
            return False
        return True

    def _ports(self) -> tuple[int, ...]:
        status = int.from_bytes(self.register(_DL_STATUS, 2), "little")
        return tuple(port for port in range(4) if status >> (9 + 2 * port) & 1)

    def _wait_for_pre_op(self) -> None:
        give_up_s = time.monotonic() + _PRE_OP_PATIENCE_S
        while (status := self.register(_AL_STATUS, 6))[0] & 0x0F != 2:
            if time.monotonic() >= give_up_s:
                code = int.from_bytes(status[4:], "little")
                raise StackError(
                    f"{self._name} does not reach PRE-OP within {_PRE_OP_PATIENCE_S:g} s: AL status "
                    f"0x{status[0]:02X}, code 0x{code:04X}; its mailbox cannot be read"
                )
            time.sleep(_POLL_S)

    def _read_sii(self) -> bytes:
        """Read the EEPROM as far as its end mark; the rest of its size is filled up with 0xFF."""
        image = bytearray()
        end = _SII_CATEGORIES
        while end < _SII_MOST_WORDS:
            while len(image) < 2 * end + 4:
                image += self._slave.eeprom_read(len(image) // 2)
            kind, words = image[2 * end : 2 * end + 2], image[2 * end + 2 : 2 * end + 4]
            if int.from_bytes(kind, "little") == _SII_END or not any(kind + words):  # zeros: never programmed
                break
            end += 2 + int.from_bytes(words, "little")
        used = bytes(image[: 2 * end])
        size = (int.from_bytes(used[2 * _SII_SIZE_WORD : 2 * _SII_SIZE_WORD + 2], "little") + 1) * 128
        return used.ljust(size, b"\xff")

    def _parsed(self, image: bytes) -> Sii:
        try:
            return parse_sii(image)
        except ConfigurationError as error:
            raise StackError(f"{self._name}: {error}; its EEPROM is damaged or was read badly") from error


class _Mailbox:
    """The MainDevice's end of a mailbox, by plain register accesses."""

    def __init__(self, device: _Device, place: SiiMailbox, name: str) -> None:
        self._device = device
        self._place = place
        self._name = name
        self._counter = 0

    def run(self, dialogue: Dialogue[T]) -> T:
        """Carry out a dialogue. Raises ``StackError`` without an answer, and what the dialogue raises."""
        while self._fetch() is not None:
            pass  # what still lies there is no answer to this
        outgoing = next(dialogue)
        while True:
            if outgoing is not None:
                self._send(outgoing)
            answer = self._receive()
            try:
                outgoing = dialogue.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result

    def _send(self, data: bytes) -> None:
        self._counter = next_counter(self._counter)
        mail = encode_mail(Mail(MailboxType.COE, data, self._counter)).ljust(self._place.out_bytes, b"\0")
        give_up_s = time.monotonic() + _MAIL_PATIENCE_S
        while not self._device.try_write(self._place.out_address, mail):
            if time.monotonic() >= give_up_s:
                raise StackError(f"{self._name} takes no mail within {_MAIL_PATIENCE_S:g} s")
            time.sleep(_POLL_S)

    def _receive(self) -> bytes:
        """Return the next CoE mail that is no emergency."""
        give_up_s = time.monotonic() + _MAIL_PATIENCE_S
        while True:
            found = self._fetch()
            if found is not None:
                data = self._coe_of(decode_mail(found))
                if data is not None:
                    return data
            elif time.monotonic() >= give_up_s:
                raise StackError(f"{self._name}: no answer in its mailbox within {_MAIL_PATIENCE_S:g} s")
            else:
                time.sleep(_POLL_S)

    def _fetch(self) -> bytes | None:
        """Return the mail that lies in the mailbox, None when it is empty."""
        status = self._device.try_register(_SM1_STATUS, 1)
        if status is None or not status[0] & _MAIL_IS_THERE:
            return None
        return self._device.try_register(self._place.in_address, self._place.in_bytes)

    def _coe_of(self, mail: Mail) -> bytes | None:
        if mail.type == MailboxType.ERROR:
            detail = int.from_bytes(mail.data[2:4], "little")
            raise StackError(f"{self._name}: refused by its mailbox (error mail, detail {detail})")
        if mail.type != MailboxType.COE or decode_coe(mail.data)[0] == CoeService.EMERGENCY:
            return None
        return mail.data
