"""The reactor of the real worlds on Linux: an iceoryx2 WaitSet with one absolute timer and one eventfd; never polls.

iceoryx2's own intervals drift and its time-outs are whole milliseconds, so every deadline goes through a timerfd that
is attached like any other descriptor. While nothing but these two is attached, which is how a control loop without
shared memory runs, an epoll of our own waits for them: the WaitSet costs several microseconds a wait.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import iceoryx2 as iox2

from taktora.clock import Clock, SystemClock
from taktora.errors import ConfigurationError
from taktora.executor.reactor import ExecutionModel, Loop, Wait
from taktora.executor.timerfd import make_timer
from taktora.executor.tuning import timer_slack
from taktora.transport.base import ListenerPort

__all__ = ["WaitSetReactor"]


# req: REQ_0268, REQ_0269
class WaitSetReactor:
    """Waits for listeners, file descriptors, wake-ups and one deadline at a time.

    Args:
        clock: Its ``now_ns`` is CLOCK_MONOTONIC, because the kernel's timer counts on it.
    """

    model: ExecutionModel | None = None

    def __init__(self, clock: Clock | None = None) -> None:
        if sys.platform != "linux":
            raise ConfigurationError(f"WaitSetReactor needs Linux, this is {sys.platform}; use PortableReactor")
        self.clock: Clock = clock or SystemClock()
        builder = iox2.WaitSetBuilder.new().signal_handling_mode(iox2.SignalHandlingMode.Disabled)
        self._waitset = builder.create(iox2.ServiceType.Ipc)
        self._timer = make_timer()
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._guards: dict[int, Any] = {}
        self._key_of: dict[Any, int] = {}
        self._wakers: dict[int, ListenerPort] = {}
        self._queue: deque[int] = deque()
        self._open = threading.RLock()
        self._closed = False
        self._woken = False
        self._timer_guard = self._attach_fd(self._timer.fd)
        self._event_guard = self._attach_fd(self._event_fd)
        self._own = select.epoll(2)
        for fd in (self._timer.fd, self._event_fd):
            self._own.register(fd, select.EPOLLIN)

    def attach(self, key: int, source: ListenerPort | int) -> None:
        if not isinstance(source, int) and source.native is None:
            self._wakers[key] = source
            source.set_waker(self.waker(key))
            return
        try:
            guard = (
                self._attach_fd(source) if isinstance(source, int) else self._waitset.attach_notification(source.native)
            )
        except Exception as error:
            what = f"file descriptor {source}" if isinstance(source, int) else f"listener {source.service!r}"
            raise ConfigurationError(f"trigger {key}: the WaitSet refuses {what}: {error}; is it open?") from error
        self._guards[key] = guard
        self._key_of[iox2.WaitSetAttachmentId.from_guard(guard)] = key
        if not isinstance(source, int):
            source.set_waker(self.waker(key))  # once: what the listener was told alone is in no descriptor
            source.set_waker(None)

    def detach(self, key: int) -> None:
        listener = self._wakers.pop(key, None)
        if listener is not None:
            listener.set_waker(None)
        guard = self._guards.pop(key, None)
        if guard is not None:
            self._key_of = {attachment: known for attachment, known in self._key_of.items() if known != key}
            guard.delete()

    def waker(self, key: int) -> Callable[[], None]:
        return partial(self._fire, key)

    def _fire(self, key: int) -> None:
        self._queue.append(key)
        self.wake()

    def wake(self) -> None:
        # After close there is no wait to end; stop() stays legal. The flag follows the write: seen too early it would
        # clear a descriptor that is not readable yet, and nothing would clear it later. The lock keeps the descriptor
        # open for the write; it is one that a signal handler may take in the middle of another wake.
        with self._open:
            if not self._closed:
                os.eventfd_write(self._event_fd, 1)
                self._woken = True

    def drive(self, loop: Loop) -> None:
        try:
            with timer_slack():
                request = next(loop)
                while isinstance(request, Wait):
                    request = loop.send(self._wait(request.deadline_ns))
        except StopIteration:
            return
        finally:
            loop.close()

    def close(self) -> None:
        with self._open:
            if self._closed:
                return
            self._closed = True
        for key in [*self._guards, *self._wakers]:
            self.detach(key)
        self._timer_guard.delete()
        self._event_guard.delete()
        self._waitset.delete()
        self._own.close()
        self._timer.close()
        os.close(self._event_fd)

    def _attach_fd(self, fd: int) -> Any:
        return self._waitset.attach_notification_fd(iox2.FileDescriptor.non_owning_new(fd))

    # req: REQ_0269
    def _wait(self, deadline_ns: int | None) -> list[int]:
        """Return the keys that fired, ascending; nothing on a deadline, a wake-up or an interrupted wait."""
        self._timer.set(deadline_ns)
        fired: list[int] = []
        key_of = self._key_of
        if key_of:
            attachments, _ = self._waitset.wait_and_process()
            for attachment in attachments:
                key = key_of.get(attachment)
                if key is not None:
                    fired.append(key)
        else:
            self._own.poll()
        if self._woken:
            self._take_queue(fired)
        return sorted(set(fired)) if len(fired) > 1 else fired

    def _take_queue(self, fired: list[int]) -> None:
        self._woken = False
        # First the counter, then the queue: what is appended in between leaves the descriptor readable.
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            pass  # another waker's write was read together with an earlier one
        queue = self._queue
        while queue:
            fired.append(queue.popleft())
