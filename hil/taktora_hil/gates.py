"""The gates of the hil world: what each variable names, whether that is there, and what to do next; it changes nothing.

Nothing is sent to a bus. Routers and brokers are asked for a connection, and it is closed at once.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from taktora.errors import TaktoraError

__all__ = ["GATES", "Finding", "Gate", "look", "why_unusable"]

_NET: Final = Path("/sys/class/net")
_ETHERNET, _CAN = 1, 280
"""Kinds of network interfaces as the kernel numbers them (ARPHRD)."""
_IFF_UP: Final = 0x1
_CONNECT_S: Final = 2.0
_MQTT_PORT: Final = 1883
_LOCATOR: Final = re.compile(r"(?P<protocol>tcp|tls|ws|udp|quic)/(?P<host>\[[^]]+\]|[^/:]+):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found for one variable.

    Args:
        variable: Its name.
        value: What it is set to; None: not set.
        found: What is there, in words.
        problem: Why the resource cannot be used; empty when it can, or when the gate is not set.
        next_step: What to do about it.
    """

    variable: str
    value: str | None
    found: tuple[str, ...] = ()
    problem: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A variable that names a resource of the bench."""

    variable: str
    what: str
    example: str
    check: Callable[[str], Finding]
    also: tuple[str, ...] = field(default=())
    """Variables that say more about the resource."""

    # req: REQ_8502
    def look(self, environment: Mapping[str, str]) -> Finding:
        """Return what the variable names and whether it is there."""
        value = environment.get(self.variable, "").strip()
        if not value:
            step = f"export {self.variable}={self.example}  # {self.what}"
            return Finding(self.variable, None, next_step=step)
        return self.check(value)


def look(environment: Mapping[str, str]) -> list[Finding]:
    """Return what each gate is set to and what is found there, in the order of ``GATES``."""
    return [gate.look(environment) for gate in GATES]


# req: REQ_8502
def why_unusable(variables: Iterable[str], environment: Mapping[str, str]) -> str:
    """Return what is wrong with the first resource that one of ``variables`` names, or "" where nothing is.

    A variable that is not set has no resource to look for: that the test does not run is another matter.
    """
    by_name = {gate.variable: gate for gate in GATES}
    for name in variables:
        problem = by_name[name].look(environment).problem if name in by_name else ""
        if name == "ETHERCAT_TEST_MACHINE":
            problem = _why_no_machine(environment)
        if problem:
            return problem
    return ""


def _why_no_machine(environment: Mapping[str, str]) -> str:
    from taktora_hil.ethercat_bench import load_hil_machine

    try:
        load_hil_machine(environment)
    except TaktoraError as error:
        return f"ETHERCAT_TEST_MACHINE={environment['ETHERCAT_TEST_MACHINE']}: {error}"
    return ""


def _ethercat(name: str) -> Finding:
    gate = "ETHERCAT_TEST_NIC"
    found, problem = _interface(name, _ETHERNET, "Ethernet", gate)
    if not problem:
        from taktora.ethercat.nic import check_interface, has_link  # Linux only

        try:
            check_interface(name)
            found = (*found, "up, raw sockets allowed", "has a link" if has_link(name) else "no link")
            problem = "" if has_link(name) else f"{gate}={name}: no link; check cable and power of the first SubDevice"
        except TaktoraError as error:
            problem = f"{gate}={name}: {error}"
    return _finding(gate, name, found, problem, "taktora hil status --scan shows what is plugged into it")


def _can(value: str) -> Finding:
    gate = "CAN_TEST_IFACE"
    found: tuple[str, ...] = ()
    problem = ""
    for name in (part.strip() for part in value.split(",")):
        facts, fault = _interface(name, _CAN, "CAN", gate)
        if not fault and not _flags(name) & _IFF_UP:
            fault = f"{gate}={name}: the interface is down; 'ip link set {name} up' brings it up"
        found += tuple(f"{name}: {fact}" for fact in (*facts, *_controller(name)))
        problem = problem or fault
    return _finding(gate, value, found, problem, "pytest --world hil tests/hil/test_can.py")


def _controller(name: str) -> tuple[str, ...]:
    """Return what the system tells of the controller behind a CAN interface; nothing for a virtual one."""
    from taktora.can.linkinfo import read_link

    link = read_link(name)
    if link is None or link.bitrate is None:
        return ()
    data = "" if link.data_bitrate is None else f", data at {link.data_bitrate} bit/s"
    restart = f"restart-ms {link.restart_ms}" if link.restart_ms else "no restart by itself after bus-off"
    return (f"{link.bitrate} bit/s{data}, sample point {link.sample_point}, {link.state}, {restart}",)


def _interface(name: str, kind: int, kind_name: str, gate: str) -> tuple[tuple[str, ...], str]:
    """Return what is known of a network interface, and why it cannot be used."""
    if sys.platform != "linux":
        return (), f"{gate}={name}: needs Linux, this is {sys.platform}"
    folder = _NET / name
    if "/" in name or not folder.is_dir():
        there = ", ".join(sorted(path.name for path in _NET.iterdir() if path.is_dir())) or "none"
        return (), f"{gate}={name}: no such interface, there is {there}; 'ip link' lists them"
    is_kind = int((folder / "type").read_text(encoding="ascii"))
    if is_kind != kind:
        right = "an Ethernet" if kind == _ETHERNET else "a CAN"
        return (
            (),
            f"{gate}={name}: the interface is of kind {is_kind} (ARPHRD), expected {kind}: name {right} interface",
        )
    return (f"{kind_name} interface",), ""


def _flags(name: str) -> int:
    return int((_NET / name / "flags").read_text(encoding="ascii"), 16)


def _zenoh(locator: str) -> Finding:
    gate = "ZENOH_TEST_ROUTER"
    parts = _LOCATOR.fullmatch(locator)
    if parts is None:
        problem = f"{gate}={locator}: no locator; expected one as tcp/192.168.1.10:7447"
        return Finding(gate, locator, (), problem, "correct the variable")
    host, port = parts["host"].strip("[]"), int(parts["port"])
    if parts["protocol"] in ("udp", "quic"):
        return Finding(gate, locator, ("not looked at: nobody answers a connection on UDP",), "", "run the tests")
    return _reach(gate, locator, host, port, "router")


def _mqtt(value: str) -> Finding:
    gate = "MQTT_TEST_BROKER"
    host, _, port = value.rpartition(":") if re.search(r":\d+$", value) else (value, "", str(_MQTT_PORT))
    return _reach(gate, value, host.strip("[]"), int(port), "broker")


def _reach(gate: str, value: str, host: str, port: int, what: str) -> Finding:
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        problem = f"{gate}={value}: no {what} answers at {host} port {port} ({why}); start it, or correct the variable"
        return Finding(gate, value, (), problem, f"start the {what}, or correct the variable")
    return Finding(gate, value, (f"a {what} takes connections at {host} port {port}",), "", "run the tests")


def _finding(gate: str, value: str, found: tuple[str, ...], problem: str, step: str) -> Finding:
    return Finding(gate, value, found, problem, problem.rpartition("; ")[2] if problem else step)


GATES: Final = (
    Gate(
        "ETHERCAT_TEST_NIC",
        "Ethernet interface that the segment is plugged into",
        "eth1",
        _ethercat,
        ("ETHERCAT_TEST_MACHINE", "ETHERCAT_TEST_WD_ADDRESS"),
    ),
    Gate("CAN_TEST_IFACE", "SocketCAN interface, several with commas", "can0", _can),
    Gate("ZENOH_TEST_ROUTER", "locator of a Zenoh router", "tcp/127.0.0.1:7447", _zenoh),
    Gate(
        "MQTT_TEST_BROKER",
        "host[:port] of an MQTT broker",
        "127.0.0.1:1883",
        _mqtt,
        ("MQTT_TEST_USER", "MQTT_TEST_PASS", "MQTT_TEST_CA"),
    ),
)
"""All gates of the hil world."""
