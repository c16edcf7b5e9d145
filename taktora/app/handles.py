"""What an application holds in its hands: readers, writers, channels and signals; they name no back-end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from taktora.codec import Codec
from taktora.connector import ChannelReader, ChannelWriter, SendOutcome
from taktora.errors import BackPressure, CodecError, ConfigurationError, LinkDown
from taktora.places import here

if TYPE_CHECKING:
    from taktora.recording import Recorder

__all__ = ["Channel", "Handle", "Reader", "Signal", "Writer"]

T = TypeVar("T")


class Handle(Generic[T]):
    """A named end that has a port only while its App is bound."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.declared_at = here()
        """Where the application has declared it, as ``app.py:12``; empty if nobody knows."""
        self._port: T | None = None

    @property
    def port(self) -> T:
        """The channel end behind this handle.

        Raises:
            ConfigurationError: the App is not bound.
        """
        if self._port is None:
            msg = f"{self.name}: the App is not bound; use it from an item, or inside 'with app.bind(runtime)'"
            raise ConfigurationError(msg)
        return self._port


class Reader(Handle[ChannelReader[T, Codec]]):
    """Receives the values of one message or channel.

    Args:
        name: What the reader is called in messages.
        max_age_ms: Age in ms up to which the last value counts as fresh; None: for ever.
    """

    def __init__(self, name: str, max_age_ms: float | None = None) -> None:
        super().__init__(name)
        self.max_age_ns = None if max_age_ms is None else _positive_ns(name, max_age_ms)
        self.latest: T | None = None
        """The last value taken; None before the first."""
        self.received = 0
        """Number of values taken."""
        self.decode_errors = 0
        """Number of payloads that could not be decoded."""
        self.integrity_faults = 0
        """Number of envelopes that were corrupt, repeated or missing; a connector's readers tell its health instead."""
        self._recorder: Recorder | None = None

    def attach(self, port: ChannelReader[T, Codec], recorder: Recorder) -> None:
        """Give the reader its port; called when the App is bound."""
        self._port, self._recorder = port, recorder
        self.latest, self.received, self.decode_errors, self.integrity_faults = None, 0, 0, 0

    def detach(self) -> None:
        """Take the port away; called when the binding is closed."""
        self._port = None

    def drain(self) -> Iterator[T]:
        """Yield everything that has arrived; what cannot be decoded is counted and reported, and nothing else lost."""
        port = self._port or self.port
        receive = port.try_recv
        while True:
            try:
                envelope = receive()
            except CodecError as error:
                self._report(error)
                continue
            if envelope is None:
                return
            self.latest = value = envelope.value
            self.received += 1
            yield value
            waiting = port.waiting
            if waiting is not None and not waiting:
                return  # without one more receive that finds nothing

    def take(self) -> T | None:
        """Take everything that has arrived and return the newest value; None if nothing arrived."""
        newest = None
        for newest in self.drain():  # noqa: B007 - the last one is the result
            pass
        return newest

    @property
    def age_ns(self) -> int | None:
        """Nanoseconds since the last value taken was sent; None before the first."""
        return self.port.age_ns()

    @property
    def fresh(self) -> bool:
        """Whether a value was taken and is younger than ``max_age_ms``: false from the instant at which it is lost."""
        age_ns = self.age_ns
        return age_ns is not None and (self.max_age_ns is None or age_ns < self.max_age_ns)

    def note_integrity(self, kind: str, detail: str) -> None:
        """Count an envelope that was discarded or is missing, and tell of the first one (TSR_0008)."""
        self.integrity_faults += 1
        if self.integrity_faults == 1 and self._recorder is not None:
            self._recorder.notice(f"{self.name}: {kind} envelope, counted from now on: {detail}", "warning")

    def _report(self, error: CodecError) -> None:
        self.decode_errors += 1
        if self.decode_errors == 1 and self._recorder is not None:
            self._recorder.notice(f"{self.name}: cannot decode, counted from now on: {error}", "warning")


class Writer(Handle[ChannelWriter[T, Codec]]):
    """Sends the values of one message or channel."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sent = 0
        """Number of values sent."""

    def attach(self, port: ChannelWriter[T, Codec]) -> None:
        """Give the writer its port; called when the App is bound."""
        self._port, self.sent = port, 0

    def detach(self) -> None:
        """Take the port away; called when the binding is closed."""
        self._port = None

    def send(self, value: T) -> SendOutcome:
        """Send ``value``; raises the outcomes listed at :class:`taktora.connector.ChannelWriter`."""
        outcome = (self._port or self.port).send(value)
        self.sent += 1
        return outcome

    def try_send(self, value: T) -> bool:
        """Send ``value``; False when the way is full or down. A value that cannot be sent at all still raises."""
        try:
            self.send(value)
        except (BackPressure, LinkDown):
            return False
        return True


class Channel(Reader[T]):
    """A typed channel between items of the application: one end sends, the other drains."""

    def __init__(self, name: str, value_type: type[T], max_payload_size: int, max_age_ms: float | None) -> None:
        super().__init__(name, max_age_ms)
        self.value_type = value_type
        self.max_payload_size = max_payload_size
        self.writer: Writer[T] = Writer(name)

    def send(self, value: T) -> SendOutcome:
        """Send ``value`` to whoever reads the channel."""
        return self.writer.send(value)

    def try_send(self, value: T) -> bool:
        """Send ``value``; False when the reader is full."""
        return self.writer.try_send(value)


class Signal:
    """A number worth plotting; recorded in a simulated run, dropped in a real one."""

    def __init__(self, name: str, unit: str = "", initial: float | None = None, app: str = "") -> None:
        self.name = name
        self.unit = unit
        self.initial = initial
        self.app = app
        self.set: Callable[[float], None] = self._unbound
        """Record a new value now."""

    def attach(self, recorder: Recorder) -> None:
        """Give the signal its recorder; called when the App is bound."""
        self.set = recorder.signal(self.name, self.unit, self.app)
        if self.initial is not None:
            self.set(self.initial)

    def detach(self) -> None:
        """Forget the recorder; called when the binding is closed."""
        self.set = self._unbound

    def _unbound(self, _value: float) -> None:
        msg = f"signal {self.name!r}: the App is not bound; use it from an item"
        raise ConfigurationError(msg)


def _positive_ns(name: str, milliseconds: float) -> int:
    if milliseconds <= 0:
        msg = f"{name}: max_age_ms is {milliseconds}, expected more than 0"
        raise ConfigurationError(msg)
    return round(milliseconds * 1_000_000)
