"""What the buses of an App have in common: a name, and the health of the connector behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taktora.errors import ConfigurationError

if TYPE_CHECKING:
    from taktora.connector import ConnectorBase, ConnectorHealth

__all__ = ["Bus"]


# req: REQ_0230
@dataclass(slots=True)
class Bus:
    """A bus of the machine, by name."""

    name: str
    connector: ConnectorBase[Any, Any] | None = field(default=None, init=False, repr=False)
    """The connector, while the App is bound."""

    @property
    def health(self) -> ConnectorHealth:
        """The health now: ``Up``, ``Connecting``, ``Degraded`` or ``Down`` of ``taktora.connector``; from any thread.

        Raises:
            ConfigurationError: the App is not bound.
        """
        if self.connector is None:
            raise ConfigurationError(
                f"bus {self.name!r}: the App is not bound; use it from an item, or inside 'with app.bind(runtime)'"
            )
        return self.connector.health()
