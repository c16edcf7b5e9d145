"""One SubDevice as the simulated MainDevice has found it, and what its SII says about SyncManagers and sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taktora.errors import StackError
from taktora.ethercat.coe import MailboxProtocolError, SdoAbort
from taktora.ethercat.driver import Steps
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap
from taktora.ethercat.sdo import upload
from taktora.ethercat.sii import CoeDetails, MailboxProtocol, Sii, SiiPdo, SiiSyncManager, SmType
from taktora.ethercat.startup import RX_PDO_ASSIGN, TX_PDO_ASSIGN
from taktora_sim.ethercat.mailbox_client import MailboxClient

__all__ = ["ProcessManager", "Station", "mailbox_managers", "matches", "process_managers"]

_OUTPUT_CONTROL: Final = 0x26
_INPUT_CONTROL: Final = 0x22


@dataclass(slots=True, eq=False)
class Station:
    """One SubDevice on the bus.

    Args:
        position: Its position.
        address: Its configured station address.
        sub: What it is by the plan; None when the plan does not know it.
    """

    position: int
    address: int
    sub: SubDeviceMap | None
    identity: ExpectedIdentity | None = field(default=None, init=False)
    sii: Sii = field(default_factory=Sii, init=False)
    mailbox: MailboxClient | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return str(self.sub) if self.sub is not None else f"the SubDevice at position {self.position}"

    @property
    def has_coe(self) -> bool:
        return MailboxProtocol.COE in self.sii.protocols and self.sii.mailbox.out_bytes > 0

    @property
    def coe(self) -> CoeDetails:
        return self.sii.general.coe if self.sii.general is not None else CoeDetails(0)

    def mapped_bits(self, outputs: bool) -> Steps[int | None]:
        """Return how many bits of process data the device maps, by dictionary or SII; None if it says nothing."""
        if self.mailbox is not None:
            try:
                return (yield from self._assigned_bits(RX_PDO_ASSIGN if outputs else TX_PDO_ASSIGN))
            except (SdoAbort, MailboxProtocolError):
                pass  # no such object: what the SII says holds
        pdos = self.sii.rx_pdos if outputs else self.sii.tx_pdos
        if not pdos:
            return None
        return sum(pdo.bits for pdo in pdos if pdo.sync_manager is not None)

    def _assigned_bits(self, index: int) -> Steps[int]:
        bits = 0
        for pdo in (yield from self._array(index, 2)):
            for entry in (yield from self._array(pdo, 4)):
                bits += entry & 0xFF
        return bits

    def _array(self, index: int, size: int) -> Steps[list[int]]:
        """Read an object whose subindex 0 counts elements of ``size`` bytes."""
        assert self.mailbox is not None
        if CoeDetails.COMPLETE_ACCESS in self.coe:
            data = yield from self.mailbox.run(upload(index, 0, complete=True))
            count = data[0] if data else 0
            parts = [data[2 + size * number : 2 + size * (number + 1)] for number in range(count)]
        else:
            head = yield from self.mailbox.run(upload(index, 0))
            parts = []
            for subindex in range(1, (head[0] if head else 0) + 1):
                parts.append((yield from self.mailbox.run(upload(index, subindex))))
        return [int.from_bytes(part, "little") for part in parts]


class ProcessManager(NamedTuple):
    """One SyncManager for process data: its number, where it begins, its control byte and how many bits it has."""

    number: int
    start: int
    control: int
    bits: int

    def encode(self) -> bytes:
        """Return the eight bytes of its registers, enabled unless it is empty."""
        length = (self.bits + 7) // 8
        head = self.start.to_bytes(2, "little") + length.to_bytes(2, "little")
        return head + bytes((self.control, 0, 1 if length else 0, 0))


def process_managers(station: Station, bits: int, outputs: bool) -> list[ProcessManager]:
    """Return the SyncManagers of one direction; where there are several, the SII's PDOs say what goes where.

    Raises:
        StackError: process data, and no SyncManager for them in the SII.
    """
    kind = SmType.OUTPUTS if outputs else SmType.INPUTS
    managers = [(number, each) for number, each in enumerate(station.sii.sync_managers) if each.type == kind]
    if not managers and bits:
        raise StackError(
            f"{station.name}: its SII has no SyncManager for its {'outputs' if outputs else 'inputs'}; "
            "correct the SII or the device's pdos in the machine file"
        )
    pdos = station.sii.rx_pdos if outputs else station.sii.tx_pdos
    found, left = [], bits
    for number, manager in managers:
        is_last = number == managers[-1][0]
        own = left if is_last else min(left, _bits_of(pdos, number))
        found.append(ProcessManager(number, manager.start, manager.control, own))
        left -= own
    return found


def _bits_of(pdos: Iterable[SiiPdo], manager: int) -> int:
    return sum(pdo.bits for pdo in pdos if pdo.sync_manager == manager)


def mailbox_managers(sii: Sii) -> bytes:
    """Return the 16 bytes of SyncManagers 0 and 1 for the standard mailbox."""
    box = sii.mailbox
    first = _control(sii.sync_managers, SmType.MAILBOX_OUT, _OUTPUT_CONTROL)
    second = _control(sii.sync_managers, SmType.MAILBOX_IN, _INPUT_CONTROL)
    return b"".join(
        start.to_bytes(2, "little") + length.to_bytes(2, "little") + bytes((control, 0, 1, 0))
        for start, length, control in (
            (box.out_address, box.out_bytes, first),
            (box.in_address, box.in_bytes, second),
        )
    )


def _control(managers: Iterable[SiiSyncManager], kind: SmType, default: int) -> int:
    return next((each.control for each in managers if each.type == kind), default)


def matches(expected: ExpectedIdentity, found: ExpectedIdentity) -> bool:
    """Return whether a device is the one expected; revision or serial 0 means any."""
    return (
        (expected.vendor_id, expected.product_code) == (found.vendor_id, found.product_code)
        and expected.revision in (0, found.revision)
        and expected.serial in (0, found.serial)
    )
