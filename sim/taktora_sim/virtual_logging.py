"""Stamps the records of the standard logging with virtual time while a simulated run lasts; it adds no handler."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["VirtualLogging"]


# req: REQ_8006
class VirtualLogging:
    """While the ``with`` block lasts, every LogRecord carries the time of ``world``.

    ``created`` and ``msecs`` are civil virtual time, ``relativeCreated`` is ms since the start of the run, and
    ``virtual_ns`` (for format strings: ``%(virtual_ns)d``) is the exact instant. Formatters show local time unless told
    otherwise, as always; set ``Formatter.converter = time.gmtime`` for texts that are the same everywhere.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = logging.getLogRecordFactory()
        logging.setLogRecordFactory(self._make)
        return self

    def __exit__(self, *_exc: object) -> None:
        logging.setLogRecordFactory(self._before)

    def _make(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*arguments, **named)
        unix_ns, now_ns = self._world.unix_ns(), self._world.now_ns()
        record.created = unix_ns / 1e9
        record.msecs = float(unix_ns // 1_000_000 % 1_000)
        record.relativeCreated = now_ns / 1e6
        record.virtual_ns = now_ns
        return record
