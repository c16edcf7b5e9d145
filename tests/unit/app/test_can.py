"""CAN buses of an App: what is declared is checked against machine file and DBC before anything is opened."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import can
import pytest

from taktora.app import App, Bench, CanBacking
from taktora.can import CanConnector, CanFdFlags, CanFrame, CanFrameKind
from taktora.errors import ConfigurationError
from taktora_sim.can.backend import bus_of
from taktora_sim.world import World

_DBC = """VERSION ""

BU_: Radar Fusion

BO_ 1024 Track: 22 Radar
 SG_ Range : 0|16@1+ (0.1,0) [0|6000] "m" Fusion

BO_ 257 Speed: 8 Radar
 SG_ Value : 0|16@1+ (0.1,0) [0|6000] "m/s" Fusion

BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 1024 20;
BA_ "GenMsgCycleTime" BO_ 257 10;
"""


def _machine(folder: Path, bus: str) -> Path:
    (folder / "radar.dbc").write_text(_DBC, encoding="ascii")
    path = folder / "machine.yaml"
    path.write_text(f"machine: car\ncan:\n  front: {bus}\n", encoding="ascii")
    return path


@pytest.mark.verifies("REQ_8510", "REQ_0612")
@pytest.mark.parametrize("end", ["reader", "writer"])
def test_an_unknown_message_is_told_with_the_line_that_asks_for_it(tmp_path: Path, end: str) -> None:
    app = App("fusion", _machine(tmp_path, "{dbc: radar.dbc}"))
    declare = getattr(app.can("front"), end)
    declare("Trakc")

    with World(1) as world, pytest.raises(ConfigurationError, match=r"^test_can\.py:\d+: .*radar\.dbc: no message 'Tr"):
        app.bind(world.runtime)


@pytest.mark.verifies("REQ_0612", "REQ_8510")
def test_a_message_of_can_fd_needs_a_bus_of_can_fd(tmp_path: Path) -> None:
    app = App("fusion", _machine(tmp_path, "{dbc: radar.dbc}"))
    app.can("front").reader("Track")

    said = r"^test_can\.py:\d+: CAN bus 'front': message Track \(400, 22 bytes\) is one of CAN FD, .*'data_bitrate: "
    with World(1) as world, pytest.raises(ConfigurationError, match=said):
        app.bind(world.runtime)


@pytest.mark.verifies("REQ_0611", "REQ_0640")
def test_the_kind_of_a_channel_follows_from_the_dbc(tmp_path: Path) -> None:
    app = App("fusion", _machine(tmp_path, "{dbc: radar.dbc, data_bitrate: 2000000}"))
    bus = app.can("front")
    bus.reader("Track")
    bus.reader("Speed")

    with World(1) as world, app.bind(world.runtime):
        assert isinstance(bus.connector, CanConnector)
        channels = bus.connector.driver("front").link.inbound_channels.entries
        assert [(channel.routing.kind, channel.routing.fd_flags) for channel in channels] == [
            (CanFrameKind.FD, CanFdFlags.BRS),
            (CanFrameKind.CLASSICAL, CanFdFlags.NONE),
        ]


@pytest.mark.verifies("REQ_0611")
def test_a_message_that_the_dbc_sends_without_bit_rate_switch_is_sent_without(tmp_path: Path) -> None:
    app = App("fusion", _machine(tmp_path, "{dbc: radar.dbc, data_bitrate: 2000000}"))
    (tmp_path / "radar.dbc").write_text(
        _DBC + 'BA_DEF_ BO_ "CANFD_BRS" ENUM "0","1";\nBA_DEF_DEF_ "CANFD_BRS" "1";\nBA_ "CANFD_BRS" BO_ 1024 0;\n',
        encoding="ascii",
    )
    bus = app.can("front")
    bus.reader("Track")

    with World(1) as world, app.bind(world.runtime):
        assert isinstance(bus.connector, CanConnector)
        (channel,) = bus.connector.driver("front").link.inbound_channels.entries
        assert (channel.routing.kind, channel.routing.fd_flags) == (CanFrameKind.FD, CanFdFlags.NONE)


def _spoken(
    folder: Path, restbus: dict[str, object], *, sends_track: bool = False, name: str = "fusion"
) -> list[tuple[str, int]]:
    """Return the frames of 100 ms on a bus with an application that listens, each as (node, identifier)."""
    app = App(name, _machine(folder, "{dbc: radar.dbc, data_bitrate: 2000000}"))
    app.can("front").reader("Speed")
    if sends_track:
        app.can("front").writer("Track")
    bench = Bench(can={"front": CanBacking(restbus=restbus)})
    spoken = []
    with World(1) as world, app.bind(world.runtime, bench=bench) as bound:
        bus_of(world, "front").observe(lambda done: spoken.append((done.node, done.frame.can_id)))
        bound.start()
        world.run_for(100_000_000)
    return spoken


@pytest.mark.verifies("REQ_8208")
def test_a_bench_puts_the_rest_of_the_bus_on_it_and_leaves_out_what_the_application_sends(tmp_path: Path) -> None:
    spoken = _spoken(tmp_path, {})

    assert {node for node, _can_id in spoken} == {"Radar"}
    assert [spoken.count(("Radar", can_id)) for can_id in (0x400, 0x101)] == [5, 10]
    assert {can_id for _node, can_id in _spoken(tmp_path, {}, sends_track=True)} == {0x101}


@pytest.mark.verifies("REQ_8208")
def test_an_application_with_the_name_of_a_node_is_that_node(tmp_path: Path) -> None:
    assert _spoken(tmp_path, {}, name="Radar") == []


@pytest.mark.verifies("REQ_8208", "REQ_8510")
def test_a_wrong_restbus_of_a_bench_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^bench 'bench': \[can\.front\.restbus\]: .*'Trakc'"):
        _spoken(tmp_path, {"cycle_times_ms": {"Trakc": 20}})

    path = tmp_path / "late.toml"
    path.write_text("[can.front.restbus.cycle_times_ms]\nTrakc = 20\n", encoding="utf-8")
    app = App("fusion", tmp_path / "machine.yaml")
    app.can("front").reader("Speed")
    with World(1) as world, pytest.raises(ConfigurationError) as caught:
        app.bind(world.runtime, bench=path)

    assert str(caught.value).startswith(f"{path}: [can.front.restbus]: ")


@pytest.mark.verifies("REQ_8021")
def test_two_applications_on_one_bus_may_read_the_same_message(tmp_path: Path) -> None:
    machine = _machine(tmp_path, "{dbc: radar.dbc}")
    apps = [App(name, machine) for name in ("fusion", "logger")]
    speeds = [app.can("front").reader("Speed") for app in apps]
    with World(1) as world, apps[0].bind(world.runtime) as first, apps[1].bind(world.runtime) as second:
        for bound in (first, second):
            bound.start()
        bus_of(world, "front").node("radar").transmit(CanFrame(257, bytes(8)))
        world.run_for(10_000_000)
        received = [[value.Value for value in speed.drain()] for speed in speeds]

    assert received == [[0.0], [0.0]]


def _two_apps_that_say(folder: Path, first: str | None, second: str | None) -> None:
    """Bind two applications that use one bus, each with a bench file that says this of the bus; None: with none."""
    machine = _machine(folder, "{dbc: radar.dbc}")
    with World(1) as world, ExitStack() as stack:
        for name, words in (("fusion", first), ("logger", second)):
            app = App(name, machine)
            app.can("front").reader("Speed")
            bench = None if words is None else folder / f"{name}.toml"
            if bench is not None:
                bench.write_text(f"[can.front]\nsimulated = true\n{words}\n", encoding="utf-8")
            stack.enter_context(app.bind(world.runtime, bench=bench))
        assert bus_of(world, "front").acknowledge is ("true" in (first or ""))


@pytest.mark.verifies("REQ_8510", "REQ_8021")
@pytest.mark.parametrize(("first", "second"), [("acknowledge = true", None), (None, "acknowledge = true")])
def test_another_wish_for_the_acknowledge_of_a_bus_is_refused_with_both_places(
    tmp_path: Path, first: str | None, second: str | None
) -> None:
    def said(name: str, words: str | None) -> str:
        where = "by no bench file" if words is None else f"by {tmp_path / name}.toml: [can.front]"
        return f"acknowledge = {'false' if words is None else 'true'} for App {name!r} ({where})"

    with pytest.raises(ConfigurationError) as refused:
        _two_apps_that_say(tmp_path, first, second)

    assert str(refused.value) == (
        f"CAN bus 'front' has {said('fusion', first)} and is to have {said('logger', second)}; a bus has one listener "
        "that acknowledges or none: say the same for both"
    )


@pytest.mark.verifies("REQ_8510", "REQ_8021")
@pytest.mark.parametrize(("first", "second"), [("acknowledge = true", "acknowledge = true"), (None, "")])
def test_one_wish_for_the_acknowledge_of_a_bus_may_be_said_twice(
    tmp_path: Path, first: str | None, second: str | None
) -> None:
    _two_apps_that_say(tmp_path, first, second)


@pytest.mark.verifies("REQ_8203")
def test_an_application_takes_the_bus_of_a_program_that_came_before_it_as_it_is(tmp_path: Path) -> None:
    app = App("fusion", _machine(tmp_path, "{dbc: radar.dbc}"))
    app.can("front").reader("Speed")
    with World(1) as world, world.as_current(), can.Bus(interface="taktora_sim", channel="front", ignore_config=True):
        app.bind(world.runtime).close()

        assert bus_of(world, "front").acknowledge


def _two_apps_on(
    folder: Path, first: str, second: str, names: tuple[str, str] = ("fusion", "logger"), writes: str = ""
) -> list[int]:
    """Bind two applications, each with a bench file that says this of the bus; return the identifiers of 100 ms.

    ``writes`` names a message that the second one sends, or could.
    """
    machine = _machine(folder, "{dbc: radar.dbc, data_bitrate: 2000000}")
    for log, can_id in (("a.log", 0x101), ("b.log", 0x123)):
        (folder / log).write_text(f"(1.000000) can0 {can_id:03X}#00\n(1.010000) can0 124#00\n", encoding="ascii")
    seen: list[int] = []
    with World(1) as world, ExitStack() as stack:
        for name, words in zip(names, (first, second), strict=True):
            app = App(name, machine)
            app.can("front").reader("Speed")
            if writes and name == names[1]:
                app.can("front").writer(writes)
            bench = folder / f"{name}.toml"
            bench.write_text(f"[can.front]\nacknowledge = true\n{words}\n", encoding="utf-8")
            bound = stack.enter_context(app.bind(world.runtime, bench=bench))
            bound.start()
        bus_of(world, "front").observe(lambda done: seen.append(done.frame.can_id))
        world.run_for(100_000_000)
    return seen


@pytest.mark.verifies("REQ_8510", "REQ_8021", "REQ_8205")
@pytest.mark.parametrize(
    ("second", "log", "channel"),
    [
        ("replay = 'b.log'", "b.log", ""),
        ("replay = 'a.log'\nreplay_channel = 'can0'", "a.log", ", replay_channel = 'can0'"),
    ],
)
def test_another_recording_for_a_bus_is_refused_with_both_places(
    tmp_path: Path, second: str, log: str, channel: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _two_apps_on(tmp_path, "replay = 'a.log'", second)

    had, asked = str(tmp_path / "a.log"), str(tmp_path / log)
    assert str(refused.value) == (
        f"CAN bus 'front' has replay = {had!r} for App 'fusion' (by {tmp_path / 'fusion.toml'}: [can.front]) and is to "
        f"have replay = {asked!r}{channel} for App 'logger' (by {tmp_path / 'logger.toml'}: [can.front]); a bus has "
        "one replay: say the same for both, or for one of them only"
    )


@pytest.mark.verifies("REQ_8510", "REQ_8021", "REQ_8208")
def test_another_restbus_is_refused_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _two_apps_on(tmp_path, "restbus = {}", "restbus = {exclude = ['Track']}")

    places = [f"(by {tmp_path / name}.toml: [can.front.restbus])" for name in ("fusion", "logger")]
    assert str(refused.value) == (
        f"CAN bus 'front' has restbus = {{}} of radar.dbc for App 'fusion' {places[0]} and is to have "
        f"restbus = {{'exclude': ['Track']}} of radar.dbc for App 'logger' {places[1]}; a bus has one restbus: say the "
        "same for both, or for one of them only"
    )


@pytest.mark.verifies("REQ_8021", "REQ_8205")
@pytest.mark.parametrize(("first", "second"), [("replay = 'a.log'", ""), ("", "replay = 'a.log'")])
def test_a_recording_may_be_said_for_one_application_or_the_same_for_both(
    tmp_path: Path, first: str, second: str
) -> None:
    assert _two_apps_on(tmp_path, first, second) == [0x101, 0x124]
    assert _two_apps_on(tmp_path, "replay = 'a.log'", "replay = './a.log'") == [0x101, 0x124]


@pytest.mark.verifies("REQ_8021", "REQ_8205", "REQ_8208")
def test_what_the_second_application_sends_is_left_out_of_what_both_have(tmp_path: Path) -> None:
    assert _two_apps_on(tmp_path, "replay = 'a.log'", "replay = 'a.log'", writes="Speed") == [0x124]
    assert set(_two_apps_on(tmp_path, "restbus = {}", "restbus = {}")) == {0x101, 0x400}
    assert set(_two_apps_on(tmp_path, "restbus = {}", "restbus = {}", writes="Speed")) == {0x400}


@pytest.mark.verifies("REQ_8510", "REQ_8208")
def test_an_application_that_is_a_node_of_the_restbus_of_another_one_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    names = ("fusion", "Radar")
    with pytest.raises(ConfigurationError) as refused:
        _two_apps_on(tmp_path, "restbus = {}", "", names)

    place = f"{tmp_path / 'fusion.toml'}: [can.front.restbus]"
    assert str(refused.value) == (
        f"CAN bus 'front' has restbus = {{}} of radar.dbc for App 'fusion' (by {place}), which sends as 'Radar', and "
        "App 'Radar' is to be that node; write exclude = ['Radar'] into the rest-bus"
    )
    assert _two_apps_on(tmp_path, "restbus = {exclude = ['Radar']}", "", names) == []
