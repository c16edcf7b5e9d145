"""Programs of other people, unmodified, on simulated buses: in processes of their own, or with threads in a World."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import can
import cantools
import pytest

from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.sim.fresh import hash_of, run_fresh
from tests.system.can import canopen_program, isotp_program
from tests.system.can.parts import started, until

pytestmark = pytest.mark.verifies("REQ_8203")

_posix = pytest.mark.skipif(os.name != "posix", reason="not run: a terminal and its signals, tested on POSIX")
_HERE = Path(__file__).parent
_CANOPEN_SAW = [
    "type 0x191",
    "vendor 0x7ffffff0",
    "target 0x12345678 0x12345678",
    f"note {canopen_program.NOTE} | {canopen_program.NOTE}",
    "abort 0x06020000",
    "beat PRE-OPERATIONAL",
    "states OPERATIONAL OPERATIONAL",
    "rpdo True 4711",
    "tpdo True 815",
    "emergency True 0x2310 2",
]
_ISOTP_SAW = ["request True 4095", "answer True 4095"]


@pytest.fixture(params=["virtual", "real"])
def time(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both kinds of time, with threads."""
    if request.param == "real":
        yield "real"
        return
    with World(1) as world, world.foreign_threads():
        yield "virtual"


def _open(channel: str, **more: int) -> can.BusABC:
    return can.Bus(interface="taktora_sim", channel=channel, ignore_config=True, **more)  # type: ignore[arg-type]


def _message(arbitration_id: int, *data: int) -> can.Message:
    return can.Message(arbitration_id=arbitration_id, data=data, is_extended_id=False)


def _tool(name: str, *arguments: str) -> list[str]:
    return ["-u", "-W", "error::DeprecationWarning:taktora_sim", "-m", name, *arguments]


@_posix
def test_the_logger_of_python_can_writes_what_another_process_sends(channel: str, tmp_path: Path) -> None:
    log = tmp_path / "out.log"
    arguments = _tool("can.logger", "-i", "taktora_sim", "-c", channel, "-b", "500000", "-f", str(log))
    with started(arguments) as logger, _open(channel) as bus:
        assert logger.stdout is not None
        said = logger.stdout.readline() + logger.stdout.readline()
        assert f"Connected to TaktoraSimBus: taktora_sim channel '{channel}'" in said
        for number in range(600):
            bus.send(_message(number, number % 256))
        until(lambda: log.stat().st_size, "nothing was written")  # the logger writes what fills its buffer
        logger.send_signal(signal.SIGINT)
        assert logger.wait(PATIENCE_S) == 0

    lines = log.read_text().splitlines()
    stamps = [float(line[1 : line.index(")")]) for line in lines]
    assert len(lines) > 100
    assert [line.split()[2] for line in lines] == [f"{n:03X}#{n % 256:02X}" for n in range(len(lines))]
    assert all(later > earlier for earlier, later in pairwise(stamps))


def test_the_player_of_python_can_keeps_the_spacing_of_its_log(channel: str, tmp_path: Path) -> None:
    log = tmp_path / "in.log"
    log.write_text(
        "".join(f"({10 + number / 10:.6f}) vcan0 {0x100 + number:03X}#{number:02X}\n" for number in range(6))
    )
    with _open(channel) as bus, started(_tool("can.player", "-i", "taktora_sim", "-c", channel, str(log))) as player:
        found = [bus.recv(PATIENCE_S) for _ in range(6)]
        assert player.wait(PATIENCE_S) == 0

    messages = [message for message in found if message is not None]
    assert [message.arbitration_id for message in messages] == list(range(0x100, 0x106))
    assert messages[-1].timestamp - messages[0].timestamp > 0.4


@_posix
def test_the_bridge_of_python_can_joins_two_channels(channel: str) -> None:
    other = f"{channel}b"
    ends = ["--bus1-interface", "taktora_sim", "--bus1-channel", channel]
    ends += ["--bus2-interface", "taktora_sim", "--bus2-channel", other]
    with started(_tool("can.bridge", *ends)) as bridge, _open(channel) as left, _open(other) as right:
        assert bridge.stdout is not None
        assert "CAN Bridge" in bridge.stdout.readline()
        for number in range(5):
            left.send(_message(number))
            there = right.recv(PATIENCE_S)
            right.send(_message(number + 0x100))
            back = left.recv(PATIENCE_S)
            assert there is not None
            assert back is not None
            assert (there.arbitration_id, back.arbitration_id) == (number, number + 0x100)
        bridge.send_signal(signal.SIGINT)
        assert bridge.wait(PATIENCE_S) == 0


@_posix
def test_the_monitor_of_cantools_shows_decoded_signals_on_a_terminal(channel: str) -> None:
    screen = _monitor(["-i", "taktora_sim", "-c", channel, "-b", "500000", str(_HERE / "vehicle.dbc")], channel)

    shown = re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]", "", screen)
    assert "EngineData(" in shown
    assert re.search(r"Rpm: 1500(\.0)? rpm", shown)
    assert re.search(r"Coolant: 50(\.0)? degC", shown)
    assert "Gear: Second" in shown


def _monitor(arguments: list[str], channel: str) -> str:
    """Run the monitor on a terminal of its own while a bus sends, and return what it drew."""
    import pty
    import termios

    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (40, 120))
    drawn = bytearray()
    monitor = subprocess.Popen(
        [sys.executable, "-m", "cantools", "monitor", *arguments],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    try:
        database: Any = cantools.database.load_file(_HERE / "vehicle.dbc")
        payload = database.encode_message("EngineData", {"Rpm": 1500, "Coolant": 50, "Gear": 2})
        with _open(channel) as bus:
            bus.send_periodic(_message(0x100, *payload), 0.1)
            until(lambda: _drew(terminal, drawn, b"Second"), "the monitor shows no signal")
            os.write(terminal, b"q")
            until(lambda: _drew(terminal, drawn, b"") and monitor.poll() is not None, "the monitor does not end")
    finally:
        monitor.kill()
        monitor.wait(PATIENCE_S)
        os.close(inside)
        os.close(terminal)
    assert monitor.returncode == 0, drawn
    return drawn.decode("utf-8", "replace")


def _drew(terminal: int, drawn: bytearray, wanted: bytes) -> bool:
    import select

    if select.select([terminal], [], [], 0.05)[0]:
        drawn += os.read(terminal, 65536)
    return wanted in drawn


def test_a_canopen_network_works_in_real_time(channel: str) -> None:
    assert canopen_program.run(channel, PATIENCE_S) == _CANOPEN_SAW


def test_isotp_carries_4095_bytes_each_way_in_real_time(channel: str) -> None:
    assert isotp_program.run(channel, PATIENCE_S) == _ISOTP_SAW


@pytest.mark.parametrize(
    ("program", "saw"),
    [("canopen_program", _CANOPEN_SAW), ("isotp_program", _ISOTP_SAW)],
)
def test_a_program_with_threads_gives_one_hash_in_virtual_time(program: str, saw: list[str]) -> None:
    code = f"from tests.system.can.{program} import main; main()"
    runs = [run_fresh(command=code, hash_seed=seed) for seed in ("1", "2", "1")]

    hashes = {hash_of(run) for run in runs}
    assert len(hashes) == 1
    assert runs[0].stdout.splitlines()[:-2] == saw
    assert runs[0].stdout == runs[1].stdout


def test_listeners_of_a_notifier_get_every_message_in_order(channel: str, time: str) -> None:
    with _open(channel) as sender, _open(channel) as first, _open(channel) as second:
        reader = can.BufferedReader()
        printed: list[can.Message] = []
        with can.Notifier([first, second], [reader, printed.append]) as notifier:
            for number in range(30):
                sender.send(_message(number))
            found = [reader.get_message(PATIENCE_S) for _ in range(60)]
            assert notifier.exception is None

    ids = [message.arbitration_id for message in found if message is not None]
    assert sorted(ids) == sorted([*range(30), *range(30)])
    assert len(printed) == 60


def test_a_listener_that_answers_from_its_thread_is_heard(channel: str, time: str) -> None:
    with _open(channel) as asker, _open(channel) as server:

        def answer(message: can.Message) -> None:
            server.send(_message(message.arbitration_id + 1))

        with can.Notifier(server, [answer]):
            answers = []
            for number in range(0, 20, 2):
                asker.send(_message(number))
                answers.append(asker.recv(PATIENCE_S))

    assert [message and message.arbitration_id for message in answers] == list(range(1, 20, 2))


def test_what_a_logger_has_written_a_player_sends_again(channel: str, time: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        sender, receiver = (stack.enter_context(_open(channel)) for _ in range(2))
        writer = stack.enter_context(can.Logger(tmp_path / "bus.asc"))
        for number in range(5):
            sender.send(_message(0x20 + number, number))
            message = receiver.recv(PATIENCE_S)
            assert message is not None
            writer(message)
    with _open(channel) as sender, _open(channel) as receiver, can.LogReader(tmp_path / "bus.asc") as reader:
        for message in can.MessageSync(reader, gap=0.001):
            message.is_rx = False
            sender.send(message)
        found = [receiver.recv(PATIENCE_S) for _ in range(5)]

    assert [(message.arbitration_id, bytes(message.data)) for message in found if message] == [
        (0x20 + number, bytes([number])) for number in range(5)
    ]


def test_threads_share_a_thread_safe_bus(channel: str, time: str) -> None:
    import threading

    with (
        can.ThreadSafeBus(channel=channel, interface="taktora_sim", ignore_config=True) as bus,
        _open(channel) as receiver,
    ):

        def send(first: int) -> None:
            for number in range(first, first + 10):
                bus.send(_message(number))

        threads = [threading.Thread(target=send, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        found = [receiver.recv(PATIENCE_S) for _ in range(30)]
        for thread in threads:
            thread.join(PATIENCE_S)

    ids = [message.arbitration_id for message in found if message]
    assert sorted(ids) == [first + number for first in (0, 100, 200) for number in range(10)]


def test_the_tester_of_cantools_sends_and_expects(channel: str, time: str) -> None:
    database = cantools.database.load_file(_HERE / "vehicle.dbc")
    tester: Any = cantools.tester.Tester
    with _open(channel) as engine_bus, _open(channel) as dash_bus:
        engine = tester("Engine", database, engine_bus)
        dash = tester("Dash", database, dash_bus)
        engine.start()
        dash.start()
        engine.send("EngineData", {"Rpm": 1500, "Coolant": 50, "Gear": 2})
        data = dash.expect("EngineData", timeout=PATIENCE_S)
        dash.send("Lamps", {"Warning": 1})
        lamps = engine.expect("Lamps", {"Warning": 1}, timeout=PATIENCE_S)
        engine.stop()
        dash.stop()
        for bus in (engine_bus, dash_bus):
            for notifier in can.Notifier.find_instances(bus):
                notifier.stop()

    assert (data["Rpm"], data["Coolant"], str(data["Gear"])) == (1500, 50, "Second")
    assert lamps == {"Warning": 1}
