"""What the system says of a CAN interface: bit rates, sample point, restart-ms, state; it changes nothing.

Asked of ``ip -details -json link show`` (iproute2), which reads netlink: bit timing is nowhere else. A virtual
interface has none, and where there is no ``ip`` or no such interface nothing is known.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CanLinkInfo", "misfit", "parse_link", "read_link"]

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class CanLinkInfo:
    """One CAN interface as the kernel has it; None is what the interface does not have or tell.

    Args:
        name: Network interface.
        kind: ``can`` for a controller; ``vcan`` and ``vxcan`` are virtual.
        is_up: Brought up by the administrator.
        mtu: 16 for classical frames only, 72 with CAN FD.
        bitrate: Bit/s, of the arbitration phase in CAN FD.
        data_bitrate: Bit/s of the data phase.
        sample_point: Of the arbitration phase, as the kernel writes it (``0.875``).
        restart_ms: Time after which the kernel restarts a controller that is bus-off; 0 is never.
        state: Of the controller, for example ``ERROR-ACTIVE``.
        error_counters: Transmit and receive error counter.
    """

    name: str
    kind: str
    is_up: bool
    mtu: int
    bitrate: int | None = None
    data_bitrate: int | None = None
    sample_point: str | None = None
    restart_ms: int | None = None
    state: str | None = None
    error_counters: tuple[int, int] | None = None

    def facts(self) -> dict[str, str]:
        """Return what is known by name, in words for a report."""
        counters = self.error_counters and f"transmit {self.error_counters[0]}, receive {self.error_counters[1]}"
        found = {
            "kind": self.kind,
            "bitrate": self.bitrate,
            "data_bitrate": self.data_bitrate,
            "sample_point": self.sample_point,
            "restart_ms": self.restart_ms,
            "controller": self.state,
            "error_counters": counters,
        }
        return {name: str(value) for name, value in found.items() if value is not None}


def read_link(name: str) -> CanLinkInfo | None:
    """Return what the system says of interface ``name``; None where nobody can say."""
    command = ["ip", "-details", "-json", "link", "show", "dev", name]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603 - no shell
        links = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return parse_link(links[0]) if links else None


def parse_link(link: Mapping[str, Any]) -> CanLinkInfo:
    """Return what one entry of the answer of ``ip`` says."""
    info = link.get("linkinfo", {})
    data = info.get("info_data", {})
    timing, fast = data.get("bittiming", {}), data.get("data_bittiming", {})
    counters = data.get("berr_counter")
    sample_point = timing.get("sample_point")
    return CanLinkInfo(
        name=link["ifname"],
        kind=info.get("info_kind", "unknown"),
        is_up="UP" in link.get("flags", ()),
        mtu=int(link.get("mtu", 0)),
        bitrate=timing.get("bitrate"),
        data_bitrate=fast.get("bitrate") if "FD" in data.get("ctrlmode", ()) else None,
        sample_point=None if sample_point is None else str(sample_point),
        restart_ms=data.get("restart_ms", 0) if info.get("info_kind") == "can" else None,
        state=data.get("state"),
        error_counters=None if counters is None else (int(counters["tx"]), int(counters["rx"])),
    )


# req: REQ_0644 the bit rate is the administrator's: a wrong one is told, never set
def misfit(link: CanLinkInfo, bitrate: int, data_bitrate: int | None) -> str:
    """Return how the interface differs from what the machine file says of the bus, and the way out; "" if it fits."""
    if link.kind != "can":
        return ""  # a virtual one has no bit rate
    data = "" if data_bitrate is None else f" dbitrate {data_bitrate} fd on"
    way_out = f"'ip link set {link.name} down', then 'ip link set {link.name} up type can bitrate {bitrate}{data}'"
    if link.bitrate is not None and link.bitrate != bitrate:
        return (
            f"{link.name} runs at {link.bitrate} bit/s, the machine file says {bitrate}; {way_out}, or correct the file"
        )
    if data_bitrate is not None and link.is_up and link.data_bitrate != data_bitrate:
        has = "carries no CAN FD" if link.data_bitrate is None else f"sends data at {link.data_bitrate} bit/s"
        return f"{link.name} {has}, the machine file says {data_bitrate} bit/s; {way_out}, or correct the file"
    return ""
