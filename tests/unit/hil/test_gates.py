"""What is said about each gate: set or not, there or not, usable or not; the texts are held word by word."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora_hil import gates
from taktora_hil.cli.hil import app
from taktora_hil.gates import GATES, Finding, look

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="not run: network interfaces are looked at on Linux only")
VARIABLES = [gate.variable for gate in GATES]


def problem(variable: str, value: str) -> str:
    return next(finding.problem for finding in look({variable: value}) if finding.variable == variable)


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an Ethernet interface, a CAN interface that is down, and the loopback."""
    for name, kind, flags in (("eth1", 1, "0x1003"), ("can0", 280, "0x80"), ("can1", 280, "0x81"), ("lo", 772, "0x9")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        (tmp_path / name / "flags").write_text(f"{flags}\n")
    monkeypatch.setattr(gates, "_NET", tmp_path)
    return tmp_path


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.verifies("REQ_8501", "REQ_8510")
def test_an_unset_gate_says_how_to_set_it() -> None:
    assert look({"CAN_TEST_IFACE": " "}) == [
        Finding(
            "ETHERCAT_TEST_NIC",
            None,
            next_step="export ETHERCAT_TEST_NIC=eth1  # Ethernet interface that the segment is plugged into",
        ),
        Finding(
            "CAN_TEST_IFACE", None, next_step="export CAN_TEST_IFACE=can0  # SocketCAN interface, several with commas"
        ),
        Finding(
            "ZENOH_TEST_ROUTER",
            None,
            next_step="export ZENOH_TEST_ROUTER=tcp/127.0.0.1:7447  # locator of a Zenoh router",
        ),
        Finding(
            "MQTT_TEST_BROKER",
            None,
            next_step="export MQTT_TEST_BROKER=127.0.0.1:1883  # host[:port] of an MQTT broker",
        ),
    ]


@LINUX
@pytest.mark.verifies("REQ_8502", "REQ_8510")
@pytest.mark.usefixtures("interfaces")
@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        (
            "ETHERCAT_TEST_NIC",
            "eth9",
            "ETHERCAT_TEST_NIC=eth9: no such interface, there is can0, can1, eth1, lo; 'ip link' lists them",
        ),
        (
            "ETHERCAT_TEST_NIC",
            "lo",
            "ETHERCAT_TEST_NIC=lo: the interface is of kind 772 (ARPHRD), expected 1: name an Ethernet interface",
        ),
        (
            "CAN_TEST_IFACE",
            "can1,eth1",
            "CAN_TEST_IFACE=eth1: the interface is of kind 1 (ARPHRD), expected 280: name a CAN interface",
        ),
        ("CAN_TEST_IFACE", "can0", "CAN_TEST_IFACE=can0: the interface is down; 'ip link set can0 up' brings it up"),
        ("CAN_TEST_IFACE", "can1", ""),
        (
            "ZENOH_TEST_ROUTER",
            "localhost",
            "ZENOH_TEST_ROUTER=localhost: no locator; expected one as tcp/192.168.1.10:7447",
        ),
    ],
)
def test_a_set_gate_without_its_resource_says_why(variable: str, value: str, text: str) -> None:
    assert problem(variable, value) == text


@pytest.mark.verifies("REQ_8502", "REQ_8510")
def test_another_platform_has_no_network_interfaces_to_test_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    assert problem("ETHERCAT_TEST_NIC", "eth1") == "ETHERCAT_TEST_NIC=eth1: needs Linux, this is win32"


@pytest.mark.verifies("REQ_8502", "REQ_8510")
@pytest.mark.parametrize(
    ("variable", "form", "what"),
    [("ZENOH_TEST_ROUTER", "tcp/127.0.0.1:{}", "router"), ("MQTT_TEST_BROKER", "127.0.0.1:{}", "broker")],
)
def test_a_router_or_broker_is_asked_for_a_connection(
    variable: str, form: str, what: str, listener: int, closed_port: int
) -> None:
    place = f"at 127.0.0.1 port {closed_port}"

    assert problem(variable, form.format(listener)) == ""
    assert problem(variable, form.format(closed_port)).startswith(
        f"{variable}={form.format(closed_port)}: no {what} answers {place} ("
    )
    assert problem(variable, form.format(closed_port)).endswith("; start it, or correct the variable")


@pytest.mark.verifies("REQ_8502")
def test_status_fails_where_a_set_gate_has_nothing_behind_it(
    monkeypatch: pytest.MonkeyPatch, listener: int, tmp_path: Path
) -> None:
    for name in (*VARIABLES, "TAKTORA_BENCH", "TAKTORA_ARMED"):
        monkeypatch.delenv(name, raising=False)
    nothing_set = CliRunner().invoke(app, ["status"])
    monkeypatch.setenv("MQTT_TEST_BROKER", f"127.0.0.1:{listener}")
    monkeypatch.setenv("MQTT_TEST_PASS", "secret")
    fine = CliRunner().invoke(app, ["status"])
    monkeypatch.setenv("ETHERCAT_TEST_NIC", "nosuch0")
    bad = CliRunner().invoke(app, ["status"])
    monkeypatch.delenv("ETHERCAT_TEST_NIC")
    monkeypatch.setenv("TAKTORA_BENCH", str(tmp_path / "gone.toml"))
    no_bench = CliRunner().invoke(app, ["status"])

    assert [each.exit_code for each in (nothing_set, fine, bad, no_bench)] == [0, 0, 1, 1]
    assert f"    a broker takes connections at 127.0.0.1 port {listener}\n" in fine.stdout
    assert "secret" not in fine.stdout
    assert "    FAILED ETHERCAT_TEST_NIC=nosuch0: " in bad.stdout
    assert f"    FAILED {tmp_path / 'gone.toml'}: no such file" in no_bench.stdout


@LINUX
@pytest.mark.verifies("REQ_8502", "REQ_8503")
def test_a_can_controller_tells_what_decides_about_its_use(interfaces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = {"bitrate": 250000, "sample_point": "0.875"}
    data = {"ctrlmode": [], "state": "ERROR-ACTIVE", "restart_ms": 0, "bittiming": timing}
    link = {"ifname": "can1", "flags": ["UP"], "mtu": 16, "linkinfo": {"info_kind": "can", "info_data": data}}
    program = interfaces / "ip"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps([link])}\nEND\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(interfaces), prepend=":")

    found = next(each for each in look({"CAN_TEST_IFACE": "can1"}) if each.variable == "CAN_TEST_IFACE")

    assert found.found == (
        "can1: CAN interface",
        "can1: 250000 bit/s, sample point 0.875, ERROR-ACTIVE, no restart by itself after bus-off",
    )
