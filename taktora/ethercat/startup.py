"""What is written to a SubDevice in PRE-OP and how long OP is waited for: sequences and decisions, no traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from taktora.ethercat.pdo import PdoEntry, SubDeviceMap

__all__ = [
    "OP_WAIT_SPIN_NS",
    "RX_PDO_ASSIGN",
    "TX_PDO_ASSIGN",
    "OpWait",
    "SdoWrite",
    "assignment_writes",
    "decide_op_wait",
    "startup_writes",
]

RX_PDO_ASSIGN: Final = 0x1C12
"""Object that lists the RxPDOs of SyncManager 2 (ETG.1000.6)."""
TX_PDO_ASSIGN: Final = 0x1C13
"""Object that lists the TxPDOs of SyncManager 3."""

OP_WAIT_SPIN_NS: Final = 2_000_000
"""From one exchange to the next while OP is waited for."""
_ACKNOWLEDGE_EVERY = 100
_MOST_SPINS = 5000


@dataclass(frozen=True, slots=True)
class SdoWrite:
    """One SDO download: to which SubDevice, where, and the bytes."""

    address: int
    index: int
    subindex: int
    data: bytes


# req: REQ_0315
def assignment_writes(sub: SubDeviceMap) -> Iterator[SdoWrite]:
    """Yield the writes to 0x1C12 and then 0x1C13: clear, one PDO index each, count; nothing for an empty direction."""
    yield from _assign(sub.address, RX_PDO_ASSIGN, sub.rx_pdos)
    yield from _assign(sub.address, TX_PDO_ASSIGN, sub.tx_pdos)


# req: REQ_0853
def startup_writes(sub: SubDeviceMap) -> Iterator[SdoWrite]:
    """Yield all that is written to ``sub`` in PRE-OP, in order: its startup SDOs, then the PDO assignment."""
    for sdo in sub.startup_sdos:
        yield SdoWrite(sub.address, sdo.index, sdo.subindex, sdo.value.to_bytes())
    yield from assignment_writes(sub)


def _assign(address: int, index: int, pdos: tuple[PdoEntry, ...]) -> Iterator[SdoWrite]:
    if not pdos:
        return
    yield SdoWrite(address, index, 0, b"\0")
    for subindex, pdo in enumerate(pdos, 1):
        yield SdoWrite(address, index, subindex, pdo.index.to_bytes(2, "little"))
    yield SdoWrite(address, index, 0, bytes((len(pdos),)))


class OpWait(Enum):
    """What to do after an exchange that did not find every SubDevice in OP."""

    GO_ON = "go on"
    ACKNOWLEDGE = "acknowledge"
    """Write 0x0018 to AL control of each SubDevice that reports an error, then go on."""
    GIVE_UP = "give up"


# req: REQ_0841
def decide_op_wait(spin: int) -> OpWait:
    """Decide after the ``spin``-th exchange (from 1) without everybody in OP: more than 5000 are not tried."""
    if spin > _MOST_SPINS:
        return OpWait.GIVE_UP
    return OpWait.GO_ON if spin % _ACKNOWLEDGE_EVERY else OpWait.ACKNOWLEDGE
