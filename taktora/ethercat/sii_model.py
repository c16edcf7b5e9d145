"""What the SII image in a SubDevice's EEPROM says (ETG.1000.6, ETG.2010), as records; it knows no bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from taktora.ethercat.network import IdentitySpec

__all__ = [
    "NO_IDENTITY",
    "NO_MAILBOX",
    "NO_PROTOCOL",
    "CoeDetails",
    "GeneralFlags",
    "MailboxProtocol",
    "Sii",
    "SiiCategory",
    "SiiDcMode",
    "SiiEntry",
    "SiiGeneral",
    "SiiMailbox",
    "SiiPdo",
    "SiiSyncManager",
    "SmType",
]


class SiiCategory(IntEnum):
    """Category types known here."""

    STRINGS = 10
    GENERAL = 30
    FMMU = 40
    SYNC_MANAGER = 41
    TX_PDO = 50
    RX_PDO = 51
    DC = 60


class MailboxProtocol(IntFlag):
    """Word 0x1C: the mailbox protocols that the device speaks."""

    AOE = 1
    EOE = 2
    COE = 4
    FOE = 8
    SOE = 0x10
    VOE = 0x20


class CoeDetails(IntFlag):
    """General category, byte 5: what the device's CoE can do."""

    SDO = 1
    SDO_INFO = 2
    PDO_ASSIGN = 4
    PDO_CONFIG = 8
    UPLOAD_AT_START = 0x10
    COMPLETE_ACCESS = 0x20


class GeneralFlags(IntFlag):
    """General category, byte 11."""

    SAFE_OP = 1
    NO_LRW = 2
    MAILBOX_DLL = 4
    ID_BY_AL_STATUS = 8
    ID_BY_MEMORY = 0x10


class SmType(IntEnum):
    """What a SyncManager is for, as SII and object 0x1C00 number it."""

    UNUSED = 0
    MAILBOX_OUT = 1
    MAILBOX_IN = 2
    OUTPUTS = 3
    INPUTS = 4


class SiiMailbox(NamedTuple):
    """Addresses and lengths in bytes; ``out`` is written by the MainDevice (the SII calls it receive mailbox)."""

    out_address: int = 0
    out_bytes: int = 0
    in_address: int = 0
    in_bytes: int = 0


class SiiGeneral(NamedTuple):
    """General category.

    ``ebus_ma`` is the E-bus current in mA (negative: supplied); ``ports`` are 0 none, 1 MII, 3 E-bus.
    """

    group: str = ""
    image: str = ""
    order: str = ""
    name: str = ""
    coe: CoeDetails = CoeDetails(0)
    foe: int = 0
    eoe: int = 0
    soe_channels: int = 0
    ds402_channels: int = 0
    sysman_class: int = 0
    flags: GeneralFlags = GeneralFlags(0)
    ebus_ma: int = 0
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    id_address: int = 0


class SiiSyncManager(NamedTuple):
    """One SyncManager: physical start address, length in bytes, control byte, activate bits and purpose."""

    start: int
    length: int
    control: int
    status: int = 0
    activate: int = 1
    type: int = SmType.UNUSED


@dataclass(frozen=True, slots=True)
class SiiEntry:
    """One mapping entry of a PDO; ``index`` 0 is padding."""

    index: int
    subindex: int
    bits: int
    data_type: int = 0
    name: str = ""
    flags: int = 0


@dataclass(frozen=True, slots=True)
class SiiPdo:
    """One PDO; ``sync_manager`` None: not assigned by default."""

    index: int
    entries: tuple[SiiEntry, ...] = ()
    sync_manager: int | None = None
    name: str = ""
    dc_sync: int = 0
    flags: int = 0

    @property
    def bits(self) -> int:
        return sum(entry.bits for entry in self.entries)


class SiiDcMode(NamedTuple):
    """One operation mode of distributed clocks; times in ns, ``assign_activate`` for registers 0x0980 and 0x0981."""

    name: str = ""
    assign_activate: int = 0
    sync0_cycle_ns: int = 0
    sync0_shift_ns: int = 0
    sync1_shift_ns: int = 0
    sync1_factor: int = 0
    sync0_factor: int = 0
    description: str = ""


NO_IDENTITY: Final = IdentitySpec(vendor_id=0, product_code=0)
NO_MAILBOX: Final = SiiMailbox()
NO_PROTOCOL: Final = MailboxProtocol(0)


# req: REQ_8103
@dataclass(frozen=True, slots=True, kw_only=True)
class Sii:
    """What an SII image says; equal contents give equal images.

    ``other`` holds categories not known here as (type, bytes). ``strings`` is the string table in its order; texts that
    other fields name are added to it when the image is encoded. ``size_bytes`` 0 means as large as needed.
    """

    identity: IdentitySpec = NO_IDENTITY
    alias: int = 0
    pdi_control: int = 0
    pdi_config: int = 0
    sync_impulse_10ns: int = 0
    pdi_config2: int = 0
    hardware_delays: tuple[int, int, int] = (0, 0, 0)
    bootstrap: SiiMailbox = NO_MAILBOX
    mailbox: SiiMailbox = NO_MAILBOX
    protocols: MailboxProtocol = NO_PROTOCOL
    general: SiiGeneral | None = None
    fmmus: tuple[int, ...] = ()
    sync_managers: tuple[SiiSyncManager, ...] = ()
    tx_pdos: tuple[SiiPdo, ...] = ()
    rx_pdos: tuple[SiiPdo, ...] = ()
    dc_modes: tuple[SiiDcMode, ...] = ()
    other: tuple[tuple[int, bytes], ...] = ()
    strings: tuple[str, ...] = field(default=(), compare=False)
    size_bytes: int = field(default=0, compare=False)
    checksum_ok: bool = field(default=True, compare=False)
    """Whether word 7 of a parsed image fits words 0 to 6."""

    @property
    def has_device_emulation(self) -> bool:
        """The ESC answers AL control itself: a simple terminal without a controller (register 0x0141 bit 0)."""
        return bool(self.pdi_control & 0x0100)
