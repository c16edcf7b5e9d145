"""docs/can.md: its blocks run, what it says of errors and health is what is said, and its tables name what there is."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taktora import App, Context
from taktora.app.machine import CanBusSpec, load_machine
from taktora.can import (
    CanConnectorOptions,
    CanErrorClass,
    CanErrorFrame,
    CanFrameKind,
    CanId,
    CanIface,
    CanRouting,
    ControllerOverflow,
    ControllerRestarted,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    InboundDrops,
    NoAcknowledge,
    ReceiveOverflow,
    RestartAwaited,
    SendRefused,
    TransceiverFault,
    TransmitStalled,
    can_channel,
    error_text,
    socketcan,
)
from taktora.can.dlc import FD_LENGTHS
from taktora.can.filter import FILTERS_MAX
from taktora.can.linkinfo import CanLinkInfo, misfit
from taktora.codec.dbc import load_dbc
from taktora.connector import ChannelDescriptor
from taktora.connector.aggregate import worst_of
from taktora.connector.health import Connecting, ConnectorHealth, Degraded, Down, Up
from taktora.errors import ConfigurationError
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can.backend import bus_of
from taktora_sim.world import World
from tests.sim.fresh import ROOT
from tests.unit.can.support import Bench

PAGE = (ROOT / "docs" / "can.md").read_text(encoding="utf-8")
S = 1_000_000_000
_DBC = """VERSION ""

BU_: ECU FAN RADAR

BO_ 256 EngineData: 4 ECU
 SG_ Rpm : 0|16@1+ (0.25,0) [0|16000] "rpm" FAN
 SG_ CoolantTemp : 16|8@1+ (1,-40) [-40|215] "degC" FAN
 SG_ Gear : 24|4@1+ (1,0) [0|2] "" FAN

BO_ 512 FanCommand: 1 FAN
 SG_ Duty : 0|8@1+ (1,0) [0|100] "%" ECU

BO_ 2566844672 Track: 22 RADAR
 SG_ Range : 0|16@1+ (0.1,0) [0|6000] "m" FAN
"""


class EngineData(msgspec.Struct):
    """Message of the DBC above."""

    Rpm: float
    CoolantTemp: int
    Gear: int


def block(language: str, words: str) -> str:
    (found,) = (each for each in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if words in each)
    return str(found)


def first_cells(heading: str) -> list[str]:
    """Return the first cell of each row of the table that begins so."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the machine file of the page and its DBC in it; no network interface is known."""
    (tmp_path / "vehicle.dbc").write_text(_DBC, encoding="ascii")
    (tmp_path / "machine.yaml").write_text(block("yaml", "machine: car"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socketcan, "_NETWORK", tmp_path)
    return tmp_path


@pytest.mark.verifies("REQ_8021", "REQ_8013", "REQ_0611")
def test_the_application_runs_on_the_bus_of_the_machine_file(folder: Path) -> None:
    names: dict[str, Any] = {"App": App, "Context": Context, "EngineData": EngineData}

    exec(block("python", 'App("monitor"'), names)

    app = names["app"]
    with World(1) as world, app.bind(world.runtime, machine=load_machine(folder / "machine.yaml")) as bound:
        bound.start()
        world.run_for(S)
        assert (bus_of(world, "vehicle").bitrate, bus_of(world, "vehicle").data_bitrate) == (500_000, 2_000_000)
        driver = names["vehicle"].connector.links[0].driver
        for told in ("controller_overflows", "overflowed", "undelivered", "unmatched", "remotes", "error_frames"):
            assert f"`driver.{told}`" in PAGE
            assert getattr(driver, told) == 0
        assert "`monitor.vehicle.EngineData`" in PAGE
        assert [channel.name for channel in driver.link.inbound_channels.entries] == ["monitor.vehicle.EngineData"]
        assert (driver.link.inbound.dropped, driver.link.drops.of("engine"), driver.link.refused) == (0, 0, 0)


@pytest.mark.verifies("REQ_8021")
def test_every_key_of_a_bus_is_in_the_table() -> None:
    assert [cell.strip("`") for cell in first_cells("key of a bus in the machine file")] == list(
        CanBusSpec.__struct_fields__
    )


@pytest.mark.verifies("REQ_0640")
@pytest.mark.usefixtures("folder")
def test_a_class_is_made_from_the_dbc() -> None:
    names: dict[str, Any] = {}

    exec(block("python", "DbcCodec(dbc)"), names)

    assert names["codec"].decode(names["dbc"].EngineData, memoryview(bytes((0xB1, 0x0C, 120, 1)))) == (
        names["dbc"].EngineData(Rpm=812.25, CoolantTemp=80, Gear=1)
    )
    sent = memoryview(bytearray(8))
    assert bytes(sent[: names["codec"].encode_into(names["order"], sent)]) == bytes((40,))


@pytest.mark.verifies("REQ_0600", "REQ_0620")
@pytest.mark.usefixtures("folder")
def test_a_connector_for_two_interfaces_is_made_by_hand() -> None:
    names: dict[str, Any] = {}
    exec(block("python", "DbcCodec(dbc)"), names)
    names["runtime"] = Runtime.system(transport="inprocess")

    exec(block("python", "ConnectorHost.builder"), names)

    assert [link.name for link in names["connector"].links] == ["can0", "can1"]
    names["host"].close()
    names["runtime"].close()


@pytest.mark.verifies("REQ_0611", "REQ_0622")
def test_limits_that_are_told_are_those_of_the_code() -> None:
    steps = ", ".join(str(length) for length in FD_LENGTHS if length >= 8)

    assert f"CAN FD has ({steps})" in PAGE.replace("\n", " ")
    assert f"than the kernel has filters ({FILTERS_MAX})" in PAGE.replace("\n", " ")
    options = CanConnectorOptions(ifaces=(CanIface("can0"),))
    assert (options.recovery_window_ns, options.inbound_bridge_capacity, options.inbound_drop_threshold) == (S, 256, 1)


_REASONS: list[object] = [
    IfaceDown("can0", detail=error_text(CanErrorFrame(CanErrorClass.PROTOCOL, bytes((0, 0, 0x81, 0x0A, 0, 0, 0, 0))))),
    IfaceDown("can0", "Network is down [ENETDOWN]"),
    IfaceDown("can0", socketcan.open_text("can0", OSError(errno.ENODEV, "No such device"))),
    RestartAwaited("can0"),
    ControllerRestarted("can0"),
    ErrorPassive("can0"),
    ErrorWarning("can0"),
    NoAcknowledge("can0"),
    TransceiverFault("can0", error_text(CanErrorFrame(CanErrorClass.TRANSCEIVER, bytes((0, 0, 0, 0, 0x04, 0, 0, 0))))),
    TransmitStalled("can0"),
    SendRefused("can0", "..."),
    ControllerOverflow("can0", 3),
    ReceiveOverflow("can0", 12),
    InboundDrops(12, "can0", "engine"),
]


@pytest.mark.verifies("REQ_0630", "REQ_8510")
@pytest.mark.parametrize("reason", _REASONS, ids=str)
def test_a_reason_is_told_in_the_words_that_it_has(reason: object) -> None:
    told = [text for cell in first_cells("reason") for text in re.findall(r"`([^`]+)`", cell)]

    assert [text for text in told if str(reason).startswith(text.removesuffix("..."))] != []


@pytest.mark.verifies("REQ_0630")
def test_the_table_tells_of_no_reason_that_there_is_not() -> None:
    told = [text for cell in first_cells("reason") for text in re.findall(r"`([^`]+)`", cell)]
    known = [*map(str, _REASONS), "backpressure: outbound bridge of vehicle/can0 is full"]

    assert [text for text in told if not any(each.startswith(text.removesuffix("...")) for each in known)] == []


@pytest.mark.verifies("REQ_0630")
def test_the_whole_is_what_its_table_says() -> None:
    up, connecting, doubt = Up(), Connecting(0), Connecting(0, RestartAwaited("can1"))
    trouble, down = Degraded(ErrorPassive("can1")), Down(IfaceDown("can1"), 0)
    cases: list[tuple[tuple[ConnectorHealth, ...], type[ConnectorHealth]]] = [
        ((up, up), Up), ((up, connecting), Up),
        ((up, trouble), Degraded), ((up, down), Degraded), ((up, doubt), Degraded),
        ((down, down), Down),
        ((connecting, connecting), Connecting), ((connecting, down), Connecting),
    ]  # fmt: skip

    for states, expected in cases:
        assert type(worst_of(zip(("can0", "can1"), states, strict=True))) is expected, states


def _refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        action()
    return str(refused.value)


@pytest.mark.verifies("REQ_0601", "REQ_0612", "REQ_8510")
def test_bad_input_is_refused_in_the_words_of_the_table(folder: Path) -> None:
    can0, app = CanIface("can0"), App("monitor", folder / "machine.yaml")
    wide = CanRouting(can0, CanId(1), kind=CanFrameKind.FD)
    app.can("vehicle").reader("Track")
    machine = load_machine(folder / "machine.yaml")
    classical = msgspec.structs.replace(machine.can["vehicle"], data_bitrate=None)
    with Bench(MockCanInterface("can0", carries_fd=False)) as bench, World(1) as world:
        said = [
            _refusal(lambda: CanIface("can 0")),
            _refusal(lambda: CanId(0x800)),
            _refusal(lambda: CanRouting(can0, CanId(1), 1 << 32)),
            _refusal(
                lambda: bench.connector.create_reader(
                    ChannelDescriptor("engine", CanRouting(can0, CanId(1)), 64), bytes
                )
            ),
            _refusal(lambda: bench.connector.create_reader(can_channel("track", wide), bytes)),
            _refusal(
                lambda: app.bind(
                    world.runtime, machine=msgspec.structs.replace(machine, can={"vehicle": classical})
                ).close()
            ),
        ]

    table = PAGE.partition("### Bad input")[2].partition("\n## ")[0]
    told = re.findall(r"\| `(.+?)` \|$", table, re.MULTILINE)
    assert len(told) == len(said)
    for text, refusal in zip(told, said, strict=True):
        assert text.removesuffix("...") in refusal


@pytest.mark.verifies("REQ_0644", "REQ_8510")
def test_another_bit_rate_is_told_in_the_words_of_the_page() -> None:
    link = CanLinkInfo("can0", "can", is_up=True, mtu=16, bitrate=250_000)

    assert f"CAN bus 'vehicle': {misfit(link, 500_000, None)}\n" in PAGE


@pytest.mark.verifies("REQ_0602")
def test_every_way_of_the_mock_is_there() -> None:
    told = re.findall(r"`(\w+)`", PAGE.partition("\n## In tests\n")[2].partition("\n## ")[0])

    assert len(told) == 8
    assert [name for name in told if not hasattr(MockCanInterface, name)] == []


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("page", ["can", "simulated-can", "can-scripts", "python-can"])
def test_the_pages_and_headings_that_are_linked_are_there(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w/.-]*)(#[\w-]+)?\)", text)

    assert links
    for path, heading in links:
        target = ROOT / "docs" / (path or f"{page}.md")
        assert target.exists(), path
        if heading:
            slugs = [_slug(line) for line in target.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
            assert heading in slugs, f"{path}{heading}"


def _slug(heading: str) -> str:
    return "#" + re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.verifies("REQ_0611", "REQ_0612")
def test_a_message_of_can_fd_is_known_by_its_length(folder: Path) -> None:
    found = {message.name: (message.is_fd, message.is_brs) for message in load_dbc(folder / "vehicle.dbc").messages}

    assert found["Track"] == (True, True)
    assert not found["EngineData"][0]
