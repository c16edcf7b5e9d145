"""Disturbed bits on the wire of a simulated CAN bus: where an error strikes a frame and who sees it; counts nothing.

Modelled: what a receiver makes of one wrong bit: a stuff error where six equal bits come of it, a form error at fixed
bits (fixed stuff bits of CAN FD, delimiters, end of frame), a bit error in the ACK slot, else a wrong CRC; no error at
all at the last bit of end of frame. Simplified: a wrong bit in the arbitration field is a bit error of the transmitter
although it could also lose arbitration by it; a receiver that has got the length or the format wrong by its bit finds
a wrong CRC, not one field of another frame; bits of intermission cannot be disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from taktora.can.interface import CanFrame
from taktora_sim.can.errors import WireError, WireErrorKind
from taktora_sim.can.timing import WireImage, wire_image
from taktora_sim.faults import Param, Parameters
from taktora_sim.streams import Stream

__all__ = ["FIELDS", "STRIKES", "Strike", "receiver_error"]

Strike: TypeAlias = Callable[[CanFrame, Parameters, Stream], WireError | None]
"""Says what happens to one attempt to send a frame; None: nothing can."""

FIELDS = (
    *("sof", "id", "srr", "ide", "id_extension", "rtr", "r1", "r0", "fdf", "res", "brs", "esi", "dlc", "data"),
    *("stuff_count", "crc", "crc_delimiter", "ack", "ack_delimiter", "eof"),
)
_FIXED_FORM = ("crc_delimiter", "ack_delimiter", "eof")
_RUN = 6


def receiver_error(frame: CanFrame, bit: int) -> WireError | None:
    """Return the error that a receiver finds when it alone sees the bit ``bit`` (from start of frame) wrong.

    The answer names no receiver. None: it is no error for a receiver (last bit of end of frame), or beyond the frame.
    """
    image = wire_image(frame)
    starts = image.starts
    if bit >= starts["intermission"] - 1:
        return None
    if bit == starts["ack"]:
        return WireError(WireErrorKind.BIT, bit)
    if bit >= starts["crc_delimiter"]:
        return WireError(WireErrorKind.FORM, bit)
    if frame.fd and bit >= starts["stuff_count"] - 1:
        return _in_fixed_stuffing(image, bit)
    end = starts["stuff_count"] - 1 if frame.fd else starts["crc_delimiter"]
    seen = image.bits[:bit] + ("1" if image.bits[bit] == "0" else "0") + image.bits[bit + 1 : end]
    # The fixed stuff bit behind the last data bit of CAN FD differs from that bit as it was sent.
    otherwise = WireError(WireErrorKind.FORM, end) if frame.fd and bit == end - 1 else WireError(WireErrorKind.CRC, bit)
    for last in range(max(bit, _RUN - 1), min(bit + _RUN, end)):
        if len(set(seen[last - _RUN + 1 : last + 1])) == 1:
            return WireError(WireErrorKind.STUFF, last)
    return otherwise


def _in_fixed_stuffing(image: WireImage, bit: int) -> WireError:
    """A fixed stuff bit that equals the bit before it is a form error; every other wrong bit there spoils the CRC."""
    place = (bit - (image.starts["stuff_count"] - 1)) % 5
    if place == 0:
        return WireError(WireErrorKind.FORM, bit)
    is_before_one = place == 4 and bit + 1 < image.starts["crc_delimiter"]
    return WireError(WireErrorKind.FORM, bit + 1) if is_before_one else WireError(WireErrorKind.CRC, bit)


def _bit_error(frame: CanFrame, parameters: Parameters, _draws: Stream) -> WireError | None:
    image = wire_image(frame)
    first = image.starts.get(str(parameters["field"]))
    if first is None or first + int(parameters["bit"]) >= image.starts["intermission"]:
        return None
    bit = first + int(parameters["bit"])
    by = tuple(part.strip() for part in str(parameters["by"]).split(",") if part.strip())
    if by:
        found = receiver_error(frame, bit)
        return None if found is None else found._replace(by=by)
    return WireError(WireErrorKind.ACK if bit == image.starts["ack"] else WireErrorKind.BIT, bit)


def _anywhere(frame: CanFrame, _parameters: Parameters, draws: Stream) -> WireError | None:
    starts = wire_image(frame).starts
    return WireError(WireErrorKind.BIT, draws.integer(starts["dlc"], starts["crc_delimiter"] - 1))


def _no_ack(frame: CanFrame, _parameters: Parameters, _draws: Stream) -> WireError | None:
    return WireError(WireErrorKind.ACK, wire_image(frame).starts["ack"])


def _last_bit(frame: CanFrame, _parameters: Parameters, _draws: Stream) -> WireError | None:
    return WireError(WireErrorKind.BIT, wire_image(frame).starts["intermission"] - 1)


STRIKES: Mapping[str, tuple[Strike, str, Mapping[str, Param]]] = {
    "bit_error": (
        _bit_error,
        "bit {bit} of field {field} is wrong on the wire",
        {
            "field": Param(str, default="data", choices=FIELDS),
            "bit": Param(int, default=0, low=0, high=700, unit="bits", drawn=(0, 7)),
        },
    ),
    "error_rate": (_anywhere, "{percent} % of the frames are destroyed", {"percent": Param(int, 10, 1, 100)}),
    "no_ack": (_no_ack, "nobody acknowledges", {}),
    "duplicate": (_last_bit, "the last bit of end of frame is wrong: frames are sent again though received", {}),
}
"""Kinds that destroy attempts, by name: what strikes, its description, its parameters beside the choice of frames."""
