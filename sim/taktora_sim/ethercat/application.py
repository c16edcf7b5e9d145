"""The seam between a simulated ESC and the device behind it: process data, mail and state changes; no register.

The ESC calls an :class:`Application`, the application asks its :class:`EscPort`. All calls come on the one thread of
the World, between two frames or within one. None of them may raise: what a real device would do with nonsense, the
application does (refuse, abort, stay silent).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec, IdentitySpec
from taktora_sim.faults import FaultKind

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Application", "EscPort", "NullApplication"]


class EscPort(Protocol):
    """What an application may know and ask of its ESC."""

    @property
    def world(self) -> World: ...

    @property
    def path(self) -> str:
        """Path of traces, random streams and faults: ``ethercat/<bus>/<label>``."""
        ...

    @property
    def spec(self) -> DeviceSpec: ...

    @property
    def state(self) -> AlState:
        """The AL state as shown in register 0x0130, without the error bit."""
        ...

    @property
    def identity(self) -> IdentitySpec:
        """What the device says it is: the specification's, or another while a ``wrong-identity`` fault lasts."""
        ...

    def send_mail(self, data: bytes) -> bool:
        """Queue mail (header included) for SyncManager 1; it is padded to the mailbox.

        Returns False, and drops it, when the mailbox is not configured, the mail too long, or 16 are waiting.
        """
        ...

    def retreat(self, state: AlState, code: int) -> None:
        """Fall back to ``state`` with error bit and AL status code, as a device does that finds itself in trouble."""
        ...


class Application(Protocol):
    """What the PDI side of an ESC is connected to; :class:`NullApplication` has the defaults."""

    def attach(self, esc: EscPort) -> None:
        """Get the ESC; called once, before anything else."""
        ...

    def fault_kinds(self) -> Mapping[str, FaultKind]:
        """Return fault kinds of its own, offered beside those of the ESC at the SubDevice's path; called once."""
        ...

    def snapshot(self) -> Mapping[str, bool | int | float | str]:
        """Return values of the device by name, for people and test benches that look from outside."""
        ...

    def power_on(self) -> None:
        """Start anew: registers are reset, the state is INIT."""
        ...

    def check_transition(self, old: AlState, new: AlState) -> int:
        """Return 0 to accept a step that the ESC allows, else the AL status code to refuse it with."""
        ...

    def state_changed(self, state: AlState) -> None:
        """Take note of a state that has been reached."""
        ...

    def process_data_bytes(self) -> tuple[int, int] | None:
        """Return the lengths of outputs and inputs in bytes as assigned now, for the check of PRE-OP to SAFE-OP.

        None accepts whatever the MainDevice configures.
        """
        ...

    def outputs(self, data: memoryview) -> None:
        """Take new output data; once per frame that wrote it completely, in OP only. Valid during the call."""
        ...

    def outputs_in_effect(self) -> bytes | None:
        """Return the outputs as they are at the terminals, safe or not; None for a device that has none of its own."""
        ...

    def safe_outputs(self, reason: str) -> None:
        """Put the outputs into their safe state: watchdog expiry, leaving OP, loss of power."""
        ...

    def inputs(self, data: memoryview) -> bool:
        """Fill the input image (it holds what was there before); once per frame that reads it, in SAFE-OP and OP.

        Returns False when nothing was changed.
        """
        ...

    def mail(self, data: bytes) -> None:
        """Take the content of SyncManager 0's mailbox, padding included; the mailbox is empty again afterwards."""
        ...


class NullApplication:
    """A device that does nothing: a coupler, and the base of all others."""

    esc: EscPort

    def attach(self, esc: EscPort) -> None:
        self.esc = esc

    def fault_kinds(self) -> Mapping[str, FaultKind]:
        return {}

    def snapshot(self) -> Mapping[str, bool | int | float | str]:
        return {}

    def power_on(self) -> None: ...

    def check_transition(self, old: AlState, new: AlState) -> int:  # noqa: ARG002 - what a subclass decides by
        return 0

    def state_changed(self, state: AlState) -> None: ...

    def process_data_bytes(self) -> tuple[int, int] | None:
        return None

    def outputs(self, data: memoryview) -> None: ...

    def outputs_in_effect(self) -> bytes | None:
        return None

    def safe_outputs(self, reason: str) -> None: ...

    def inputs(self, data: memoryview) -> bool:  # noqa: ARG002 - what a subclass fills
        return False

    def mail(self, data: bytes) -> None: ...
