"""The baton itself: how a foreign thread comes under it, is joined, and is ended."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from taktora_sim.foreign import ForeignError
from taktora_sim.foreign.member import Ended, Member, Started, Wait, to_ns
from taktora_sim.foreign.places import caller
from taktora_sim.foreign.turns import TAIL_S, Turns

__all__ = ["THREADS", "Baton"]

THREADS: Final = 1_000
"""How many foreign threads may be alive at a time."""


# req: REQ_8203
class Baton(Turns):
    """The threads of one ``world.foreign_threads()`` block."""

    # req: REQ_8203
    def start(self, thread: threading.Thread) -> None:
        """Start ``thread``; it runs when its turn comes."""
        started = thread.__dict__.get("_started")
        if not self.is_here() or started is None or started.is_set():
            self._start(thread)  # which knows what is wrong
            return
        self._refuse_to_start(thread)
        with self._critical():
            self._start_member(thread)

    def _start_member(self, thread: threading.Thread) -> None:
        member = Member(thread)
        member.started_at = caller()
        own_run = thread.__dict__.get("run")
        thread._started = Started()  # type: ignore[attr-defined]  # noqa: SLF001 - one that needs no baton
        thread.__dict__["_foreign_member"] = member
        thread.__dict__["run"] = partial(self._run_member, member, thread.run, own_run)
        try:
            self._start(thread)
        except BaseException:
            del thread.__dict__["run"]
            raise
        member.arrived.acquire()
        self.members[member.ident] = member
        self.ended.discard(member.ident)
        wait = Wait(member)
        self._register(wait)
        self.wake(wait)

    def _refuse_to_start(self, thread: threading.Thread) -> None:
        if self.world.is_stepping:
            msg = (
                f"thread {thread.name!r} is started inside an item or a model of World {self.world.name!r}; let an "
                "executor do its work, or start it in the main program"
            )
            raise ForeignError(msg)
        if self.is_closing:
            msg = f"thread {thread.name!r} cannot be started: the block of world.foreign_threads() is ending"
            raise ForeignError(msg)
        if len(self.members) > THREADS:
            msg = f"thread {thread.name!r} cannot be started: {THREADS} foreign threads are alive; end some before"
            raise ForeignError(msg)

    @contextmanager
    def _critical(self) -> Iterator[None]:
        """No signal handler interrupts the main thread in here."""
        is_first = self.holder is self.main and not self.is_critical
        if is_first:
            self.is_critical = True
        try:
            yield
        finally:
            if is_first:
                self.is_critical = False
        if is_first:
            self.run_signals()

    def _run_member(self, member: Member, run: Callable[[], None], own_run: Any) -> None:
        thread = member.thread
        del thread.__dict__["run"]
        if own_run is not None:
            thread.__dict__["run"] = own_run
        member.ident = _thread.get_ident()
        member.arrived.release()
        self._park(member)
        try:
            self._reap()
            if member.wait is not None:
                self._withdraw(member.wait)
            self._raise_for(member)
            run()
        except (Ended, SystemExit):
            pass
        except BaseException as error:
            self._keep(member, error)
        finally:
            self._finish(member)

    def _keep(self, member: Member, error: BaseException) -> None:
        """Keep what a thread raised for the end of the block, and tell the hook of ``threading`` as always."""
        self.failures.append((member.name, error))
        hook_arguments = threading.ExceptHookArgs((type(error), error, error.__traceback__, member.thread))
        try:
            threading.excepthook(hook_arguments)
        except Exception as in_hook:
            self.failures.append((f"{member.name} (in threading.excepthook)", in_hook))

    def _finish(self, member: Member) -> None:
        member.is_done = True
        self.members.pop(member.ident, None)
        self.ended.add(member.ident)
        member.left.release()
        if member.is_revoked:
            return
        try:
            chosen = self.main if self.is_closing else self._choose()
        except Ended:  # the baton was taken away
            return
        self._ended.append(member.thread)
        self._give(chosen)

    # req: REQ_8203
    def join(self, thread: threading.Thread, timeout: float | None = None) -> None:
        """Wait until ``thread`` has ended, for ``timeout`` virtual seconds at most."""
        member = thread.__dict__.get("_foreign_member")
        if not self.is_here() or (member is None and thread is not self.main.thread):
            self._join(thread, timeout)
        elif thread is self.holder.thread:
            raise RuntimeError("cannot join current thread")
        else:
            timeout_ns = None if timeout is None else to_ns(max(timeout, 0))
            self.block(lambda: member is not None and member.is_done, timeout_ns)

    def is_alive(self, thread: threading.Thread) -> bool | None:
        """Return whether ``thread`` runs; None for a thread that is not under the baton."""
        member = thread.__dict__.get("_foreign_member")
        if member is None or not self.is_here():
            return None
        self.poll()
        return not member.is_done

    def raise_untold(self) -> None:
        """Raise what the main thread was to be told, and has not waited for since."""
        self._raise_for(self.main)

    def others(self) -> list[Member]:
        """Return all members but the main thread, in order of start."""
        return [member for member in self.members.values() if member is not self.main]

    def end(self) -> None:
        """End every thread where it waits, in order of start; called by the main thread, which holds the baton."""
        self.is_critical = self.is_closing = True
        for member in self.others():
            if not member.is_revoked:
                member.is_ending = True
                self._give(member)
                self._park(self.main)
                self._reap()
        for member in self.others():
            if member not in self.stubborn:
                self._join(member.thread, TAIL_S)
        self.is_critical = False

    def revoke(self, error: BaseException) -> None:
        """Take the baton from a thread that is stuck, and let the main thread raise ``error``; for the watchdog."""
        self.holder.is_revoked = self.holder.is_ending = True
        self.tell_main(error)
        self._give(self.main)

    def end_beside_main(self) -> None:
        """End the others while the main thread is stuck and cannot do so; for the watchdog."""
        self.is_closing = True
        for member in self.others():
            member.is_ending = True
            self._give(member)
            member.left.acquire(timeout=TAIL_S)
        self.holder = self.main
