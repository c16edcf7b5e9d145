"""A running EtherCAT segment for a test, the same to use in every world: simulated, on a rig, or the one on the bench.

In ``sim`` a MainDevice in virtual time drives the simulated segment, in ``rig`` SOEM drives the same segment behind a
virtual cable, in ``hil`` SOEM drives what is plugged into ``ETHERCAT_TEST_NIC``. Faults have the same names in ``sim``
and ``rig``. Who asks this which world it is in has lost the point.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from taktora.app.bench import Bench, EthercatBacking
from taktora.app.machine import load_machine
from taktora.connector.reconnect import ExponentialBackoff, RandomSource
from taktora.errors import ConfigurationError
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.driver import BusDriver, Steps
from taktora.ethercat.image import CyclicBus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan, EthercatConnectorOptions
from taktora.ethercat.resolve import resolve
from taktora.ethercat.scan import FoundDevice
from taktora.ethercat.scan_diff import differences
from taktora.runtime import Runtime
from taktora.testing.bus_log import BusLog

if TYPE_CHECKING:
    from taktora.app import App
    from taktora.app.bound import BoundApp
    from taktora_hil.rig_ethercat import EthercatRig
    from taktora_sim.world import World

__all__ = [
    "BusLog",
    "EthercatBench",
    "HilMachine",
    "RealEthercat",
    "RigEthercat",
    "RunningBus",
    "SimulatedBench",
    "load_hil_machine",
]

T = TypeVar("T")

PATIENCE_S: Final = 60.0
"""How long :meth:`EthercatBench.until` waits; on virtual time it costs nothing."""

_FRAME_TIMEOUT_US: Final = 45_000
_PRIORITY: Final = 50
_POLL_S: Final = 0.005


def quick_policy(random: RandomSource) -> ExponentialBackoff:
    """Return a reconnect policy for tests: 20 ms to 100 ms, for ever."""
    return ExponentialBackoff(random, initial_ns=20_000_000, max_ns=100_000_000)


@dataclass(frozen=True, slots=True)
class RunningBus:
    """A bus that was started: the bus itself, what it has reported, and its plan."""

    bus: CyclicBus
    log: BusLog
    plan: BusPlan


class EthercatBench(ABC):
    """One segment, what the machine file says of it, and the time it lives in.

    Args:
        machine: Machine file.
        name: Name of the bus in it.
    """

    world: str

    def __init__(self, machine: Path, name: str | None = None) -> None:
        loaded = load_machine(machine)
        self.machine: Final = machine
        self.name: Final = loaded.chosen_ethercat_bus(name, str(machine))
        self.spec: Final[EthercatBusSpec] = loaded.ethercat_bus(self.name, str(machine))
        self._stack = ExitStack()

    @property
    @abstractmethod
    def runtime(self) -> Runtime:
        """What an application is bound to."""

    @property
    def facts(self) -> dict[str, str]:
        """What the fingerprint of a result says about this bench."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was made here, the latest first; idempotent."""
        self._stack.close()

    # --- what a test does -----------------------------------------------------------------------------------------

    def make_bus(self, **changes: Any) -> RunningBus:
        """Return the bus, not started: its driver, its cycle, its recovery. ``changes`` are fields of its plan."""
        plan = replace(resolve(self.spec), **changes)
        options = replace(EthercatConnectorOptions.of_plan(plan), reconnect_policy_factory=quick_policy)
        request = BusRequest(
            bus=self.name,
            node="test",
            options=options,
            spec=self.spec,
            folder=self.machine.parent,
            interface=self._interface,
        )
        bus: CyclicBus = self.runtime.backend("ethercat")(self.runtime, request)
        self._stack.callback(bus.close)
        return RunningBus(bus, BusLog(), plan)

    @abstractmethod
    def start(self, running: RunningBus) -> RunningBus:
        """Begin the bring-up of a bus from :meth:`make_bus`, and return it."""

    def open_bus(self, **changes: Any) -> RunningBus:
        """Return the bus, made and started."""
        return self.start(self.make_bus(**changes))

    @abstractmethod
    def make_driver(self, **changes: Any) -> BusDriver:
        """Return the MainDevice alone, to be stepped by :meth:`run`; no bus may be open beside it."""

    @abstractmethod
    def run(self, steps: Steps[T]) -> T:
        """Pace one operation of a driver to its end."""

    @contextmanager
    def bind(self, app: App) -> Iterator[BoundApp]:
        """Bind an application to the segment and start it, for the duration of a ``with`` block.

        It runs when the block begins: a ``start()`` of what is handed out is refused.
        """
        backing = {} if self._interface is None else {self.name: EthercatBacking(interface=self._interface)}
        with app.bind(self.runtime, machine=self.machine, bench=Bench(ethercat=backing)) as bound:
            bound.start()
            yield bound

    def until(self, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Let time go by until ``condition`` holds.

        Raises:
            AssertionError: it does not within ``within_s`` of the bench's time.
        """
        assert self._wait(lambda: bool(condition()), within_s), f"it did not come about within {within_s:g} s"

    def wait(self, running: RunningBus, condition: Callable[[BusLog], object], within_s: float = PATIENCE_S) -> None:
        """Let time go by until ``condition`` holds for what a bus has reported; fails at once when its driver fails."""
        log = running.log
        self._wait(lambda: bool(condition(log) or log.failures), within_s)
        assert not log.failures, log.failures
        assert condition(log), f"it did not come about within {within_s:g} s: {log.kinds[-10:]} {log.reasons[-1:]}"

    @abstractmethod
    def fault(self, kind: str, label: str = "", **parameters: Any) -> AbstractContextManager[None]:
        """Hold a fault of the device ``label`` (or of the segment) for the duration of a ``with`` block."""

    @abstractmethod
    def devices(self) -> dict[str, dict[str, Any]]:
        """Return what the devices themselves say, by label: ``state``, ``outputs`` and ``inputs`` (hex), ``values``.

        ``outputs`` is what was written last, ``outputs_in_effect`` what is on the terminals (``outputs_are_safe``).
        """

    def states(self) -> set[str]:
        """Return the AL states that the devices are in."""
        return {device["state"] for device in self.devices().values()}

    # --- what a world does ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _interface(self) -> str | None:
        """Network interface of the segment; None in a simulated world."""

    @abstractmethod
    def _wait(self, condition: Callable[[], bool], within_s: float) -> bool: ...


class SimulatedBench(EthercatBench):
    """The simulated segment on virtual time."""

    world = "sim"

    def __init__(self, machine: Path, name: str | None = None, seed: int = 1) -> None:
        from taktora_sim.world import World

        super().__init__(machine, name)
        self._world: World = self._stack.enter_context(World(seed))

    @property
    def runtime(self) -> Runtime:
        return self._world.runtime

    @property
    def _interface(self) -> str | None:
        return None

    def start(self, running: RunningBus) -> RunningBus:
        executor = self.runtime.executor_builder("gateway").build()
        for item in running.bus.items():  # type: ignore[attr-defined]  # paced by the gateway's executor
            executor.add(item)
        handle = self.runtime.start(executor)
        self._stack.callback(executor.close)
        self._stack.callback(handle.join)
        self._stack.callback(executor.stop)
        self._stack.callback(running.bus.close)
        running.bus.start(running.log)
        return running

    def make_driver(self, **changes: Any) -> BusDriver:
        from taktora_sim.ethercat.maindevice import SimulatedMainDevice

        self.make_bus().bus.close()  # which makes the segment
        driver = SimulatedMainDevice(self._segment(), replace(resolve(self.spec), **changes))
        self._stack.callback(driver.close)
        return driver

    def run(self, steps: Steps[T]) -> T:
        while True:
            try:
                due_ns = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            self._world.run_for(max(0, due_ns - self._world.now_ns()))

    @contextmanager
    def fault(self, kind: str, label: str = "", **parameters: Any) -> Iterator[None]:
        end = self._world.faults.inject(_target(self.name, label), kind, None, parameters)
        try:
            yield
        finally:
            end()

    def devices(self) -> dict[str, dict[str, Any]]:
        return {device.label: dict(device.snapshot()) for device in self._segment().subdevices}

    def _segment(self) -> Any:
        from taktora_sim.ethercat.backend import segment_of

        return segment_of(self._world, self.name)

    def _wait(self, condition: Callable[[], bool], within_s: float) -> bool:
        return self._world.run_until(condition, round(within_s * 1e9))


class _OnTheWallClock(EthercatBench):
    """What rig and hil share: SOEM on a network interface."""

    def __init__(self, machine: Path, name: str | None = None) -> None:
        super().__init__(machine, name)
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            from taktora.ethercat.backend import make_bus
            from taktora.ethercat.soem_options import SoemOptions
            from taktora.executor.attributes import ThreadAttributes
            from taktora.transport.iceoryx import IceoryxTransport

            self._runtime = Runtime.system(IceoryxTransport(isolated=True))
            self._stack.callback(self._runtime.close)
            self._runtime.backends["ethercat"] = partial(
                make_bus,
                soem=SoemOptions(frame_timeout_us=_FRAME_TIMEOUT_US),
                attributes=ThreadAttributes(priority=_PRIORITY),
            )
        return self._runtime

    def start(self, running: RunningBus) -> RunningBus:
        running.bus.start(running.log)
        return running

    def make_driver(self, **changes: Any) -> BusDriver:
        from taktora.ethercat.soem import SoemDriver
        from taktora.ethercat.soem_options import SoemOptions

        plan = replace(resolve(self.spec), network_interface=self._interface, **changes)
        driver = SoemDriver(plan, SoemOptions(frame_timeout_us=_FRAME_TIMEOUT_US))
        self._stack.callback(driver.close)
        return driver

    def run(self, steps: Steps[T]) -> T:
        while True:
            try:
                due_ns = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)

    def _wait(self, condition: Callable[[], bool], within_s: float) -> bool:
        give_up_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() >= give_up_s:
                return False
            time.sleep(_POLL_S)
        return True


class RigEthercat(_OnTheWallClock):
    """The simulated segment behind a virtual cable, on wall time, driven by SOEM."""

    world = "rig"

    def __init__(self, machine: Path, name: str | None = None) -> None:
        from taktora_hil.rig_ethercat import EthercatRig

        super().__init__(machine, name)
        self.rig: EthercatRig = self._stack.enter_context(EthercatRig(self.spec, self.name, folder=machine.parent))

    @property
    def facts(self) -> dict[str, str]:
        from taktora_hil.fingerprint import fingerprint

        return {**fingerprint("ethercat", self.rig.interface), "interface": "virtual cable to a simulated segment"}

    @property
    def _interface(self) -> str | None:
        return self.rig.interface

    def fault(self, kind: str, label: str = "", **parameters: Any) -> AbstractContextManager[None]:
        return self.rig.control.fault(_target(self.name, label), kind, **parameters)

    def devices(self) -> dict[str, dict[str, Any]]:
        return self.rig.control.snapshot()


class RealEthercat(_OnTheWallClock):
    """The segment on the bench, driven by SOEM."""

    world = "hil"

    def __init__(self, machine: Path, interface: str, name: str | None = None, bench: Bench | None = None) -> None:
        super().__init__(machine, name)
        self._nic = interface
        self._bench = bench

    @property
    def facts(self) -> dict[str, str]:
        from taktora_hil.fingerprint import fingerprint

        return {**fingerprint("ethercat", self._nic), "machine_file": self.machine.name}

    @property
    def _interface(self) -> str | None:
        return self._nic

    # req: REQ_8509
    def fault(self, kind: str, label: str = "", **parameters: Any) -> AbstractContextManager[None]:
        from taktora_hil.injectors import find_injector, inject

        del parameters  # a relay has none
        injector = find_injector(self._bench, kind, label)
        if injector is not None:
            return inject(injector, kind)
        raise ConfigurationError(
            f"no injector for {kind!r} of {label or self.name!r} on this bench; a test says what it needs by "
            f"@pytest.mark.fault({kind!r})"
        )

    def devices(self) -> dict[str, dict[str, Any]]:
        raise ConfigurationError(
            "the devices of a bench tell nothing beside the bus; a test that looks inside them belongs to "
            '@pytest.mark.world("sim", "rig")'
        )


@dataclass(frozen=True, slots=True)
class HilMachine:
    """The machine file of the real cabinet, and which of its buses is on the bench."""

    path: Path
    bus: str
    spec: EthercatBusSpec

    # req: REQ_8503
    def compare(self, found: tuple[FoundDevice, ...]) -> tuple[str, ...]:
        """Return how the segment found differs from the machine file, one sentence each."""
        return differences(self.spec, found, self.path.parent)


def load_hil_machine(environment: Mapping[str, str]) -> HilMachine | None:
    """Return the machine file that ``ETHERCAT_TEST_MACHINE`` names; None if it names none.

    ``ETHERCAT_TEST_BUS`` says which of several buses is meant.

    Raises:
        ConfigurationError: it is missing or malformed, or has no such bus.
    """
    path = Path(environment.get("ETHERCAT_TEST_MACHINE") or "")
    if not path.name:
        return None
    machine = load_machine(path)
    name = machine.chosen_ethercat_bus(environment.get("ETHERCAT_TEST_BUS") or None, f"{path}, ETHERCAT_TEST_BUS")
    return HilMachine(path, name, machine.ethercat_bus(name, "ETHERCAT_TEST_BUS"))


def _target(bus: str, label: str) -> str:
    return f"ethercat/{bus}/{label}" if label else f"ethercat/{bus}"
