"""What the system says of a CAN interface is read from the answer of ip, and compared with the machine file."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taktora.can.backend import CanRequest, make_interface
from taktora.can.linkinfo import CanLinkInfo, misfit, parse_link, read_link
from taktora.errors import ConfigurationError
from taktora.runtime import Runtime

_CAN0: dict[str, Any] = {
    "ifindex": 3,
    "ifname": "can0",
    "flags": ["NOARP", "UP", "LOWER_UP", "ECHO"],
    "mtu": 72,
    "linkinfo": {
        "info_kind": "can",
        "info_data": {
            "ctrlmode": ["FD"],
            "state": "ERROR-PASSIVE",
            "berr_counter": {"tx": 128, "rx": 3},
            "restart_ms": 100,
            "bittiming": {"bitrate": 500000, "sample_point": "0.875"},
            "data_bittiming": {"bitrate": 2000000, "sample_point": "0.750"},
        },
    },
}
_VCAN0 = {"ifname": "vcan0", "flags": ["NOARP", "UP"], "mtu": 16, "linkinfo": {"info_kind": "vcan"}}


@pytest.mark.verifies("REQ_8503")
def test_a_controller_tells_rates_restart_and_counters() -> None:
    assert parse_link(_CAN0).facts() == {
        "kind": "can",
        "bitrate": "500000",
        "data_bitrate": "2000000",
        "sample_point": "0.875",
        "restart_ms": "100",
        "controller": "ERROR-PASSIVE",
        "error_counters": "transmit 128, receive 3",
    }


@pytest.mark.verifies("REQ_8503")
def test_a_virtual_interface_tells_its_kind_and_no_more() -> None:
    assert parse_link(_VCAN0).facts() == {"kind": "vcan"}


@pytest.mark.verifies("REQ_8503", "REQ_0602")
def test_an_interface_that_is_not_there_is_unknown() -> None:
    assert read_link("nocan77") is None


@pytest.mark.verifies("REQ_0644")
@pytest.mark.parametrize(
    ("bitrate", "data_bitrate", "says"),
    [
        (500_000, 2_000_000, ""),
        (500_000, None, ""),
        (250_000, None, "can0 runs at 500000 bit/s, the machine file says 250000; 'ip link set can0 down', then 'ip"),
        (
            500_000,
            5_000_000,
            "can0 sends data at 2000000 bit/s, the machine file says 5000000 bit/s; 'ip link set can0",
        ),
    ],
)
def test_another_bit_rate_is_told_with_the_command_that_sets_it(
    bitrate: int, data_bitrate: int | None, says: str
) -> None:
    fault = misfit(parse_link(_CAN0), bitrate, data_bitrate)

    assert fault.startswith(says)
    assert bool(fault) == bool(says)


@pytest.mark.verifies("REQ_0644", "REQ_0611")
def test_a_classical_controller_under_a_bus_of_can_fd_is_told() -> None:
    link = CanLinkInfo("can0", "can", is_up=True, mtu=16, bitrate=500_000)

    assert misfit(link, 500_000, 2_000_000).startswith("can0 carries no CAN FD, the machine file says 2000000 bit/s; ")
    assert "up type can bitrate 500000 dbitrate 2000000 fd on'" in misfit(link, 500_000, 2_000_000)


@pytest.mark.verifies("REQ_0644")
def test_a_virtual_interface_fits_every_bit_rate() -> None:
    assert misfit(parse_link(_VCAN0), 125_000, 8_000_000) == ""


@pytest.mark.verifies("REQ_0644")
def test_an_application_refuses_an_interface_that_runs_at_another_bit_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ip"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps([_CAN0])}\nEND\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    request = CanRequest(bus="vehicle", node="app", interface="can0", bitrate=125_000)
    wrong_rate = pytest.raises(ConfigurationError, match=r"CAN bus 'vehicle': can0 runs at 500000")
    with closing(Runtime.system("inprocess")) as runtime, wrong_rate:
        make_interface(runtime, request)
