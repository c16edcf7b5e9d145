"""The language of CAN scripts: what is read, what is refused and how, and what the simulated bus makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora.can import CanFilter, CanFrame
from taktora_sim.can.script import ScriptError, load_script, model, parse_script, run_script
from taktora_sim.can.script.bench import contents_of
from taktora_sim.can.script.cangen import parse_pattern
from taktora_sim.can.script.drawn import random_script
from taktora_sim.can.script.text import frame_text, parse_filter, parse_frame
from taktora_sim.cli import app

pytestmark = [pytest.mark.verifies("REQ_8206")]

_HEAD = "bus a\nbus c classical\nbus w\nnode l on w\nnode r on w\nsocket s on a\nsocket t on l\n"
_HEAD_LINES = 7


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("123#", CanFrame(0x123, b"")),
        ("5A1#11.2233.44", CanFrame(0x5A1, b"\x11\x22\x33\x44")),
        ("00000123#FF", CanFrame(0x123, b"\xff", extended=True)),
        ("123#R", CanFrame(0x123, b"", remote=True)),
        ("1FFFFFFF#R8", CanFrame(0x1FFFFFFF, b"", True, True, 8)),
        ("123##0", CanFrame(0x123, b"", fd=True)),
        ("123##3" + "AB" * 12, CanFrame(0x123, b"\xab" * 12, fd=True, brs=True, esi=True)),
    ],
)
def test_frames_are_read_and_written_as_can_utils_do(text: str, frame: CanFrame) -> None:
    assert parse_frame(text) == frame
    assert parse_frame(frame_text(frame)) == frame


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12#11", "3 or 8 hexadecimal digits"),
        ("123", "3 or 8 hexadecimal digits"),
        ("FFF#", "identifier FFF of 'FFF#' is above 7FF; expected 0 to 7FF"),
        ("20000000#", "above 1FFFFFFF"),
        ("123#1", "has 0.5 bytes; expected 0 to 8"),
        ("123#112233445566778899", "has 9 bytes; expected 0 to 8"),
        ("123##0112233445566778899", "has 9 bytes; expected 0 to 8, 12, 16"),
        ("123#R9", "3 or 8 hexadecimal digits"),
    ],
)
def test_a_frame_that_is_none_is_refused_with_what_is_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_frame(text)


def test_filters_are_the_words_of_the_kernel() -> None:
    assert parse_filter("123:7FF") == CanFilter(0x123, 0x7FF)
    assert parse_filter("80000123~C00007FF") == CanFilter(0xA0000123, 0xC00007FF)
    with pytest.raises(ValueError, match=r"no filter; expected ID:MASK, or ID~MASK"):
        parse_filter("123")
    with pytest.raises(ValueError, match="error flag 20000000"):
        parse_filter("20000004:20000004")


def test_a_script_is_read_to_the_last_option(tmp_path: Path) -> None:
    (tmp_path / "x.log").touch()
    (tmp_path / "x.can").write_text(
        """# comment
bus a          # another
external dump d on a
socket s on a filter=1:7FF,2~7FF receive-own errors=8C no-fd
send s 123#11 124# x 2
filter s none
error a 44 01.02
external cangen a -I i -L 4 -D 00FF -n 3 -e
external play a x.log can0
""",
        encoding="utf-8",
    )

    script = load_script(tmp_path / "x.can")

    (socket,) = script.sockets
    assert (socket.filters, socket.receive_own, socket.loopback, socket.error_mask, socket.fd, socket.line) == (
        (CanFilter(1, 0x7FF), CanFilter(0x20000002, 0x7FF)),
        True,
        True,
        0x8C,
        False,
        4,
    )
    assert [type(statement) for statement in script.statements] == [
        model.Dump,
        model.Socket,
        model.Send,
        model.SetFilters,
        model.Inject,
        model.Generate,
        model.Play,
    ]
    send = script.statements[2]
    assert isinstance(send, model.Send)
    assert [frame.can_id for frame in send.frames] == [0x123, 0x124, 0x123, 0x124]


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("sned s 123#11", "'sned' is no statement; expected bus, node, socket, send, filter, open, close, down, up"),
        ("bus a", "the name 'a' is taken; expected another one"),
        ("bus b classic", "'classic' after the name of a bus; expected 'classical' or nothing"),
        ("bus b/", "'b/' is no name; expected letters, digits, '_' and '-'"),
        ("node x on b", "there is no bus 'b'; expected a, c, w"),
        ("node x on w", "bus 'w' has the nodes l, r; expected no more than 2"),
        ("node x on a", "bus 'a' has a socket already; expected its nodes before"),
        ("socket x a", "'x a'; expected 'socket NAME on NODE [OPTION ...]'"),
        ("socket x on w", "there is no node 'w'; expected a, c, l, r"),
        ("socket x on a loud", "'loud' is no option of a socket; expected filter=..., errors=..., receive-own"),
        ("socket x on a errors=400", "error classes '400'; expected hexadecimal 1 to 3FF"),
        ("send u 123#", "there is no socket 'u'; expected s, t"),
        ("send s", "1 words; expected 'send SOCKET FRAME ... [x N]'"),
        ("send s 123#1", "data '1' has 0.5 bytes; expected 0 to 8"),
        ("send s 123# x 0", "'x 0'; expected 'x' and 1 to 1000"),
        ("filter s 12", "'12' is no filter; expected ID:MASK"),
        ("up a", "'a' is up already; expected 'down a' before"),
        ("hold l", "'l' is held on a bus of two nodes; expected a bus with one"),
        ("release a", "'a' is not held; expected 'hold NODE'"),
        ("error a 0", "error classes '0'; expected hexadecimal 1 to 3FF"),
        ("error a 4 112233445566778899", "of an error frame; expected up to 8 bytes"),
        ("error l 4", "an error frame at 'l' on a bus of two nodes; expected a bus with one"),
        ("external candump", "'external candump'; expected external send, cangen, play, dump"),
        ("external send c 123##0", "a CAN FD frame of cansend on the classical bus 'c'"),
        ("external cangen a -I r -n 2", "'-I r'; expected 'i' or up to 8 hexadecimal digits"),
        ("external cangen a -I i", "no option -n; expected how many frames, as in '-n 200'"),
        ("external cangen a -g 1 -n 2", "option '-g'; expected -n, -I, -L, -D, -e, -f, -b, -R"),
        ("external cangen a -I 800 -n 2", "'-I 800' is too large; expected up to 7FF"),
        ("external cangen c -f -n 2", "CAN FD frames of cangen on the classical bus 'c'"),
        ("external play a none.log", "expected a file of candump -L beside the script"),
        ("external dump d on a", "candump starts with the script; expected 'external dump' before the first socket"),
        ("hold a\nsettle", "'settle' while 'a' is held; expected 'send' or 'release a'"),
        ("hold a\nsend t 123#", "socket 't' sends while 'a' is held; expected a socket of that node"),
        ("hold a\nsend s 123##0", "a CAN FD frame while a node is held; expected classical ones"),
        ("hold a\n#", "the script ends while 'a' is held; expected 'release a'"),
        ("down a\nerror a 4", "'a' is down here; expected 'up a' before"),
        ("down a\ndown a", "'a' is down already; expected 'up a' before"),
        ("down a\nexternal send a 123#", "'a' is down here; expected 'up a' before"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_line_and_what_is_expected(line: str, text: str) -> None:
    number = _HEAD_LINES + 1 + line.count("\n")

    with pytest.raises(ScriptError) as refusal:
        parse_script(f"{_HEAD}{line}\n", "x.can")

    assert str(refusal.value).startswith(f"x.can, line {number}: ")
    assert text in str(refusal.value)


def test_a_socket_that_candump_would_not_hear_is_refused() -> None:
    with pytest.raises(ScriptError, match="x, line 3: a socket without loopback on a bus that candump reads"):
        parse_script("bus a\nexternal dump d on a\nsocket s on a no-loopback\n", "x")


def test_a_script_without_a_socket_is_refused() -> None:
    with pytest.raises(ScriptError, match="script, line 1: the script has no socket"):
        parse_script("bus a\n")


def test_refusals_stand_where_they_happened_and_name_the_error() -> None:
    logs = run_script(
        "bus a classical\nsocket s on a receive-own\nsend s 001# 002##0 003#\nclose s\nsend s 004#\ndown a\nopen s\n"
    )

    assert logs == {
        "s": [
            "001#",
            "refused send 002##0 EINVAL",
            "003#",
            "refused send 004# EBADF",
            "refused open ENETDOWN",
        ]
    }


def test_a_full_queue_refuses_and_what_it_took_is_sent() -> None:
    logs = run_script("bus a\nsocket s on a receive-own\nhold a\nsend s 123# x 12\nrelease a\nsend s 124#\n")

    assert logs["s"] == ["123#"] * 10 + ["refused send 123# ENOBUFS"] * 2 + ["124#"]


def test_a_burst_larger_than_the_queue_is_sent_as_room_comes() -> None:
    logs = run_script("bus a\nsocket s on a\nsocket u on a\nsend s 123#01 124#02 x 60\n")

    assert logs == {"s": [], "u": ["123#01", "124#02"] * 60}


def test_the_pattern_of_cangen_counts_ids_lengths_and_data() -> None:
    pattern = parse_pattern(["-I", "i", "-L", "i", "-D", "i", "-n", "12"])

    assert [frame_text(frame) for frame in pattern.frames()][:4] == ["000#00", "001#01", "002#0200", "003#030000"]
    assert [len(frame.data) for frame in pattern.frames()] == [1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 2]
    assert pattern.options() == ["-g", "0", "-I", "i", "-L", "i", "-D", "i", "-n", "12"]


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ("-e -I i -L 2 -D i -n 300", "0000012B#2B01"),
        ("-I 42A -L 8 -D 11223344 -n 2", "42A#1122334400000000"),
        ("-R -I 100 -L 4 -D 00 -n 2", "100#R4"),
        ("-f -I 1 -L 9 -D i -n 3", "001##0020000000000000000000000"),
        ("-b -I 1 -L i -D i -n 16", "001##10F" + "00" * 63),
    ],
)
def test_the_pattern_of_cangen_ends_with(options: str, last: str) -> None:
    assert frame_text([*parse_pattern(options.split()).frames()][-1]) == last


def test_a_log_of_candump_is_compared_without_times_and_the_flag_of_the_format(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("(1.000000) vcan0 123##5AA\n(2.0) vcan0 123#R4 T\n", encoding="ascii")

    assert contents_of(log) == ["123##1AA", "123#R4"]


@pytest.mark.verifies("REQ_8003")
def test_random_scripts_are_scripts_and_equal_for_equal_seeds() -> None:
    texts = [random_script(seed) for seed in range(60)]

    scripts = [parse_script(text, f"seed {seed}") for seed, text in enumerate(texts)]

    assert len(set(texts)) == 60
    assert texts == [random_script(seed) for seed in range(60)]
    kinds = {type(statement) for script in scripts for statement in script.statements}
    assert kinds >= {model.Send, model.SetFilters, model.Open, model.Close, model.Link, model.Hold, model.Inject}


def test_the_command_prints_the_logs_and_refuses_with_file_and_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.can", tmp_path / "bad.can"
    good.write_text("bus a\nsocket s on a receive-own\nsend s 123#11\n", encoding="utf-8")
    bad.write_text("bus a\nsnd\n", encoding="utf-8")

    printed = CliRunner().invoke(app, ["can-script", str(good)])
    refused = CliRunner().invoke(app, ["can-script", str(bad)])

    assert (printed.exit_code, printed.stdout) == (0, "[s]\n123#11\n")
    assert refused.exit_code == 2
    assert "taktora sim: bad.can, line 2: 'snd' is no statement; expected bus, node" in refused.output
