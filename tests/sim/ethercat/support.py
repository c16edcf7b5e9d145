"""What the tests of simulated devices share: an ESC without registers, and a client on its mailbox."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from taktora.ethercat.coe import CoeService, Mail, MailboxType, decode_coe, decode_mail, encode_mail, next_counter
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, IdentitySpec
from taktora.ethercat.sdo import Dialogue
from taktora_sim.ethercat.application import Application
from taktora_sim.world import World

T = TypeVar("T")
MS = 1_000_000


class BareEsc:
    """An ``EscPort`` that only keeps what it is told; ``room`` is how many mails SyncManager 1 takes."""

    def __init__(self, spec: DeviceSpec, application: Application, world: World | None = None) -> None:
        self.world = World(1) if world is None else world
        self.path = f"ethercat/cell/{spec.label}"
        self.spec = spec
        self.identity = spec.identity or IdentitySpec(vendor_id=0, product_code=0)
        self.state = AlState.PRE_OP
        self.room = 16
        self.sent: deque[bytes] = deque()
        self.retreats: list[tuple[AlState, int]] = []
        self.application = application
        application.attach(self)
        application.power_on()
        self.world.faults.target(self.path, application.fault_kinds())

    def send_mail(self, data: bytes) -> bool:
        if len(self.sent) >= self.room:
            return False
        self.sent.append(data)
        return True

    def retreat(self, state: AlState, code: int) -> None:
        self.retreats.append((state, code))

    def go(self, state: AlState) -> None:
        self.state = state
        self.application.state_changed(state)


class Client:
    """The MainDevice's mailbox: runs dialogues, keeps emergencies and every mail that came."""

    def __init__(self, esc: BareEsc) -> None:
        self.esc = esc
        self.counter = 0
        self.mails: list[Mail] = []
        self.emergencies: list[bytes] = []

    def post(self, data: bytes, mail_type: int = MailboxType.COE) -> None:
        self.counter = next_counter(self.counter)
        self.raw(encode_mail(Mail(mail_type, data, self.counter)))

    def raw(self, mail: bytes) -> None:
        assert self.esc.spec.mailbox is not None
        assert len(mail) <= self.esc.spec.mailbox.out_bytes
        self.esc.application.mail(mail.ljust(self.esc.spec.mailbox.out_bytes, b"\0"))

    def read(self) -> Mail:
        """Return the next mail of the device; waits up to 10 s of virtual time."""
        self.esc.world.run_until(lambda: bool(self.esc.sent), timeout_ns=10_000 * MS)
        assert self.esc.sent, "the device does not answer"
        assert self.esc.spec.mailbox is not None
        data = self.esc.sent.popleft()
        assert len(data) <= self.esc.spec.mailbox.in_bytes
        mail = decode_mail(data)
        self.mails.append(mail)
        return mail

    def answer(self) -> bytes:
        """Return the next answer; emergencies are put aside."""
        while True:
            mail = self.read()
            assert mail.type == MailboxType.COE
            if decode_coe(mail.data)[0] != CoeService.EMERGENCY:
                return mail.data
            self.emergencies.append(mail.data)

    def run(self, dialogue: Dialogue[T]) -> T:
        outgoing = next(dialogue)
        while True:
            if outgoing is not None:
                self.post(outgoing)
            try:
                outgoing = dialogue.send(self.answer())
            except StopIteration as end:
                result: T = end.value
                return result
