"""Logs of every format, good and bad: one bad record is told and counted, and nothing else is lost."""

from __future__ import annotations

import gzip
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora.can.dlc import FD_LENGTHS
from taktora_sim.can import CanLog, CanLogError
from taktora_sim.can.logs.candump import candump_line
from taktora_sim.can.logs.logfile import LogRecord
from tests.sim.can.support import write

_FRAMES = [
    CanFrame(0x123, b"\x01\x02"),
    CanFrame(0x18FEF100, b"12345678", extended=True),
    CanFrame(0x7FF, b""),
    CanFrame(0x321, b"\xff" * 8),
]


def _write_with_python_can(path: Path) -> Path:
    with can.Logger(path) as logger:
        for number, frame in enumerate(_FRAMES):
            logger.on_message_received(
                can.Message(
                    timestamp=1_700_000_000 + number / 100,
                    arbitration_id=frame.can_id,
                    is_extended_id=frame.extended,
                    data=frame.data,
                    channel=0,
                    is_rx=True,
                )
            )
    return path


def _frames(records: list[LogRecord]) -> list[CanFrame]:
    return [record.frame for record in records]


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf", ".csv", ".db", ".trc"])
def test_every_format_gives_the_same_frames_and_spacing(tmp_path: Path, suffix: str) -> None:
    log = CanLog(_write_with_python_can(tmp_path / f"drive{suffix}"))

    records = list(log)

    assert _frames(records) == _FRAMES
    assert [record.time_ns - records[0].time_ns for record in records] == [0, 10_000_000, 20_000_000, 30_000_000]
    assert not log.problems


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", [".log", ".asc", ".csv", ".trc"])
def test_a_compressed_text_log_reads_alike(tmp_path: Path, suffix: str) -> None:
    plain = _write_with_python_can(tmp_path / f"drive{suffix}")
    packed = tmp_path / f"drive{suffix}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert _frames(list(CanLog(packed))) == _FRAMES


@pytest.mark.verifies("REQ_8205")
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**60),
            st.one_of(
                st.builds(lambda i, data: CanFrame(i, data), st.integers(0, 0x7FF), st.binary(max_size=8)),
                st.builds(lambda i, data: CanFrame(i, data, True), st.integers(0, 2**29 - 1), st.binary(max_size=8)),
                st.builds(lambda i, n: CanFrame(i, b"", False, True, n), st.integers(0, 0x7FF), st.integers(0, 15)),
                st.builds(
                    lambda i, n, brs, esi: CanFrame(i, bytes(n), fd=True, brs=brs, esi=esi),
                    st.integers(0, 0x7FF),
                    st.sampled_from(FD_LENGTHS),
                    st.booleans(),
                    st.booleans(),
                ),
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=50)
def test_what_is_written_as_candump_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, CanFrame]]
) -> None:
    path = tmp_path_factory.mktemp("candump") / "a.log"
    ordered = sorted(entries, key=lambda entry: entry[0])
    path.write_text("".join(candump_line(time_ns, "can0", frame) for time_ns, frame in ordered))

    records = list(CanLog(path))

    assert _frames(records) == [frame for _, frame in ordered]
    assert [record.time_ns for record in records] == [time_ns // 1000 * 1000 for time_ns, _ in ordered]


_SCREEN_LINES = [
    "  can0  123   [2]  11 22",
    "  can0  123   [0]  remote request",
    "  can0  18FEF100   [8]  11 22 33 44 55 66 77 88   '.\"3DUfw.'",
    "  can0  123  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B",
    " (1700000000.123456)  can0  123   [0]",
    " (2023-11-14 22:13:20.123456)  can0  RX - -  123   [2]  11 22",
]
_SCREEN_HINT = "is what candump shows on the screen; 'candump -l' or 'candump -L' writes what can be read"
_BAD_LINES = [
    pytest.param("rubbish", "bad line", id="rubbish"),
    pytest.param("(1.5) can0 123#112", "bad line", id="odd digits"),
    pytest.param("(1.5) can0 123#112233445566778899", "bad line", id="nine bytes"),
    pytest.param("(1.5) can0 9FF#00", "bad line", id="identifier too large"),
    pytest.param("(1.5) can0 12345#00", "bad line", id="identifier of five digits"),
    pytest.param("(x) can0 123#00", "bad line", id="no time"),
    pytest.param("\x00\x01\xff", "bad line", id="bytes"),
    pytest.param("(1.5) can0 123##1" + "00" * 9, "bad line", id="nine bytes of CAN FD"),
    pytest.param("(1.5) can0 123##1" + "00" * 65, "bad line", id="65 bytes of CAN FD"),
    pytest.param("(1.5) can0 123##G00", "bad line", id="no flags of CAN FD"),
    pytest.param("(1.5) can0 123#R9", "bad line", id="length code of a remote frame"),
]


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(("line", "kind"), _BAD_LINES)
def test_a_bad_candump_line_is_told_with_its_number_and_costs_only_itself(tmp_path: Path, line: str, kind: str) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(f"(1.0) can0 100#00\n{line}\n(2.0) can0 101#00\n".encode("latin-1"))
    log = CanLog(path)

    records = list(log)

    assert [record.frame.can_id for record in records] == [0x100, 0x101]
    assert log.counts == {kind: 1}
    assert f"{path}, line 2: {kind}" in log.problems[0].text


@pytest.mark.verifies("REQ_8205", "REQ_8510")
@pytest.mark.parametrize("line", _SCREEN_LINES)
def test_what_candump_shows_on_the_screen_is_told_as_such(tmp_path: Path, line: str) -> None:
    log = CanLog(write(tmp_path / "a.log", "(1.000000) can0 100#00", line))

    assert len(list(log)) == 1
    assert log.problems[0].text == (
        f"{log.path}, line 2: bad line: {line.strip()!r} {_SCREEN_HINT}; expected '(seconds.fraction) channel id#data'"
    )


@pytest.mark.verifies("REQ_8205", "REQ_8510")
def test_a_time_that_goes_backwards_is_told_in_seconds_with_both_lines(tmp_path: Path) -> None:
    log = CanLog(
        write(
            tmp_path / "a.log",
            "(10.000000) can0 100#00",
            "(0.759920) can0 101#00",
            "(8.000000) can0 102#00",
            "(10.5) can0 103#00",
            "(10.499999999) can0 104#00",
        )
    )

    assert len(list(log)) == 5
    assert [problem.text.removeprefix(f"{log.path}, ") for problem in log.problems] == [
        f"line {number}: time goes backwards: the time is {seconds} s before that of line {before}; the frame is sent "
        "right after its predecessor"
        for number, seconds, before in [(2, "9.24008", 1), (3, "2.0", 1), (5, "0.000000001", 4)]
    ]


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(("line", "kind"), _BAD_LINES)
def test_with_raise_the_same_line_ends_the_reading(tmp_path: Path, line: str, kind: str) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(f"(1.0) can0 100#00\n{line}\n(2.0) can0 101#00\n".encode("latin-1"))

    with pytest.raises(CanLogError, match=f"line 2: {kind}"):
        list(CanLog(path, on_bad="raise"))


@pytest.mark.verifies("REQ_8205")
def test_a_line_cut_off_at_the_end_is_told_as_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("(1.0) can0 100#00\n(2.0) can0 10")
    log = CanLog(path)

    assert len(list(log)) == 1
    assert log.counts == {"truncated": 1}


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(
    ("suffix", "spoil", "kind"),
    [
        pytest.param(".asc", ("0.010000 1  ", "0.010000 1  XYZ"), "bad line", id="asc identifier"),
        pytest.param(".asc", (" d 8 FF", " d 8"), "bad line", id="asc too few bytes"),
        pytest.param(".csv", ("0x7ff", "0xzzz"), "bad line", id="csv identifier"),
        pytest.param(".csv", (",0,0,0,2,", ",0,0,1,2,"), "error frame", id="csv error frame"),
        pytest.param(".trc", (" DT  1     07FF Rx -  0", " DT"), "bad line", id="trc cut off"),
    ],
)
def test_a_bad_line_of_another_text_format_costs_only_itself(
    tmp_path: Path, suffix: str, spoil: tuple[str, str], kind: str
) -> None:
    path = _write_with_python_can(tmp_path / f"drive{suffix}")
    text = path.read_text()
    assert spoil[0] in text, text
    path.write_text(text.replace(*spoil, 1))
    log = CanLog(path)

    records = list(log)

    assert len(records) == len(_FRAMES) - 1
    assert log.counts == {kind: 1}
    assert f"{path}, line " in log.problems[0].text


@pytest.mark.verifies("REQ_8205")
def test_what_the_notation_of_candump_can_say_is_understood(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.log",
        "(1.0) can0 123##0",
        "(1.0) can0 123##311.22",
        "(1.0) can0 18FEF100##5" + "AB" * 64,
        "(1.0) can0 123#R",
        "(1.0) can0 18FEF100#R8_F",
        "(1.0) can0 123#1122334455667788_9 R",
    )

    log = CanLog(path, on_bad="raise")

    assert _frames(list(log)) == [
        CanFrame(0x123, b"", fd=True),
        CanFrame(0x123, b"\x11\x22", fd=True, brs=True, esi=True),
        CanFrame(0x18FEF100, b"\xab" * 64, True, fd=True, brs=True),
        CanFrame(0x123, b"", remote=True),
        CanFrame(0x18FEF100, b"", True, remote=True, dlc=15),
        CanFrame(0x123, bytes.fromhex("1122334455667788")),
    ]


@pytest.mark.verifies("REQ_8205")
def test_error_frames_are_counted_told_once_and_no_bad_records(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.log",
        "(1.0) can0 100#00",
        "(1.1) can0 20000088#0000040800000000",
        "(1.2) can0 20000004#0004000000000000",
        "(2.0) can0 101#00",
    )
    log, told = CanLog(path, on_bad="raise"), list[str]()
    log.on_problem = lambda problem: told.append(problem.text)

    records = list(log)

    assert [record.frame.can_id for record in records] == [0x100, 0x101]
    assert log.counts == {"error frame": 2}
    assert log.summary == "a.log: 2 frames; problems: 2 x error frame"
    text = (
        "'(1.1) can0 20000088#0000040800000000' and others like it are counted and left out; a bus makes its own errors"
    )
    assert [problem.text for problem in log.problems] == [f"{path}, line 2: error frame: {text}"] == told


_FD_FRAMES = [
    CanFrame(0x123, bytes(range(12)), fd=True, brs=True),
    CanFrame(0x18FEF100, bytes(64), extended=True, fd=True, brs=True, esi=True),
    CanFrame(0x321, b"\xff" * 20, fd=True),
]


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf"])
def test_can_fd_and_remote_and_error_frames_of_python_can_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive{suffix}"
    with can.Logger(path) as logger:
        for number, frame in enumerate(_FD_FRAMES):
            logger.on_message_received(
                can.Message(
                    timestamp=1_700_000_000 + number / 100,
                    arbitration_id=frame.can_id,
                    is_extended_id=frame.extended,
                    is_fd=True,
                    bitrate_switch=frame.brs,
                    error_state_indicator=frame.esi,
                    data=frame.data,
                    channel=0,
                )
            )
        logger.on_message_received(can.Message(timestamp=1_700_000_001, is_error_frame=True, channel=0))
        logger.on_message_received(
            can.Message(
                timestamp=1_700_000_001, arbitration_id=5, is_extended_id=False, is_remote_frame=True, channel=0
            )
        )
    log = CanLog(path)

    assert _frames(list(log)) == [*_FD_FRAMES, CanFrame(5, b"", remote=True)]
    assert log.counts == {"error frame": 1}


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("suffix", [".csv", ".db"])
def test_a_format_without_a_mark_of_can_fd_gives_it_by_the_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive{suffix}"
    with can.Logger(path) as logger:
        for count in (8, 12):
            logger.on_message_received(
                can.Message(timestamp=1.0, arbitration_id=1, is_extended_id=False, is_fd=count > 8, data=bytes(count))
            )

    assert _frames(list(CanLog(path))) == [CanFrame(1, bytes(8)), CanFrame(1, bytes(12), fd=True)]


@pytest.mark.verifies("REQ_8205")
def test_a_trc_file_of_can_fd_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "drive.trc",
        ";$FILEVERSION=2.1",
        ";$STARTTIME=46000.5",
        ";$COLUMNS=N,O,T,B,I,d,R,L,D",
        ";",
        "      1         1.000 DT 1      0123 Rx -  2    11 22",
        "      2         2.000 FB 1      0123 Rx -  9    00 01 02 03 04 05 06 07 08 09 0A 0B",
        "      3         3.000 BI 1  18FEF100 Rx -  1    AA",
        "      4         4.000 FE 1      0123 Rx -  0",
        "      5         5.000 RR 1      0123 Rx -  4",
        "      6         6.000 ER 1         - Rx -  5    01 04 00 0A 01",
    )
    log = CanLog(path)

    assert _frames(list(log)) == [
        CanFrame(0x123, b"\x11\x22"),
        CanFrame(0x123, bytes(range(12)), fd=True, brs=True),
        CanFrame(0x18FEF100, b"\xaa", True, fd=True, esi=True),
        CanFrame(0x123, b"", fd=True, brs=True, esi=True),
        CanFrame(0x123, b"", remote=True, dlc=4),
    ]
    assert log.counts == {"error frame": 1}


_ASC_LINES = [
    pytest.param(
        "CANFD   1 Rx        123  1 0 9 12 00 01 02 03 04 05 06 07 08 09 0a 0b   102203  130   303000 89", id="FD"
    ),
    pytest.param(
        "CANFD   1 Tx   18FEF100x  Engine_Data  1 1 2  2 11 22    102203  130     7000 89", id="name of a message"
    ),
    pytest.param("CANFD   1 Rx        123  0 0 0  0    102203  130     1000 89", id="no data"),
    pytest.param("CANFD   1 Rx        123  0 0 2  2 11 22    102203  130   200000 89", id="classical"),
    pytest.param("CANFD   1 Rx        123  0 0 4  0    102203  130   200010 89", id="classical remote"),
    pytest.param("CANFD   1 Rx  123  0 0 9 12 " + "00 " * 12 + " 0 0 0", id="no flags, but 12 bytes"),
]
_ASC_FOUND = {
    "no flags, but 12 bytes": CanFrame(0x123, bytes(12), fd=True),
    "FD": CanFrame(0x123, bytes(range(12)), fd=True, brs=True),
    "name of a message": CanFrame(0x18FEF100, b"\x11\x22", True, fd=True, brs=True, esi=True),
    "no data": CanFrame(0x123, b"", fd=True),
    "classical": CanFrame(0x123, b"\x11\x22"),
    "classical remote": CanFrame(0x123, b"", remote=True, dlc=4),
}


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize("line", _ASC_LINES)
def test_a_line_of_an_fd_channel_is_read_as_its_flags_say(
    tmp_path: Path, line: str, request: pytest.FixtureRequest
) -> None:
    path = _write_with_python_can(tmp_path / "drive.asc")
    path.write_text(path.read_text().replace("End TriggerBlock", f"  1.000000 {line}\nEnd TriggerBlock"))
    log = CanLog(path)

    assert _frames(list(log)) == [*_FRAMES, _ASC_FOUND[request.node.callspec.id]]
    assert not log.problems


@pytest.mark.verifies("REQ_8205")
def test_statistics_and_error_frames_of_an_asc_file_are_told_apart(tmp_path: Path) -> None:
    path = _write_with_python_can(tmp_path / "drive.asc")
    extra = "  1.000000 1  ErrorFrame\tECC: 10100010\n  1.100000 1  Statistic: D 0 R 0 XD 0\n"
    path.write_text(path.read_text().replace("End TriggerBlock", extra + "End TriggerBlock"))
    log = CanLog(path)

    assert _frames(list(log)) == _FRAMES
    assert log.counts == {"error frame": 1}


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        pytest.param("a.blf", b"no log at all", "truncated", id="blf"),
        pytest.param("a.db", b"no database" * 100, "truncated", id="db"),
    ],
)
def test_a_binary_file_that_is_none_is_told(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    log = CanLog(tmp_path / name)

    assert list(log) == []
    assert log.counts == {kind: 1}


@pytest.mark.verifies("REQ_8205")
def test_a_truncated_blf_keeps_its_beginning_and_says_so(tmp_path: Path) -> None:
    path = _write_with_python_can(tmp_path / "drive.blf")
    path.write_bytes(path.read_bytes()[:-10])
    log = CanLog(path)

    records = list(log)

    assert _frames(records) == _FRAMES[: len(records)]
    assert log.counts == {"truncated": 1}


@pytest.mark.verifies("REQ_8205")
def test_a_truncated_gzip_keeps_its_beginning_and_says_so(tmp_path: Path) -> None:
    lines = [candump_line(number * 1_000_000, "can0", CanFrame(number % 0x7FF, bytes(8))) for number in range(2000)]
    packed = gzip.compress("".join(lines).encode())
    path = tmp_path / "a.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    log = CanLog(path)

    records = list(log)

    assert 0 < len(records) < 2000
    assert "truncated" in log.counts


@pytest.mark.verifies("REQ_8205")
def test_a_bad_database_row_costs_only_itself(tmp_path: Path) -> None:
    import sqlite3

    path = _write_with_python_can(tmp_path / "drive.db")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE messages SET arbitration_id = 70000 WHERE arbitration_id = 291")
    connection.execute("UPDATE messages SET ts = 'noon' WHERE arbitration_id = 2047")
    connection.commit()
    connection.close()
    log = CanLog(path)

    assert _frames(list(log)) == [_FRAMES[1], _FRAMES[3]]
    assert log.counts == {"bad record": 2}


@pytest.mark.verifies("REQ_8205")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.log", "no such file", id="missing"),
        pytest.param("a.txt", r"unknown format '.txt'.*\.trc$", id="format"),
        pytest.param("folder.log", r"folder\.log: is a folder; give the path of a recorded log$", id="folder"),
        pytest.param("screen.txt", rf"'\.txt'; known .*\.trc; its first line {_SCREEN_HINT}$", id="screen output"),
        pytest.param(
            "good.txt", r"'\.txt'; known .*\.trc; it begins as a candump log does: name it good\.log$", id="name"
        ),
        pytest.param("good", r"'without suffix'; .*: name it good\.log$", id="no suffix"),
        pytest.param("packed.txt.gz", r"unknown format '\.gz'; .*: name it packed\.log\.gz$", id="compressed"),
        pytest.param("odd.txt.gz", r"unknown format '\.gz'; known .*\.trc$", id="no gzip"),
    ],
)
def test_a_log_that_cannot_be_read_at_all_is_refused_at_once(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "screen.txt", "", _SCREEN_LINES[0])
    for good in ("good", "good.txt"):
        write(tmp_path / good, "(1.000000) can0 100#00")
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(b"(1.000000) can0 100#00\n"))
    write(tmp_path / "odd.txt.gz", "(1.000000) can0 100#00")
    (tmp_path / "folder.log").mkdir()

    with pytest.raises(CanLogError, match=message):
        CanLog(tmp_path / name)


@pytest.mark.verifies("REQ_8205")
@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".log", ".asc", ".csv", ".trc"]))
def test_any_bytes_end_the_reading_in_an_orderly_way(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    path.write_bytes(content)

    for record in CanLog(path):
        assert 0 <= record.frame.can_id <= 0x1FFF_FFFF
