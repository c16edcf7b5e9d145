"""The MainDevice's end of one SubDevice's mailbox: sends and fetches mail through SyncManagers 0 and 1.

Repeats what got lost, drops duplicates, puts emergencies aside. What is said in the mail is the business of the
dialogues in :mod:`taktora.ethercat.sdo`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from taktora.errors import StackError
from taktora.ethercat.coe import (
    CoeService,
    Mail,
    MailboxProtocolError,
    MailboxType,
    decode_coe,
    decode_mail,
    encode_mail,
    next_counter,
)
from taktora.ethercat.driver import Emergency, Steps
from taktora.ethercat.sdo import Dialogue
from taktora.ethercat.sii import SiiMailbox
from taktora_sim.ethercat.frame import Command, Datagram, station_address
from taktora_sim.ethercat.wire import Wire

__all__ = ["SM1_STATUS", "MailboxClient"]

T = TypeVar("T")

SM1_STATUS: Final = 0x080D
"""Status of SyncManager 1; bit 3: there is mail."""
FULL: Final = 0x08

_SM1_ACTIVATE: Final = 0x080E
_SM1_PDI: Final = 0x080F
_REPEAT: Final = 0x02
_SEND_LIMIT_NS: Final = 20_000_000
_ANSWER_LIMIT_NS: Final = 700_000_000
_FIRST_POLL_NS: Final = 50_000
_LONGEST_POLL_NS: Final = 1_000_000


class MailboxClient:
    """One SubDevice's mailbox.

    Args:
        wire: The way to it.
        address: Station address.
        name: What the SubDevice is called in messages.
        position: Position on the bus, for emergencies.
        place: Where the mailboxes are, by the SII.
        tell: Told of each emergency.
    """

    def __init__(
        self,
        wire: Wire,
        address: int,
        name: str,
        position: int,
        place: SiiMailbox,
        tell: Callable[[Emergency], None],
    ) -> None:
        self.busy = False
        """A dialogue is under way: its answers are not to be taken away."""
        self.out_bytes = place.out_bytes
        """Length of a mail at most, header included."""
        self._wire = wire
        self._address = address
        self._name = name
        self._position = position
        self._place = place
        self._tell = tell
        self._counter = 0
        self._last_counter = 0
        self._repeat = 0

    def run(self, dialogue: Dialogue[T]) -> Steps[T]:
        """Carry out a dialogue of CoE mails.

        Raises:
            StackError: no answer, an error mail, or what the dialogue raises (``SdoAbort``).
        """
        self.busy = True
        try:
            yield from self.poll(even_if_busy=True)  # what still lies there is no answer to this
            outgoing = next(dialogue)
            while True:
                if outgoing is not None:
                    yield from self._send(outgoing)
                answer = yield from self._receive()
                try:
                    outgoing = dialogue.send(answer)
                except StopIteration as end:
                    result: T = end.value
                    return result
        finally:
            self.busy = False

    def poll(self, *, even_if_busy: bool = False) -> Steps[None]:
        """Fetch the mail that lies there, if any: emergencies are told, the rest is dropped."""
        if self.busy and not even_if_busy:
            return
        while True:
            status = yield from self._wire.read(self._address, SM1_STATUS, 1)
            if status is None or not status[0] & FULL:
                return
            try:
                mail = yield from self._fetch()
                if mail is not None:
                    self._take_coe(mail)
            except StackError:
                continue  # nonsense that nobody waits for; if the wire is cut, the next read says so

    def _send(self, data: bytes) -> Steps[None]:
        """Put one mail into SyncManager 0; after a lost frame again with the same counter: duplicates are dropped."""
        self._counter = next_counter(self._counter)
        content = encode_mail(Mail(MailboxType.COE, data, self._counter)).ljust(self._place.out_bytes, b"\0")
        write = Datagram(Command.FPWR, station_address(self._address, self._place.out_address), content)
        give_up_ns = self._wire.now_ns() + _SEND_LIMIT_NS
        while True:
            found = yield from self._wire.once([write])
            if found is not None and found[0].working_counter:
                return
            if self._wire.now_ns() >= give_up_ns:
                raise StackError(f"{self._name} takes no mail within {_SEND_LIMIT_NS // 1_000_000} ms")
            yield self._wire.now_ns() + 4 * _FIRST_POLL_NS

    def _receive(self) -> Steps[bytes]:
        """Return the next CoE mail that is no emergency."""
        give_up_ns = self._wire.now_ns() + _ANSWER_LIMIT_NS
        pause_ns = _FIRST_POLL_NS
        while True:
            status = yield from self._wire.read(self._address, SM1_STATUS, 1)
            if status is None:
                raise StackError(f"{self._name} does not answer a read of register {SM1_STATUS:#06x}")
            mail = (yield from self._fetch()) if status[0] & FULL else None
            data = None if mail is None else self._take_coe(mail)
            if data is not None:
                return data
            if self._wire.now_ns() >= give_up_ns:
                raise StackError(f"{self._name}: no answer in its mailbox within {_ANSWER_LIMIT_NS // 1_000_000} ms")
            if mail is None:
                yield self._wire.now_ns() + pause_ns
                pause_ns = min(2 * pause_ns, _LONGEST_POLL_NS)

    def _fetch(self) -> Steps[Mail | None]:
        """Read the mail that lies in SyncManager 1; None for a duplicate, or when it was not there after all."""
        read = Datagram(
            Command.FPRD, station_address(self._address, self._place.in_address), bytes(self._place.in_bytes)
        )
        found = yield from self._wire.once([read])
        if found is None:
            yield from self._ask_again()
            return None
        if not found[0].working_counter:
            return None
        mail = decode_mail(found[0].data)
        if mail.counter and mail.counter == self._last_counter:
            return None
        self._last_counter = mail.counter
        return mail

    def _ask_again(self) -> Steps[None]:
        """Have the device put its last mail into the mailbox again: the answer that carried it was lost."""
        self._repeat ^= _REPEAT
        yield from self._wire.write(self._address, _SM1_ACTIVATE, bytes((0x01 | self._repeat,)))
        give_up_ns = self._wire.now_ns() + _SEND_LIMIT_NS
        while self._wire.now_ns() < give_up_ns:
            answer = yield from self._wire.read(self._address, _SM1_PDI, 1)
            if answer is None or answer[0] & _REPEAT == self._repeat:
                return
            yield self._wire.now_ns() + _FIRST_POLL_NS

    def _take_coe(self, mail: Mail) -> bytes | None:
        """Return a CoE mail's data; tell emergencies, drop other protocols.

        Raises:
            StackError: an error mail.
        """
        if mail.type == MailboxType.ERROR:
            detail = int.from_bytes(mail.data[2:4], "little")
            raise StackError(f"{self._name}: refused by its mailbox (error mail, detail {detail})")
        if mail.type != MailboxType.COE:
            return None
        service, body = decode_coe(mail.data)
        if service != CoeService.EMERGENCY:
            return mail.data
        if len(body) < 3:
            raise MailboxProtocolError(f"{self._name}: emergency of {len(body)} bytes, expected 8")
        data = body[3:8].ljust(5, b"\0")
        self._tell(Emergency(self._position, int.from_bytes(body[:2], "little"), body[2], data))
        return None
