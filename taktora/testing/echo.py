"""A loopback connector: what is written on a topic comes back on it; the worked example of how to make a connector.

It opens no socket and starts no thread. ``docs/adding-a-connector.md`` walks through this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from taktora.codec import Codec, JsonCodec
from taktora.connector import (
    ChannelDescriptor,
    ConnectorBase,
    Down,
    ExponentialBackoff,
    Link,
    LinkOptions,
    Routing,
    Up,
)
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow
from taktora.runtime import Runtime
from taktora.transport.channel import RawSample

__all__ = ["EchoConnector", "EchoDriver", "EchoMessage", "EchoRouting"]

C_co = TypeVar("C_co", bound=Codec, covariant=True)


@dataclass(frozen=True, slots=True)
class EchoRouting(Routing):
    """Where an echo channel lives: a topic, not empty."""

    topic: str

    def __post_init__(self) -> None:
        if not self.topic:
            raise ConfigurationError("EchoRouting.topic is empty; give the topic whose messages are to come back")


@dataclass(frozen=True, slots=True)
class EchoMessage:
    """What travels on the loop."""

    topic: str
    payload: bytes


class EchoDriver:
    """The stack: a loop that can be cut, clogged and made to fail.

    The attributes below are the test's side of it; the methods are :class:`taktora.connector.LinkDriver`.
    """

    def __init__(self, connector: EchoConnector[Any]) -> None:
        self._connector = connector
        self.is_open = False
        self.opened = 0
        """How often the loop was opened."""
        self.reachable = True
        """Whether opening succeeds; otherwise the loop reports Down."""
        self.clogged = False
        """A clogged loop has no room for more, like a full transmit queue."""
        self.undelivered = 0
        """Messages that a full reader of the application lost."""
        self.failure: Exception | None = None
        """What the next transmit raises: a defect in the stack that nobody foresaw."""

    @property
    def link(self) -> Link[EchoRouting, EchoMessage, EchoMessage]:
        return self._connector.link

    def open(self) -> None:
        self.opened += 1
        self.is_open = self.reachable
        self.link.report(Up() if self.reachable else self._down("nobody answers"))

    def close(self) -> None:
        self.is_open = False

    def compose(self, routing: EchoRouting, sample: RawSample, payload: memoryview) -> EchoMessage:
        del sample
        return EchoMessage(routing.topic, bytes(payload))

    def transmit(self, message: EchoMessage) -> None:
        if self.failure is not None:
            raise self.failure
        if not self.is_open:
            raise LinkDown(f"{self.link.place}: the loop is cut")
        if self.clogged:
            raise BackPressure(f"{self.link.place}: the loop is clogged")
        self.link.receive(message)

    def deliver(self, message: EchoMessage) -> None:
        for channel in self.link.inbound_channels:
            if channel.routing.topic == message.topic:
                try:
                    channel.writer.send_raw_bytes(message.payload)
                except BackPressure:
                    self.undelivered += 1
                except PayloadOverflow as error:
                    self.link.note_oversize(error)

    def channels_changed(self) -> None:
        """Nothing to subscribe: the loop brings back everything."""

    def cut(self, reason: str = "loop cut") -> None:
        """Break the loop until :meth:`mend`; from any thread."""
        self.reachable = self.is_open = False
        self.link.report(self._down(reason))

    def mend(self) -> None:
        """Let the next attempt to open succeed."""
        self.reachable = True

    def clog(self) -> None:
        self.clogged = True

    def unclog(self) -> None:
        """Make room again and say so; from any thread."""
        self.clogged = False
        self.link.transmit_ready()

    def inject(self, topic: str, payload: bytes) -> None:
        """Have a message come in from outside; from any thread."""
        self.link.receive(EchoMessage(topic, payload))

    def _down(self, reason: str) -> Down:
        return Down(reason, self._connector.runtime.clock.now_ns())


class EchoConnector(ConnectorBase[EchoRouting, C_co]):
    """Returns every message on the topic it was sent to. Health is told through an in-process queue.

    Args:
        runtime: The world it runs in.
        codec: JSON unless given.
        options: Sizes and times of its link.
        name: ``echo`` unless given.
    """

    routing_type = EchoRouting

    @overload
    def __init__(
        self: EchoConnector[JsonCodec],
        runtime: Runtime,
        codec: None = None,
        options: LinkOptions | None = None,
        name: str = "echo",
    ) -> None: ...
    @overload
    def __init__(
        self, runtime: Runtime, codec: C_co, options: LinkOptions | None = None, name: str = "echo"
    ) -> None: ...
    def __init__(
        self, runtime: Runtime, codec: Any = None, options: LinkOptions | None = None, name: str = "echo"
    ) -> None:
        options = LinkOptions() if options is None else options
        codec = JsonCodec() if codec is None else codec
        super().__init__(name, runtime, codec, [""], options.recovery_window_ns)
        self.driver: Final = EchoDriver(self)
        policy = ExponentialBackoff(runtime.entropy, initial_ns=10_000_000, max_ns=100_000_000)
        self.link: Final[Link[EchoRouting, EchoMessage, EchoMessage]] = Link(
            "", self.driver, self.aggregate, runtime, options, policy
        )
        self.add_link(self.link)

    def check_descriptor(self, descriptor: ChannelDescriptor[Any]) -> None:
        if descriptor.max_payload_size > 1 << 20:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: max_payload_size {descriptor.max_payload_size} is above the loop's 1 MiB"
            )
