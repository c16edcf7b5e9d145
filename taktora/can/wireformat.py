"""Frames as a CAN_RAW socket carries them: ``struct can_frame`` and ``canfd_frame`` of ``linux/can.h``; no I/O.

A classical frame has 16 bytes, a CAN FD frame 72: identifier word with its flags, length, flags of CAN FD, one reserved
byte, ``len8_dlc``, and the data from byte 8 on. The identifier word is in the machine's own byte order.
"""

from __future__ import annotations

import struct
from typing import Final

from taktora.can.filter import EFF_FLAG, RTR_FLAG
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame
from taktora.can.routing import CanFdFlags

__all__ = ["CANFD_MTU", "CAN_MTU", "ERR_FLAG", "pack_frame", "unpack_frame"]

CAN_MTU: Final = 16
CANFD_MTU: Final = 72
ERR_FLAG: Final = 0x2000_0000

_unpack_head: Final = struct.Struct("=IBB").unpack_from
_CLASSICAL: Final = struct.Struct("=IBBBB8s")
_FD: Final = struct.Struct("=IBBBB64s")
_LEN8_DLC: Final = 7
_LONGEST_CLASSICAL: Final = 8
_BRS: Final = int(CanFdFlags.BRS)
_ESI: Final = int(CanFdFlags.ESI)
_ALL_CLASSES: Final = 0x3FF


# req: REQ_0611, REQ_0613, REQ_0615
def pack_frame(frame: CanFrame) -> bytes:
    """Return the 16 or 72 bytes of ``frame``; data and identifier fit its kind.

    A remote frame asks for 0 to 15 by its data length code; above 8 the length is 8 and the code in ``len8_dlc``.
    """
    data, dlc = frame.data, frame.dlc
    word = frame.can_id | (EFF_FLAG if frame.extended else 0)
    if frame.fd:
        return _FD.pack(word, len(data), (_BRS if frame.brs else 0) | (_ESI if frame.esi else 0), 0, 0, data)
    if frame.remote:
        asked = min(dlc, _LONGEST_CLASSICAL)
        return _CLASSICAL.pack(word | RTR_FLAG, asked, 0, 0, dlc if dlc > _LONGEST_CLASSICAL else 0, b"")
    return _CLASSICAL.pack(word, len(data), 0, 0, 0, data)


# req: REQ_0611, REQ_0614, REQ_0631
def unpack_frame(raw: bytes, timestamp_ns: int = 0) -> CanFrame | CanErrorFrame:
    """Return the frame in what a socket has received: 16 bytes are a classical frame, 72 one of CAN FD.

    A classical data frame with a data length code of 9 to 15 has eight bytes of data like that of 8.
    """
    word, length, flags = _unpack_head(raw)
    data = raw[8 : 8 + length]
    if word & ERR_FLAG:
        return CanErrorFrame(CanErrorClass(word & _ALL_CLASSES), data, timestamp_ns)
    can_id, extended = word & 0x1FFF_FFFF, word >= EFF_FLAG
    if len(raw) == CANFD_MTU:
        brs, esi = flags & _BRS != 0, flags & _ESI != 0
        return CanFrame(can_id, data, extended, False, 0, timestamp_ns, True, brs, esi)
    if word & RTR_FLAG:
        dlc = raw[_LEN8_DLC] or length
        return CanFrame(can_id, b"", extended, True, dlc, timestamp_ns)
    return CanFrame(can_id, data, extended, False, 0, timestamp_ns)
