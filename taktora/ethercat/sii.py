"""The SII image of a SubDevice, built from its description in the machine file or read from a file; no device is asked.

Records are in :mod:`taktora.ethercat.sii_model`, bytes in :mod:`taktora.ethercat.sii_codec`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from taktora.errors import ConfigurationError
from taktora.ethercat.mapping import MappedPdo, map_pdos
from taktora.ethercat.network import DeviceSpec, MailboxSpec
from taktora.ethercat.sii_codec import encode_sii, parse_sii, sii_checksum
from taktora.ethercat.sii_model import (
    NO_IDENTITY,
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
)

__all__ = [
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
    "build_sii",
    "describe_sii",
    "encode_sii",
    "parse_sii",
    "read_sii",
    "sii_checksum",
]


def build_sii(spec: DeviceSpec, *, size_bytes: int = 0) -> bytes:
    """Return the SII image of the device that ``spec`` describes; see :func:`describe_sii`.

    Args:
        spec: The SubDevice of the machine file.
        size_bytes: Size of the EEPROM, a multiple of 128; 0: the smallest power of two from 2048 that holds it.

    Raises:
        ConfigurationError: the description does not fit an SII image.
    """
    try:
        return encode_sii(replace(describe_sii(spec), size_bytes=size_bytes))
    except ConfigurationError as error:
        raise ConfigurationError(f"device {spec.label!r}: {error}") from error


def describe_sii(spec: DeviceSpec) -> Sii:
    """Return what the SII of the device ``spec`` describes says.

    Taken from ``spec.options``: ``device_emulation`` (default: a device without mailbox and without DC has it),
    ``no_lrw`` (general flags bit 1), ``ebus_ma``. A simple device has its outputs at SyncManager 0, as
    terminals without a mailbox have.
    """
    options = spec.options
    emulated = bool(options.get("device_emulation", spec.mailbox is None and not spec.distributed_clock))
    has_mailbox = spec.mailbox is not None
    managers = _sync_managers(spec)
    name = spec.order or spec.label
    return Sii(
        identity=spec.identity or NO_IDENTITY,
        alias=spec.station_alias or 0,
        pdi_control=0x0104 if emulated else 0x0005,
        mailbox=_mailbox(spec.mailbox),
        protocols=MailboxProtocol.COE if has_mailbox else MailboxProtocol(0),
        general=SiiGeneral(
            order=name,
            name=name,
            coe=_coe_details(spec.mailbox),
            flags=GeneralFlags.NO_LRW if options.get("no_lrw") else GeneralFlags(0),
            ebus_ma=int(options.get("ebus_ma", 0)),
            ports=(1, 3, 0, 0) if spec.profile == "coupler" else (3, 3, 0, 0),
        ),
        fmmus=_fmmus(spec),
        sync_managers=managers,
        tx_pdos=_pdos(map_pdos(spec.pdos.tx, "tx"), _manager_of(managers, SmType.INPUTS)),
        rx_pdos=_pdos(map_pdos(spec.pdos.rx, "rx"), _manager_of(managers, SmType.OUTPUTS)),
        dc_modes=(SiiDcMode("FreeRun"), SiiDcMode("DcSync0", 0x0300)) if spec.distributed_clock else (),
        strings=(name,),  # MainDevices take the first string for the name
    )


def _mailbox(spec: MailboxSpec | None) -> SiiMailbox:
    if spec is None:
        return SiiMailbox()
    return SiiMailbox(spec.out_address, spec.out_bytes, spec.in_address, spec.in_bytes)


def _coe_details(spec: MailboxSpec | None) -> CoeDetails:
    if spec is None:
        return CoeDetails(0)
    chosen = (
        (CoeDetails.SDO_INFO, spec.sdo_info),
        (CoeDetails.PDO_ASSIGN, spec.pdo_assign),
        (CoeDetails.PDO_CONFIG, spec.pdo_config),
        (CoeDetails.COMPLETE_ACCESS, spec.complete_access),
    )
    details = CoeDetails.SDO
    for detail, is_set in chosen:
        details |= detail if is_set else CoeDetails(0)
    return details


def _fmmus(spec: DeviceSpec) -> tuple[int, ...]:
    outputs = (1,) if spec.pdos.rx or spec.mailbox else ()
    inputs = (2,) if spec.pdos.tx or spec.mailbox else ()
    return (*outputs, *inputs, *((3,) if spec.mailbox else ()))


def _sync_managers(spec: DeviceSpec) -> tuple[SiiSyncManager, ...]:
    """Return the SyncManagers: mailboxes first, then three buffers of room for outputs, then inputs."""
    box = spec.mailbox
    output_bytes = _image_bytes(map_pdos(spec.pdos.rx, "rx"))
    input_bytes = _image_bytes(map_pdos(spec.pdos.tx, "tx"))
    watched = 0x64 if spec.sm_watchdog_enabled is not False else 0x24
    if box is None:
        simple = not input_bytes and output_bytes <= 2
        start = 0x0F00 if simple else 0x1000
        outputs = SiiSyncManager(start, output_bytes, watched & ~0x20, 0, 1, SmType.OUTPUTS)
        inputs = SiiSyncManager(_after(0x1000, output_bytes), input_bytes, 0x00, 0, 1, SmType.INPUTS)
        return (*((outputs,) if output_bytes else ()), *((inputs,) if input_bytes else ()))
    start = _aligned(max(box.out_address + box.out_bytes, box.in_address + box.in_bytes))
    return (
        SiiSyncManager(box.out_address, box.out_bytes, 0x26, 0, 1, SmType.MAILBOX_OUT),
        SiiSyncManager(box.in_address, box.in_bytes, 0x22, 0, 1, SmType.MAILBOX_IN),
        SiiSyncManager(start, output_bytes, watched, 0, int(output_bytes > 0), SmType.OUTPUTS),
        SiiSyncManager(_after(start, output_bytes), input_bytes, 0x20, 0, int(input_bytes > 0), SmType.INPUTS),
    )


def _image_bytes(pdos: Iterable[MappedPdo]) -> int:
    return (sum(pdo.bits for pdo in pdos) + 7) // 8


def _aligned(address: int) -> int:
    return (address + 0x7F) & ~0x7F


def _after(start: int, length: int) -> int:
    """Return where the next SyncManager can begin: a buffered one takes three times its length."""
    return _aligned(start + 3 * length)


def _manager_of(managers: Sequence[SiiSyncManager], kind: SmType) -> int | None:
    return next((number for number, manager in enumerate(managers) if manager.type == kind), None)


def _pdos(pdos: Iterable[MappedPdo], manager: int | None) -> tuple[SiiPdo, ...]:
    return tuple(
        SiiPdo(
            pdo.index,
            tuple(SiiEntry(e.index, e.subindex, e.bits, e.data_type & 0xFF, e.name) for e in pdo.entries),
            manager,
            pdo.name,
            flags=0x0010 if pdo.fixed else 0,
        )
        for pdo in pdos
    )


def read_sii(path: Path) -> Sii:
    """Parse the SII image in a file.

    Raises:
        ConfigurationError: as :func:`parse_sii`, and for a file that cannot be read.
    """
    try:
        return parse_sii(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); write it by a scan") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
