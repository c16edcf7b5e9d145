"""The mailbox of a simulated CoE device: headers, counters, duplicates, refusals, emergencies, faults; no objects.

Modelled: mail counters both ways (a repeated counter is a duplicate and dropped), error mail for what is not spoken or
malformed, a bounded wait for room in SyncManager 1, a processing time (option ``mailbox_us``). The repeat request is
the SyncManager's own affair. Simplified: one mail at a time; no EoE, FoE, SoE, AoE, VoE.

Faults, at the path of the SubDevice:

==================  ==================================================================================================
``swallow-mail``    requests are taken and not answered
``delay-mail``      answers come ``by_ns`` later
``duplicate-mail``  answers come twice with the same counter
``malform-mail``    answers with a wrong ``field``: ``length`` beyond the mailbox, unknown ``type`` or CoE ``service``
``abort-sdo``       transfers of ``index`` (0: all) are aborted with ``code``
``flip-toggle``     segments come with the wrong toggle bit
``send-emergency``  an emergency ``code`` with ``register``, at once
==================  ==================================================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from taktora.ethercat.coe import (
    Abort,
    CoeService,
    Mail,
    MailboxError,
    MailboxProtocolError,
    MailboxType,
    abort_text,
    decode_coe,
    decode_mail,
    emergency_frame,
    encode_mail,
    error_mail,
    next_counter,
)
from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.application import EscPort
from taktora_sim.ethercat.sdoserver import SdoServer
from taktora_sim.faults import FaultKind, Param, Parameters

__all__ = ["MailboxServer"]

Describe: TypeAlias = Callable[[Parameters], str]

_RETRY_NS: Final = 1_000_000
_RETRIES: Final = 1000
_US: Final = 1_000
_MOST_WAITING: Final = 256


# req: REQ_8104, REQ_8109
class MailboxServer:
    """What a device does with the mail that it gets.

    Args:
        esc: Where mail is sent, and the World.
        server: Answers CoE requests.
        has_information: The device speaks SDO information.
        delay_us: Time from a request to its answer.
    """

    def __init__(self, esc: EscPort, server: SdoServer, *, has_information: bool = True, delay_us: int = 0) -> None:
        self._esc = esc
        self._server = server
        self._has_information = has_information
        self._delay_ns = delay_us * _US
        self._waiting: deque[bytes] = deque()
        self._retries = 0
        self._epoch = 0
        self._last_counter = 0
        self._counter = 0
        self._active: dict[str, list[Parameters]] = {name: [] for name in self._lasting()}
        server.aborting = self._abort_code
        server.flips_toggle = lambda: bool(self._active["flip-toggle"])

    def reset(self) -> None:
        """Forget counters, transfers and mail that waits: power-up, or SyncManagers switched off in INIT."""
        self._waiting.clear()
        self._last_counter = self._counter = 0
        self._epoch += 1
        self._server.reset()

    def receive(self, data: bytes) -> None:
        """Take one mail from SyncManager 0, padding included."""
        try:
            mail = decode_mail(data)
        except MailboxProtocolError:
            self._refuse(MailboxError.INVALID_HEADER)
            return
        if mail.counter and mail.counter == self._last_counter:
            return
        self._last_counter = mail.counter
        if self._active["swallow-mail"] or mail.type == MailboxType.ERROR:
            return
        if mail.type == MailboxType.COE:
            self._serve(mail)
        else:
            self._refuse(MailboxError.UNSUPPORTED_PROTOCOL)

    def emergency(self, error_code: int, error_register: int = 0x01, data: bytes = b"") -> None:
        """Send an emergency to the MainDevice, if the mailbox runs."""
        if self._esc.state not in (AlState.INIT, AlState.BOOT):
            self._post(MailboxType.COE, emergency_frame(error_code, error_register, data))

    def fault_kinds(self) -> dict[str, FaultKind]:
        """Return what can go wrong here."""
        kinds = {
            name: FaultKind(partial(self._begin, name), partial(self._end, name), params, text)
            for name, (params, text) in self._lasting().items()
        }
        kinds["send-emergency"] = FaultKind(
            start=lambda given: self.emergency(int(given["code"]), int(given["register"])),
            params={
                "code": Param(int, default=0x1000, low=0, high=0xFFFF),
                "register": Param(int, default=1, low=0, high=0xFF),
            },
            describe=lambda given: f"sends the emergency 0x{int(given['code']):04X}",
        )
        return kinds

    @staticmethod
    def _lasting() -> dict[str, tuple[dict[str, Param | bool | int | float | str], str | Describe]]:
        return {
            "swallow-mail": ({}, "mailbox requests are not answered"),
            "delay-mail": ({"by_ns": Param(int, low=1, high=10**10, unit="ns")}, "answers come {by_ns} later"),
            "duplicate-mail": ({}, "answers come twice"),
            "malform-mail": (
                {"field": Param(str, default="length", choices=("length", "type", "service"))},
                "answers have a wrong {field}",
            ),
            "abort-sdo": (
                {
                    "index": Param(int, default=0, low=0, high=0xFFFF),
                    "code": Param(int, default=int(Abort.GENERAL), low=1, high=0xFFFF_FFFF),
                },
                _describe_abort,
            ),
            "flip-toggle": ({}, "segments come with the wrong toggle bit"),
        }

    def _begin(self, name: str, given: Parameters) -> None:
        self._active[name].append(given)

    def _end(self, name: str, given: Parameters) -> None:
        self._active[name] = [other for other in self._active[name] if other is not given]

    def _serve(self, mail: Mail) -> None:
        try:
            service, body = decode_coe(mail.data)
        except MailboxProtocolError:
            self._refuse(MailboxError.SIZE_TOO_SHORT)
            return
        if service == CoeService.SDO_REQUEST:
            answer = self._server.request(body)
            if answer is not None:
                self._answer(answer)
        elif service == CoeService.SDO_INFORMATION and self._has_information:
            for fragment in self._server.information(body):
                self._answer(fragment)
        else:
            self._refuse(MailboxError.SERVICE_NOT_SUPPORTED)

    def _abort_code(self, index: int, _subindex: int) -> int:
        for given in self._active["abort-sdo"]:
            if given["index"] in (0, index):
                return int(given["code"])
        return 0

    def _refuse(self, detail: MailboxError) -> None:
        self._post(MailboxType.ERROR, error_mail(detail))

    def _answer(self, data: bytes) -> None:
        mail_type, fields = MailboxType.COE, {given["field"] for given in self._active["malform-mail"]}
        if "service" in fields:
            data = bytes((data[0], 0xF0)) + data[2:]
        mail = self._post(MailboxType.VOE if "type" in fields else mail_type, data, wrong_length="length" in fields)
        if self._active["duplicate-mail"]:
            self._send(mail)

    def _post(self, mail_type: int, data: bytes, *, wrong_length: bool = False) -> bytes:
        """Send one mail with the next counter, and return it."""
        self._counter = next_counter(self._counter)
        mail = encode_mail(Mail(mail_type, data, self._counter))
        if wrong_length:
            mail = b"\xff\x7f" + mail[2:]
        self._send(mail)
        return mail

    def _send(self, mail: bytes) -> None:
        delay_ns = self._delay_ns + sum(int(given["by_ns"]) for given in self._active["delay-mail"])
        if delay_ns:
            self._esc.world.call_after(delay_ns, partial(self._deliver, mail, self._epoch))
        else:
            self._deliver(mail, self._epoch)

    def _deliver(self, mail: bytes, epoch: int) -> None:
        """Put mail into SyncManager 1, or keep it until there is room; mail from before a reset is void."""
        if epoch != self._epoch:
            return
        if self._waiting:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(mail)
        elif not self._esc.send_mail(mail):
            self._waiting.append(mail)
            self._retries = 0
            self._esc.world.call_after(_RETRY_NS, partial(self._retry, epoch))

    def _retry(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self._retries += 1
        while self._waiting and self._esc.send_mail(self._waiting[0]):
            self._waiting.popleft()
            self._retries = 0
        if self._retries >= _RETRIES:
            self._waiting.clear()
        if self._waiting:
            self._esc.world.call_after(_RETRY_NS, partial(self._retry, epoch))


def _describe_abort(given: Parameters) -> str:
    index = int(given["index"])
    what = f"of object 0x{index:04X} " if index else ""
    return f"SDO transfers {what}are aborted with {abort_text(int(given['code']))}"
