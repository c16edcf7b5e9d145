"""The server behind buses in real time: who starts it, who shares it, and that nothing of it stays."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

import can
import pytest

from taktora_sim.can import serve
from taktora_sim.can.python_can import client
from taktora_sim.can.python_can import server as server_module
from taktora_sim.can.python_can.runtime_folder import FOLDER_VARIABLE, ChannelLock, Endpoint, RuntimeFolder
from taktora_sim.can.python_can.server import CanServer
from taktora_sim.can.python_can.wire import JSON, message, package_version
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.system.can.parts import endpoint_of, is_served, kill, program, started, until

pytestmark = pytest.mark.verifies("REQ_8203")

_posix = pytest.mark.skipif(os.name != "posix", reason="not run: rights and interpreters as POSIX has them")

_ECHO = """
import can
with can.Bus(interface="taktora_sim", channel={channel!r}) as bus:
    print("ready", flush=True)
    for message in bus:
        message.arbitration_id += 1
        bus.send(message)
"""


@pytest.fixture
def bus(channel: str) -> Iterator[can.BusABC]:
    with _open(channel) as opened:
        yield opened


def _open(channel: str, **more: Any) -> can.BusABC:
    return can.Bus(interface="taktora_sim", channel=channel, ignore_config=True, **more)


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", line + process.stdout.read()


def _message(arbitration_id: int) -> can.Message:
    return can.Message(arbitration_id=arbitration_id, is_extended_id=False)


def test_programs_of_two_processes_meet_on_one_channel(bus: can.BusABC, channel: str) -> None:
    with started(program(_ECHO.format(channel=channel))) as echo:
        _ready(echo)

        bus.send(_message(0x10))
        answer = bus.recv(PATIENCE_S)

    assert answer is not None
    assert answer.arbitration_id == 0x11


def test_channels_are_buses_of_their_own(bus: can.BusABC, channel: str) -> None:
    with _open(f"{channel}b") as other, _open(f"{channel}b") as witness:
        bus.send(_message(1))
        other.send(_message(2))
        seen = witness.recv(PATIENCE_S)

    assert seen is not None
    assert seen.arbitration_id == 2


_ANSWER_ONCE = """
import can
with can.Bus(interface="taktora_sim", channel={channel!r}) as bus:
    print("ready", flush=True)
    bus.recv()
    bus.send(can.Message(arbitration_id={number}, is_extended_id=False))
"""


def test_processes_that_start_at_once_share_one_server(channel: str, servers: Path) -> None:
    numbers = [0x100, 0x101, 0x102, 0x103]
    with ExitStack() as stack:
        codes = [program(_ANSWER_ONCE.format(channel=channel, number=number)) for number in numbers]
        racers = [stack.enter_context(started(code)) for code in codes]
        for racer in racers:
            _ready(racer)
        with _open(channel) as bus:
            bus.send(_message(1))
            answers = [bus.recv(PATIENCE_S) for _ in numbers]

    assert sorted(answer.arbitration_id for answer in answers if answer) == numbers
    assert [path.name for path in servers.glob(f"{channel}.*.err")] == []


def test_the_server_ends_some_time_after_its_last_program(channel: str, servers: Path) -> None:
    with _open(channel):
        assert is_served(servers, channel)

    until(lambda: not is_served(servers, channel), "the server still runs")

    assert RuntimeFolder(servers).endpoint(channel) is None


def test_the_server_ends_when_its_programs_were_killed(channel: str, servers: Path) -> None:
    with started(program(_ECHO.format(channel=channel))) as echo:
        _ready(echo)
        kill(echo.pid)

    until(lambda: not is_served(servers, channel), "the server still runs")


def test_a_channel_can_be_had_with_another_bit_rate_by_who_asks_on(channel: str) -> None:
    _open(channel, bitrate=500_000).shutdown()

    def reopened() -> bool:
        with suppress(can.CanInitializationError), _open(channel, bitrate=250_000):
            return True
        return False

    until(reopened, "the channel still has the first bit rate")


def test_a_program_whose_server_was_killed_is_told_so_by_every_call(
    bus: can.BusABC, channel: str, servers: Path
) -> None:
    kill(endpoint_of(servers, channel).pid)
    until(lambda: not is_served(servers, channel), "the server still runs")

    for call in (lambda: bus.recv(), lambda: bus.recv(0), lambda: bus.send(_message(1)), lambda: bus.state):
        with pytest.raises(can.CanOperationError, match="has gone; shut this Bus down and open a new one") as gone:
            call()
        assert gone.value.error_code == errno.ENODEV
    bus.shutdown()
    bus.shutdown()


def test_a_channel_whose_server_was_killed_is_served_again(channel: str, servers: Path) -> None:
    with _open(channel) as first:
        before = endpoint_of(servers, channel)
        kill(before.pid)
        until(lambda: not is_served(servers, channel), "the server still runs")
        with _open(channel) as second, _open(channel) as third:
            second.send(_message(1))
            assert third.recv(PATIENCE_S) is not None
        assert first.channel_info

    assert endpoint_of(servers, channel) != before


def test_what_an_ended_server_has_left_leads_nobody_astray(channel: str, servers: Path) -> None:
    RuntimeFolder(servers).publish(channel, Endpoint(1, "nothing", 1, "0.0.0"))

    with _open(channel) as bus:
        assert bus.recv(0) is None


@_posix
def test_a_server_that_cannot_be_started_is_told_of(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "executable", f"{sys.base_prefix}/bin/python3")

    with pytest.raises(can.CanInitializationError, match=r"cannot run: .*python -m taktora_sim.can.serve"):
        _open(channel)


def test_versions_that_differ_refuse_each_other(bus: can.BusABC, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "package_version", lambda: "0.0.1")

    with pytest.raises(can.CanInitializationError, match=f"taktora {package_version()} and this program of 0.0.1"):
        _open(channel)

    assert bus.recv(0) is None


def test_who_does_not_know_the_secret_gets_nothing(bus: can.BusABC, channel: str, servers: Path) -> None:
    real = endpoint_of(servers, channel)
    RuntimeFolder(servers).publish(channel, Endpoint(real.port, "wrong", real.pid, real.version))

    with pytest.raises(can.CanInitializationError, match="token"):
        _open(channel)

    assert bus.recv(0) is None


@pytest.mark.parametrize("body", [b"[]", b"7", b"[" * 100_000, b"no JSON", b'{"token": "\xc3\xa9"}'])
def test_what_a_stranger_says_ends_his_connection_only(
    bus: can.BusABC, channel: str, servers: Path, body: bytes
) -> None:
    address = ("127.0.0.1", endpoint_of(servers, channel).port)
    with socket.create_connection(address, timeout=PATIENCE_S) as stranger:
        stranger.sendall(message(JSON, body))
        while stranger.recv(4096):
            pass  # until the server hangs up

    with _open(channel) as other:
        bus.send(_message(1))
        assert other.recv(PATIENCE_S) is not None


def _serve_until(server: CanServer, is_over: Callable[[], bool]) -> None:
    limit_s = monotonic() + PATIENCE_S
    server.run(lambda: is_over() or monotonic() > limit_s)
    assert is_over()


def test_who_does_not_say_who_he_is_is_hung_up_on(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "GREETING_S", 0.05)
    with (
        World(1) as world,
        closing(CanServer(world, channel)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as stranger,
    ):
        assert server.accept()
        assert server.empty_for_s == 0
        _serve_until(server, lambda: server.empty_for_s > 0)

        assert b"nobody has said within 0.05 s who is there" in stranger.recv(4096)
        assert stranger.recv(1) == b""


@contextmanager
def _served_here(channel: str, servers: Path, **more: Any) -> Iterator[CanServer]:
    """Give a server in this process that programs find; the test has it run."""
    with World(1, epoch_unix_ns=time_ns()) as world, closing(CanServer(world, channel, **more)) as server:
        lock = ChannelLock(RuntimeFolder(servers), channel)
        assert lock.take()
        RuntimeFolder(servers).publish(channel, Endpoint(server.port, server.token, os.getpid(), package_version()))
        try:
            yield server
        finally:
            lock.release()


def _serve_while(server: CanServer, call: Callable[[], None]) -> None:
    """Serve until ``call``, in a thread of its own, has returned."""
    programs = threading.Thread(target=call)
    programs.start()
    _serve_until(server, lambda: not programs.is_alive())
    programs.join()


def _refusal(channel: str, **more: Any) -> str:
    """Return why a bus cannot be opened."""
    with pytest.raises(can.CanInitializationError) as refused:
        _open(channel, **more)
    return str(refused.value)


def test_a_program_beyond_the_limit_of_connections_is_told_so(
    channel: str, servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS", 3)
    refused: list[str] = []

    def open_two() -> None:
        with _open(channel):
            refused.append(_refusal(channel))

    with _served_here(channel, servers) as server:
        _serve_while(server, open_two)

    assert "takes 3 connections, two for each program" in refused[0]


def test_a_refused_program_prolongs_nothing_and_is_told_when_the_channel_is_free(
    channel: str, servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(server_module, "monotonic", lambda: now_s[0])
    refused: list[str] = []

    def ask_on() -> None:
        with _open(channel, bitrate=500_000), _open(channel):
            refused.append(_refusal(channel, bitrate=250_000))
        until(lambda: not server.clients, "the server has not noticed that its programs have gone")
        now_s[0] += 3.5
        refused.append(_refusal(channel, bitrate=250_000))
        now_s[0] += 1.0
        refused.append(_refusal(channel, fd=True))

    with _served_here(channel, servers, linger_s=5.0) as server:
        _serve_while(server, ask_on)
        _serve_until(server, lambda: server.empty_for_s > 0)

        assert server.empty_for_s == 4.5
    rate = "all nodes of a bus have one bit rate"
    gone = "no program has the bus any more: it is given up in"
    assert refused[0].endswith(
        f"{rate}; the bus is given up 5.0 s after the last of its 2 programs has gone, then the channel is free"
    )
    assert refused[1].endswith(f"{rate}; {gone} 1.5 s, then the channel is free")
    assert refused[2].endswith(f"or serve it with --fd; {gone} 0.5 s, then the channel is free")


def test_a_program_that_a_server_by_hand_refuses_is_told_whose_bus_it_is(channel: str, servers: Path) -> None:
    refused: list[str] = []

    def ask() -> None:
        with _open(channel, bitrate=500_000):
            refused.append(_refusal(channel, bitrate=250_000))

    with _served_here(channel, servers) as server:
        _serve_while(server, ask)

    whose = f"a server started by hand has the bus (process {os.getpid()}): end it, then the channel is free"
    assert refused[0].endswith(f"all nodes of a bus have one bit rate; {whose}")


def test_connections_far_beyond_the_limit_are_closed_at_once(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS", 1)
    monkeypatch.setattr(server_module, "TURNED_AWAY", 1)
    with World(1) as world, closing(CanServer(world, channel)) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        calls = [stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)) for _ in range(3)]
        while server.accept():
            pass

        assert calls[2].recv(1) == b""
        calls[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            calls[1].recv(1)


@_posix
def test_a_folder_that_others_can_enter_is_refused(channel: str, servers: Path) -> None:
    servers.chmod(0o755)

    with pytest.raises(can.CanInitializationError, match="chmod 700"):
        _open(channel)


@_posix
def test_a_folder_laid_out_as_a_link_is_refused(
    channel: str, servers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(servers)
    monkeypatch.setenv(FOLDER_VARIABLE, str(link))

    with pytest.raises(can.CanInitializationError, match="no folder of this user alone"):
        _open(channel)


def test_a_channel_may_have_any_name_of_an_interface(channel: str, servers: Path) -> None:
    name = f'{channel}:*?"<|\\'

    with _open(name) as sender, _open(name) as receiver:
        sender.send(_message(1))
        assert receiver.recv(PATIENCE_S) is not None
        assert name in RuntimeFolder(servers).channels()


def test_a_server_that_was_found_by_another_name_refuses(bus: can.BusABC, channel: str, servers: Path) -> None:
    RuntimeFolder(servers).publish(f"{channel}x", endpoint_of(servers, channel))

    with pytest.raises(can.CanInitializationError, match=f"this server has channel '{channel}'"):
        _open(f"{channel}x")


def test_shutting_down_wakes_a_reader_in_another_thread(bus: can.BusABC) -> None:
    failures: list[Exception] = []

    class Log(can.Listener):
        def on_message_received(self, msg: can.Message) -> None:
            raise AssertionError(msg)

        def on_error(self, exc: Exception) -> None:
            failures.append(exc)

    notifier = can.Notifier(bus, [Log()], timeout=PATIENCE_S)
    bus.shutdown()
    until(lambda: failures, "the reader still waits")
    notifier.stop()

    assert isinstance(failures[0], can.CanOperationError)


def test_shutting_down_ends_a_wait_for_room_in_another_thread(channel: str) -> None:
    failures: list[Exception] = []
    bus = can.Bus(interface="taktora_sim", channel=channel, acknowledge=False, txqueuelen=1, ignore_config=True)
    bus.send_periodic(_message(3), 10.0)  # nobody acknowledges it: the queue is full from now on

    def wait_for_room() -> None:
        try:
            while True:
                bus.send(_message(2))
        except can.CanOperationError as error:
            failures.append(error)

    sender = threading.Thread(target=wait_for_room)
    sender.start()
    assert bus.state in set(can.BusState)  # others ask in between
    bus.shutdown()
    sender.join(PATIENCE_S)

    assert not sender.is_alive()
    assert "closed" in str(failures[0])


def test_a_task_with_a_modifier_that_is_about_to_send_ends_with_its_bus(channel: str) -> None:
    entered, released = threading.Event(), threading.Event()

    def modify(_message: can.Message) -> None:
        entered.set()
        assert released.wait(PATIENCE_S)

    bus = _open(channel)
    task = bus.send_periodic(_message(1), 0.01, modifier_callback=modify)
    assert entered.wait(PATIENCE_S)
    bus.shutdown()
    released.set()

    assert isinstance(task, can.broadcastmanager.ThreadBasedCyclicSendTask)
    assert task.thread is not None
    task.thread.join(PATIENCE_S)  # an exception in it would fail this test
    assert not task.thread.is_alive()


def test_who_was_interrupted_in_a_call_gets_right_answers_later(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> dict[str, object]:
        raise KeyboardInterrupt

    with can.Bus(interface="taktora_sim", channel=channel, acknowledge=False, txqueuelen=1, ignore_config=True) as bus:
        bus.send(_message(1))
        for call in (lambda: bus.send(_message(2)), lambda: bus.state):
            with monkeypatch.context() as patch:
                patch.setattr(client, "_answer", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    call()

        assert bus.state in set(can.BusState)
        with pytest.raises(can.CanOperationError, match="ENOBUFS"):
            bus.send(_message(3), 0)


def test_a_notifier_on_an_event_loop_reads_by_descriptor(channel: str) -> None:
    import asyncio

    async def run() -> list[int]:
        with _open(channel) as sender, _open(channel) as receiver:
            reader = can.AsyncBufferedReader()
            with can.Notifier(receiver, [reader], loop=asyncio.get_running_loop()):
                for number in range(50):
                    sender.send(_message(number))
                return [(await asyncio.wait_for(reader.get_message(), PATIENCE_S)).arbitration_id for _ in range(50)]

    assert asyncio.run(run()) == list(range(50))


def test_time_stamps_of_programs_are_wall_clock_time(bus: can.BusABC, channel: str) -> None:
    with _open(channel) as other:
        before_ns = time_ns()
        bus.send(_message(1))
        message = other.recv(PATIENCE_S)
        after_ns = time_ns()

    assert message is not None
    slack_s = 1.0  # the server counts on a clock that nobody sets, from its start on
    assert before_ns * 1e-9 - slack_s < message.timestamp < after_ns * 1e-9 + slack_s


def test_what_a_server_builds_before_it_serves_takes_its_time_in_the_world_too(channel: str) -> None:
    asked = iter([False, True])
    with World(1) as world:
        server = CanServer(world, channel)
        sleep(0.1)  # as the reading of a DBC does
        world.call_soon(lambda: None)  # so that the server need not wait for anything

        server.run(lambda: next(asked))
        server.close()

        assert world.now_ns() >= 100_000_000


def test_what_a_slow_program_loses_is_marked_and_the_others_lose_nothing(channel: str) -> None:
    settings: dict[str, Any] = {"interface": "taktora_sim", "channel": channel, "ignore_config": True}
    count = 8000
    with (
        can.Bus(bitrate=1_000_000, **settings) as sender,
        can.Bus(rx_queue_size=50, **settings) as slow,
        can.Bus(rx_queue_size=1_000_000, **settings) as witness,
    ):
        for number in range(4):
            sender.send_periodic(_message(number), 0.0005)
        seen = [witness.recv(PATIENCE_S) for _ in range(count)]
        sender.stop_all_periodic_tasks()
        kept = 0
        while (message := slow.recv(PATIENCE_S)) is not None and not message.is_error_frame:
            kept += 1

    assert message is not None
    assert (message.arbitration_id, message.data[1]) == (0x004, 0x01)
    assert 50 <= kept < count
    assert not [message for message in seen if message is None or message.is_error_frame]


class TestCommand:
    """``python -m taktora_sim.can.serve``."""

    def test_it_says_what_the_bus_is_and_records_it(self, channel: str, tmp_path: Path) -> None:
        record = tmp_path / "bus.log"
        command = ["-m", "taktora_sim.can.serve", "--channel", channel, "--bitrate", "250000", "--fd"]
        with started([*command, "--record", str(record)]) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == f"serving CAN channel {channel}; Ctrl-C ends it\n"
            with pytest.raises(can.CanInitializationError, match="250000 bit/s"):
                can.Bus(interface="taktora_sim", channel=channel, bitrate=500_000, ignore_config=True)
            with (
                can.Bus(interface="taktora_sim", channel=channel, fd=True, ignore_config=True) as sender,
                _open(channel) as other,
            ):
                sender.send(_message(0x123))
                assert other.recv(PATIENCE_S) is not None
            server.terminate()
            assert server.wait(PATIENCE_S) == 0

        assert f" {channel} 123#" in record.read_text()

    def test_it_replays_a_log_to_the_first_program(self, channel: str, tmp_path: Path) -> None:
        log = tmp_path / "drive.log"
        log.write_text("".join(f"({number}.000000) can0 {0x100 + number:03X}#0{number}\n" for number in range(3)))
        with started(["-m", "taktora_sim.can.serve", "--channel", channel, "--replay", str(log)]) as server:
            assert server.stdout is not None
            server.stdout.readline()
            with _open(channel) as bus:
                found = [bus.recv(PATIENCE_S) for _ in range(3)]

        assert [message and message.arbitration_id for message in found] == [0x100, 0x101, 0x102]
        assert found[0] is not None
        assert found[2] is not None
        assert found[2].timestamp - found[0].timestamp == pytest.approx(2.0, abs=0.01)

    def test_it_sends_the_rest_of_a_bus_from_a_dbc(self, channel: str, tmp_path: Path) -> None:
        dbc = tmp_path / "vehicle.dbc"
        text = (Path(__file__).parent / "vehicle.dbc").read_text()
        cycle = 'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;\nBA_DEF_DEF_ "GenMsgCycleTime" 20;\n'
        dbc.write_text(text.replace("VAL_ 256", cycle + "VAL_ 256"))
        command = ["-m", "taktora_sim.can.serve", "--channel", channel, "--dbc", str(dbc), "--exclude", "Dash"]
        with started(command) as server:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("serving")
            with _open(channel) as bus:
                found = [bus.recv(PATIENCE_S) for _ in range(3)]

        assert [message and message.arbitration_id for message in found] == [0x100] * 3

    @_posix
    def test_its_parent_injects_faults_by_the_control_channel(self, channel: str) -> None:
        command = ["-m", "taktora_sim.can.serve", "--channel", channel, "--control"]
        with started(command, stdin=subprocess.PIPE) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            assert json.loads(server.stdout.readline()) == {"ready": True, "channel": channel}

            def ask(**request: object) -> dict[str, Any]:
                assert server.stdin is not None
                assert server.stdout is not None
                print(json.dumps(request), file=server.stdin, flush=True)
                answer: dict[str, Any] = json.loads(server.stdout.readline())
                return answer

            with (
                can.Bus(interface="taktora_sim", channel=channel, node="tool", ignore_config=True) as tool,
                _open(channel) as other,
            ):
                silence = ask(do="inject", target=f"can/{channel}/tool", kind="silence")
                tool.send(_message(1))
                assert other.recv(0.2) is None
                ask(do="end", fault=silence["fault"])
                tool.send(_message(2))
                after = other.recv(PATIENCE_S)
                shown = ask(do="snapshot")
            assert ask(do="snapshot", more=1)["ok"]
            assert not ask(do="dance")["ok"]
            server.stdin.close()
            assert server.wait(PATIENCE_S) == 0

        assert after is not None
        assert after.arbitration_id == 2
        assert [shown["nodes"][0][key] for key in ("name", "state", "sent")] == ["tool", "ERROR_ACTIVE", 1]
        assert shown["programs"] == 2

    def test_it_takes_a_channel_over_once_the_last_program_has_gone(self, channel: str) -> None:
        _open(channel).shutdown()

        with started(["-m", "taktora_sim.can.serve", "--channel", channel]) as server:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("serving")

    def test_a_channel_that_is_served_is_not_served_twice(
        self, bus: can.BusABC, channel: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serve, "_LINGER_S", 0.0)
        monkeypatch.setattr(serve, "_LOCK_S", 0.1)

        assert serve.main(["--channel", channel]) == 1

        assert f"CAN channel '{channel}' is served already" in capsys.readouterr().err
        assert bus.recv(0) is None

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--channel", "no such name"], "' '"),
            (["--bitrate", "7"], "bitrate 7"),
            (["--replay", "nothing.log"], "nothing.log"),
            (["--record", "bus.txt"], "bus.txt"),
        ],
    )
    def test_what_cannot_be_served_is_refused(
        self, arguments: list[str], words: str, channel: str, servers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert serve.main(["--channel", channel, *arguments]) == 1

        assert words in capsys.readouterr().err
        assert not is_served(servers, channel)

    def test_a_plan_that_names_the_node_of_a_program_is_refused_with_the_way_to_do_it(
        self, channel: str, tmp_path: Path, servers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plan = tmp_path / "plan.toml"
        plan.write_text(f'[[fault]]\nat = "1s"\ntarget = "can/{channel}/ecu"\nkind = "bus_off"\n', encoding="utf-8")

        assert serve.main(["--channel", channel, "--plan", str(plan)]) == 1

        assert "here nothing; nodes of programs come later, and faults at them by --control" in capsys.readouterr().err
        assert not is_served(servers, channel)
