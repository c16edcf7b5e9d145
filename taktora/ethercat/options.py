"""What can be chosen when an EtherCAT connector is made, and the plan that a driver works from; nothing is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self, TypeAlias

from taktora.connector.reconnect import ExponentialBackoff, RandomSource, ReconnectPolicy
from taktora.errors import ConfigurationError
from taktora.ethercat.image import ImageLayout
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.routing import EthercatRouting, PdoDirection

__all__ = ["MIN_CYCLE_TIME_NS", "BusPlan", "EthercatConnectorOptions", "PolicyFactory", "SliceCopy"]

MIN_CYCLE_TIME_NS = 1_000_000

PolicyFactory: TypeAlias = Callable[[RandomSource], ReconnectPolicy]
"""Makes the reconnect policy of one recovery episode; given the runtime's entropy for its jitter."""


# req: REQ_8154
@dataclass(frozen=True, slots=True)
class SliceCopy:
    """Input bits of one SubDevice that the driver copies to output bits of another in every cycle.

    What arrives with the inputs of cycle k leaves with the outputs of cycle k + 1.

    Raises:
        ConfigurationError: ``source`` is no input, ``target`` no output, or their lengths differ.
    """

    source: EthercatRouting
    target: EthercatRouting

    def __post_init__(self) -> None:
        if self.source.direction is not PdoDirection.TX or self.target.direction is not PdoDirection.RX:
            raise ConfigurationError(
                f"copy from {self.source} to {self.target}: it goes from inputs (tx) to outputs (rx)"
            )
        if self.source.bit_length != self.target.bit_length:
            raise ConfigurationError(f"copy from {self.source} to {self.target}: the two lengths differ")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusPlan:
    """All that a driver and the runner over it need, wherever they run: plain frozen values, good for pickle and JSON.

    Args:
        subdevices: The SubDevices of the process image in bus order, each with its ``position`` given.
        cycle_time_ns: Period of the absolute grid.
        distributed_clocks: Do the DC bring-up and distribute the reference clock with each exchange.
        max_output_age_cycles: Cycles without renewal after which a SubDevice's outputs become the safe ones.
        degraded_after_cycles: Consecutive low working counters from which on health is Degraded.
        low_counter_timeout_ns: Low for this long, the segment is brought up again; None: never.
        ftti_ns: Fault-tolerant time of the process.
        copies: What is copied from inputs to outputs.
        network_interface: Interface of a real bus.
    """

    subdevices: tuple[SubDeviceMap, ...]
    cycle_time_ns: int = 2_000_000
    distributed_clocks: bool = False
    max_output_age_cycles: int = 3
    degraded_after_cycles: int = 1
    low_counter_timeout_ns: int | None = 1_000_000_000
    ftti_ns: int = 100_000_000
    copies: tuple[SliceCopy, ...] = ()
    network_interface: str | None = None

    # req: REQ_8150
    @property
    def safe_after_ns(self) -> int:
        """Longest time from the last renewal of an application that dies to the exchange with its safe outputs.

        What is staged just after one exchange counts from the next one on; then comes the largest age, then one more.
        """
        return (self.max_output_age_cycles + 2) * self.cycle_time_ns

    # req: REQ_8150
    @property
    def max_output_age_slots(self) -> int:
        """Most slots of the grid, skipped ones counted, for which outputs that nobody renews stay live.

        Half of the fault-tolerant time, less the slot before the first one counted and the exchange in the last one.
        """
        return max(self.max_output_age_cycles, self.ftti_ns // 2 // self.cycle_time_ns - 2)

    def layout(self) -> ImageLayout:
        """Return where each SubDevice lies in the process image."""
        return ImageLayout([(sub.address, sub.label, sub.output_bits, sub.input_bits) for sub in self.subdevices])

    def safe_outputs(self) -> bytes:
        """Return the output image in which every SubDevice is safe."""
        return b"".join(sub.safe_outputs for sub in self.subdevices)

    def expected_wkc(self, subdevice_count: int) -> int:
        """Return the working counter of an exchange with the first ``subdevice_count`` positions of the bus (REQ_0329).

        A SubDevice that is on the bus and not in the plan adds nothing, nor does one that is in the plan only.
        """
        return sum(
            sub.expected_wkc for sub in self.subdevices if sub.position is None or sub.position < subdevice_count
        )


# req: REQ_0314, REQ_0316, REQ_0322, REQ_0332
@dataclass(frozen=True, slots=True, kw_only=True)
class EthercatConnectorOptions:
    """Options of an EtherCAT connector; values out of range are clamped.

    Args:
        pdo_map: The SubDevices of the process image in bus order.
        cycle_time_ns: Default 2 ms; below 1 ms it is 1 ms.
        distributed_clocks: Default off.
        network_interface: Interface of a real bus.
        outbound_capacity: Messages held on the way out, default 256, at least 1.
        inbound_capacity: Cycles held on the way in, default 256, at least 1.
        inbound_drop_threshold: Dropped cycles from which on health becomes Degraded, default 1, at least 1.
        reconnect_policy_factory: Called once per recovery episode (REQ_0332); for a bus in a process of its own it must
            be a name that pickle finds: a class or a function of a module.
        max_output_age_cycles: Cycles without renewal until safe outputs, default 3, at least 1 (REQ_8150).
        degraded_after_cycles: Consecutive low working counters until Degraded, default 1, at least 1 (REQ_0320).
        low_counter_timeout_ns: Low for this long, the segment is brought up again; None: never.
        ftti_ns: Fault-tolerant time of the process, default 100 ms.
        copies: What the driver copies from inputs to outputs in every cycle (REQ_8154).
        telemetry_window: Cycles that percentiles and extremes cover, default 1024, at least 1 (REQ_0262).

    Raises:
        ConfigurationError: two SubDevices with one address, label or position, a copy outside of the images, or outputs
            that would be safe later than half of the fault-tolerant time.
    """

    pdo_map: tuple[SubDeviceMap, ...] = ()
    cycle_time_ns: int = 2_000_000
    distributed_clocks: bool = False
    network_interface: str | None = None
    outbound_capacity: int = 256
    inbound_capacity: int = 256
    inbound_drop_threshold: int = 1
    reconnect_policy_factory: PolicyFactory = ExponentialBackoff
    max_output_age_cycles: int = 3
    degraded_after_cycles: int = 1
    low_counter_timeout_ns: int | None = 1_000_000_000
    ftti_ns: int = 100_000_000
    copies: tuple[SliceCopy, ...] = ()
    telemetry_window: int = 1024

    def __post_init__(self) -> None:
        settle = object.__setattr__
        settle(self, "cycle_time_ns", max(MIN_CYCLE_TIME_NS, self.cycle_time_ns))
        for name in (
            "outbound_capacity",
            "inbound_capacity",
            "inbound_drop_threshold",
            "max_output_age_cycles",
            "degraded_after_cycles",
            "telemetry_window",
        ):
            settle(self, name, max(1, getattr(self, name)))
        settle(self, "pdo_map", tuple(_with_position(sub, place) for place, sub in enumerate(self.pdo_map)))
        for name in ("address", "label", "position"):
            _refuse_twice(name, [getattr(sub, name) for sub in self.pdo_map])
        for copy in self.copies:
            self.check_slice(copy.source)
            self.check_slice(copy.target)
        self._check_output_age()

    @classmethod
    def of_plan(cls, plan: BusPlan) -> Self:
        """Return options that make ``plan``; what a plan does not have is the default."""
        found = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name != "subdevices"}
        return cls(pdo_map=plan.subdevices, **found)

    def plan(self) -> BusPlan:
        """Return what driver and runner need."""
        return BusPlan(
            subdevices=self.pdo_map,
            cycle_time_ns=self.cycle_time_ns,
            distributed_clocks=self.distributed_clocks,
            max_output_age_cycles=self.max_output_age_cycles,
            degraded_after_cycles=self.degraded_after_cycles,
            low_counter_timeout_ns=self.low_counter_timeout_ns,
            ftti_ns=self.ftti_ns,
            copies=self.copies,
            network_interface=self.network_interface,
        )

    # req: REQ_8150
    def _check_output_age(self) -> None:
        safe_after_ns = self.plan().safe_after_ns
        if any(sub.output_bits for sub in self.pdo_map) and safe_after_ns > self.ftti_ns // 2:
            raise ConfigurationError(
                f"EthercatConnectorOptions: outputs that nobody renews are safe after {safe_after_ns / 1e6:g} ms "
                f"(max_output_age_cycles + 2 cycles); half of ftti_ns is {self.ftti_ns / 2e6:g} ms: lower "
                "max_output_age_cycles or cycle_time_ns, or raise ftti_ns if the process allows it"
            )

    def check_slice(self, routing: EthercatRouting) -> SubDeviceMap:
        """Return the SubDevice that ``routing`` names.

        Raises:
            ConfigurationError: no such SubDevice in the map, or the slice ends beyond its image.
        """
        for sub in self.pdo_map:
            if sub.address == routing.subdevice_address:
                bits = sub.output_bits if routing.direction is PdoDirection.RX else sub.input_bits
                if routing.bit_offset + routing.bit_length > bits:
                    raise ConfigurationError(f"slice {routing} of {sub.label!r} ends beyond its {bits} bits")
                return sub
        known = ", ".join(map(str, self.pdo_map)) or "none"
        raise ConfigurationError(
            f"slice {routing}: no SubDevice {routing.subdevice_address:#06x} in pdo_map; there is {known}"
        )


def _with_position(sub: SubDeviceMap, place: int) -> SubDeviceMap:
    return sub if sub.position is not None else replace(sub, position=place)


def _refuse_twice(name: str, values: list[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            shown = f"{value:#06x}" if name == "address" else repr(value)
            raise ConfigurationError(f"EthercatConnectorOptions.pdo_map: two SubDevices have {name} {shown}")
