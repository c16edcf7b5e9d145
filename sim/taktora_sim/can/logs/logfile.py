"""Reads recorded CAN logs of every format python-can reads, record by record; it never loses a good one to a bad one.

candump text is read exactly in ns. The other text formats (``.asc``, ``.csv``, ``.trc``) go through python-can
line by line: a line it stumbles over is counted and reading goes on behind it. Binary formats (``.blf`` and others that
python-can knows) end at the first damage, which is reported with the number of records read. Times that come from
python-can as floats are rounded to 1 us. Error frames are counted and told once, no more: what happened on the wire
is not in them. ``.csv`` and ``.db`` do not say which frames are of CAN FD; those longer than 8 bytes are taken as such.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_LENGTHS
from taktora.can.interface import CanErrorFrame, CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX
from taktora.errors import ConfigurationError
from taktora_sim.can.logs.candump import SCREEN_HINT, parse_candump_line

if TYPE_CHECKING:
    import can

__all__ = ["CanLog", "CanLogError", "LogProblem", "LogRecord", "ProblemKind"]

ProblemKind = Literal[
    "bad line", "bad record", "truncated", "CAN FD frame", "error frame", "time goes backwards", "gap"
]
"""``CAN FD frame`` is one that a classical bus cannot take; ``error frame`` and ``gap`` are odd, not bad."""

_GAP_NS = 10_000_000_000
_PROBLEMS_KEPT = 100
_HEADER_LINES_MAX = 200
_PEEKED_CHARS = 4096
_LONGEST_NS = 100 * 365 * 86_400 * 10**9
_TOLD_ONCE = {"error frame", "CAN FD frame"}
_TEXT_SUFFIXES = (".log", ".asc", ".csv", ".trc")


class LogRecord(NamedTuple):
    """One frame of a log: recorded time (ns, any origin), channel as the file has it, frame, line or record number."""

    time_ns: int
    channel: str
    frame: CanFrame
    number: int


class LogProblem(NamedTuple):
    """One record that was left out, corrected or is odd, and why; ``text`` names file, place and way out."""

    kind: ProblemKind
    number: int
    text: str


class CanLogError(ConfigurationError):
    """A log cannot be read at all, or a record is bad and the policy is ``raise``."""


class CanLog:
    """A recorded log. Iterating reads it from the start; ``counts`` and ``problems`` tell about the latest reading.

    Args:
        path: Suffix ``.log`` (candump -l, -L), ``.asc``, ``.blf``, ``.csv``, ``.db``, ``.trc``, ``.mf4`` (needs
            asammdf); the text formats also as ``.gz``.
        on_bad: ``count`` leaves a bad record out and goes on, ``raise`` ends with :class:`CanLogError`.

    Raises:
        CanLogError: there is no such file, it is a folder, or its format is unknown.
    """

    def __init__(self, path: Path | str, *, on_bad: Literal["count", "raise"] = "count") -> None:
        self.path = Path(path)
        self.on_bad = on_bad
        self.counts: Counter[ProblemKind] = Counter()
        self.problems: list[LogProblem] = []
        """The first 100 problems."""
        self.frames = 0
        self.on_problem: Callable[[LogProblem], object] | None = None
        """Told of each problem when it is met."""
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "no such file"
            raise CanLogError(f"CAN log {self.path}: {what}; give the path of a recorded log")
        self._suffix = _format_of(self.path)
        self._place = "line" if self._suffix in _TEXT_SUFFIXES else "record"
        if self._suffix != ".log":
            _python_can()

    @property
    def summary(self) -> str:
        """One line for people: frames read, problems by kind."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.counts.items()))
        return f"{self.path.name}: {self.frames} frames{'; problems: ' + kinds if kinds else ''}"

    def __iter__(self) -> Iterator[LogRecord]:
        self.counts.clear()
        self.problems.clear()
        self.frames = 0
        latest_ns = None
        latest_number = 0
        first_ns = None
        for record in self._records():
            first_ns = record.time_ns if first_ns is None else first_ns
            if record.time_ns - first_ns > _LONGEST_NS:
                self.report("bad record", record.number, "the time stamp is more than a century after the first one")
                continue
            if latest_ns is not None and record.time_ns < latest_ns:
                self.report(
                    "time goes backwards",
                    record.number,
                    f"the time is {_seconds_text(latest_ns - record.time_ns)} s before that of {self._place} "
                    f"{latest_number}; the frame is sent right after its predecessor",
                )
                record = record._replace(time_ns=latest_ns)
            else:
                if latest_ns is not None and record.time_ns - latest_ns > _GAP_NS:
                    self._note("gap", record.number, _gap_text(record.time_ns - latest_ns))
                latest_number = record.number
            latest_ns = record.time_ns
            self.frames += 1
            yield record

    def report(self, kind: ProblemKind, number: int, what: str) -> None:
        """Count a problem; under ``on_bad="raise"`` raise it."""
        problem = self._note(kind, number, what)
        if self.on_bad == "raise":
            raise CanLogError(problem.text)

    def _note_error_frame(self, number: int, text: str) -> None:
        self._note(
            "error frame",
            number,
            f"{text.strip()[:80]!r} and others like it are counted and left out; a bus makes its own errors",
        )

    def _note(self, kind: ProblemKind, number: int, what: str) -> LogProblem:
        problem = LogProblem(kind, number, f"{self.path}, {self._place} {number}: {kind}: {what}")
        self.counts[kind] += 1
        if kind in _TOLD_ONCE and self.counts[kind] > 1:
            return problem
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(problem)
        if self.on_problem is not None:
            self.on_problem(problem)
        return problem

    def _records(self) -> Iterator[LogRecord]:
        if self._suffix == ".db":
            return self._sqlite_records()
        if self._suffix not in _TEXT_SUFFIXES:
            return self._binary_records()
        return self._text_records()

    def _text_records(self) -> Iterator[LogRecord]:
        with _open_text(self.path) as file:
            lines = _Lines(file)
            parsed = self._candump_records(lines) if self._suffix == ".log" else self._salvaged_records(lines)
            yield from parsed
            if lines.failure is not None:
                self.report("truncated", lines.number, f"the file ends in the middle ({lines.failure}); copy it again")

    def _candump_records(self, lines: _Lines) -> Iterator[LogRecord]:
        for line in lines:
            if (text := line.strip()) and not text.startswith("#"):
                record = self._candump_record(text, lines.number, ended=line.endswith("\n"))
                if record is not None:
                    yield record

    def _candump_record(self, text: str, number: int, ended: bool) -> LogRecord | None:
        try:
            time_ns, channel, frame = parse_candump_line(text)
        except ValueError as fault:
            kind: ProblemKind = "bad line" if ended else "truncated"
            self.report(kind, number, f"{text[:80]!r} {fault}; expected '(seconds.fraction) channel id#data'")
            return None
        if isinstance(frame, CanErrorFrame):
            self._note_error_frame(number, text)
            return None
        return LogRecord(time_ns, channel, frame, number)

    def _salvaged_records(self, lines: _Lines) -> Iterator[LogRecord]:
        reader_type = _text_reader(self._suffix)
        rules = _RULES[self._suffix]
        while not lines.is_exhausted:
            try:
                for message in reader_type(lines):
                    *skipped, (number, text) = lines.take() or [(lines.number, "")]
                    self._judge(skipped, rules)
                    yield from self._converted(message, number, text)
            except CanLogError:
                raise
            except Exception as error:  # whatever a reader stumbles over, the lines behind it are still good
                *skipped, (number, text) = lines.take() or [(lines.number, "")]
                self._judge(skipped, rules)
                if lines.failure is None:
                    self.report("bad line", number, f"{text.strip()[:80]!r} was left out ({error})")
                lines.rewind(rules.header)
        self._judge(lines.take(), rules)

    def _judge(self, skipped: Iterable[tuple[int, str]], rules: _TextRules) -> None:
        for number, line in skipped:
            text = line.strip()
            if rules.error_frame.search(text):
                self._note_error_frame(number, text)
            elif text and not rules.no_frame.match(text):
                self.report("bad line", number, f"{text[:80]!r} is no frame and was left out")

    def _binary_records(self) -> Iterator[LogRecord]:
        number = 0
        stated = 0
        try:
            with self._binary_reader() as reader:
                for message in reader:
                    number += 1
                    yield from self._converted(message, number, "")
                stated = getattr(reader, "file_size", 0)
        except CanLogError:
            raise
        except Exception as error:  # any damage ends a binary stream; what came before it is kept
            self.report("truncated", number, f"the rest cannot be read ({type(error).__name__}: {error})")
            return
        found = self.path.stat().st_size
        if stated > found:
            self.report("truncated", number, f"{found} of {stated} bytes are there; copy it again")

    @contextmanager
    def _binary_reader(self) -> Iterator[Any]:
        can = _python_can()
        if self._suffix == ".blf":
            with self.path.open("rb") as file:  # python-can leaves it open when the header is bad
                yield can.BLFReader(file)
        else:
            with can.LogReader(str(self.path)) as reader:
                yield reader

    def _sqlite_records(self) -> Iterator[LogRecord]:
        can = _python_can()
        number = 0
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            for number, row in enumerate(connection.execute("SELECT * FROM messages"), 1):
                yield from self._sqlite_row(can, number, row)
        except sqlite3.DatabaseError as error:
            self.report("truncated", number, f"the database cannot be read further ({error})")
        finally:
            connection.close()

    def _sqlite_row(self, can: Any, number: int, row: tuple[Any, ...]) -> Iterator[LogRecord]:
        try:
            time_s, can_id, is_extended, is_remote, is_error, dlc, data = row
            message = can.Message(
                timestamp=time_s,
                arbitration_id=can_id,
                is_extended_id=bool(is_extended),
                is_remote_frame=bool(is_remote),
                is_error_frame=bool(is_error),
                dlc=dlc,
                data=data,
            )
            time_s + 0.0
        except (TypeError, ValueError) as error:
            self.report("bad record", number, f"{row!r} was left out ({error})")
            return
        yield from self._converted(message, number, repr(row))

    def _converted(self, message: can.Message, number: int, text: str) -> Iterator[LogRecord]:
        shown = repr(text.strip()[:80]) if text else f"id {message.arbitration_id:#x}"
        fault = _fault_of_message(message)
        if message.is_error_frame:
            self._note_error_frame(number, text or "error frame")
        elif fault is not None:
            self.report(
                "bad line" if self._suffix in _TEXT_SUFFIXES else "bad record",
                number,
                f"{shown} {fault}; it was left out",
            )
        else:
            time_ns = round(message.timestamp * 1_000_000) * 1000
            yield LogRecord(time_ns, _channel_of(message, self._suffix), _frame_of(message, self._suffix, text), number)


def _gap_text(gap_ns: int) -> str:
    return f"{gap_ns / 1e9:.3f} s without a frame before this one; nothing is left out, a replay keeps the time"


def _seconds_text(time_ns: int) -> str:
    """Return a time exactly, with the digits it needs."""
    seconds, rest_ns = divmod(time_ns, 10**9)
    return f"{seconds}.{f'{rest_ns:09d}'.rstrip('0') or '0'}"


class _Lines:
    """Numbered lines of a text file that a reader consumes; remembers which, and can start over with the header."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._consumed: list[tuple[int, str]] = []
        self._seen: list[str] = []
        self._again: list[str] = []
        self.number = 0
        self.failure: Exception | None = None
        self.is_exhausted = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._again:
            return self._again.pop(0)
        line = self._next_line()
        self.number += 1
        self._consumed.append((self.number, line))
        if len(self._seen) < _HEADER_LINES_MAX:
            self._seen.append(line)
        return line

    def read(self) -> str:
        """Be a text file to python-can."""
        return "".join(self)

    def close(self) -> None:
        """Leave the file to its owner."""

    def take(self) -> list[tuple[int, str]]:
        """Return the lines consumed since the last call."""
        taken, self._consumed = self._consumed, []
        return taken

    def rewind(self, header: re.Pattern[str]) -> None:
        """Give the header lines once more, then go on where reading stopped."""
        self._again = [line for line in self._seen if header.match(line)]

    def _next_line(self) -> str:
        try:
            return next(self._file)
        except StopIteration:
            self.is_exhausted = True
            raise
        except (EOFError, OSError) as error:
            self.failure = error
            self.is_exhausted = True
            raise StopIteration from error


class _TextRules(NamedTuple):
    """What lines of a text format are when they are no frame."""

    header: re.Pattern[str]
    no_frame: re.Pattern[str]
    error_frame: re.Pattern[str]


_NEVER = re.compile(r"(?!)")
_RULES = {
    ".asc": _TextRules(
        re.compile(r"\s*(date|base|no\s+internal|internal|begin)\b", re.IGNORECASE),
        re.compile(
            r"//|(date|base|no|internal|begin|end)\b|\d+\.\d+\s+(Start|\d+\s+(Statistic|Status|J1939TP|Overload)|[A-Z]\D)",
            re.IGNORECASE,
        ),
        re.compile(r"ErrorFrame", re.IGNORECASE),
    ),
    ".csv": _TextRules(re.compile(r"timestamp,"), re.compile(r"timestamp,"), _NEVER),
    ".trc": _TextRules(
        re.compile(r";"),
        re.compile(r";|\d+\)?\s+\d+(\.\d+)?\s+(\d+\s+)?(Warng|ST|EC|EV)\b"),
        re.compile(r"\s(Error|ER)\s"),
    ),
}


def _fault_of_message(message: can.Message) -> str | None:
    limit = EXTENDED_ID_MAX if message.is_extended_id else STANDARD_ID_MAX
    if not 0 <= message.arbitration_id <= limit:
        return f"has identifier {message.arbitration_id:#x} above {limit:#x}"
    if message.is_fd or len(message.data) > CLASSICAL_MAX_BYTES:
        return None if len(message.data) in FD_LENGTHS else f"has {len(message.data)} bytes, which CAN FD cannot carry"
    if not message.is_remote_frame and len(message.data) != min(message.dlc, CLASSICAL_MAX_BYTES):
        return f"states {message.dlc} data bytes and has {len(message.data)}"
    return None


def _frame_of(message: can.Message, suffix: str, text: str) -> CanFrame:
    can_id, extended, data = message.arbitration_id, message.is_extended_id, bytes(message.data)
    is_fd, is_remote = message.is_fd or len(data) > CLASSICAL_MAX_BYTES, message.is_remote_frame
    if message.is_fd and suffix == ".asc":  # python-can takes every CANFD line for CAN FD, one without data for remote
        flags = _asc_flags(text)
        is_fd, is_remote = bool(flags & _ASC_EDL) or len(data) > CLASSICAL_MAX_BYTES, bool(flags & _ASC_RTR)
    if is_fd:
        return CanFrame(can_id, data, extended, fd=True, brs=message.bitrate_switch, esi=message.error_state_indicator)
    if is_remote:
        code = _ASC_REMOTE.search(text) if suffix == ".asc" else None  # python-can reads no length codes a to f
        return CanFrame(can_id, b"", extended, True, int(code[1], 16) if code else message.dlc)
    return CanFrame(can_id, data, extended)


_ASC_RTR = 1 << 4
_ASC_EDL = 1 << 12
_ASC_REMOTE = re.compile(r"\sr\s+([0-9a-f])\b", re.IGNORECASE)


def _asc_flags(text: str) -> int:
    """Return the flags of a ``CANFD`` line: Vector writes classical frames of an FD channel so too, without EDL."""
    words = text.split()
    first = 5 if words[5] in {"0", "1"} and words[6] in {"0", "1"} else 6  # a symbolic name may be in front of BRS
    place = first + 4 + int(words[first + 3]) + 2
    return int(words[place], 16) if place < len(words) else _ASC_EDL


def _channel_of(message: can.Message, suffix: str) -> str:
    channel = message.channel
    if channel is None:
        return ""
    # python-can counts channels of these two formats from 0, the files from 1.
    return str(channel + 1) if suffix in {".asc", ".blf"} and isinstance(channel, int) else str(channel)


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] and suffixes[-2] in _TEXT_SUFFIXES:
        return suffixes[-2]
    suffix = suffixes[-1] if suffixes else ""
    known = {*_TEXT_SUFFIXES, ".db"}
    if suffix in known:
        return suffix
    from_python_can = set(_python_can().io.player.MESSAGE_READERS)
    if suffix not in from_python_can:
        names = ", ".join(sorted(known | from_python_can))
        msg = f"CAN log {path}: unknown format {suffix or 'without suffix'!r}; known are {names}"
        raise CanLogError(msg + _candump_hint(path))
    return suffix


def _candump_hint(path: Path) -> str:
    """Say of a file of unknown suffix what can be done if it is from candump; "" if it is not."""
    with suppress(OSError, EOFError), _open_text(path) as file:
        first = next((line for line in file.read(_PEEKED_CHARS).splitlines() if line.strip()), "")
        try:
            parse_candump_line(first.strip())
        except ValueError as fault:
            return f"; its first line {fault}" if str(fault) == SCREEN_HINT else ""
        if path.suffix.lower() == ".gz":
            return f"; it begins as a candump log does: name it {Path(path.stem).stem}.log.gz"
        return f"; it begins as a candump log does: name it {path.stem}.log"
    return ""


def _open_text(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _text_reader(suffix: str) -> Any:
    can = _python_can()
    return {".asc": can.ASCReader, ".csv": can.CSVReader, ".trc": can.TRCReader}[suffix]


def _python_can() -> Any:
    try:
        import can
    except ImportError as error:
        raise CanLogError(
            "reading CAN logs other than candump text needs python-can: pip install 'taktora[can]'"
        ) from error
    return can
