"""The baton of foreign threads: exactly one of them runs, and virtual time passes only while all of them wait.

A thread keeps the baton until it waits or ends. Who is next: of those whose wait is over the one that began to wait
first. Where no wait is over, the World is stepped, by the operating system's thread that has just begun to wait or has
ended, until one is; all events of an instant come before the timeouts of that instant. Nothing here depends on what
the operating system schedules, on identities or on hashes.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from taktora_sim.foreign import POLL_NS, POLLS, ForeignDeadlock, ForeignError, ForeignStuck
from taktora_sim.foreign.member import Ended, Member, Nudge, Wait
from taktora_sim.foreign.places import report_of, stack_of

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["TAIL_S", "Turns"]

_REFUSALS: Final = 50
"""How often a thread may catch what ends it and wait again."""

_STALE: Final = 64
"""How many deadlines without a wait are kept, besides four a thread."""

_NAP_S: Final = 0.2
"""Longest real time for which the main thread hears nothing of a signal."""

TAIL_S: Final = 5.0
"""Longest real time for the few instructions of the interpreter after a thread's last line."""


# req: REQ_8203, REQ_8001, REQ_8002
class Turns:
    """The turns that the threads of one ``world.foreign_threads()`` block take; its main thread is the first.

    Args:
        world: Whose time passes.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.main = Member(threading.current_thread())
        self.main.ident = threading.get_ident()
        self.members: dict[int, Member] = {self.main.ident: self.main}
        """By the operating system's identifier; in order of start."""
        self.failures: list[tuple[str, BaseException]] = []
        """Names of the threads that failed, with what they raised."""
        self.switches = 0
        self.progress = 0
        """Counts whatever shows that the holder gets on."""
        self.is_closing = False
        self.is_over = False
        """The block has ended: stand-ins that a module imported in it has bound for good do what the real ones do."""
        self.stubborn: list[Member] = []
        """Those that caught what ends them, again and again."""
        self.run_signals: Callable[[], None] = lambda: None
        """Calls the handlers of signals that came while the main thread was at work in here."""
        self.has_signals: Callable[[], bool] = lambda: False
        self.is_critical = False
        """Whether the main thread is at work in here, so that no exception of a signal handler may come."""
        self.holder = self.main
        self._start = threading.Thread.start
        self._join = threading.Thread.join
        self.ended: set[int] = set()
        """Identifiers of the threads that have ended."""
        self._is_choosing = False
        self._serial = 0
        self._ready: list[tuple[int, Wait]] = []
        self._asking: list[Wait] = []
        self._deadlines: list[tuple[int, int, Wait]] = []
        self._ended: list[threading.Thread] = []

    def is_here(self) -> bool:
        """Return whether the calling thread holds the baton."""
        return self.holder.ident == _thread.get_ident() and not self.is_over

    def block(self, ready: Callable[[], bool], timeout_ns: int | None) -> bool:
        """Wait as :meth:`Foreign.block` says."""
        me = self._enter()
        if ready():
            me.polls = 0
            return True
        if timeout_ns is not None and timeout_ns <= 0:
            self.poll()
            return False
        return self.wait(Wait(me, ready, self._deadline(timeout_ns)))

    def run(self, deadline_ns: int | None, predicate: Callable[[], bool] | None) -> bool:
        """Do what ``World.run_for`` and ``run_until`` do: a wait of the calling thread; others run meanwhile."""
        me = self._enter()
        self.world.refuse_nesting()
        if predicate is not None and predicate():
            return True
        return self.wait(Wait(me, predicate, deadline_ns, may_fail=True))

    def sleep(self, delay_ns: int) -> None:
        """Let ``delay_ns`` pass; 0 lets all others run that can at this instant."""
        me = self._enter()
        if delay_ns > 0:
            self.wait(Wait(me, None, self.world.now_ns() + delay_ns))
        else:
            self.poll()
            self.wait(Wait(me, _always))

    def step(self) -> bool:
        """Let all run that can; return True if the next thing to happen was a thread's, and has happened."""
        me = self._enter()
        self.wait(Wait(me, _always))
        self._forget_stale()
        due_ns = self.world.next_due_ns
        deadline_ns = self._deadlines[0][0] if self._deadlines else None
        if deadline_ns is None or (due_ns is not None and due_ns <= deadline_ns):
            return False
        self.wait(Wait(me, None, deadline_ns))
        return True

    def poll(self) -> None:
        """Count a look at the clock or at something that is not ready; a loop of nothing but looks is given time."""
        me = self.holder
        if self._is_choosing or me.is_ending:
            return
        self.progress += 1
        me.polls += 1
        if me.polls > POLLS and not self.world.is_stepping:
            polls = me.polls
            self.wait(Wait(me, None, self.world.now_ns() + POLL_NS))
            me.polls = polls

    def wait(self, wait: Wait) -> bool:
        """Pass the baton on until ``wait`` is over; return whether it ended otherwise than by its deadline."""
        me = wait.member
        self._refuse_to_wait(me)
        me.polls = 0
        self._register(wait)
        self._refuse_deadlock(wait)
        if me is self.main:
            self.is_critical = True
        try:
            while not wait.is_over:
                self._switch(me)
                if me is self.main:
                    self.run_signals()
                self._raise_for(me)
        finally:
            self._withdraw(wait)
            if me is self.main:
                self.is_critical = False
        if me is self.main:
            self.run_signals()
        if wait.error is not None:
            raise wait.error
        return wait.outcome

    def wake(self, wait: Wait, *, outcome: bool = True) -> None:
        """End ``wait``; its thread runs when its turn comes."""
        if not wait.is_over:
            wait.is_over = True
            wait.outcome = outcome
            heappush(self._ready, (wait.serial, wait))

    def _refuse_deadlock(self, wait: Wait) -> None:
        """Tell the main thread if ``wait`` closes a ring of threads that wait for each other's locks without an end."""
        ring: list[Member] = []
        link: Wait | None = wait
        while link is not None and link.member not in ring and link.lock is not None and link.lock.is_mutex:
            if link.deadline_ns is not None:
                return
            ring.append(link.member)
            owner = self.members.get(link.lock.owner)
            link = None if owner is None else owner.wait
        # One that waits for its own lock may use it as a signal, which another thread gives.
        if link is wait and len(ring) > 1:
            names = ", ".join(repr(member.name) for member in ring)
            msg = f"threads {names} wait for each other's locks for ever at {self.world.now_ns()} ns\n{report_of(ring)}"
            self.tell_main(ForeignDeadlock(msg))

    def tell_main(self, error: BaseException) -> None:
        """Have ``error`` raised where the main thread waits; the first one counts."""
        if self.main.error is None:
            self.main.error = error

    def _enter(self) -> Member:
        """Return the calling thread's member; only the holder of the baton may go on."""
        if self.is_here():
            return self.holder
        member = self.members.get(_thread.get_ident())
        if member is not None:  # the baton was taken away
            raise (self.main.error or Ended()) if member is self.main else Ended
        msg = (
            f"thread {threading.current_thread().name!r} was started outside world.foreign_threads() and cannot wait "
            f"in World {self.world.name!r}; start it inside that block"
        )
        raise ForeignError(msg)

    def _deadline(self, timeout_ns: int | None) -> int | None:
        return None if timeout_ns is None else self.world.now_ns() + timeout_ns

    def _refuse_to_wait(self, me: Member) -> None:
        if me.is_ending:
            self._end_again(me)
        if self.world.is_stepping or self._is_choosing:
            msg = (
                "an item or a model waits for a foreign thread or for virtual time, which cannot pass there; do not "
                f"wait inside items\n{stack_of(me.ident)}"
            )
            raise ForeignError(msg)

    def _register(self, wait: Wait) -> None:
        self._serial += 1
        wait.serial = self._serial
        wait.member.wait = wait
        if wait.ready is not None:
            self._asking.append(wait)
        if wait.deadline_ns is not None:
            heappush(self._deadlines, (wait.deadline_ns, wait.serial, wait))
            if len(self._deadlines) > 4 * len(self.members) + _STALE:
                self._forget_stale()

    def _forget_stale(self) -> None:
        """Drop the deadlines of waits that were over before them."""
        self._deadlines = [entry for entry in self._deadlines if not entry[2].is_over]
        heapify(self._deadlines)

    def _withdraw(self, wait: Wait) -> None:
        wait.is_over = True
        wait.member.wait = None
        if wait.ready is not None and wait in self._asking:
            self._asking.remove(wait)

    def _raise_for(self, me: Member) -> None:
        error, me.error = me.error, None
        if error is not None:
            raise error
        if me.is_ending:
            self._end_again(me)

    def _end_again(self, me: Member) -> None:
        me.refusals += 1
        if me.refusals > _REFUSALS:
            self.stubborn.append(me)
            self._give(self.main)
            self._park(me)
        raise Ended

    def _switch(self, me: Member) -> None:
        chosen = self._choose()
        if chosen is not me:
            self._give(chosen)
            self._park(me)
        self._reap()

    def _choose(self) -> Member:
        """Return who runs next, and let virtual time pass until there is one."""
        self._is_choosing = True
        try:
            while True:
                if self._is_main_wanted():
                    return self.main
                chosen = self._first_ready()
                if chosen is not None:
                    return chosen
                self._advance()
        finally:
            self._is_choosing = False

    def _is_main_wanted(self) -> bool:
        return self.main.error is not None or self.has_signals()

    def _first_ready(self) -> Member | None:
        while self._ready and self._ready[0][1].member.wait is not self._ready[0][1]:
            heappop(self._ready)  # withdrawn
        first = self._ready[0][0] if self._ready else None
        for wait in self._asking:
            if first is not None and wait.serial > first:
                break
            if not wait.is_over and _ask(wait):
                wait.is_over = wait.outcome = True
                return wait.member
        return heappop(self._ready)[1].member if self._ready else None

    def _is_anyone_ready(self) -> bool:
        self.progress += 1
        if self._ready or self._is_main_wanted():
            return True
        return any(_ask(wait) for wait in self._asking)

    def _advance(self) -> None:
        """Step the World until a wait is over."""
        while self._deadlines and self._deadlines[0][2].is_over:
            heappop(self._deadlines)
        deadline_ns = self._deadlines[0][0] if self._deadlines else None
        try:
            if self.world.run_alone(deadline_ns, self._patient(deadline_ns)):
                return
        except Nudge:
            return
        except Ended:
            raise  # the baton was taken away from this very thread
        except ForeignStuck as error:
            self.tell_main(ForeignStuck(f"{error}\n{report_of(self._waiting())}"))
            return
        except BaseException as error:  # whatever ends a run ends it where the main thread waits
            self.tell_main(error)
            return
        if deadline_ns is None:
            self._end_of_everything()
            return
        while self._deadlines and self._deadlines[0][0] <= deadline_ns:
            self.wake(heappop(self._deadlines)[2], outcome=False)

    def _patient(self, deadline_ns: int | None) -> Callable[[], bool]:
        # A run_until() has as long as it takes, as it has without threads.
        if deadline_ns is not None or any(member.wait and member.wait.may_fail for member in self.members.values()):
            return self._is_anyone_ready
        foreign = self.world.foreign
        return foreign.patient(self._is_anyone_ready, "one of its threads", "start what they wait for before")

    def _waiting(self) -> list[Member]:
        return [member for member in self.members.values() if member.wait is not None]

    def _end_of_everything(self) -> None:
        """Nothing is left to do in the World, and everybody waits without a deadline."""
        waiting = self._waiting()
        for member in waiting:
            if member.wait is not None and member.wait.may_fail:
                self.wake(member.wait, outcome=False)
                return
        failed = "".join(f"; thread {name!r} had failed: {error!r}" for name, error in self.failures)
        msg = (
            f"all foreign threads wait for ever at {self.world.now_ns()} ns and nothing is left to do in World "
            f"{self.world.name!r}{failed}\n{report_of(waiting)}"
        )
        self.tell_main(ForeignDeadlock(msg))

    def _give(self, member: Member) -> None:
        self.holder = member
        self.switches += 1
        if member.gate.locked():
            member.gate.release()

    def _park(self, me: Member) -> None:
        """Wait, really, until the baton comes; an exception of a signal handler waits for it too."""
        # The main thread looks up now and then: a signal that comes just before it falls asleep does not wake it.
        nap_s = _NAP_S if me is self.main else -1
        while self.holder is not me:
            try:
                me.gate.acquire(timeout=nap_s)
            except BaseException as error:  # raised by a handler that was not deferred
                me.error = me.error or error

    def _reap(self) -> None:
        """See the last of the threads that have ended, so that none is half there while another runs."""
        while self._ended:
            self._join(self._ended.pop(), TAIL_S)


def _always() -> bool:
    return True


def _ask(wait: Wait) -> bool:
    """Ask whether ``wait`` is over; an exception belongs to the thread that waits."""
    assert wait.ready is not None
    try:
        return wait.ready()
    except Exception as error:
        wait.error = error
        return True
