"""What pysoem raises in an SDO transfer, told as our errors; it transfers nothing and is handed pysoem."""

from __future__ import annotations

from typing import Any

from taktora.errors import StackError
from taktora.ethercat import bringup_errors as text
from taktora.ethercat.soem_station import Station

__all__ = ["SdoErrors"]


class SdoErrors:
    """Turns what pysoem raises in an SDO transfer into a ``StackError`` that names object and cause."""

    def __init__(self, pysoem: Any, station: Station, what: str, index: int, subindex: int) -> None:
        self._pysoem = pysoem
        self._station = station
        self._call = (what, index, subindex)

    def __enter__(self) -> None:
        if not self._station.has_coe:
            what, index, subindex = self._call
            raise StackError(
                f"SDO {what} of 0x{index:04X}:{subindex:02X} of {self._station.name}: it has no CoE mailbox"
            )

    def __exit__(self, _kind: object, error: BaseException | None, _place: object) -> None:
        pysoem = self._pysoem
        what, index, subindex = self._call
        if isinstance(error, pysoem.SdoError):
            raise text.sdo_failed(self._station.name, what, index, subindex, error.abort_code) from error
        causes = {pysoem.WkcError: "no answer in its mailbox", pysoem.MailboxError: "refused by its mailbox"}
        if isinstance(error, (pysoem.WkcError, pysoem.MailboxError, pysoem.PacketError)):
            detail = getattr(error, "desc", "")
            cause = causes.get(type(error), "an answer of another kind") + (f" ({detail})" if detail else "")
            raise StackError(f"SDO {what} of 0x{index:04X}:{subindex:02X} of {self._station.name}: {cause}") from error
