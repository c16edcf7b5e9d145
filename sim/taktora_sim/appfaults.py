"""What can go wrong with the application itself, as fault kinds of the World's board; it decides nothing itself.

Kinds of every App that is bound (path ``app/<name>``):

========  ============================================================================================================
``kill``  its executors end at once, as on SIGKILL: nothing is closed, nothing is renewed, no message says so
``stop``  its executors stand still until the fault ends, as on SIGSTOP or at a breakpoint; then they go on late
``hang``  one executor (parameter ``executor``, ``main`` unless given) stands still: an item of it does not return
========  ============================================================================================================

Modelled: the executors of the application dispatch nothing. Simplified: the gateway goes on, as the driver of a real
bus does in its own process; what the application has sent is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora_sim.faults import FaultKind, Param, Parameters
from taktora_sim.reactor import SimReactor

if TYPE_CHECKING:
    from taktora.executor import Executor
    from taktora_sim.world import World

__all__ = ["AppFaults"]


class AppFaults:
    """The applications of one World as fault targets; ``world.part(AppFaults)`` is that World's own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._applications: dict[str, _Application] = {}

    # req: REQ_8150, REQ_8007
    def bound(self, name: str, executors: Mapping[str, Executor]) -> None:
        """Offer the faults of an App that was bound; one that is bound again is the same target."""
        application = self._applications.get(name)
        if application is None:
            application = self._applications[name] = _Application(self._world)
            self._world.faults.target(f"app/{name}", application.kinds())
        application.executors = executors


class _Application:
    """One App: its executors, and what holds them."""

    def __init__(self, world: World) -> None:
        self.executors: Mapping[str, Executor] = {}
        self._world = world

    def kinds(self) -> dict[str, FaultKind]:
        return {
            "kill": FaultKind(start=self._kill, describe="the application is killed"),
            "stop": FaultKind(start=self._stop, stop=self._go_on, describe="the application stands still"),
            "hang": FaultKind(
                start=self._hang,
                stop=self._return,
                params={"executor": Param(str, default="main")},
                describe="an item on executor {executor} does not return",
            ),
        }

    def _kill(self, _parameters: Parameters) -> None:
        # After this event: the fault may have been triggered by one of the very executors.
        self._world.post(self._end_all)

    def _end_all(self) -> None:
        for reactor in self._reactors():
            reactor.close()

    def _stop(self, _parameters: Parameters) -> None:
        for reactor in self._reactors():
            reactor.hold()

    def _go_on(self, _parameters: Parameters) -> None:
        for reactor in self._reactors():
            reactor.release()

    def _hang(self, parameters: Parameters) -> None:
        if parameters["executor"] not in self.executors:
            msg = f"fault 'hang': the application has no executor {parameters['executor']!r}"
            raise ConfigurationError(f"{msg}; it has {', '.join(self.executors)}")
        for reactor in self._reactors(str(parameters["executor"])):
            reactor.hold()

    def _return(self, parameters: Parameters) -> None:
        for reactor in self._reactors(str(parameters["executor"])):
            reactor.release()

    def _reactors(self, only: str | None = None) -> Iterable[SimReactor]:
        for name, executor in self.executors.items():
            if only in (None, name) and isinstance(executor.reactor, SimReactor):
                yield executor.reactor
