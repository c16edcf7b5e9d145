"""The channels a gateway serves, in order of opening; readable while another thread adds, and it opens nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from taktora.errors import ConfigurationError

__all__ = ["ChannelRegistry"]

E = TypeVar("E")


# req: REQ_0625
class ChannelRegistry(Generic[E]):
    """Insertion-ordered map from service name to an entry (routing plus raw port) of one gateway.

    Changes replace a tuple, so that :attr:`entries` is a snapshot which stays as it is, and iterating the registry
    allocates nothing but the iterator. :attr:`generation` grows with every change: compare it to know whether filters
    have to be built anew.
    """

    def __init__(self, owner: str, on_change: Callable[[], object] | None = None) -> None:
        self._owner = owner
        self._on_change = on_change
        self._lock = threading.Lock()
        self._names: tuple[str, ...] = ()
        self.entries: tuple[E, ...] = ()
        self.generation = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[E]:
        return iter(self.entries)

    def __contains__(self, service: str) -> bool:
        return service in self._names

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def add(self, service: str, entry: E) -> None:
        """Append an entry.

        Raises:
            ConfigurationError: the service is registered already.
        """
        with self._lock:
            self.check_free(service)
            self._names = (*self._names, service)
            self.entries = (*self.entries, entry)
            self.generation += 1
        self._changed()

    def check_free(self, service: str) -> None:
        """Refuse a service that is registered; for callers who want to know before they open anything."""
        if service in self._names:
            raise ConfigurationError(
                f"connector {self._owner!r}: service {service!r} is open already; one port serves each direction "
                "of a channel, choose another channel name or close the first one"
            )

    def find(self, service: str) -> E | None:
        """Return the entry of ``service``; None if there is none."""
        entries, names = self.entries, self._names
        return entries[names.index(service)] if service in names else None

    def remove(self, service: str) -> E | None:
        """Take an entry out and return it; None if there was none."""
        with self._lock:
            if service not in self._names:
                return None
            index = self._names.index(service)
            entry = self.entries[index]
            self._names = self._names[:index] + self._names[index + 1 :]
            self.entries = self.entries[:index] + self.entries[index + 1 :]
            self.generation += 1
        self._changed()
        return entry

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()
