"""The declared topology of a transport: which services may be opened and with which settings; it opens none."""

from __future__ import annotations

from collections.abc import Iterable

from taktora.errors import ConfigurationError
from taktora.transport.base import ChannelSpec, PayloadType, ServiceSettings, event_service_name
from taktora.transport.rules import check_name, check_payload, check_settings, mismatch_error, undeclared_error

__all__ = ["Topology"]


# req: TSR_0007
class Topology:
    """Dynamic until something is declared; from then on only what is declared passes."""

    def __init__(self) -> None:
        self._specs: dict[str, ChannelSpec] | None = None

    def checked(self, channels: Iterable[ChannelSpec]) -> list[ChannelSpec]:
        """Return the specs after checking each; refuse names declared twice, now or before."""
        specs = list(channels)
        seen = dict.fromkeys(self._specs or ())
        for spec in specs:
            check_name(spec.name)
            check_payload(spec.name, spec.payload)
            check_settings(spec.name, spec.settings)
            if spec.name in seen:
                raise ConfigurationError(f"service {spec.name} is declared twice; remove one of the two")
            seen[spec.name] = None
        return specs

    def declare(self, specs: Iterable[ChannelSpec]) -> None:
        """Add to what may be opened; everything undeclared is refused from now on."""
        self._specs = {**(self._specs or {}), **{spec.name: spec for spec in specs}}

    def settings_for(self, service: str, payload: PayloadType, asked: ServiceSettings) -> ServiceSettings:
        """Return the settings to open ``service`` with: the declared ones, or ``asked`` in dynamic mode."""
        if self._specs is None:
            return asked
        self.check_declared(service)
        spec = self._specs[service]
        if spec.payload != payload:
            raise mismatch_error(service, "declared payload type", spec.payload, payload)
        return spec.settings

    def check_declared(self, service: str) -> None:
        """Refuse a name outside the topology."""
        if self._specs is not None and service not in self._specs:
            raise undeclared_error(service, list(self._specs))

    def check_event(self, service: str) -> None:
        """Refuse an event service that belongs to no declared service."""
        if self._specs is None or any(service in (name, event_service_name(name)) for name in self._specs):
            return
        raise undeclared_error(service, list(self._specs))
